"""What the hostile clients of a federation do, written as one line."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Message
from hawthorn.strategies.contract import ATTACKS, Call, check_options
from hawthorn.strategies.errors import SettingError

from ..tasks.examples import Examples, Task
from ..training import Training
from .forging import sample_reply
from .knowledge import Knowledge

Updates = npt.NDArray[np.float64]
NOTHING = Knowledge()


@dataclass(frozen=True)
class Recipe:
    """Attacks composed with `+` (or `|`), applied in their order; the empty recipe attacks nobody.

    >>> recipe = Recipe.parse("backdoor(target=2) + model_replacement + sleeper(wakes=5)")
    >>> str(recipe), [call.name for call in recipe.of_kind("own")], recipe.colludes
    ('backdoor(target=2) + model_replacement + sleeper(wakes=5)', ['model_replacement'], False)
    >>> recipe.active(4), recipe.active(5)
    (False, True)
    """

    calls: tuple[Call, ...] = ()

    def __post_init__(self) -> None:
        for call in self.calls:
            attack, options = ATTACKS[call.name], dict(call.options)
            check_options(call.name, attack.function, options)
            if told := sorted(attack.knowledge & options.keys()):
                raise SettingError(f"{call.name} is told {told[0]} in a round: leave it out of {str(self)!r}")
        crafted = self.of_kind("honest")
        if len(crafted) > 1:
            raise SettingError(
                f"{crafted[0]} and {crafted[1]} would both decide what the colluders send: "
                f"write one of them, got {str(self)!r}"
            )

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """A recipe read from text, "" for none; raises `SettingError`, with the nearest name for an unknown one."""
        if not text.strip():
            return cls()
        try:
            node = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: a null byte in Python 3.11
            raise SettingError(
                f"write attacks such as 'backdoor(target=0) + model_replacement' instead of {text!r}"
            ) from None
        return cls(tuple(Call.parse(ast.unparse(part)) for part in _summands(node)))

    def __str__(self) -> str:
        return " + ".join(map(str, self.calls))

    def of_kind(self, *kinds: str) -> tuple[Call, ...]:
        """The attacks of these kinds, in their order; `Attack.KINDS` are the kinds there are."""
        return tuple(call for call in self.calls if ATTACKS[call.name].kind in kinds)

    def without(self, kind: str) -> Recipe:
        """The recipe without its attacks of one kind."""
        return Recipe(tuple(call for call in self.calls if ATTACKS[call.name].kind != kind))

    @property
    def crafts(self) -> bool:
        """Whether hostile clients send other updates than they trained."""
        return bool(self.of_kind("own", "honest"))

    @property
    def colludes(self) -> bool:
        """Whether a hostile client's update is made from others' updates: the honest ones', or its accomplices'."""
        together = any("members" in ATTACKS[call.name].knowledge for call in self.of_kind("own"))
        return together or bool(self.of_kind("honest"))

    @property
    def forges(self) -> bool:
        """Whether hostile clients change the message that carries their update."""
        return bool(self.of_kind("reply"))

    @property
    def looks_back(self) -> bool:
        """Whether hostile clients need to know how the model moved in the round before."""
        return any("moved" in ATTACKS[call.name].knowledge for call in self.calls)

    def active(self, round: int) -> bool:
        """Whether hostile clients attack in the round of that number: if every attack on rounds says so."""
        return all(_applied(call, round, NOTHING) for call in self.of_kind("round"))

    def poisoned(self, examples: Examples, knowledge: Knowledge = NOTHING) -> Examples:
        """The examples after every attack on data."""
        for call in self.of_kind("data"):
            examples = _applied(call, examples, knowledge)
        return examples

    def trained(self, training: Training, knowledge: Knowledge = NOTHING) -> Training:
        """How hostile clients train on their examples."""
        for call in self.of_kind("training"):
            training = _applied(call, training, knowledge)
        return training

    def attacked(
        self, own: Updates, knowledge: Knowledge = NOTHING, honest: Updates | None = None
    ) -> tuple[Updates, Mapping[str, Any] | None]:
        """What hostile clients send instead of their own updates `(f, d)`, and what they remember of the round.

        `honest` are the updates of the honest clients, `(h, d)`. Attacks are applied in the order in which they are
        written, each to the rows that the one before has left. Who would need the honest updates and has none sends
        its own.
        """
        state = knowledge.state
        if self.of_kind("honest") and (honest is None or not len(honest)):
            return own, state
        rows = np.asarray(own, dtype=np.float64)
        for call in self.of_kind("own", "honest") if len(rows) else ():
            attack, known = ATTACKS[call.name], replace(knowledge, own=rows)
            if attack.kind == "own":
                rows = _applied(call, rows, known)
                continue
            rows, found = _stepped(call, np.asarray(honest, dtype=np.float64), known, len(rows))
            state = state if found is None else found
        return rows, state

    def replied(self, reply: Message, knowledge: Knowledge = NOTHING) -> list[Message]:
        """The replies that arrive in the place of a hostile client's reply: one, several or none."""
        replies = [reply]
        for call in self.of_kind("reply"):
            replies = [forged for one in replies for forged in _applied(call, one, knowledge)]
        return replies

    def check(self, task: Task, clients: int, hostile: int) -> None:
        """Raise `SettingError` if the attack cannot be carried out on this task by so many clients of so many."""
        rng = np.random.default_rng(0)
        knowledge = Knowledge(
            clients=clients,
            hostile=hostile,
            members=tuple(range(hostile)),
            moved=rng.normal(size=4),
            defense=lambda rows: rows.mean(axis=0),
        )
        self.active(1)
        self.poisoned(task.test[:8], knowledge)
        self.trained(Training(), knowledge)
        if hostile:
            self.attacked(rng.normal(size=(hostile, 4)), knowledge, rng.normal(size=(max(clients - hostile, 1), 4)))
        if self.forges:
            self.replied(sample_reply())


def _summands(node: ast.expr) -> list[ast.expr]:
    """The parts of `a + b | c`, from left to right."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.BitOr)):
        return _summands(node.left) + _summands(node.right)
    return [node]


def _applied(call: Call, subject: Any, knowledge: Knowledge, *arguments: Any) -> Any:
    """What the attack makes of its subject."""
    return _stepped(call, subject, knowledge, *arguments)[0]


def _stepped(call: Call, subject: Any, knowledge: Knowledge, *arguments: Any) -> tuple[Any, Mapping[str, Any] | None]:
    """The same, and what it remembers; an attack is told what its signature names."""
    attack = ATTACKS[call.name]
    known = {name: getattr(knowledge, name) for name in attack.knowledge}
    try:
        return attack.stepped(subject, *arguments, **dict(call.options), **known)
    except (TypeError, AttributeError) as error:
        raise SettingError(f"{call}: an option has a value of the wrong kind ({error})") from error
