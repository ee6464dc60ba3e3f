"""Rounds judged again from what the audit stores of them, and compared with what it stores that came of it.

Verdicts are functions of the geometry and the evidence. Round after round what the scores remember is derived too, so
that a replay of a whole run takes nothing from the evidence that geometries tell. Where the clients' updates were
retained and the model before is still there, so is the model after.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from hawthorn.strategies import AuditError, Defense, Geometry, HawthornError, Verdict
from hawthorn.strategies.flower import Commit
from hawthorn.strategies.replay import START, Replay, combined_again, replayed
from hawthorn.strategies.reputation import suspected

from .models import differing, distance, integers, judged_again, model_again
from .records import Contribution, Round, Run
from .schema import plain_data, storable
from .store import Audit

REMEMBERED = ("rounds", "seen", "past", "reputation")  # in the evidence; derived where the round before is known
HALF = 0.01  # lengths of a round's move by which a model from updates in half precision may be off


@dataclass(frozen=True)
class Difference:
    """One thing that is stored of a client otherwise than it was `found`; of the round itself without a client."""

    client: str
    what: str
    stored: object
    found: object


@dataclass(frozen=True)
class ModelReplay:
    """The model after a round, made again from retained updates.

    `differing` names the arrays that differ from those that were committed, `distance` says by how much, in lengths of
    the round's move. `differences` are of verdicts on the updates themselves. `unknown` are arrays of integers, which
    no update tells of. `missing` says why it was not made again, empty if it was.
    """

    differing: tuple[str, ...] = ()
    distance: float = 0.0
    half: bool = False
    unknown: tuple[str, ...] = ()
    missing: str = ""
    differences: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether it is the model that was committed, as far as the updates' precision can tell."""
        return self.distance <= HALF if self.half else not self.differing


@dataclass(frozen=True)
class RoundReplay:
    """A round judged again: the `clients` whose verdicts were derived, and what is stored otherwise.

    `recorded` names parts of the recipe whose answers were taken from the evidence. `missing` says why the round could
    not be judged again, empty if it was.
    """

    round: int
    defense: str = ""
    clients: int = 0
    differences: tuple[Difference, ...] = ()
    recorded: tuple[str, ...] = ()
    missing: str = ""
    model: ModelReplay = ModelReplay()

    @property
    def equal(self) -> bool:
        """Whether all that was derived is what is stored."""
        return not self.differences and self.model.equal


@dataclass(frozen=True)
class Judged:
    """A round of the audit, judged again, beside its contributions of admitted clients."""

    round: Round
    admitted: tuple[Contribution, ...]
    evidence: Mapping[str, Any] | None
    replay: Replay | None
    missing: str
    geometry: Geometry | None = None


def replays(
    audit: Audit, run: Run, round: int | None = None, *, models: bool = True, tolerance: float = 0.0
) -> Generator[RoundReplay]:
    """The rounds of a run, or one of them, judged again; raises `AuditError` for a round that the run does not have.

    Numbers may differ by `tolerance`, a share of them: nothing, on the machine that wrote them, and a rounding on
    another kind of processor. With `models` the models are made again too where that can be done.
    """
    settings = _settings_in_turn(audit, run)
    for one in judged_rounds(audit, run, round):
        if one.replay is None:
            yield RoundReplay(one.round.number, missing=one.missing)
            continue
        told = next(values for after, values in settings if after < one.round.number)
        model = _model(audit, run, told, one, tolerance) if models else ModelReplay(missing="not asked for")
        assert one.evidence is not None
        differences = tuple(_differences(one, tolerance))
        known = {(difference.client, difference.what) for difference in differences}
        differences += tuple(
            replace(difference, what=f"{difference.what}, of the updates")
            for difference in model.differences
            if (difference.client, difference.what) not in known
        )
        yield RoundReplay(
            round=one.round.number,
            defense=str(one.evidence["defense"]),
            clients=len(one.admitted),
            differences=differences,
            recorded=one.replay.recorded,
            model=model,
        )


def judged_rounds(audit: Audit, run: Run, round: int | None = None) -> Generator[Judged]:
    """The rounds of a run, or one of them, judged again from geometry and evidence."""
    ordered = _rounds_after_orders(audit, run.id)
    state: Mapping[str, Any] | None = None  # what is remembered, None where that is not known
    found = [one for one in audit.rounds(run.id) if round in (None, one.number)]
    if round is not None and not found:
        audit.geometry(run.id, round)  # raises, naming the rounds there are
    for one in found:
        if state is None or one.number in ordered:
            state = _state(audit, run.id, one.number)
        judged = _judged(audit, run.id, one, state)
        if judged.replay is not None:
            state = _after(judged, judged.replay)
        elif one.size:
            state = None
        yield judged


def _after(judged: Judged, replay: Replay) -> Mapping[str, Any] | None:
    """What is remembered after a round, suspicion included where the guard undid what the round led to."""
    names = replay.evidence.get("names")
    if judged.round.rolled_back is None or replay.state is None or "reputation" not in replay.state or names is None:
        return replay.state
    return suspected(
        replay.state, [name for name, verdict in zip(names, replay.verdicts, strict=True) if verdict.accepted]
    )


def _judged(audit: Audit, run: int, round: Round, state: Mapping[str, Any] | None) -> Judged:
    admitted = tuple(one for one in audit.contributions(run, round.number) if one.admitted)
    geometry, evidence = audit.geometry(run, round.number), audit.evidence(run, round.number)
    if geometry is None:
        return Judged(round, admitted, evidence, None, f"no reply was judged: {round.skipped or 'none was admitted'}")
    if evidence is None:
        return Judged(
            round, admitted, None, None, "no evidence was stored: it was written by an older hawthorn", geometry
        )
    try:
        defense = Defense.parse(evidence["defense"])
        replay = replayed(defense, geometry, evidence, state)
    except (HawthornError, KeyError, TypeError) as error:
        raise AuditError(f"round {round.number} cannot be judged again: {error}") from error
    return Judged(round, admitted, evidence, replay, "", geometry)


def _state(audit: Audit, run: int, round: int) -> Mapping[str, Any] | None:
    """What was remembered when a round began, None where neither it nor a checkpoint tells."""
    evidence = audit.evidence(run, round)
    if evidence is not None and evidence.get("rounds") == 0:
        return START
    try:
        return audit.commit_before(run, round).memory.defense or START
    except AuditError:
        return None


def _rounds_after_orders(audit: Audit, run: int) -> frozenset[int]:
    """The rounds before which orders were carried out, which may have changed what is remembered."""
    return frozenset(entry.round + 1 for entry in audit.entries(run) if entry.kind == "orders")


def _differences(judged: Judged, tolerance: float) -> Generator[Difference]:
    assert judged.replay is not None
    if len(judged.admitted) != len(judged.replay.verdicts):
        yield Difference("", "admitted clients", len(judged.admitted), len(judged.replay.verdicts))
        return
    for one, verdict in zip(judged.admitted, judged.replay.verdicts, strict=True):
        yield from _of_verdict(one.client, one.verdict, verdict, tolerance)
    skipped = judged.replay.skipped
    if skipped is not None and storable(skipped) != judged.round.skipped:
        yield Difference("", "why the round was skipped", judged.round.skipped, skipped)
    told, again = judged.evidence or {}, plain_data(judged.replay.evidence)
    for name in (*REMEMBERED, "scores"):
        if not _alike(told.get(name), again.get(name), tolerance):
            yield Difference("", f"the evidence, {name}", told.get(name), again.get(name))


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two plain values are one and the same, their numbers but for the tolerance."""
    if isinstance(one, dict) and isinstance(other, dict):
        mine, theirs = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return mine.keys() == theirs.keys() and all(_alike(mine[name], theirs[name], tolerance) for name in mine)
    if isinstance(one, list) and isinstance(other, list):
        pairs = cast("tuple[list[Any], list[Any]]", (one, other))
        return len(pairs[0]) == len(pairs[1]) and all(_alike(*pair, tolerance) for pair in zip(*pairs, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return alike(one, other, tolerance)
    return one == other


def _of_verdict(client: str, stored: Verdict, found: Verdict, tolerance: float) -> Generator[Difference]:
    for what, before, after in (
        ("accepted", stored.accepted, found.accepted),
        ("reason", stored.reason, storable(found.reason)),
        ("standing", stored.standing, found.standing),
        ("scores", sorted(stored.scores), sorted(found.scores)),
    ):
        if before != after:
            yield Difference(client, what, before, after)
    numbers = [("weight", stored.weight, found.weight), ("p-value", stored.p_value, found.p_value)]
    numbers += [(name, stored.scores[name], value) for name, value in found.scores.items() if name in stored.scores]
    for what, before, after in numbers:
        if not alike(before, after, tolerance):
            yield Difference(client, what, before, after)


def alike(one: float, other: float, tolerance: float) -> bool:
    """Whether two numbers are one and the same, or differ by no more than this share of the larger one.

    >>> alike(1.0, 1.0 + 1e-12, 0.0), alike(1.0, 1.0 + 1e-12, 1e-9), alike(float("nan"), float("nan"), 0.0)
    (False, True, True)
    """
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True
    return math.isfinite(one) and math.isfinite(other) and abs(one - other) <= tolerance * max(abs(one), abs(other))


def _settings_in_turn(audit: Audit, run: Run) -> list[tuple[int, Mapping[str, Any]]]:
    """The settings that rounds were held with after a round, the last ones first: a run may go on with others."""
    resumed = [entry for entry in audit.entries(run.id) if entry.kind == "resume"]
    return [*((one.round, one.detail.get("settings", run.settings)) for one in reversed(resumed)), (0, run.settings)]


def _model(audit: Audit, run: Run, settings: Mapping[str, Any], judged: Judged, tolerance: float) -> ModelReplay:
    """The model after a round made again, compared with the one that was committed."""
    number = judged.round.number
    if judged.round.skipped is not None:
        return ModelReplay(missing=f"the model stayed: {judged.round.skipped}")
    try:
        retained = audit.updates(run.id, number)
        before, after = audit.commit_before(run.id, number), audit.commit_after(run.id, number)
        update, verdicts = _update(before, retained.rows, judged)
        if update is None:
            return ModelReplay(("all of it",), math.inf, retained.half)
        arrays = model_again(before, update, settings, number)
    except HawthornError as error:
        return ModelReplay(missing=str(error))
    found = _compared(arrays, before, after, half=retained.half)
    if retained.half or verdicts is None:
        return found
    differences = [
        difference
        for one, verdict in zip(judged.admitted, verdicts, strict=True)
        for difference in _of_verdict(one.client, one.verdict, verdict, tolerance)
    ]
    return replace(found, differences=tuple(differences))


def _update(before: Commit, rows: Any, judged: Judged) -> tuple[Any, tuple[Verdict, ...] | None]:
    """The update that the retained rows make, and the verdicts on them where they can be judged from the rows alone."""
    assert judged.evidence is not None
    assert judged.replay is not None
    if "trusted" in Defense.parse(judged.evidence["defense"]).asked:  # the server's own update is not kept
        return combined_again(judged.replay, rows), None
    outcome = judged_again(before, rows, judged.evidence)
    return outcome.update, outcome.verdicts


def _compared(arrays: Any, before: Commit, after: Commit, *, half: bool) -> ModelReplay:
    return ModelReplay(
        differing(arrays, after.arrays),
        distance(arrays, after.arrays, before.arrays),
        half,
        tuple(integers(after.arrays)),
    )
