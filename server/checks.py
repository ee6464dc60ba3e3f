"""What a guard is asked to check, as an operator writes it: `guard = "holdout(tolerance=0.05) + clients"`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import Call, Table, check_options, number_between, whole_number

from .watched import ACCURACY


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """The checks on the operator's data.

    Of a federation in which nothing changes a share of `rate` of the rounds is rolled back; a loss of up to `tolerance`
    of accuracy, or of a class's recall, never is. Of what the model has learned since the first round a share of
    `collapse` may be lost at once (1: no such bound). What was seen before the round `since` is forgotten, which is how
    an operator has a model taken that the guard would not take. `metric` is watched in place of the accuracy, larger
    being better; `examples` is the size of the holdout, where its metrics do not tell. With `slowdown` an evaluation
    may take at most so many times the usual seconds; 0, because clocks are noisy, for no such check.
    """

    rate: float = 0.001
    tolerance: float = 0.02
    collapse: float = 0.5
    since: int = 0
    metric: str = ACCURACY
    examples: int = 0
    slowdown: float = 0.0

    def __post_init__(self) -> None:
        _check("holdout", self.rate, self.tolerance, self.collapse, self.since)
        if not isinstance(self.metric, str) or not self.metric:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingError(f"holdout needs a metric such as 'accuracy', got {self.metric!r}")
        _whole("holdout", "examples", self.examples)
        if self.slowdown != 0:
            number_between("holdout", "a slowdown above 1, or 0 for none", self.slowdown, 1, float("inf"))


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The checks of what clients report of the model, from `least` clients on; the rest is as for `Holdout`."""

    rate: float = 0.001
    tolerance: float = 0.02
    collapse: float = 0.5
    since: int = 0
    least: int = 3

    def __post_init__(self) -> None:
        _check("clients", self.rate, self.tolerance, self.collapse, self.since)
        whole_number("clients", "least", self.least)


CHECKS: Table[Callable[..., Holdout | Clients]] = Table("guard")
CHECKS.add("holdout", Holdout)
CHECKS.add("clients", Clients)


def checks(text: str) -> tuple[Holdout | None, Clients | None]:
    """The checks that a text asks for, such as "holdout(tolerance=0.05) + clients", "" for none; raises `SettingError`.

    >>> checks("clients(least=5)")
    (None, Clients(rate=0.001, tolerance=0.02, collapse=0.5, since=0, least=5))
    """
    found: dict[str, Holdout | Clients] = {}
    for call in _calls(text) if text.strip() else ():
        options = dict(call.options)
        check_options(call.name, CHECKS[call.name], options)
        if call.name in found:
            raise SettingError(f"write {call.name!r} once in {text!r}")
        found[call.name] = CHECKS[call.name](**options)
    holdout, clients = found.get("holdout"), found.get("clients")
    return holdout if isinstance(holdout, Holdout) else None, clients if isinstance(clients, Clients) else None


def _calls(text: str) -> Iterator[Call]:
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SettingError(f"write 'holdout', 'clients' or 'holdout + clients' instead of {text!r}") from None
    parts: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts.append(node.right)
        node = node.left
    for part in [node, *reversed(parts)]:
        yield Call.parse(ast.unparse(part))


def _check(name: str, rate: object, tolerance: object, collapse: object, since: object) -> None:
    number_between(name, "a rate between 0 and 1", rate, 0, 1)
    number_between(name, "a tolerance of at least 0 and below 1", tolerance, -1e-300, 1)
    number_between(name, "a collapse above 0 and at most 1", collapse, 0, np.nextafter(1, 2))
    _whole(name, "since", since)


def _whole(name: str, option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SettingError(f"{name} needs {option} as a whole number of at least 0, got {value!r}")
