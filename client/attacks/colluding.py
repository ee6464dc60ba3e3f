"""Attacks of clients that know each other and the honest updates: `(h, d)` honest rows in, `(f, d)` hostile ones out.

They assume the most a poisoner can know, so that a defense that holds against them holds against less.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.contract import attack
from hawthorn.strategies.errors import SettingError

Updates = npt.NDArray[np.float64]


@attack
def ipm(honest: Updates, f: int, *, epsilon: float = 3.0) -> Updates:
    """f times -epsilon times the mean of the honest updates ("inner product manipulation").

    The plain mean of h honest and f such rows points backwards if epsilon > h / f, as it does by default with 3 of 10
    hostile. A small epsilon, 0.1, hides among the honest rows and misleads rules that pick one of them.

    Xie, Koyejo, Gupta, "Fall of empires", UAI 2019, https://arxiv.org/abs/1903.03936

    >>> ipm(np.array([[1.0, 0.0], [3.0, 2.0]]), 1, epsilon=0.5)
    array([[-1. , -0.5]])
    """
    return np.tile(-epsilon * honest.mean(axis=0), (f, 1))


@attack
def alie(honest: Updates, f: int, *, z: float | None = None, clients: int = 0, hostile: int = 0) -> Updates:
    """f times the mean of the honest updates less `z` standard deviations per coordinate ("a little is enough").

    Without `z`, the largest one that enough honest clients exceed for the hostile to pass as the majority: see
    `largest_hidden_z`. It is that of the whole federation where its `clients` and `hostile` are known, because nobody
    knows beforehand who is asked in a round. The mean and deviation are those of the honest rows, which the paper
    estimates.

    Baruch, Baruch, Goldberg, NeurIPS 2019, https://arxiv.org/abs/1902.06156

    >>> alie(np.array([[1.0, 0.0], [3.0, 0.0]]), 1, z=1.5)
    array([[0.5, 0. ]])
    """
    if f == 0:
        return np.zeros((0, honest.shape[1]))
    if z is None:
        z = largest_hidden_z(clients, hostile) if clients else largest_hidden_z(len(honest) + f, f)
    return np.tile(honest.mean(axis=0) - z * honest.std(axis=0), (f, 1))


def largest_hidden_z(n: int, f: int) -> float:
    """The z of the paper: the normal quantile of (n - f - s) / (n - f), where s = floor(n / 2 + 1) - f.

    s honest clients must lie beyond the hostile ones for these to be a majority together with them. Raises
    `SettingError` where that quantile is no attack (z <= 0, as for small n) or there is none (f of n is a majority).

    >>> round(largest_hidden_z(50, 24), 2)
    1.43
    """
    supporters = n // 2 + 1 - f
    share = (n - f - supporters) / (n - f) if f < n else 1.0
    z = NormalDist().inv_cdf(share) if 0 < share < 1 else None
    if z is None or z <= 0:
        found = f"z = {z:.2g}, which is no attack" if z is not None else "no z at all"
        raise SettingError(
            f"the paper gives alie with {f} hostile of {n} clients {found}: set one, such as alie(z=1.5)"
        )
    return z
