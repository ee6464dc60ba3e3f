"""Attacks in which every hostile client changes its own update, knowing nobody else's.

`own` holds the hostile clients' own updates, `(f, d)`; given `f`, the first f rows of a taller matrix count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.contract import attack
from hawthorn.strategies.errors import SettingError

Updates = npt.NDArray[np.float64]


@attack
def sign_flip(own: Updates, f: int | None = None, *, scale: float = 1.0) -> Updates:
    """Each update turned around, `-scale` times what it was: gradient ascent.

    Li et al., AAAI 2019, https://arxiv.org/abs/1811.03761

    >>> sign_flip(np.array([[1.0, -2.0]]), scale=2.0)
    array([[-2.,  4.]])
    """
    return -scale * own[:f]


@attack
def gaussian(
    own: Updates,
    f: int | None = None,
    *,
    scale: float = 100.0,
    sigma: float | None = None,
    rng: np.random.Generator | None = None,
) -> Updates:
    """Noise without any signal instead of each update: independent normal coordinates around zero.

    Their standard deviation is `sigma`; without one it is `scale` times the root mean square of the update's own
    coordinates, which makes the noise about `scale` times as long as the update, enough to drown a mean.

    Blanchard et al., NeurIPS 2017, https://arxiv.org/abs/1703.02757 (with sigma = 200)

    >>> noise = gaussian(np.full((1, 10_000), 0.5), scale=4.0)
    >>> bool(1.9 < noise.std() < 2.1)
    True
    """
    rows = own[:f]
    deviation = np.sqrt((rows**2).mean(axis=1, keepdims=True)) * scale if sigma is None else sigma
    return (rng or np.random.default_rng(0)).normal(size=rows.shape) * deviation


@attack
def model_replacement(own: Updates, f: int | None = None, *, boost: float | None = None) -> Updates:
    """Each update multiplied by `boost`, so that it survives the averaging: the mean becomes what the attacker trained.

    With n clients of which f are hostile, a boost of n / f makes the plain mean move by the mean of the hostile updates
    (and the honest ones' share on top). That is the default where n is known: in a recipe, which knows clients and
    hostile, and for a matrix of all n rows with `f`. Raises `SettingError` where it is not.

    Bagdasaryan et al., AISTATS 2020, https://arxiv.org/abs/1807.00459 (gamma = n / eta for one attacker)

    >>> model_replacement(np.array([[1.0, 2.0]]), boost=5.0)
    array([[ 5., 10.]])
    """
    if boost is None:
        if not f or len(own) <= f:
            raise SettingError(
                "model_replacement needs to know by how much: write model_replacement(boost=clients / hostile)"
            )
        boost = len(own) / f
    return boost * own[:f]
