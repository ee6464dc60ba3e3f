"""`hawthorn audit explain`: the story of one client, in words and plots."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import Database, JsonFile, plain, say, write_json

if TYPE_CHECKING:
    from hawthorn.server.audit.explaining import Story


def explain(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="A client, by identity, name or node.")],
    run: Annotated[
        int | None, typer.Option("--run", metavar="RUN", help="Number of the run; the newest without it.")
    ] = None,
    audit: Database = "hawthorn.db",
    html_file: Annotated[
        str, typer.Option("--html", metavar="FILE", help="Where a page goes that tells the story with plots.")
    ] = "",
    json_file: JsonFile = "",
) -> None:
    """Tell the story of one client: what it sent, what was made of that and why, and what operators did about it."""
    from hawthorn.server.audit import Audit
    from hawthorn.server.audit.explaining import story

    from ..output import check_targets

    check_targets({"--html": html_file})
    with Audit.open(audit, create=False) as opened:
        chosen = opened.newest() if run is None else opened.find_run(run)
        told = story(opened, client, chosen)
    if html_file:
        from .story_page import html

        Path(html_file).write_text(html(told), encoding="utf-8")
    if json_file:
        write_json(json_file, plain(document(told)))
    if json_file != "-":
        tell(told)


def document(told: Story) -> dict[str, Any]:
    """A story as plain data."""
    return {
        "run": told.run.id,
        "client": asdict(told.client),
        "summary": list(told.summary),
        "events": [asdict(event) for event in told.events],
        "rounds": [
            {
                "round": one.round,
                "verdict": one.word,
                **asdict(one.contribution.verdict),
                "against": dict(one.against),
                "usual": dict(one.usual),
                **asdict(one.looks),
                "update_digest": one.contribution.update_digest,
                "manifest": one.contribution.manifest,
                "rolled_back": one.rolled_back,
            }
            for one in told.appearances
        ],
        "bounds": {"strength": told.strength, "p_value": told.rate},
    }


def tell(told: Story) -> None:
    """Print a story."""
    for sentence in told.summary:
        say(f"{sentence[0].upper()}{sentence[1:]}.")
    for event in told.events:
        when = f"round {event.round}" if event.kind != "order" else f"after round {event.round}"
        say(f"  {when}: {event.text}")
