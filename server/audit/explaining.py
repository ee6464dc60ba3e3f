"""The story of one client in a run, in words and figures: what it sent, what came of that, and who did what to it.

All of it is taken from the audit: verdicts as they were given, what each score had against the client as it follows
from geometry and evidence, and from the geometry what an update looked like beside the others'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hawthorn.strategies import Geometry, SettingError
from hawthorn.strategies.contract import Call, nearest
from scipy import special

from . import wording
from .records import ClientRecord, Contribution, OrderRecord, Round, Run
from .replaying import Judged, judged_rounds
from .store import Audit


@dataclass(frozen=True)
class Looks:
    """What an update looked like beside the others of its round, from the geometry; NaN where nothing can be said.

    `length` is in lengths of the median update. `cosine` is to the mean of the other accepted updates, and
    `usual_cosine` what the median accepted client has. `nearest` is the client whose update is most alike, and
    `likeness` the cosine to it.
    """

    length: float = math.nan
    cosine: float = math.nan
    usual_cosine: float = math.nan
    nearest: str = ""
    likeness: float = math.nan


@dataclass(frozen=True)
class Appearance:
    """One reply of a client: its contribution, its looks, and what each score had against it, in robust deviations.

    `usual` is each score's median over the other clients. `rolled_back` says what the guard found wrong with the model
    that the round led to.
    """

    contribution: Contribution
    looks: Looks
    against: Mapping[str, float] = field(default_factory=dict[str, float])
    usual: Mapping[str, float] = field(default_factory=dict[str, float])
    rolled_back: str | None = None

    @property
    def round(self) -> int:
        """The round's number."""
        return self.contribution.round

    @property
    def word(self) -> str:
        """What became of it."""
        one = self.contribution
        return "refused" if not one.admitted else "accepted" if one.verdict.accepted else "rejected"


@dataclass(frozen=True)
class Event:
    """Something that happened to a client, in a sentence: in a round, or after it."""

    round: int
    at: str
    kind: str
    text: str


@dataclass(frozen=True)
class Story:
    """One client's run: what is known of it, all it sent, and what happened, in the order in which it did.

    `strength` is how far above the others, in robust deviations, the policy lets a client be; None where it has no such
    bound. `rate` is the p-value that goes with it.
    """

    run: Run
    client: ClientRecord
    rounds: int
    appearances: tuple[Appearance, ...]
    events: tuple[Event, ...]
    strength: float | None = None
    rate: float | None = None

    @property
    def summary(self) -> tuple[str, ...]:
        """What there is to say of it, a sentence each."""
        return wording.summary(self)


def story(audit: Audit, client: str, run: Run) -> Story:
    """The story of a client, given by identity, name or node; raises `SettingError` for one that nobody has seen."""
    record = found_client(audit, client, run)
    appearances = [
        Appearance(one, Looks()) for one in audit.contributions(run.id, client=record.identity) if not one.admitted
    ]
    recipe = str(run.settings.get("defense", ""))
    for judged in judged_rounds(audit, run):
        row = next((row for row, one in enumerate(judged.admitted) if one.client == record.identity), None)
        if row is not None:
            appearances.append(_appearance(judged, row))
        recipe = recipe if judged.evidence is None else str(judged.evidence["defense"])
    appearances.sort(key=lambda one: (one.round, one.contribution.admitted))
    rounds = audit.rounds(run.id)
    events = [*_of_rounds(appearances, rounds), *_of_orders(audit, run, record)]
    bound, rate = bounds(recipe)
    return Story(
        run,
        record,
        len(rounds),
        tuple(appearances),
        tuple(sorted(events, key=lambda event: (event.round, event.at))),
        bound,
        rate,
    )


def found_client(audit: Audit, client: str, run: Run) -> ClientRecord:
    """The client of a run that has this identity, or else this name or node; raises `SettingError`."""
    records = audit.clients(run.id)
    exact = [one for one in records if one.identity == client]
    if exact:
        return exact[0]
    called = {one.client for one in audit.contributions(run.id) if client in (one.name, one.node)}
    found = [one for one in records if one.identity in called]
    if len(found) > 1:
        raise SettingError(f"several clients are called {client!r}: write one of {', '.join(sorted(called))}")
    if not found:
        known = [one.identity for one in records] + [one.name for one in records if one.name]
        whom = nearest(client, known) if known else "it has seen nobody"
        raise SettingError(f"run {run.id} has seen no client {client!r}; {whom}")
    return found[0]


def bounds(recipe: str) -> tuple[float | None, float | None]:
    """From which strength on, and up to which p-value, the policy of a recipe rejects; None where there is no bound.

    >>> strength, rate = bounds("mean; policy=alarm")
    >>> round(strength, 2), rate
    (2.13, 0.05)
    """
    from hawthorn.strategies import Defense
    from hawthorn.strategies.contract import POLICIES, options_of
    from hawthorn.strategies.policies import TAIL

    try:
        call = Call.parse(Defense.parse(recipe).policy)
    except SettingError:
        return None, None
    options: dict[str, Any] = {**options_of(POLICIES[call.name].function), **dict(call.options)}
    if call.name == "threshold":
        return float(options["z"]), float(special.stdtr(TAIL, -float(options["z"])))
    if call.name == "alarm":
        return -float(special.stdtrit(TAIL, float(options["rate"]))), float(options["rate"])
    return None, None


def strength(p_value: float) -> float:
    """How far above the others a p-value says that a client is, in robust deviations.

    >>> round(strength(0.05), 2)
    2.13
    """
    from hawthorn.strategies.policies import TAIL

    return math.nan if math.isnan(p_value) else -float(special.stdtrit(TAIL, p_value))


def looks(geometry: Geometry, row: int, accepted: Sequence[bool], names: Sequence[str]) -> Looks:
    """What a row looks like beside the others of its round.

    >>> geometry = Geometry.of(np.array([[1.0, 0.0], [1.0, 0.1], [-4.0, 0.0]]))
    >>> found = looks(geometry, 2, [True, True, False], ["a", "b", "c"])
    >>> found.nearest, found.length.round(2), found.cosine.round(2)
    ('b', np.float64(3.98), np.float64(-1.0))
    """
    n = geometry.n
    norms = geometry.norms
    usual = float(np.median(norms))
    length = norms[row] / usual if usual > 0 else math.nan
    if n == 1:
        return Looks(length)
    kept = np.array(accepted, bool)
    cosines = np.array([_to_the_others(geometry, place, kept) for place in range(n)])
    others = geometry.cosines[row].copy()
    others[row] = -np.inf
    closest = int(np.argmax(others))
    usual_cosine = float(np.median(cosines[kept])) if kept.any() else math.nan
    return Looks(length, cosines[row], usual_cosine, names[closest], others[closest])


def _to_the_others(geometry: Geometry, row: int, accepted: Any) -> float:
    """The cosine of a row to the mean of the accepted rows without it; NaN where there is none."""
    weights = np.where(accepted, 1.0, 0.0) / geometry.shortening
    weights[row] = 0.0
    along = float(geometry.gram[row] @ weights)
    lengths = math.sqrt(max(float(geometry.gram[row, row]), 0.0) * max(float(weights @ geometry.gram @ weights), 0.0))
    return float(np.clip(along / lengths, -1.0, 1.0)) if lengths > 0 else math.nan


def _appearance(judged: Judged, row: int) -> Appearance:
    """What the client in a row of a round's geometry was in that round."""
    own, others = judged.admitted[row], (*judged.admitted[:row], *judged.admitted[row + 1 :])
    against: dict[str, float] = {}
    if judged.replay is not None:
        against = {name: float(values[row]) for name, values in judged.replay.against.items()}
    told = {
        name: [one.verdict.scores[name] for one in others if name in one.verdict.scores] for name in own.verdict.scores
    }
    usual = {name: float(np.median(values)) for name, values in told.items() if values}
    return Appearance(own, _seen(judged, row), against, usual, judged.round.rolled_back)


def _seen(judged: Judged, row: int) -> Looks:
    geometry = judged.geometry
    if geometry is None or geometry.n != len(judged.admitted):
        return Looks()
    accepted = [one.verdict.accepted for one in judged.admitted]
    return looks(geometry, row, accepted, [one.name or one.client for one in judged.admitted])


def _of_rounds(appearances: Sequence[Appearance], rounds: Sequence[Round]) -> Iterator[Event]:
    """What the rounds did to a client, and where it was missing."""
    at = {one.number: one.at for one in rounds}
    before: Appearance | None = None
    standing, manifest = "", None
    for one in appearances:
        number = one.round
        if before is None:
            yield Event(number, at.get(number, ""), "seen", f"it was seen for the first time, in round {number}")
        elif number > before.round + 1:
            yield Event(before.round + 1, "", "away", wording.away(before.round + 1, number - 1, standing))
        if one.word == "refused":
            text = f"its reply was refused: {one.contribution.verdict.reason}"
            yield Event(number, at.get(number, ""), "refused", text)
        elif one.word == "rejected":
            yield Event(number, at.get(number, ""), "rejected", wording.rejection(one))
        if one.contribution.admitted and one.contribution.verdict.standing != standing:
            before_it, standing = standing, one.contribution.verdict.standing
            yield Event(number, at.get(number, ""), "standing", wording.standing(before_it, standing))
        if one.rolled_back is not None and one.word == "accepted":
            text = f"the model that its update was part of was rolled back: {one.rolled_back}"
            yield Event(number, at.get(number, ""), "rolled back", text)
        found = one.contribution.manifest
        if found is not None:
            if told := wording.manifest(manifest, found):
                yield Event(number, at.get(number, ""), "manifest", told)
            manifest = found
        before = one
    last = rounds[-1].number if rounds else 0
    if before is not None and before.round < last:
        yield Event(before.round + 1, "", "away", wording.away(before.round + 1, last, standing))


def _of_orders(audit: Audit, run: Run, record: ClientRecord) -> Iterator[Event]:
    """What operators ordered about a client."""
    entries = [(entry.at, entry.round) for entry in audit.entries(run.id)]
    for order in audit.orders(run.id):
        if order.client == record.identity:
            over = max((round for at, round in entries if at <= order.at), default=0)
            yield Event(over, order.at, "order", _ordered(order))


def _ordered(order: OrderRecord) -> str:
    return wording.order(order.kind, order.by, order.rounds, order.result)
