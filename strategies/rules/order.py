"""Coordinate-wise rules: the middle of every column."""

import math

from ..contract import Floats, rule
from ..kernels import NearMedian, OrderStatistic, WeightedMiddle
from ..weights import heaviest


@rule(exempt={"rotation": "each coordinate has a middle of its own"})
def median(n: int, f: int = 0, *, weights: Floats | None = None) -> OrderStatistic | WeightedMiddle:
    """The median of each coordinate; for even n the mean of the two middle values.

    With clients' `weights`, the value up to which half of the weight lies, or the mean of two where half lies up to the
    one and half from the other on. It bears f hostile clients if the f heaviest hold less than half of the weight.

    Source: Yin, Chen, Kannan, Bartlett, ICML 2018, https://arxiv.org/abs/1803.01498

    >>> import numpy as np
    >>> median(np.array([[1.0], [2.0], [4.0], [1e30]]))
    array([3.])
    >>> median(np.array([[1.0], [2.0], [4.0]]), weights=[2, 1, 1])
    array([1.5])
    """
    if weights is None:
        return OrderStatistic((n - 1) // 2, n // 2 + 1)
    heaviest("median", weights, f)
    return WeightedMiddle(tuple(weights.tolist()), math.fsum(weights) / 2)


@rule(exempt={"rotation": "each coordinate has a middle of its own"})
def trimmed_mean(n: int, f: int, *, weights: Floats | None = None) -> OrderStatistic | WeightedMiddle:
    """The mean of each coordinate without its f smallest and f largest values.

    The values kept are summed as they are: a sum of all minus the extremes would lose them beside a value of 1e30.

    With clients' `weights`, the weighted mean without as much weight on either side as the f heaviest clients hold,
    which must be less than half of it; a value that is partly trimmed counts with the rest of its weight.

    Source: Yin, Chen, Kannan, Bartlett, ICML 2018, https://arxiv.org/abs/1803.01498

    >>> import numpy as np
    >>> trimmed_mean(np.array([[-1e30], [2.0], [4.0], [1e30]]), f=1)
    array([3.])
    >>> trimmed_mean(np.array([[-1e30], [2.0], [4.0], [8.0]]), f=1, weights=[1, 1, 1, 2])
    array([4.])
    """
    if weights is None:
        return OrderStatistic(f, n - f)
    return WeightedMiddle(tuple(weights.tolist()), heaviest("trimmed_mean", weights, f))


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
