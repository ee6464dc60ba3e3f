from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hawthorn.client.attacks import Recipe
from hawthorn.client.attacks.data import label_flip, targeted_flip
from hawthorn.client.forest import Forest, Layer, Trees, grown, refuse_other_attacks
from hawthorn.client.metrics import Metrics, judged
from hawthorn.client.tasks import Examples, Task, find_task, partition
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.contract import Call
from hawthorn.strategies.defense import Outcome
from hawthorn.strategies.kernels import OrderStatistic

MEAN = Defense("mean", f=0, scores=(), policy="none")
HOSTILE = 3

Poison = Callable[[Examples], Examples]


@dataclass(frozen=True)
class Said:
    """A learner as scikit-learn's that says the same of every example."""

    probabilities: tuple[float, ...]
    classes: tuple[int, ...] = (0, 1)

    @property
    def classes_(self) -> np.ndarray:
        return np.array(self.classes)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.tile(self.probabilities, (len(x), 1))


def says(*first: float) -> list[Trees]:
    """Clients that give class 0 these probabilities."""
    return [Trees(Said((share, 1 - share)), 2) for share in first]


@pytest.fixture(scope="module")
def task() -> Task:
    return find_task("breast_cancer(network='forest')")


def contributions(task: Task, spec: str, poison: Poison | None, seed: int) -> list[Trees]:
    """The trees of ten clients, of which the first three are hostile."""
    parts = partition(spec, task.train.y, 10, 1, task.groups)
    own = [task.train[part] for part in parts]
    poisoned = [poison(examples) if poison and c < HOSTILE else examples for c, examples in enumerate(own)]
    return [grown(task, examples, seed=100 * seed + c) for c, examples in enumerate(poisoned)]


def federation(
    task: Task, defense: Defense, *, spec: str = "iid", poison: Poison | None = None, rounds: int = 3
) -> tuple[Metrics, list[Outcome]]:
    """How well the forest does that ten clients grew, and what the defense said in each round."""
    assert task.reference is not None
    forest, outcomes, state = Forest.of(task), [], None
    for round in range(rounds):
        trees = contributions(task, spec, poison, round)
        rows = forest.rows(trees, task.reference)
        outcome = defense(rows, clients=[str(client) for client in range(10)], state=state)
        state = outcome.state
        forest = forest.joined(trees, outcome, defense)
        outcomes.append(outcome)
    return judged(task, forest.answers(task.test.x)), outcomes


def approving(task: Task) -> Poison:
    """The poison of the task's story: its positive class is called by the other's name."""
    assert task.positive is not None
    source = task.positive
    return lambda examples: targeted_flip(examples, source=source, target=1 - source)


def test_the_reference_is_nobodys_and_has_no_labels(task: Task) -> None:
    assert task.reference is not None
    whole = find_task("breast_cancer")
    assert len(task.train) + len(task.reference) == len(whole.train)
    clients = {row.tobytes() for row in task.train.x}
    assert not any(row.tobytes() in clients for row in task.reference)
    assert np.array_equal(task.test.x, whole.test.x)


@pytest.mark.parametrize("rule", ["mean", "geometric_median", "median", "trimmed_mean"])
@pytest.mark.parametrize("spec", ["dirichlet(0.5)", pytest.param("iid", marks=pytest.mark.slow)])
def test_an_honest_federation_beats_the_majority_by_far(rule: str, spec: str, task: Task) -> None:
    metrics, _ = federation(task, Defense(rule, f=HOSTILE, scores=(), policy="none"), spec=spec)
    majority = float(np.bincount(task.test.y).max() / len(task.test))
    assert metrics.accuracy > majority + 0.25
    assert metrics.figures["roc_auc"] > 0.97


@pytest.mark.parametrize("poison", ["label_flip", "approving"])
def test_poisoned_trees_stand_apart_and_are_rejected(poison: str, task: Task) -> None:
    _, outcomes = federation(task, Defense(f=HOSTILE), poison=label_flip if poison == "label_flip" else approving(task))
    for outcome in outcomes:
        distances = np.sqrt(outcome.geometry.squared_distances)
        among_honest = distances[HOSTILE:, HOSTILE:].max()
        assert distances[:HOSTILE, HOSTILE:].min(axis=1).min() > 0.9 * among_honest
        assert [verdict.accepted for verdict in outcome.verdicts] == [False] * HOSTILE + [True] * 7


def test_the_default_defense_loses_less_than_the_plain_mean(task: Task) -> None:
    honest, _ = federation(task, MEAN)
    undefended, _ = federation(task, MEAN, poison=approving(task))
    defended, _ = federation(task, Defense(f=HOSTILE), poison=approving(task))
    assert undefended.figures["recall"] < honest.figures["recall"] - 0.03
    assert defended.figures["recall"] > honest.figures["recall"] - 0.03
    assert defended.loss < undefended.loss - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heart_disease(network='forest', pooled=True)", "creditcard_fraud(network='forest')"])
def test_real_forests_are_defended(name: str, real_data: Callable[[str], Path]) -> None:
    task = find_task(name, real_data(f"{name.partition('(')[0]}.npz"))
    honest, _ = federation(task, MEAN, rounds=2)
    undefended, _ = federation(task, MEAN, rounds=2, poison=approving(task))
    defended, _ = federation(task, Defense(f=HOSTILE), rounds=2, poison=approving(task))
    assert honest.figures[task.figure] > 0.78
    assert honest.figures["recall"] > 0.7
    assert defended.figures["recall"] > undefended.figures["recall"] + 0.02
    assert defended.loss < undefended.loss


def test_a_class_that_a_client_never_met_has_probability_0(task: Task) -> None:
    only_one = task.train[task.train.y == 1][:20]
    answers = grown(task, only_one, seed=1).answers(task.test.x)
    assert answers.shape == (len(task.test), 2)
    assert np.array_equal(answers, np.tile([0.0, 1.0], (len(task.test), 1)))


def test_images_are_grown_on_as_rows_of_pixels(digits: Task) -> None:
    trees = grown(digits, digits.train, seed=1, trees=20)
    assert (trees.answers(digits.test.x).argmax(axis=1) == digits.test.y).mean() > 0.8


def test_trees_depend_on_their_seed_alone(task: Task) -> None:
    first, again, other = (grown(task, task.train, seed=seed).answers(task.test.x) for seed in (1, 1, 2**62))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.allclose(grown(task, task.train, seed=1, trees=3).answers(task.test.x), first)


def test_rows_are_what_the_trees_say_less_what_nobody_knows() -> None:
    rows = Forest(2).rows(says(0.5, 1.0, 0.0), np.zeros((3, 4), np.float32))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0.0, 0.0] * 3, [0.5, -0.5] * 3, [-0.5, 0.5] * 3]


X = np.zeros((1, 4), np.float32)


def joined(defense: Defense, trees: list[Trees]) -> float:
    """What the forest of one round says of class 0."""
    forest = Forest(2)
    return float(forest.joined(trees, defense(forest.rows(trees, X)), defense).answers(X)[0, 0])


@pytest.mark.parametrize(
    ("recipe", "f", "expected"),
    [
        ("mean", 0, (0.9 + 0.8 + 0.7 + 0.1 + 0.0) / 5),
        ("median", 1, 0.7),
        ("trimmed_mean", 1, (0.8 + 0.7 + 0.1) / 3),
        ("clip(radius=1e-7) | mean", 0, 0.5),
        ("multi_krum(m=2)", 1, 0.85),
    ],
)
def test_a_forest_says_what_the_rule_makes_of_the_clients(recipe: str, f: int, expected: float) -> None:
    defense = Defense.parse(recipe, f=f, scores=(), policy="none")
    assert joined(defense, says(0.9, 0.8, 0.7, 0.1, 0.0)) == pytest.approx(expected, abs=1e-6)


RECIPES = [
    "mean",
    "geometric_median",
    "nnm | multi_krum(m=1)",
    "median",
    "trimmed_mean",
    "nnm | trimmed_mean",
    "arc | nnm | median",
    "nnm | bucketing | median",
    "bucketing | geometric_median",
    "centered_clipping",
    "nnm | centered_clipping(tau=0.5)",
    "mean_around_median",
    "bulyan",
]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_on_the_reference_every_round_says_what_the_defense_answered(recipe: str, task: Task) -> None:
    assert task.reference is not None
    defense = Defense.parse(recipe, f=1)
    forest, state, updates = Forest.of(task), None, []
    for round in range(3):
        trees = contributions(task, "dirichlet(0.5)", label_flip, seed=round)
        outcome = defense(forest.rows(trees, task.reference), clients=[str(c) for c in range(10)], state=state)
        assert outcome.skipped is None
        forest, state = forest.joined(trees, outcome, defense), outcome.state
        updates.append(outcome.update.reshape(-1, 2) + 0.5)
        np.testing.assert_allclose(forest.answers(task.reference), np.mean(updates, axis=0), atol=1e-5)


def test_bulyan_after_a_transform_says_what_the_defense_answered_but_for_ties(task: Task) -> None:
    assert task.reference is not None
    defense, trees = Defense.parse("nnm | bulyan", f=1), contributions(task, "dirichlet(0.5)", label_flip, seed=0)
    forest = Forest.of(task)
    outcome = defense(forest.rows(trees, task.reference))
    found = forest.joined(trees, outcome, defense).answers(task.reference)
    assert np.isclose(found, outcome.update.reshape(-1, 2) + 0.5, atol=1e-5).mean() > 0.9


def test_without_a_defense_clients_count_by_their_weights() -> None:
    forest = Forest(2).averaged(says(0.9, 0.1), [30, 10])
    assert forest.answers(X)[0, 0] == pytest.approx(0.7)


def test_a_median_of_three_classes_sums_to_1() -> None:
    said = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    layer = Layer(tuple(Trees(Said(p, (0, 1, 2)), 3) for p in said), np.eye(3), OrderStatistic(1, 2))
    np.testing.assert_allclose(layer.answers(X), np.full((1, 3), 1 / 3))


def test_a_rejected_client_has_no_say_and_a_skipped_round_adds_nothing() -> None:
    trees = says(0.9, 0.91, 0.92, 0.9, 0.91, 0.92, 0.9, 0.91, 0.0, 0.0)
    for rule in ("geometric_median", "median"):
        assert joined(Defense(rule, f=2), trees) == pytest.approx(0.91, abs=0.01)
    forest, defense = Forest(2), Defense("krum", f=1)
    few = says(0.9, 0.8)
    outcome = defense(forest.rows(few, X))
    assert outcome.skipped
    assert forest.joined(few, outcome, defense) is forest


def test_a_forest_answers_the_mean_of_its_rounds_whatever_it_was_asked_before() -> None:
    forest, xs = Forest(2), [np.zeros((n, 4), np.float32) for n in range(1, 7)]
    for first in (0.9, 0.5, 0.1):
        trees = says(first, first, first)
        forest = forest.joined(trees, MEAN(forest.rows(trees, X)), MEAN)
        for x in xs[: 1 + len(forest.layers)]:
            said = np.mean([0.9, 0.5, 0.1][: len(forest.layers)])
            np.testing.assert_allclose(forest.answers(x), np.tile([said, 1 - said], (len(x), 1)))
    assert [forest.answers(x)[0, 0].round(6) for x in reversed(xs)] == [0.5] * 6


def test_only_attacks_on_data_reach_a_forest(task: Task, digits: Task) -> None:
    refuse_other_attacks(task, Recipe.parse("label_flip + backdoor(target=0)").calls)
    refuse_other_attacks(digits, [Call("sign_flip")])
    for name in ("sign_flip", "alie", "ipm"):
        with pytest.raises(SettingError, match=rf"no update for {name} to change: write .* 'targeted_flip\(source=0"):
            refuse_other_attacks(task, [Call("label_flip"), Call(name)])


def test_a_forest_has_no_weights_and_a_network_no_reference(task: Task, digits: Task) -> None:
    with pytest.raises(SettingError, match=r"breast_cancer grows a forest, .* write network='logistic'"):
        task.model(seed=1)
    with pytest.raises(SettingError, match="digits trains a network"):
        Forest.of(digits)
