"""`hawthorn audit replay`: every verdict derived again from what is stored, and the models where updates were kept."""

from __future__ import annotations

import logging
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import Database, JsonFile, RunNumber, plain, say, write_json

if TYPE_CHECKING:
    from hawthorn.server.audit.replaying import Difference, ModelReplay, RoundReplay

MOST_DIFFERENCES = 20  # of a round on a terminal


def replay(
    run: RunNumber,
    round: Annotated[int | None, typer.Argument(metavar="[ROUND]", help="Only this round; all without it.")] = None,
    audit: Database = "hawthorn.db",
    models: Annotated[bool, typer.Option(help="Make the models again too, where the updates were retained.")] = True,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="X", min=0.0, help="Share by which numbers may differ: 0, and 1e-9 on another kind of processor."
        ),
    ] = 0.0,
    json_file: JsonFile = "",
) -> None:
    """Judge the rounds of a run again from what is stored of them; exit status 1 if anything came out otherwise."""
    from hawthorn.server.audit import Audit
    from hawthorn.server.audit.replaying import replays

    logging.getLogger("flwr").setLevel(logging.ERROR)  # strategies tell of every model they make
    found: list[RoundReplay] = []
    began = time.perf_counter()
    with Audit.open(audit, create=False) as opened:
        chosen = opened.find_run(run)
        if chosen.version != version("hawthorn") and json_file != "-":
            say(f"run {run} was judged by hawthorn {chosen.version}; this is {version('hawthorn')}")
        for one in replays(opened, chosen, round, models=models, tolerance=tolerance):
            found.append(one)
            if json_file != "-":
                tell(one)
    seconds = time.perf_counter() - began
    if json_file:
        write_json(json_file, plain([document(one) for one in found]))
    if json_file != "-":
        say(summary(found, seconds))
    if not all(one.equal for one in found):
        raise typer.Exit(1)


def document(one: RoundReplay) -> dict[str, Any]:
    """One round as plain data."""
    model = one.model
    return {
        "round": one.round,
        "equal": one.equal,
        "defense": one.defense,
        "verdicts": one.clients,
        "differences": [
            {"client": other.client, "what": other.what, "stored": other.stored, "derived": other.found}
            for other in one.differences
        ],
        "recorded": list(one.recorded),
        "missing": one.missing,
        "model": {
            "equal": None if model.missing else model.equal,
            "differing": list(model.differing),
            "distance": model.distance,
            "half": model.half,
            "unknown": list(model.unknown),
            "missing": model.missing,
        },
    }


def tell(one: RoundReplay) -> None:
    """Print what came of one round."""
    if one.missing:
        say(f"round {one.round}: not judged again: {one.missing}")
        return
    word = "equal" if not one.differences else f"{len(one.differences)} differences"
    recorded = f" ({', '.join(one.recorded)} as recorded)" if one.recorded else ""
    say(f"round {one.round}: {one.clients} verdicts derived again{recorded}: {word}; model: {told_model(one.model)}")
    for other in one.differences[:MOST_DIFFERENCES]:
        say(f"  {told_difference(other)}")
    if len(one.differences) > MOST_DIFFERENCES:
        say(f"  and {len(one.differences) - MOST_DIFFERENCES} more")
    sys.stdout.flush()


def told_difference(one: Difference) -> str:
    """A difference in words."""
    whose = f"client {one.client}" if one.client else "the round"
    return f"{whose}: {one.what} is stored as {one.stored!r}, derived as {one.found!r}"


def told_model(model: ModelReplay) -> str:
    """What came of the model of a round, in words."""
    if model.missing:
        return f"not made again: {model.missing}"
    unknown = f", but for {', '.join(model.unknown)}, which updates do not tell of" if model.unknown else ""
    if model.half:
        word = "as near as half precision can tell" if model.equal else "not the one that was committed"
        return f"{word} ({model.distance:.2g} of the round's move away){unknown}"
    if model.equal:
        return f"made again from the updates: equal{unknown}"
    arrays = ", ".join(model.differing)
    return f"not the one that was committed: {arrays} ({model.distance:.2g} of the round's move away){unknown}"


def summary(found: list[RoundReplay], seconds: float) -> str:
    """What came of all rounds together."""
    judged = [one for one in found if not one.missing]
    verdicts = sum(one.clients for one in judged)
    models = sum(not one.model.missing for one in judged)
    wrong = [str(one.round) for one in judged if not one.equal]
    told = (
        f"{verdicts} verdicts of {len(judged)} rounds derived again and {models} models made again in {seconds:.1f} s"
    )
    return f"{told}: all equal" if not wrong else f"{told}: other than stored in rounds {', '.join(wrong)}"
