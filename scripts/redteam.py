"""`hawthorn redteam`: searches for the attack that does one given defense most harm, and confirms it on fresh seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DATA = "Task and data"
HEDGE = "Attack and defense"
TRAINING = "Training"
SEARCH = "Search"
OUTPUT = "Work and output"


def redteam(
    defense: Annotated[str, typer.Option(help="Recipe. Default: the package's.", rich_help_panel=HEDGE)] = "",
    tolerated: Annotated[
        str, typer.Option(help="Hostile clients the defense bears, a count or a share.", rich_help_panel=HEDGE)
    ] = "3",
    hostile: Annotated[
        str,
        typer.Option(
            help="Clients that attack, a count or a share. Default: searched, from 1 up to the tolerated.",
            rich_help_panel=HEDGE,
        ),
    ] = "",
    root_examples: Annotated[
        int,
        typer.Option(help="Examples the server trains on itself, for defenses that ask for it.", rich_help_panel=HEDGE),
    ] = 0,
    wish: Annotated[
        str,
        typer.Option(
            help="Search for attacks that get what they want, not for damage: any, story for the task's own, or one "
            "such as 'backdoor(target=1)'.",
            rich_help_panel=HEDGE,
        ),
    ] = "",
    task: Annotated[str, typer.Option(help="Task, with options where wanted.", rich_help_panel=DATA)] = "digits",
    data: Annotated[
        str, typer.Option(help="File of examples, or the folder with the tasks' files.", rich_help_panel=DATA)
    ] = "",
    partition: Annotated[
        str, typer.Option(help="iid, dirichlet(a), sorted, or natural.", rich_help_panel=DATA)
    ] = "dirichlet(0.5)",
    clients: Annotated[int, typer.Option(help="Clients in the federation.", rich_help_panel=DATA)] = 10,
    rounds: Annotated[int, typer.Option(help="Rounds of training.", rich_help_panel=TRAINING)] = 20,
    local_epochs: Annotated[int, typer.Option(help="Epochs a client trains in a round.", rich_help_panel=TRAINING)] = 2,
    local_steps: Annotated[int, typer.Option(help="Most steps in a round; 0: no limit.", rich_help_panel=TRAINING)] = 0,
    batch_size: Annotated[int, typer.Option(help="Examples in one step.", rich_help_panel=TRAINING)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the clients.", rich_help_panel=TRAINING)] = 0.1,
    learning_rate_decay: Annotated[
        float, typer.Option(help="What it is multiplied by after every round.", rich_help_panel=TRAINING)
    ] = 1.0,
    momentum: Annotated[float, typer.Option(help="Momentum of their training.", rich_help_panel=TRAINING)] = 0.0,
    client_momentum: Annotated[
        float, typer.Option(help="Share of the update before in what a client sends.", rich_help_panel=TRAINING)
    ] = 0.0,
    fraction_train: Annotated[
        float, typer.Option(help="Share of the clients asked in a round.", rich_help_panel=TRAINING)
    ] = 1.0,
    trials: Annotated[
        int, typer.Option(help="New attacks to try, beside the known ones.", min=1, rich_help_panel=SEARCH)
    ] = 60,
    minutes: Annotated[
        float,
        typer.Option(
            help="Minutes after which nothing new is tried; the confirmation comes on top. 0: no limit.",
            min=0,
            rich_help_panel=SEARCH,
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(help="Start of the search, and its first seed.", min=0, rich_help_panel=SEARCH)
    ] = 1,
    search_seeds: Annotated[
        int, typer.Option(help="Seeds on which each attack is tried.", min=1, rich_help_panel=SEARCH)
    ] = 2,
    confirm_seeds: Annotated[
        int, typer.Option(help="Fresh seeds on which the worst is confirmed.", min=2, rich_help_panel=SEARCH)
    ] = 5,
    batch: Annotated[
        int,
        typer.Option(
            help="Attacks tried at once: more for many cores, fewer to learn more from each.",
            min=1,
            rich_help_panel=SEARCH,
        ),
    ] = 4,
    workers: Annotated[
        int, typer.Option(help="Processes; 0 for as many as there are cores.", min=0, rich_help_panel=OUTPUT)
    ] = 0,
    store: Annotated[
        Path, typer.Option(metavar="FILE", help="SQLite file that keeps what has run.", rich_help_panel=OUTPUT)
    ] = Path("hawthorn-evaluation.db"),
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the worst attack as a grid for hawthorn evaluate.", rich_help_panel=OUTPUT
        ),
    ] = None,
    json_file: Annotated[
        str,
        typer.Option(
            "--json", metavar="FILE", help="Write all figures to FILE; - for standard output.", rich_help_panel=OUTPUT
        ),
    ] = "",
) -> None:
    """Search for the attack that does one defense most harm: which, how strong, when, by how many.

    The known attacks come first, then new ones, made of all there are. The worst meet on other seeds, and the figures
    told are those of yet others. Runs are kept in --store: a killed search goes on where it was.
    """
    from hawthorn.strategies import SettingError
    from hawthorn.strategies.kernels.tasks import cores
    from rich.console import Console

    try:
        from .redteaming.campaign import redteamed
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise SettingError("redteam searches with Optuna: pip install 'hawthorn[redteam]'") from error
    from .output import check_targets, write_json
    from .redteaming.goal import Goal
    from .redteaming.spec import command, toml
    from .redteaming.terminal import Progressing, show

    values: dict[str, Any] = {
        "task": task,
        "data": data,
        "partition": partition,
        "clients": clients,
        "tolerated": tolerated,
        **({"defense": defense} if defense else {}),
        "rounds": rounds,
        "local-epochs": local_epochs,
        "local-steps": local_steps,
        "batch-size": batch_size,
        "learning-rate": learning_rate,
        "root-examples": root_examples,
        "learning-rate-decay": learning_rate_decay,
        "momentum": momentum,
        "client-momentum": client_momentum,
        "fraction-train": fraction_train,
    }
    goal = Goal(values, hostile, wish, trials, minutes, seed, search_seeds, confirm_seeds, batch)
    check_targets({"--output": output, "--json": json_file})
    aside = Console(stderr=True)
    if goal.settings.remark:
        aside.print(goal.settings.remark, style="yellow", highlight=False, markup=False)
    findings = redteamed(goal, store, workers=workers or cores(), progress=Progressing(aside, goal))
    console = aside if json_file == "-" else Console()
    show(findings, console)
    write_json(findings.document(), json_file)
    told = [f"attack: {findings.worst.attack}", f"run it again: {command(goal, findings.worst)}"]
    if output is not None:
        output.write_text(toml(goal, findings.worst, findings.headline), encoding="utf-8")
        told.append(f"or: hawthorn evaluate {output}")
    for line in told:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if findings.failed:
        raise typer.Exit(1)
