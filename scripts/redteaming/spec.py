"""An attack so that others can run it: as a grid of `hawthorn evaluate`, in a TOML file, and as a command."""

from __future__ import annotations

import json
import shlex
from typing import Any

from hawthorn.server.settings import TABLE

from ..evaluation.cell import COUNTED
from .goal import Goal
from .space import Candidate


def grid_values(goal: Goal, candidate: Candidate) -> dict[str, Any]:
    """What `Grid.parse` takes to run the attack on the seeds of the confirmation: every setting that counts."""
    chosen = goal.settings.run_config()
    apart = {"attack", "hostile", "defense", "seed"}
    return {
        **{name: chosen[name] for name in (*COUNTED, "data") if name not in apart and chosen[name] != ""},
        "hostile": candidate.hostile,
        "attacks": [candidate.attack],
        "defenses": [goal.settings.defense],
        "seeds": list(goal.confirming),
    }


def toml(goal: Goal, candidate: Candidate, headline: str) -> str:
    """The grid as a TOML file, under a line that says what it is."""
    lines = [
        f"# {headline}",
        "# To run it again, on the seeds on which it was confirmed: hawthorn evaluate THIS-FILE",
        *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in grid_values(goal, candidate).items()),
    ]
    return "\n".join(lines) + "\n"


def command(goal: Goal, candidate: Candidate) -> str:
    """The command that runs it on the seeds of the confirmation; what is as always is left out."""
    values = grid_values(goal, candidate)
    written = {"defense": goal.settings.defense, "attacks": candidate.attack, "hostile": candidate.hostile}
    usual = {name: row.default for name, row in TABLE.items() if name not in {"hostile", "tolerated"}}
    options = [
        f"--{name} {shlex.quote(str(value))}"
        for name, value in (values | written).items()
        if name not in {"defenses", "seeds"} and value != usual.get(name)
    ]
    return " ".join(["hawthorn evaluate", *options, *(f"--seed {seed}" for seed in goal.confirming)])
