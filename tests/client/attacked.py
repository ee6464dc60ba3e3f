"""What the tests of attacks share: rows of honest and hostile clients, and a small federation of digits."""

import numpy as np
import torch
from hawthorn.client.attacks import Knowledge, Recipe
from hawthorn.client.tasks import Examples, Task
from hawthorn.client.training import Training, train

rng = np.random.default_rng(7)
DIRECTION = rng.normal(size=50)
HONEST = DIRECTION + 0.3 * rng.normal(size=(7, 50))
OWN = DIRECTION + 0.3 * rng.normal(size=(3, 50))

# what an attack has to be given before it can do something to these rows
OPTIONS = {
    "alie": {"z": 1.5},
    "model_replacement": {"boost": 4.0},
    "optimized": {"defense": lambda rows: rows.mean(axis=0)},
}


def mean_error(hostile: np.ndarray) -> float:
    """How far the plain mean of the honest rows and these ends from the honest mean."""
    return float(np.linalg.norm(np.concatenate([HONEST, hostile]).mean(axis=0) - HONEST.mean(axis=0)))


def honest_error() -> float:
    """The same for three more honest clients, on average."""
    draws = np.random.default_rng(0).normal(size=(200, 3, 50))
    return float(np.mean([mean_error(DIRECTION + 0.3 * draw) for draw in draws]))


def parts_of(task: Task) -> list[Examples]:
    """The task's examples in the hands of ten clients."""
    return [task.train[part] for part in np.array_split(np.random.default_rng(1).permutation(len(task.train)), 10)]


def known(member: int, **more: object) -> Knowledge:
    """What one of three hostile clients of ten knows."""
    poison = np.random.default_rng(member)
    return Knowledge(rng=poison, clients=10, hostile=3, members=(member,), **more)  # type: ignore[arg-type]


def centrally_trained(task: Task, recipe: Recipe) -> torch.nn.Module:
    """A model trained on all examples, of which the first three of ten clients have poisoned theirs."""
    parts = parts_of(task)
    parts = [recipe.poisoned(part, known(k)) if k < 3 else part for k, part in enumerate(parts)]
    mixed = Examples(np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts]), task.classes)
    model = task.model(seed=1)
    train(model, mixed, Training(epochs=10), seed=1)
    return model


def federated(task: Task, recipe: Recipe, rounds: int = 6) -> torch.nn.Module:
    """The plain mean of ten clients' training, round by round, of whom the first three are hostile."""
    model, parts = task.model(seed=1), parts_of(task)
    sent, moved = weights(model), None
    for round in range(1, rounds + 1):
        updates = np.stack([update(model, sent, part, recipe, k, round, moved) for k, part in enumerate(parts)])
        moved = updates.mean(axis=0)
        sent = sent + moved
    load(model, sent)
    return model


def update(
    model: torch.nn.Module,
    sent: np.ndarray,
    part: Examples,
    recipe: Recipe,
    client: int,
    round: int,
    moved: np.ndarray | None,
) -> np.ndarray:
    """What one client sends: data and training attacked if it is one of the first three, and it is time."""
    training = Training(epochs=2)
    if client < 3 and recipe.active(round):
        knowledge = known(client, moved=moved)
        part, training = recipe.poisoned(part, knowledge), recipe.trained(training, knowledge)
    load(model, sent)
    train(model, part, training, seed=100 * round + client)
    return weights(model) - sent


def weights(model: torch.nn.Module) -> np.ndarray:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy().astype(np.float64)


def load(model: torch.nn.Module, vector: np.ndarray) -> None:
    torch.nn.utils.vector_to_parameters(torch.from_numpy(vector.astype(np.float32)), model.parameters())
