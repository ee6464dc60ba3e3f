"""The aggregation rules, one file per family; importing this package registers them."""

from .center import geometric_median, mean
from .order import median, trimmed_mean
from .selection import krum, multi_krum

__all__ = ["geometric_median", "krum", "mean", "median", "multi_krum", "trimmed_mean"]
