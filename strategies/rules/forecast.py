"""Rules that foresee what each client will send, from what clients sent before, and leave out who surprises."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from ..columns import Columns
from ..contract import Combination, Floats, rule, whole_number
from ..errors import UpdateError
from ..geometry import Geometry
from ..past import MOVES, Past
from ..robust import from_median, middle, shortened

FIRST = "in a first round nothing is foreseen, and all rows are averaged"
MOST = 10.0  # of the median client's surprise: more counts for no more, so that one client does not hide another
FAR = 3.0  # robust standard deviations above the median
REFERENCES = 50
REACH = 3.0  # median lengths: a longer row is shortened before it teaches what to foresee


@rule(exempt={"survival": FIRST, "size": FIRST})
def fldetector(
    geometry: Geometry,
    f: int = 0,
    *,
    window: int = MOVES - 1,
    past: Past | None = None,
    clients: tuple[str, ...] | None = None,
    memory: Mapping[str, Sequence[float]] | None = None,
) -> Combination:
    """The mean of the rows whose clients do not keep on surprising.

    A client is expected to send what it sent last, changed by as much as the model moved since, times the Hessian,
    which L-BFGS estimates from the model's moves. Its surprise is the distance from that, in units of the median
    client's, at most 10, averaged over the last `window` rounds it took part in. If the gap statistic sees two groups
    of clients, those of the more surprising one, but at most f and none within 3 robust standard deviations of the
    median, are left out. A client without a past is not judged.

    The moves are the updates that the defense answered, so that no learning rate is needed; a server optimizer that
    makes other moves of them makes the forecasts worse. Where L-BFGS makes that of the median client worse than no
    change at all would, none is foreseen. Deviations from the paper: surprises are divided by their median, not their
    sum, and capped, because one huge one would make all others look alike; who is found is left out of the round, where
    the paper starts the training anew. Keeps one update per client and eleven moves in the state.

    Source: Zhang, Cao, Jia, Gong, KDD 2022, https://arxiv.org/abs/2207.09209

    >>> rows = np.array([[1.0], [1.1], [0.9], [1.0], [5.0]])  # the last one sent something else in the round before
    >>> fldetector(rows, f=1, past=(np.array([[1.1], [1.0], [1.0], [1.1], [-5.0]]), np.array([[1.0]]))).round(9)
    array([1.])
    """
    rounds, n = whole_number("fldetector", "window", window), geometry.n
    if past is None:
        return Combination(np.full(n, 1 / n), memory=memory)
    surprise = surprises(past)
    scores = np.minimum(surprise, MOST)
    record = dict(memory or {})
    for row, name in enumerate(clients or ()):
        if not np.isnan(surprise[row]):
            record[name] = [*record.get(name, ()), float(scores[row])][-rounds:]
        if record.get(name):  # also of one that was away for so long that nothing is foreseen
            scores[row] = float(np.mean(record[name]))
    judged = np.flatnonzero(~np.isnan(scores))
    found = judged[surprising(scores[judged])]
    worst = np.lexsort((-np.nan_to_num(surprise[found]), -scores[found]))
    kept = np.ones(n, bool)
    kept[found[worst[:f]]] = False
    return Combination(kept / kept.sum(), memory=record)


def surprises(past: Past) -> Floats:
    """How far each client's row is from what its past foretells, in units of the median client; NaN for a stranger."""
    n = past.n
    k = past.geometry.n - 2 * n
    known = (past.ages >= 0) & (past.ages <= k)
    if not known.any():
        return np.full(n, np.nan)
    change = np.eye(n, 2 * n + k, n) - np.eye(n, 2 * n + k)
    moved = (np.arange(k) < past.ages[:, None]).astype(np.float64)  # which moves a client has not answered yet
    foreseen = change + np.pad(moved @ hessian(past).T, ((0, 0), (2 * n, 0)))
    away = [past.geometry.mixed(combination).norms for combination in (change, foreseen)]
    distances = min(away, key=lambda lengths: middle(lengths[known]))
    usual = middle(distances[known])
    with np.errstate(over="ignore"):
        ratios = np.divide(distances, usual, out=np.where(distances > 0, MOST, 1.0), where=usual > 0)
    return np.where(known, ratios, np.nan)


def hessian(past: Past) -> Floats:
    """The estimated Hessian times each of the last k moves, `(k, k)`: each column a combination of the moves.

    In units of the learning rate, and with its sign: it is how an update changes when the model moves. L-BFGS in its
    compact form (Byrd, Nocedal, Schnabel 1994) takes only inner products.
    """
    start = 2 * past.n
    scale = past.geometry.shortening[start:]
    k = len(scale)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        gram = past.geometry.gram[start:, start:] / scale[:, None] / scale[None, :]
        gram = gram / np.abs(gram).max(initial=0.0)
    if k < 2 or not np.isfinite(gram).all():
        return np.zeros((k, k))
    steps = np.eye(k)[:, :0:-1]  # oldest first: what the model moved by, and how the next move differed
    changes = np.eye(k)[:, -2::-1] - steps
    between = steps.T @ gram @ changes
    squares = steps.T @ gram @ steps
    if squares[-1, -1] <= 0:
        return np.zeros((k, k))
    sigma = between[-1, -1] / squares[-1, -1]
    lower = np.tril(between, -1)
    whole = np.block([[sigma * squares, lower], [lower.T, -np.diag(np.diag(between))]])
    basis = np.hstack([sigma * steps, changes])
    answers = cast("Floats", np.linalg.lstsq(whole, basis.T @ gram, rcond=None)[0])
    return sigma * np.eye(k) - basis @ answers


def surprising(scores: Floats) -> Any:
    """Which scores `(m,)` are those of the upper of two groups and far above the median; none if there is one group.

    Whether there are two is told by the gap statistic: the sum of squares within the groups falls by more than it would
    among evenly spread numbers (Tibshirani, Walther, Hastie, 2001).

    >>> surprising(np.array([1.0, 1.1, 5.0, 0.9, 1.0]))
    array([False, False,  True, False, False])
    >>> surprising(np.array([1.0, 1.1, 1.2, 0.9, 0.8])).any()
    np.False_
    """
    m = len(scores)
    width = float(np.ptp(scores)) if m > 2 else 0.0
    if width == 0.0:
        return np.zeros(m, bool)
    one, two, bound = _two_groups((scores - scores.min()) / width)
    usual_one, usual_two, deviation = _evenly_spread(m)
    if usual_one - one >= usual_two - two - deviation:
        return np.zeros(m, bool)
    return ((scores - scores.min()) / width > bound) & (from_median(scores) > FAR) & (scores > middle(scores))


def _two_groups(values: Floats) -> tuple[float, float, float]:
    """Logarithms of the sums of squares in one group and in the best two, and the largest value of the lower one."""
    ordered = np.sort(values)
    counts = np.arange(1, len(ordered))
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    low = squares[:-1] - sums[:-1] ** 2 / counts
    high = squares[-1] - squares[:-1] - (sums[-1] - sums[:-1]) ** 2 / (len(ordered) - counts)
    within = np.maximum(low, 0.0) + np.maximum(high, 0.0)
    best = int(np.argmin(within))
    one = squares[-1] - sums[-1] ** 2 / len(ordered)
    return math.log(max(float(one), 1e-12)), math.log(max(float(within[best]), 1e-12)), float(ordered[best])


@functools.lru_cache(maxsize=256)
def _evenly_spread(m: int) -> tuple[float, float, float]:
    """What the logarithms are for `m` evenly spread numbers on average, and the second one's standard deviation."""
    rng = np.random.default_rng(m)
    found = np.array([_two_groups(rng.uniform(size=m))[:2] for _ in range(REFERENCES)])
    one, two = found.mean(axis=0).tolist()
    return one, two, float(found[:, 1].std()) * math.sqrt(1 + 1 / REFERENCES)


@rule(exempt={"survival": FIRST, "size": FIRST})
def flanders(
    geometry: Geometry,
    f: int,
    *,
    sampled: int = 100,
    window: int = 5,
    iterations: int = 20,
    columns: Columns | None = None,
    clients: tuple[str, ...] | None = None,
    memory: Sequence[Mapping[str, Sequence[float]]] | None = None,
) -> Combination:
    """The mean of the n - f rows nearest to what a matrix autoregressive model foresees for them.

    The rounds of the `window` are matrices, a client a row and `sampled` evenly spaced columns; each is foreseen as
    A X B of the one before, A and B being fitted in turns to the window by least squares with a ridge of 1. Rows longer
    than three times the median are shortened before they teach. A client that was away stays where it was last seen; a
    stranger is thought to be where the median client was. In a first round nothing is foreseen and no row is left out.

    The paper forecasts the clients' models; these are rows, differences from the model that all of them were sent. Its
    code starts A and B at random and takes the last round for the one before the first; here the identity comes first.
    History is kept by identity, `sampled` numbers per client and round; without identities there is none.

    Source: Gabrielli, Belli, Miori, Tolomei 2023, https://arxiv.org/abs/2303.16668

    >>> rows = np.array([[1.0, 1.0], [1.1, 0.9], [5.0, -5.0]])
    >>> past = [{"a": [1.0, 1.0], "b": [1.1, 0.9], "c": [1.0, 1.1]}]
    >>> flanders(rows, f=1, clients=("a", "b", "c"), memory=past)
    array([1.05, 0.95])
    """
    size = whole_number("flanders", "sampled", sampled)
    kept, steps = whole_number("flanders", "window", window), whole_number("flanders", "iterations", iterations)
    n, rounds = geometry.n, list(memory or ())
    now = cast("Columns", columns).sample(size)
    if clients is None:
        return Combination(np.full(n, 1 / n))
    if any(len(row) != now.shape[1] for taught in rounds for row in taught.values()):
        raise UpdateError(f"flanders remembers rows of another length than the {now.shape[1]} columns sampled now")
    short = now * shortened(_lengths(now), REACH * middle(_lengths(now)))[:, None]
    after = [*rounds, dict(zip(clients, short.tolist(), strict=True))][-kept:]
    if not rounds:
        return Combination(np.full(n, 1 / n), memory=after)
    surprise = _lengths(now - foreseen(series(rounds, clients), steps))
    weights = np.zeros(n)
    weights[np.argsort(surprise, kind="stable")[: n - f]] = 1 / (n - f)
    return Combination(weights, memory=after)


def series(rounds: Sequence[Mapping[str, Sequence[float]]], clients: Sequence[str]) -> Floats:
    """The clients' rows in past rounds, `(T, n, k)`; one that was away is where it was before, or with the median."""
    found: list[Floats] = []
    for taught in rounds:
        usual = np.median(np.array(list(taught.values()), np.float64), axis=0)
        before = found[-1] if found else np.tile(usual, (len(clients), 1))
        known = {name for earlier in rounds[: len(found)] for name in earlier}
        found.append(
            np.array(
                [
                    taught[name] if name in taught else before[row] if name in known else usual
                    for row, name in enumerate(clients)
                ],
                np.float64,
            ).reshape(len(clients), len(usual))
        )
    return np.stack(found)


def foreseen(rounds: Floats, iterations: int) -> Floats:
    """The next matrix `(n, k)` of a series `(T, n, k)`; the last one where there is but one."""
    unit = math.sqrt(float(np.mean((rounds / (np.abs(rounds).max(initial=0.0) or 1.0)) ** 2)) if rounds.size else 0.0)
    unit *= float(np.abs(rounds).max(initial=0.0))
    if len(rounds) < 2 or unit == 0.0:
        return rounds[-1]
    before, after = rounds[:-1] / unit, rounds[1:] / unit
    _, n, k = rounds.shape
    left, right = np.eye(n), np.eye(k)
    for _ in range(iterations):
        left = _fitted(before @ right.T, after)
        right = _fitted((left @ before).transpose(0, 2, 1), after.transpose(0, 2, 1))
    return left @ rounds[-1] @ right.T


def _fitted(before: Floats, after: Floats) -> Floats:
    """The matrix `(m, m)` that takes matrices `(T, m, l)` nearest to others by least squares with a ridge of 1."""
    flat = (
        before.transpose(1, 0, 2).reshape(before.shape[1], -1),
        after.transpose(1, 0, 2).reshape(after.shape[1], -1),
    )
    squares = flat[0] @ flat[0].T + np.eye(before.shape[1])
    return cast("Floats", np.linalg.solve(squares, flat[0] @ flat[1].T)).T


def _lengths(rows: Floats) -> Floats:
    """The lengths `(n,)` of rows of any size."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    units = np.divide(rows, largest[:, None], out=np.zeros_like(rows), where=largest[:, None] > 0)
    with np.errstate(over="ignore"):
        return np.minimum(largest * np.sqrt((units**2).sum(axis=1)), np.finfo(np.float64).max)
