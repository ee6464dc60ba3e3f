"""`hawthorn evaluate`: one defense against several attacks, beside what honest clients alone reach."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flwr.serverapp import Grid
    from hawthorn.server.settings import Settings
    from rich.console import Console

    from .federation import Federation, Run

ATTACKS = "sign_flip; gaussian; label_flip; ipm; alie(z=1.5); backdoor + model_replacement"
Figures = dict[str, float | None]


def evaluate(
    task: Annotated[str, typer.Option(help="digits, breast_cancer, or npz with --data.")] = "digits",
    data: Annotated[str, typer.Option(help="File with x_train, y_train, x_test, y_test, for --task npz.")] = "",
    partition: Annotated[str, typer.Option(help="iid, or dirichlet(a).")] = "dirichlet(0.5)",
    clients: Annotated[int, typer.Option(help="Clients in the federation.")] = 10,
    hostile: Annotated[int, typer.Option(help="Clients that attack.")] = 3,
    tolerated: Annotated[str, typer.Option(help="Hostile clients the defense bears, a count or a share.")] = "3",
    attacks: Annotated[str, typer.Option(help="Attacks, with semicolons between them.")] = ATTACKS,
    defense: Annotated[str, typer.Option(help="Recipe. Default: the package's.")] = "",
    rounds: Annotated[int, typer.Option(help="Rounds of training.")] = 20,
    local_steps: Annotated[int, typer.Option(help="Most steps a client trains in a round; 0: no limit.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds, from 1 on.", min=1)] = 3,
    json_file: Annotated[
        str, typer.Option("--json", metavar="FILE", help="Where the figures go as JSON; - for standard output.")
    ] = "",
) -> None:
    """Show what a defense keeps under attack: the accuracy it loses to honest clients alone, and whom it catches."""
    from hawthorn.server.settings import Settings
    from hawthorn.strategies import SettingError
    from rich.console import Console

    names = [name.strip() for name in attacks.split(";") if name.strip()]
    if not names or not hostile:
        raise SettingError(
            "write at least one attack and one hostile client; the row without an attack comes by itself"
        )
    settings = Settings.parse(
        {
            "task": task,
            "data": data,
            "partition": partition,
            "clients": clients,
            "hostile": hostile,
            "attack": names[0],
            "rounds": rounds,
            "local-steps": local_steps,
            "tolerated": tolerated,
        }
        | ({"defense": defense} if defense else {})
    )
    log = Console(stderr=True)
    if settings.remark:
        log.print(settings.remark, style="yellow", highlight=False, markup=False)
    rows = _rows(settings, names, seeds, log)
    document = {"settings": settings.run_config() | {"defense": str(settings.recipe), "seeds": seeds}, "attacks": rows}
    if json_file == "-":
        print(json.dumps(document, indent=1))
        return
    if json_file:
        Path(json_file).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _show(document["settings"], rows, Console())


def _rows(settings: Settings, names: list[str], seeds: int, log: Console) -> dict[str, Figures]:
    """The figures of each attack, and of "none", as means over the seeds; every name is checked before any training."""
    from .federation import Federation

    plans = {
        name: [
            Federation.of(replace(settings, attack=name, hostile=hostile, seed=seed), settings.recipe)
            for seed in range(1, seeds + 1)
        ]
        for name, hostile in [("", 0), *((name, settings.hostile) for name in names)]
    }
    honest: dict[int, float | None] = {}
    rows: dict[str, Figures] = {}
    for name, federations in plans.items():
        found: list[Figures] = []
        for federation in federations:
            log.print(f"{name or 'none'}, seed {federation.settings.seed} of {seeds}", highlight=False)
            found.append(_figures(federation, honest))
        rows[name or "none"] = {key: _mean([figures[key] for figures in found]) for key in found[0]}
    return rows


def _figures(federation: Federation, honest: dict[int, float | None]) -> Figures:
    """The figures of one attack and seed; `honest` keeps what honest clients alone reach, which no attack changes."""
    from .engine import on_engine
    from .results import Results, final

    seed = federation.settings.seed
    plain = "undefended" if federation.hostile else "no_attack"
    wanted = [plain, "defended"] + (["oracle"] if federation.hostile and seed not in honest else [])

    def work(grid: Grid) -> dict[str, Run]:
        return {name: federation.run(name, grid, lambda _: None) for name in wanted}

    runs = on_engine("in-process", federation.settings.clients, work)
    if "oracle" in runs:
        honest[seed] = final(runs["oracle"].accuracy)
    alone = honest[seed] if federation.hostile else final(runs[plain].accuracy)
    defended = final(runs["defended"].accuracy)
    caught = Results.of(federation, "in-process", runs).detection
    return {
        "undefended": None if runs[plain].stopped else final(runs[plain].accuracy),
        "defended": defended,
        "honest_only": alone,
        "gap": None if alone is None or defended is None else alone - defended,
        "attack_success_undefended": final(runs[plain].attack_success),
        "attack_success_defended": final(runs["defended"].attack_success),
        "recall": caught.recall,
        "false_alarm_rate": caught.false_alarm_rate,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


# plain is Flower's FedAvg; lost are points of accuracy to honest clients alone; succ. is the attack's success
COLUMNS = {
    "undefended": "plain",
    "defended": "hedge",
    "honest_only": "honest only",
    "gap": "lost",
    "attack_success_undefended": "succ. plain",
    "attack_success_defended": "succ. hedge",
    "recall": "caught",
    "false_alarm_rate": "false alarm",
}


def _show(settings: dict[str, Any], rows: dict[str, Figures], console: Console) -> None:
    from rich import box
    from rich.table import Table

    who = f"{settings['hostile']} of {settings['clients']} clients hostile, {settings['partition']}"
    title = f"{settings['task']}, {who}, {settings['rounds']} rounds, {settings['seeds']} seed(s), %"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("attack", no_wrap=True)
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    for name, row in rows.items():
        table.add_row(name, *(_percent(row[key]) for key in COLUMNS))
    console.print(f"defense: {settings['defense']}", highlight=False, markup=False)
    console.print(table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
