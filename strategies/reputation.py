"""Reputation: what the rounds together say of a client, and quarantine for those they speak against.

Each round's p-value becomes an e-value, whose logarithms add up: a cumulative sum that is never below zero, so that no
good history pays for a blow. Above a threshold the client is in quarantine for a term of rounds; then on probation,
where one rejection sends it back for twice the term; then free again, its quarantines remembered for a while.

Sources: Vovk, Wang, Ann. Statist. 2021, https://arxiv.org/abs/1912.06116 (calibrators); Shin, Ramdas, Rinaldo 2022,
https://arxiv.org/abs/2203.03532 (a sum of e-values never below zero exceeds log(1 / rate) once in 1 / rate rounds on
average, or less often).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contract import Call, Decision, Floats, Table, check_options, hostile_count, number_between, whole_number
from .errors import SettingError
from .pairs import without

QUARANTINE, PROBATION = "quarantine", "probation"
LEAST_P = 1e-300  # the logarithm of zero is no evidence but a rounding
FADING = 0.95  # what the evidence behind a quarantine counts a round later, where not all can be kept out
SUSPICION = 1.0  # evidence against each client whose update was part of a model that was rolled back
FORGETTING = 0.98  # what a past quarantine counts after one more round in good standing: half after 34


@dataclass(frozen=True)
class Standing:
    """Where a client stands: in quarantine, on probation, or (`name` empty) in good standing.

    `since` is the round in which that began, counting from 1 the rounds that the defense judged. A quarantine lasts
    `term` rounds more, `until` the last one; probation lasts `left` more rounds of the client's own. `evidence` is the
    sum so far and `quarantines` how many there were, the past ones counting less.
    """

    name: str = ""
    since: int = 0
    until: int = 0
    term: int = 0
    left: int = 0
    evidence: float = 0.0
    quarantines: float = 0.0

    def __str__(self) -> str:
        if self.name == QUARANTINE:
            end = f"until round {self.until}" if self.until else "until an operator releases it"
            return f"in quarantine since round {self.since}, {end}"
        return f"on probation since round {self.since}" if self.name == PROBATION else ""

    def strength(self, now: int) -> float:
        """How much speaks for the quarantine in the round `now`."""
        return self.evidence * FADING ** (now - self.since)


@dataclass(frozen=True, kw_only=True)
class Sequential:
    """A sequential test of each client, and the terms of quarantine and probation.

    An honest client whose p-values are right and independent from round to round goes into quarantine once in
    `1 / rate` rounds at most, on average. The scores' own averages make p-values of one client resemble each other;
    `lag` rounds of them therefore count as one, the geometric mean of their e-values, which is none too large however
    alike they are. Evidence fades by `decay` a round, so that what is long past does not add up with what is new.
    One round is never enough, whatever it shows. Raises `SettingError`.

    >>> test = Sequential()
    >>> test.rounds_needed(0.001), test.rounds_needed(1e-6), test.rounds_needed(0.3)
    (10, 4, None)
    """

    rate: float = 0.001
    lag: int = 3
    decay: float = 0.95
    term: int = 10
    probation: int = 5

    def __post_init__(self) -> None:
        number_between("sequential", "a rate between 0 and 1", self.rate, 0, 1)
        number_between("sequential", "a decay above 0 and at most 1", self.decay, 0, math.nextafter(1, 2))
        for option in ("lag", "term", "probation"):
            whole_number("sequential", option, getattr(self, option))

    @property
    def threshold(self) -> float:
        """The evidence at which a quarantine begins."""
        return -math.log(self.rate)

    def evidence(self, p: float) -> float:
        """What one round's p-value adds: the logarithm of the e-value `1 / (2 sqrt(p))`, diluted and bounded."""
        return min(log_e_value(p) / self.lag, self.threshold / 2)

    def rounds_needed(self, p: float) -> int | None:
        """In how many rounds a client with p-values of at most `p` is in quarantine, whatever it did before.

        None if never: the evidence fades as fast as it comes.
        """
        total, step, count = 0.0, self.evidence(p), 0
        while total < self.threshold:
            after = self.decay * total + step
            if after <= total:
                return None
            total, count = after, count + 1
        return count

    def after(self, standing: Standing, p: float, rejected: bool, now: int) -> Standing:
        """A client's standing after the round `now`, in which it took part and the policy judged it so."""
        if standing.name == QUARANTINE:
            if now < standing.until:
                return standing
            if now == standing.until:  # a last look, whose row does not count yet
                return self._sent_back(standing, now) if rejected else standing
            standing = replace(standing, name=PROBATION, since=now, until=0, left=self.probation, evidence=0.0)
        total = max(0.0, self.decay * standing.evidence + self.evidence(p))
        judged = replace(standing, evidence=total)
        if standing.name == PROBATION:
            if rejected or total >= self.threshold:
                return self._sent_back(judged, now)
            return (
                replace(judged, left=judged.left - 1) if judged.left > 1 else Standing(quarantines=judged.quarantines)
            )
        if total >= self.threshold:
            return self._in_quarantine(judged, now, round(self.term * 2.0 ** min(judged.quarantines, 30)))
        return replace(judged, quarantines=FORGETTING * judged.quarantines)

    def _sent_back(self, standing: Standing, now: int) -> Standing:
        return self._in_quarantine(standing, now, 2 * standing.term)

    def _in_quarantine(self, standing: Standing, now: int, term: int) -> Standing:
        evidence, count = max(standing.evidence, self.threshold), standing.quarantines + 1
        return Standing(QUARANTINE, since=now, until=now + term, term=term, evidence=evidence, quarantines=count)


def log_e_value(p: float) -> float:
    """The logarithm of `k p^(k - 1)` with k = 1/2: below 0 for p above a quarter, at most about 345."""
    return math.log(0.5) - 0.5 * math.log(max(p, LEAST_P))


def _none() -> None:
    """No reputation: each round's verdict is its own."""


REPUTATIONS: Table[Callable[..., Sequential | None]] = Table("reputation")
REPUTATIONS.add("none", _none)
REPUTATIONS.add("sequential", Sequential)


def reputation_of(text: str) -> Sequential | None:
    """The test that a recipe asks for, such as "sequential(term=10)"; None for "none"."""
    call = Call.parse(text)
    check_options(call.name, REPUTATIONS[call.name], dict(call.options))
    return REPUTATIONS[call.name](**dict(call.options))


@dataclass(frozen=True)
class Reputation:
    """A round's decision with quarantines, each row's standing in words, and what the state keeps of all clients.

    `entered` are those whose quarantine began in this round.
    """

    decision: Decision
    standings: tuple[str, ...]
    records: dict[str, Any]
    entered: tuple[str, ...]


def most_rejected(policy: str, f: int | float, n: int, left_out: int = 0) -> int:
    """How many of n rows may be rejected beside so many clients that are left out: f in all, or what the policy says.

    >>> most_rejected("alarm", 0.2, 18, left_out=2), most_rejected("alarm(most=1)", 0.2, 20)
    (2, 1)
    """
    most = dict(Call.parse(policy).options).get("most")
    bound = hostile_count(f, n + left_out)
    return max((min(bound, most) if isinstance(most, int) else bound) - left_out, 0)


def with_reputation(
    test: Sequential, decision: Decision, clients: Sequence[str], state: Mapping[str, Any] | None, most: int
) -> Reputation:
    """What a decision becomes with the clients' reputation.

    At most `most` rows are rejected in all, those with the strongest evidence: that behind a quarantine, which fades,
    or this round's. Who is in quarantine and not among them is judged as anyone.
    """
    now = _rounds(state) + 1
    before = _standings(state)
    rejected = ~decision.accepted
    was = [before.get(name, Standing()) for name in clients]
    found = [
        test.after(standing, float(p), bool(bad), now)
        for standing, p, bad in zip(was, decision.p_values, rejected, strict=True)
    ]
    held = np.array([standing.name == QUARANTINE for standing in found])
    strengths: Floats = np.array(
        [
            standing.strength(now) if standing.name == QUARANTINE else log_e_value(float(p))
            for standing, p in zip(found, decision.p_values, strict=True)
        ]
    )
    out = strongest(held | rejected, strengths, most)
    reasons = tuple(
        "; ".join(filter(None, (str(standing) if kept else "", reason))) if gone else ""
        for standing, kept, gone, reason in zip(found, held, out, decision.reasons, strict=True)
    )
    kept = before | dict(zip(clients, found, strict=True))
    records = {name: asdict(standing) for name, standing in kept.items() if _tells(standing)}
    entered = tuple(
        name for name, old, new in zip(clients, was, found, strict=True) if new.name == QUARANTINE and new != old
    )
    return Reputation(Decision(~out, decision.p_values, reasons), tuple(map(str, found)), records, entered)


def strongest(candidates: NDArray[np.bool_], strengths: Floats, most: int) -> NDArray[np.bool_]:
    """The candidates `(n,)` with the greatest strengths, at most so many."""
    order = np.argsort(-np.where(candidates, strengths, -np.inf), kind="stable")[: max(most, 0)]
    chosen = np.zeros(len(candidates), bool)
    chosen[order] = candidates[order]
    return chosen


def quarantined(state: Mapping[str, Any] | None) -> dict[str, Standing]:
    """Who is in quarantine in the round that comes next, by name."""
    following = _rounds(state) + 1
    return {
        name: standing
        for name, standing in _standings(state).items()
        if standing.name == QUARANTINE and following <= standing.until
    }


def unasked(state: Mapping[str, Any] | None, clients: Sequence[str], most: int) -> frozenset[str]:
    """Who of `clients` need not be asked in the round that comes next: at most so many of those in quarantine.

    In the last round of its term a client is asked: that is when it is looked at again. So are all where nobody would
    be left, because terms only pass with rounds that are judged.
    """
    following = _rounds(state) + 1
    held = {name: standing for name, standing in quarantined(state).items() if following < standing.until}
    candidates = np.array([name in held for name in clients], bool)
    strengths = np.array([held[name].strength(following) if name in held else 0.0 for name in clients])
    chosen = strongest(candidates, strengths, most)
    return frozenset() if chosen.all() else frozenset(np.array(clients, object)[chosen].tolist())


def released(state: Mapping[str, Any], client: object) -> dict[str, Any]:
    """The state in which a client is in good standing and nothing speaks against it; raises `SettingError`."""
    name = _known(state, client)
    others = {other: record for other, record in state["reputation"].items() if other != name}
    return forgotten({**state, "reputation": others}, [name])


def paroled(state: Mapping[str, Any], client: object) -> dict[str, Any]:
    """The state in which a client in quarantine is on probation from its next round on; raises `SettingError`."""
    name = _known(state, client)
    record = {**state["reputation"][name], "until": _rounds(state)}
    if record["name"] != QUARANTINE:
        raise SettingError(f"client {name} is not in quarantine")
    return forgotten({**state, "reputation": {**state["reputation"], name: record}}, [name])


def suspected(state: Mapping[str, Any] | None, clients: Sequence[str]) -> dict[str, Any] | None:
    """The state in which it speaks against these clients that their updates led to a model that had to be undone.

    Honest clients were among them, so this alone brings nobody into quarantine: it adds up with what else there is.

    >>> after = suspected({"rounds": 3, "reputation": {}}, ["a"])
    >>> after["reputation"]["a"]["evidence"]
    1.0
    """
    if state is None:
        return None
    before = _standings(state)
    found = {name: before.get(name, Standing()) for name in clients}
    records = {
        name: asdict(replace(one, evidence=one.evidence + SUSPICION))
        for name, one in found.items()
        if one.name != QUARANTINE
    }
    return {**state, "reputation": {**state.get("reputation", {}), **records}}


def standings(state: Mapping[str, Any] | None) -> dict[str, Standing]:
    """How every client stands that anything speaks against, by name."""
    return {name: standing for name, standing in _standings(state).items() if _tells(standing)}


def forgotten(state: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The state without the scores' averages of these clients, so that what they do from now on is what is judged."""
    blank: dict[str, Any] = {"weight": 0.0, "evidence": {}}
    clients: dict[str, Any] = {
        name: {**record, **blank} if name in names else record for name, record in state["clients"].items()
    }
    after: dict[str, Any] = {**state, "clients": clients}
    if "memory" in state:
        after["memory"] = {part: without(memory, names) for part, memory in state["memory"].items()}
    return after


def _known(state: Mapping[str, Any], client: object) -> str:
    known = list(state.get("reputation", {}))
    if str(client) not in known:
        raise SettingError(f"nothing speaks against client {str(client)!r}; there is something against {known}")
    return str(client)


def _rounds(state: Mapping[str, Any] | None) -> int:
    return int((state or {}).get("rounds", 0))


def _standings(state: Mapping[str, Any] | None) -> dict[str, Standing]:
    return {name: Standing(**record) for name, record in (state or {}).get("reputation", {}).items()}


def _tells(standing: Standing) -> bool:
    """Whether this is worth keeping: more than a client in good standing that was never in quarantine."""
    return bool(standing.name) or standing.evidence > 0 or standing.quarantines > 0.01
