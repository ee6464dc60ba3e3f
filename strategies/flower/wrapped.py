"""What a RobustStrategy may be made of: what cannot work is refused at once, with what to write instead."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import cast

from flwr.serverapp.strategy import Strategy

from ..defense import Defense, refuse_weights
from ..errors import SettingError, UpdateError
from ..weights import client_weights

logger = logging.getLogger(__name__)


def replies_needed(quorum: int | float | None, asked: int) -> int | None:
    """With how many usable replies a round closes, None where it waits for all.

    >>> replies_needed(0.8, 10), replies_needed(3, 10), replies_needed(None, 10)
    (8, 3, None)
    """
    if quorum is None:
        return None
    return min(quorum if isinstance(quorum, int) else math.ceil(round(quorum * asked, 9)), asked)


def check_quorum(quorum: object) -> None:
    """Raise `SettingError` unless this is None, a count or a share of the clients asked."""
    count = isinstance(quorum, int) and not isinstance(quorum, bool) and quorum >= 1
    if quorum is None or count or (isinstance(quorum, float) and 0 < quorum <= 1):
        return
    raise SettingError(f"quorum must be a count such as 8 or a share of the clients asked such as 0.8, got {quorum!r}")


def setting_of(strategy: Strategy, name: str, default: str) -> str:
    """A strategy's setting, or that of the strategy it wraps in turn."""
    found: object = strategy
    while found is not None:
        value: object = getattr(found, name, None)
        if isinstance(value, str):
            return value
        found = getattr(found, "strategy", None)
    return default


def check_trusted(trusted: object, defense: Defense) -> None:
    """Raise `SettingError` where the defense asks for an update of the server's own and has none, or the reverse."""
    if "trusted" in defense.asked and not callable(trusted):
        raise SettingError(
            f"{defense} compares clients with an update of the server's own: write trusted=..., a function of the "
            "round and the arrays sent that gives the arrays after the server's own training"
        )
    if trusted is not None and "trusted" not in defense.asked:
        raise SettingError(f"no part of {str(defense)!r} uses a trusted update: leave trusted out")


def check_weights(weighted_by: object, defense: Defense) -> None:
    """Raise `SettingError` unless these are weights, and of a defense that takes some."""
    expected = "weighted_by must be 'examples', or a mapping from node ids to finite positive weights"
    if isinstance(weighted_by, Mapping):
        weights = cast("Mapping[object, object]", weighted_by)
        if not weights or not all(isinstance(node, int) for node in weights):
            raise SettingError(f"{expected}, got {weighted_by!r}")
        try:
            client_weights(list(weights.values()), len(weights))
        except UpdateError as error:
            raise SettingError(f"{expected}: {error}") from error
    elif weighted_by != "examples":
        raise SettingError(f"{expected}, got {weighted_by!r}")
    refuse_weights(defense)


def check_wrapped(inner: object, defense: object, most_examples: float | None) -> None:
    """Raise `SettingError` for what cannot be wrapped or run."""
    if not isinstance(inner, Strategy):
        raise SettingError(f"RobustStrategy wraps a flwr.serverapp.strategy such as FedAvg(), got {inner!r}")
    if defense is not None and not isinstance(defense, Defense):
        raise SettingError(f"write Defense.parse({str(defense)!r}, f=...) instead of {defense!r}")
    if most_examples is not None and not (math.isfinite(most_examples) and most_examples > 0):
        raise SettingError(f"most_examples must be a finite positive number, got {most_examples!r}")
    if getattr(inner, "accountant", None) is not None:
        raise SettingError(
            "privacy accounting needs every client's own reply; pass accountant=None to wrap the strategy"
        )
    if hasattr(inner, "clipping_norm"):
        logger.warning(
            "%s calibrates its noise to a mean over clients; of a robust update it guarantees no privacy",
            type(inner).__name__,
        )
