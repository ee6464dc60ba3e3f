"""The Flower strategy: the only code in `hawthorn.strategies` that imports flwr."""

from .admission import Admission
from .grid import StreamingGrid
from .guard import Guard, Ruling
from .ledger import Commit, Ledger, Memory, Order
from .record import Client, RoundRecord
from .strategy import RobustStrategy

__all__ = [
    "Admission",
    "RobustStrategy",
    "RoundRecord",
    "Client",
    "StreamingGrid",
    "Commit",
    "Ledger",
    "Memory",
    "Order",
    "Guard",
    "Ruling",
]
