"""Rules that ask for a row to trust, or for whom to distrust because others say the same."""

import numpy as np

from ..contract import Floats, rule
from ..errors import SettingError
from ..geometry import Geometry

FROM_ORIGIN = "angles are seen from the origin"


def trusted_row(name: str, trusted: Geometry | None) -> Geometry:
    """`trusted` itself; raises `SettingError` where there is none, for no row of a client's may stand in."""
    if trusted is None:
        raise SettingError(f"{name} needs an update of the server's own: write trusted=..., one row of the same length")
    return trusted


@rule()
def monna(geometry: Geometry, f: int, *, trusted: Geometry | None = None) -> Floats:
    """The mean of the n - f rows nearest the trusted one, which is not among them (nearest neighbor averaging).

    In the paper that is each peer's own row; here it is an update of the server's own, and never that of some client.

    Source: Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan, ICML 2023, https://arxiv.org/abs/2209.10931

    >>> monna(np.array([[0.0], [1.0], [2.0], [9.0]]), f=1, trusted=np.array([6.0]))
    array([4.])
    """
    away = trusted_row("monna", trusted).squared_distances[-1, :-1]
    weights = np.zeros(geometry.n)
    weights[np.argsort(away, kind="stable")[: geometry.n - f]] = 1 / (geometry.n - f)
    return weights


@rule(exempt={"translation": FROM_ORIGIN, "survival": "a few rows at a right angle or beyond leave it to the others"})
def fltrust(geometry: Geometry, f: int = 0, *, trusted: Geometry | None = None) -> Floats:
    """The mean of the rows, each as long as the trusted one and weighed by its cosine with it, if that is above 0.

    Where no row points the trusted one's way the update is zero, and the model stays.

    Source: Cao, Fang, Liu, Gong, NDSS 2021, https://arxiv.org/abs/2012.13995

    >>> fltrust(np.array([[0.0, 5.0], [3.0, 3.0], [-9.0, 0.0]]), trusted=np.array([0.0, 2.0])).round(3)
    array([0.586, 1.757])
    """
    whole = trusted_row("fltrust", trusted)
    trust = np.maximum(whole.cosines[-1, :-1], 0.0)
    if not trust.any():
        return trust
    norms = whole.norms
    with np.errstate(over="ignore"):
        factors = np.divide(norms[-1], norms[:-1], out=np.zeros(geometry.n), where=trust > 0)
    return trust / trust.sum() * np.minimum(factors, np.finfo(np.float64).max)


@rule(
    exempt={
        "translation": FROM_ORIGIN,
        "agreement": "clients that agree are what it looks for: the update is zero",
        "survival": "whoever says something else than all others is believed",
        "size": "lengths are of no account",
    }
)
def foolsgold(geometry: Geometry, f: int = 0, *, sums: Geometry | None = None) -> Floats:
    """The mean of the rows, the less of a row the more its client's updates of all rounds resemble another client's.

    With the largest cosine m_i of client i's sum and any other (at least 0), cosines with a client of larger m_j shrink
    by m_i / m_j, which pardons honest clients that resemble an attacker; weights are 1 minus what is then the largest,
    divided by the largest weight, taken through a logit plus 1/2, and cut to [0, 1]; here they end up with sum 1. Where
    all clients resemble another the update is zero, and the model stays. Without identities the rows are the sums.

    All is computed in what cosines lack of 1, which sums with a large common part leave more digits.

    Source: Fung, Yoon, Beschastnikh, RAID 2020, https://arxiv.org/abs/1808.04866

    >>> foolsgold(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])).round(3)
    array([0.5, 0.5])
    """
    apart = (geometry if sums is None else sums).cosine_distances
    others = apart.copy()
    np.fill_diagonal(others, 1.0)  # nobody resembles itself
    nearest = np.minimum(others.min(axis=1), 1.0)  # 1 - m
    mine, theirs = nearest[:, None], nearest[None, :]
    pardoned = np.divide(mine - theirs + others * (1 - mine), 1 - theirs, out=others, where=mine > theirs)
    weights = np.clip(pardoned.min(axis=1), 0.0, 1.0)
    if not weights.any():
        return weights
    weights /= weights.max()
    weights[weights == 1.0] = 0.99
    with np.errstate(divide="ignore"):
        weights = np.clip(np.log(weights / (1 - weights)) + 0.5, 0.0, 1.0)
    return weights / weights.sum()
