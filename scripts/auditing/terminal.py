"""What the commands of `hawthorn audit` share: how they are told where the audit is, and how they print."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

if TYPE_CHECKING:
    from rich.table import Table

Database = Annotated[str, typer.Option("--audit", metavar="FILE", help="Audit database: SQLite file or database URL.")]
RunNumber = Annotated[int, typer.Argument(metavar="RUN", help="Number of the run, as `hawthorn audit list` shows it.")]
JsonFile = Annotated[str, typer.Option("--json", metavar="FILE", help="Where JSON goes; - for standard output.")]


@dataclass(frozen=True)
class Lines:
    """A table, and notes too long for it."""

    table: Table
    notes: Sequence[str]


def plain(value: Any) -> Any:
    """The same data with None for NaN and infinity, for which JSON has no number.

    >>> plain({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("Sequence[Any]", value)]
    return value


def write_json(where: str, content: object) -> None:
    """Write `content` as JSON to a file, or to standard output for `-`."""
    with opened_text(where) as file:
        json.dump(content, file, indent=2, allow_nan=False)
        file.write("\n")


@contextmanager
def opened_text(where: str) -> Generator[TextIO]:
    """The text file at `where`, or standard output for `-`; raises `SettingError` if it cannot be written."""
    from hawthorn.strategies import SettingError

    if where == "-":
        yield sys.stdout
        return
    try:
        file = Path(where).open("w", encoding="utf-8", newline="")  # noqa: SIM115
    except OSError as error:
        raise SettingError(f"cannot write {where!r}: {error.strerror}; write the path of a file") from error
    with file:
        yield file


def made_table(*columns: str, folded: Sequence[str] = ()) -> Table:
    """A table without rows; only the `folded` columns give way where the terminal is narrow."""
    from rich.table import Table

    # every column counts: the verdicts of a round just fit a terminal of 80
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold underline")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in folded)
    return table


def add_row(table: Table, *cells: object) -> None:
    """Add one line of cells, none of them read as markup, because clients have a say in their text."""
    from rich.text import Text

    table.add_row(*(Text(printable(str(cell))) for cell in cells))


def show_lines(title: str, *parts: Lines) -> None:
    """Print tables with their notes to standard output, as wide as they are unless a terminal is narrower."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 1000)
    console.print(title, markup=False, highlight=False, style="bold")
    for part in parts:
        console.print(part.table)
        for note in part.notes:
            console.print(printable(note), markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    r"""The text with escapes in place of control characters, which could drive a terminal.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def shown(value: float | Sequence[float] | None) -> str:
    """A number or numbers, to three digits; empty where there is none.

    >>> shown(0.12345), shown([1.0, 2.0]), shown(float("nan"))
    ('0.123', '1 2', '')
    """
    if value is None:
        return ""
    if isinstance(value, Sequence):
        return " ".join(shown(item) for item in value)
    return "" if math.isnan(value) else f"{value:.3g}"


def say(text: str) -> None:
    """Print a line of text, which clients have a say in."""
    print(printable(text))
