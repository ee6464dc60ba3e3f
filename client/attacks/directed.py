"""A colluding attack made for the rule it is aimed at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.contract import attack, nearest, number_between
from hawthorn.strategies.errors import SettingError

Updates = npt.NDArray[np.float64]
Row = npt.NDArray[np.float64]
RULES = ("krum", "trimmed_mean", "median")
HALVINGS = 40


@attack
def fang(
    honest: Updates, f: int, *, against: str = "krum", b: float = 2.0, rng: np.random.Generator | None = None
) -> Updates:
    """f updates that turn the rule's answer against the way the model would have gone, the sign of the honest mean.

    Against "krum" all are -lambda times that sign; lambda starts at the paper's upper bound and is halved until Krum
    would select the row, with its f - 1 copies near it. (Where no lambda brings that about, as can be for one attacker
    alone, the last and smallest is sent.) Against "trimmed_mean" and "median" each coordinate is drawn at random beyond
    the honest extreme on the other side: from the extreme to `b` times it, or to a b-th of it where that is beyond.
    The paper does both to models; here they are done to updates, as a defense sees them. It knows all honest updates.

    Fang, Cao, Jia, Gong, "Local model poisoning attacks to Byzantine-robust federated learning", USENIX Security 2020,
    https://arxiv.org/abs/1911.11815

    >>> rows = fang(np.array([[1.0, -2.0], [2.0, -1.0], [3.0, -1.0]]), 2, against="median")
    >>> bool((rows[:, 0] <= 1).all() and (rows[:, 0] >= 0.5).all() and (rows[:, 1] >= -1).all())
    True
    """
    if against not in RULES:
        raise SettingError(f"fang is not made against {against!r}; {nearest(str(against), RULES)}")
    if against == "krum":
        return np.tile(_selected_by_krum(honest, f), (f, 1))
    b = number_between("fang", "b above 1", b, 1.0, np.inf)
    low: Row = honest.min(axis=0)
    high: Row = honest.max(axis=0)
    beyond = np.minimum(low * b, low / b), np.maximum(high * b, high / b)  # whichever lies outside
    rises = honest.mean(axis=0) >= 0
    near, far = np.where(rises, low, high), np.where(rises, *beyond)
    return near + (rng or np.random.default_rng(0)).random((f, honest.shape[1])) * (far - near)


def _selected_by_krum(honest: Updates, f: int) -> Row:
    """The largest of the paper's steps against the honest mean's signs whose f copies Krum selects."""
    h, d = honest.shape
    signs = np.sign(honest.mean(axis=0))
    among = np.stack([((honest - row) ** 2).sum(axis=1) for row in honest])
    np.fill_diagonal(among, np.inf)  # nobody is its own neighbor
    among.sort(axis=1)
    lengths = np.linalg.norm(honest, axis=1)
    neighbors = max(1, h - 2)  # n - f - 2 of n = h + f
    spread = among[:, : min(neighbors, h - 1)].sum(axis=1).min()
    step = float(np.sqrt(spread / (max(1, h - f - 1) * d)) + lengths.max() / np.sqrt(d))
    for _ in range(HALVINGS):
        away = ((honest + step * signs) ** 2).sum(axis=1)
        copies = np.zeros(max(f - 1, 0))
        score = np.sort(np.concatenate([copies, away]))[:neighbors].sum()
        others = np.sort(np.concatenate([among[:, : h - 1], np.tile(away[:, np.newaxis], (1, f))], axis=1), axis=1)
        if score < others[:, :neighbors].sum(axis=1).min():
            break
        step /= 2
    return -step * signs
