"""`hawthorn rules`: the rules, transforms, scores, policies and attacks that there are, and what each of them needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console


ONE = {"transforms": "transform", "scores": "score", "policies": "policy", "attacks": "attack"}
NUMBERS = {"most f", "kappa", "reads"}


def rules(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="One part, of which all is told.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the catalogue as the docs hold it.")] = False,
    json_file: Annotated[
        str, typer.Option("--json", metavar="FILE", help="Where the catalogue goes as JSON; - for standard output.")
    ] = "",
) -> None:
    """List what a defense can be made of, and the attacks to test it with.

    Of a rule it says how many rows it needs and the most hostile clients it bears of 20; the coefficient kappa that is
    proven for 4 of 20; how often it reads the updates; and what it needs beside them.
    """
    from rich.console import Console

    from .catalogue import described, documents
    from .catalogue_page import markdown as written
    from .output import check_targets, write_json

    check_targets({"--json": json_file})
    if json_file:
        write_json(documents(), json_file)
    if markdown:
        print(written(), end="")
    elif name:
        print(described(name))
    elif json_file != "-":
        _show(Console())


def _show(console: Console) -> None:
    from .catalogue import CLIENTS, catalogue
    from .catalogue_page import bound

    found = catalogue()
    _print(
        console,
        f"rules, {CLIENTS} clients",
        ("rule", "rows", "most f", "kappa", "reads", "needs"),
        (
            (one.name, one.facts["least"], one.facts["most"], bound(one), one.facts["reads"], "\n".join(one.needs))
            for one in found["rules"]
        ),
    )
    for kind, entries in found.items():
        if kind != "rules":
            _print(console, kind, (ONE[kind], "answers"), ((one.call, one.answer) for one in entries))
    console.print("hawthorn rules NAME tells what one answers, where it comes from, and gives an example")


def _print(console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in NUMBERS else "left", no_wrap=heading == "rule")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table, highlight=False, markup=False)
