"""Runs of the benchmark over time: the stamp of a run, a file with one run a line, and what became slower since."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from hawthorn.strategies.errors import SettingError
from hawthorn.strategies.kernels.tasks import cores
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

LEAST_TOLERANCE = 0.10  # two runs of the same code differ by so much: memory lies elsewhere, and so do neighbors
ERRORS = 3.0  # standard errors of both runs together, beyond which a difference is more than noise
PACKAGES = ("numpy", "numba", "flwr", "torch", "byzfl")

Document = dict[str, Any]


def stamp() -> Document:
    """When, what and where: the date, the version and commit of the code, the machine and the packages it runs on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("hawthorn"),
        "commit": _commit(),
        "machine": {
            "cpu": _processor(),
            "cores": cores(),
            "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit this file is of, with a `+` where the files differ from it; None outside a checkout."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here.parent), *arguments], capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", here.name) is None:  # the checkout may be of something that has us installed
        return None
    found = git("rev-parse", "--short", "HEAD")
    return found and found + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def append(file: Path, document: Document) -> None:
    """Add the run to the history, one line of JSON."""
    cut_off = file.exists() and not file.read_bytes().endswith(b"\n")  # by a process that was killed
    with file.open("a", encoding="utf-8") as lines:
        lines.write("\n" * cut_off)
        lines.write(json.dumps(document, separators=(",", ":")) + "\n")


def runs(file: Path, subject: str) -> list[Document]:
    """The runs of a subject in a history, or the one in a file that `--json` wrote; raises `SettingError`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"cannot read {file}: {error}") from None
    try:
        documents: list[object] = [json.loads(text)]
    except ValueError:
        documents = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):  # a line cut off with its process
                documents.append(json.loads(line))
        if text.strip() and not documents:
            raise SettingError(f"{file} holds neither a run nor a history of runs") from None
    written = [cast("Document", found) for found in documents if isinstance(found, dict)]
    return [run for run in written if run.get("subject") == subject and isinstance(run.get("sizes"), list)]


def earlier(file: Path, subject: str) -> Document:
    """The last run of the subject in the file; raises `SettingError` where there is none."""
    found = runs(file, subject)
    if not found:
        raise SettingError(f"{file} holds no run of hawthorn benchmark {subject}")
    return found[-1]


@dataclass(frozen=True)
class Change:
    """A figure of ours in two runs: new over old, and how much of a rise noise alone could make."""

    size: str
    name: str
    ratio: float
    tolerance: float

    @property
    def slower(self) -> bool:
        """Whether the rise is more than noise."""
        return self.ratio > 1 + self.tolerance


def changes(new: Document, old: Document) -> list[Change]:
    """What the runs have in common, compared; raises `SettingError` where that is nothing.

    What is compared are reads, the medians of each turn's, which a slower machine leaves as they are; of a cold start,
    seconds. The tolerance is three standard errors of both runs together, and 10 % at least.
    """
    try:
        before = _figures(old)
    except (KeyError, TypeError) as error:
        raise SettingError(f"the earlier run is not as hawthorn benchmark writes it: {error!r}") from None
    found = [
        Change(*key, value / before[key][0], max(LEAST_TOLERANCE, ERRORS * math.hypot(noise, before[key][1])))
        for key, (value, noise) in _figures(new).items()
        if key in before
    ]
    if not found:
        raise SettingError(
            "the two runs have no size and subject in common; run both with the same --clients, --values"
        )
    return found


def _figures(document: Document) -> dict[tuple[str, str], tuple[float, float]]:
    """Each figure of ours and its noise, by size and name."""
    device = document.get("device", "cpu")
    return {
        (_told(size) + ("" if device == "cpu" else f", {device}"), name): (_value(work), work["noise"])
        for size in document["sizes"]
        for name, work in size["work"].items()
        if work["ours"] and _value(work) > 0
    }


def _told(size: Document) -> str:
    return f"n={size['n']}, d={size['d']}" if "d" in size else f"n={size['n']}"


def _value(work: Document) -> float:
    return work["reads"] if "reads" in work else work["median"]


def show(found: Sequence[Change], new: Document, old: Document, console: Console) -> None:
    """A table of new over old, slow-downs marked."""
    table = Table("new over old", "size", "ratio", "noise", "", box=SIMPLE_HEAD, pad_edge=False)
    for change in found:
        mark = "[red]slower[/]" if change.slower else "[green]faster[/]" if _faster(change) else ""
        table.add_row(change.name, change.size, f"{change.ratio:.2f}", f"±{change.tolerance:.0%}", mark)
    console.print(f"Against the run of {old['date']} ({old['version']}, {old['commit'] or 'no commit'})")
    for fact in ("cpu", "cores"):
        if new["machine"].get(fact) != old["machine"].get(fact):
            console.print(f"Another machine then: {fact} {old['machine'].get(fact)}; its figures compare only roughly.")
    if new["settings"].get("only") != old.get("settings", {}).get("only"):
        console.print("The runs took other subjects in turn (--only), which alone can change figures.")
    console.print(table)
    slower = sum(change.slower for change in found)
    console.print(
        f"{slower} of {len(found)} figures became slower by more than the noise of both runs (10 % at least)."
    )


def _faster(change: Change) -> bool:
    return change.ratio < 1 / (1 + change.tolerance)
