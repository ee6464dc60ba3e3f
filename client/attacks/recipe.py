"""What the hostile clients of a federation do, written as one line; who they are; and how well it works."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hawthorn.strategies.contract import ATTACKS, Call, check_options
from hawthorn.strategies.errors import SettingError

from ..tasks.examples import Examples, Task
from ..training import logits, predictions

Updates = npt.NDArray[np.float64]
Random = np.random.Generator | None


@dataclass(frozen=True)
class Recipe:
    """Attacks composed with `+` (or `|`), applied in their order; the empty recipe attacks nobody.

    >>> recipe = Recipe.parse("backdoor(target=2) + model_replacement")
    >>> str(recipe), [call.name for call in recipe.data], [call.name for call in recipe.own], recipe.honest
    ('backdoor(target=2) + model_replacement', ['backdoor'], ['model_replacement'], ())
    """

    calls: tuple[Call, ...] = ()

    def __post_init__(self) -> None:
        for call in self.calls:
            check_options(call.name, ATTACKS[call.name].function, dict(call.options))
        if self.honest and len(self.calls) > 1:
            raise SettingError(
                f"{self.honest[0]} replaces all that hostile clients do: write it alone, got {str(self)!r}"
            )

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """A recipe read from text, "" for none; raises `SettingError`, with the nearest name for an unknown one."""
        if not text.strip():
            return cls()
        try:
            node = ast.parse(text.strip(), mode="eval").body
        except SyntaxError:
            raise SettingError(
                f"write attacks such as 'backdoor(target=0) + model_replacement' instead of {text!r}"
            ) from None
        return cls(tuple(Call.parse(ast.unparse(part)) for part in _summands(node)))

    def __str__(self) -> str:
        return " + ".join(map(str, self.calls))

    def of_kind(self, kind: str) -> tuple[Call, ...]:
        """The attacks of one kind: "data", "own" or "honest"."""
        return tuple(call for call in self.calls if ATTACKS[call.name].kind == kind)

    @property
    def data(self) -> tuple[Call, ...]:
        """The attacks on a hostile client's examples."""
        return self.of_kind("data")

    @property
    def own(self) -> tuple[Call, ...]:
        """The attacks on a hostile client's own update."""
        return self.of_kind("own")

    @property
    def honest(self) -> tuple[Call, ...]:
        """The colluding attack, made from the honest updates: one at most."""
        return self.of_kind("honest")

    def poisoned(self, examples: Examples, *, rng: Random = None) -> Examples:
        """The examples after every attack on data."""
        for call in self.data:
            examples = _applied(call, examples, rng=rng)
        return examples

    def attacked(self, own: Updates, *, clients: int, hostile: int, rng: Random = None) -> Updates:
        """What hostile clients send instead of their own updates `(f, d)`; a `boost` left open is clients / hostile."""
        for call in self.own:
            own = _applied(call, own, {"boost": clients / max(hostile, 1)}, rng=rng)
        return own

    @property
    def collude(self) -> Callable[[Updates, int], Updates] | None:
        """The function from honest updates `(h, d)` and f to what the f hostile clients send, if they collude."""
        if not self.honest:
            return None
        (call,) = self.honest
        return lambda honest, f: _applied(call, honest, f=f)

    def check(self, task: Task, clients: int, hostile: int) -> None:
        """Raise `SettingError` if the attack cannot be carried out on this task by so many clients of so many."""
        self.poisoned(task.test[:8])
        self.attacked(np.ones((max(hostile, 1), 2)), clients=clients, hostile=hostile)
        if self.collude and hostile:
            self.collude(np.ones((max(clients - hostile, 1), 2)), hostile)


def _summands(node: ast.expr) -> list[ast.expr]:
    """The parts of `a + b | c`, from left to right."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.BitOr)):
        return _summands(node.left) + _summands(node.right)
    return [node]


def _applied(call: Call, subject: Any, open_options: dict[str, object] | None = None, **context: Any) -> Any:
    """What the attack makes of its subject; `open_options` fill those that the recipe leaves at None."""
    attack = ATTACKS[call.name]
    options = attack.options | dict(call.options)
    options |= {
        name: value for name, value in (open_options or {}).items() if name in options and options[name] is None
    }
    if "rng" not in inspect.signature(attack.function).parameters:
        context.pop("rng", None)
    try:
        return attack(subject, **options, **context)
    except (TypeError, AttributeError) as error:
        raise SettingError(f"{call}: an option has a value of the wrong kind ({error})") from error


def hostile_clients(clients: int, hostile: int, seed: int) -> frozenset[int]:
    """The partition ids of the hostile clients, drawn at random: a defense must not know them by their place.

    >>> len(hostile_clients(10, 3, seed=1)), hostile_clients(10, 0, seed=1)
    (3, frozenset())
    """
    if not 0 <= hostile <= clients:
        raise SettingError(f"hostile must be from 0 to clients={clients}, got {hostile}")
    # A stream of its own: the same seed also draws the partition.
    chosen = np.random.default_rng([seed, 2]).choice(clients, size=hostile, replace=False)
    return frozenset(int(client) for client in chosen)


def attack_success(recipe: Recipe, model: torch.nn.Module, test: Examples, task: Task) -> float | None:
    """The share of test examples of which the model says what the attack wants; None for attacks without such a wish.

    An attack on data wants the labels it teaches: carried out in full on the test examples, it changes the labels of
    some, and these count. For a backdoor they are those of other classes with the trigger on, for a targeted flip those
    of the source class, for a label flip all but a middle class that stays as it is. Attacks on updates, and colluding
    ones, wish for nothing in particular.
    """
    wanted = Examples(test.x, test.y, task.classes)
    for call in recipe.data:
        in_full = {"share": 1.0} if "share" in ATTACKS[call.name].options else {}
        wanted = _applied(Call(call.name, tuple((dict(call.options) | in_full).items())), wanted)
    changed = wanted.y != test.y
    if not changed.any():
        return None
    return float((predictions(logits(model, wanted.x[changed])) == wanted.y[changed]).mean())
