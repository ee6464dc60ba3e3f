"""`hawthorn audit`: what a federation decided about whom, read from its audit database."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .auditing.explain import explain
from .auditing.replay import replay
from .auditing.terminal import (
    Database,
    JsonFile,
    Lines,
    RunNumber,
    add_row,
    made_table,
    opened_text,
    plain,
    printable,
    shown,
    write_json,
)
from .auditing.terminal import show_lines as show_lines
from .auditing.verify import verify

if TYPE_CHECKING:
    from hawthorn.server.audit import Audit, Contribution, Round, Run

app = typer.Typer(help="Read the audit of runs: who was accepted, who was not, and why.", no_args_is_help=True)
app.command()(verify)
app.command()(replay)
app.command()(explain)


@app.command("list")
def list_runs(audit: Database = "hawthorn.db", json_file: JsonFile = "") -> None:
    """List the runs."""
    from hawthorn.server.audit import Audit

    with Audit.open(audit, create=False) as opened:
        runs = opened.runs()
    if json_file:
        write_json(json_file, [asdict(run) for run in runs])
    if json_file != "-":
        show_lines(f"{len(runs)} runs", run_table(runs))


@app.command()
def show(
    run: RunNumber,
    round: Annotated[
        int | None, typer.Option("--round", metavar="R", help="Only this round, client by client.")
    ] = None,
    audit: Database = "hawthorn.db",
    json_file: JsonFile = "",
) -> None:
    """Show the rounds of a run, or with --round every verdict of one round."""
    from hawthorn.server.audit import Audit

    with Audit.open(audit, create=False) as opened:
        found = opened.find_run(run)
        contributions = sorted(opened.contributions(run, round), key=_by_client)
        rounds = opened.rounds(run)
    if json_file:
        chosen = [one for one in rounds if round is None or one.number == round]
        write_json(json_file, document(found, chosen, contributions))
    if json_file == "-":
        return
    if round is None:
        show_lines(f"Run {run}", run_table([found]), round_table(rounds, contributions))
    else:
        show_lines(f"Run {run}, round {round}", contribution_table(contributions))


@app.command()
def export(
    run: RunNumber,
    audit: Database = "hawthorn.db",
    json_file: JsonFile = "",
    csv_file: Annotated[str, typer.Option("--csv", metavar="FILE", help="Where verdicts go as CSV; - likewise.")] = "",
    geometry: Annotated[bool, typer.Option(help="Put every round's geometry into the JSON.")] = False,
) -> None:
    """Write a whole run as JSON, or its verdicts as CSV."""
    from hawthorn.server.audit import Audit
    from hawthorn.strategies import SettingError

    if not json_file and not csv_file:
        raise SettingError("nowhere to export to: write --json FILE or --csv FILE, or - for standard output")
    with Audit.open(audit, create=False) as opened:
        found = opened.find_run(run)
        contributions = opened.contributions(run)
        content = document(found, opened.rounds(run), contributions)
        if geometry:
            add_geometry(content, opened)
    if json_file:
        write_json(json_file, content)
    if csv_file:
        write_csv(csv_file, run, contributions)


def document(run: Run, rounds: Sequence[Round], contributions: Sequence[Contribution]) -> dict[str, Any]:
    """A run with its rounds and verdicts, as plain data without NaN."""
    by_round: dict[int, list[dict[str, Any]]] = {one.number: [] for one in rounds}
    for one in contributions:
        by_round[one.round].append({"client": one.client, "admitted": one.admitted, **asdict(one.verdict)})
    return plain(
        asdict(run)
        | {
            "rounds": [
                {
                    "round": one.number,
                    "skipped": one.skipped,
                    "seconds": one.seconds,
                    "metrics": one.metrics,
                    "verdicts": by_round[one.number],
                }
                for one in rounds
            ]
        }
    )


def _by_client(one: Contribution) -> tuple[int, int, str]:
    """The key that sorts by round, then by client, numbers before names."""
    return one.round, int(one.client) if one.client.isdecimal() else sys.maxsize, one.client


def add_geometry(content: dict[str, Any], audit: Audit) -> None:
    """Put Gram matrix and squared distances into each round; their rows are its admitted clients, in order."""
    for one in content["rounds"]:
        geometry = audit.geometry(content["id"], one["round"])
        if geometry is not None:
            matrices = {"gram": geometry.gram, "squared_distances": geometry.squared_distances}
            one["geometry"] = plain({name: matrix.tolist() for name, matrix in matrices.items()})


def run_table(runs: Sequence[Run]) -> Lines:
    """One line per run, and below them how runs failed."""
    table = made_table("run", "name", "started (UTC)", "status", "task", "defense", folded=("name", "defense"))
    for run in runs:
        started = run.started[:19].replace("T", " ")
        settings = [run.settings.get(name, "") for name in ("task", "defense")]
        add_row(table, run.id, run.name, started, run.status, *settings)
    return Lines(table, [f"run {run.id}: {run.error}" for run in runs if run.error])


def round_table(rounds: Sequence[Round], contributions: Sequence[Contribution]) -> Lines:
    """One line per round: how many replies came to what, and how the model did; below them why rounds were skipped."""
    names = sorted({name for one in rounds for name in one.metrics})
    table = made_table("round", "accepted", "rejected", "refused", "seconds", *names)
    for one in rounds:
        replies = [reply for reply in contributions if reply.round == one.number]
        accepted = sum(reply.verdict.accepted for reply in replies)
        refused = sum(not reply.admitted for reply in replies)
        counts = (accepted, len(replies) - accepted - refused, refused)
        metrics = [shown(one.metrics.get(name)) for name in names]
        add_row(table, one.number, *counts, f"{one.seconds:.2f}", *metrics)
    return Lines(table, [f"round {one.number} was skipped: {one.skipped}" for one in rounds if one.skipped])


def contribution_table(contributions: Sequence[Contribution]) -> Lines:
    """One line per reply of a round, and below them the reasons."""
    names = score_names(contributions)
    table = made_table("client", "verdict", "weight", "p", *names)
    for one in contributions:
        verdict = one.verdict
        word = "refused" if not one.admitted else "accepted" if verdict.accepted else "rejected"
        scores = [shown(verdict.scores.get(name)) for name in names]
        add_row(table, one.client, word, shown(verdict.weight), shown(verdict.p_value), *scores)
    return Lines(table, [f"{one.client}: {one.verdict.reason}" for one in contributions if one.verdict.reason])


def score_names(contributions: Sequence[Contribution]) -> list[str]:
    """The scores that any of these replies has, in the order they first appear."""
    return list(dict.fromkeys(name for one in contributions for name in one.verdict.scores))


def write_csv(where: str, run: int, contributions: Sequence[Contribution]) -> None:
    """Write one line per reply; a score has a column of its own."""
    names = score_names(contributions)
    with opened_text(where) as file:
        writer = csv.writer(file)
        writer.writerow(
            ["run", "round", "client", "admitted", "accepted", "weight", "p_value", *names, "standing", "reason"]
        )
        for one in contributions:
            verdict = one.verdict
            scores = [verdict.scores.get(name, "") for name in names]
            numbers = [verdict.weight, "" if math.isnan(verdict.p_value) else verdict.p_value]
            row = [run, one.round, one.client, one.admitted, verdict.accepted, *numbers, *scores]
            writer.writerow([*row, verdict.standing, printable(verdict.reason)])
