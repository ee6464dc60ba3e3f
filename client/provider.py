"""What a server needs of a task: the initial model, an evaluation, and an update of its own, on examples no client has.

The settings `model`, `holdout` and `root` name these functions; a federation with a model of its own names its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flwr.app import ArrayRecord, MetricRecord
from hawthorn.strategies.contract import attackers
from hawthorn.strategies.errors import SettingError

from .assignment import parts, read, task_of
from .attacks import Recipe, attack_success
from .metrics import judged
from .root import Root
from .training import activation_density, arrays_of, load_arrays, logits

RunConfig = Mapping[str, object]
Evaluation = Callable[[int, ArrayRecord], MetricRecord]
Trained = Callable[[int, ArrayRecord], ArrayRecord]


def initial_arrays(run_config: RunConfig) -> ArrayRecord:
    """The untrained model of the task, the same for the same seed.

    Raises `SettingError` for what the clients would otherwise stumble over: task, data file, partition, attack.
    """
    task, clients, seed = task_of(run_config), read(run_config, "clients", 10), read(run_config, "seed", 1)
    parts(
        task, read(run_config, "partition", "dirichlet(0.5)"), clients, seed, (), read(run_config, "root-examples", 0)
    )
    recipe = _recipe(run_config)
    recipe.check(task, clients, attackers(run_config.get("hostile", 0), clients))
    if recipe.colludes:
        raise SettingError(
            f"attack={str(recipe)!r} is made from other clients' updates, which no client sees: "
            "use hawthorn simulate, or an attack that a client can make alone, such as sign_flip"
        )
    return arrays_of(task.model(seed))


def holdout(run_config: RunConfig) -> Evaluation:
    """The evaluation of a model on the task's test examples: loss, the task's figures, attack success.

    For a guard it tells the recall of each class and how many examples that is of, and the density of activations.
    """
    task, recipe = task_of(run_config), _recipe(run_config)
    model = task.model(read(run_config, "seed", 1))

    def evaluation(_round: int, arrays: ArrayRecord) -> MetricRecord:
        load_arrays(model, arrays)
        metrics = judged(task, logits(model, task.test.x))
        figures = {name.replace("_", "-"): value for name, value in metrics.figures.items()}
        record = MetricRecord({"loss": metrics.loss, **figures, **metrics.by_class})
        density = activation_density(model, task.test.x)
        if density is not None:
            record["activation-density"] = density
        success = attack_success(recipe, model, task.test, task)
        if success is not None:
            record["attack-success"] = success
        return record

    return evaluation


def root(run_config: RunConfig) -> Trained:
    """The server's own training on the `root-examples` that no client has; raises `SettingError` if there are none."""
    return Root.of(run_config).trained


def _recipe(run_config: RunConfig) -> Recipe:
    """What the hostile clients do; the empty recipe if there are none."""
    hostile = attackers(run_config.get("hostile", 0), read(run_config, "clients", 10))
    return Recipe.parse(read(run_config, "attack", "")) if hostile else Recipe()
