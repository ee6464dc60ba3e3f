"""What an evaluation shows on the terminal: progress with the time left, and its tables, worst case first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hawthorn.strategies import Defense
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .summary import FEDAVG, Entry, Estimate, Scenario, Standing

if TYPE_CHECKING:
    from .evaluation import Evaluation
    from .work import Done

WIDEST = 26  # characters of a name before it is wrapped
LEGEND = (
    "Means over the last three evaluations of a run, and over seeds; ± is half a 95 % confidence interval. "
    "plain: Flower's FedAvg. honest: FedAvg over the honest clients alone. lost: what a defense is short of that, so "
    "an attack that does nothing still loses what the hostile clients' own data is worth. wish: how much more often "
    "than there the attack gets what it wants. caught, alarm: hostile and honest contributions that were rejected. "
    "Summaries are over the attacks."
)
EVERY = 15.0  # seconds between the lines that tell of progress where there is no terminal to draw a bar on


class Progressing:
    """How many cells are done, kept from before or run now, and how long the rest may take."""

    def __init__(self, console: Console, cells: int) -> None:
        self._console = console
        self._cells = cells
        self._kept = 0
        self._done = 0
        self._started = self._told = time.monotonic()
        self._bar = Progress(
            TextColumn("cells"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("cells", total=cells, status="")

    def __enter__(self) -> Progressing:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        seconds = time.monotonic() - self._started
        line = f"{self._cells} cells: {self._done} run in {seconds:.0f} s, {self._kept} kept from before"
        self._console.print(line, highlight=False)

    def after(self, done: Done | None) -> None:
        """Count a cell that has ended, or with None one that was kept from before."""
        if done is None:
            self._kept += 1
            # what cost no time must not shorten the time that the rest is thought to take
            self._bar.update(self._task, total=self._cells - self._kept, status=f"and {self._kept} kept")
            return
        self._done += 1
        cell, result, seconds = done
        attack = cell.config.get("attack") or "no attack"
        told = f"{cell.settings.task}, {attack}, {cell.run}, seed {cell.settings.seed}: {seconds:.1f} s"
        if isinstance(result, str):
            self._console.print(f"failed: {told}: {result}", style="red", highlight=False, markup=False, soft_wrap=True)
        self._bar.update(self._task, completed=self._done)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._told > EVERY:
            self._told = now
            missing = self._cells - self._kept - self._done
            left = (now - self._started) / self._done * missing
            line = f"{self._done + self._kept} of {self._cells} cells, about {left:.0f} s left; {told}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def show(evaluation: Evaluation, console: Console) -> None:
    """Print for each federation its defenses, worst case first, and each attack under each defense."""
    places = dict.fromkeys((standing.scenario, standing.hostile) for standing in evaluation.standings)
    for place, hostile in places:
        ranked = [one for one in evaluation.standings if (one.scenario, one.hostile) == (place, hostile)]
        print_whole(console, _standings(place, hostile, ranked))
        for one in ranked:
            console.print(_worst_case(one), highlight=False, markup=False)
        console.print()
        for one in ranked:
            if one.defense != FEDAVG:
                attacked = [entry for entry in evaluation.entries if _belongs(entry, one)]
                plain = [entry for entry in evaluation.entries if entry.scenario == place and entry.defense == FEDAVG]
                print_whole(console, _attacks(one, attacked, {(entry.hostile, entry.attack): entry for entry in plain}))
    if not places:
        print_whole(console, _peace(evaluation.entries))
    console.print(LEGEND, style="dim", highlight=False)


def print_whole(console: Console, table: Table) -> None:
    """Print a table whole: on a narrow terminal its lines run over, and no figure is lost."""
    needed = Measurement.get(console, console.options.update(width=1000), table).maximum
    title, table.title = table.title, None  # which would be cut, or wrapped, at the table's own width
    console.print(title, style="italic", highlight=False, soft_wrap=True)
    console.print(table, width=max(needed, 1), crop=False, no_wrap=True)


def _belongs(entry: Entry, standing: Standing) -> bool:
    same = (entry.scenario, entry.defense) == (standing.scenario, standing.defense)
    return same and entry.hostile in {0, standing.hostile}


def headline(place: Scenario, hostile: int) -> str:
    """One line that says which federation this is."""
    known = dict(place)
    rounds = f"{known['rounds']} rounds"
    return f"{known['task']}, {hostile} of {known['clients']} clients hostile, {known['partition']}, {rounds}"


def _standings(place: Scenario, hostile: int, ranked: Sequence[Standing]) -> Table:
    figure = next((one.worst.figure for one in ranked if one.worst), "accuracy").replace("_", " ")
    table = plain_table(headline(place, hostile) + f"; {figure}, %")
    first_column(table, "defense", [short(one.defense) for one in ranked])
    for heading in ("lost at\nworst", "lost in\npeace", "wish", "caught", "alarm"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in ranked:
        worst, fooled, peace = one.worst, one.fooled, one.peace
        table.add_row(
            escape(short(one.defense)),
            told(worst.gap if worst else None),
            told(peace.gap if peace else None),
            told(fooled.excess if fooled else None),
            in_percent(one.detection["recall"]),
            in_percent(one.detection["false_alarm_rate"]),
        )
    return table


def _worst_case(standing: Standing) -> str:
    """The attack that costs most, and how far that is from the honest clients alone."""
    worst = standing.worst
    if worst is None:
        return f"{short(standing.defense)}: nothing to compare with"
    reached = f"{_mean(worst.final)} beside {_mean(worst.oracle)} of the honest clients alone"
    return f"{short(standing.defense)} at worst: {worst.attack} costs {told(worst.gap)} points, {reached}"


def _attacks(standing: Standing, found: Sequence[Entry], plain: dict[tuple[int, str], Entry]) -> Table:
    """Every attack on one defense, the worst first."""
    table = plain_table(standing.defense)
    first_column(table, "attack", [entry.attack for entry in found])
    columns = ("plain", "hedge", "honest", "lost", "wish", "caught", "alarm")
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in sorted(found, key=lambda entry: -entry.gap.mean if entry.gap else 1.0):
        beside = plain.get((entry.hostile, entry.attack))
        table.add_row(
            escape(entry.attack),
            _mean(beside.final if beside and not beside.stopped else None),
            _mean(entry.final),
            _mean(entry.oracle),
            told(entry.gap),
            _mean(entry.excess),
            _mean(entry.recall),
            _mean(entry.false_alarm_rate),
        )
    return table


def _peace(found: Sequence[Entry]) -> Table:
    """Defenses where nobody attacks."""
    table = plain_table("nobody hostile, %")
    for heading in ("task", "defense", "figure", "honest only", "lost", "alarm"):
        table.add_column(heading, overflow="fold", justify="left" if heading in {"task", "defense"} else "right")
    for entry in found:
        cells = [_mean(entry.final), _mean(entry.oracle), told(entry.gap), _mean(entry.false_alarm_rate)]
        table.add_row(str(dict(entry.scenario)["task"]), escape(short(entry.defense)), *cells)
    return table


def plain_table(title: str) -> Table:
    """A table without lines but the one under its headings."""
    return Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def first_column(table: Table, heading: str, names: Sequence[str]) -> None:
    """The column of names, which wraps only those that are very long."""
    width = min(WIDEST, max(map(len, names), default=1))
    table.add_column(heading, overflow="fold", min_width=width, max_width=WIDEST)


def short(defense: str) -> str:
    """A recipe without the scores and the policy that every recipe has unless it says otherwise.

    >>> short(str(Defense("krum", f=2)))
    'krum; f=2'
    """
    usual = Defense()
    return defense.replace(f"; scores={', '.join(usual.scores)}", "").removesuffix(f"; policy={usual.policy}")


def told(estimate: Estimate | None) -> str:
    """A mean in per cent, with half its confidence interval.

    >>> told(Estimate(0.0312, 0.004, 3)), told(Estimate(0.0312, None, 1)), told(None)
    ('3.1 ± 0.4', '3.1', '-')
    """
    if estimate is None:
        return "-"
    return _mean(estimate) + ("" if estimate.half is None else f" ± {100 * estimate.half:.1f}")


def _mean(estimate: Estimate | None) -> str:
    return "-" if estimate is None else in_percent(estimate.mean)


def in_percent(share: float | None) -> str:
    """A share in per cent, without the sign.

    >>> in_percent(0.0312), in_percent(None)
    ('3.1', '-')
    """
    return "-" if share is None else f"{100 * share:.1f}"
