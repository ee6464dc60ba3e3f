"""The folder of a deployment: who its sites are, where its server is reached, and where each of its files lies."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from hawthorn.strategies.contract import nearest
from hawthorn.strategies.errors import SettingError

from .files import json_in, write_json

STATE = "federation.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")
UNNAMEABLE = frozenset("\"'`:$%\\")  # what systemd, nginx, compose files and search paths read as something else
LEAST_SITES = 3  # of two that disagree, nobody can tell which is hostile
# Names under which a server reaches itself: on its own, and as a service of the compose file.
OWN_HOSTS = ("localhost", "127.0.0.1", "superlink")


@dataclass(frozen=True)
class Site:
    """A client site: `identity` is its public key's, `number` the part it gets of a task that is cut into parts."""

    name: str
    number: int
    identity: str


@dataclass(frozen=True)
class Place:
    """Where a set of processes keeps its data: production in `data`, a rehearsal in `rehearsal`."""

    folder: Path
    connection: str

    @property
    def home(self) -> Path:
        """Flower's home, by whose path in their environment the processes are known."""
        return self.folder / "flwr"

    @property
    def audit(self) -> Path:
        """The audit database."""
        return self.folder / "audit.db"

    @property
    def checkpoints(self) -> Path:
        """The models after each round, and what else is too large for the database."""
        return self.folder / "checkpoints"

    @property
    def database(self) -> Path:
        """The SuperLink's own database: nodes, runs and messages."""
        return self.folder / "superlink.db"

    @property
    def logs(self) -> Path:
        """What each process says, a file each."""
        return self.folder / "logs"

    @property
    def processes(self) -> Path:
        """Which processes were started here."""
        return self.folder / "processes.json"

    @property
    def registered(self) -> Path:
        """Flower's node ids of the sites registered here, by identity."""
        return self.folder / "registered.json"


@dataclass(frozen=True)
class Deployment:
    """A federation as `hawthorn federation init` laid it out.

    `hosts` are the names under which clients reach the server, `port` the one that is open to them; `programs` is the
    folder with the installed programs.
    """

    folder: Path
    name: str
    hosts: tuple[str, ...]
    port: int
    programs: Path
    sites: tuple[Site, ...] = ()

    @classmethod
    def opened(cls, folder: Path) -> Deployment:
        """The deployment in a folder; raises `SettingError` where there is none."""
        folder = folder.absolute()
        state = cast("dict[str, Any]", json_in(folder / STATE))
        if not state:
            command = f"hawthorn federation init {shlex.quote(str(folder))}"
            raise SettingError(f"{folder} is no federation yet: write `{command}`")
        try:
            sites = tuple(Site(**site) for site in state.pop("sites"))
            hosts, programs = tuple(state.pop("hosts")), Path(state.pop("programs"))
            return cls(folder=folder, hosts=hosts, programs=programs, sites=sites, **state)
        except (KeyError, TypeError) as error:
            raise SettingError(f"{folder / STATE} is not what `hawthorn federation init` writes: {error}") from error

    def save(self) -> None:
        """Write what `opened` reads."""
        state = asdict(self) | {"programs": str(self.programs)}
        write_json(self.folder / STATE, {name: value for name, value in state.items() if name != "folder"})

    def with_site(self, site: Site) -> Deployment:
        """The same with one site more."""
        return replace(self, sites=(*self.sites, site))

    def without_site(self, name: str) -> Deployment:
        """The same without the site of that name."""
        return replace(self, sites=tuple(site for site in self.sites if site.name != name))

    def site(self, name: str) -> Site:
        """The site of that name; raises `SettingError`."""
        for site in self.sites:
            if site.name == name:
                return site
        raise SettingError(f"no site named {name!r}; {nearest(name, [site.name for site in self.sites])}")

    @property
    def typed(self) -> str:
        """The folder as it is written in a shell."""
        return shlex.quote(str(self.folder))

    @property
    def address(self) -> str:
        """Where clients connect to."""
        host = self.hosts[0]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def authority(self) -> Path:
        """The certificate authority; in production it belongs on another machine."""
        return self.folder / "ca"

    @property
    def server(self) -> Path:
        """What the server's processes need: certificates, and the secret that they share."""
        return self.folder / "server"

    @property
    def app(self) -> Path:
        """The Flower app with the settings of the run."""
        return self.folder / "app"

    @property
    def production(self) -> Place:
        """Where the services of a real federation keep their data."""
        return Place(self.folder / "data", "production")

    @property
    def rehearsal(self) -> Place:
        """Where a rehearsal keeps its data."""
        return Place(self.folder / "rehearsal", "rehearsal")

    def person(self, name: str) -> Path:
        """The certificates by which a person reaches the services."""
        return self.folder / "people" / name

    def site_folder(self, name: str) -> Path:
        """The files of the site of that name."""
        return self.folder / "sites" / name


def site_names(text: str) -> tuple[str, ...]:
    """The names of sites, given as a count or with commas between them; raises `SettingError`.

    >>> site_names("3"), site_names("north, south, east")
    (('site-1', 'site-2', 'site-3'), ('north', 'south', 'east'))
    """
    if text.strip().isdecimal():
        names = tuple(f"site-{number}" for number in range(1, int(text) + 1))
    else:
        names = tuple(checked_name("a site", part.strip()) for part in text.split(","))
    if len(names) < LEAST_SITES:
        raise SettingError(f"a federation that can tell a poisoned site needs at least 3 sites, got {len(names)}")
    if len(set(names)) < len(names):
        raise SettingError(f"each site needs a name of its own, got {text!r}")
    return names


def checked_name(whose: str, name: str) -> str:
    """The same name if it may stand in paths and in Flower's commands; raises `SettingError`."""
    if not NAME.fullmatch(name):
        raise SettingError(f"{whose} must be named with letters, digits, '-' and '_', 48 at most, got {name!r}")
    return name


def checked_path(option: str, path: Path) -> Path:
    """The same path if units, nginx and compose files can name it; raises `SettingError`."""
    if not str(path).isprintable() or UNNAMEABLE & set(str(path)):
        raise SettingError(f"{option} must be a path without quotes, colons and any of $ % \\, got {str(path)!r}")
    return path


def own_programs() -> Path:
    """The folder of the programs that are installed with this one."""
    return Path(sys.executable).parent
