"""Attacks on a hostile client's training examples; it then trains on them as honestly as anyone.

Each maps examples to poisoned examples and never changes its input. What such an attack wants of the model is what it
teaches: `success.wanted` reads it from the labels the attack gives to the test examples. Those with a trigger are in
`backdoors`.
"""

from __future__ import annotations

import numpy as np
from hawthorn.strategies.contract import attack
from hawthorn.strategies.errors import SettingError

from ..tasks.examples import Examples


@attack
def label_flip(data: Examples) -> Examples:
    """The examples with label y turned into L - 1 - y, where L is the number of classes.

    Fang et al., USENIX Security 2020, https://arxiv.org/abs/1911.11815

    >>> label_flip(Examples(np.zeros((3, 1), np.float32), np.array([0, 1, 9]), classes=10)).y
    array([9, 8, 0])
    """
    return Examples(data.x, data.classes - 1 - data.y, data.classes)


@attack
def targeted_flip(
    data: Examples, *, source: int = 1, target: int = 0, share: float = 1.0, rng: np.random.Generator | None = None
) -> Examples:
    """The examples, a share of those of class `source` labeled as `target`.

    Tolpegin et al., ESORICS 2020, https://arxiv.org/abs/2007.08432

    >>> targeted_flip(Examples(np.zeros((3, 1), np.float32), np.array([0, 1, 2])), source=2, target=0).y
    array([0, 1, 0])
    """
    check_class("source", source, data)
    check_class("target", target, data)
    if source == target:
        raise SettingError(f"targeted_flip needs a target other than its source, got {source} for both")
    labels = data.y.copy()
    labels[chosen(np.flatnonzero(data.y == source), share, rng)] = target
    return Examples(data.x, labels, data.classes)


@attack
def feature_noise(
    data: Examples, *, scale: float = 1.4, share: float = 1.0, rng: np.random.Generator | None = None
) -> Examples:
    """The examples, a share of them with uniform noise on every feature; labels stay.

    The noise reaches from `-scale` to `scale` on an image's range stretched to [-1, 1], outside of which it is cut off,
    and that many standard deviations on a row.

    Munoz-Gonzalez, Co, Lupu, 2019, https://arxiv.org/abs/1909.05125 (the noisy clients)

    >>> noisy = feature_noise(Examples(np.zeros((2, 3), np.float32), np.array([0, 1])), scale=0.5)
    >>> bool(0 < np.abs(noisy.x).max() <= 0.5), noisy.y.tolist()
    (True, [0, 1])
    """
    rng = rng or np.random.default_rng(0)
    x = data.x.copy()
    picked = chosen(np.arange(len(data)), share, rng)
    width = scale / 2 if data.images else scale
    x[picked] += rng.uniform(-width, width, size=x[picked].shape).astype(np.float32)
    return Examples(x.clip(0, 1) if data.images else x, data.y, data.classes)


def check_class(option: str, label: int, data: Examples) -> None:
    """Raise `SettingError` unless the label is one of the classes."""
    if not isinstance(label, int) or not 0 <= label < data.classes:  # pyright: ignore[reportUnnecessaryIsInstance]  # a recipe is text
        raise SettingError(f"{option} must be a class from 0 to {data.classes - 1}, got {label!r}")


def chosen(candidates: np.ndarray, share: float, rng: np.random.Generator | None) -> np.ndarray:
    """A random share of the candidates, rounded up."""
    if not 0 < share <= 1:
        raise SettingError(f"share must be above 0 and at most 1, got {share!r}")
    count = int(np.ceil(round(share * len(candidates), 9)))
    return (rng or np.random.default_rng(0)).permutation(candidates)[:count]
