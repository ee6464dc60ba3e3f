"""How well an attack on data gets what it wants."""

from __future__ import annotations

import numpy as np
import torch
from hawthorn.strategies.contract import ATTACKS, Call

from ..tasks.examples import Examples, Floats, Labels, Task
from ..training import logits, predictions
from .backdoors import wish
from .recipe import Recipe


def wanted(recipe: Recipe, test: Examples, task: Task) -> tuple[Floats, Labels] | None:
    """The test examples on which the attack wants another answer, and those answers; None for one without a wish.

    An attack on data wants the labels it teaches: carried out in full on the test examples, it changes the labels of
    some, and these count. For a backdoor they are those of other classes with the trigger on, for a targeted flip those
    of the source class, for a label flip all but a middle class that stays as it is. Attacks that change no label, on
    updates, and colluding ones, wish for nothing in particular.
    """
    taught = Examples(test.x, test.y, task.classes)
    for call in recipe.of_kind("data"):
        call = wish(call)
        in_full = {"share": 1.0} if "share" in ATTACKS[call.name].options else {}
        full = Call(call.name, tuple((dict(call.options) | in_full).items()))
        shown = Recipe((full,)).poisoned(taught)
        if not np.array_equal(shown.y, taught.y):  # noise on the examples is no wish, and the judge sees none of it
            taught = shown
    changed = taught.y != test.y
    return (taught.x[changed], taught.y[changed]) if changed.any() else None


def attack_success(recipe: Recipe, model: torch.nn.Module, test: Examples, task: Task) -> float | None:
    """The share of test examples of which the model says what the attack wants; None if it wants none."""
    found = wanted(recipe, test, task)
    if found is None:
        return None
    x, labels = found
    return float((predictions(logits(model, x)) == labels).mean())
