"""What an inspection shows on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from .inspection import Inspection
from .view import absent, figure, plain, repeated, summary, told_past

Column = tuple[str, list[str]]
"""A heading, and a cell for each client."""

STYLES = {"accepted": "", "unused": "yellow", "rejected": "red"}


def show(inspection: Inspection, console: Console) -> None:
    """Print the clients with their verdicts, the files that were refused, and what the update would be."""
    if inspection.clients:
        _show_clients(inspection, console)
    if inspection.refused:
        _say(console, "refused", "italic")
        console.print(_refused(inspection))
    gone = [f"{plain(name)} (rejected {told_past(inspection, name)})" for name in absent(inspection)]
    if gone:
        _say(console, f"not in the last round: {', '.join(gone)}")
    _say(console, "; ".join(summary(inspection)))


def _show_clients(inspection: Inspection, console: Console) -> None:
    verdicts: list[Column] = [("verdict", [client.word for client in inspection.clients])]
    verdicts += [
        ("p-value", [figure(client.verdict.p_value) for client in inspection.clients]),
        ("weight", [figure(client.verdict.weight) for client in inspection.clients]),
        ("length", [figure(client.length) for client in inspection.clients]),
    ]
    if len(inspection.rounds) > 1:
        verdicts.append(("rejected", repeated(inspection)))
    scores: list[Column] = [
        (name, [figure(client.verdict.scores[name]) for client in inspection.clients])
        for name in inspection.clients[0].verdict.scores
    ]
    several = f", the last of {len(inspection.rounds)} rounds" if len(inspection.rounds) > 1 else ""
    _say(console, plain(f"{inspection.last or 'clients'}{several}: {inspection.defense}"), "italic")
    whole = _clients(inspection, [*verdicts, *[("score: " + name, values) for name, values in scores]])
    if not scores or _needed(console, whole) <= console.width:
        _print(console, whole)
    else:
        _print(console, _clients(inspection, verdicts))
        _say(console, "scores", "italic")
        _print(console, _clients(inspection, scores))
    for client in inspection.clients:
        if client.verdict.reason:
            _say(console, f"{plain(client.name)}: {plain(client.verdict.reason)}")


def _clients(inspection: Inspection, columns: Sequence[Column]) -> Table:
    table = _table()
    table.add_column("client")
    for heading, _ in columns:
        table.add_column(escape(plain(heading)), justify="left" if heading == "verdict" else "right")
    for place, client in enumerate(inspection.clients):
        cells = (escape(values[place]) for _, values in columns)
        table.add_row(escape(plain(client.name)), *cells, style=STYLES[client.word])
    return table


def _refused(inspection: Inspection) -> Table:
    table = _table()
    table.add_column("client", overflow="fold")
    table.add_column("reason", overflow="fold")
    for name, reason in inspection.refused.items():
        table.add_row(escape(plain(name)), escape(plain(reason)))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _needed(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def _print(console: Console, table: Table) -> None:
    """Print a table whole: on a narrow terminal its lines run over, and no figure is lost."""
    before = console.width
    console.width = max(before, _needed(console, table))
    console.print(table, crop=False)
    console.width = before


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
