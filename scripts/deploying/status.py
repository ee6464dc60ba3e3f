"""What `hawthorn federation status` tells: processes, certificates, sites and the run, as plain data and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hawthorn.strategies.errors import HawthornError

from ..audit import Lines, add_row, made_table
from .app import run_name
from .files import json_in
from .flower import SUPERLINK_PORT, Flwr
from .folder import Deployment, Place
from .processes import Processes, listens
from .rehearsal import is_listening
from .services import PORTS
from .watching import TOLD, run_summary, standings


def status(deployment: Deployment, place: Place) -> dict[str, Any]:
    """How a place stands."""
    name = run_name(deployment)
    return {
        "name": deployment.name,
        "folder": str(deployment.folder),
        "place": place.connection,
        "processes": processes(deployment, place),
        "certificates": certificates(deployment),
        "sites": sites(deployment, place),
        "run": run_summary(deployment, place, name),
        "clients": standings(deployment, place, name),
    }


def processes(deployment: Deployment, place: Place) -> list[dict[str, Any]]:
    """The processes of a place: those that a rehearsal has started, or who listens on this machine in production."""
    if place == deployment.production:
        ports = {"superlink": SUPERLINK_PORT, **PORTS, "front": deployment.port}
        return [
            {
                "name": name,
                "alive": listens(port),
                "pid": 0,  # systemd's, or a container's
                "port": port,
                "log": f"journalctl --unit {'nginx' if name == 'front' else f'hawthorn-{name}'}",
            }
            for name, port in ports.items()
        ]
    return [
        {
            "name": one.name,
            "alive": one.alive,
            "pid": one.pid,
            "port": one.port,
            "log": f"{place.logs / one.name}.log",
        }
        for one in Processes(place, {}).known.values()
    ]


def certificates(deployment: Deployment) -> list[dict[str, Any]]:
    """The certificates in use and when they end."""
    from hawthorn.server.certificates import described, remark

    paths = [deployment.server / "ca.crt", deployment.server / "server.crt"]
    paths += [path for path in sorted((deployment.folder / "people").glob("*/*.crt")) if path.name != "ca.crt"]
    found: list[dict[str, Any]] = []
    for path in filter(Path.exists, paths):
        told = described(path)
        found.append(
            {
                "file": str(path.relative_to(deployment.folder)),
                "expires": f"{told.expires:%Y-%m-%d}",
                "days_left": round(told.days_left, 1),
                "remark": remark(path),
            }
        )
    return found


def sites(deployment: Deployment, place: Place) -> list[dict[str, Any]]:
    """The sites, and whether the SuperLink knows them and hears of them."""
    nodes: Mapping[str, str] = json_in(place.registered)
    statuses: Mapping[str, str] = {}
    if is_listening(place):
        try:
            statuses = Flwr(deployment.programs, place).nodes()
        except HawthornError:  # it may be on its way up, or down
            statuses = {}
    return [
        {
            "name": site.name,
            "identity": site.identity,
            "node": nodes.get(site.identity, ""),
            "status": statuses.get(
                nodes.get(site.identity, ""), "unknown" if site.identity in nodes else "not registered"
            ),
        }
        for site in deployment.sites
    ]


def tables(told: Mapping[str, Any]) -> list[Lines]:
    """The same for people."""
    parts: list[Lines] = []
    if told["processes"]:
        table = made_table("process", "alive", "pid", "port")
        for one in told["processes"]:
            add_row(table, one["name"], "yes" if one["alive"] else "no", one["pid"] or "", one["port"] or "")
        parts.append(Lines(table, [f"see {one['log']}" for one in told["processes"] if not one["alive"]]))
    certified = made_table("certificate", "expires", "days left")
    for one in told["certificates"]:
        add_row(certified, one["file"], one["expires"], one["days_left"])
    parts.append(Lines(certified, [one["remark"] for one in told["certificates"] if one["remark"]]))
    nodes = made_table("site", "node", "status", "identity")
    for one in told["sites"]:
        add_row(nodes, one["name"], one["node"], one["status"], one["identity"])
    parts.append(Lines(nodes, []))
    if told["run"]:
        parts += [run_table(told["run"]), client_table(told["clients"])]
    return parts


def run_table(run: Mapping[str, Any]) -> Lines:
    """The run in one line."""
    metrics = {name: value for name, value in run["metrics"].items() if name in TOLD}
    table = made_table("run", "status", "rounds", "skipped", *metrics)
    add_row(
        table,
        run["run"],
        run["status"],
        run["rounds"],
        run["skipped"],
        *map("{:.3f}".format, metrics.values()),
    )
    return Lines(table, [run["error"]] if run["error"] else [])


def client_table(clients: Sequence[Mapping[str, Any]], poisoned: Sequence[str] = ()) -> Lines:
    """A line for each client."""
    table = made_table("client", "accepted", "rejected", "refused", "standing", folded=("standing",))
    for one in clients:
        name = f"{one['site']} (poisoned)" if one["site"] in poisoned else one["site"]
        add_row(table, name, one["accepted"], one["rejected"], one["refused"], one["standing"])
    return Lines(table, [f"{one['site']}, last: {one['reason']}" for one in clients if one["reason"]])
