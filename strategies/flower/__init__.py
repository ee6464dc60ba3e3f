"""The Flower strategy: the only code in `hawthorn.strategies` that imports flwr."""

from .admission import Admission
from .grid import StreamingGrid
from .record import RoundRecord
from .strategy import RobustStrategy

__all__ = ["Admission", "RobustStrategy", "RoundRecord", "StreamingGrid"]
