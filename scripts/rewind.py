"""`hawthorn rewind`: the model of a run rebuilt without a client that turned out poisoned."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .audit import Lines, add_row, made_table, plain, printable, show_lines, shown

if TYPE_CHECKING:
    from hawthorn.server.audit import Audit, Run, RunAudit
    from hawthorn.server.rewinding import Plan, Rewound
    from hawthorn.server.rewinding.rebuilding import Evaluate, Train
    from rich.table import Table

SHOWN = 10  # changed verdicts in a report; JSON has all


def rewind(
    without: Annotated[
        list[str],
        typer.Option("--without", metavar="CLIENT", help="Whom to leave out: identity, name or node; repeatable."),
    ],
    first: Annotated[
        int | None,
        typer.Option("--from", metavar="ROUND", min=1, help="First round to hold again; default: the client's first."),
    ] = None,
    run: Annotated[
        int, typer.Option("--run", metavar="RUN", help="Number of the run; 0: the newest that was not rebuilt itself.")
    ] = 0,
    audit: Annotated[
        str, typer.Option(metavar="FILE", help="Audit database: SQLite file or database URL.")
    ] = "hawthorn.db",
    method: Annotated[
        str,
        typer.Option(
            metavar="fit|replay",
            help="replay: the others' updates again. fit: then as near to the old model as these can come; the default "
            "where the wrapped strategy allows it.",
        ),
    ] = "",
    recovery: Annotated[
        int, typer.Option(min=0, metavar="N", help="Rounds of training after it, of a simulation in one process.")
    ] = 0,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Order the run to take the new model, and the client out of it.")
    ] = False,
    by: Annotated[str, typer.Option(metavar="WHO", help="Who orders that; default: the login name.")] = "",
    tolerated: Annotated[
        str,
        typer.Option(metavar="F", help="Hostile clients borne among the rest; default: as many as then."),
    ] = "",
    checkpoints: Annotated[
        str, typer.Option(metavar="DIR", help="Folder for the new run's; default: where the run has its own.")
    ] = "",
    evaluate: Annotated[bool, typer.Option(help="Evaluate on the holdout that the run's settings name.")] = True,
    json_file: Annotated[str, typer.Option("--json", metavar="FILE", help="Where JSON goes; - for stdout.")] = "",
) -> None:
    """Rebuild the model of a run from retained updates, without a client, and tell what changed."""
    from pathlib import Path

    from hawthorn.server.audit import Audit
    from hawthorn.server.rewinding import client_named, held_fast, named, plan
    from hawthorn.server.rewinding.rebuilding import check_method, usual_method

    from .output import check_targets, write_json
    from .recovery import check_recovery

    check_targets({"--json": json_file})
    with Audit.open(audit, create=False) as opened:
        found = chosen(opened, run)
        clients = list(dict.fromkeys(client_named(opened, found, text) for text in without))
        planned = plan(opened, found, clients, first=first, tolerated=borne(tolerated))
        method = method or usual_method(planned)
        check_method(planned, method)
        if recovery:
            check_recovery(opened, planned)
        names = {one.identity: one.name for one in opened.clients(found.id)}
        name, settings = named(planned, names)
        folder = checkpoints or str(Path(found.place or ".").parent)
        functions = named_functions(planned, evaluate)
        with (
            held_fast(planned, opened, Path(folder).expanduser()) as planned,
            opened.run(settings, name=name, checkpoints=folder, newest=2, updates="none") as ledger,
        ):
            document = held(opened, planned, ledger, method, recovery, functions)
        document["rebuilt"] |= {"id": ledger.id, "name": name}
        document["orders"] = adopted(opened, planned, ledger.id, document, by or getpass.getuser()) if adopt else []
    if json_file:
        write_json(plain(document), json_file)
    if json_file != "-":
        show(document)


def borne(text: str) -> int | float | None:
    """The count or the share that is written, None where nothing is; raises `SettingError`."""
    from hawthorn.server.kinds import tolerated
    from hawthorn.strategies import SettingError

    try:
        return tolerated(text) if text else None
    except ValueError:
        raise SettingError(f"--tolerated must be a count, or a share such as 0.2, got {text!r}") from None


def chosen(audit: Audit, number: int) -> Run:
    """The run of a number, or the newest that was not rebuilt from another."""
    from hawthorn.server.rewinding.lineage import source_of
    from hawthorn.strategies import AuditError

    if number:
        return audit.find_run(number)
    for run in reversed(audit.runs()):
        if source_of(run.settings) is None:
            return run
    raise AuditError("the audit has no runs yet")


@dataclass(frozen=True)
class Functions:
    """What the settings of a run name: the evaluation on the holdout, of how many rounds, and the server's training."""

    evaluate: Evaluate | None = None
    every: int = 1
    trusted: Train | None = None


def named_functions(planned: Plan, evaluated: bool) -> Functions:
    """The functions that a rewind needs; raises `SettingError` where one cannot be had."""
    from hawthorn.server.app import holdout, root
    from hawthorn.server.settings import Settings

    asked = "trusted" in planned.defense.asked
    if not evaluated and not asked:
        return Functions()
    parsed = Settings.parse(planned.settings)
    return Functions(holdout(parsed) if evaluated else None, parsed.evaluate_every, root(parsed) if asked else None)


def held(
    audit: Audit, planned: Plan, ledger: RunAudit, method: str, recovery: int, functions: Functions
) -> dict[str, Any]:
    """What the plan led to, with recovery rounds after it, as plain data."""
    from hawthorn.server.rewinding import rebuilt
    from rich.progress import Progress

    from .recovery import recovered

    with Progress(transient=True) as progress:
        task = progress.add_task("rounds held again", total=len(planned.steps))
        found = rebuilt(
            planned,
            audit,
            ledger,
            method=method,
            evaluate=functions.evaluate,
            every=functions.every,
            trusted=functions.trusted,
            tell=lambda done: progress.update(task, completed=done),
        )
    document = told(planned, found, method)
    if recovery:
        metrics, seconds = recovered(audit, planned, ledger, found.commit.round, recovery, functions.evaluate)
        document["recovery"] = recovery
        document["metrics"]["recovered"] = metrics[-1]
        document["recovery_metrics"] = metrics
        document["seconds"]["recovery"] = seconds
    return document


def told(planned: Plan, found: Rewound, method: str) -> dict[str, Any]:
    """A rewind as plain data."""
    from dataclasses import asdict

    return {
        "run": {"id": planned.run.id, "name": planned.run.name, "round": planned.last},
        "without": list(planned.without),
        "method": method,
        "rebuilt": {"round": found.commit.round},
        "rounds": {"first": planned.steps[0].kept[1], "held_again": found.rounds, "skipped": dict(found.skipped)},
        "verdicts_changed": [asdict(change) for change in found.changes],
        "model": {
            "length_before": found.length_before,
            "length_after": found.length_after,
            "apart": found.apart,
            "cosine": found.cosine,
        },
        "fit": None
        if found.fit is None
        else {"rows": found.fit.rows, "rounds": found.fit.rounds, "explained": found.fit.explained},
        "metrics": {"before": found.before, "replayed": found.replayed, "rebuilt": found.after},
        "seconds": {"rounds": planned.seconds, "rewind": found.seconds},
        "recovery": 0,
    }


def adopted(audit: Audit, planned: Plan, new: int, document: dict[str, Any], by: str) -> list[int]:
    """The numbers of the orders by which the run quarantines the clients and takes the new model."""
    last = document["rebuilt"]["round"] + document["recovery"]
    orders = [audit.order(planned.run.id, "quarantine", client, by=by) for client in planned.without]
    return [*orders, audit.order(planned.run.id, "roll_back", other=new, round=last, by=by)]


def show(document: dict[str, Any]) -> None:
    """Print a rewind for people to read."""
    run, new, rounds, seconds = (document[name] for name in ("run", "rebuilt", "rounds", "seconds"))
    model = document["model"]
    changes = document["verdicts_changed"]
    notes = [
        f"{rounds['held_again']} rounds held again from round {rounds['first']} on, in {seconds['rewind']:.3g} s; they "
        f"took {seconds['rounds']:.3g} s with clients",
        *(f"round {number} was skipped: {why}" for number, why in rounds["skipped"].items()),
        f"the model moved by {shown(model['length_after'])} in the place of {shown(model['length_before'])}, at a "
        f"cosine of {model['cosine']:.3f}; the two are {shown(model['apart'])} apart",
        f"{len(changes)} verdicts are other ones" + ("" if changes else ": whoever was accepted then is now"),
        *(printable(_change(one)) for one in changes[:SHOWN]),
    ]
    if len(changes) > SHOWN:
        notes.append(f"... and {len(changes) - SHOWN} more (--json has all)")
    if document["fit"] is not None:
        notes.append(
            f"fitted to the old model by {document['fit']['rows']} updates, which account for "
            f"{document['fit']['explained']:.1%} of what the replay was away from it"
        )
    if worse(document["metrics"]["rebuilt"], document["metrics"]["replayed"]):
        notes.append("on the holdout the model does worse than before it was fitted: write --method replay")
    if document["recovery"]:
        notes.append(f"{document['recovery']} recovery rounds took {seconds['recovery']:.3g} s")
    if document["orders"]:
        numbers = ", ".join(map(str, document["orders"]))
        notes.append(f"run {run['id']} is told to take it (orders {numbers}): it does before its next round")
    else:
        last = new["round"] + document["recovery"]
        notes.append(f"run {run['id']} goes on as it was; round {last} of run {new['id']} has the new model (--adopt)")
    title = printable(f"Run {run['id']} rebuilt as run {new['id']}, {new['name']}")
    show_lines(title, Lines(metric_table(document["metrics"]), notes))


def _change(one: dict[str, Any]) -> str:
    was, now = ("accepted" if accepted else "rejected" for accepted in (one["accepted"], one["now"]))
    return f"round {one['round']}: {one['client']} was {was} and is {now}" + (
        f": {one['reason']}" if one["reason"] else ""
    )


def worse(metrics: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether the accuracy fell, where there is one."""
    return "accuracy" in metrics and "accuracy" in before and metrics["accuracy"] < before["accuracy"]


def metric_table(metrics: dict[str, dict[str, Any]]) -> Table:
    """The metrics of the models side by side, as far as they are single numbers."""
    columns = {name: found for name, found in metrics.items() if found}
    if metrics["replayed"] == metrics["rebuilt"]:
        columns.pop("replayed", None)
    table = made_table("metric", *columns)
    for name in (name for name, value in metrics["before"].items() if isinstance(value, int | float)):
        add_row(table, name, *(shown(found.get(name)) for found in columns.values()))
    return table
