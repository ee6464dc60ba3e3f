"""How a round is judged from its geometry: the part of a defense that a live round and its replay have in common."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import kernels
from .contract import (
    POLICIES,
    RULES,
    SCORES,
    TRANSFORMS,
    Call,
    Combination,
    Decision,
    Floats,
    hostile_count,
    prepare,
)
from .errors import ToleranceError
from .evidence import History, deviations, evidence
from .geometry import Geometry
from .given import Given
from .reputation import Reputation, most_rejected, reputation_of, with_reputation

if TYPE_CHECKING:
    from .defense import Defense


@dataclass(frozen=True)
class Verdict:
    """What happened to one client in one round, and why.

    `accepted` is the policy's word. `weight` is the client's share in what the rule combined; a coordinate-wise rule
    leaves out values, not clients, so there it is the share the client would have if nothing had been left out.
    `standing` says if the client is in quarantine or on probation, and since when.
    """

    accepted: bool
    weight: float
    p_value: float
    scores: dict[str, float]
    reason: str
    standing: str = ""


@dataclass(frozen=True, eq=False)
class Scene:
    """What a round is judged by beside its geometry, in canonical order.

    `names` are the rows' identities, `rounds` how many rounds were judged before, `reputation` the clients' records
    until now. In a replay, `scores` `(n,)` each, and `combined`, stand for parts that the geometry does not tell.
    """

    given: Given
    history: History
    names: Sequence[str] | None = None
    rounds: int = 0
    reputation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    left_out: int = 0
    scores: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    combined: Combined | None = None


@dataclass(frozen=True, eq=False)
class Judgement:
    """Who is accepted and why, in canonical order.

    `against` is what each score says against each client, in robust deviations, and `averaged` those of this round
    averaged with those of the past, for the scores that do not look at the past themselves.
    """

    scores: dict[str, Floats]
    averaged: dict[str, Floats]
    against: dict[str, Floats]
    decision: Decision
    reputation: Reputation | None


@dataclass(frozen=True, eq=False)
class Combined:
    """Each row's weight `(n,)` in the update, and why there is none; else the rule's `answer` on `mixing @ rows`."""

    weights: Floats
    skipped: str | None
    answer: Combination | kernels.Statistic | Floats | None = None
    mixing: Floats | None = None


def judged(defense: Defense, geometry: Geometry, scene: Scene, memory: MutableMapping[str, Any]) -> Judgement:
    """What scores, policy and reputation make of the rows; what scores remember goes into `memory`."""
    f = hostile_count(defense.f, geometry.n)
    scores, found = _scores(defense, geometry, f, scene, memory)
    averaged = scene.history.with_round({name: found[name] for name in found if not remembers(name)})
    against = evidence(averaged, found)
    decision = _decision(defense.policy, against, f, scene.history, geometry.n)
    test, reputation = reputation_of(defense.reputation), None
    if test is not None and scene.names is not None:
        most = most_rejected(defense.policy, defense.f, geometry.n, scene.left_out)
        before = {"rounds": scene.rounds, "reputation": scene.reputation}
        reputation = with_reputation(test, decision, scene.names, before, most)
        decision = reputation.decision
    return Judgement(scores, averaged, against, decision, reputation)


def _scores(
    defense: Defense, geometry: Geometry, f: int, scene: Scene, memory: MutableMapping[str, Any]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The scores, and their deviations from what is usual in this round."""
    scores: dict[str, Floats] = {}
    found: dict[str, Floats] = {}
    for text in defense.scores:
        call = Call.parse(text)
        part = SCORES[call.name]
        if text in scene.scores:
            scores[text] = scene.scores[text]
        else:
            before, options = memory.get(text), dict(call.options)
            scores[text], after = part.answer(geometry, f, scene.history, scene.given, before, None, options)
            if after is not None:
                memory[text] = after
        found[text] = deviations(scores[text], f, part.spread)
    return scores, found


def _decision(policy: str, against: Mapping[str, Floats], f: int, history: History, n: int) -> Decision:
    if not against:
        return Decision(np.ones(n, bool), np.ones(n), ("",) * n)
    call = Call.parse(policy)
    return POLICIES[call.name].function(against, f, history, **dict(call.options))


def combined(
    defense: Defense,
    geometry: Geometry,
    scene: Scene,
    decision: Decision,
    memory: MutableMapping[str, Any],
    rng: np.random.Generator,
) -> Combined:
    """What transforms and rule make of the accepted rows; what the rule remembers goes into `memory`."""
    if scene.combined is not None:
        return scene.combined
    n, weights = geometry.n, np.zeros(geometry.n)
    if not decision.accepted.any():
        return Combined(weights, "every client was rejected")
    f = hostile_count(defense.f, n)
    accepted = geometry.take(decision.accepted)
    given = scene.given.take(decision.accepted)
    kept, mixing = accepted.n, np.eye(accepted.n)
    try:
        for text in defense.before:
            call = Call.parse(text)
            part, options = TRANSFORMS[call.name], dict(call.options)
            prepare(part, accepted.n, f, options)
            step = part.function(accepted, f, **options, **({"rng": rng} if part.random else {}))
            accepted, mixing, given = accepted.mixed(step), step @ mixing, given.mixed(step)
        call = Call.parse(defense.rule)
        rule = RULES[call.name]
        prepare(rule, accepted.n, f, dict(call.options))
        subject = accepted if rule.geometric else accepted.n
        answer = rule.answer(subject, f, given, memory.get(defense.rule), rng, dict(call.options))
    except ToleranceError as error:
        return Combined(weights, f"{kept} of {n} clients were accepted: {error}")
    m, share = len(mixing), mixing.mean(axis=0)
    if given.weights is not None:
        share = given.weights / given.weights.sum() @ mixing
    if isinstance(answer, Combination):
        share = answer.weights[:m] @ mixing
        if answer.memory is not None:
            memory[defense.rule] = answer.memory
    weights[decision.accepted] = share
    return Combined(weights, None, answer, mixing if defense.before else None)


def remembers(text: str) -> bool:
    """Whether a score looks at all the rounds itself, so that its deviations are averages already."""
    return "memory" in SCORES[Call.parse(text).name].asked


def verdicts(judgement: Judgement, weights: Floats, rank: kernels.Order) -> tuple[Verdict, ...]:
    """A verdict on each row, in the caller's order, `rank` `(n,)` being the rows' places in canonical order."""
    decision = judgement.decision
    standings = judgement.reputation.standings if judgement.reputation else ("",) * len(rank)
    return tuple(
        Verdict(
            accepted=bool(decision.accepted[place]),
            weight=float(weights[place]),
            p_value=float(decision.p_values[place]),
            scores={name: float(values[place]) for name, values in judgement.scores.items()},
            reason=decision.reasons[place],
            standing=standings[place],
        )
        for place in map(int, rank)
    )
