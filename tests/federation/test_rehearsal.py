"""A rehearsal from an empty folder: authenticated sites, one of them poisoned; quarantine that outlives restarts."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hawthorn.scripts.deploying.files import json_in
from hawthorn.scripts.deploying.flower import environment, supernode
from hawthorn.scripts.deploying.folder import Deployment
from hawthorn.scripts.deploying.processes import Processes, free_ports, processes_with
from hawthorn.scripts.deploying.production import front
from hawthorn.scripts.deploying.rehearsal import Plan, Rehearsal
from hawthorn.scripts.deploying.services import login
from hawthorn.server.audit import Audit
from hawthorn.server.certificates import node_key

pytestmark = pytest.mark.slow

PROGRAMS = Path(sys.executable).parent
ROUNDS = 10


class Rehearsed:
    """`hawthorn federation` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, command: str, *arguments: str, status: int = 0) -> str:
        """What a command prints."""
        line = [str(PROGRAMS / "hawthorn"), "federation", command, *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        ended = subprocess.run(
            line, cwd=self.folder.parent, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == status, f"{ended.stdout}\n{ended.stderr}\n{self.logs()}"
        print(ended.stdout)
        return ended.stdout + ended.stderr

    def up(self, *arguments: str) -> dict[str, Any]:
        """The result of a rehearsal."""
        result = self.folder.parent / "result.json"
        self.run("up", str(self.folder), "--json", str(result), *arguments)
        return json.loads(result.read_text())

    def logs(self) -> str:
        return "\n".join(f"==> {log.name}\n{log.read_text()[-3000:]}" for log in self.folder.rglob("logs/*.log"))

    @property
    def deployment(self) -> Deployment:
        return Deployment.opened(self.folder)

    def processes(self) -> Processes:
        return Processes(self.deployment.rehearsal, {})


@pytest.fixture
def rehearsed(tmp_path: Path) -> Iterator[Rehearsed]:
    found = Rehearsed(tmp_path / "federation")
    yield found
    if found.folder.exists():
        found.run("down", str(found.folder))


def contributions(rehearsed: Rehearsed, round: int) -> dict[str, Any]:
    with Audit.open(rehearsed.deployment.rehearsal.audit, create=False) as audit:
        run = audit.run_named("federation")
        return {one.client: one for one in audit.contributions(run.id, round)}


def test_a_poisoned_site_ends_in_quarantine_and_stays_there_whatever_is_restarted(rehearsed, tmp_path):
    # no folder is given, and none is there: one command lays it out and rehearses it
    result_file = tmp_path / "first.json"
    rehearsed.run("up", "--json", str(result_file))
    result = json.loads(result_file.read_text())
    print(json.dumps(result["seconds"]))
    (poisoned,) = result["poisoned"]
    assert result["quarantined"] == [poisoned]
    assert (result["run"]["status"], result["run"]["rounds"]) == ("finished", ROUNDS)
    assert result["run"]["metrics"]["accuracy"] > 0.85
    deployment = rehearsed.deployment
    identity = deployment.site(poisoned).identity
    assert identity not in contributions(rehearsed, ROUNDS)
    with Audit.open(deployment.rehearsal.audit, create=False) as audit:
        assert audit.verify(result["run"]["run"]) == ()

    status = json.loads(rehearsed.run("status", str(rehearsed.folder), "--json", "-"))
    assert all(process["alive"] for process in status["processes"])
    assert {site["status"] for site in status["sites"]} == {"online"}
    assert [one["site"] for one in status["clients"] if one["standing"].startswith("in quarantine")] == [poisoned]

    ports = {process["name"]: process["port"] for process in status["processes"]}
    _speaks_tls_alone(ports["superlink"], deployment.server / "ca.crt")
    _refuses_a_key_that_nobody_registered(deployment, ports["superlink"], tmp_path)
    _tells_operators_alone(deployment, ports["control"], poisoned)
    _shows_the_quarantine(deployment, ports["dashboard"], identity)

    # the run goes on, and so does the quarantine: with the site's SuperNode restarted ...
    node = rehearsed.processes().known[f"supernode-{poisoned}"]
    os.kill(node.pid, signal.SIGKILL)
    after = rehearsed.up("--rounds", str(ROUNDS + 1))
    assert rehearsed.processes().known[f"supernode-{poisoned}"].pid != node.pid
    assert (after["run"]["run"], after["run"]["rounds"]) == (result["run"]["run"], ROUNDS + 1)
    assert after["quarantined"] == [poisoned]
    assert identity not in contributions(rehearsed, ROUNDS + 1)

    # ... and with a SuperLink that has forgotten everybody, so that each site is another node
    before = {site["name"]: site["node"] for site in status["sites"]}
    rehearsed.run("down", str(rehearsed.folder))
    assert processes_with(f"FLWR_HOME={deployment.rehearsal.home}") == []
    deployment.rehearsal.database.unlink()
    last = rehearsed.up("--rounds", str(ROUNDS + 2))
    nodes = json.loads(rehearsed.run("status", str(rehearsed.folder), "--json", "-"))["sites"]
    assert not {site["node"] for site in nodes} & set(before.values())
    assert last["quarantined"] == [poisoned]
    answered = contributions(rehearsed, ROUNDS + 2)
    assert identity not in answered
    assert set(answered) == {site.identity for site in deployment.sites} - {identity}


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_the_front_lets_supernodes_through_and_nobody_else(rehearsed, tmp_path):
    rehearsed.run("init", str(rehearsed.folder))
    rehearsal = Rehearsal(rehearsed.deployment, Plan(), print)
    rehearsal.start()
    deployment, link = rehearsed.deployment, rehearsal.processes.known["superlink"].port
    site, ports = deployment.sites[0], free_ports(["front", "node"])
    at_front = replace(deployment, hosts=("localhost",), port=ports["front"])
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    text = f"http {{ {folders} access_log off; {front(at_front, f'127.0.0.1:{link}')} }}"
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid; error_log stderr; daemon off; events {{}}\n{text}\n")
    processes = rehearsal.processes
    processes.start("front", [shutil.which("nginx") or "", "-c", str(tmp_path / "nginx.conf")], ports["front"])
    processes.wait_for_port("front")

    context = ssl.create_default_context(cafile=str(deployment.server / "ca.crt"))
    with httpx.Client(verify=context, base_url=f"https://{at_front.address}") as client:
        for path in ("/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/pull", "/docs", "/"):
            assert client.post(path).status_code == 403, path
        assert client.post("/v1/fleet/pull-messages").status_code not in {403, 404, 502}

    # the site's own node ends, and comes back by the way that it would take in production
    node = processes.known[f"supernode-{site.name}"]
    os.kill(node.pid, signal.SIGTERM)
    while processes.alive(node.name):
        time.sleep(0.2)
    command = supernode(str(PROGRAMS / "flower-supernode"), at_front.address, deployment.site_folder(site.name), 0, "")
    command[command.index("--port") + 1] = str(ports["node"])
    processes.start("through-the-front", command, ports["node"])
    registered = json_in(deployment.rehearsal.registered)[site.identity]
    while rehearsal.flwr.nodes()[registered] != "online":
        assert processes.alive("through-the-front"), processes.last_words("through-the-front")

    # a site that is removed is turned away, even if who registered it was killed before it could write that down
    deployment.rehearsal.registered.unlink()
    rehearsed.run("remove-client", str(rehearsed.folder), site.name)
    while "401" not in processes.last_words("superlink", 50):
        time.sleep(0.5)
    assert rehearsal.flwr.nodes().get(registered) in {None, "unregistered"}
    processes.stop()


def _speaks_tls_alone(port: int, authority: Path) -> None:
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.version() in {"TLSv1.2", "TLSv1.3"}
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"GET /v1/fleet/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


def _refuses_a_key_that_nobody_registered(deployment: Deployment, port: int, folder: Path) -> None:
    node_key(folder / "stranger")
    (own,) = free_ports(["stranger"]).values()
    home = folder / "stranger-home"
    with (folder / "stranger.log").open("w") as log:  # its helper outlives it, and would hold a pipe open
        ended = subprocess.run(
            [
                *(PROGRAMS / "flower-supernode", "--superlink", f"127.0.0.1:{port}", "--port", str(own)),
                *("--root-certificates", deployment.server / "ca.crt", "--max-retries", "1"),
                *("--auth-supernode-private-key", folder / "stranger"),
            ],
            env=environment(home, PROGRAMS),
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    for pid in processes_with(f"FLWR_HOME={home}"):
        os.kill(pid, signal.SIGKILL)
    said = (folder / "stranger.log").read_text()
    assert ended.returncode != 0, said
    assert "Failed to activate SuperNode" in said


def _shows_the_quarantine(deployment: Deployment, port: int, identity: str) -> None:
    """Prometheus and the page tell of it; the page to whoever has the password that `up` shows."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        metrics = client.get("/metrics").text
        assert 'hawthorn_clients{run="1",standing="quarantine"} 1.0' in metrics
        assert 'hawthorn_clients{run="1",standing="good"} 2.0' in metrics
        assert client.get("/api/runs/1/clients").status_code == 401
        fields = {"name": "operator", "password": login(deployment.rehearsal.folder)}
        entered = client.post("/login", data=fields, headers={"origin": str(client.base_url)})
        assert entered.status_code == 303, entered.text
        assert identity in client.get("/api/runs/1/clients").text
        assert "quarantine" in client.get(f"/api/runs/1/clients/{identity}").text


def _tells_operators_alone(deployment: Deployment, port: int, poisoned: str) -> None:
    """The control service tells whoever has a certificate of the federation, and nobody else."""
    address = ("--server", f"127.0.0.1:{port}", "--json")
    line = [PROGRAMS / "hawthorn", "clients", "list", *address]
    told = subprocess.run(
        [*line, "--certificates", deployment.person("operator")], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert deployment.site(poisoned).identity in told.stdout
    stranger = subprocess.run(
        [*line, "--certificates", deployment.site_folder(poisoned)], capture_output=True, text=True, check=False
    )
    assert stranger.returncode != 0
