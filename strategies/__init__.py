"""Robust aggregation: the rules, transforms, scores and policies, the defense made of them, and the Flower strategy."""

from typing import TYPE_CHECKING, Any

from .defense import Defense, Outcome, Verdict
from .errors import AuditError, HawthornError, OptionError, SettingError, ToleranceError, UpdateError
from .geometry import Geometry
from .policies import fdr, none, threshold
from .rules import *  # noqa: F403
from .rules import __all__ as _rules
from .scores import direction, distance, length, leverage
from .transforms import arc, clip, nnm

if TYPE_CHECKING:
    from .flower import RobustStrategy, RoundRecord

__all__ = [
    "Defense",
    "Outcome",
    "Verdict",
    "Geometry",
    "RobustStrategy",
    "RoundRecord",
    "HawthornError",
    "UpdateError",
    "ToleranceError",
    "SettingError",
    "OptionError",
    "AuditError",
    "arc",
    "clip",
    "nnm",
    "direction",
    "distance",
    "length",
    "leverage",
    "fdr",
    "none",
    "threshold",
    *_rules,
]


def __getattr__(name: str) -> Any:
    """The Flower strategy, imported when first asked for: importing flwr takes longer than everything else here."""
    if name in {"RobustStrategy", "RoundRecord"}:
        from . import flower

        return getattr(flower, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
