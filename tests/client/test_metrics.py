from dataclasses import replace

import numpy as np
import pytest
import torch
from hawthorn.client.metrics import judged, of_answers, predictions
from hawthorn.client.provider import holdout
from hawthorn.client.tasks import Examples, Task, find_task
from hawthorn.client.training import Training, arrays_of, evaluate, logits, train
from torch.nn import functional


def task_with(labels: list[int], *, positive: int | None = 1, groups: list[int] | None = None, **changes) -> Task:
    """A task whose test examples have these labels."""
    test = Examples(np.zeros((len(labels), 1)), np.array(labels), 2)
    task = replace(find_task("breast_cancer"), test=test, positive=positive)
    return replace(task, test_groups=None if groups is None else np.array(groups), **changes)


def test_figures_of_the_positive_class_by_hand() -> None:
    # four of class 1, of which three are found; two of the six others are taken for it
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    margins = np.array([3.0, 2.0, 1.0, -1.0, 2.5, 0.5, -2.0, -2.0, -3.0, -4.0])
    figures = judged(task_with(labels), np.column_stack([-margins, margins])).figures
    assert figures["precision"] == pytest.approx(3 / 5)
    assert figures["recall"] == pytest.approx(3 / 4)
    assert figures["f1"] == pytest.approx(6 / 9)
    assert figures["false_positive_rate"] == pytest.approx(2 / 6)
    assert figures["accuracy"] == pytest.approx(7 / 10)
    assert figures["balanced_accuracy"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert figures["worst_class_recall"] == pytest.approx(4 / 6)
    # ranked 3 (yes), 2.5 (no), 2 (yes), 1 (yes), 0.5 (no), -1 (yes), ...
    assert figures["average_precision"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 4 + 4 / 6) / 4)
    assert figures["roc_auc"] == pytest.approx((6 + 5 + 5 + 4) / 24)


def test_probabilities_of_a_forest_are_judged_like_logits() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(size=(50, 2))
    probabilities = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    labels = rng.integers(0, 2, 50).tolist()
    network, forest = task_with(labels), task_with(labels, network=None)
    assert judged(network, logit).figures == judged(forest, probabilities).figures
    assert judged(network, logit).loss == pytest.approx(judged(forest, probabilities).loss)


def test_the_loss_is_the_cross_entropy_and_an_impossible_label_does_not_make_it_infinite() -> None:
    answers = torch.tensor([[1.0, -2.0], [80.0, 0.0], [3e38, -3e38]])
    task = task_with([0, 1, 0])
    expected = functional.cross_entropy(answers.double(), torch.tensor([0, 1, 0]))
    assert judged(task, answers).loss == pytest.approx(float(expected))
    certain = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert judged(replace(task, network=None), certain).loss == pytest.approx(-np.log(1e-9) / 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_answers_that_are_not_finite_are_never_right(bad: float) -> None:
    labels = [0, 1, 0, 1]
    right = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert judged(task_with(labels), right).figures["roc_auc"] == 1.0
    broken = right.copy()
    broken[2, 0] = broken[3, 1] = bad
    figures = judged(task_with(labels), broken).figures
    assert figures["accuracy"] == 0.5
    assert figures["recall"] == 0.5
    # of the four pairs of a one and a zero, only that of the two finite answers is in order
    assert figures["roc_auc"] == 0.25
    assert judged(task_with(labels), np.full((4, 2), bad)).figures["roc_auc"] == 0.0
    assert predictions(np.full((1, 2), bad)).tolist() == [-1]


def test_a_figure_that_the_examples_cannot_tell_is_left_out() -> None:
    answers = np.zeros((2, 2))
    nobody, everybody = judged(task_with([0, 0]), answers).figures, judged(task_with([1, 1]), answers).figures
    assert {"precision", "f1", "false_positive_rate"} <= nobody.keys()
    assert not {"recall", "roc_auc", "average_precision"} & nobody.keys()
    assert "recall" in everybody
    assert not {"false_positive_rate", "roc_auc"} & everybody.keys()
    assert not {"precision", "recall"} & judged(task_with([0, 1], positive=None), answers).figures.keys()
    assert all(np.isfinite(value) for figures in (nobody, everybody) for value in figures.values())


def test_the_worst_group_is_the_one_with_the_least_accuracy() -> None:
    said_one = np.tile([0.0, 1.0], (6, 1))
    task = task_with([1, 1, 1, 0, 1, 0], groups=[7, 7, 3, 3, 3, 3])
    assert judged(task, said_one).figures["worst_group_accuracy"] == 0.5
    assert "worst_group_accuracy" not in judged(task, said_one[:2], task.test[:2]).figures


def test_a_model_is_judged_alike_with_and_without_its_task() -> None:
    task = find_task("breast_cancer")
    model = task.model(seed=1)
    train(model, task.train, Training(epochs=1), seed=1, loss=task.loss)
    answers = logits(model, task.test.x)
    metrics, plain = judged(task, answers), evaluate(model, task.test)
    assert plain.figures.items() <= metrics.figures.items()
    assert (metrics.loss, metrics.accuracy) == (plain.loss, plain.accuracy)
    assert metrics.worst_class_recall == metrics.figures["worst_class_recall"]
    assert of_answers(task.test, answers).recalls.tolist() == plain.recalls.tolist()
    assert metrics.figures["roc_auc"] > 0.95


def test_a_server_reports_every_figure_of_the_task() -> None:
    task = find_task("breast_cancer")
    record = holdout({"task": "breast_cancer", "seed": 1})(1, arrays_of(task.model(seed=1)))
    metrics = judged(task, logits(task.model(seed=1), task.test.x))
    figures = {name.replace("_", "-"): value for name, value in metrics.figures.items()}
    assert dict(record) == {"loss": metrics.loss} | figures | metrics.by_class
    assert {"worst-class-recall", "false-positive-rate", "average-precision"} <= record.keys()
