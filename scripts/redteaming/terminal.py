"""What a search shows on the terminal: how far it is and the worst so far, and at the end what was found and how."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from ..evaluation.summary import Entry
from ..evaluation.terminal import EVERY, told

if TYPE_CHECKING:
    from .findings import Findings
    from .goal import Goal
    from .space import Candidate
    from .trials import Trial

SHOWN = 12  # families in the ranking; all are in the JSON


class Progressing:
    """The phases of a search, how many attacks of each are done, the worst so far, and the time left for its phase."""

    def __init__(self, console: Console, goal: Goal) -> None:
        self._console = console
        self._goal = goal
        self._worst: tuple[float, Trial] | None = None
        self._started = self._told = self._phase_began = time.monotonic()
        self._total = self._done = self._fresh = self._kept = self._run = 0
        self._name = ""
        self._bar = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Progressing:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        seconds = time.monotonic() - self._started
        line = f"{self._run + self._kept} attacks measured in {seconds:.0f} s, {self._kept} of them kept from before"
        self._console.print(line, highlight=False)

    def phase(self, name: str, attacks: int) -> None:
        """Begin a phase in which so many attacks are measured."""
        self._name, self._total, self._done, self._fresh = name, attacks, 0, 0
        self._phase_began = time.monotonic()
        self._task = self._bar.add_task(name, total=attacks, status="")

    def over(self, minutes: float) -> bool:
        """Whether so many minutes have passed; with 0 they never have."""
        return bool(minutes) and time.monotonic() - self._started > 60 * minutes

    def after(self, trials: Sequence[Trial], fresh: bool) -> None:
        """Count attacks that have been measured, now or, unless any run was fresh, before."""
        self._done += len(trials)
        if fresh:
            self._fresh += len(trials)
            self._run += len(trials)
        else:
            self._kept += len(trials)
        for trial in trials if self._name in {"known attacks", "search"} else ():
            found = trial.harm(wishing=bool(self._goal.wish))
            if found is not None and (self._worst is None or found > self._worst[0]):
                self._worst = found, trial
        status = self._status()
        self._bar.update(self._task, completed=self._done, status=status)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._told > EVERY:
            self._told = now
            line = f"{self._name}: {self._done} of {self._total} attacks; {status}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _status(self) -> str:
        now = time.monotonic()
        left = (now - self._phase_began) / max(1, self._fresh) * (self._total - self._done)
        if self._goal.minutes and self._name == "search":
            left = min(left, max(0.0, self._started + 60 * self._goal.minutes - now))
        status = f"about {left:.0f} s left" if self._fresh else ""
        if self._worst is None:
            return status
        harm, trial = self._worst
        what = "wish" if self._goal.wish else "lost"
        worst = f"worst so far {100 * harm:.1f} % {what}, {trial.candidate.attack} by {trial.candidate.hostile}"
        return f"{status}; {worst}" if status else worst


def show(findings: Findings, console: Console) -> None:
    """Print what was confirmed, how the worst attack evades the defense, and the families that were tried."""
    console.print(_confirmed(findings))
    for line in _lines(findings):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print()
    console.print(_families(findings))
    for name, reason in findings.left_out.items():
        console.print(f"not searched: {name}: {reason}", style="dim", highlight=False, markup=False, soft_wrap=True)
    for key, reason in findings.failed.items():
        console.print(f"failed: {key}: {reason}", style="red", highlight=False, markup=False, soft_wrap=True)


def _confirmed(findings: Findings) -> Table:
    """The figures on fresh seeds."""
    settings, count = findings.goal.settings, len(findings.goal.confirming)
    worst = findings.entry(findings.worst)
    figure = worst.figure.replace("_", " ") if worst else "figure"
    place = f"{settings.task}, {settings.partition}, {settings.clients} clients, {settings.rounds} rounds"
    table = _table(f"{place}: {findings.defense}\n{figure} on {count} seeds that the search has not seen, %")
    table.add_column("attack", overflow="fold")
    for heading in ("hostile", "reached", "honest only", "lost", "wish", "caught", "false alarm", "AUROC"):
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    rows = [("nobody attacks", None, True), ("worst known: ", findings.known, True)]
    rows += [("found: ", findings.found, True)] if findings.found else []
    rows += [("worst, undefended: ", findings.worst, False)]
    for name, candidate, defended in rows:
        entry = findings.entry(candidate, defended=defended)
        bold = "bold" if candidate == findings.worst and defended else None
        table.add_row(name + (escape(candidate.attack) if candidate else ""), *_figures(candidate, entry), style=bold)
    return table


def _figures(candidate: Candidate | None, entry: Entry | None) -> list[str]:
    hostile = str(candidate.hostile) if candidate else "0"
    if entry is None:
        return [hostile, *["-"] * 7]
    auroc = "-" if entry.auroc is None else f"{entry.auroc.mean:.2f}"
    estimates = (entry.final, entry.oracle, entry.gap, entry.excess, entry.recall, entry.false_alarm_rate)
    final, oracle, gap, excess, recall, alarm = estimates
    short = [f"{100 * one.mean:.1f}" if one else "-" for one in (final, oracle, recall, alarm)]
    return [hostile, short[0], short[1], told(gap), told(excess), short[2], short[3], auroc]


def _lines(findings: Findings) -> list[str]:
    """What the tables do not say."""
    goal = findings.goal
    lines: list[str] = []
    what = "of its wish" if goal.wish else "of damage"
    if findings.found is None:
        lines.append("no new attack was tried: this is the worst of the known ones")
    elif findings.worst == findings.known:
        lines.append(
            f"the search found nothing worse than the worst known attack ({told(findings.added)} points {what})"
        )
    else:
        lines.append(f"the search added {told(findings.added)} points {what} to the worst known attack")
    entry = findings.entry(findings.worst)
    if entry is not None and entry.recall is not None:
        evaded = f"{100 * (1 - entry.recall.mean):.0f} % of what the attackers sent was accepted"
        if entry.auroc is not None:
            evaded += (
                f"; the scores tell them from honest clients with an AUROC of {entry.auroc.mean:.2f} (0.5: not at all)"
            )
        lines.append(evaded)
    return lines


def _families(findings: Findings) -> Table:
    """The families, the one that did most harm first."""
    goal = findings.goal
    ranked = findings.families
    seeds = f"{len(goal.searching)} seeds" if len(goal.searching) > 1 else "one seed"
    title = f"families tried, their worst in the search ({seeds}: part of it is luck), %"
    table = _table(title + (f"; the first {SHOWN} of {len(ranked)}" if len(ranked) > SHOWN else ""))
    table.add_column("family", overflow="fold")
    for heading in ("tried", "wish" if goal.wish else "lost", "caught", "hostile"):
        table.add_column(heading, justify="right", min_width=len(heading))
    table.add_column("worst of the family", overflow="fold")
    for trial, count in ranked[:SHOWN]:
        harm = trial.harm(wishing=bool(goal.wish))
        table.add_row(
            trial.candidate.family,
            str(count),
            "-" if harm is None else f"{100 * harm:.1f}",
            "-" if trial.recall is None else f"{100 * trial.recall.mean:.0f}",
            str(trial.candidate.hostile),
            escape(trial.candidate.attack),
        )
    return table


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
