"""Rules that look for the majority among the rows' directions, or make groups of rows."""

import math
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from ..contract import Combination, Floats, number_between, rule, whole_number
from ..errors import ToleranceError
from ..geometry import Geometry, Order
from ..robust import middle, shortened
from .center import geometric_median

NOISE = "noise is added"
GROUPS = "which rows share a group depends on their order, and that on their content"


def majority(distances: Floats) -> NDArray[np.bool_]:
    """Who belongs to the smallest group of more than half of the rows, `(n,)`, if groups join from the nearest pair on.

    That is what HDBSCAN finds with these distances `(n, n)`, `min_cluster_size=n // 2 + 1`, `min_samples=1` and
    `allow_single_cluster`: no two such groups can be, so that it leaves the one of all rows only as the distance falls
    at which rows are joined, until what is left would break into two smaller ones.

    >>> majority(np.abs(np.subtract.outer([0.0, 1.0, 2.0, 9.0], [0.0, 1.0, 2.0, 9.0])))
    array([ True,  True,  True, False])
    """
    n = len(distances)
    if n == 1:
        return np.ones(1, bool)
    joined = cast("Floats", hierarchy.linkage(squareform(distances, checks=False), "single"))
    reach = float(joined[np.argmax(joined[:, 3] > n // 2), 2])
    labels = cast("Order", hierarchy.fcluster(joined, reach, "distance"))
    return labels == np.argmax(np.bincount(labels))


@rule(
    exempt={
        "translation": "angles and lengths are seen from the origin",
        "columns": NOISE,
        "sign": NOISE,
        "rotation": NOISE,
        "agreement": NOISE,
        "survival": "hostile rows that point the majority's way are admitted, and all are clipped towards the origin",
    }
)
def flame(
    geometry: Geometry, f: int = 0, *, noise: float = 0.001, rng: np.random.Generator | None = None
) -> Combination:
    """The mean of the majority by cosine, each row no longer than the median one of all, plus noise.

    The majority is what HDBSCAN makes of the rows' cosine distances. The noise is Gaussian in each coordinate, `noise`
    times the median length, drawn from `rng`. It is not scaled to a privacy budget.

    Source: Nguyen et al., USENIX Security 2022, https://arxiv.org/abs/2101.02281

    >>> flame(np.array([[1.0, 0.0], [3.0, 0.3], [2.0, -0.2], [-9.0, 1.0]]), noise=0.0).round(3)
    array([1.833, 0.017])
    """
    factor = noise if noise == 0 else number_between("flame", "a noise of at least 0", noise, 0, math.inf)
    usual, admitted = middle(geometry.norms), majority(geometry.cosine_distances)
    weights = np.where(admitted, shortened(geometry.norms, usual), 0.0) / np.count_nonzero(admitted)
    return Combination(weights, noise=factor * usual)


@rule(exempt={"columns": GROUPS, "sign": GROUPS, "rotation": GROUPS})
def median_of_means(
    geometry: Geometry, f: int, *, groups: int | None = None, rng: np.random.Generator | None = None
) -> Floats:
    """The geometric median of the means of groups of rows, put together at random.

    A hostile row spoils its group, so that more than 2f groups are needed: by default 3f + 1, or n if that is less.
    Their sizes differ by at most one. `rng` draws a permutation of the rows in canonical order.

    Source: Chen, Su, Xu, SIGMETRICS 2018, https://arxiv.org/abs/1705.05491

    >>> median_of_means(np.array([[1.0], [1.0], [1.0], [1.0], [9.0], [1.0], [1.0]]), f=1)
    array([1.])
    """
    n = geometry.n
    count = min(n, 3 * f + 1) if groups is None else whole_number("median_of_means", "groups", groups)
    if not 2 * f < count <= n:
        raise ToleranceError(f"median_of_means bears f={f} in {2 * f + 1} to n = {n} groups, but groups={count}")
    shuffled = (rng or np.random.default_rng(0)).permutation(n)
    group = np.arange(n) * count // n
    means = np.zeros((count, n))
    means[group, shuffled] = 1 / np.bincount(group)[group]
    return geometric_median.function(geometry.mixed(means)) @ means
