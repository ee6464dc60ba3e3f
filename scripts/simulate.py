"""`hawthorn simulate`: a poisoned federation with and without the hedge, on the same seed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .federation import Federation

PEACE_TOLERANCE = "0.2"  # with nobody hostile, a defense that bears nobody would have no price to show

DATA = "Task and data"
HEDGE = "Attack and defense"
TRAINING = "Training"
OUTPUT = "Output"


def simulate(
    task: Annotated[
        str,
        typer.Option(
            help="digits, breast_cancer, mnist, sms_spam ..., or npz with --data; options as mnist(network='mlp').",
            rich_help_panel=DATA,
        ),
    ] = "digits",
    data: Annotated[
        str,
        typer.Option(help="File with x_train, y_train, x_test, y_test, or folder with TASK.npz.", rich_help_panel=DATA),
    ] = "",
    partition: Annotated[
        str,
        typer.Option(
            help="How examples are split: iid; dirichlet(a), more uneven the smaller a; sorted; natural.",
            rich_help_panel=DATA,
        ),
    ] = "dirichlet(0.5)",
    clients: Annotated[int, typer.Option(help="Clients in the federation.", rich_help_panel=HEDGE)] = 10,
    hostile: Annotated[
        str,
        typer.Option(
            help="Clients that attack, a count or a share such as 0.3; 0 shows what the hedge costs in peace.",
            rich_help_panel=HEDGE,
        ),
    ] = "3",
    attack: Annotated[
        str,
        typer.Option(
            help="What they do, such as 'alie(z=1.5)' or 'backdoor + model_replacement'.", rich_help_panel=HEDGE
        ),
    ] = "sign_flip",
    defense: Annotated[
        str, typer.Option(help="Recipe, such as 'nnm | trimmed_mean'. Default: the package's.", rich_help_panel=HEDGE)
    ] = "",
    tolerated: Annotated[
        str,
        typer.Option(
            help="Hostile clients the defense bears, a count or a share such as 0.2. Default: as many as are hostile.",
            rich_help_panel=HEDGE,
        ),
    ] = "",
    root_examples: Annotated[
        int,
        typer.Option(help="Examples the server trains on itself, for defenses that ask for it.", rich_help_panel=HEDGE),
    ] = 0,
    policy: Annotated[
        str,
        typer.Option(
            help="Whom to accept, such as 'fdr(q=0.05)' or none. Default: the recipe's.", rich_help_panel=HEDGE
        ),
    ] = "",
    guard: Annotated[
        str,
        typer.Option(
            help="Looks at each defended model before it is taken, on the test examples: holdout, with options.",
            rich_help_panel=HEDGE,
        ),
    ] = "",
    rounds: Annotated[int, typer.Option(help="Rounds of training.", rich_help_panel=TRAINING)] = 20,
    seed: Annotated[int, typer.Option(help="Start of every random choice.", rich_help_panel=TRAINING)] = 1,
    local_epochs: Annotated[int, typer.Option(help="Epochs a client trains in a round.", rich_help_panel=TRAINING)] = 2,
    local_steps: Annotated[
        int,
        typer.Option(help="Most steps a client trains in a round; 0: no limit.", rich_help_panel=TRAINING),
    ] = 0,
    batch_size: Annotated[int, typer.Option(help="Examples in one training step.", rich_help_panel=TRAINING)] = 32,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the clients.", rich_help_panel=TRAINING)] = 0.1,
    engine: Annotated[
        str, typer.Option(help="in-process, or flower for Flower's own simulation.", rich_help_panel=TRAINING)
    ] = "in-process",
    report: Annotated[Path, typer.Option(help="Where the HTML report goes.", rich_help_panel=OUTPUT)] = Path(
        "hawthorn-report.html"
    ),
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.", rich_help_panel=OUTPUT)] = False,
    json_file: Annotated[
        str,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Where the results go as JSON; - for standard output.",
            rich_help_panel=OUTPUT,
        ),
    ] = "",
    audit: Annotated[
        str, typer.Option(metavar="FILE", help="Audit database that records the defended run.", rich_help_panel=OUTPUT)
    ] = "",
) -> None:
    """Run a poisoned federation with and without the hedge, and say who was caught.

    Four runs from the same seed: nobody attacks; attacked and undefended (Flower's FedAvg); attacked and defended; and
    only the honest clients averaged, which is the best a defense could hope for.
    """
    from hawthorn.server.settings import Settings
    from hawthorn.strategies import contract
    from rich.console import Console

    from . import progress
    from .engine import check_engine
    from .federation import Federation
    from .output import check_targets, write_json
    from .results import Results

    check_engine(engine)
    attackers = contract.attackers(hostile, clients)
    settings = Settings.parse(
        {
            "task": task,
            "data": data,
            "partition": partition,
            "clients": clients,
            "hostile": attackers,
            "attack": attack,
            "rounds": rounds,
            "seed": seed,
            "local-epochs": local_epochs,
            "local-steps": local_steps,
            "batch-size": batch_size,
            "learning-rate": learning_rate,
            "root-examples": root_examples,
            "guard": guard,
            "tolerated": tolerated or (str(attackers) if attackers else PEACE_TOLERANCE),
            **({"defense": defense} if defense else {}),
        }
    )
    federation = Federation.of(settings, replace(settings.recipe, policy=policy) if policy else settings.recipe)
    check_targets({"--json": json_file, "--report": None if no_report else report})
    messages = Console(stderr=True)
    messages.print(progress.headline(federation), highlight=False, soft_wrap=True)
    if settings.remark and not policy:
        messages.print(settings.remark, style="yellow", highlight=False, markup=False)
    with _audited(federation, audit) as audited, progress.Live(messages, federation) as live:
        results = Results.of(federation, engine, audited.run_all(engine, live.after_round))
    # Standard output is for what was asked for: the tables, or the JSON alone.
    readable = messages if json_file == "-" else Console()
    progress.show(readable, results)
    write_json(results.document(), json_file)
    if not no_report:
        from .report import html

        report.write_text(html(results), encoding="utf-8")
        readable.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _audited(federation: Federation, where: str) -> Generator[Federation]:
    """The federation, its defended run recorded in the audit at `where`, if that is given."""
    if not where:
        yield federation
        return
    from hawthorn.server.audit import Audit

    settings = federation.settings.run_config() | {"defense": str(federation.defense)}
    with Audit.open(where) as audit, audit.run(settings, name="simulate") as run:
        yield replace(federation, audit=run)
