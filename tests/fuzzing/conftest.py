"""Makes the harness beside the tests, and the rounds and servers of other tests, importable: tests are no package."""

import logging
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "flower"), str(HERE.parent / "server")]
logging.getLogger("flwr").setLevel(logging.CRITICAL)
