"""`hawthorn audit verify`: whether anything that was committed was changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import Database, JsonFile, say, write_json

if TYPE_CHECKING:
    from hawthorn.server.audit import Audit, Entry, Run

ALL = "all"


def verify(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Number of the run, or all.")] = ALL,
    audit: Database = "hawthorn.db",
    head: Annotated[
        str, typer.Option("--head", metavar="DIGEST", help="A head that was noted down, which must be in the chain.")
    ] = "",
    json_file: JsonFile = "",
) -> None:
    """Check the chain of every commit of a run; exit status 1 if anything was changed, added or taken away."""
    from hawthorn.server.audit import Audit

    with Audit.open(audit, create=False) as opened:
        runs = chosen(opened, run)
        known = head if len(runs) == 1 else ""
        found = {one.id: list(opened.verify(one.id, known or None)) for one in runs}
        if head and not known and not any(head in digests(opened, one) for one in runs):
            found[runs[-1].id].append(f"no run has an entry with the digest {head}")
        heads = {one.id: last_entry(opened, one) for one in runs}
    if json_file:
        write_json(json_file, [document(one, found[one.id], heads[one.id]) for one in runs])
    if json_file != "-":
        for one in runs:
            tell(one, found[one.id], heads[one.id])
        if not runs:
            say("the audit has no runs yet")
    if any(found.values()):
        raise typer.Exit(1)


def chosen(audit: Audit, run: str) -> list[Run]:
    """The runs that are meant; raises `SettingError` for what is no number."""
    from hawthorn.strategies import SettingError

    if run == ALL:
        return list(audit.runs())
    if not run.isdecimal():
        raise SettingError(f"write the number of a run, or {ALL!r}, instead of {run!r}")
    return [audit.find_run(int(run))]


def digests(audit: Audit, run: Run) -> set[str]:
    """The digests of a run's entries."""
    return {entry.digest for entry in audit.entries(run.id)}


def last_entry(audit: Audit, run: Run) -> Entry | None:
    """The last entry of a run, None where it has none."""
    entries = audit.entries(run.id)
    return entries[-1] if entries else None


def document(run: Run, faults: list[str], head: Entry | None) -> dict[str, Any]:
    """What was found of one run, as plain data."""
    told = None if head is None else {"number": head.number, "round": head.round, "at": head.at, "digest": head.digest}
    return {"run": run.id, "name": run.name, "faults": faults, "head": told}


def tell(run: Run, faults: list[str], head: Entry | None) -> None:
    """Print what was found of one run, and the head to note down."""
    name = f"run {run.id}" + (f", {run.name}" if run.name else "")
    say(f"{name}: {'nothing was changed' if not faults else f'{len(faults)} faults'}")
    for fault in faults:
        say(f"  {fault}")
    if head is not None:
        say(f"  head after entry {head.number}, round {head.round}: {head.digest}")
        if not faults:
            say("  note the head down elsewhere: it shows later if the chain was made anew (--head)")
