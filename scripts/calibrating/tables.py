"""The tables of a calibration's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..evaluation.heat import falling, rising, wrapping
from ..evaluation.terminal import in_percent
from ..page import Cell, table
from ..progress import number
from .alarms import RATES, Alarms
from .catching import CAUGHT, FALSE_ALARMS, TENTH, Catch
from .terminal import ABOVE, interval, rounds, whole_percent


def alarms(found: Sequence[Alarms]) -> str:
    """How often honest replies are rejected, a row for each federation."""
    columns: dict[str, Callable[[Alarms], str]] = {
        "stated": lambda one: in_percent(one.stated),
        "rejected, %": lambda one: in_percent(one.rate.share),
        "interval": lambda one: interval(one.rate),
        "worst client": lambda one: f"{in_percent(one.worst.rate)} of {one.worst.replies}",
        "clients above stated": lambda one: "-" if one.above is None else f"{one.above} of {len(one.clients)}",
        "rounds skipped": lambda one: f"{one.skipped} of {one.rounds}",
    }
    rows: list[tuple[str, list[Cell]]] = [
        (
            "",
            [
                (escape(one.group.scenario.text), ""),
                *(
                    (cell(one), "number stopped" if one.exceeds and name.startswith("rejected") else "number")
                    for name, cell in columns.items()
                ),
            ],
        )
        for one in found
    ]
    return table([("federation", ""), *((name, "number") for name in columns)], rows)


def reliability(found: Sequence[Alarms]) -> str:
    """The share of p-values at or below each rate; the redder, the more there are too many."""
    head = "".join(f'<th scope="col">{100 * rate:g} %</th>' for rate in RATES)
    rows = "".join(
        f'<tr><th scope="row">{escape(one.group.scenario.text)}</th>'
        + "".join(
            _heat(
                rising(max(0.0, known.share - rate)),
                in_percent(known.share) + (ABOVE if known.low > rate else ""),
                interval(known),
            )
            for rate, known in one.reliability.items()
        )
        + "</tr>"
        for one in found
    )
    return _map("federation", head, rows)


@dataclass(frozen=True)
class Column:
    """A column of the table of attacks: its heading, what it tells of one, and how bad that is, from 0 to 1."""

    heading: str
    text: Callable[[Catch], str]
    badness: Callable[[Catch], float]


def _share(heading: str, share: Callable[[Catch], float | None], bad: Callable[[float], float] = falling) -> Column:
    def badness(one: Catch) -> float:
        value = share(one)
        return 0.0 if value is None else bad(value)

    return Column(heading, lambda one: whole_percent(share(one)), badness)


def _at(heading: str, rate: float, values: Callable[[Catch], Mapping[float, float | None]]) -> Column:
    return _share(f"at {100 * rate:g} %{heading}", lambda one: values(one)[rate])


def _round(heading: str, value: Callable[[Catch], int | None]) -> Column:
    def badness(one: Catch) -> float:
        found = value(one)
        return 1.0 if found is None else min(1.0, (found - 1) / (2 * TENTH))

    return Column(heading, lambda one: rounds(value(one)), badness)


def _until(share: float) -> Column:
    return _round(f"{100 * share:g} % from", lambda one: one.until[share])


COLUMNS: tuple[Column, ...] = (
    _share("caught", lambda one: one.rejected.share),
    _share("false alarms", lambda one: one.false_alarms.share if one.false_alarms else None, rising),
    Column("AUROC", lambda one: number(one.auroc), lambda one: falling(2 * one.auroc - 1) if one.auroc else 0.0),
    *(_at("", rate, lambda one: one.beside) for rate in FALSE_ALARMS),
    *(_at(", peace", rate, lambda one: one.peaceful) for rate in FALSE_ALARMS),
    _round("first", lambda one: one.median_first),
    *(_until(share) for share in CAUGHT),
    _share(f"by round {TENTH}", lambda one: one.tenth),
)


def catches(found: Sequence[Catch]) -> str:
    """Every attack, the one that is caught least first."""
    head = "".join(f'<th scope="col">{escape(column.heading)}</th>' for column in COLUMNS)
    rows = "".join(
        f'<tr><th scope="row">{wrapping(one.group.attack)}</th>'
        + "".join(_heat(column.badness(one), column.text(one)) for column in COLUMNS)
        + "</tr>"
        for one in sorted(found, key=lambda one: one.rejected.share)
    )
    return _map("attack", head, rows)


def _map(corner: str, head: str, rows: str) -> str:
    head = f'<thead><tr><th scope="col">{corner}</th>{head}</tr></thead>'
    return f'<table class="heat">{head}<tbody>{rows}</tbody></table>'


def _heat(badness: float, text: str, hint: str = "") -> str:
    title = f' title="{escape(hint)}"' if hint else ""
    return f'<td style="--heat:{min(1.0, max(0.0, badness)):.2f}"{title}>{escape(text)}</td>'
