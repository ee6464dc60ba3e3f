"""The recipe of a defense, and what it answers about one round."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .algebra import one_thread
from .columns import Columns, layer_bounds
from .contract import (
    POLICIES,
    RULES,
    SCORES,
    TRANSFORMS,
    Call,
    Rule,
    check_options,
    nearest,
    options_of,
    refuse_unweighable,
    tolerance,
    update_of,
)
from .errors import OptionError, SettingError, ToleranceError
from .evidence import History, remembered
from .forgetting import without_absent
from .geometry import Geometry
from .given import BESIDE, UNMIXED, Given, identities, trial
from .judging import Scene, combined, judged, verdicts
from .judging import Verdict as Verdict
from .momentum import decay_of, with_momentum
from .past import after_moving, geometry_of, recalled, summed
from .presets import PRESETS
from .replay import evidence_of
from .reputation import forgotten, reputation_of
from .rows import Rows, saved, weighed
from .weights import client_weights

DEFAULT_SCORES = ("length", "agreement", "similarity", "signs")
DEFAULT_TOLERANCE = 0.2


@dataclass(frozen=True, eq=False)
class Outcome:
    """One round's update `(d,)` and its verdicts, in the order of the rows.

    `update` is None when no update could be made, and `skipped` then says why. `geometry` is of all rows, before any
    transform. `state` is plain data to pass to the next round's call; None where the rows were anonymous. A rule that
    starts from the last round's update (`centered_clipping`) finds it there, an array `(d,)` in memory of its own; with
    other rules, and without momentum, nothing of length d is kept. `evidence` is plain data, of a size that grows with
    n, from which and the geometry the verdicts can be derived again (`replay.replayed`).
    """

    update: Any
    verdicts: tuple[Verdict, ...]
    geometry: Geometry
    skipped: str | None
    state: dict[str, Any] | None
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Defense:
    """A recipe: score, accept or reject, transform, combine. Calling it runs it over the updates of one round.

    `rule` and each of `before`, `scores` and `policy` name a registered function, with options where wanted:
    `"multi_krum(m=5)"`. `f` is how many clients may be hostile, a count (int) or a share (float in [0, 0.5)) of the
    rows. Scores and verdicts are made of all rows; transforms and rule then run over the accepted ones, with f
    unchanged, because a rejected client may have been honest. Raises `SettingError` for what does not exist.

    With `momentum`, each client's updates are averaged over its rounds before anything else looks at them; with
    `reputation="sequential"`, clients that the rounds together speak against go into quarantine.

    >>> import numpy as np
    >>> defense = Defense.parse("arc | nnm | trimmed_mean", f=0.2)
    >>> defense == Defense("trimmed_mean", before=("arc", "nnm"), f=0.2)
    True
    >>> rows = np.array([[1.0, 1.1], [1.1, 1.0], [0.9, 1.0], [1.0, 0.9], [-90.0, 5.0]])
    >>> outcome = defense(rows)
    >>> outcome.update.round(1), [verdict.accepted for verdict in outcome.verdicts]
    (array([1., 1.]), [True, True, True, True, False])
    """

    rule: str = "shortened_mean"
    f: int | float = DEFAULT_TOLERANCE
    before: tuple[str, ...] = ()
    scores: tuple[str, ...] = DEFAULT_SCORES
    policy: str = "alarm"
    momentum: float = 0.0
    reputation: str = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "f", tolerance(self.f))
        for name in ("before", "scores"):
            if isinstance(getattr(self, name), str):
                raise SettingError(f"{name} must be a sequence of names, such as ({getattr(self, name)!r},)")
        # written once in one way, so that recipes that mean the same compare equal
        object.__setattr__(self, "rule", _known(RULES, self.rule))
        object.__setattr__(self, "before", tuple(_known(TRANSFORMS, name) for name in self.before))
        object.__setattr__(self, "scores", tuple(_known(SCORES, name) for name in self.scores))
        object.__setattr__(self, "policy", _known(POLICIES, self.policy))
        object.__setattr__(self, "momentum", decay_of(self.momentum))
        object.__setattr__(self, "reputation", str(Call.parse(self.reputation)))
        if reputation_of(self.reputation) is not None and not self.scores:
            raise SettingError("reputation needs scores; without any, write reputation='none'")
        if not self.scores and Call.parse(self.policy).name != "none":
            raise SettingError(f"policy {self.policy!r} needs scores; without any, write policy='none'")
        _refuse_wrong_values(self)

    @classmethod
    def parse(cls, text: str, *, f: int | float | None = None, **fields: Any) -> Defense:
        """The recipe written as `"transform | ... | rule"`, settings after semicolons; what is passed wins over them.

        In the place of transforms and rule there may be the name of a preset, such as "strict" (see `presets.py`).

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
            if name not in {"f", "scores", "policy", "momentum", "reputation"} or not equals:
                raise SettingError(
                    "write f=, scores=, policy=, momentum= or reputation= after a semicolon, instead of "
                    f"{setting.strip()!r}"
                )
            if name in written:
                raise SettingError(f"{name} is written twice in {text!r}")
            written[name] = value
        if "f" in written:
            written["f"] = _number(written["f"])
        if "momentum" in written:
            with contextlib.suppress(ValueError):  # what is no number is refused with the rest of them
                written["momentum"] = float(written["momentum"])
        if "scores" in written:
            written["scores"] = tuple(name.strip() for name in _split(written["scores"]))
        if f is not None:
            written["f"] = f
        if not before and rule in PRESETS:
            return replace(cls.parse(PRESETS[rule].recipe), **{**written, **fields})
        if not before and rule.isidentifier() and rule not in RULES:
            raise SettingError(f"no rule or preset named {rule!r}; {nearest(rule, [*RULES, *PRESETS])}")
        return cls(rule=rule, before=tuple(before), **{**written, **fields})

    def __str__(self) -> str:
        pipeline = " | ".join((*self.before, self.rule))
        text = f"{pipeline}; f={self.f!r}; scores={', '.join(self.scores)}; policy={self.policy}"
        text += f"; momentum={self.momentum!r}" if self.momentum else ""
        return text + (f"; reputation={self.reputation}" if self.reputation != "none" else "")

    @property
    def asked(self) -> frozenset[str]:
        """What its rule and scores ask for besides the rows, such as "trusted" or "columns" (see `rule`)."""
        rule = self._rule
        parts = (rule, *(SCORES[Call.parse(text).name] for text in self.scores))
        columns = {"columns"} if rule.reads_columns else set[str]()
        return frozenset(columns).union(*(part.asked for part in parts))

    @one_thread
    def __call__(
        self,
        updates: Any,
        *,
        clients: Sequence[str] | None = None,
        state: Mapping[str, Any] | None = None,
        trusted: Any = None,
        model: Any = None,
        bounds: Sequence[int] | None = None,
        weights: Any = None,
        left_out: int = 0,
    ) -> Outcome:
        """The outcome of a round with updates `(n, d)`: an array, a tensor on any device, `Updates`, or n vectors.

        `clients` are the rows' identities, without which nothing is remembered; `state` is the outcome's of the round
        before; `trusted` is an update `(d,)` of the server's own, for recipes that use one. `model` `(d,)` is what was
        sent and `bounds` `(L + 1,)` say where its layers begin and end, for the parts that look at them. `weights`
        `(n,)` say how much each client counts in the rule, not in scores. `left_out` is how many clients in quarantine
        were not asked: they count among the f that may be rejected. Raises `UpdateError` for rows that are not
        finite or identities and weights that do not match them; too few rows for the rule, or too much weight with
        f of them: a skipped outcome.
        """
        if weights is not None:
            refuse_weights(self)
        clients = None if clients is None else identities(clients)
        rows, means = Rows.of(updates, clients), None
        if self.momentum and clients is not None:
            rows, means = with_momentum(rows, clients, state, self.momentum)
        if weights is not None and clients is None:
            rows = weighed(rows, weights)
        asked = self.asked
        if trusted is not None and "trusted" not in asked:
            raise SettingError(f"no part of {str(self)!r} uses a trusted update")
        geometry = Geometry.measured(rows)
        # everything below is in canonical order, until the outcome puts it back into the caller's
        names = None if clients is None else [clients[row] for row in map(int, rows.order)]
        beside = {"center": (state or {}).get("center"), "trusted": trusted, "model": model}
        more = {
            name: rows.vector(beside[name], f"the {name} of {self._asking(name)}")
            for name in BESIDE
            if name in asked and beside[name] is not None
        }
        sums = None if names is None or "sums" not in asked else summed(rows, names, state)
        given = Given(
            **{name: geometry.followed_by(rows, row) for name, row in more.items()},
            columns=Columns(rows, layer_bounds(bounds, int(rows.data.shape[1]))) if "columns" in asked else None,
            sums=geometry if sums is None else geometry_of(sums),
            past=None if names is None or "past" not in asked else recalled(rows, names, state),
            clients=None if names is None else tuple(names),
            weights=None if weights is None else client_weights(np.asarray(weights)[rows.order], rows.n),
        )
        past = state or {}
        scene = Scene(
            given,
            History.recalled(state, names, rows.n),
            names,
            rounds=past.get("rounds", 0),
            reputation=past.get("reputation", {}),
            left_out=left_out,
        )
        memory: dict[str, Any] = dict(past.get("memory", {}))
        judgement = judged(self, geometry, scene, memory)
        decision = judgement.decision
        # random parts draw anew in each round, and the same in a round that is repeated
        rng = np.random.default_rng(scene.rounds)
        found = combined(self, geometry, scene, decision, memory, rng)
        update = None
        if found.answer is not None:
            kept, row = replace(rows, order=rows.order[decision.accepted]), more.get(self._rule.beside)
            update = update_of(found.answer, kept, row=row, mixing=found.mixing, rng=rng)
        rank = np.argsort(rows.order)
        after = None
        if names is not None:
            after = remembered(state, names, scene.history, judgement.averaged, decision.accepted)
            after |= {"memory": memory} if memory else {}
            after |= _center(update, beside["center"]) if "center" in asked else {}
            after |= _sums(state, names, sums)
            after |= after_moving(rows, names, state, update) if "past" in asked else {}
            after |= {} if means is None else {"momentum": means}
        if after is not None and judgement.reputation is not None:
            reputation = judgement.reputation
            after = forgotten({**after, "reputation": reputation.records}, reputation.entered)
        after = None if after is None else without_absent(after)
        return Outcome(
            update=update,
            verdicts=verdicts(judgement, found.weights, rank),
            geometry=geometry.reordered(rank),
            skipped=found.skipped,
            state=after,
            evidence=evidence_of(self, scene, judgement, found, rank),
        )

    @property
    def _rule(self) -> Rule:
        return RULES[Call.parse(self.rule).name]

    def _asking(self, name: str) -> str:
        """The part that asks for something."""
        rule = Call.parse(self.rule).name
        scores = (Call.parse(text).name for text in self.scores)
        return rule if name in RULES[rule].asked else next(score for score in scores if name in SCORES[score].asked)


def refuse_weights(defense: Defense) -> None:
    """Raise `SettingError` for a defense that cannot take weights of clients: its rule does not, or rows are mixed."""
    refuse_unweighable(RULES[Call.parse(defense.rule).name])
    mixing = [text for text in defense.before if TRANSFORMS[Call.parse(text).name].mixes]
    if mixing:
        raise SettingError(
            f"{mixing[0]} mixes the rows of clients, and a mixed row has no client's weight: write the defense without "
            "it, or leave weights out"
        )


def _center(update: Any, before: Any) -> dict[str, Any]:
    """What the state keeps for a rule that starts from the last round's update: this one, or else the one before."""
    center = before if update is None else saved(update)
    return {} if center is None or not np.isfinite(center).all() else {"center": center}


def _sums(
    state: Mapping[str, Any] | None, names: Sequence[str], sums: Sequence[Any] | None
) -> dict[str, dict[str, Any]]:
    """What the state keeps of the clients' sums, where a part asks for them."""
    if sums is None:
        return {}
    return {"sums": {**(state or {}).get("sums", {}), **dict(zip(names, sums, strict=True))}}


def _known(table: Mapping[str, Any], text: str) -> str:
    call = Call.parse(text)
    function = table[call.name].function
    check_options(call.name, function, dict(call.options))
    for name, _ in call.options:
        if name not in options_of(function):  # what only a caller can supply
            raise OptionError(f"{call.name} is given {name} in each round: leave it out of the recipe")
    return str(call)


def _refuse_wrong_values(defense: Defense) -> None:
    """Raise `SettingError` for an option value that no round would take, found by trying each part on rows of zeros."""
    n = 3
    zeros, given = Geometry(np.zeros((n, n)), np.zeros((n, n)), np.ones(n), np.arange(n)), trial(n)
    for call in map(Call.parse, defense.before):
        with contextlib.suppress(ToleranceError):  # three rows are few
            TRANSFORMS[call.name].function(zeros, 0, **dict(call.options))
    call = Call.parse(defense.rule)
    rule = RULES[call.name]
    unmixed = [name for name in UNMIXED if name in rule.asked or (name == "columns" and rule.reads_columns)]
    if defense.before and unmixed:
        raise SettingError(
            f"{rule.name} looks at the {unmixed[0]} of rows, which mixed rows do not have: write it without "
            f"{' | '.join(defense.before)}"
        )
    with contextlib.suppress(ToleranceError):
        rule.answer(zeros if rule.geometric else n, 0, given, None, np.random.default_rng(0), dict(call.options))
    history = History.recalled(None, None, n)
    for call in map(Call.parse, defense.scores):
        SCORES[call.name].answer(zeros, 0, history, given, None, None, dict(call.options))
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
