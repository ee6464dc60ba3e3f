"""How a client's story is told: scores, standings and orders in words that need no manual."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from hawthorn.strategies.reputation import PROBATION, QUARANTINE

if TYPE_CHECKING:
    from .explaining import Appearance, Story

TELLING = 1.0  # robust deviations: what is less is nothing to tell
MOST_REASONS = 3
LASTING = ("dataset", "examples", "source", "classes", "vetting", "software")  # of a manifest; the rest is of a round


def rejection(one: Appearance) -> str:
    """Why an update was rejected, in plain language, the strongest reason first."""
    verdict = one.contribution.verdict
    told = sorted(((value, name) for name, value in one.against.items()), reverse=True)
    reasons = [said(name, one) for value, name in told[:MOST_REASONS] if value > TELLING or value == told[0][0]]
    if not reasons:
        return f"its update was rejected: {verdict.reason or 'no reason was stored'}"
    rare = "" if math.isnan(verdict.p_value) else once(verdict.p_value)
    p = f"; an honest client is so unlike the others once in {rare}" if rare else ""
    return f"its update was rejected: {'; '.join(reasons)}{p}"


def said(name: str, one: Appearance) -> str:
    """What a score has against an update, in words; by its name and value where there are none for it."""
    word = name.partition("(")[0]
    looks = one.looks
    if word == "length" and not math.isnan(looks.length):
        return f"over the rounds it is unlike the others in length; this time it was {times(looks.length)}"
    if word in ("agreement", "direction") and not math.isnan(looks.cosine):
        others = "" if math.isnan(looks.usual_cosine) else f", where the others have {looks.usual_cosine:.2f}"
        over = "over the rounds it points" if word == "agreement" else "it points"
        return f"{over} away from the others; this time its cosine to their mean was {looks.cosine:.2f}{others}"
    if word == "similarity" and looks.nearest:
        like = f"its cosine to that of {looks.nearest} was {looks.likeness:.2f}"
        return f"over the rounds it is too much like another client's update; this time {like}"
    value, usual = one.contribution.verdict.scores.get(name), one.usual.get(name)
    if value is None or usual is None:
        return f"{name} is {one.against[name]:.1f} robust deviations above the others"
    if word == "signs":
        return f"{value:.0%} of its signs are against the majority, of the others' {usual:.0%}"
    if word in ("consistency", "trust"):
        what = "what it sent before" if word == "consistency" else "the server's own update"
        return f"it goes against {what}: the cosine to that is {1 - value:.2f}, of the others' {1 - usual:.2f}"
    if word == "distance":
        return f"it is {math.exp(min(value - usual, 700.0)):.3g} times as far from its neighbors as others are"
    if word == "layers":
        return f"in one layer it is {math.exp(min(value, 700.0)):.3g} times as far from its neighbors as others are"
    return f"{name} is {value:.3g}, of the others {usual:.3g}"


def times(length: float) -> str:
    """A length in lengths of the median update, in words.

    >>> times(14.2), times(0.04), times(1.02)
    ('14 times as long as usual', '4.0 % of the usual length', 'as long as usual')
    """
    if length >= 1.1:
        return f"{length:.1f} times as long as usual" if length < 10 else f"{length:.0f} times as long as usual"
    return f"{length:.1%} of the usual length".replace("%", " %") if length <= 0.9 else "as long as usual"


def once(p_value: float) -> str:
    """In how many cases once something of this probability happens.

    >>> once(0.05), once(2.6e-05), once(0.0)
    ('20 rounds', '38,000 rounds', 'more rounds than can be counted')
    """
    if p_value < 1e-12:
        return "more rounds than can be counted"
    count = 1 / p_value
    digits = max(math.floor(math.log10(count)) - 1, 0)
    return f"{round(count, -digits):,.0f} rounds"


def standing(before: str, now: str) -> str:
    """How a client's standing changed.

    >>> standing("", "in quarantine since round 5, until round 15")
    'it went into quarantine in round 5, until round 15'
    >>> standing("in quarantine since round 5, until round 15", "on probation since round 16")
    'its quarantine was over: it is on probation since round 16'
    """
    if QUARANTINE in now:
        since, _, until = now.removeprefix(f"in {QUARANTINE} since ").partition(", ")
        again = " again" if before else ""
        return f"it went into quarantine{again} in {since}, {until}"
    if PROBATION in now:
        return f"its quarantine was over: it is {now}"
    return "it is in good standing again"


def away(first: int, last: int, standing: str) -> str:
    """That a client sent nothing in some rounds.

    >>> away(3, 3, ""), away(3, 9, "in quarantine since round 2, until round 9")
    ('it sent nothing in round 3', 'it was in quarantine and sent nothing in rounds 3 to 9')
    """
    rounds = f"round {first}" if first == last else f"rounds {first} to {last}"
    was = "was in quarantine and " if QUARANTINE in standing else ""
    return f"it {was}sent nothing in {rounds}"


def order(kind: str, by: str, rounds: int | None, result: str | None) -> str:
    """What an operator ordered and what came of it.

    >>> order("quarantine", "eve", 3, ""), order("release", "", None, None)
    ('eve put it in quarantine for 3 rounds', 'an operator released it (not carried out yet)')
    """
    who = by or "an operator"
    lasts = "until it is released" if rounds is None else f"for {rounds} rounds" if rounds > 1 else "for one round"
    what = {QUARANTINE: f"put it in quarantine {lasts}", "release": "released it"}.get(kind, f"ordered: {kind}")
    came = {None: " (not carried out yet)", "": ""}.get(result, f" (not carried out: {result})")
    return f"{who} {what}{came}"


def manifest(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """What a client said of its data, or how that changed; empty if it did not.

    What binds a manifest to one update is another in every round and is nothing to tell.

    >>> manifest(None, {"verified": True, "dataset": "c" * 64, "examples": 90, "source": "ward 7", "round": 1})
    'it said of its data, and signed: dataset cccccccccccc…, 90 examples, source ward 7'
    >>> manifest({"verified": True, "examples": 90, "round": 1}, {"verified": True, "examples": 91, "round": 2})
    'what it says of its data changed: 91 examples, before 90'
    """
    if not now.get("verified", True):
        return "" if before == now else f"what it said of its data cannot be believed: {now.get('fault', 'unsigned')}"
    if before is None or not before.get("verified", True):
        told = [_fact(name, now[name]) for name in LASTING if now.get(name) not in (None, "")]
        return f"it said of its data, and signed: {', '.join(told) or 'nothing'}"
    changed = [name for name in LASTING if before.get(name) != now.get(name)]
    told = [f"{_fact(name, now.get(name))}, before {_short(before.get(name))}" for name in changed]
    return f"what it says of its data changed: {'; '.join(told)}" if told else ""


def summary(story: Story) -> tuple[str, ...]:
    """What there is to say of a client, a sentence each."""
    one = story.client
    called = f"{one.name} ({one.identity})" if one.name and one.name != one.identity else one.identity
    counts = {"accepted": one.accepted, "rejected": one.rejected, "refused": one.refused}
    came = [f"{count} {word}" for word, count in counts.items() if count]
    run = f"run {story.run.id}" + (f", {story.run.name}" if story.run.name else "")
    told = [
        f"client {called} took part in {one.rounds} of the {story.rounds} rounds of {run}",
        f"of its replies {', '.join(came)}" if came else "it never sent anything",
    ]
    rejected = [appearance for appearance in story.appearances if appearance.word == "rejected"]
    lengths = [appearance.looks.length for appearance in rejected if not math.isnan(appearance.looks.length)]
    if lengths and max(lengths) > 2:
        told.append(f"the longest update that was rejected was {times(max(lengths))}")
    where = "" if one.standing is None else str(one.standing)
    told.append(f"it is {where}" if where else "nothing but good standing is noted of it now")
    if one.held:
        told.append("an operator keeps it in quarantine")
    return tuple(told)


def _fact(name: str, value: Any) -> str:
    return f"{_short(value)} examples" if name == "examples" else f"{name} {_short(value)}"


def _short(value: Any) -> str:
    """A value on one line; of a digest the beginning."""
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in cast("Mapping[str, Any]", value).items()) or "nothing"
    text = "nothing" if value is None or value == "" else str(value)
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return f"{text[:12]}…"
    return text if len(text) <= 100 else f"{text[:80]}…"
