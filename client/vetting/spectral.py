"""Triggers: a few examples of a class that share what no other class varies in.

A model that has learned a backdoor holds the marked examples of a class apart from its others, and they stand out along
the direction in which the class varies most: Tran, Li, Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018,
https://arxiv.org/abs/1811.00636. In small federated models that direction is mostly how people write a seven. So it is
taken here relative to how the other classes vary (whitening, as in Hayase et al., "SPECTRE", ICML 2021,
https://arxiv.org/abs/2104.11315), where a mark that only one class has stands out far more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..tasks.examples import Examples
from ..training import BATCH, one_thread
from .report import Check, Finding

Floats = npt.NDArray[np.float64]

COLUMNS = 256  # more are hashed into so many: the work grows with the square
LEAST = 20  # examples of a class, and of all others
GROUP = 3  # marked examples at least; fewer teach a model nothing
LARGEST = 0.25  # share of a class that a group of marked examples may have; a larger one is a part of the class
SHRINKAGE = 0.1
PRECISION = 1e-9


def penultimate(model: nn.Module, x: npt.NDArray[np.float32]) -> Floats | None:
    """What goes into a model's last linear layer `(N, h)`; None if it has none. The model stays as it is."""
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        return None
    seen: list[torch.Tensor] = []

    def heard(_layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0].detach().cpu())

    hook = linear[-1].register_forward_pre_hook(heard)
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with one_thread(), torch.inference_mode():
            for batch in torch.split(torch.from_numpy(x), BATCH):
                model(batch.to(device))
    finally:
        hook.remove()
        model.train(training)
    found = torch.cat([one.reshape(one.shape[0], -1) for one in seen]).numpy().astype(np.float64)
    return found if len(found) == len(x) and np.isfinite(found).all() else None


def triggers(data: Examples, deviations: float, features: Floats | None = None) -> tuple[Check, list[Finding]]:
    """Examples that a spectral signature sets apart from their class, in the inputs or in a model's `features`.

    A class is only said to hold marked examples where a group of them, at least three and at most a quarter of the
    class, lies more than so many robust `deviations` from the others, all on one side.
    """
    views = {"the inputs": data.x.reshape(len(data), -1).astype(np.float64)}
    if features is not None and features.shape[1] > 1:
        views["the model's features"] = features
    judged = [
        int(label)
        for label in np.unique(data.y)
        if np.sum(data.y == label) >= LEAST <= len(data) - np.sum(data.y == label)
    ]
    if not judged:
        return Check("triggers", len(data), None, f"no class has {LEAST} examples beside {LEAST} others"), []
    found: dict[int, Finding] = {}
    for view, columns in views.items():
        for label, places, scores in _groups(hashed(columns), data.y, judged, deviations):
            for i, score in zip(places, scores, strict=True):
                reason = f"one of {len(places)} that differ from their class in the same way, in {view}"
                if i not in found or found[i].score < score:
                    found[int(i)] = Finding("triggers", int(i), label, float(score), reason)
    note = f"in {' and '.join(views)}" + (f", {len(judged)} of {data.classes} classes" if judged else "")
    return Check("triggers", len(data), deviations, note), [found[i] for i in sorted(found)]


def hashed(columns: Floats, most: int = COLUMNS) -> Floats:
    """The columns, or if there are more than `most`, so many sums of them with random signs, always the same.

    Charikar, Chen, Farach-Colton, ICALP 2002: what a group of rows shares keeps its length.
    """
    width = columns.shape[1]
    if width <= most:
        return columns
    rng = np.random.default_rng(0)
    bucket = np.asarray(rng.integers(most, size=width), dtype=np.int64)
    sign = rng.choice([-1.0, 1.0], size=width)
    order = np.argsort(bucket, kind="stable")
    starts = np.searchsorted(bucket[order], np.arange(most))
    filled = np.unique(starts[starts < width])
    return np.add.reduceat(columns[:, order] * sign[order], filled, axis=1)


def _groups(
    columns: Floats, y: npt.NDArray[np.int64], judged: list[int], limit: float
) -> list[tuple[int, npt.NDArray[np.int64], Floats]]:
    """For each class that holds a group apart: the class, the group's places and how far each is."""
    members = {int(label): np.flatnonzero(y == label) for label in np.unique(y)}
    centered = {label: columns[places] - columns[places].mean(axis=0) for label, places in members.items()}
    products = {label: rows.T @ rows for label, rows in centered.items()}
    whole = np.sum(list(products.values()), axis=0)
    found: list[tuple[int, npt.NDArray[np.int64], Floats]] = []
    for label in judged:
        places = members[label]
        spread = (whole - products[label]) / (len(y) - len(places))
        scores = _signature(columns[places], spread)
        side = 1.0 if np.sum(scores > limit) >= np.sum(scores < -limit) else -1.0
        apart = side * scores > limit
        if GROUP <= apart.sum() <= LARGEST * len(places):
            found.append((label, places[apart], side * scores[apart]))
    return found


def _signature(rows: Floats, spread: Floats) -> Floats:
    """The rows `(m, d)` along their leading direction relative to `spread` `(d, d)`, in robust deviations `(m,)`."""
    average = float(np.trace(spread)) / len(spread)
    if average <= 0:
        return np.zeros(len(rows))
    lower = np.linalg.cholesky((1 - SHRINKAGE) * spread + (SHRINKAGE * average + PRECISION) * np.eye(len(spread)))
    whitened = np.linalg.solve(lower, (rows - np.median(rows, axis=0)).T).astype(np.float64)
    direction = np.linalg.eigh(whitened @ whitened.T)[1][:, -1]
    along: Floats = direction @ whitened
    along = along - np.median(along)
    deviation = 1.4826 * float(np.median(np.abs(along)))
    return along / max(deviation, 0.05 * float(along.std()), PRECISION)
