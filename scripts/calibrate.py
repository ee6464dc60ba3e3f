"""`hawthorn calibrate`: how often a defense's verdicts are wrong, measured, beside what its policy states."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

FEDERATIONS = "Federations"
TRAINING = "Training"
WORK = "Work and output"


def calibrate(
    defense: Annotated[
        str,
        typer.Option(help="Recipe, its policy after a semicolon: 'median; policy=fdr(q=0.1)'. Default: the package's."),
    ] = "",
    tolerated: Annotated[
        str, typer.Option(help="Hostile clients the defense bears, a count or a share.", rich_help_panel=FEDERATIONS)
    ] = "0.2",
    root_examples: Annotated[
        int,
        typer.Option(
            help="Examples the server trains on itself, for defenses that ask for it.", rich_help_panel=FEDERATIONS
        ),
    ] = 0,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Task, such as 'mnist(train=6000)'; may be given several times. Default: digits and breast_cancer.",
            rich_help_panel=FEDERATIONS,
        ),
    ] = None,
    data: Annotated[
        str, typer.Option(help="File of examples, or the folder with the tasks' files.", rich_help_panel=FEDERATIONS)
    ] = "",
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="Partition, and settings of its own: 'dirichlet(0.1); fraction-train=0.5'; several times for several. "
            "Default: iid, dirichlet(1.0), (0.5), (0.1), half of the clients, a learning rate that falls.",
            rich_help_panel=FEDERATIONS,
        ),
    ] = None,
    clients: Annotated[int, typer.Option(help="Clients in the federation.", rich_help_panel=FEDERATIONS)] = 20,
    seeds: Annotated[
        int, typer.Option(help="Seeds of each honest federation, from 1 on.", min=1, rich_help_panel=FEDERATIONS)
    ] = 3,
    attacks: Annotated[
        str,
        typer.Option(
            help="Attacks to catch, with semicolons between them; all of the catalog, or none.",
            rich_help_panel=FEDERATIONS,
        ),
    ] = "all",
    hostile: Annotated[
        str,
        typer.Option(
            help="Clients that attack, a count or a share. Default: as many as are tolerated.",
            rich_help_panel=FEDERATIONS,
        ),
    ] = "",
    attacked: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCENARIO",
            help="Where they attack; dirichlet(0.5). Several times for several.",
            rich_help_panel=FEDERATIONS,
        ),
    ] = None,
    attack_seeds: Annotated[
        int, typer.Option(help="Seeds of each attacked federation.", min=1, rich_help_panel=FEDERATIONS)
    ] = 1,
    rounds: Annotated[int, typer.Option(help="Rounds of training.", rich_help_panel=TRAINING)] = 20,
    local_epochs: Annotated[int, typer.Option(help="Epochs a client trains in a round.", rich_help_panel=TRAINING)] = 2,
    local_steps: Annotated[int, typer.Option(help="Most steps in a round; 0: no limit.", rich_help_panel=TRAINING)] = 0,
    batch_size: Annotated[int, typer.Option(help="Examples in one step.", rich_help_panel=TRAINING)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the clients.", rich_help_panel=TRAINING)] = 0.1,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Exit with status 1 if there are more false alarms than stated, by more than the interval.",
            rich_help_panel=WORK,
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes; 0 for as many as there are cores.", min=0, rich_help_panel=WORK)
    ] = 0,
    store: Annotated[
        Path, typer.Option(metavar="FILE", help="SQLite file that keeps what has run.", rich_help_panel=WORK)
    ] = Path("hawthorn-evaluation.db"),
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page to FILE.", rich_help_panel=WORK)
    ] = None,
    json_file: Annotated[
        str,
        typer.Option(
            "--json", metavar="FILE", help="Write all figures to FILE; - for standard output.", rich_help_panel=WORK
        ),
    ] = "",
) -> None:
    """Measure how often verdicts are wrong: honest clients that are rejected, and hostile ones that are not.

    Honest federations first, of clients more and more unlike each other: how many replies are rejected, beside the rate
    that the policy states, whom that hits most, and whether p-values are what they say. Then every attack: how many
    hostile replies are caught, and how soon. Runs are kept in --store: a killed calibration goes on where it was.
    """
    from hawthorn.strategies import SettingError
    from rich.console import Console

    from .calibrating.alarms import stated_rate
    from .calibrating.calibration import calibrated
    from .calibrating.plan import Plan
    from .calibrating.scenario import ATTACKED, SCENARIOS, Scenario
    from .calibrating.terminal import show
    from .evaluation.grid import attacks_in
    from .output import check_targets, write_json

    values: dict[str, Any] = {
        "data": data,
        "clients": clients,
        "tolerated": tolerated,
        **({"defense": defense} if defense else {}),
        "rounds": rounds,
        "local-epochs": local_epochs,
        "local-steps": local_steps,
        "batch-size": batch_size,
        "learning-rate": learning_rate,
        "root-examples": root_examples,
    }
    plan = Plan(
        values=values,
        tasks=tuple(dict.fromkeys(task or ("digits", "breast_cancer"))),
        scenarios=tuple(Scenario.parse(text) for text in scenario or SCENARIOS),
        attacked=tuple(Scenario.parse(text) for text in attacked or ATTACKED),
        attacks=attacks_in([attacks]),
        hostile=hostile or tolerated,
        seeds=seeds,
        attack_seeds=attack_seeds,
    )
    check_targets({"--html": page, "--json": json_file})
    if check and any(stated_rate(group.settings.recipe.policy) is None for group in plan.honest):
        raise SettingError("--check needs a policy that states a rate: write --defense '...; policy=fdr(q=0.05)'")
    console = Console(stderr=json_file == "-")
    found = calibrated(plan, store, workers=workers, aside=Console(stderr=True))
    write_json(found.document(), json_file)
    show(found, console)
    if page is not None:
        from .calibrating.page import html

        page.write_text(html(found), encoding="utf-8")
        console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    if found.failed or (check and found.exceeding):
        raise typer.Exit(1)
