"""Updates clipped and covered with noise before they leave the site, and what privacy that is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
from hawthorn.strategies.errors import SettingError
from scipy.special import ndtri

from .assignment import read
from .vectors import Floats


def settings(run_config: Mapping[str, object]) -> tuple[float, float]:
    """The longest update that leaves the site (0: any length), and the noise as a multiple of that.

    Raises `SettingError` for noise without a longest update, of which it is a multiple.
    """
    clip, noise = read(run_config, "clip-norm", 0.0), read(run_config, "local-noise", 0.0)
    for name, value in (("clip-norm", clip), ("local-noise", noise)):
        if not math.isfinite(value) or value < 0:
            raise SettingError(f"{name} must be a finite number of at least 0, got {value!r}")
    if noise and not clip:
        raise SettingError(f"local-noise={noise:g} is a multiple of the longest update: write clip-norm=1.0, say")
    return clip, noise


def clipped(update: Floats, longest: float) -> Floats:
    """The update `(d,)`, shortened to the length `longest` if it is longer; zero if it is not finite.

    >>> clipped(np.array([3.0, 4.0]), 1.0), clipped(np.array([0.3, 0.4]), 1.0)
    (array([0.6, 0.8]), array([0.3, 0.4]))
    """
    if not np.isfinite(update).all():  # has no length to be shortened to
        return np.zeros_like(update)
    largest = float(np.abs(update).max(initial=0.0))
    if not largest:
        return update
    length = largest * float(np.linalg.norm(update / largest))  # squares of large numbers overflow
    return update if length <= longest else update * (longest / length)


def noise(d: int, rng: np.random.Generator | None = None) -> Floats:
    """Standard normal noise `(d,)` from the operating system's secure randomness; from `rng` only in tests.

    A generator that can be predicted from what it has given out would let a server subtract the noise.
    """
    if rng is not None:
        return rng.standard_normal(d)
    drawn = np.frombuffer(os.urandom(8 * d), dtype=np.uint64) >> np.uint64(11)
    return ndtri((drawn + 0.5) / 2.0**53)


def epsilon(local_noise: float, rounds: int, delta: float = 1e-5) -> float:
    """What the updates of so many rounds at most tell of a site's data: (epsilon, `delta`) local differential privacy.

    Neighbors are any two data sets of the site, so that clipped updates differ by at most twice `clip-norm`. A round is
    2 / local_noise^2 zero-concentrated; rounds add up (Bun, Steinke, TCC 2016, https://arxiv.org/abs/1605.02065).

    >>> [round(epsilon(noise, rounds=20), 1) for noise in (1, 5, 20)]
    [82.9, 10.2, 2.2]
    """
    rho = 2 * rounds / local_noise**2
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))
