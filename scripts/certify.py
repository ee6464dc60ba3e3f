"""`hawthorn certify`: how many hostile clients a defense bears, what is proven of it, and the worst that was found."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hawthorn.strategies import Defense
    from rich.console import Console

    from .certifying.certification import Certificate, Certification
    from .certifying.recording import Floats

CLIENTS = 10  # of a run that is recorded, where nobody says how many

DATA = "Honest updates"
SEARCH = "Search"


def certify(
    defense: Annotated[
        str, typer.Option(help="Recipe, such as 'nnm | trimmed_mean'. Default: the package's.")
    ] = "default",
    clients: Annotated[int, typer.Option(help="Rows of a round. Default: those recorded; 10 with a task.")] = 0,
    tolerated: Annotated[
        str, typer.Option(help="Hostile clients to certify, a count or a share. Default: what the recipe says.")
    ] = "",
    updates: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Honest updates (n, d) or (rounds, n, d) in an .npz file, instead of a run of --task.",
            rich_help_panel=DATA,
        ),
    ] = "",
    task: Annotated[
        str, typer.Option(help="Task whose honest clients' updates are recorded.", rich_help_panel=DATA)
    ] = "digits",
    data: Annotated[str, typer.Option(help="File of a task that reads one.", rich_help_panel=DATA)] = "",
    partition: Annotated[str, typer.Option(help="iid, or dirichlet(a).", rich_help_panel=DATA)] = "dirichlet(0.5)",
    rounds: Annotated[int, typer.Option(help="Rounds to record.", rich_help_panel=DATA)] = 3,
    budget: Annotated[
        int,
        typer.Option(
            help="Rounds to try for each number of hostile clients, and as many again with the policy.",
            min=10,
            rich_help_panel=SEARCH,
        ),
    ] = 500,
    seed: Annotated[int, typer.Option(help="Start of every random choice.", min=0, rich_help_panel=SEARCH)] = 1,
    json_file: Annotated[
        str, typer.Option("--json", metavar="FILE", help="Where the certificate goes as JSON; - for standard output.")
    ] = "",
) -> None:
    """Certify a defense: its tolerance, its proven coefficient, and the worst that a search finds against it.

    The coefficient kappa says how far hostile clients can move the update: of any n - f clients, the square of its
    distance to their mean is at most kappa times their variance. The search looks for hostile updates, beside real
    honest ones, that need a larger kappa than is proven, or, where nothing is, than the geometric median's. It is of
    transforms and rule; what the policy makes of it stands beside it. Exit status 1: the certificate does not hold.
    """
    from hawthorn.server.settings import Settings
    from hawthorn.strategies.certificates import part_tolerances
    from rich.console import Console

    from .certifying.certification import Certification
    from .certifying.recording import recorded_updates, updates_in
    from .output import check_targets, write_json

    recipe = _recipe(defense, tolerated)
    check_targets({"--json": json_file})
    found = updates_in(updates) if updates else None
    n = _rows(clients, found)
    f, most = _tolerated(recipe, n)
    log = Console(stderr=True)
    if found is None:
        run = {"task": task, "data": data, "partition": partition, "clients": n, "rounds": rounds, "seed": seed}
        settings = Settings.parse(run | {"tolerated": "0", "defense": "mean"})  # the run itself has no defense
        log.print(f"recording {rounds} round(s) of {n} honest clients on {task}", highlight=False)
        found = recorded_updates(settings)
    certificates = [_certificate(recipe, found, n, g, budget, seed, log) for g in range(1, most + 1)]
    result = Certification(
        settings={
            "defense": str(recipe),
            "clients": n,
            "tolerated": f,
            "updates": updates or f"{task}, {partition}",
            "rounds": len(found),
            "budget": budget,
            "seed": seed,
        },
        tolerance=part_tolerances(recipe, n, f),
        most_tolerated=most,
        certificates=certificates,
    )
    write_json(result.document(), json_file)
    if json_file != "-":
        _show(result, Console())
    if not certificates[f - 1].holds:
        raise typer.Exit(1)


def _recipe(defense: str, tolerated: str) -> Defense:
    from hawthorn.server.kinds import tolerated as read
    from hawthorn.strategies import Defense, SettingError

    try:
        f = read(tolerated) if tolerated else None
    except ValueError:
        raise SettingError(f"--tolerated must be a count such as 3 or a share such as 0.2, got {tolerated!r}") from None
    return Defense.parse(defense, f=f)


def _rows(clients: int, found: Floats | None) -> int:
    """How many rows a round has: as many as asked for, or as there are; raises `SettingError`."""
    from hawthorn.strategies import SettingError

    most = clients if found is None else found.shape[1]
    if not 0 <= clients <= most:
        raise SettingError(f"--clients must be from 1 to {most}, the clients in the file, got {clients}")
    return clients or most or CLIENTS


def _tolerated(recipe: Defense, n: int) -> tuple[int, int]:
    """The f to certify and the most that the defense bears; raises `SettingError` where that is less."""
    from hawthorn.strategies import SettingError
    from hawthorn.strategies.certificates import most_tolerated, part_tolerances
    from hawthorn.strategies.contract import hostile_count

    f, most = hostile_count(recipe.f, n), most_tolerated(recipe, n)
    if not 1 <= f <= most:
        parts = part_tolerances(recipe, n, min(f, n - 1))
        limits = ", ".join(f"{part.part} bears {part.limit or 0} of {part.rows} rows" for part in parts)
        raise SettingError(f"--tolerated must be from 1 to {most} of {n} clients, got {f}: {limits}")
    return f, most


def _certificate(recipe: Defense, honest: Floats, n: int, f: int, budget: int, seed: int, log: Console) -> Certificate:
    from hawthorn.strategies.certificates import least_kappa, median_kappa, proven_kappa

    from .certifying.certification import Certificate
    from .certifying.kappa import worst_case

    quiet, proven = replace(recipe, f=f, scores=(), policy="none"), proven_kappa(recipe, n, f)
    log.print(f"seeking the worst of {f} hostile of {n}", highlight=False)
    guarded = recipe.policy.partition("(")[0] != "none"
    return Certificate(
        f=f,
        least=least_kappa(n, f),
        proven=proven,
        bound=median_kappa(n, f) if proven is None else proven,
        worst=worst_case(quiet, honest, n, f, budget=budget, seed=seed),
        guarded=worst_case(replace(recipe, f=f), honest, n, f, budget=budget, seed=seed) if guarded else None,
    )


def _show(result: Certification, console: Console) -> None:
    from rich import box
    from rich.table import Table

    settings = result.settings
    f, n = int(settings["tolerated"]), int(settings["clients"])
    told = f"{settings['updates']}, {settings['rounds']} round(s), {settings['budget']} tries for each f"
    console.print(f"defense: {settings['defense']}", highlight=False, markup=False)
    parts = Table(title=f"tolerance, {n} clients", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for heading in ("part", "rows", f"needs for f={f}", "bears at most"):
        parts.add_column(heading, justify="left" if heading == "part" else "right")
    for part in result.tolerance:
        parts.add_row(part.part, str(part.rows), str(part.needs), "-" if part.limit is None else str(part.limit))
    console.print(parts)
    table = Table(title=f"kappa: {told}", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    headings = ("f", "at least", "proven", "worst found", "holds", "honest mean", "with policy", "skipped")
    for heading in headings:
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    for one in result.certificates:
        guarded = one.guarded
        table.add_row(
            str(one.f),
            _number(one.least),
            "-" if one.proven is None else _number(one.proven),
            _number(one.worst.kappa),
            "yes" if one.holds else "NO",
            _number(one.worst.moved),
            "-" if guarded is None else _number(guarded.kappa),
            "-" if guarded is None else f"{100 * guarded.skipped / max(guarded.tried, 1):.0f} %",
        )
    console.print(table)
    asked = result.certificates[f - 1]
    console.print(f"worst for f={f}: {asked.worst.attack}", highlight=False, markup=False)
    compared = "the proven coefficient"
    if asked.proven is None:
        compared = f"the geometric median's, {_number(asked.bound)} for f={f}, as nothing is proven of this defense"
    console.print(f"holds up to f={result.holds_up_to}, compared with {compared}", highlight=False, markup=False)


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"
