"""The services beside Flower's: what `hawthorn` itself serves of a federation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .flower import Layout
from .folder import Deployment

CONTROL = "control"
PORTS: Mapping[str, int] = {CONTROL: 9443}


@dataclass(frozen=True)
class Service:
    """A service and how it is started; `look` is what people type, or open in a browser, to see it."""

    name: str
    what: str
    command: list[str]
    port: int
    look: str


def services(
    layout: Layout, deployment: Deployment, ports: Mapping[str, int] = PORTS, host: str = "127.0.0.1"
) -> list[Service]:
    """The services that look at the audit in the layout's data."""
    audit = str(layout.data / "audit.db")
    address = f"{host}:{ports[CONTROL]}"
    command = [layout.program("hawthorn"), "control", "--certificates", str(layout.server), "--audit", audit]
    look = f"hawthorn clients list --server {address} --certificates {deployment.person('operator')}"
    return [Service(CONTROL, "control service", [*command, "--listen", address], ports[CONTROL], look)]
