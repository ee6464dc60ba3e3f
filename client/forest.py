"""A federation that grows a random forest: a client's contribution is its trees, compared by what they predict.

Each round every client grows some trees on its own examples, and the server combines what they answer. Trees have no
weights that could be averaged or compared, so a client's row is what its trees say of reference examples that the
server has, without labels: `Forest.rows`. Geometry, scores, verdicts and rules then work as for any update, and what
the defense decides of the rows holds for the trees: `Forest.joined`.

Attacks on data reach trees as they reach networks. Attacks on updates, on training or on replies do not: there is no
update to craft, and what a client could send instead of its trees is a classifier again (`refuse_other_attacks`).

Source of the idea: Breiman, "Random forests", Machine Learning 45, 2001; bagging over clients: Hauschild et al.,
"Federated random forests", Bioinformatics 38, 2022, https://doi.org/10.1093/bioinformatics/btac065
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hawthorn.strategies import Defense
from hawthorn.strategies.contract import ATTACKS, RULES, TRANSFORMS, Call, Combination, hostile_count
from hawthorn.strategies.defense import Outcome
from hawthorn.strategies.errors import SettingError
from hawthorn.strategies.geometry import Geometry
from hawthorn.strategies.kernels import Statistic, middle
from sklearn.ensemble import RandomForestClassifier

from .tasks.examples import Examples, Floats, Task

Answers = npt.NDArray[np.float64]
"""Probabilities `(N, C)`."""

Known = tuple[Floats, Answers, Answers | None, int]
"""An array, the sum of what the first layers of a forest answer to it, what the last of them does, their number."""

KEPT = 4  # arrays whose answers a forest remembers

KINDS = ("data", "round")
"""The kinds of attack that a forest can be put to: see `contract.Attack`."""


@dataclass(frozen=True, eq=False)
class Trees:
    """One client's contribution to a round: trees over `classes` classes, of which it may have met only some."""

    grown: Any
    classes: int

    def answers(self, x: Floats) -> Answers:
        """The mean of the trees' probabilities `(N, C)`; 0 for a class that the client never met."""
        found = np.zeros((len(x), self.classes))
        found[:, self.grown.classes_] = self.grown.predict_proba(_rows(x))
        return found


def grown(task: Task, examples: Examples, *, seed: int, trees: int = 10, depth: int = 8) -> Trees:
    """The trees that a client grows on its examples in one round.

    The client weighs its classes so that all count the same: trees learn what tells classes apart, which clients share,
    and not how often they occur, in which clients differ.

    >>> from .tasks import find_task
    >>> task = find_task("breast_cancer(network='forest')")
    >>> trees = grown(task, task.train[:100], seed=1)
    >>> float((trees.answers(task.test.x).argmax(axis=1) == task.test.y).mean()) > 0.85
    True
    """
    learner: Any = RandomForestClassifier(
        n_estimators=trees, max_depth=depth, random_state=seed % 2**32, class_weight="balanced"
    )
    return Trees(learner.fit(_rows(examples.x), examples.y), task.classes)


@dataclass(frozen=True, eq=False)
class Layer:
    """What one round added to a forest: the accepted clients' trees, and how their answers are combined.

    `mixing` `(m, k)` makes m answers of those of k clients; of these the statistic `middle` is taken, entry by
    entry, or where there is no `middle` their sum. `carried` is the weight of what the layer before answered.
    """

    trees: tuple[Trees, ...]
    mixing: npt.NDArray[np.float64]
    middle: Statistic | None = None
    carried: float = 0.0

    def answers(self, x: Floats, before: Answers | None = None) -> Answers:
        """The combined probabilities `(N, C)`, each row with sum 1; `before` is what the layer before answered."""
        said = np.stack([trees.answers(x) for trees in self.trees])
        classes = said.shape[2]
        mixed = np.tensordot(self.mixing, said - 1 / classes, axes=1)
        if self.middle is None:
            combined = mixed.sum(axis=0)
        else:
            values = mixed.reshape(len(mixed), -1).astype(
                np.float32
            )  # as in `rows`: shares of trees tie, or not, alike
            combined = middle(values, self.middle).reshape(mixed.shape[1:])
        if before is not None:
            combined = combined + self.carried * (before - 1 / classes)
        # a median of probabilities, entry by entry, need not sum to 1
        positive = np.maximum(combined + 1 / classes, 1e-12)
        return positive / positive.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Forest:
    """The server's model: what each round has added, and the mean of that. A new one answers 1 / C throughout.

    >>> Forest(classes=2).answers(np.zeros((1, 3), np.float32))
    array([[0.5, 0.5]])
    """

    classes: int
    layers: tuple[Layer, ...] = ()
    _known: dict[int, Known] = field(default_factory=dict["int", "Known"])

    @classmethod
    def of(cls, task: Task) -> Forest:
        """The forest of a task before its first round; raises `SettingError` for a task that trains a network."""
        if task.reference is None:
            raise SettingError(f"{task.name} trains a network: write network='forest' where the task has one")
        return cls(task.classes)

    def rows(self, contributions: Sequence[Trees], reference: Floats) -> Floats:
        """The clients as rows `(n, m * C)` of a round: what their trees say of the m reference examples, less 1 / C.

        Plain probabilities, because these are what is combined, so that an answer that a rule makes of the rows is the
        answer that the forest gives on the reference; and because they are bounded: a tree that is sure of itself
        cannot move far from the others, as it could with log-odds. Less 1 / C, the answer of those who know nothing,
        because scores look at lengths and directions: a length is then how sure a client is, and who says the opposite
        points the other way.
        """
        said = np.stack([trees.answers(reference) for trees in contributions])
        return (said - 1 / self.classes).reshape(len(said), -1).astype(np.float32)

    def averaged(self, contributions: Sequence[Trees], weights: Sequence[float] | npt.NDArray[Any]) -> Forest:
        """The forest after a round without a defense: the clients' mean, by these weights, whatever their sum."""
        shares = np.asarray(weights, dtype=np.float64)
        return self._with(Layer(tuple(contributions), (shares / shares.sum())[None, :]))

    def joined(self, contributions: Sequence[Trees], outcome: Outcome, defense: Defense) -> Forest:
        """The forest after a round whose rows had this outcome; the same one if the round was skipped.

        A geometric rule's weights are the clients' weights in the outcome; what is left of 1 beside them, where a rule
        starts from the round before, is the weight of that round's answers. A coordinate-wise rule takes its order
        statistic of what the accepted clients, mixed by the defense's transforms, say of each example asked about; one
        that selects clients first, such as `bulyan`, of what those say.
        """
        if outcome.skipped is not None:
            return self
        accepted = np.array([verdict.accepted for verdict in outcome.verdicts])
        trees = tuple(own for own, kept in zip(contributions, accepted, strict=True) if kept)
        call = Call.parse(defense.rule)
        rule = RULES[call.name]
        f = hostile_count(defense.f, len(accepted))
        geometry, mixing = _mixed(defense, outcome.geometry.take(accepted), f, outcome.state)
        if rule.geometric:
            answer = None if rule.asked else rule.function(geometry, f, **dict(call.options))
            if isinstance(answer, Combination) and answer.statistic is not None:
                return self._with(Layer(trees, mixing[answer.weights > 0], answer.statistic))
            weights = np.array([verdict.weight for verdict in outcome.verdicts])[accepted]
            carried = 1 - float(weights.sum()) if rule.beside == "center" else 0.0
            return self._with(Layer(trees, weights[None, :], carried=carried))
        return self._with(Layer(trees, mixing, rule.function(len(mixing), f, **dict(call.options))))

    def _with(self, layer: Layer) -> Forest:
        return replace(self, layers=(*self.layers, layer), _known=dict(self._known))

    def answers(self, x: Floats) -> Answers:
        """The probabilities `(N, C)`: the mean over the rounds.

        What earlier rounds answered to the same array is kept, so that a forest that is judged after each of R rounds
        asks each tree once, not R times.
        """
        _, total, last, known = self._known.pop(id(x), (x, np.zeros((len(x), self.classes)), None, 0))
        for layer in self.layers[known:]:
            last = layer.answers(x, last)
            total = total + last
        while len(self._known) >= KEPT:
            self._known.pop(next(iter(self._known)))
        self._known[id(x)] = (x, total, last, len(self.layers))  # with x itself: its id stays its own while it is here
        return total / len(self.layers) if self.layers else np.full_like(total, 1 / self.classes)


def refuse_other_attacks(task: Task, calls: Sequence[Call]) -> None:
    """Raise `SettingError` if the task grows a forest and one of the attacks needs an update, or a training, to change.

    >>> refuse_other_attacks(task=Task("t", *2 * [Examples(np.zeros((1, 1)), np.zeros(1))], ("a", "b"), None), calls=[])
    """
    if task.learner != "forest":
        return
    for call in calls:
        if ATTACKS[call.name].kind not in KINDS:
            raise SettingError(
                f"{task.name} grows a forest, and trees have no update for {call} to change: write an attack on data, "
                f"such as {task.story!r}"
            )


def _mixed(
    defense: Defense, accepted: Geometry, f: int, state: Mapping[str, Any] | None
) -> tuple[Geometry, npt.NDArray[np.float64]]:
    """What the defense's transforms made of k accepted rows, drawing as it drew: m rows, and how `(m, k)` of those."""
    rng = np.random.default_rng(state["rounds"] - 1 if state else 0)
    geometry, mixing = accepted.canonical(), np.eye(accepted.n)
    for call in map(Call.parse, defense.before):
        part = TRANSFORMS[call.name]
        step = part.function(geometry, f, **dict(call.options), **({"rng": rng} if part.random else {}))
        geometry, mixing = geometry.mixed(step), step @ mixing
    return geometry, mixing[:, accepted.rank]


def _rows(x: Floats) -> Floats:
    return x.reshape(len(x), -1)
