"""The processes of a rehearsal: started on their own, known by pid and start time, and ended by id alone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hawthorn.strategies.errors import HawthornError, SettingError

from .files import json_in, write_json
from .folder import Place

PATIENCE = 15.0  # seconds a process has to end by itself
STARTED_WITHIN = 300.0  # seconds it has until it listens; a SuperLink took 22 on a machine that was busy with others
ZOMBIE = "Z"


@dataclass(frozen=True)
class Process:
    """A process that was started; `started` is its start time in the kernel's ticks, as pids are used again.

    `port` is where it listens, 0 where it does not.
    """

    name: str
    pid: int
    started: int
    port: int = 0

    @property
    def alive(self) -> bool:
        """Whether it still runs: this process, and not another one with its pid."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.started and found[0] != ZOMBIE


class Processes:
    """The processes of one place, in a file there, so that another command finds them again."""

    def __init__(self, place: Place, environment: Mapping[str, str]) -> None:
        self.place = place
        self.environment = dict(environment)
        self.known = {name: Process(**one) for name, one in json_in(place.processes).items()}
        self._children: list[subprocess.Popen[bytes]] = []

    def alive(self, name: str) -> bool:
        """Whether the process of that name was started and runs."""
        return name in self.known and self.known[name].alive

    def start(self, name: str, command: Sequence[str], port: int = 0) -> Process:
        """The process, started now; what it says is added to its log. Raises `SettingError` for a port that is taken.

        It belongs to a session of its own, so it stays when this command ends.
        """
        if port and listens(port):
            raise SettingError(
                f"port {port} of {name} is taken by another process: end that one, or write --new-ports to have "
                "others chosen"
            )
        self.place.logs.mkdir(parents=True, exist_ok=True)
        try:
            with (self.place.logs / f"{name}.log").open("ab") as log:
                child = subprocess.Popen(
                    command,
                    env=self.environment,
                    cwd=self.place.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise SettingError(f"cannot start {name}: {command[0]}: {error.strerror}") from error
        self._children.append(child)
        found = _stat(child.pid)
        self.known[name] = Process(name, child.pid, found[1] if found else 0, port)
        self._save()
        return self.known[name]

    def wait_for_port(self, name: str, seconds: float = STARTED_WITHIN) -> None:
        """Return once the process listens; raises `HawthornError` with the end of its log if it does not."""
        process, end = self.known[name], time.monotonic() + seconds
        while not listens(process.port):
            if not process.alive:
                raise HawthornError(f"{name} ended before it listened: {self.last_words(name)}")
            if time.monotonic() > end:
                raise HawthornError(
                    f"{name} does not listen on port {process.port} after {seconds:g} s: {self.last_words(name)}"
                )
            time.sleep(0.1)

    def last_words(self, name: str, lines: int = 8) -> str:
        """The end of a process's log, and where the rest is."""
        log = self.place.logs / f"{name}.log"
        try:
            said = log.read_text(errors="replace").strip().splitlines()[-lines:]
        except OSError:
            said = []
        return "\n".join([str(log), *said])

    def stop(self, last: Sequence[str] = ()) -> tuple[int, int]:
        """How many processes were stopped, and how many helpers of theirs; asks first, then insists.

        Those named in `last` end after all others, one by one: a client says goodbye to a server that is there.
        """
        alive = [one for one in self.known.values() if one.alive]
        waves = [[one for one in alive if one.name not in last]]
        waves += [[one for one in alive if one.name == name] for name in last]
        for wave in waves:
            for number in (signal.SIGTERM, signal.SIGKILL):
                for process in wave:
                    if process.alive:
                        _signal(process.pid, number)
                _wait_for(wave)
        helpers = self.kill_helpers()
        for child in self._children:
            child.wait()
        self._children, self.known = [], {}
        self._save()
        return len(alive), helpers

    def kill_helpers(self, program: str = "") -> int:
        """How many of the processes that Flower started for these, of that program or any, were killed."""
        found = self.helpers(program)
        for pid in found:
            _signal(pid, signal.SIGKILL)
        return len(found)

    def helpers(self, program: str = "") -> list[int]:
        """The processes that Flower started for these: each inherits the home, which no others have."""
        own = {process.pid for process in self.known.values()} | {os.getpid()}
        found = processes_with(f"FLWR_HOME={self.place.home}")
        return [pid for pid in found if pid not in own and program in _command(pid)]

    def _save(self) -> None:
        write_json(self.place.processes, {name: asdict(process) for name, process in self.known.items()})


def processes_with(variable: str) -> list[int]:
    """The processes in whose environment this is set, as far as this user may look."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes()
            stat = _stat(int(folder.name))
            if variable.encode() in environment.split(b"\0") and stat is not None and stat[0] != ZOMBIE:
                found.append(int(folder.name))
    return found


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A port that nothing listens on for each name; all are held until all are found, so that no two are the same."""
    with contextlib.ExitStack() as held:
        servers = {name: held.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        return {name: int(server.getsockname()[1]) for name, server in servers.items()}


def _stat(pid: int) -> tuple[str, int] | None:
    """A process's state letter and start time, None where there is no such process."""
    try:
        text = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return fields[0], int(fields[19])


def _command(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _wait_for(processes: Sequence[Process]) -> None:
    end = time.monotonic() + PATIENCE
    while any(process.alive for process in processes) and time.monotonic() < end:
        time.sleep(0.1)
