"""`hawthorn benchmark`: what the hedge withstands, and what it costs."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer


class Subject(StrEnum):
    """What can be benchmarked."""

    replies = "replies"
    speed = "speed"


def benchmark(
    subject: Annotated[
        Subject, typer.Argument(help="replies: bad replies before every strategy. speed: time and memory of a round.")
    ] = Subject.speed,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to FILE, or - for standard output.")
    ] = None,
) -> None:
    """Measure what the hedge withstands (replies) or what it costs (speed)."""
    from rich.console import Console

    # each subject is a module of its own with two functions: measured() -> figures, and show(figures, console)
    module = import_module(f"hawthorn.scripts.{subject.value}")
    figures: dict[str, Any] = module.measured()
    if json_file == Path("-"):
        print(json.dumps(figures, indent=1))
        return
    module.show(figures, Console())
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")
