"""Flower's programs: the command lines that production and rehearsal share, and what `flwr` answers."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hawthorn.strategies.errors import HawthornError, SettingError

from .folder import Place

SUPERLINK_PORT = 9091  # on the server itself; what is open to clients is the front's port
SUPERNODE_PORT = 9094

# A server that reports home or installs packages for each run is none for a hospital.
QUIET: Mapping[str, str] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
GONE = "unregistered"  # Flower's word for a node that may connect no more
PROGRAMS = ("flwr", "flower-superlink", "flower-superexec", "flower-supernode", "hawthorn")


@dataclass(frozen=True)
class Layout:
    """Where a command finds its files: `programs` is empty where they are on the path."""

    programs: Path | None
    server: Path
    data: Path

    def program(self, name: str) -> str:
        """How a program is called."""
        return name if self.programs is None else str(self.programs / name)


def superlink(layout: Layout, host: str, port: int) -> list[str]:
    """The SuperLink: TLS, known nodes alone, ServerApps in processes of their own, and a database that outlives it."""
    return [
        layout.program("flower-superlink"),
        *("--ssl-ca-certfile", str(layout.server / "ca.crt")),
        *("--ssl-certfile", str(layout.server / "server.crt"), "--ssl-keyfile", str(layout.server / "server.key")),
        "--enable-supernode-auth",
        *("--isolation", "process", "--superexec-auth-secret-file", str(layout.server / "superexec.secret")),
        *("--database", str(layout.data / "superlink.db")),
        "--disable-runtime-dependency-installation",
        *("--host", host, "--port", str(port)),
    ]


def superexec(layout: Layout, address: str) -> list[str]:
    """What starts a ServerApp's process for each run."""
    return [
        layout.program("flower-superexec"),
        *("--runtime-api-address", address, "--root-certificates", str(layout.server / "ca.crt")),
        *("--superexec-auth-secret-file", str(layout.server / "superexec.secret")),
    ]


def supernode(program: str, address: str, site: Path, port: int, node_config: str) -> list[str]:
    """A site's SuperNode, which proves who it is with the site's key."""
    return [
        program,
        *("--superlink", address, "--root-certificates", str(site / "ca.crt")),
        *("--auth-supernode-private-key", str(site / "node.key")),
        *("--host", "127.0.0.1", "--port", str(port)),
        *(("--node-config", node_config) if node_config else ()),
    ]


def environment(home: Path, programs: Path) -> dict[str, str]:
    """The environment of this process, made quiet, with a home of Flower's own and its programs first."""
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, **QUIET, "FLWR_HOME": str(home), "PATH": path}  # Flower calls its helpers by name


def check_installed(programs: Path) -> None:
    """Raise `SettingError` unless the programs of Flower and Hawthorn are there."""
    missing = [name for name in PROGRAMS if not os.access(programs / name, os.X_OK)]
    if missing:
        raise SettingError(
            f"{', '.join(missing)} is not in {programs}: install hawthorn with Flower there (pip install hawthorn), "
            "or write --programs with the folder that has them"
        )


@dataclass(frozen=True)
class Flwr:
    """The `flwr` program, as a client of one SuperLink."""

    programs: Path
    place: Place

    def __call__(self, *arguments: str) -> Any:
        """What a command answers as JSON; raises `HawthornError` with what it says where it fails."""
        ended = subprocess.run(
            [str(self.programs / "flwr"), *arguments, "--format", "json"],
            env=environment(self.place.home, self.programs),
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            document: Any = json.loads(ended.stdout)
        except ValueError:
            document = {"success": False}
        if ended.returncode or document.get("success") is False:
            said = document.get("error-message") or (ended.stderr.strip() or ended.stdout.strip())[-2000:]
            raise HawthornError(f"flwr {' '.join(arguments[:2])} failed: {said}")
        return document

    def register(self, public_key: Path, name: str) -> str:
        """The node id of a site that may connect from now on."""
        answer = self("supernode", "register", str(public_key), self.place.connection, "--name", name)
        return str(answer["node-id"])

    def unregister(self, node: str) -> None:
        """Let a node connect no more."""
        self("supernode", "unregister", node, self.place.connection)

    def nodes(self) -> dict[str, str]:
        """The status of each node by its id: registered, online or offline."""
        answer = self("supernode", "list", self.place.connection)
        return {str(node["node-id"]): str(node["status"]) for node in answer["nodes"]}

    def node_of(self, identity: str) -> str:
        """The node id of the site with this key, "" if none may connect with it: `flwr` tells keys of nobody."""
        from hawthorn.strategies.flower.clients import identity as identity_of

        if not self.place.database.exists():
            return ""
        asked = "SELECT public_key, node_id FROM node WHERE status != ?"
        try:
            with closing(sqlite3.connect(f"{self.place.database.as_uri()}?mode=ro", uri=True)) as database:
                rows = database.execute(asked, (GONE,)).fetchall()
        except sqlite3.Error as error:
            raise HawthornError(f"cannot read the nodes in {self.place.database}: {error}") from error
        # the database has signed numbers for ids that are none
        return next((str(node % 2**64) for key, node in rows if key and identity_of(key) == identity), "")

    def runs(self) -> list[dict[str, str]]:
        """The runs, newest first."""
        return cast("list[dict[str, str]]", self("list", self.place.connection)["runs"])

    def status(self, run: str) -> tuple[str, str]:
        """How a run stands, such as "finished:failed", and why."""
        (found,) = self("list", self.place.connection, "--run-id", run)["runs"]
        return str(found["status"]), str(found.get("status-details", ""))

    def run(self, app: Path, run_config: Path | None = None) -> str:
        """The id of a run of that app, begun now, its settings as the app has them or as a file overrides them."""
        overrides = () if run_config is None else ("--run-config", str(run_config))
        return str(self("run", str(app), self.place.connection, *overrides)["run-id"])

    def stop(self, run: str) -> None:
        """End a run."""
        self("stop", run, self.place.connection)
