"""What there is of rules, transforms, scores, policies and attacks, read from the code itself: `docs/catalogue.md`."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from hawthorn.strategies import SettingError
from hawthorn.strategies.certificates import COMPOSED, PROVEN
from hawthorn.strategies.columns import Columns, Floats, Layers, Order, layer_bounds
from hawthorn.strategies.contract import (
    ATTACKS,
    POLICIES,
    RULES,
    SCORES,
    TRANSFORMS,
    Attack,
    Policy,
    Rule,
    Score,
    Transform,
    nearest,
    options_of,
)
from hawthorn.strategies.geometry import Geometry
from hawthorn.strategies.given import Given
from hawthorn.strategies.rows import Rows

importlib.import_module("hawthorn.client.attacks")  # which registers them

CLIENTS, HOSTILE = 20, 4
LAWS = {
    "order": "rows in another order give the update to the last bit",
    "columns": "columns in another order give the update's in that order",
    "translation": "rows moved by a vector move the update by it",
    "scale": "rows times a factor give the update times that factor",
    "sign": "rows turned around turn the update around",
    "rotation": "rows that are rotated rotate the update",
    "agreement": "of rows that agree, the update is that row",
    "survival": "f hostile rows move the update no farther than kappa, or the geometric median's, allows",
    "size": "hostile rows of any length leave the update among the others",
}
NEEDS = {  # in the order in which they are told
    "model": "the model sent, if known",
    "center": "the last update, d kept",
    "sums": "identities: sums of updates, n d kept",
    "past": "identities: last updates, n d kept",
    "memory": "identities: numbers kept",
    "rng": "random numbers",
    "weights": "weights of clients, if wanted",
}
TRUSTED, LAYERS = "a trusted update", "bounds of layers, if known"


@dataclass(frozen=True)
class Entry:
    """One part: its name, how it is written with its options, what it answers and where it comes from.

    `needs` says what it is given beyond the rows, and keeps from round to round. `facts` differ from kind to kind.
    `exempt` names the laws that it does not keep, each with the reason.
    """

    name: str
    call: str
    answer: str
    source: str
    needs: tuple[str, ...] = ()
    facts: Mapping[str, str | int | float | None] = field(default_factory=dict[str, "str | int | float | None"])
    exempt: Mapping[str, str] = field(default_factory=dict[str, str])


Part = Rule | Transform | Score | Policy | Attack


def catalogue() -> dict[str, list[Entry]]:
    """Every registered part by kind and name."""
    return {
        "rules": [_rule(RULES[name]) for name in sorted(RULES)],
        "transforms": [_transform(TRANSFORMS[name]) for name in sorted(TRANSFORMS)],
        "scores": [_score(SCORES[name]) for name in sorted(SCORES)],
        "policies": [_entry(POLICIES[name]) for name in sorted(POLICIES)],
        "attacks": [_entry(ATTACKS[name], changes=ATTACKS[name].kind) for name in sorted(ATTACKS)],
    }


def documents() -> dict[str, list[dict[str, Any]]]:
    """The catalogue as plain data."""
    return {kind: [asdict(entry) for entry in entries] for kind, entries in catalogue().items()}


def described(name: str) -> str:
    """How a part is written, and all that its docstring says; raises `SettingError` for a name that is none."""
    tables = (RULES, TRANSFORMS, SCORES, POLICIES, ATTACKS)
    found = [(table.kind, table[name]) for table in tables if name in table]
    if not found:
        known = [known for table in tables for known in table]
        raise SettingError(f"no part of a defense or attack is named {name!r}; {nearest(name, known)}")
    return "\n\n".join(
        f"{kind} {call_of(part.name, part.function)}\n\n{inspect.getdoc(part.function)}" for kind, part in found
    )


def call_of(name: str, function: Callable[..., Any]) -> str:
    """A part as it is written with all its options, each with its default.

    >>> call_of("krum", RULES["krum"].function), call_of("clip", TRANSFORMS["clip"].function)
    ('krum', 'clip(radius)')
    """
    options = [
        option if default is inspect.Parameter.empty else f"{option}={_number(default)}"
        for option, default in options_of(function).items()
    ]
    return f"{name}({', '.join(options)})" if options else name


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) and len(repr(value)) > 8 else repr(value)


def paragraphs(function: Callable[..., Any]) -> list[str]:
    """The paragraphs of a function's docstring, each on one line."""
    return [" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n")]


def _entry(part: Part, needs: Sequence[str] = (), **facts: str | float | None) -> Entry:
    told = paragraphs(part.function)
    source = next((line.partition(": ")[2] for line in told if line.startswith("Source")), "")
    exempt = part.exempt if isinstance(part, Rule | Transform) else {}
    return Entry(part.name, call_of(part.name, part.function), told[0], source, tuple(needs), facts, exempt)


def least_rows(least: Callable[[int], int]) -> str:
    """The fewest rows that are needed, as a formula in f.

    >>> least_rows(lambda f: 2 * f + 3), least_rows(lambda f: 2 * f + 2 if f else 1), least_rows(lambda f: 1)
    ('2f + 3', '2f + 2, or 1 for f = 0', '1')
    """
    found = [least(f) for f in range(12)]
    slope = found[2] - found[1]
    start = found[1] - slope
    if any(rows != start + slope * f for f, rows in enumerate(found) if f):
        return f"{', '.join(map(str, found[:5]))} ... for f = 0, 1 ..."
    formula = f"{slope}f + {start}" if slope and start else f"{slope}f" if slope else str(start)
    return formula if found[0] == start else f"{formula}, or {found[0]} for f = 0"


def _most(least: Callable[[int], int]) -> int | None:
    return max((f for f in range(CLIENTS) if least(f) <= CLIENTS), default=None)


def _rule(rule: Rule) -> Entry:
    kappa = PROVEN[rule.name](CLIENTS, HOSTILE) if rule.name in PROVEN else math.inf
    reads, layers = tried(rule)
    return _entry(
        rule,
        [*_needs(rule), *([LAYERS] if layers else [])],
        least=least_rows(rule.least),
        most=_most(rule.least),
        proven=kappa if math.isfinite(kappa) else None,
        reads=reads,
    )


def _transform(transform: Transform) -> Entry:
    return _entry(
        transform,
        ["random numbers"] if transform.random else [],
        least=least_rows(transform.least),
        most=_most(transform.least),
        proven=COMPOSED[transform.name](CLIENTS, HOSTILE, 1.0) if transform.name in COMPOSED else None,
    )


def _score(score: Score) -> Entry:
    return _entry(score, _needs(score), spread=score.spread)


def _needs(part: Rule | Score) -> list[str]:
    """What a part is given beyond the rows; a trusted update, too, if it does without: that is found out by trying."""
    needs = [text for name, text in NEEDS.items() if name in part.asked]
    if "trusted" not in part.asked:
        return needs
    rows = _rows()
    try:
        part(rows, f=HOSTILE) if isinstance(part, Rule) else part(Geometry.of(rows), f=HOSTILE)
    except SettingError:
        return [TRUSTED, *needs]
    return [f"{TRUSTED}, if there is one", *needs]


def tried(rule: Rule) -> tuple[int, bool]:
    """How often a call of the rule reads the matrix `(n, d)`, given all that it asks for; whether it looks for layers.

    The geometry is one read, another row beside the rows one more, and so is the update at the end, but for a rule of
    columns, which makes it of what it has read; there, one read sees to it that all is finite.

    >>> [tried(RULES[name]) for name in ("median", "krum", "fltrust", "aksel", "lasa")]
    [(1, False), (2, False), (3, False), (3, False), (5, True)]
    """
    if rule.kind == "n":
        return 1, False
    rows = Rows.of(_rows())
    geometry = Geometry.measured(rows)
    columns = _Watched(rows, layer_bounds(None, int(rows.data.shape[1])))
    beside = geometry.followed_by(rows, rows.data[0])
    names = tuple(map(str, range(rows.n)))
    given = Given(beside, beside, beside, columns, geometry, None, names)
    columns.reads, columns.layered = 0.0, False
    rule.answer(geometry if rule.geometric else rows.n, HOSTILE, given, None, np.random.default_rng(0), {})
    return (2 + bool(rule.beside) if rule.geometric else 1) + round(columns.reads), columns.layered


class _Watched(Columns):
    """Columns that count how often the whole matrix was read, and know whether somebody looked where layers begin."""

    reads = 0.0
    layered = False

    def __getattribute__(self, name: str) -> Any:
        if name == "bounds":
            self.layered = True
        return super().__getattribute__(name)

    @functools.cached_property
    def scale(self) -> Floats:
        self.reads += 1
        return super().scale

    @functools.cached_property
    def layers(self) -> Layers:
        layered, self.reads = self.layered, self.reads + 1
        found = super().layers
        self.layered = layered  # what adds all layers up does not care where they begin
        return found

    def row(self, place: int) -> Any:
        self.reads += 1 / self.n
        return super().row(place)

    def _chosen(self, columns: Order) -> Floats:
        self.reads += len(columns) / self.d
        return super()._chosen(columns)


def _rows() -> Floats:
    """A round to try rules on, so long that a few sampled columns are next to no read of it."""
    return np.random.default_rng(0).normal(size=(CLIENTS, 2000)) + 0.5
