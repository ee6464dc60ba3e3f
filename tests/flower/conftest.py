"""Makes the rounds beside the tests importable: tests are no package."""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
logging.getLogger("flwr").setLevel(logging.CRITICAL)
