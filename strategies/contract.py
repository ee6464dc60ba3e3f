"""The function shapes, the tables that hold them, and the checks made once for all of them.

A contributor writes a pure function and puts a decorator on it; the decorator registers it under its own name, reads
its options from its signature and wraps it so that everything around the mathematics is done in one place: input kinds
and shapes, the tolerance f, the order of the rows, unknown options, the tests.

Wrapped functions see rows in *canonical order*, an order given by the rows' content alone. That makes every result
independent of the order in which clients replied, bit for bit, and lets a stable sort break ties.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .algebra import one_thread
from .errors import OptionError, SettingError, ToleranceError
from .evidence import History
from .geometry import Floats, Geometry
from .given import ASKED, BESIDE, Given, asked, generator, identities, of_call, placed
from .rows import Rows, weighed

KNOWLEDGE = frozenset(  # what an attack may ask to be told; see client/attacks/knowledge.py
    {"rng", "round", "clients", "hostile", "members", "others", "sent", "moved", "own", "defense", "trusted", "state"}
)
RESERVED = frozenset({"history", "bounds"}) | ASKED | KNOWLEDGE  # the caller supplies these; never options of a recipe


@dataclass(frozen=True)
class Call:
    """A name with options, as written in a recipe: `multi_krum(m=5)`.

    >>> Call.parse(" multi_krum( m = 5 ) ")
    Call(name='multi_krum', options=(('m', 5),))
    >>> str(_)
    'multi_krum(m=5)'
    """

    name: str
    options: tuple[tuple[str, object], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Call:
        """A call read from text; options are Python literals, always by name. Raises `SettingError`."""
        expected = f"write a name, or a name with options such as 'multi_krum(m=5)', instead of {text!r}"
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - whoever writes krum, not "krum"
            raise SettingError(expected)
        try:
            node = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: a null byte in Python 3.11
            raise SettingError(expected) from None
        if isinstance(node, ast.Name):
            return cls(node.id)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise SettingError(expected)
        options: dict[str, object] = {}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in options:
                raise SettingError(expected)
            try:
                options[keyword.arg] = ast.literal_eval(keyword.value)
            except (ValueError, TypeError, RecursionError):
                raise SettingError(expected) from None
            if options[keyword.arg] in (math.inf, -math.inf):  # prints as a name, not as a number
                raise SettingError(expected)
        return cls(node.func.id, tuple(sorted(options.items())))

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.options)
        return f"{self.name}({inside})" if inside else self.name


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them.

    >>> nearest("trimed_mean", ["krum", "trimmed_mean"])
    "did you mean 'trimmed_mean'?"
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def options_of(function: Callable[..., Any]) -> dict[str, object]:
    """The options of a function, name to default: its keyword-only parameters, save those the caller supplies."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in RESERVED}


def check_options(name: str, function: Callable[..., Any], options: Mapping[str, object]) -> None:
    """Raise `OptionError` for an option the function does not have, or lacks and has no default for."""
    known = options_of(function)
    for option in options:
        if option not in known and option not in (RESERVED & inspect.signature(function).parameters.keys()):
            raise OptionError(
                f"{name} has no option {option!r}; {nearest(option, list(known)) if known else 'it has none'}"
            )
    missing = [
        option for option, default in known.items() if default is inspect.Parameter.empty and option not in options
    ]
    if missing:
        raise OptionError(f"{name} needs {', '.join(missing)}: write {name}({missing[0]}=...)")


Part = TypeVar("Part")


class Table(Mapping[str, Part]):
    """The registered functions of one kind, by name; an unknown name raises with the nearest known one."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, Part] = {}

    def __getitem__(self, name: str) -> Part:
        if name not in self._parts:
            raise SettingError(f"no {self.kind} named {name!r}; {nearest(name, list(self._parts))}")
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, name: str, part: Part) -> Part:
        """The part itself, now found under `name`."""
        if name in self._parts:
            raise SettingError(f"there is already a {self.kind} named {name!r}")
        self._parts[name] = part
        return part


def tolerance(f: object) -> int | float:
    """`f` itself if it is a count (int >= 0) or a share (float in [0, 0.5)); raises `SettingError` otherwise."""
    number = cast("object", f.item()) if isinstance(f, np.generic) else f
    if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
        return number
    if isinstance(number, float) and 0 <= number < 0.5:
        return number
    raise SettingError(f"f must be a count (int >= 0) or a share of the clients (float in [0, 0.5)), got {f!r}")


def hostile_count(f: int | float, n: int) -> int:
    """How many of `n` clients `f` stands for; a share is rounded up after removing float noise.

    >>> hostile_count(0.28, 25), hostile_count(0.2, 11), hostile_count(3, 10)
    (7, 3, 3)
    """
    f = tolerance(f)
    return f if isinstance(f, int) else _rounded_up(f, n)


def attackers(hostile: object, n: int) -> int:
    """How many of `n` clients attack: a count, or a share below 1, rounded up, or either as text.

    Raises `SettingError`.

    >>> attackers(3, 10), attackers(0.28, 25), attackers("0.5", 5)
    (3, 7, 3)
    """
    number = hostile
    if isinstance(hostile, str):
        with contextlib.suppress(ValueError):
            number = int(hostile) if hostile.strip().isdecimal() else float(hostile)
    if isinstance(number, float) and 0 <= number < 1:
        return _rounded_up(number, n)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= n:
        return number
    raise SettingError(f"hostile must be from 0 to clients={n}, or a share of them below 1, got {hostile!r}")


def _rounded_up(share: float, n: int) -> int:
    """The share of n, rounded up after removing float noise."""
    return math.ceil(round(share * n, 9))


def number_between(name: str, expected: str, value: object, low: float, high: float) -> float:
    """`value` itself, an option of the part `name`, if it is a number between low and high; raises `SettingError`."""
    if not isinstance(value, bool) and isinstance(value, Real) and low < float(value) < high:
        return float(value)
    raise SettingError(f"{name} needs {expected}, got {value!r}")


def whole_number(name: str, option: str, value: object) -> int:
    """`value` itself, an option of the part `name`, if it is a whole number of at least 1; raises `SettingError`."""
    if not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1:
        return int(value)
    raise SettingError(f"{name} needs a whole number {option} of at least 1, got {value!r}")


def least_majority(f: int) -> int:
    """The fewest rows that leave an honest majority: 2f + 1."""
    return 2 * f + 1


def prepare(part: Rule | Transform, n: int, f: int | float | None, options: Mapping[str, object]) -> int:
    """The count `f` stands for, once options and tolerance are checked; raises `SettingError`, `ToleranceError`."""
    check_options(part.name, part.function, options)
    default = inspect.signature(part.function).parameters["f"].default
    if f is None and default is inspect.Parameter.empty:
        raise OptionError(f"{part.name} needs f, the number (int) or share (float) of hostile clients to tolerate")
    count = hostile_count(default if f is None else f, n)
    if n < part.least(count):
        limit = max((g for g in range(n) if n >= part.least(g)), default=None)
        most = f"at most {limit} hostile clients out of {n}" if limit is not None else f"no round of {n}"
        raise ToleranceError(f"{part.name} tolerates {most}, but f={count}")
    return count


@dataclass(frozen=True, eq=False)
class Combination:
    """What a geometric rule may answer in the place of bare weights `(n,)`.

    With a `statistic`, that is taken of each column over the rows whose weight is above 0, in the place of their
    weighted sum. `noise` is the standard deviation of the Gaussian noise that is added to each coordinate, drawn from
    the `rng` that the rule asks for. `memory` is plain data that it wants to be given in the next round.
    """

    weights: Floats
    statistic: kernels.Statistic | None = None
    noise: float = 0.0
    memory: Any = None


class Rule:
    """A registered aggregation rule: `krum(updates, f=2)`, and `krum.weights(geometry, f=2)` where it is geometric.

    `updates` are `(n, d)`: an array, a tensor on any device, or a sequence of `n` vectors; the answer is `(d,)`, of the
    same kind, dtype and device. `kind`, the name of its first parameter, says what the rule looks at: "geometry", "n"
    (coordinate-wise) or "columns". `asked` are the arguments, no options, that it asks the caller for by keyword (see
    `rule`); `beside` is the one of them that is one more row `(d,)`: empty for most. Where columns are asked for,
    `bounds` `(L + 1,)` may say where layers begin. Raises `UpdateError`, `ToleranceError`, `SettingError`.
    """

    KINDS = ("geometry", "n", "columns")

    def __init__(
        self, function: Callable[..., Any], least: Callable[[int], int], exempt: Mapping[str, str] | None = None
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self.function = function
        self.least = least
        self.exempt = dict(exempt or {})
        self.kind = next(iter(inspect.signature(function).parameters))
        if self.kind not in self.KINDS:
            raise SettingError(
                f"rule {self.name} must take 'geometry', 'n' (coordinate-wise) or 'columns' first, got {self.kind!r}"
            )
        self.geometric = self.kind == "geometry"
        self.asked = asked(function)
        beside = sorted(self.asked.intersection(BESIDE))
        if len(beside) > self.geometric:
            raise SettingError(
                f"a geometric rule may take one of {', '.join(sorted(BESIDE))}, got {self.name}: {beside}"
            )
        if self.kind == "n" and self.asked - {"weights"}:
            raise SettingError(f"a coordinate-wise rule is given only weights, got {self.name}: {sorted(self.asked)}")
        self.beside = beside[0] if beside else ""
        self.reads_columns = self.kind == "columns" or "columns" in self.asked

    def __repr__(self) -> str:
        return f"<rule {self.name}>"

    @one_thread
    def __call__(self, updates: Any, *, f: int | float | None = None, **options: Any) -> Any:  # noqa: D102
        clients = options.get("clients") if "clients" in self.asked else None
        rows = Rows.of(updates, None if clients is None else identities(clients))
        if options.get("weights") is not None:
            refuse_unweighable(self)
            rows = weighed(rows, options["weights"])
        asking = self.asked.union(["columns"] if self.reads_columns else [])
        bounds = ["bounds"] if self.reads_columns else []
        count = prepare(self, rows.n, f, {name: value for name, value in options.items() if name not in bounds})
        geometry = Geometry.measured(rows) if self.geometric else None
        if self.kind == "columns":
            rows.refuse_non_finite()
        given, row = of_call(self.name, asking, rows, geometry, options)
        memory, rng = options.pop("memory", None), generator(self.name, options.pop("rng", None))
        rng = rng or np.random.default_rng(0)
        answer = self.answer(geometry or rows.n, count, given, memory, rng, options)
        return update_of(answer, rows, row=row, rng=rng)

    def answer(
        self,
        subject: Geometry | int,
        f: int,
        given: Given,
        memory: object,
        rng: np.random.Generator | None,
        options: Mapping[str, object],
    ) -> Combination | kernels.Statistic | Floats:
        """What the rule makes of rows in canonical order, `subject` being their geometry or number.

        A `Combination`, an order statistic, or from a column rule the update's values `(d,)`.
        """
        first = given.columns if self.kind == "columns" else subject
        found = self.function(first, f, **options, **given.to(self.asked, memory, rng))
        return Combination(found) if self.geometric and not isinstance(found, Combination) else found

    def combination(self, geometry: Geometry, *, f: int | float | None = None, **options: Any) -> Combination:
        """What a geometric rule answers, its weights in the order of the geometry; raises `SettingError` for others.

        What the rule asks for is given as in a call with updates, but rows and sums of rows as geometries, of the n
        rows and, last, that one, or of the n sums; and columns as `Columns`.
        """
        if not self.geometric:
            what = "coordinate-wise" if self.kind == "n" else "a rule of columns"
            raise SettingError(f"{self.name} is {what} and has no weights per client")
        count = prepare(self, geometry.n, f, options)
        given = placed(self.name, self.asked, geometry, options)
        memory, rng = options.pop("memory", None), generator(self.name, options.pop("rng", None))
        found = self.answer(geometry.canonical(), count, given, memory, rng, options)
        assert isinstance(found, Combination)
        weights = found.weights
        return replace(found, weights=np.append(weights[: geometry.n][geometry.rank], weights[geometry.n :]))

    def weights(self, geometry: Geometry, *, f: int | float | None = None, **options: Any) -> Floats:
        """The weights `(n,)` in float64 that a geometric rule gives the rows; raises `SettingError` for other rules.

        One more row is given as the geometry of the rows and, last, that one; then there may be a weight for it, last.
        """
        return self.combination(geometry, f=f, **options).weights


def refuse_unweighable(rule: Rule) -> None:
    """Raise `OptionError` for a rule that takes no weights of clients, naming those that do."""
    if "weights" not in rule.asked:
        others = ", ".join(sorted(name for name, other in RULES.items() if "weights" in other.asked))
        raise OptionError(f"{rule.name} takes no weights of clients: write one of {others}, or leave them out")


def update_of(
    answer: Combination | kernels.Statistic | Floats,
    rows: Rows,
    *,
    row: Any = None,
    mixing: Floats | None = None,
    rng: np.random.Generator | None = None,
) -> Any:
    """The update `(d,)`, of the caller's kind, that a rule's answer on the rows, or on `mixing @ rows`, stands for.

    `row` is the one more row that the rule was given; noise is drawn from `rng`.
    """
    if isinstance(answer, Combination):
        m = len(rows.order) if mixing is None else len(mixing)
        if answer.statistic is not None:
            chosen = answer.weights[:m] > 0
            return rows.ordered(answer.statistic, chosen, mixing, noise=answer.noise, rng=rng)
        share = answer.weights[:m] if mixing is None else answer.weights[:m] @ mixing
        return rows.combined(np.append(share, answer.weights[m:]), row, noise=answer.noise, rng=rng)
    if isinstance(answer, np.ndarray):
        return rows.filled(answer)
    return rows.ordered(answer, None, mixing)


class Transform:
    """A registered transform: `arc(updates, f=2)` maps `(n, d)` to `(m, d)`, of the same kind, dtype and device.

    Its function answers the mixing matrix `(m, n)`; where m is n, mixed row i stands for row i. `updates` stay as they
    are. One that is `random` takes a generator `rng`; one that `mixes` makes a row of several.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        least: Callable[[int], int],
        exempt: Mapping[str, str] | None = None,
        mixes: bool = True,
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self.function = function
        self.least = least
        self.exempt = dict(exempt or {})
        self.random = "rng" in inspect.signature(function).parameters
        self.mixes = mixes

    def __repr__(self) -> str:
        return f"<transform {self.name}>"

    @one_thread
    def __call__(self, updates: Any, *, f: int | float | None = None, **options: object) -> Any:  # noqa: D102
        rows = Rows.of(updates)
        count = prepare(self, rows.n, f, options)
        mixing = self.function(Geometry.measured(rows), count, **options)
        if len(mixing) == rows.n:
            mixing = mixing[np.argsort(rows.order)]
        return rows.like(kernels.mix(rows.data, rows.order, mixing))

    def mixing(self, geometry: Geometry, *, f: int | float | None = None, **options: object) -> Floats:
        """The mixing matrix `(m, n)` in float64."""
        count = prepare(self, geometry.n, f, options)
        mixing = self.function(geometry.canonical(), count, **options)[:, geometry.rank]
        return mixing[geometry.rank] if len(mixing) == geometry.n else mixing


class Score:
    """A registered anomaly score: `distance(geometry, f=2)` answers `(n,)` in float64, higher where more anomalous.

    `spread` is the least standard deviation it is read with: how much honest clients differ in it anyway. `asked` is
    as of a `Rule`. One that asks for `memory` remembers: its function answers the scores and, plain data, the memory to
    give it in the next round; a call answers the scores.
    """

    def __init__(self, function: Callable[..., Any], spread: float) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self.function = function
        self.spread = spread
        self.asked = asked(function)

    def __repr__(self) -> str:
        return f"<score {self.name}>"

    def __call__(  # noqa: D102
        self, geometry: Geometry, f: int | float, history: History | None = None, **options: Any
    ) -> Floats:
        check_options(self.name, self.function, options)
        count = hostile_count(f, geometry.n)
        recalled = history or History.recalled(None, None, geometry.n)
        order = np.argsort(geometry.rank)
        given = placed(self.name, self.asked, geometry, options)
        memory, rng = options.pop("memory", None), generator(self.name, options.pop("rng", None))
        scores, _ = self.answer(geometry.canonical(), count, recalled.take(order), given, memory, rng, options)
        return scores[geometry.rank]

    def answer(
        self,
        geometry: Geometry,
        f: int,
        history: History,
        given: Given,
        memory: object,
        rng: np.random.Generator | None,
        options: Mapping[str, object],
    ) -> tuple[Floats, Any]:
        """The scores `(n,)` of rows in canonical order, and what it wants to be given in the next round."""
        found = self.function(geometry, f, history, **options, **given.to(self.asked, memory, rng))
        return found if "memory" in self.asked else (found, None)


class Policy:
    """A registered policy: `fdr(scores, f, history)` answers a `Decision` on the n clients.

    `scores` holds for each score the clients' deviations `(n,)` from what is usual, averaged with their past ones.
    """

    def __init__(self, function: Callable[..., Decision]) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self.function = function

    def __repr__(self) -> str:
        return f"<policy {self.name}>"

    def __call__(  # noqa: D102
        self, scores: Mapping[str, Floats], f: int, history: History | None = None, **options: object
    ) -> Decision:
        check_options(self.name, self.function, options)
        n = len(next(iter(scores.values())))
        return self.function(scores, f, history or History.recalled(None, None, n), **options)


@dataclass(frozen=True, eq=False)
class Decision:
    """What a policy makes of the scores: `accepted` `(n,)`, a p-value each, `(n,)`, and a reason each."""

    accepted: NDArray[np.bool_]
    p_values: Floats
    reasons: tuple[str, ...]


class Attack:
    """A registered attack; `kind`, the name of its first parameter, says what it changes.

    "data": a hostile client's examples; "training": how it trains on them; "own": hostile clients' updates `(f, d)`;
    "honest": the same, but made from the honest clients' updates `(h, d)`; "reply": the Flower message that carries
    one; "round": whether they attack at all in a round of that number.

    `knowledge` names what it asks to be told beyond that, as keywords that are no options (`KNOWLEDGE`). One that asks
    for `state` remembers: its function answers the state to give it in the next round beside the rows, `stepped`
    passes both on, and a plain call answers the rows.
    """

    KINDS = ("data", "training", "own", "honest", "reply", "round")

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self.function = function
        self.options = options_of(function)
        parameters = inspect.signature(function).parameters
        kind = next(iter(parameters))
        if kind not in self.KINDS:
            raise SettingError(f"attack {self.name} must take one of {', '.join(self.KINDS)} first, got {kind!r}")
        self.kind = kind
        self.knowledge = frozenset(
            name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY and name in KNOWLEDGE
        )

    def __repr__(self) -> str:
        return f"<attack {self.name}>"

    def __call__(self, subject: Any, *arguments: Any, **options: Any) -> Any:  # noqa: D102
        return self.stepped(subject, *arguments, **options)[0]

    def stepped(self, subject: Any, *arguments: Any, **options: Any) -> tuple[Any, Mapping[str, Any] | None]:
        """What the attack makes of its subject, and the state to give it in the next round, None for none."""
        check_options(self.name, self.function, {name: value for name, value in options.items() if name != "f"})
        answer = self.function(subject, *arguments, **options)
        return answer if "state" in self.knowledge else (answer, None)


def rule(
    *, least: Callable[[int], int] = least_majority, exempt: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Rule]:
    """Registers an aggregation rule that needs `least(f)` rows; the name of its first parameter says of what kind.

    A geometric function `(geometry, f, *, options) -> (n,)` answers weights, or a `Combination`; a coordinate-wise one
    `(n, f, *, options)` answers the `OrderStatistic` to take of each column; one of columns `(columns, f, *, options)`
    answers the update's values `(d,)` in float64. A rule that does not depend on f gives it the default 0.

    Keyword-only arguments of these names are no options but supplied by the caller, None where there is none:

    - one more row, to geometric rules: `center`, the update of the round before, `trusted`, one of the server's own, or
      `model`, the parameters that were sent. The rule gets the geometry of the rows and, last, that row, and may answer
      `(n + 1,)` weights, the last one for it;
    - `columns`, the rows' `Columns`;
    - `sums`, the geometry of n rows, each client's updates added up over all rounds; without identities, the rows;
    - `past`, a `Past`: what clients sent last, and how the model moved since;
    - `memory`, what the rule's `Combination` held in the round before;
    - `clients`, the rows' identities;
    - `weights`, the clients' weights `(n,)`, also to coordinate-wise rules; None where all are equal;
    - `rng`, a generator; in a `Defense` one seeded by the number of rounds that its state has seen.

    A rule that looks at columns or the past cannot follow transforms: mixed rows have neither.

    `exempt` names the laws of the shared tests that the rule does not keep, each with the reason: they must then fail.
    """

    def register(function: Callable[..., Any]) -> Rule:
        return RULES.add(function.__name__, Rule(function, least, exempt))

    return register


def transform(
    *, least: Callable[[int], int] = least_majority, exempt: Mapping[str, str] | None = None, mixes: bool = True
) -> Callable[[Callable[..., Floats]], Transform]:
    """Registers a transform `(geometry, f, *, options) -> (m, n)` that needs `least(f)` rows; `exempt` as in `rule`.

    One that only changes the length of each row says that it `mixes` none: clients then keep their weights.

    One that draws at random takes a keyword-only `rng`, None for a generator seeded in the same way at every call; a
    `Defense` gives it one seeded by the number of rounds that its state has seen.
    """

    def register(function: Callable[..., Floats]) -> Transform:
        return TRANSFORMS.add(function.__name__, Transform(function, least, exempt, mixes))

    return register


def score(*, spread: float) -> Callable[[Callable[..., Any]], Score]:
    """Registers an anomaly score `(geometry, f, history, *, options) -> (n,)`; honest clients differ by `spread`.

    It may ask for the same keyword-only arguments as a rule does (see `rule`), for as many of them as it likes.
    """

    def register(function: Callable[..., Any]) -> Score:
        return SCORES.add(function.__name__, Score(function, spread))

    return register


def policy(function: Callable[..., Decision]) -> Policy:
    """Registers a policy `(scores, f, history, *, options) -> Decision`."""
    return POLICIES.add(function.__name__, Policy(function))


def attack(function: Callable[..., Any]) -> Attack:
    """Registers an attack, of the kind its first parameter names."""
    return ATTACKS.add(function.__name__, Attack(function))


RULES: Table[Rule] = Table("rule")
TRANSFORMS: Table[Transform] = Table("transform")
SCORES: Table[Score] = Table("score")
POLICIES: Table[Policy] = Table("policy")
ATTACKS: Table[Attack] = Table("attack")
