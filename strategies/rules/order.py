"""Coordinate-wise rules: the middle of every column."""

from ..contract import rule
from ..kernels import NearMedian, OrderStatistic


@rule(exempt={"rotation": "each coordinate has a middle of its own"})
def median(n: int, f: int = 0) -> OrderStatistic:
    """The median of each coordinate; for even n the mean of the two middle values.

    Source: Yin, Chen, Kannan, Bartlett, ICML 2018, https://arxiv.org/abs/1803.01498

    >>> import numpy as np
    >>> median(np.array([[1.0], [2.0], [4.0], [1e30]]))
    array([3.])
    """
    return OrderStatistic((n - 1) // 2, n // 2 + 1)


@rule(exempt={"rotation": "each coordinate has a middle of its own"})
def trimmed_mean(n: int, f: int) -> OrderStatistic:
    """The mean of each coordinate without its f smallest and f largest values.

    The values kept are summed as they are: a sum of all minus the extremes would lose them beside a value of 1e30.

    Source: Yin, Chen, Kannan, Bartlett, ICML 2018, https://arxiv.org/abs/1803.01498

    >>> import numpy as np
    >>> trimmed_mean(np.array([[-1e30], [2.0], [4.0], [1e30]]), f=1)
    array([3.])
    """
    return OrderStatistic(f, n - f)


@rule(exempt={"rotation": "each coordinate has a middle of its own"})
def mean_around_median(n: int, f: int) -> NearMedian:
    """The mean of the n - f values of each coordinate nearest its median.

    Where a value below the median is exactly as far from it as one above, and only one of the two has a place, each
    counts half (see `NearMedian`).

    Source: Xie, Koyejo, Gupta, 2018, https://arxiv.org/abs/1802.10116

    >>> import numpy as np
    >>> mean_around_median(np.array([[1.0], [2.0], [6.0], [1e30]]), f=1)
    array([3.])
    """
    return NearMedian(n - f)
