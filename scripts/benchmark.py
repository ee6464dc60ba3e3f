"""`hawthorn benchmark`: what the hedge withstands, and what it costs."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer


class Subject(StrEnum):
    """What can be benchmarked."""

    replies = "replies"
    speed = "speed"
    rounds = "rounds"
    start = "start"
    training = "training"
    aggregation = "aggregation"
    rewind = "rewind"
    guard = "guard"
    audit = "audit"


SUBJECTS = (
    "speed: every rule and pipeline, in reads of the updates. rounds: from Flower replies to the new model. "
    "start: the first use, compiled and cached. training: a round of simulated clients. "
    "replies: bad replies before every strategy. aggregation: a round through the gRPC service. "
    "rewind: a backdoor found late, and what takes it out. guard: models rolled back in peace and under attack. "
    "audit: commits and questions after 20,000 rounds."
)


def benchmark(
    subject: Annotated[Subject, typer.Argument(help=SUBJECTS)] = Subject.speed,
    clients: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Numbers of clients; 10,20,50,100, and 50 for rounds.")
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Values in all, clients x parameters; 64000000 (256 MB of float32), and 100000000 for rounds.",
        ),
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Interleaved turns; 7, and 3 for start.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0, help="A subject that has taken so long in all runs no more, after two runs; 5."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Subjects whose name this regular expression finds.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Where the updates are.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to FILE, or - for standard output.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page of plots to FILE.")] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append the run to FILE, one line of JSON; plotted by --html.")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Compare with an earlier --json or the last --history line; exit status 1 if slower."
        ),
    ] = None,
) -> None:
    """Measure what the hedge costs (speed, rounds, start, training) or what it withstands (replies)."""
    from rich.console import Console

    from .benchmarks.history import append, changes, earlier, runs
    from .benchmarks.history import show as show_changes
    from .output import check_targets

    # each subject is a module with two functions: measured(*, options) -> figures, and show(figures, console)
    module = import_module(f"hawthorn.scripts.benchmarks.{subject.value}")
    given = {
        "clients": clients,
        "values": values,
        "repeats": repeats,
        "seconds": seconds,
        "only": only,
        "device": device,
    }
    given |= {"html": html, "history": history, "compare": compare}
    options = _options(module, subject, {name: value for name, value in given.items() if value is not None})
    check_targets({"--json": json_file, "--html": html, "--history": history})
    if history is not None and history.exists():
        runs(history, subject)  # what cannot be read later is not to be written to now
    before = None if compare is None else earlier(compare, subject)

    aside = Console(stderr=True)
    with aside.status("") as status:
        if "tell" in inspect.signature(module.measured).parameters:
            options["tell"] = status.update
        figures: dict[str, Any] = module.measured(**options)
    if only is not None:
        figures["settings"]["only"] = only
    if history is not None:
        append(history, figures)
    if html is not None:
        from .benchmarks.page import html as page

        html.write_text(page(figures, [] if history is None else runs(history, subject)), encoding="utf-8")
    if json_file == Path("-"):
        print(json.dumps(figures, indent=1))
    else:
        module.show(figures, Console())
        if json_file is not None:
            json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if before is not None:
        found = changes(figures, before)
        show_changes(found, figures, before, aside if json_file == Path("-") else Console())
        if any(change.slower for change in found):
            raise typer.Exit(1)


def _options(module: ModuleType, subject: Subject, given: dict[str, Any]) -> dict[str, Any]:
    """The options as `measured` takes them; raises `SettingError` for one that the subject does not have."""
    from hawthorn.strategies.errors import SettingError

    known = set(inspect.signature(module.measured).parameters)
    if "repeats" in known:
        known |= {"html", "history", "compare"}  # what is timed can be plotted and compared
    for name in given.keys() - known:
        raise SettingError(f"benchmark {subject} has no --{name}")
    options = {name: value for name, value in given.items() if name not in {"html", "history", "compare"}}
    for name in ("clients", "values"):
        if name in options:
            options[name] = _counts(name, options[name])
    most, fewest = max(options.get("clients", (100,))), min(options.get("values", (1 << 60,)))
    if fewest < most:
        raise SettingError(f"write --values of at least one for each of {most} clients, instead of {fewest}")
    if "only" in options:
        options["only"] = _pattern(options["only"])
    return options


def _counts(name: str, text: str) -> tuple[int, ...]:
    from hawthorn.strategies.errors import SettingError

    parts = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= 3 for part in parts):
        raise SettingError(f"write --{name} as whole numbers of at least 3, such as 10,50, instead of {text!r}")
    return tuple(int(part) for part in parts)


def _pattern(text: str) -> Callable[[str], bool]:
    from hawthorn.strategies.errors import SettingError

    try:
        expression = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise SettingError(
            f"write --only as a regular expression, such as 'krum|sort', instead of {text!r}: {error}"
        ) from None
    return lambda name: expression.search(name) is not None
