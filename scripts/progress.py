"""What a simulation shows on the terminal: a line per run that lives while it runs, and the tables at the end."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from .federation import Federation, Run
from .results import ClientRecord, Results, final

TITLES = {
    "no_attack": "no attack",
    "undefended": "undefended",
    "defended": "defended",
    "oracle": "honest clients only",
}


class Live:
    """The progress of the runs: a bar for each on a terminal, otherwise a plain line for each round."""

    def __init__(self, console: Console, federation: Federation) -> None:
        self._console = console
        self._rounds = federation.settings.rounds
        self._bars = Progress(
            TextColumn("{task.description:<19}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {
            name: self._bars.add_task(TITLES[name], total=self._rounds, start=False, status="")
            for name in federation.run_names
        }

    def __enter__(self) -> Live:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def after_round(self, run: Run) -> None:
        """Show the round that `run` has just completed, or that it is about to begin its first."""
        task = self._tasks[run.name]
        if not run.accuracy:
            self._bars.start_task(task)
            return
        status = _status(run)
        self._bars.update(task, completed=len(run.accuracy), status=status)
        if not self._console.is_terminal:
            line = f"{TITLES[run.name]:<19}  round {len(run.accuracy):>3}/{self._rounds}  {status}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _status(run: Run) -> str:
    status = f"accuracy {run.accuracy[-1]:.3f}"
    success = run.attack_success[-1]
    status += "" if success is None else f"  attack {success:.3f}"
    if not run.records:
        return status
    record = run.records[-1]
    accepted = sum(verdict.accepted for verdict in record.verdicts.values())
    status += f"  accepted {accepted}  rejected {len(record.verdicts) - accepted}  refused {len(record.refused)}"
    return status + (f"  skipped: {record.skipped}" if record.skipped else "")


def headline(federation: Federation) -> str:
    """One line on what is simulated."""
    chosen = federation.settings
    attackers = f"{chosen.hostile} hostile ({chosen.attack})" if chosen.hostile else "nobody hostile"
    return f"{chosen.task}, {chosen.partition}: {chosen.clients} clients, {attackers}; defense {federation.defense}"


def show(console: Console, results: Results) -> None:
    """Print the tables: final figures of each run, verdicts against the truth, clients one by one."""
    console.print()
    console.print(_figures(results))
    for run in results.runs.values():
        if run.stopped:
            console.print(f"{TITLES[run.name]} stopped in {escape(run.stopped)}", style="red", highlight=False)
        skipped = [record.skipped for record in run.records if record.skipped]
        if skipped:
            told = f"{TITLES[run.name]}: {len(skipped)} of {len(run.records)} rounds skipped: {escape(skipped[-1])}"
            console.print(told, style="red", highlight=False)
    console.print()
    console.print(_clients(results.clients))
    found = results.detection
    console.print(
        f"verdicts against the truth: precision {percent(found.precision)}, recall {percent(found.recall)}, "
        f"false alarms {percent(found.false_alarm_rate)}, AUROC {number(found.auroc)}",
        highlight=False,
        soft_wrap=True,
    )


def _figures(results: Results) -> Table:
    table = Table(title="Mean of the last three rounds", title_justify="left")
    table.add_column("run")
    for heading in ("accuracy", "worst class recall", "attack success"):
        table.add_column(heading, justify="right")
    for name, run in results.runs.items():
        cells = [final(values) for values in (run.accuracy, run.worst_class_recall, run.attack_success)]
        table.add_row(TITLES[name], *map(percent, cells), style="bold" if name == "defended" else None)
    return table


def _clients(records: tuple[ClientRecord, ...]) -> Table:
    table = Table(title="Clients in the defended run", title_justify="left")
    table.add_column("client", justify="right")
    table.add_column("truth")
    table.add_column("rejected", justify="right")
    table.add_column("mean weight", justify="right")
    table.add_column("usual reason", overflow="fold")
    for client in records:
        table.add_row(
            client.client,
            "[red]hostile[/red]" if client.hostile else "honest",
            f"{client.rejected} of {client.replies}",
            f"{client.mean_weight:.3f}",
            escape(client.usual_reason),
        )
    return table


def percent(value: float | None) -> str:
    """A share as a percentage.

    >>> percent(0.97123), percent(None)
    ('97.1 %', '-')
    """
    return "-" if value is None else f"{100 * value:.1f} %"


def number(value: float | None) -> str:
    """A number with three decimals.

    >>> number(0.9876), number(None)
    ('0.988', '-')
    """
    return "-" if value is None else f"{value:.3f}"
