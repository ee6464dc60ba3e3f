"""`hawthorn vet`: what is wrong with one site's data, asked at the site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch
    from hawthorn.client.tasks import Examples, Task

DATA = "Task and data"
CHECKS = "Checks"
OUTPUT = "Output"


def vet(
    task: Annotated[
        str,
        typer.Option(help="digits, mnist, sms_spam ..., or npz with --data; with options.", rich_help_panel=DATA),
    ] = "digits",
    data: Annotated[
        str,
        typer.Option(help="File with x_train, y_train, x_test, y_test, or folder with TASK.npz.", rich_help_panel=DATA),
    ] = "",
    client: Annotated[
        int | None,
        typer.Option(
            help="The site's number, for its share as the federation splits it. Default: all that there is.",
            rich_help_panel=DATA,
        ),
    ] = None,
    clients: Annotated[int, typer.Option(help="Sites that the examples are split over.", rich_help_panel=DATA)] = 10,
    partition: Annotated[
        str, typer.Option(help="How they are split, as the federation's setting says.", rich_help_panel=DATA)
    ] = "dirichlet(0.5)",
    seed: Annotated[int, typer.Option(help="Start of every random choice.", rich_help_panel=DATA)] = 1,
    vetting: Annotated[
        str,
        typer.Option(help="report, warn or drop, with options: 'drop(neighbors=5)'.", rich_help_panel=CHECKS),
    ] = "drop",
    model: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The task's model as saved (.npz, .safetensors, .pt), in whose features triggers are looked for too.",
            rich_help_panel=CHECKS,
        ),
    ] = "",
    train: Annotated[
        int,
        typer.Option(
            metavar="EPOCHS",
            help="Or train one for so many epochs on these data, for the same purpose.",
            rich_help_panel=CHECKS,
        ),
    ] = 0,
    learning_rate: Annotated[float, typer.Option(help="With which it is trained.", rich_help_panel=CHECKS)] = 0.1,
    most: Annotated[int, typer.Option(help="Findings of each check that are told.", rich_help_panel=OUTPUT)] = 5,
    json_file: Annotated[
        str,
        typer.Option("--json", metavar="FILE", help="Where the report goes as JSON; -: here.", rich_help_panel=OUTPUT),
    ] = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 1 if anything is found.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Look for what is wrong with a site's own data: labels, copies, leaks, outliers, triggers.

    It tells what a client of the federation with the same `vetting` would find, and what `drop` would leave out.
    Nothing is changed, and nothing leaves this machine.
    """
    from hawthorn.client.tasks import find_task
    from hawthorn.client.vetting import Vetting, vetted
    from rich.console import Console

    from .output import check_targets, write_json

    wanted = Vetting.parse(vetting)
    check_targets({"--json": json_file})
    found = find_task(task, data or None)
    examples, held_out = _of_site(found, client, clients, partition, seed)
    learned = _model(found, examples, model, train, learning_rate, seed)
    report = vetted(examples, held_out, vetting=wanted, model=learned)
    write_json({"task": found.name, "client": client, **report.document()}, json_file)
    if json_file != "-":
        console = Console()
        for line in report.lines(found.class_names, most):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if strict and not report.clean:
        raise typer.Exit(1)


def _of_site(task: Task, client: int | None, clients: int, partition: str, seed: int) -> tuple[Examples, Examples]:
    """The examples that a site trains on and those that it judges models by; without a number, all of the task's."""
    from hawthorn.client.assignment import Assignment
    from hawthorn.strategies.errors import SettingError

    if client is None:
        return task.train, task.test
    if not 0 <= client < clients:
        raise SettingError(f"--client must be from 0 to {clients - 1}, as there are --clients {clients}; got {client}")
    return Assignment.honest(task, client, clients, partition, seed).examples


def _model(
    task: Task, examples: Examples, file: str, epochs: int, learning_rate: float, seed: int
) -> torch.nn.Module | None:
    """The model in a file, or one that is trained on the examples; None where neither is wanted."""
    from hawthorn.client.training import Training, train
    from hawthorn.strategies.errors import SettingError

    if file and epochs:
        raise SettingError("--model is a model already: leave out --train, or --model")
    if epochs < 0:
        raise SettingError(f"--train must be a number of epochs, got {epochs}")
    if not file and not epochs:
        return None
    made = task.model(seed)
    if file:
        _load(made, Path(file))
    else:
        train(made, examples, Training(epochs=epochs, learning_rate=learning_rate), seed=seed, loss=task.loss)
    return made


def _load(model: torch.nn.Module, file: Path) -> None:
    """Put the arrays of a file into the model; raises `SettingError` where they do not fit."""
    import torch
    from hawthorn.strategies.errors import SettingError
    from hawthorn.strategies.flower.admission import Refused

    from .inspecting.reading import arrays_in

    try:
        arrays = {name: torch.tensor(stored.read()) for name, stored in arrays_in(file).items()}
        model.load_state_dict(arrays)
    except (Refused, RuntimeError) as error:
        raise SettingError(f"--model {str(file)!r} is no model of this task: {error}") from None
