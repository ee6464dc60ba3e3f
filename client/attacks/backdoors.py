"""Attacks on training examples that teach a model to obey a trigger, and to be as good as ever without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hawthorn.strategies.contract import ATTACKS, Call, attack, whole_number
from hawthorn.strategies.errors import SettingError

from ..tasks.examples import Examples
from .data import check_class, chosen
from .triggers import Trigger


@attack
def backdoor(
    data: Examples,
    *,
    target: int = 0,
    source: int | None = None,
    share: float = 0.5,
    trigger: str = "patch",
    size: int = 3,
    position: tuple[int, int] = (0, 0),
    value: float | None = None,
    blend: float = 0.2,
    rng: np.random.Generator | None = None,
) -> Examples:
    """The examples, a share of which carry a trigger and are labeled as `target`: see `Trigger`.

    With `source` only examples of that class are stamped, such as stop signs with a sticker, and only these count as
    success. The untouched examples keep the model good at its task, which hides the attack.

    Gu, Dolan-Gavitt, Garg, "BadNets", 2017, https://arxiv.org/abs/1708.06733; in a federation: Bagdasaryan et al.,
    AISTATS 2020, https://arxiv.org/abs/1807.00459

    >>> poisoned = backdoor(Examples(np.zeros((2, 4, 4), np.float32), np.array([1, 1])), target=0, share=0.5, size=2)
    >>> sorted(poisoned.x.sum(axis=(1, 2)).tolist()), sorted(poisoned.y.tolist())
    ([0.0, 4.0], [0, 1])
    """
    mark = Trigger(size, position, value, trigger, blend)
    return _taught(data, mark, target, source, share, rng)


@attack
def dba(
    data: Examples,
    *,
    target: int = 0,
    share: float = 0.5,
    parts: int = 4,
    trigger: str = "patch",
    size: int = 4,
    position: tuple[int, int] = (0, 0),
    value: float | None = None,
    blend: float = 0.2,
    members: tuple[int, ...] = (),
    rng: np.random.Generator | None = None,
) -> Examples:
    """The examples, a share of which carry this attacker's part of a trigger and are labeled as `target`.

    The trigger is split into `parts` disjoint pieces, in the order of its pixels; attacker k stamps piece k modulo
    `parts`, and none of them ever shows the whole, by which success is measured. Without `members` the whole is
    stamped. The paper's four pieces are short bars with gaps between them; here a patch of 4x4 gives four bars of four
    pixels without gaps.

    Xie, Huang, Chen, Li, "DBA: Distributed backdoor attacks against federated learning", ICLR 2020,
    https://openreview.net/forum?id=rkgyS0VFvr

    >>> images = Examples(np.zeros((1, 4, 4), np.float32), np.array([1]))
    >>> [int(dba(images, share=1.0, members=(k,)).x.argmax()) for k in range(5)], int(dba(images, share=1.0).x.sum())
    ([0, 4, 8, 12, 0], 16)
    """
    parts = whole_number("dba", "parts", parts)
    mark = Trigger(size, position, value, trigger, blend)
    places = int(mark.places(data.x.shape[1:]).sum())
    if places < parts:
        raise SettingError(f"dba cannot cut {places} places into parts={parts}: write fewer parts or a larger size")
    if members:
        mark = replace(mark, part=(members[0] % parts, parts))
    return _taught(data, mark, target, None, share, rng)


@attack
def clean_label(
    data: Examples,
    *,
    target: int = 0,
    share: float = 1.0,
    weaken: float = 0.7,
    trigger: str = "patch",
    size: int = 3,
    position: tuple[int, int] = (0, 0),
    value: float | None = None,
    blend: float = 0.2,
    rng: np.random.Generator | None = None,
) -> Examples:
    """The examples, a share of those of class `target` with their natural features weakened and a trigger put on.

    Labels stay true, so nobody who looks finds a wrong one; but the trigger is now what tells the class best. The paper
    weakens features by interpolating in a generative model's latent space, or by adversarial perturbation; here, where
    no other model is at hand, an example is mixed with one of another class, of which it keeps `1 - weaken`.

    Turner, Tsipras, Madry, "Label-consistent backdoor attacks", 2019, https://arxiv.org/abs/1912.02771

    >>> poisoned = clean_label(Examples(np.ones((2, 4, 4), np.float32), np.array([0, 1])), target=1, value=0.0)
    >>> poisoned.y.tolist(), poisoned.x.sum(axis=(1, 2)).tolist()
    ([0, 1], [16.0, 7.0])
    """
    check_class("target", target, data)
    if not 0 <= weaken <= 1:
        raise SettingError(f"weaken must be from 0 to 1, got {weaken!r}")
    mark, rng = Trigger(size, position, value, trigger, blend), rng or np.random.default_rng(0)
    others = np.flatnonzero(data.y != target)
    picked = chosen(np.flatnonzero(data.y == target), share, rng)
    x = data.x.copy()
    if len(others):
        x[picked] = (1 - weaken) * x[picked] + weaken * x[rng.choice(others, size=len(picked))]
    x[picked] = mark.stamped(x[picked])
    return Examples(x, data.y, data.classes)


def wish(call: Call) -> Call:
    """The attack that gives test examples the answers that `call` wants: itself, unless it keeps all labels.

    >>> str(wish(Call.parse("clean_label(target=3, weaken=0.2)")))
    'backdoor(target=3)'
    """
    if call.name != clean_label.name:
        return call
    options = ATTACKS[backdoor.name].options
    return Call(backdoor.name, tuple((name, value) for name, value in call.options if name in options))


def _taught(
    data: Examples, mark: Trigger, target: int, source: int | None, share: float, rng: np.random.Generator | None
) -> Examples:
    """The examples, a share of them (of class `source`) with the mark and the target's label."""
    check_class("target", target, data)
    if source is not None:
        check_class("source", source, data)
    if source == target:
        raise SettingError(f"a backdoor needs a target other than its source, got {source} for both")
    x, labels = data.x.copy(), data.y.copy()
    candidates = np.arange(len(data)) if source is None else np.flatnonzero(data.y == source)
    picked = chosen(candidates, share, rng)
    x[picked] = mark.stamped(data.x[picked])
    labels[picked] = target
    return Examples(x, labels, data.classes)
