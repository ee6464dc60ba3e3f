"""`hawthorn federation up`: the whole federation on one machine, and a run on it that goes on where it was."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hawthorn.strategies.errors import HawthornError, SettingError

from . import app, flower
from .files import json_in, write_json, written
from .flower import Flwr, Layout
from .folder import LEAST_SITES, Deployment, Place, Site
from .laying import make_audit
from .processes import Processes, free_ports, listens
from .registration import register
from .services import PORTS, Service, rehearsed

if TYPE_CHECKING:
    from hawthorn.server.kinds import Scalar

Say = Callable[[str], None]

SUPERLINK, SUPEREXEC = "superlink", "superexec"
# A SuperLink takes a node that was killed for online, and refuses it until its heartbeats have been missed for a while.
RESTARTED_AFTER = 10.0  # seconds
SERVER_APP = "flwr-serverapp"  # the program in which Flower runs a ServerApp


@dataclass(frozen=True)
class Plan:
    """What is rehearsed: with how many of the sites (None for all), how many of them hostile, and which settings."""

    sites: int | None = None
    hostile: int = 1
    attack: str = "sign_flip"
    settings: Mapping[str, Scalar] = field(default_factory=dict[str, "Scalar"])
    new_ports: bool = False


@dataclass
class Node:
    """A SuperNode's command, and since when it was last started; `up` starts it again as systemd would."""

    command: list[str]
    port: int
    since: float = 0.0


@dataclass
class Rehearsal:
    """A rehearsal in progress; `seconds` are what each step took, `looks` where to look at it."""

    deployment: Deployment
    plan: Plan
    say: Say
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    looks: list[Service] = field(default_factory=list[Service])
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])

    def __post_init__(self) -> None:
        self.place: Place = self.deployment.rehearsal
        wanted = len(self.deployment.sites) if self.plan.sites is None else self.plan.sites
        if not LEAST_SITES <= wanted <= len(self.deployment.sites):
            raise SettingError(
                f"--sites must be from {LEAST_SITES} to the {len(self.deployment.sites)} there are, got {wanted}: "
                f"`hawthorn federation add-client {self.deployment.typed} NAME` adds one"
            )
        self.sites: tuple[Site, ...] = self.deployment.sites[:wanted]
        self.settings = self._settings()
        flower.check_installed(self.deployment.programs)
        self.processes = Processes(self.place, flower.environment(self.place.home, self.deployment.programs))
        self.flwr = Flwr(self.deployment.programs, self.place)

    def _settings(self) -> dict[str, Scalar]:
        """The app's settings with what makes a rehearsal of them: where it keeps its data, and who is hostile."""
        from hawthorn.server.settings import Settings

        own: dict[str, Scalar] = {
            "clients": len(self.sites),
            "audit": str(self.place.audit),
            "checkpoints": str(self.place.checkpoints),
            "run": app.run_name(self.deployment),
            "hostile": self.plan.hostile,
            "attack": self.plan.attack if self.plan.hostile else "",
        }
        return Settings.parse(app.declared(self.deployment) | own | dict(self.plan.settings)).run_config()

    @property
    def run_name(self) -> str:
        """The name of the run in the audit."""
        return str(self.settings["run"])

    @property
    def poisoned(self) -> tuple[Site, ...]:
        """The sites that the settings make hostile."""
        from hawthorn.client.attacks import hostile_clients
        from hawthorn.server.settings import Settings

        settings = Settings.parse(self.settings)
        numbers = hostile_clients(len(self.sites), int(settings.hostile), settings.seed)
        return tuple(site for number, site in enumerate(self.sites) if number in numbers)

    def start(self) -> None:
        """Start whatever does not run yet, and register who is not; what runs is left alone."""
        layout = Layout(self.deployment.programs, self.deployment.server, self.place.folder)
        ports = self._ports()
        address = f"127.0.0.1:{ports[SUPERLINK]}"
        app.write_connection(self.deployment, self.place, ports[SUPERLINK])
        with self._timed("SuperLink"):
            self._start(SUPERLINK, flower.superlink(layout, "127.0.0.1", ports[SUPERLINK]), ports[SUPERLINK])
            self.processes.wait_for_port(SUPERLINK)
        self._start(SUPEREXEC, flower.superexec(layout, address))
        with self._timed("registration"):
            register(self.deployment, self.place, self.sites, self.say)
        with self._timed("SuperNodes"):
            for number, site in enumerate(self.sites):
                command = flower.supernode(
                    layout.program("flower-supernode"),
                    address,
                    self.deployment.site_folder(site.name),
                    ports[site.name],
                    f"partition-id={number}",
                )
                name = f"supernode-{site.name}"
                self.nodes[name] = Node(command, ports[site.name])
                self._start_node(name)
        make_audit(self.deployment, self.place)
        for service in rehearsed(layout, self.deployment, ports):
            self._start(service.name, service.command, service.port)
            self.looks.append(service)
            self.say(f"{service.what}: {service.look}")

    def told_looks(self) -> list[str]:
        """Where to look at the rehearsal, a line each."""
        return [f"{one.what}: {one.look}" for one in self.looks]

    def submit(self) -> str:
        """The id of Flower's run, begun now; what a crash left unfinished is ended first."""
        for run in self.flwr.runs():
            if not run["status"].startswith("finished"):
                self._end(run["run-id"])
        overrides = app.overrides(self.deployment, self.settings)
        return self.flwr.run(self.deployment.app, written(self.place.folder / "run-config.toml", app.toml(overrides)))

    def _end(self, run: str) -> None:
        """End a run; one whose ServerApp was killed may be noticed to be over meanwhile."""
        try:
            self.flwr.stop(run)
        except HawthornError:
            if not self.flwr.status(run)[0].startswith("finished"):
                raise

    def check_alive(self, told: set[str]) -> None:
        """Raise `HawthornError` if the server is gone; tell of other processes that end, and start SuperNodes again."""
        for name in (SUPERLINK, SUPEREXEC):
            if not self.processes.alive(name):
                raise HawthornError(
                    f"{name} has ended; `hawthorn federation up {self.deployment.typed}` goes on after the last "
                    f"round: {self.processes.last_words(name)}"
                )
        for name in set(self.processes.known):
            if self.processes.alive(name):
                continue
            if name not in told:
                told.add(name)
                self.say(f"{name} has ended: {self.processes.last_words(name, 2)}")
            if name in self.nodes and time.monotonic() > self.nodes[name].since + RESTARTED_AFTER:
                self._start_node(name)

    def _start_node(self, name: str) -> None:
        node = self.nodes[name]
        node.since = time.monotonic()
        self._start(name, node.command, node.port)

    def _start(self, name: str, command: Sequence[str], port: int = 0) -> None:
        if not self.processes.alive(name):
            process = self.processes.start(name, command, port)
            where = f" on 127.0.0.1:{port}" if port else ""
            self.say(f"{name}{where}, process {process.pid}")

    def _ports(self) -> dict[str, int]:
        """The port of each process, the same as at the last start unless others are wanted."""
        file = self.place.folder / "ports.json"
        kept: dict[str, int] = {} if self.plan.new_ports else json_in(file)
        names = [SUPERLINK, *PORTS, *(site.name for site in self.sites)]
        ports = kept | free_ports(name for name in names if name not in kept)
        write_json(file, ports)
        return ports

    @contextmanager
    def _timed(self, what: str) -> Generator[None]:
        started = time.monotonic()
        yield
        self.seconds[what] = round(time.monotonic() - started, 2)


@contextmanager
def alone(place: Place) -> Generator[None]:
    """Nobody else starts or stops the processes of this place meanwhile; raises `SettingError` if somebody does."""
    place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (place.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingError(
                f"{place.folder.parent} is being brought up by another `hawthorn federation up`: wait for it, or end "
                "it with Ctrl-C"
            ) from None
        yield


def refuse_running(deployment: Deployment, processes: Processes) -> None:
    """Raise `SettingError` if a run is in progress there."""
    if processes.alive(SUPERLINK) and processes.helpers(SERVER_APP):
        raise SettingError(
            f"{deployment.folder} is up already and its run goes on: `hawthorn federation status {deployment.typed}` "
            f"shows it, `hawthorn federation down {deployment.typed}` ends it"
        )


def stop(deployment: Deployment) -> tuple[int, int]:
    """How many processes of the rehearsal were stopped, and how many of their helpers.

    The ServerApp goes first, wherever it is: it would hold a round with nobody left, and `up` goes on from its commits.
    """
    processes = Processes(deployment.rehearsal, {})
    server_apps = processes.kill_helpers(SERVER_APP)
    stopped, helpers = processes.stop(last=(SUPEREXEC, SUPERLINK))
    return stopped, server_apps + helpers


def is_listening(place: Place) -> bool:
    """Whether the SuperLink of a place can be asked: the rehearsal's if it was started, production's on its port."""
    if place.connection == "production":
        return listens(flower.SUPERLINK_PORT)
    return Processes(place, {}).alive(SUPERLINK)
