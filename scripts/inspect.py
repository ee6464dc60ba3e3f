"""`hawthorn inspect`: saved updates, without a federation, and what a defense says of each client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hawthorn.strategies import Defense

    from .inspecting.layout import Sent

INPUT = "Files"
OUTPUT = "Output"


def inspect(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Folder, or files, of a client each: .npz, .npy, .safetensors, .pt, .pth. A folder of folders: a "
            "round each. One file: rows (n, d) of one array, or an array for each client.",
            show_default=False,
        ),
    ],
    defense: Annotated[
        str, typer.Option(help="Recipe, such as 'nnm | trimmed_mean'. Default: the package's.")
    ] = "default",
    tolerated: Annotated[
        str, typer.Option(help="Hostile clients the defense bears, a count or a share. Default: what the recipe says.")
    ] = "",
    model: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Model that was sent, for files that hold whole models; a folder of them, one for each round.",
            rich_help_panel=INPUT,
        ),
    ] = "",
    trusted: Annotated[
        str,
        typer.Option(metavar="FILE", help="The server's own update, for defenses that use one.", rich_help_panel=INPUT),
    ] = "",
    memory: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Most that the updates may take in memory, such as '1 GB'; more goes to a file.",
            rich_help_panel=INPUT,
        ),
    ] = "",
    spool: Annotated[str, typer.Option(metavar="FOLDER", help="Where that file goes.", rich_help_panel=INPUT)] = "",
    json_file: Annotated[
        str,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Where the findings go as JSON; - for standard output.",
            rich_help_panel=OUTPUT,
        ),
    ] = "",
    html_file: Annotated[
        str, typer.Option("--html", metavar="FILE", help="Where the page goes.", rich_help_panel=OUTPUT)
    ] = "",
    save: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Where the update goes, or with --model the model after it: .npz, .npy, .safetensors, .pt.",
            rich_help_panel=OUTPUT,
        ),
    ] = "",
) -> None:
    """Say of saved updates which look hostile, and why.

    Files are taken as updates, or with --model as whole models that are compared with the one that was sent. One that
    is broken, or unlike most others, is refused with a reason. No code in a file is run. Several rounds are taken in
    their order; the defense remembers each client by the name of its file. Exit status 1: no update could be made.
    """
    from rich.console import Console

    from .inspecting import terminal
    from .inspecting.inspection import inspected
    from .inspecting.rounds import rounds_in
    from .inspecting.saving import check_kind
    from .inspecting.saving import save as write
    from .output import check_targets, write_json

    recipe = _recipe(defense, tolerated)
    check_targets({"--json": json_file, "--html": html_file, "--save": save})
    check_kind(save)
    rounds, flat = rounds_in(paths)
    models = _models(model, len(rounds))
    _check_trusted(trusted, len(rounds))
    found = inspected(
        rounds,
        recipe,
        flat=flat,
        models=models,
        trusted=Path(trusted) if trusted else None,
        memory=memory or None,
        spool=spool or None,
        settings={"files": " ".join(map(str, paths)), "model": model, "trusted": trusted},
    )
    write_json(found.document(), json_file)
    # standard output is for what was asked for: the tables, or the JSON alone
    readable = Console(stderr=json_file == "-")
    terminal.show(found, readable)
    if html_file:
        from .inspecting.report import html

        Path(html_file).write_text(html(found), encoding="utf-8")
        readable.print(f"page: {html_file}", markup=False, highlight=False, soft_wrap=True)
    if found.skipped:
        raise typer.Exit(1)
    if save:
        write(found, models[-1] if models else None, Path(save))
        readable.print(f"{'model' if models else 'update'}: {save}", markup=False, highlight=False, soft_wrap=True)


def _recipe(defense: str, tolerated: str) -> Defense:
    from hawthorn.server.kinds import tolerated as read
    from hawthorn.strategies import Defense, SettingError

    try:
        f = read(tolerated) if tolerated else None
    except ValueError:
        raise SettingError(f"--tolerated must be a count such as 3 or a share such as 0.2, got {tolerated!r}") from None
    return Defense.parse(defense, f=f)


def _models(model: str, rounds: int) -> list[Sent]:
    """The models that were sent, one for each round; raises `SettingError`."""
    from hawthorn.strategies import SettingError

    from .inspecting.layout import Sent
    from .inspecting.rounds import files_in

    if not model:
        return []
    path = Path(model)
    files = files_in(path) if path.is_dir() else [path]
    if len(files) != rounds:
        expected = "one model" if rounds == 1 else f"a folder of {rounds} models, one for each round in their order"
        raise SettingError(f"--model must be {expected}, got {len(files)} in {model!r}")
    return [Sent.read(file) for file in files]


def _check_trusted(trusted: str, rounds: int) -> None:
    from hawthorn.strategies import SettingError

    if trusted and not Path(trusted).is_file():
        raise SettingError(f"--trusted must be a file, got {trusted!r}")
    if trusted and rounds > 1:
        raise SettingError("--trusted is an update of one round: write the folder of that round alone")
