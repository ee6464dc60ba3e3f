"""Federations in which clients honestly differ, each a partition with settings of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import nearest

SCENARIOS: tuple[str, ...] = (
    "iid",
    "dirichlet(1.0)",
    "dirichlet(0.5)",
    "dirichlet(0.1)",
    "dirichlet(0.5); fraction-train=0.5",
    "dirichlet(0.5); learning-rate-decay=0.9",
)
ATTACKED: tuple[str, ...] = ("dirichlet(0.5)",)
OWN = (
    "clients",
    "rounds",
    "local-epochs",
    "local-steps",
    "batch-size",
    "learning-rate",
    "learning-rate-decay",
    "momentum",
    "client-momentum",
    "fraction-train",
)
"""The settings that a scenario may have of its own."""


@dataclass(frozen=True)
class Scenario:
    """A partition, and the settings in which the federation differs from the others.

    >>> Scenario.parse("dirichlet(0.1);fraction-train=0.5")
    Scenario(text='dirichlet(0.1); fraction-train=0.5', settings={'partition': 'dirichlet(0.1)', 'fraction-train': 0.5})
    """

    text: str
    settings: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Scenario:
        """The scenario written as `"partition; setting=number; ..."`; raises `SettingError`."""
        partition, *written = (part.strip() for part in text.split(";"))
        settings: dict[str, Any] = {"partition": partition}
        for part in written:
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals:
                raise SettingError(f"write a scenario such as {SCENARIOS[4]!r}, instead of {text!r}")
            if name not in OWN:
                raise SettingError(f"a scenario has no {name!r} of its own; {nearest(name, OWN)}")
            settings[name] = _number(name, value)
        told = [partition, *(f"{name}={value}" for name, value in settings.items() if name != "partition")]
        return cls("; ".join(told), settings)


def _number(name: str, written: str) -> int | float:
    try:
        return int(written) if written.isdecimal() else float(written)
    except ValueError:
        raise SettingError(f"{name} of a scenario must be a number, got {written!r}") from None
