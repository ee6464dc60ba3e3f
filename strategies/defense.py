"""The recipe of a defense, and what it answers about one round."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import kernels
from .algebra import one_thread
from .contract import (
    POLICIES,
    RULES,
    SCORES,
    TRANSFORMS,
    Call,
    Decision,
    Floats,
    Rule,
    check_options,
    hostile_count,
    prepare,
    tolerance,
)
from .errors import SettingError, ToleranceError, UpdateError
from .evidence import History, deviations, evidence, remembered
from .geometry import Geometry
from .rows import Rows, saved

DEFAULT_SCORES = ("length", "direction", "distance", "leverage")
DEFAULT_TOLERANCE = 0.2


@dataclass(frozen=True)
class Verdict:
    """What happened to one client in one round, and why.

    `accepted` is the policy's word. `weight` is the client's share in what the rule combined; a coordinate-wise rule
    leaves out values, not clients, so there it is the share the client would have if nothing had been left out.
    """

    accepted: bool
    weight: float
    p_value: float
    scores: dict[str, float]
    reason: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """One round's update `(d,)` and its verdicts, in the order of the rows.

    `update` is None when no update could be made, and `skipped` then says why. `geometry` is of all rows, before any
    transform. `state` is plain data to pass to the next round's call; None where the rows were anonymous. A rule that
    starts from the last round's update (`centered_clipping`) finds it there, an array `(d,)` in memory of its own; with
    other rules nothing of length d is kept.
    """

    update: Any
    verdicts: tuple[Verdict, ...]
    geometry: Geometry
    skipped: str | None
    state: dict[str, Any] | None


@dataclass(frozen=True)
class Defense:
    """A recipe: score, accept or reject, transform, combine. Calling it runs it over the updates of one round.

    `rule` and each of `before`, `scores` and `policy` name a registered function, with options where wanted:
    `"multi_krum(m=5)"`. `f` is how many clients may be hostile, a count (int) or a share (float in [0, 0.5)) of the
    rows. Scores and verdicts are made of all rows; transforms and rule then run over the accepted ones, with f
    unchanged, because a rejected client may have been honest. Raises `SettingError` for what does not exist.

    >>> import numpy as np
    >>> defense = Defense.parse("arc | nnm | trimmed_mean", f=0.2)
    >>> defense == Defense("trimmed_mean", before=("arc", "nnm"), f=0.2)
    True
    >>> rows = np.array([[1.0, 1.1], [1.1, 1.0], [0.9, 1.0], [1.0, 0.9], [-90.0, 5.0]])
    >>> outcome = defense(rows)
    >>> outcome.update.round(1), [verdict.accepted for verdict in outcome.verdicts]
    (array([1., 1.]), [True, True, True, True, False])
    """

    rule: str = "geometric_median"
    f: int | float = DEFAULT_TOLERANCE
    before: tuple[str, ...] = ()
    scores: tuple[str, ...] = DEFAULT_SCORES
    policy: str = "fdr"

    def __post_init__(self) -> None:
        object.__setattr__(self, "f", tolerance(self.f))
        for field in ("before", "scores"):
            if isinstance(getattr(self, field), str):
                raise SettingError(f"{field} must be a sequence of names, such as ({getattr(self, field)!r},)")
        # written once in one way, so that recipes that mean the same compare equal
        object.__setattr__(self, "rule", _known(RULES, self.rule))
        object.__setattr__(self, "before", tuple(_known(TRANSFORMS, name) for name in self.before))
        object.__setattr__(self, "scores", tuple(_known(SCORES, name) for name in self.scores))
        object.__setattr__(self, "policy", _known(POLICIES, self.policy))
        if not self.scores and Call.parse(self.policy).name != "none":
            raise SettingError(f"policy {self.policy!r} needs scores; without any, write policy='none'")
        _refuse_wrong_values(self)

    @classmethod
    def parse(cls, text: str, *, f: int | float | None = None, **fields: Any) -> Defense:
        """The recipe written as `"transform | ... | rule"`, settings after semicolons; what is passed wins over them.

        >>> str(Defense.parse("nnm | krum; f=2; scores=length, distance; policy=fdr(q=0.1)"))
        'nnm | krum; f=2; scores=length, distance; policy=fdr(q=0.1)'
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - whoever passes a Defense
            raise SettingError(f"write a recipe as text, such as 'nnm | krum; f=2', instead of {text!r}")
        pipeline, *settings = text.split(";")
        *before, rule = (part.strip() for part in pipeline.split("|"))
        written: dict[str, Any] = {}
        for setting in settings:
            name, equals, value = (part.strip() for part in setting.partition("="))
            if name not in {"f", "scores", "policy"} or not equals:
                raise SettingError(f"write f=, scores= or policy= after a semicolon, instead of {setting.strip()!r}")
            if name in written:
                raise SettingError(f"{name} is written twice in {text!r}")
            written[name] = value
        if "f" in written:
            written["f"] = _number(written["f"])
        if "scores" in written:
            written["scores"] = tuple(name.strip() for name in _split(written["scores"]))
        if f is not None:
            written["f"] = f
        return cls(rule=rule, before=tuple(before), **{**written, **fields})

    def __str__(self) -> str:
        pipeline = " | ".join((*self.before, self.rule))
        return f"{pipeline}; f={self.f!r}; scores={', '.join(self.scores)}; policy={self.policy}"

    @one_thread
    def __call__(
        self,
        updates: Any,
        *,
        clients: Sequence[str] | None = None,
        state: Mapping[str, Any] | None = None,
        trusted: Any = None,
    ) -> Outcome:
        """The outcome of a round with updates `(n, d)`: an array, a tensor on any device, `Updates`, or n vectors.

        `clients` are the rows' identities, without which nothing is remembered; `state` is the outcome's of the round
        before; `trusted` is an update `(d,)` of the server's own, for recipes that use one. Raises `UpdateError` for
        rows that are not finite or identities that do not match them; too few rows for the rule: a skipped outcome.
        """
        clients = None if clients is None else _identities(clients)
        rows = Rows.of(updates, clients)
        rule = RULES[Call.parse(self.rule).name]
        if trusted is not None and rule.beside != "trusted":
            raise SettingError(f"no part of {str(self)!r} uses a trusted update")
        center = (state or {}).get("center")
        more = {"center": center, "trusted": trusted}.get(rule.beside)
        if more is not None:
            more = rows.vector(more, f"the {rule.beside} of {rule.name}")
        geometry = Geometry.measured(rows)
        f = hostile_count(self.f, rows.n)
        # everything below is in canonical order, until the outcome puts it back into the caller's
        names = None if clients is None else [clients[row] for row in map(int, rows.order)]
        history = History.recalled(state, names, rows.n)
        scores, found = self._scores(geometry, f, history)
        averaged = history.with_round(found)
        decision = self._decision(evidence(averaged, found), f, history, rows.n)
        # random parts draw anew in each round, and the same in a round that is repeated
        rng = np.random.default_rng((state or {}).get("rounds", 0))
        update, weights, skipped = self._aggregate(rows, geometry, decision, f, more, rng)
        rank = np.argsort(rows.order)
        after = None if names is None else remembered(state, names, history, averaged, decision.accepted)
        if after is not None and rule.beside == "center":
            after |= _center(update, center)
        return Outcome(
            update=update,
            verdicts=_verdicts(scores, decision, weights, rank),
            geometry=geometry.reordered(rank),
            skipped=skipped,
            state=after,
        )

    def _scores(self, geometry: Geometry, f: int, history: History) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """The scores, and their deviations from what is usual in this round."""
        scores: dict[str, Floats] = {}
        found: dict[str, Floats] = {}
        for text in self.scores:
            call = Call.parse(text)
            part = SCORES[call.name]
            scores[text] = part.function(geometry, f, history, **dict(call.options))
            found[text] = deviations(scores[text], f, part.spread)
        return scores, found

    def _decision(self, against: Mapping[str, Floats], f: int, history: History, n: int) -> Decision:
        if not against:
            return Decision(np.ones(n, bool), np.ones(n), ("",) * n)
        call = Call.parse(self.policy)
        return POLICIES[call.name].function(against, f, history, **dict(call.options))

    def _aggregate(
        self, rows: Rows, geometry: Geometry, decision: Decision, f: int, more: Any, rng: np.random.Generator
    ) -> tuple[Any, Floats, str | None]:
        """The update of the accepted rows, each row's weight in it, and why there is none.

        `more` is the one more row `(d,)` that the rule is given; transforms leave it as it is.
        """
        weights = np.zeros(rows.n)
        if not decision.accepted.any():
            return None, weights, "every client was rejected"
        accepted = geometry.take(decision.accepted)
        kept = replace(rows, order=rows.order[decision.accepted])
        order = kept.order
        mixing = np.eye(accepted.n)
        whole = None if more is None else accepted.followed_by(kept, more)
        try:
            for text in self.before:
                call = Call.parse(text)
                part, options = TRANSFORMS[call.name], dict(call.options)
                prepare(part, accepted.n, f, options)
                step = part.function(accepted, f, **options, **({"rng": rng} if part.random else {}))
                accepted, mixing = accepted.mixed(step), step @ mixing
                whole = whole and whole.mixed(_beside_one_more(step))
            call = Call.parse(self.rule)
            rule = RULES[call.name]
            prepare(rule, accepted.n, f, dict(call.options))
            given = dict(call.options) | ({rule.beside: whole} if rule.beside else {})
            found = rule.function(accepted if rule.geometric else accepted.n, f, **given)
        except ToleranceError as error:
            return None, weights, f"{len(order)} of {rows.n} clients were accepted: {error}"
        share = found[: len(mixing)] @ mixing if rule.geometric else mixing.mean(axis=0)
        weights[decision.accepted] = share
        if rule.geometric:
            return kept.combined(np.append(share, found[len(mixing) :]), more), weights, None
        update, _ = kernels.order_statistic(rows.data, order, found, mixing if self.before else None)
        return rows.like(update), weights, None


def _center(update: Any, before: Any) -> dict[str, Any]:
    """What the state keeps for a rule that starts from the last round's update: this one, or else the one before."""
    center = before if update is None else saved(update)
    return {} if center is None or not np.isfinite(center).all() else {"center": center}


def _beside_one_more(mixing: Floats) -> Floats:
    """The mixing matrix `(m + 1, n + 1)` that does the same beside one more row, last, which it leaves as it is."""
    whole = np.pad(mixing, ((0, 1), (0, 1)))
    whole[-1, -1] = 1.0
    return whole


def _known(table: Mapping[str, Any], text: str) -> str:
    call = Call.parse(text)
    check_options(call.name, table[call.name].function, dict(call.options))
    return str(call)


def _refuse_wrong_values(defense: Defense) -> None:
    """Raise `SettingError` for an option value that no round would take, found by trying each part on rows of zeros."""
    n = 3
    zeros, and_one_more = (Geometry(np.zeros((k, k)), np.zeros((k, k)), np.ones(k), np.arange(k)) for k in (n, n + 1))
    for table, texts in ((TRANSFORMS, defense.before), (RULES, (defense.rule,))):
        for call in map(Call.parse, texts):
            part = table[call.name]
            subject = n if isinstance(part, Rule) and not part.geometric else zeros
            options = dict(call.options)
            if isinstance(part, Rule) and part.beside:
                options[part.beside] = and_one_more
            with contextlib.suppress(ToleranceError):  # three rows are few
                part.function(subject, 0, **options)
    history = History.recalled(None, None, n)
    for call in map(Call.parse, defense.scores):
        SCORES[call.name].function(zeros, 0, history, **dict(call.options))
    call = Call.parse(defense.policy)
    POLICIES[call.name].function({"trial": np.zeros(n)}, 0, history, **dict(call.options))


def _number(text: str) -> int | float:
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise SettingError(f"f must be a count such as 2 or a share such as 0.2, got {text!r}") from None


def _split(text: str) -> list[str]:
    """The parts between commas that are not inside parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


def _identities(clients: Sequence[object]) -> list[str]:
    """The clients' names as text, which is how a saved state remembers them."""
    names = [str(client) for client in clients]
    if len(set(names)) != len(names):
        raise UpdateError("clients must differ from each other, got one name twice")
    return names


def _verdicts(
    scores: Mapping[str, Floats], decision: Decision, weights: Floats, rank: kernels.Order
) -> tuple[Verdict, ...]:
    return tuple(
        Verdict(
            accepted=bool(decision.accepted[place]),
            weight=float(weights[place]),
            p_value=float(decision.p_values[place]),
            scores={name: float(values[place]) for name, values in scores.items()},
            reason=decision.reasons[place],
        )
        for place in map(int, rank)
    )
