"""`hawthorn evaluate`: tasks x federations x attacks x defenses x seeds, worst case first; what has run is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

GRID = "Grid: each may be given several times"
TRAINING = "Training: each may be given several times"
WORK = "Work and output"


def evaluate(
    grid: Annotated[
        Path | None,
        typer.Argument(metavar="[GRID.toml]", help="Values for the options below, by their names; these win over it."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task, such as digits, or 'mnist(train=6000, test=1000)'.", rich_help_panel=GRID),
    ] = None,
    data: Annotated[
        str, typer.Option(help="File of examples, or the folder with the tasks' files.", rich_help_panel=GRID)
    ] = "",
    partition: Annotated[
        list[str] | None, typer.Option(help="iid, dirichlet(a), sorted, or natural.", rich_help_panel=GRID)
    ] = None,
    clients: Annotated[
        list[int] | None, typer.Option(help="Clients in the federation; 10.", rich_help_panel=GRID)
    ] = None,
    hostile: Annotated[
        list[str] | None,
        typer.Option(help="Clients that attack, a count or a share such as 0.2; 3.", rich_help_panel=GRID),
    ] = None,
    tolerated: Annotated[
        list[str] | None,
        typer.Option(help="Hostile clients the defense bears, likewise; as many as are.", rich_help_panel=GRID),
    ] = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option(
            help="Attacks, also with semicolons between them; all of them, story for the task's own, none. "
            "Default: six well-known ones.",
            rich_help_panel=GRID,
        ),
    ] = None,
    defense: Annotated[
        list[str] | None, typer.Option(help="Recipe. Default: the package's.", rich_help_panel=GRID)
    ] = None,
    root_examples: Annotated[
        list[int] | None,
        typer.Option(
            help="Examples the server trains on itself, for defenses that ask for it; 0.", rich_help_panel=GRID
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="How many seeds, from 1 on; 1.", min=1, rich_help_panel=GRID)
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="A seed of your own, in the place of --seeds.", min=0, rich_help_panel=GRID)
    ] = None,
    rounds: Annotated[list[int] | None, typer.Option(help="Rounds; 20.", rich_help_panel=TRAINING)] = None,
    local_epochs: Annotated[
        list[int] | None, typer.Option(help="Epochs a client trains in a round; 2.", rich_help_panel=TRAINING)
    ] = None,
    local_steps: Annotated[
        list[int] | None, typer.Option(help="Most steps in a round; 0, no limit.", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(help="Examples in one step; 32.", rich_help_panel=TRAINING)
    ] = None,
    learning_rate: Annotated[
        list[float] | None, typer.Option(help="Learning rate of the clients; 0.1.", rich_help_panel=TRAINING)
    ] = None,
    learning_rate_decay: Annotated[
        list[float] | None,
        typer.Option(help="What it is multiplied by after every round; 1.", rich_help_panel=TRAINING),
    ] = None,
    momentum: Annotated[
        list[float] | None, typer.Option(help="Momentum of their training; 0.", rich_help_panel=TRAINING)
    ] = None,
    client_momentum: Annotated[
        list[float] | None,
        typer.Option(help="Share of the update before in what a client sends; 0.", rich_help_panel=TRAINING),
    ] = None,
    fraction_train: Annotated[
        list[float] | None, typer.Option(help="Share of the clients asked in a round; 1.", rich_help_panel=TRAINING)
    ] = None,
    evaluate_every: Annotated[
        list[int] | None, typer.Option(help="Rounds from one evaluation to the next; 1.", rich_help_panel=TRAINING)
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes; 0 for as many as there are cores.", min=0, rich_help_panel=WORK)
    ] = 0,
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run on this Ray cluster, or local.", rich_help_panel=WORK)
    ] = "",
    store: Annotated[
        Path, typer.Option(metavar="FILE", help="SQLite file that keeps what has run.", rich_help_panel=WORK)
    ] = Path("hawthorn-evaluation.db"),
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an HTML report to FILE.", rich_help_panel=WORK)
    ] = None,
    json_file: Annotated[
        str,
        typer.Option(
            "--json", metavar="FILE", help="Write all figures to FILE; - for standard output.", rich_help_panel=WORK
        ),
    ] = "",
) -> None:
    """Show what defenses keep under attack, worst case first: accuracy lost to honest clients alone, and who is caught.

    A cell is one federation with one attack, one defense and one seed. Cells that have run are kept in --store: a
    killed evaluation goes on where it was, and a larger one runs what is new.
    """
    from rich.console import Console

    from .evaluation.evaluation import evaluated
    from .evaluation.grid import Grid
    from .evaluation.terminal import show
    from .output import check_targets, write_json

    given: dict[str, Any] = {
        "task": task,
        "data": data,
        "partition": partition,
        "clients": clients,
        "hostile": hostile,
        "tolerated": tolerated,
        "attacks": attacks,
        "defenses": defense,
        "root-examples": root_examples,
        "seeds": seed or seeds,
        "rounds": rounds,
        "local-epochs": local_epochs,
        "local-steps": local_steps,
        "batch-size": batch_size,
        "learning-rate": learning_rate,
        "learning-rate-decay": learning_rate_decay,
        "momentum": momentum,
        "client-momentum": client_momentum,
        "fraction-train": fraction_train,
        "evaluate-every": evaluate_every,
    }
    chosen = {name: value for name, value in given.items() if value}
    wanted = Grid.read(grid, chosen) if grid else Grid.parse(chosen)
    check_targets({"--report": report, "--json": json_file})
    console = Console(stderr=json_file == "-")
    evaluation = evaluated(wanted, store, workers=workers, ray=ray, aside=Console(stderr=True))
    write_json(evaluation.document(), json_file)
    show(evaluation, console)
    if report is not None:
        from .evaluation.report import html

        report.write_text(html(evaluation.document()), encoding="utf-8")
        console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    if evaluation.failed:
        raise typer.Exit(1)
