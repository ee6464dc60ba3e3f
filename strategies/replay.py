"""A round judged again, without its rows: from its geometry and the evidence that the round left.

The geometry tells most of what a defense says of its clients. What it does not is the round's evidence, plain data of a
size that grows with n: who the rows were, what was remembered of them, and what was read from the rows' columns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .algebra import one_thread
from .contract import RULES, SCORES, Call, Combination, Floats, Rule, update_of
from .errors import AuditError
from .evidence import History, remembered
from .forgetting import without_absent
from .geometry import Geometry
from .given import BESIDE, Given
from .judging import Combined, Judgement, Scene, Verdict, combined, judged, verdicts
from .reputation import forgotten
from .rows import Rows
from .weights import client_weights

if TYPE_CHECKING:
    from .defense import Defense

START: Mapping[str, Any] = {"rounds": 0, "clients": {}}  # what is remembered before the first round
NOT_IN_THE_GEOMETRY = frozenset({"columns", "sums", "past"})


@dataclass(frozen=True, eq=False)
class Replay:
    """The verdicts of a round, derived again, in the order of its geometry's rows; `skipped` is as of an `Outcome`.

    `against` `(n,)` is what each score says against each client, in robust deviations above the others. `evidence` is
    what the replay itself left: that of the round, where nothing in it was changed. `recorded` names the parts of the
    recipe whose answers were taken from the evidence, because they looked at more than the geometry and what is
    remembered. `state` is what is remembered after the round, but for vectors and what those parts remember; None where
    what was remembered before was not given. `combined` is what came of the rows, and `accepted` `(n,)` who was part of
    it, both in canonical order.
    """

    verdicts: tuple[Verdict, ...]
    skipped: str | None
    against: Mapping[str, Floats]
    evidence: dict[str, Any]
    recorded: tuple[str, ...]
    state: dict[str, Any] | None
    combined: Combined
    accepted: NDArray[np.bool_]


def evidence_of(
    defense: Defense, scene: Scene, judgement: Judgement, outcome: Combined, rank: kernels.Order
) -> dict[str, Any]:
    """What, beside the geometry, the verdicts of a round can be derived from again, in the order of its rows.

    Plain data that JSON can hold, infinite numbers by their names. `rank` `(n,)` are the rows' places in canonical
    order.
    """
    told: dict[str, Any] = {"defense": str(defense), "rounds": scene.rounds, "left_out": scene.left_out}
    anonymous = scene.names is None
    if scene.names is not None:
        names = [scene.names[place] for place in map(int, rank)]
        told["names"] = names
        told["reputation"] = {name: scene.reputation[name] for name in names if name in scene.reputation}
        if scene.history.weight.any():
            past = {name: values for name, values in scene.history.evidence.items() if name in judgement.averaged}
            told["seen"] = plain(scene.history.weight[rank])
            told["past"] = {name: plain(values[rank]) for name, values in past.items()}
    if scene.given.weights is not None:
        told["weights"] = plain(scene.given.weights[rank])
    beside = {name: getattr(scene.given, name) for name in BESIDE}
    if any(row is not None for row in beside.values()):
        told["beside"] = {name: _last_row(row, rank) for name, row in beside.items() if row is not None}
    scores = {name: values for name, values in judgement.scores.items() if _is_recorded(name, anonymous)}
    if scores:
        told["scores"] = {name: plain(values[rank]) for name, values in scores.items()}
    if _is_recorded(defense.rule, anonymous):
        told["combined"] = {"weights": plain(outcome.weights[rank]), "skipped": outcome.skipped}
    return told


@one_thread
def replayed(
    defense: Defense, geometry: Geometry, evidence: Mapping[str, Any], state: Mapping[str, Any] | None = None
) -> Replay:
    """A round judged again from its geometry, with the functions that judged it, and so equal to the last bit.

    `geometry` and `evidence` are those of its `Outcome`. `state` is that of the round before, `START` before the first
    one: with it, all that was remembered and the scores that remember are derived again too, where otherwise they are
    taken from the evidence. Raises `AuditError` for evidence that does not fit the geometry.

    >>> from hawthorn.strategies import Defense
    >>> defense = Defense("trimmed_mean", f=1, scores=("length", "distance"))
    >>> outcome = defense(np.array([[1.0, 1.1], [1.1, 1.0], [0.9, 1.0], [1.0, 0.9], [-90.0, 5.0]]))
    >>> replayed(defense, outcome.geometry, outcome.evidence).verdicts == outcome.verdicts
    True
    """
    try:
        scene = _scene(defense, geometry, evidence, state)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise AuditError(
            f"the evidence does not fit a geometry of {geometry.n} rows: {type(error).__name__}: {error}"
        ) from error
    canonical, memory = geometry.canonical(), dict((state or {}).get("memory", {}))
    judgement = judged(defense, canonical, scene, memory)
    decision = judgement.decision
    found = combined(defense, canonical, scene, decision, memory, np.random.default_rng(scene.rounds))
    recorded = (*scene.scores, *([defense.rule] if scene.combined is not None else []))
    memory = {part: one for part, one in memory.items() if part not in recorded}  # what it would be now, nobody knows
    after: dict[str, Any] | None = None
    if state is not None and scene.names is not None:
        after = remembered(state, scene.names, scene.history, judgement.averaged, decision.accepted)
        after |= {"memory": memory} if memory else {}
        if judgement.reputation is not None:
            reputation = judgement.reputation
            after = forgotten({**after, "reputation": reputation.records}, reputation.entered)
        after = without_absent(after)
    return Replay(
        verdicts=verdicts(judgement, found.weights, geometry.rank),
        skipped=found.skipped,
        against={name: values[geometry.rank] for name, values in judgement.against.items()},
        evidence=evidence_of(defense, scene, judgement, found, geometry.rank),
        recorded=recorded,
        state=after,
        combined=found,
        accepted=decision.accepted,
    )


def combined_again(replay: Replay, rows: Any) -> Any:
    """The update `(d,)` that a replayed round makes of its rows `(n, d)`, None where there is none.

    Raises `AuditError` where the rule looks at more than the geometry.
    """
    answer = replay.combined.answer
    if replay.skipped is not None:
        return None
    if answer is None or (isinstance(answer, Combination) and len(answer.weights) > replay.accepted.sum()):
        raise AuditError("the rule looks at more than the geometry and the rows")
    whole = Rows.of(rows, replay.evidence.get("names"))
    kept = replace(whole, order=whole.order[replay.accepted])
    return update_of(answer, kept, mixing=replay.combined.mixing)


def plain(values: Floats) -> list[Any]:
    """The numbers `(n,)` as JSON can hold them, those that are not finite by their names; `numbers` reads them.

    >>> plain(np.array([0.5, np.inf])), numbers([0.5, "inf"], 2)
    ([0.5, 'inf'], array([0.5, inf]))
    """
    if np.isfinite(values).all():
        return values.tolist()
    return [value if math.isfinite(value) else str(value) for value in values.tolist()]


def numbers(values: Any, n: int) -> Floats:
    """The `n` numbers that `plain` wrote; raises `ValueError` for another count."""
    found = np.array(values, np.float64)
    if found.shape != (n,):
        raise ValueError(f"expected {n} numbers, got {found.size}")
    return found


@functools.lru_cache(maxsize=256)
def _asked(text: str) -> frozenset[str]:
    """What a score or rule asks for beside the geometry; text is read once, which costs more than all the rest."""
    name = Call.parse(text).name
    part = SCORES[name] if name in SCORES else RULES[name]
    return part.asked | ({"columns"} if isinstance(part, Rule) and part.reads_columns else set[str]())


def _is_recorded(text: str, anonymous: bool) -> bool:
    """Whether a part looks at more than the geometry and one more row; without identities nothing is remembered."""
    return "columns" in _asked(text) or (not anonymous and bool(_asked(text) & (NOT_IN_THE_GEOMETRY | {"memory"})))


def _scene(defense: Defense, geometry: Geometry, evidence: Mapping[str, Any], state: Mapping[str, Any] | None) -> Scene:
    """What the evidence tells, in canonical order."""
    n, order, canonical = geometry.n, np.argsort(geometry.rank), geometry.canonical()
    told: list[str] | None = evidence.get("names")
    if told is not None and len(told) != n:
        raise ValueError(f"expected {n} names, got {len(told)}")
    names = None if told is None else tuple(told[place] for place in map(int, order))
    rounds, reputation = int(evidence["rounds"]), evidence.get("reputation", {})
    if state is not None:
        rounds, reputation = int(state["rounds"]), state.get("reputation", {})
    history = History.recalled(state, names, n)
    if state is None and "seen" in evidence:
        past = {name: numbers(values, n)[order] for name, values in evidence["past"].items()}
        history = History(numbers(evidence["seen"], n)[order], past)
    rows: dict[str, Any] = evidence.get("beside", {})
    center, trusted, model = (
        None if name not in rows else _with_row(canonical, rows[name], order) for name in ("center", "trusted", "model")
    )
    weights = numbers(evidence["weights"], n)[order] if "weights" in evidence else None
    given = Given(
        center=center,
        trusted=trusted,
        model=model,
        sums=canonical if names is None else None,
        clients=names,
        weights=None if weights is None else client_weights(weights, n),
    )
    scores = {
        name: numbers(evidence["scores"][name], n)[order]
        for name in defense.scores
        if _is_recorded(name, names is None) and not (state is not None and _is_remembered(name))
    }
    whole: Combined | None = None
    if _is_recorded(defense.rule, names is None) and not (state is not None and _is_remembered(defense.rule)):
        found = evidence["combined"]
        whole = Combined(numbers(found["weights"], n)[order], found["skipped"])
    return Scene(
        given,
        history,
        names,
        rounds,
        reputation,
        int(evidence["left_out"]),
        scores,
        whole,
    )


def _is_remembered(text: str) -> bool:
    """Whether all that a part looks at beside the geometry is its own memory."""
    return not _asked(text) & NOT_IN_THE_GEOMETRY


def _last_row(whole: Geometry, rank: kernels.Order) -> dict[str, Any]:
    """What a geometry of n rows and one more has beyond that of the n."""
    return {
        "squared_distances": plain(whole.squared_distances[-1, :-1][rank]),
        "products": plain(whole.gram[-1, :-1][rank]),
        "square": plain(whole.gram[-1, -1:])[0],
        "scale": float(whole.scale[-1]),
    }


def _with_row(canonical: Geometry, row: Mapping[str, Any], order: kernels.Order) -> Geometry:
    """The geometry of the rows and, last, of one that `_last_row` told of."""
    n = canonical.n
    between, gram = np.pad(canonical.squared_distances, ((0, 1), (0, 1))), np.pad(canonical.gram, ((0, 1), (0, 1)))
    between[-1, :-1] = between[:-1, -1] = numbers(row["squared_distances"], n)[order]
    gram[-1, :-1] = gram[:-1, -1] = numbers(row["products"], n)[order]
    gram[-1, -1] = float(row["square"])
    return Geometry(between, gram, np.append(canonical.scale, float(row["scale"])), np.append(canonical.rank, n))
