"""What a server needs of a task: the initial model, and an evaluation on examples no client trains on.

The settings `model` and `holdout` name these functions; a federation with a model of its own names others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import ArrayRecord, MetricRecord
from hawthorn.strategies.errors import SettingError

from .attacks import Recipe, attack_success
from .tasks import Task, find_task, partition
from .training import arrays_of, evaluate, load_arrays

RunConfig = Mapping[str, Any]
Evaluation = Callable[[int, ArrayRecord], MetricRecord]


def initial_arrays(run_config: RunConfig) -> ArrayRecord:
    """The untrained model of the task, the same for the same seed.

    Raises `SettingError` for anything the clients would stumble over later: task, data file, partition, attack.
    """
    task = _task(run_config)
    partition(run_config["partition"], task.train.y, run_config["clients"], run_config["seed"])
    recipe = _recipe(run_config)
    if recipe and recipe.honest:
        raise SettingError(
            f"attack={run_config['attack']!r} looks at what the honest clients send, which no client of a real federation "
            "can: use hawthorn simulate"
        )
    return arrays_of(task.model(run_config["seed"]))


def holdout(run_config: RunConfig) -> Evaluation:
    """The evaluation of a model on the task's test examples: loss, accuracy, worst class recall, and attack success."""
    task = _task(run_config)
    recipe = _recipe(run_config)
    model = task.model(run_config["seed"])

    def evaluation(_round: int, arrays: ArrayRecord) -> MetricRecord:
        load_arrays(model, arrays)
        metrics = evaluate(model, task.test)
        found = {"loss": metrics.loss, "accuracy": metrics.accuracy, "worst-class-recall": metrics.worst_class_recall}
        success = attack_success(recipe, model, task.test, task) if recipe else None
        return MetricRecord(found if success is None else found | {"attack-success": success})

    return evaluation


def _task(run_config: RunConfig) -> Task:
    return find_task(run_config["task"], run_config["data"] or None)


def _recipe(run_config: RunConfig) -> Recipe | None:
    return Recipe.parse(run_config["attack"]) if run_config["hostile"] else None
