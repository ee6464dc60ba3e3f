"""The services beside Flower's: what `hawthorn` itself serves of a federation."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .files import PRIVATE, content, written
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
    layout: Layout, deployment: Deployment, audit: str, ports: Mapping[str, int] = PORTS, host: str = "127.0.0.1"
) -> list[Service]:
    """The services that look at an audit, a path or a URL, with TLS."""
    program, looked_at = layout.program("hawthorn"), ("--audit", audit)
    certificates = ("--certificates", str(layout.server))
    where = {name: f"{host}:{port}" for name, port in ports.items()}
    people = shlex.quote(str(deployment.person("operator")))
    return [
        Service(
            CONTROL,
            "control service",
            [program, "control", *certificates, *looked_at, "--listen", where[CONTROL]],
            ports[CONTROL],
            f"hawthorn clients list --server {where[CONTROL]} --certificates {people}",
        ),
        Service(
            DASHBOARD,
            "dashboard",
            [
                *(program, "dashboard", *certificates, *looked_at, "--listen", where[DASHBOARD]),
                *("--users", str(layout.server / USERS)),
            ],
            ports[DASHBOARD],
            f"https://{where[DASHBOARD]}",
        ),
    ]


def rehearsed(layout: Layout, deployment: Deployment, ports: Mapping[str, int]) -> list[Service]:
    """The same on one machine, where the dashboard needs no certificate, and the operator's password is made here."""
    audit, where = str(deployment.rehearsal.audit), f"127.0.0.1:{ports[DASHBOARD]}"
    control, dashboard = services(layout, deployment, audit, ports)
    command = [layout.program("hawthorn"), "dashboard", "--audit", audit, "--listen", where]
    look = f"http://{where}, log in as operator with {login(layout.data)}"
    return [control, replace(dashboard, command=[*command, "--users", str(layout.data / USERS)], look=look)]


def login(folder: Path) -> str:
    """The password by which the operator of a rehearsal logs in to its dashboard, made where there is none yet."""
    from hawthorn.server.dashboard.users import Users

    kept = folder / "password"
    if not kept.exists():
        written(kept, secrets.token_urlsafe(12), PRIVATE)
        Users(folder / USERS).put("operator", "operator", content(kept).decode())
    return content(kept).decode()
