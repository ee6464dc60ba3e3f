"""Models rebuilt without a client: the rounds of a run held again with the updates that were retained of the others."""

from .fitting import Fit, fitted
from .lineage import Lineage, Step, lineage
from .planning import Plan, client_named, held_fast, plan
from .rebuilding import METHODS, Change, Rewound, named, rebuilt

__all__ = [
    "METHODS",
    "Change",
    "Fit",
    "Lineage",
    "Plan",
    "Rewound",
    "Step",
    "client_named",
    "fitted",
    "held_fast",
    "lineage",
    "named",
    "plan",
    "rebuilt",
]
