"""The services beside Flower's: what `hawthorn` itself serves of a federation, as far as it is installed."""

from __future__ import annotations

from dataclasses import dataclass

from .flower import Layout
from .folder import Deployment, Place


@dataclass(frozen=True)
class Service:
    """A service and how it is started; `what` describes it, `url` is where people look."""

    name: str
    what: str
    command: list[str]
    port: int
    url: str


def services(layout: Layout, deployment: Deployment, place: Place, *, host: str = "127.0.0.1") -> list[Service]:
    """The services of a place."""
    return []
