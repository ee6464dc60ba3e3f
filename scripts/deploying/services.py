"""The services beside Flower's: what `hawthorn` itself serves of a federation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .flower import Layout
from .folder import Deployment

CONTROL, DASHBOARD = "control", "dashboard"
PORTS: Mapping[str, int] = {CONTROL: 9443, DASHBOARD: 9444}
USERS = "users"  # who may log in to the dashboard, a file beside the server's certificates


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
    """The services that look at the audit in the layout's data, with TLS."""
    program, audit = layout.program("hawthorn"), ("--audit", str(layout.data / "audit.db"))
    certificates = ("--certificates", str(layout.server))
    where = {name: f"{host}:{port}" for name, port in ports.items()}
    people = deployment.person("operator")
    return [
        Service(
            CONTROL,
            "control service",
            [program, "control", *certificates, *audit, "--listen", where[CONTROL]],
            ports[CONTROL],
            f"hawthorn clients list --server {where[CONTROL]} --certificates {people}",
        ),
        Service(
            DASHBOARD,
            "dashboard",
            [
                *(program, "dashboard", *certificates, *audit, "--listen", where[DASHBOARD]),
                *("--users", str(layout.server / USERS)),
            ],
            ports[DASHBOARD],
            f"https://{where[DASHBOARD]}",
        ),
    ]


def rehearsed(layout: Layout, deployment: Deployment, ports: Mapping[str, int]) -> list[Service]:
    """The same on one machine: its dashboard lets the operator in by a link, and needs no certificate there."""
    control, dashboard = services(layout, deployment, ports)
    audit, where = str(layout.data / "audit.db"), f"127.0.0.1:{ports[DASHBOARD]}"
    command = [layout.program("hawthorn"), "dashboard", "--audit", audit, "--listen", where]
    by_link = [*command, "--login-link", "operator", "--json"]
    return [control, replace(dashboard, command=by_link, look=f"http://{where}")]


def link(log: Path) -> str:
    """The last login link that a dashboard has printed to its log, empty without one."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        if line.startswith('{"url"'):
            return str(json.loads(line)["link"])
    return ""
