"""How a command ended, and the options of a simulation small enough for a test."""

import json
from dataclasses import dataclass
from typing import Any

# Eight clients leave the rule enough rows when both hostile ones are rejected.
SMALL = ("--task", "digits", "--clients", "8", "--hostile", "2", "--rounds", "2", "--local-epochs", "1")


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)
