"""What a search shows on the terminal: how far it is and the worst so far, and at the end what was found and how."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from ..evaluation.summary import Entry, Estimate
from ..evaluation.terminal import EVERY, told

if TYPE_CHECKING:
    from .findings import Findings
    from .goal import Goal
    from .trials import Trial

KNOWN, FOUND = "worst known", "found"
SHOWN = 12  # families in the ranking; all are in the JSON


class Progressing:
    """The phases of a search, how many attacks of each are done, the worst so far, and the time left for its phase."""

    def __init__(self, console: Console, goal: Goal) -> None:
        self._console = console
        self._goal = goal
        self._worst: tuple[float, Trial] | None = None
        self._started = self._told = time.monotonic()
        self._total = self._done = self._kept = self._run = 0
        self._timed: list[tuple[float, int]] = []  # when batches of this phase had run, and of how many attacks
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
        self._name, self._total, self._done, self._timed = name, attacks, 0, []
        self._task = self._bar.add_task(name, total=attacks, status="")

    def over(self, minutes: float) -> bool:
        """Whether so many minutes have passed; with 0 they never have."""
        return bool(minutes) and time.monotonic() - self._started > 60 * minutes

    def after(self, trials: Sequence[Trial], fresh: bool) -> None:
        """Count attacks that have been measured, now or, unless any run was fresh, before."""
        self._done += len(trials)
        if fresh:
            self._timed.append((time.monotonic(), len(trials)))
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
        status = ""
        if len(self._timed) > 1:  # the first batch waits for processes to start
            seconds = self._timed[-1][0] - self._timed[0][0]
            left = seconds / sum(count for _, count in self._timed[1:]) * (self._total - self._done)
            if self._goal.minutes and self._name == "search":
                left = min(left, max(0.0, self._started + 60 * self._goal.minutes - time.monotonic()))
            status = f"about {left:.0f} s left"
        if self._worst is None:
            return status
        harm, trial = self._worst
        what = "wish" if self._goal.wish else "lost"
        worst = f"worst so far {100 * harm:.1f} % {what}, {trial.candidate.attack} by {trial.candidate.hostile}"
        return f"{status}; {worst}" if status else worst


def show(findings: Findings, console: Console) -> None:
    """Print what was confirmed, how the worst attack evades the defense, and the families that were tried."""

    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    console.print(_confirmed(findings))
    for text in _remarks(findings):
        line(text)
    line("")
    console.print(_families(findings))
    for reason in dict.fromkeys(findings.left_out.values()):
        names = ", ".join(name for name, why in findings.left_out.items() if why == reason)
        line(f"not searched: {names}: {reason}", "dim")
    for key, reason in findings.failed.items():
        line(f"failed: {key}: {reason}", "red")


def _confirmed(findings: Findings) -> Table:
    """The figures on fresh seeds."""
    settings, count = findings.goal.settings, len(findings.goal.confirming)
    worst = findings.entry(findings.worst)
    figure = worst.figure.replace("_", " ") if worst else "figure"
    place = f"{settings.task}, {settings.partition}, {settings.clients} clients, {settings.rounds} rounds"
    table = _table(f"{place}\n{findings.defense}\n{figure} on {count} seeds that the search has not seen, %")
    rows = [("no attack", None, True), (KNOWN, findings.known, True)]
    rows += [(FOUND, findings.found, True)] if findings.found else []
    rows += [("undefended", findings.worst, False)]
    shown = [(name, candidate, findings.entry(candidate, defended=defended)) for name, candidate, defended in rows]
    wishes = any(entry is not None and entry.excess is not None for _, _, entry in shown)
    columns = {heading: tell for heading, tell in COLUMNS.items() if wishes or heading != "wish"}
    table.add_column("", min_width=11)
    for heading in columns:
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    for name, candidate, entry in shown:
        figures = ["-" if entry is None else tell(entry) for tell in columns.values()]
        table.add_row(name, *figures, style="bold" if candidate == findings.worst and name != "undefended" else None)
    return table


def _mean(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{100 * estimate.mean:.1f}"


COLUMNS: dict[str, Callable[[Entry], str]] = {
    "reached": lambda entry: _mean(entry.final),
    "honest only": lambda entry: _mean(entry.oracle),
    "lost": lambda entry: told(entry.gap),
    "wish": lambda entry: told(entry.excess),
    "caught": lambda entry: _mean(entry.recall),
    "false alarm": lambda entry: _mean(entry.false_alarm_rate),
    "AUROC": lambda entry: f"{entry.auroc.mean:.2f}" if entry.auroc else "-",
}


def _remarks(findings: Findings) -> list[str]:
    """What the attacks are, and what the table does not say of them."""
    what = "of the wish" if findings.goal.wish else "of damage"
    clients = findings.goal.settings.clients
    lines = [f"{KNOWN}: {findings.known.attack}, by {findings.known.hostile} of {clients}"]
    if findings.found is None:
        lines.append("no new attack was tried, so the worst is a known one")
    else:
        lines.append(f"{FOUND}: {findings.found.attack}, by {findings.found.hostile} of {clients}")
        more = f"{told(findings.added)} points {what} more than the worst known attack"
        if findings.added and (findings.added.half is None or abs(findings.added.mean) <= findings.added.half):
            more += ", which may be chance"
        if findings.worst == findings.found:
            lines.append(f"it does {more}")
        else:
            lines.append(
                f"the search found nothing that did more in the runoff; on the fresh seeds its best does {more}"
            )
    entry = findings.entry(findings.worst)
    if entry is not None and entry.recall is not None:
        evaded = f"of what the attackers sent in the worst attack, {100 * (1 - entry.recall.mean):.0f} % was accepted"
        if entry.auroc is not None:
            told_apart = (
                "honest updates look worse than it" if entry.auroc.mean < 0.5 else "it looks worse than honest ones"
            )
            evaded += f"; to the scores {told_apart} (AUROC {entry.auroc.mean:.2f}; 0.5: no difference)"
        lines.append(evaded)
    return lines


def _families(findings: Findings) -> Table:
    """The families, the one that did most harm first."""
    goal, ranked = findings.goal, findings.families
    seeds = f"{len(goal.searching)} seeds" if len(goal.searching) > 1 else "one seed"
    title = f"families of attacks, by their worst in the search, %\n({seeds}, the best of many: part of it is luck)"
    table = _table(title + (f"\nthe first {SHOWN} of {len(ranked)}" if len(ranked) > SHOWN else ""))
    for heading in ("wish" if goal.wish else "lost", "caught", "hostile", "tried"):
        table.add_column(heading, justify="right", min_width=len(heading))
    table.add_column("worst of the family", overflow="fold")
    for trial, count in ranked[:SHOWN]:
        harm = trial.harm(wishing=bool(goal.wish))
        table.add_row(
            "-" if harm is None else f"{100 * harm:.1f}",
            "-" if trial.recall is None else f"{100 * trial.recall.mean:.0f}",
            str(trial.candidate.hostile),
            str(count),
            escape(trial.candidate.attack),
        )
    return table


def _table(title: str) -> Table:
    return Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
