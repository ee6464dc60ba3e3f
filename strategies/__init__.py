"""Robust aggregation: the rules, transforms, scores and policies, the defense made of them, and the Flower strategy.

Every registered rule, transform, score and policy is an attribute of this package under its own name.
"""

from typing import TYPE_CHECKING, Any

from . import policies, rules, scores, transforms
from .contract import POLICIES, RULES, SCORES, TRANSFORMS
from .defense import Defense, Outcome, Verdict
from .errors import AuditError, HawthornError, OptionError, SettingError, ToleranceError, UpdateError
from .geometry import Geometry
from .reputation import Standing, paroled, quarantined, released
from .updates import Updates

if TYPE_CHECKING:
    from .flower import RobustStrategy, RoundRecord
    from .kernels.shards import Shards as Shards  # left out of __all__, because Ray is an extra

__all__ = [
    "Defense",
    "Outcome",
    "Verdict",
    "Geometry",
    "Updates",
    "Standing",
    "paroled",
    "quarantined",
    "released",
    "RobustStrategy",
    "RoundRecord",
    "HawthornError",
    "UpdateError",
    "ToleranceError",
    "SettingError",
    "OptionError",
    "AuditError",
    "policies",
    "rules",
    "scores",
    "transforms",
]

_TABLES = (RULES, TRANSFORMS, SCORES, POLICIES)


def __getattr__(name: str) -> Any:
    if name in {"RobustStrategy", "RoundRecord"}:  # imported when first asked for: flwr takes longer than all the rest
        from . import flower

        return getattr(flower, name)
    if name == "Shards":
        from .kernels.shards import Shards

        return Shards
    for table in _TABLES:
        if name in table:
            return table[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *(name for table in _TABLES for name in table)})
