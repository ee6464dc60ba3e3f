"""A rule that looks into the output layer: which labels did a client train on?"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import distance

from ..columns import Columns
from ..contract import Floats, number_between, rule
from ..geometry import Geometry
from ..robust import middle, shortened

Labels = NDArray[np.int64]

NEURONS = 1024  # that a row is cut into where its layers are unknown
EXCEEDING = 0.01  # of the largest share, or 1 / C where that is more


@rule(
    exempt={
        "translation": "energies and lengths are seen from the origin",
        "survival": "rows that train on as many labels as most may be any",
    }
)
def deepsight(geometry: Geometry, f: int = 0, *, tau: float = 1 / 3, columns: Columns | None = None) -> Floats:
    """The mean of the rows in clusters with few suspects, each shortened to the median length of all rows.

    A suspect changes few output neurons: one of whose neurons at most half as many exceed a threshold as of the median
    client. Its data have few labels, as those of a backdoor often do. Rows are clustered by the energies of their
    output neurons, and by the cosines of their output biases; both clusterings together give the clusters, of which
    those with a share of suspects below `tau` are kept. Where none is, the update is zero. HDBSCAN clusters, with two
    rows to a cluster at least; a row in no cluster is one of its own.

    The output layer is the last one of `bounds`, or the last two where they look like weights `(C, F)` and biases
    `(C,)`; without bounds every value is a neuron and a bias, or up to 1,024 values next to each other where there are
    more. The paper's third clustering, by the division differences of the models' answers to random inputs, needs the
    models themselves and is left out.

    Source: Rieger, Nguyen, Miettinen, Sadeghi, NDSS 2022, https://arxiv.org/abs/2201.00763

    >>> rows = np.array([[1.0, -1.0, 1.0]] * 4 + [[0.0, 1.5, 0.0]])  # three labels, or one
    >>> deepsight(rows, f=1)
    array([ 1., -1.,  1.])
    """
    share = number_between("deepsight", "a tau from 0 to 1", tau, 0, 1 + 1e-12)
    columns = cast("Columns", columns)
    energies, cosines = output_layer(columns, geometry)
    exceeding = threshold_exceedings(energies)
    suspect = exceeding <= np.median(exceeding) / 2
    apart = (_apart(clusters(cast("Floats", distance.cdist(energies, energies)))) + _apart(clusters(1 - cosines))) / 2
    final = _own_if_none(clusters(apart))
    suspects = np.bincount(final, suspect) / np.bincount(final)
    kept = suspects[final] < share
    weights = np.where(kept, shortened(geometry.norms, middle(geometry.norms)), 0.0)
    return weights / max(int(kept.sum()), 1)


def output_layer(columns: Columns, geometry: Geometry) -> tuple[Floats, Floats]:
    """Each row's energies `(n, C)`, shares that sum to 1, or zeros; and the cosines `(n, n)` of the output biases.

    An energy is the square of the sum of a neuron's absolute changes, bias included, over that of all neurons.
    """
    bounds: list[int] = columns.bounds[
        np.flatnonzero(np.diff(columns.bounds, prepend=-1))
    ].tolist()  # without empty layers
    if len(bounds) <= 2:  # one layer: nothing is known
        places = np.arange(columns.d) * min(columns.d, NEURONS) // max(columns.d, 1)
        return _shares(_changes(columns, 0, places)), geometry.cosines
    before, start, stop = bounds[-3:]
    count = stop - start
    biased = start - before >= count and (start - before) % count == 0
    places: NDArray[np.intp] = np.arange(count)
    if biased:
        places = np.append(np.arange(start - before) // ((start - before) // count), places)
    biases = np.concatenate([tile for _, _, tile in columns.tiles(start=start, stop=stop)], axis=1)
    biases = biases * columns.scale[:, None]
    lengths = np.sqrt((biases**2).sum(axis=1, keepdims=True))
    units = np.divide(biases, lengths, out=np.zeros_like(biases), where=lengths > 0)
    return _shares(_changes(columns, before if biased else start, places)), (units @ units.T).clip(-1.0, 1.0)


def _changes(columns: Columns, start: int, places: NDArray[np.intp]) -> Floats:
    """The sums `(n, C)` of the rows' absolute values from column `start` on, whose neurons are `places`."""
    found = np.zeros((columns.n, int(places.max(initial=-1)) + 1))
    for first, last, tile in columns.tiles(start=start, stop=start + len(places)):
        here = places[first - start : last - start]
        values = np.abs(tile) * columns.scale[:, None]
        for row, total in zip(values, found, strict=True):
            total += np.bincount(here, row, minlength=found.shape[1])
    return found


def _shares(changes: Floats) -> Floats:
    largest = changes.max(axis=1, keepdims=True, initial=0.0)
    squares = np.divide(changes, largest, out=np.zeros_like(changes), where=largest > 0) ** 2
    whole = squares.sum(axis=1, keepdims=True)
    return np.divide(squares, whole, out=np.zeros_like(squares), where=whole > 0)


def threshold_exceedings(energies: Floats) -> Labels:
    """How many neurons of each row have more energy than a hundredth of the largest one, or a C-th if that is more.

    >>> threshold_exceedings(np.array([[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]]))
    array([3, 1])
    """
    factor = max(EXCEEDING, 1 / max(energies.shape[1], 1))
    return (energies > factor * energies.max(axis=1, keepdims=True, initial=0.0)).sum(axis=1)


def clusters(distances: Floats) -> Labels:
    """The clusters `(n,)` that HDBSCAN finds from distances `(n, n)`; -1 for rows in none. Two rows or fewer are one.

    >>> clusters(np.abs(np.subtract.outer([0.0, 0.1, 0.2, 5.0, 5.1], [0.0, 0.1, 0.2, 5.0, 5.1]))).tolist()
    [0, 0, 0, 1, 1]
    """
    n = len(distances)
    if n <= 2:
        return np.zeros(n, np.int64)
    from sklearn.cluster import HDBSCAN  # takes a second to import

    whole = np.maximum((distances + distances.T) / 2, 0.0)
    np.fill_diagonal(whole, 0.0)
    kind: Any = HDBSCAN
    found = kind(metric="precomputed", min_cluster_size=2, min_samples=1, allow_single_cluster=True, copy=True)
    return found.fit(whole).labels_.astype(np.int64)


def _own_if_none(labels: Labels) -> Labels:
    """The same clusters, with one more for each row in none."""
    own = labels.copy()
    alone = np.flatnonzero(labels < 0)
    own[alone] = labels.max(initial=-1) + 1 + np.arange(len(alone))
    return own


def _apart(labels: Labels) -> Floats:
    """1 for two rows in different clusters, 0 for two in the same, `(n, n)`."""
    own = _own_if_none(labels)
    return (own[:, None] != own[None, :]).astype(np.float64)
