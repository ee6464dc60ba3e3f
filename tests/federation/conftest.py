"""Real Flower processes for the tests: on free ports, with a home of their own, and none left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
PATIENCE = 900  # seconds before a test gives up on a machine that hangs


class Flower:
    """A SuperLink and whatever a test starts beside it, in a `home` of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.address = f"127.0.0.1:{self.free_port()}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = os.environ | {
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
            # the SuperLink starts its helpers by name
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        }
        connection = f'[superlink]\ndefault = "test"\n[superlink.test]\naddress = "{self.address}"\ninsecure = true\n'
        (home / "config.toml").write_text(connection)

    def start_superlink(self, *options: str) -> None:
        """Start the SuperLink that `flwr` talks to, and wait until it listens."""
        host, port = self.address.split(":")
        self.start("superlink", "flower-superlink", "--insecure", "--host", host, "--port", port, *options)
        self.wait_until(lambda: listens(host, int(port)), "the SuperLink listens")

    def start(self, name: str, program: str, *arguments: str) -> None:
        """Start a process that runs until the end of the test; what it says goes to a log."""
        with (self.home / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [PROGRAMS / program, *arguments],
                env=self.environment,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def flwr(self, *arguments: str) -> Any:
        """What a `flwr` command, run in the root of the repository, answers as JSON."""
        command = [PROGRAMS / "flwr", *arguments, "--format", "json"]
        answer = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return json.loads(answer.stdout)

    def finished(self, run_id: str) -> dict[str, str]:
        """What `flwr list` says of a run, once it has finished."""
        found: dict[str, str] = {}

        def has_finished() -> bool:
            (run,) = self.flwr("list", "--run-id", run_id)["runs"]
            found.update(run)
            return run["status"].startswith("finished")

        self.wait_until(has_finished, f"run {run_id} has finished")
        return found

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once the condition holds; fails the test if a process ends before it does."""
        end = time.monotonic() + PATIENCE
        while not condition():
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended with {process.returncode} before {what}"
            assert time.monotonic() < end, f"given up waiting until {what}"
            time.sleep(0.5)

    @staticmethod
    def free_port() -> int:
        """A port that nothing listens on."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            return server.getsockname()[1]

    def logs(self) -> str:
        """What every process has said."""
        return "\n".join(
            f"==> {log.name}\n{log.read_text(errors='replace')}" for log in sorted(self.home.glob("*.log"))
        )

    def stop(self) -> None:
        """End every process: first those started here, then what these started, wherever it hangs in the tree."""
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # helpers run in sessions of their own, but each of them inherits the home, which no other process has
        for pid in processes_with(f"FLWR_HOME={self.home}"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def processes_with(variable: str) -> list[int]:
    """The processes in whose environment this is set."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if variable.encode() in environment.split(b"\0"):
            found.append(int(folder.name))
    return found


def listens(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[Flower]:
    """Flower in a folder of its own; everything it runs is stopped when the test ends."""
    flower = Flower(tmp_path)
    yield flower
    flower.stop()
    print(flower.logs())
