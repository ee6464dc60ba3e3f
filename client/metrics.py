"""How well a model does, from what it answers: the same figures for a network's logits and a forest's probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn import metrics

from .tasks.examples import Examples, Labels, Task

Answers = torch.Tensor | npt.NDArray[Any]
"""What a model says of each example, `(N, C)`: logits, or probabilities."""
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Metrics:
    """How well a model does: mean cross-entropy, share of correct answers, that share per class, and every figure.

    `recalls` `(C,)` is NaN for a class that has no examples, `counts` `(C,)` tells how many it has. `figures` holds
    `accuracy`, `balanced_accuracy` (the mean of the recalls) and `worst_class_recall`; of a task's positive class
    `precision`, `recall`, `f1`, `false_positive_rate`, `average_precision` and `roc_auc`; and `worst_group_accuracy`
    where test examples have groups. A figure that these examples cannot tell, such as the recall of a class that is not
    there, is left out.
    """

    loss: float
    accuracy: float
    recalls: Doubles
    counts: npt.NDArray[np.int64]
    figures: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def worst_class_recall(self) -> float:
        """The recall of the class that fares worst."""
        return float(np.nanmin(self.recalls))

    @property
    def by_class(self) -> dict[str, list[float] | list[int]]:
        """The recall of each class, 0 where it has no examples, and how many it has, as metrics of a message."""
        return {"class-recalls": np.nan_to_num(self.recalls).tolist(), "class-examples": self.counts.tolist()}


def predictions(answers: Answers) -> Labels:
    """The predicted label of each example `(N,)`; -1, which is never right, where the answers are not finite.

    >>> predictions(torch.tensor([[0.0, 2.0], [float("nan"), 1.0]]))
    array([ 1, -1])
    """
    found = np.asarray(answers)
    return np.where(np.isfinite(found).all(axis=1), found.argmax(axis=1), -1)


def judged(task: Task, answers: Answers, examples: Examples | None = None) -> Metrics:
    """How well the `answers` `(N, C)` to the task's test examples, or to some others, fit their labels.

    They are logits, or a forest's probabilities. Answers that are not finite are never right: they count as wrong
    predictions, and rank behind all others.
    """
    judging = task.test if examples is None else examples
    plain = of_answers(judging, answers, probabilities=task.learner == "forest")
    figures = dict(plain.figures)
    if task.positive is not None:
        figures |= _of_class(
            task.positive, judging.y, np.asarray(answers, np.float64), probabilities=task.learner == "forest"
        )
    if task.test_groups is not None and examples is None:
        right = predictions(answers) == judging.y
        figures["worst_group_accuracy"] = min(
            float(right[task.test_groups == group].mean()) for group in np.unique(task.test_groups)
        )
    return replace(plain, figures=figures)


def of_answers(examples: Examples, answers: Answers, *, probabilities: bool = False) -> Metrics:
    """The metrics that need no task.

    >>> examples = Examples(np.zeros((4, 1)), np.array([0, 0, 1, 1]))
    >>> of_answers(examples, np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])).figures
    {'accuracy': 0.75, 'balanced_accuracy': 0.75, 'worst_class_recall': 0.5}
    """
    found = np.asarray(answers, dtype=np.float64)
    correct = predictions(found) == examples.y
    classes = found.shape[1]
    present = np.bincount(examples.y, minlength=classes)
    right = np.bincount(examples.y[correct], minlength=classes)
    recalls = np.where(present > 0, right / np.maximum(present, 1), np.nan)
    accuracy = float(correct.mean())
    figures = {
        "accuracy": accuracy,
        "balanced_accuracy": float(np.nanmean(recalls)),
        "worst_class_recall": float(np.nanmin(recalls)),
    }
    return Metrics(_loss(found, examples.y, probabilities), accuracy, recalls, present, figures)


def _loss(answers: Doubles, labels: Labels, probabilities: bool) -> float:
    """The mean cross-entropy; a probability of 0 counts as one of 1e-9."""
    told = answers[np.arange(len(labels)), labels]
    if probabilities:
        return float(-np.log(np.maximum(told, 1e-9)).mean())
    with np.errstate(invalid="ignore"):
        return float((_log_sum_exp(answers) - told).mean())


def _log_sum_exp(x: Doubles) -> Doubles:
    """The logarithm of the sum of the exponentials of each row, `(N,)`."""
    largest = x.max(axis=1)
    return largest + np.log(np.exp(x - largest[:, None]).sum(axis=1))


def _of_class(positive: int, labels: Labels, answers: Doubles, *, probabilities: bool) -> dict[str, float]:
    """The figures about one class; those that need examples of it, or of others, only where there are some."""
    truth, said = labels == positive, predictions(answers) == positive
    hits, said_so, there = int(np.sum(truth & said)), int(np.sum(said)), int(np.sum(truth))
    figures = {"precision": hits / max(said_so, 1), "f1": 2 * hits / max(said_so + there, 1)}
    if there:
        figures["recall"] = hits / there
    if there < len(labels):
        figures["false_positive_rate"] = (said_so - hits) / (len(labels) - there)
    if 0 < there < len(labels):
        scoring: Any = metrics
        ranks = _ranks(positive, labels, answers, probabilities)
        figures["average_precision"] = float(scoring.average_precision_score(truth, ranks))
        figures["roc_auc"] = float(scoring.roc_auc_score(truth, ranks))
    return figures


def _ranks(positive: int, labels: Labels, answers: Doubles, probabilities: bool) -> Labels:
    """The rank of each example `(N,)` by how much its answer speaks for the class; at the wrong end if not finite."""
    finite = np.asarray(np.isfinite(answers).all(axis=1))
    known = np.where(finite.reshape(-1, 1), answers, 0.0)
    others = np.delete(known, positive, axis=1)
    scores = known[:, positive] - (others.sum(axis=1) if probabilities else _log_sum_exp(others))
    ranks = np.unique(scores, return_inverse=True)[1] + 1
    return np.where(finite, ranks, np.where(labels == positive, 0, len(labels) + 1))
