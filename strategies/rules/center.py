"""Rules that answer a center of all rows."""

import numpy as np

from ..contract import Floats, rule
from ..geometry import Geometry

SMOOTHING = 1e-9  # of the typical distance: how near a row may come before its pull stops growing
STEPS = 2000
MOVEMENT = 1e-10  # of the typical distance: a step shorter than this ends the iteration


@rule(exempt={"survival": "one row can move it anywhere", "size": "one row can move it anywhere"})
def mean(geometry: Geometry, f: int = 0) -> Floats:
    """The plain mean: no robustness, the yardstick. Example counts claimed by clients are not weights.

    >>> mean(np.array([[1.0, 2.0], [3.0, 6.0]]))
    array([2., 4.])
    """
    return np.full(geometry.n, 1 / geometry.n)


@rule()
def geometric_median(geometry: Geometry, f: int = 0) -> Floats:
    """The point with the least sum of distances to the rows, by smoothed Weiszfeld iterations.

    The iterations run on the geometry alone, seen from the medoid, and start at the mean of the half nearest to it: a
    point that turns and shifts with the rows, and far from any huge row, so that no digits are lost to one.

    Source: Pillutla, Kakade, Harchaoui, IEEE TSP 2022, https://arxiv.org/abs/1912.13445

    >>> geometric_median(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]])).round(9)
    array([0.5, 0.5])
    """
    n = geometry.n
    frame = geometry.frame[:n, :n]
    squares = np.diag(frame)  # squared distances to the medoid
    typical = float(np.sqrt(np.median(squares)))
    half = np.argsort(squares, kind="stable")[: n // 2 + 1]
    weights = np.zeros(n)
    weights[half] = 1 / len(half)
    if typical == 0.0:  # at least half of the rows are the medoid itself
        return weights
    for _ in range(STEPS):
        towards = frame @ weights
        distances = np.sqrt(np.maximum(squares - 2 * towards + weights @ towards, 0.0))
        pulls = 1 / np.maximum(distances, SMOOTHING * typical)
        step = pulls / pulls.sum() - weights
        weights = weights + step
        if step @ frame @ step <= (MOVEMENT * typical) ** 2:
            break
    return weights * geometry.shortening
