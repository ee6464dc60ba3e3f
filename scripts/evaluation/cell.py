"""One cell of an evaluation: a run, everything its result depends on, and what the result looks like."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hawthorn.server.settings import Settings

Result = dict[str, Any]

# Settings that change a run's result. `data` counts by its content, so that a file may move.
COUNTED = (
    "task",
    "partition",
    "seed",
    "rounds",
    "clients",
    "hostile",
    "attack",
    "tolerated",
    "defense",
    "root-examples",
    "local-epochs",
    "local-steps",
    "batch-size",
    "learning-rate",
    "learning-rate-decay",
    "momentum",
    "client-momentum",
    "fraction-train",
    "evaluate-every",
)
# what else decides over a result, beside the settings: the packages' sources, and these files of this one
FILES = (
    "evaluation/run.py",
    "federation.py",
    "fleet_engine.py",
    "engine.py",
    "in_process.py",
    "collusion.py",
    "results.py",
    "detection.py",
)
LIBRARIES = ("numpy", "scipy", "scikit-learn", "numba", "torch", "flwr")


@dataclass(frozen=True)
class Cell:
    """One run: "defended", "undefended" (Flower's FedAvg), or "oracle" (FedAvg over the honest clients alone)."""

    run: str
    settings: Settings

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The settings that count for this run, by name, with "run" itself."""
        chosen = self.settings.run_config()
        counted = {name: chosen[name] for name in COUNTED}
        if self.run == "defended":  # as it runs, with what the settings make of the text
            recipe = self.settings.recipe
            counted |= {"defense": str(recipe), "tolerated": str(recipe.f)}
        else:
            del counted["defense"], counted["tolerated"]
        if self.run == "oracle":  # nobody attacks, but what the attack wishes for is measured
            counted["attack"] = wish(self.settings.attack)
        return {"run": self.run, **counted}

    @functools.cached_property
    def key(self) -> str:
        """What the result is kept under: a digest of the configuration, the data and the code."""
        whole = {"config": self.config, "data": digest(self.settings), "code": code()}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:20]


def wish(attack: str) -> str:
    """The part of an attack that wants something of the model: what it does to data."""
    from hawthorn.client.attacks import Recipe

    return str(Recipe(Recipe.parse(attack).of_kind("data")))


def digest(settings: Settings) -> str:
    """The digest of the file that the task is read from; of nothing where it brings its own data."""
    from hawthorn.client.tasks import file_of

    path = file_of(settings.task, settings.data or None)
    return "" if path is None else _content(path.resolve(), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _content(path: Path, _modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=1)
def code() -> str:
    """The digest of all code that decides over a result, ours and the libraries', and of the kind of machine."""
    found = hashlib.sha256()
    here = Path(__file__).parents[1]
    sources = [path for package in ("strategies", "client") for path in sorted((here.parent / package).rglob("*.py"))]
    for path in [*sources, *(here / name for name in FILES)]:
        found.update(path.name.encode() + path.read_bytes())
    known = {name: version(name) for name in LIBRARIES} | {"machine": platform.machine()}
    found.update(json.dumps(known, sort_keys=True).encode())
    return found.hexdigest()


def scenario(config: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What cells share that are compared with each other: all but the run, who attacks and how, defense and seed."""
    apart = {"run", "seed", "hostile", "attack", "tolerated", "defense"}
    return tuple((name, value) for name, value in config.items() if name not in apart)
