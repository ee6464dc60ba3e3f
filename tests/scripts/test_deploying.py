"""`hawthorn federation`: what `init` and `add-client` write, how processes are kept, and what operators are told."""

import json
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hawthorn.scripts.deploying import flower, rehearsal, status
from hawthorn.scripts.deploying.app import audit_of, settings_of
from hawthorn.scripts.deploying.files import json_in
from hawthorn.scripts.deploying.flower import Layout
from hawthorn.scripts.deploying.folder import Deployment, Place, own_programs
from hawthorn.scripts.deploying.processes import Processes, free_ports, listens, processes_with
from hawthorn.scripts.engine import on_engine
from hawthorn.scripts.federation import Federation
from hawthorn.server.certificates import described, node_identity, node_key, revoked
from hawthorn.server.settings import Settings
from hawthorn.strategies.errors import HawthornError, SettingError


@pytest.fixture
def deployment(hawthorn, tmp_path, request) -> Deployment:
    folder = getattr(request, "param", "federation")
    chosen = ("--name", "federation", "--host", "fl.example.org", "--sites", "north,south,east")
    ended = hawthorn("federation", "init", folder, *chosen)
    assert ended.status == 0, ended.err
    return Deployment.opened(tmp_path / folder)


WITH_SPACES = pytest.mark.parametrize("deployment", ["federation", "our federation"], indirect=True)


def private_keys(folder: Path) -> dict[Path, bytes]:
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: data for path, data in found.items() if b"PRIVATE KEY-----" in data}


def packed(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive.getmembers()}


def command_of(unit: Path) -> list[str]:
    (line,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart="))


def test_init_lays_out_a_federation_that_its_own_settings_accept(deployment):
    assert [site.name for site in deployment.sites] == ["north", "south", "east"]
    assert [site.number for site in deployment.sites] == [0, 1, 2]
    assert deployment.address == "fl.example.org:9092"
    told = described(deployment.server / "server.crt")
    assert {"fl.example.org", "localhost", "127.0.0.1"} <= set(told.hosts)
    for site in deployment.sites:
        assert node_identity(deployment.site_folder(site.name) / "node.key.pub") == site.identity
    written = (deployment.folder / "README.md").read_text()
    assert all(site.identity in written for site in deployment.sites)
    # what writes files that the services read is run by their user
    commands = [line for line in written.partition("## Deploy it")[2].splitlines() if "/hawthorn " in line]
    assert len(commands) == 4
    assert all("sudo -u hawthorn" in line for line in commands)


def test_private_keys_are_their_owners_alone_and_the_server_has_not_the_authoritys(deployment):
    keys = private_keys(deployment.folder)
    assert {path.name for path in keys} == {"ca.key", "server.key", "operator.key", "viewer.key", "node.key"}
    for path in [*keys, deployment.server / "superexec.secret", *deployment.folder.glob("sites/*/*.tar.gz")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(deployment.folder.stat().st_mode) == 0o700
    authority = keys[deployment.authority / "ca.key"]
    assert [path for path, key in keys.items() if key == authority] == [deployment.authority / "ca.key"]


def test_a_bundle_holds_a_sites_own_key_and_no_other(deployment):
    keys = private_keys(deployment.folder)
    for site in deployment.sites:
        files = packed(deployment.site_folder(site.name) / f"{site.name}.tar.gz")
        own = keys[deployment.site_folder(site.name) / "node.key"]
        assert [name for name, data in files.items() if b"PRIVATE KEY-----" in data] == [f"{site.name}/node.key"]
        assert files[f"{site.name}/node.key"] == own
        assert files[f"{site.name}/ca.crt"] == (deployment.authority / "ca.crt").read_bytes()
        unit = files[f"{site.name}/hawthorn-supernode.service"].decode()
        assert "fl.example.org:9092" in unit
        assert f"partition-id={site.number}" in unit


@WITH_SPACES
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(deployment, tmp_path):
    units = sorted((deployment.folder / "production" / "systemd").glob("*.service"))
    # systemd looks whether programs exist, and a site's are not on this machine
    site = (deployment.site_folder("north") / "hawthorn-supernode.service").read_text()
    (tmp_path / "hawthorn-supernode.service").write_text(site.replace("/opt/hawthorn/bin", str(own_programs())))
    checked = [*units, tmp_path / "hawthorn-supernode.service"]
    assert {"hawthorn-superlink.service", "hawthorn-superexec.service", "hawthorn-run.service"} <= {
        unit.name for unit in units
    }
    answer = subprocess.run(["systemd-analyze", "verify", *checked], capture_output=True, text=True, check=False)
    said = [line for line in answer.stderr.splitlines() if "hawthorn" in line]
    assert (answer.returncode, said) == (0, []), answer.stderr
    # and it would say so if they were wrong
    (tmp_path / "wrong.service").write_text(units[0].read_text().replace(str(own_programs()), "/nowhere"))
    wrong = subprocess.run(["systemd-analyze", "verify", tmp_path / "wrong.service"], capture_output=True, check=False)
    assert wrong.returncode != 0


@WITH_SPACES
def test_units_and_containers_start_what_a_rehearsal_starts(deployment):
    units = deployment.folder / "production" / "systemd"
    layout = Layout(deployment.programs, deployment.server, deployment.production.folder)
    link = flower.superlink(layout, "127.0.0.1", flower.SUPERLINK_PORT)
    assert command_of(units / "hawthorn-superlink.service") == link
    document = yaml.safe_load((deployment.folder / "production" / "compose" / "compose.yaml").read_text())
    services = document["services"]
    assert {"superlink", "superexec", "front"} <= set(services)

    def options(command: list[str]) -> list[str]:
        return [word for word in command if word.startswith("--")]

    assert options(services["superlink"]["command"]) == options(link)
    # the front's port is open, all others are this machine's alone
    ports = {name: service.get("ports", []) for name, service in services.items()}
    assert ports.pop("front") == ["9092:9092"]
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)
    mounted = [volume for service in services.values() for volume in service["volumes"]]
    assert not [volume for volume in mounted if str(deployment.authority) in volume]


@pytest.mark.parametrize(
    ("chosen", "audit"),
    [("postgresql://me@db/a%20b", "postgresql://me@db/a%20b"), ("kept.db", "{data}/kept.db"), ("", "{data}/audit.db")],
    ids=["URL", "relative", "default"],
)
def test_services_look_where_the_runs_audit_is(hawthorn, tmp_path, chosen, audit):
    settings = ["--set", f"audit={chosen}"] if chosen else []
    assert hawthorn("federation", "init", "federation", *settings).status == 0
    deployment = Deployment.opened(tmp_path / "federation")
    data = str(deployment.production.folder)
    wanted = audit.format(data=data)
    assert audit_of(deployment, deployment.production) == wanted
    production = deployment.folder / "production"
    services = yaml.safe_load((production / "compose" / "compose.yaml").read_text())["services"]
    for name in ("control", "dashboard"):
        told = command_of(production / "systemd" / f"hawthorn-{name}.service")
        assert told[told.index("--audit") + 1] == wanted.replace("%", "%%")
        assert services[name]["command"][services[name]["command"].index("--audit") + 1] == wanted
    # a relative path begins where every process works
    units = [unit.read_text() for unit in (production / "systemd").glob("*.service")]
    assert all(f"\nWorkingDirectory={data}\n" in unit for unit in units)
    assert {service.get("working_dir") for name, service in services.items() if name != "front"} == {data}
    made = [path.name for path in deployment.production.folder.glob("*.db")]
    assert made == ([] if "://" in wanted else [Path(wanted).name])


@WITH_SPACES
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_the_front(deployment, tmp_path):
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # nginx makes a folder for each
    folders = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    front = f"http {{ {folders} access_log off; include '{deployment.folder}/production/nginx.conf'; }}"
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid; error_log stderr; events {{}}\n{front}\n")
    answer = subprocess.run(["nginx", "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_the_front_lets_only_supernodes_calls_through(deployment):
    text = (deployment.folder / "production" / "nginx.conf").read_text()
    places = [line.split()[1] for line in text.splitlines() if line.strip().startswith("location")]
    assert places == ["/v1/fleet/", "/"]
    assert "return 403" in text.partition("location / ")[2]


def test_certificates_are_renewed_handed_out_and_taken_back(hawthorn, deployment):
    key = (deployment.server / "server.key").read_bytes()
    before = described(deployment.server / "server.crt")
    assert hawthorn("federation", "renew", "federation").status == 0
    after = described(deployment.server / "server.crt")
    assert after.serial != before.serial
    assert after.hosts == before.hosts
    assert (deployment.server / "server.key").read_bytes() == key

    assert hawthorn("federation", "add-person", "federation", "alice", "--role", "operator").status == 0
    alice = described(deployment.person("alice") / "alice.crt")
    assert (alice.name, alice.role) == ("alice", "operator")
    assert not (deployment.server / "alice.key").exists()
    assert hawthorn("federation", "revoke", "federation", "alice").status == 0
    assert alice.serial in revoked(deployment.server)
    assert hawthorn("federation", "renew", "federation").out.startswith("renewed: operator, server, viewer;")
    assert described(deployment.authority / "alice.crt").is_revoked(revoked(deployment.server))
    (deployment.authority / "viewer.key").unlink()  # kept elsewhere
    assert hawthorn("federation", "revoke", "federation", "operator").status == 0
    assert described(deployment.person("operator") / "operator.crt").is_revoked(revoked(deployment.server))
    wrong = hawthorn("federation", "add-person", "federation", "bob", "--role", "king")
    assert wrong.status == 2
    assert "a role must be one of viewer, operator, aggregation, got 'king'" in wrong.err


def test_a_site_that_is_removed_leaves_no_key(hawthorn, deployment):
    assert hawthorn("federation", "remove-client", "federation", "south").status == 0
    after = Deployment.opened(deployment.folder)
    assert [site.name for site in after.sites] == ["north", "east"]
    assert not deployment.site_folder("south").exists()
    assert hawthorn("federation", "add-client", "federation", "west").status == 0
    # a task is cut into as many parts as there are sites: who takes another's place gets its part
    assert Deployment.opened(deployment.folder).site("west").number == 1
    assert hawthorn("federation", "add-client", "federation", "more").status == 0
    assert Deployment.opened(deployment.folder).site("more").number == 3
    wrong = hawthorn("federation", "remove-client", "federation", "sout")
    assert wrong.status == 2
    assert "no site named 'sout'" in wrong.err


# As much of `flwr supernode` as registration uses, with the SuperLink's table of nodes; a file `lost` or `refused`
# beside it names sites whose answer gets lost, or whose key is not taken.
FLWR = """\
#!{python}
import json, pathlib, random, sqlite3, sys
from cryptography.hazmat.primitives import serialization as form
here, what, words = pathlib.Path(__file__).parent, sys.argv[2], sys.argv[3:]
nodes = sqlite3.connect({database!r}, timeout=60, isolation_level=None)
nodes.execute("CREATE TABLE IF NOT EXISTS node (node_id INTEGER, public_key BLOB UNIQUE, status TEXT)")
answer = {{"success": True}}
if what == "register":
    name = words[words.index("--name") + 1]
    told = {{kind: name in (here / kind).read_text() for kind in ("lost", "refused") if (here / kind).exists()}}
    key = form.load_ssh_public_key(pathlib.Path(words[0]).read_bytes())
    pem = key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    try:
        if told.get("refused"):
            raise sqlite3.IntegrityError
        number = -random.randrange(1, 2**63)  # most ids are larger than the database's numbers
        nodes.execute("INSERT INTO node VALUES (?, ?, 'registered')", [number, pem])
        answer["node-id"] = str(number % 2**64)
    except sqlite3.IntegrityError:
        answer = {{"success": False, "error-message": "Public key already in use."}}
    if told.get("lost"):
        sys.exit("connection lost")
elif what == "unregister":
    nodes.execute("UPDATE node SET status = 'unregistered' WHERE node_id = ?", [int(words[0]) - 2**64])
else:
    rows = nodes.execute("SELECT node_id, status FROM node").fetchall()
    answer["nodes"] = [{{"node-id": str(node % 2**64), "status": status}} for node, status in rows]
print(json.dumps(answer))
sys.exit(not answer["success"])
"""


@pytest.fixture
def superlink(deployment, monkeypatch, tmp_path):
    """A deployment whose SuperLink is a table, and a switch that takes it down."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "flwr").write_text(FLWR.format(python=sys.executable, database=str(deployment.production.database)))
    (programs / "flwr").chmod(0o755)
    found = replace(deployment, programs=programs)
    found.save()
    up = {"up": True}
    monkeypatch.setattr(rehearsal, "listens", lambda port: up["up"])
    return found, lambda: up.update(up=False), lambda: up.update(up=True)


def nodes_of(deployment: Deployment) -> dict[str, str]:
    """The status of each node by site, as the SuperLink has it."""
    statuses = flower.Flwr(deployment.programs, deployment.production).nodes()
    nodes = json_in(deployment.production.registered)
    return {site.name: statuses[nodes[site.identity]] for site in deployment.sites if site.identity in nodes}


def test_keys_are_registered_once_and_those_of_removed_sites_are_taken_back(hawthorn, superlink):
    deployment, _, _ = superlink
    assert hawthorn("federation", "register", "federation").status == 0
    assert nodes_of(deployment) == {"north": "registered", "south": "registered", "east": "registered"}
    again = hawthorn("federation", "register", "federation")
    assert (again.status, again.out) == (0, "")
    gone = hawthorn("federation", "remove-client", "federation", "south")
    assert gone.status == 0, gone.err
    assert "is no node of the production SuperLink any more" in gone.out
    assert "the run waits for 3 sites: write clients = 2 into" in gone.out
    statuses = flower.Flwr(deployment.programs, deployment.production).nodes()
    assert sorted(statuses.values()) == ["registered", "registered", "unregistered"]


def test_a_site_that_is_removed_while_the_superlink_is_down_is_told_and_taken_back_later(hawthorn, superlink):
    deployment, down, back_up = superlink
    hawthorn("federation", "register", "federation")
    stolen = json_in(deployment.production.registered)[deployment.site("south").identity]
    down()
    ended = hawthorn("federation", "remove-client", "federation", "south")
    assert ended.status == 2
    assert "is down and STILL ADMITS south" in ended.err
    assert [site.name for site in Deployment.opened(deployment.folder).sites] == ["north", "east"]
    assert flower.Flwr(deployment.programs, deployment.production).nodes()[stolen] == "registered"
    back_up()
    told = hawthorn("federation", "register", "federation")
    assert f"{deployment.site('south').identity} is no node of the production SuperLink any more" in told.out
    assert flower.Flwr(deployment.programs, deployment.production).nodes()[stolen] == "unregistered"
    assert hawthorn("federation", "register", "federation").out == ""


def test_one_registration_that_fails_undoes_none_of_the_others(hawthorn, superlink):
    deployment, _, _ = superlink
    (deployment.programs / "refused").write_text("north")
    failed = hawthorn("federation", "register", "federation")
    assert failed.status == 2
    assert "north is not registered" in failed.err
    assert nodes_of(deployment) == {"south": "registered", "east": "registered"}
    (deployment.programs / "refused").unlink()
    assert hawthorn("federation", "register", "federation").status == 0
    assert set(nodes_of(deployment)) == {"north", "south", "east"}


def test_a_key_whose_registration_was_not_written_down_is_found(hawthorn, superlink):
    deployment, _, _ = superlink
    (deployment.programs / "lost").write_text("north")  # the SuperLink has it, its answer does not arrive
    assert hawthorn("federation", "register", "federation").status == 0
    assert set(nodes_of(deployment)) == {"north", "south", "east"}
    before = json_in(deployment.production.registered)
    deployment.production.registered.unlink()  # as if the command had been killed
    assert hawthorn("federation", "register", "federation").status == 0
    assert json_in(deployment.production.registered) == before
    # and a site that is removed then is taken back all the same
    public = shutil.copy(deployment.site_folder("south") / "node.key.pub", deployment.folder)
    deployment.production.registered.unlink()
    assert hawthorn("federation", "remove-client", "federation", "south").status == 0
    statuses = flower.Flwr(deployment.programs, deployment.production).nodes()
    assert statuses[before[deployment.site("south").identity]] == "unregistered"
    again = hawthorn("federation", "add-client", "federation", "south", "--public-key", str(public))
    assert again.status == 2
    assert "south is not registered" in again.err
    assert "a key that was unregistered can never be registered again" in again.err


def test_a_site_may_bring_a_key_of_its_own(hawthorn, deployment, tmp_path):
    public = node_key(tmp_path / "west")
    ended = hawthorn("federation", "add-client", "federation", "west", "--public-key", str(public))
    assert ended.status == 0, ended.err
    after = Deployment.opened(deployment.folder)
    assert (after.sites[-1].name, after.sites[-1].number) == ("west", 3)
    assert after.sites[-1].identity == node_identity(public)
    files = packed(after.site_folder("west") / "west.tar.gz")
    assert not [name for name, data in files.items() if b"PRIVATE KEY-----" in data]
    assert "west/hawthorn-supernode.service" in files
    again = hawthorn("federation", "add-client", "federation", "other", "--public-key", str(public))
    assert again.status == 2
    assert "is the key of west already" in again.err
    assert not (deployment.folder / "sites" / "other").exists()


def test_add_client_makes_a_key_where_none_is_given(hawthorn, deployment):
    ended = hawthorn("federation", "add-client", "federation", "west")
    assert ended.status == 0, ended.err
    assert "the server is down" in ended.out
    site = Deployment.opened(deployment.folder).site("west")
    assert site.identity in ended.out
    own = deployment.site_folder(site.name) / "node.key"
    assert packed(deployment.site_folder(site.name) / "west.tar.gz")["west/node.key"] == own.read_bytes()


def test_a_site_whose_addition_was_interrupted_can_be_added_again(hawthorn, deployment, tmp_path):
    authority = deployment.server / "ca.crt"
    kept = authority.read_bytes()
    authority.unlink()
    assert hawthorn("federation", "add-client", "federation", "west").status == 2
    folder = deployment.site_folder("west")
    key = (folder / "node.key").read_bytes()
    (folder / "node.key.pub").unlink()  # it might have ended before this, too
    authority.write_bytes(kept)
    # a site's own key does not go together with one that was made here
    wrong = hawthorn("federation", "add-client", "federation", "west", "--public-key", str(node_key(tmp_path / "own")))
    assert wrong.status == 2
    assert f"{folder / 'node.key'} is there already" in wrong.err
    ended = hawthorn("federation", "add-client", "federation", "west")
    assert ended.status == 0, ended.err
    assert (folder / "node.key").read_bytes() == key
    assert node_identity(folder / "node.key.pub") == Deployment.opened(deployment.folder).site("west").identity
    assert stat.S_IMODE((folder / "node.key").stat().st_mode) == 0o600
    # the public key that another site has sent, and then a key made here after all
    (deployment.folder / "sites" / "far").mkdir()
    shutil.copy(node_key(tmp_path / "far"), deployment.folder / "sites" / "far" / "node.key.pub")
    assert hawthorn("federation", "add-client", "federation", "far").status == 0
    files = packed(deployment.site_folder("far") / "far.tar.gz")
    assert files["far/node.key"] == (deployment.site_folder("far") / "node.key").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sites", "2"], "a federation that can tell a poisoned site needs at least 3 sites, got 2"),
        (["--sites", "a,b,a"], "each site needs a name of its own"),
        (["--sites", "a,b,../c"], "a site must be named with letters"),
        (["--name", "a b"], "a federation must be named with letters"),
        (["--host", "not a host"], "a host must be a name such as"),
        (["--programs", "my $bin"], "--programs must be a path without quotes, colons and any of $ % \\, got"),
        (["--port", "70000"], "--port must be from 1 to 65535, got 70000"),
        (["--programs", "nowhere"], "flwr, flower-superlink, flower-superexec, flower-supernode, hawthorn is not in"),
        (["--set", "rounds=0"], "rounds must be a whole number of at least 1, got 0"),
        (["--set", "round=5"], "no setting named 'round'; did you mean 'rounds'?"),
        (["--set", "rounds"], "a setting is written name=value"),
    ],
    ids=lambda value: value[0].lstrip("-") + value[1] if isinstance(value, list) else "",
)
def test_what_cannot_work_leaves_no_folder_behind(hawthorn, tmp_path, arguments, told):
    ended = hawthorn("federation", "init", "federation", *arguments)
    assert ended.status == 2
    assert told in ended.err
    assert not (tmp_path / "federation").exists()


def test_init_never_writes_into_a_folder_with_something_in_it(hawthorn, deployment, tmp_path):
    key = (deployment.authority / "ca.key").read_bytes()
    again = hawthorn("federation", "init", "federation")
    assert again.status == 2
    assert "is a federation already" in again.err
    assert (deployment.authority / "ca.key").read_bytes() == key
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    ended = hawthorn("federation", "init", "mine")
    assert ended.status == 2
    assert "is there already and not empty" in ended.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("command", ["up", "status", "down", "register", "run"])
def test_a_folder_that_is_no_federation_is_told(hawthorn, tmp_path, command):
    ended = hawthorn("federation", command, "elsewhere")
    assert ended.status == 2
    assert f"{tmp_path / 'elsewhere'} is no federation yet: write `hawthorn federation init" in ended.err


@pytest.mark.parametrize("sites", [1, 2, 4])
def test_a_rehearsal_needs_sites_that_are_there(hawthorn, deployment, sites):
    ended = hawthorn("federation", "up", "federation", "--sites", str(sites))
    assert ended.status == 2
    assert f"--sites must be from 3 to the 3 there are, got {sites}" in ended.err


def test_status_of_a_federation_that_is_down(hawthorn, deployment):
    ended = hawthorn("federation", "status", "federation", "--json", "-")
    assert ended.status == 0, ended.err
    document = ended.document
    assert document["processes"] == []
    assert document["run"] == {}
    assert {site["status"] for site in document["sites"]} == {"not registered"}
    days = {one["file"]: one["days_left"] for one in document["certificates"]}
    assert 3640 < days["server/ca.crt"] < 3651
    assert 396 < days["server/server.crt"] <= 397
    shown = hawthorn("federation", "status", "federation")
    assert "server/server.crt" in shown.out
    assert "north" in shown.out


@pytest.fixture
def kept(tmp_path):
    place = Place(tmp_path / "place", "rehearsal")
    place.folder.mkdir()
    processes = Processes(place, dict(os.environ) | {"FLWR_HOME": str(place.home)})
    yield processes
    processes.stop()


def test_a_process_is_known_to_the_next_command_until_it_is_stopped(kept):
    process = kept.start("sleeper", ["sleep", "1000"])
    found = Processes(kept.place, {})
    assert found.alive("sleeper")
    assert found.known["sleeper"] == process
    assert found.stop() == (1, 0)
    assert not kept.alive("sleeper")
    assert Processes(kept.place, {}).known == {}


def test_another_process_with_the_same_pid_is_left_alone(kept):
    other = subprocess.Popen(["sleep", "1000"])
    try:
        document = {"sleeper": {"name": "sleeper", "pid": other.pid, "started": 1, "port": 0}}
        kept.place.processes.write_text(json.dumps(document))
        found = Processes(kept.place, {})
        assert not found.alive("sleeper")
        assert found.stop() == (0, 0)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_helpers_in_sessions_of_their_own_are_stopped_too(kept):
    # as Flower does: the parent is gone, the helper is not its child any more
    script = "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)"
    kept.start("parent", [sys.executable, "-c", script])
    while kept.alive("parent") or not kept.helpers("sleep"):
        time.sleep(0.05)
    (helper,) = kept.helpers("sleep")
    assert kept.stop() == (0, 1)
    while helper in processes_with(f"FLWR_HOME={kept.place.home}"):
        time.sleep(0.05)


def test_who_does_not_end_when_asked_is_made_to(kept, monkeypatch):
    monkeypatch.setattr("hawthorn.scripts.deploying.processes.PATIENCE", 1.0)
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    script = f"import signal, time; {deaf}; time.sleep(1000)"
    kept.start("deaf", [sys.executable, "-c", script])
    while "deaf" not in kept.last_words("deaf").splitlines():
        time.sleep(0.05)
    assert kept.stop() == (1, 0)


def test_a_port_that_is_taken_is_told(kept):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SettingError, match=f"port {port} of superlink is taken by another process"):
            kept.start("superlink", ["sleep", "1000"], port)
    assert kept.known == {}


def test_a_process_that_ends_before_it_listens_is_told_with_its_last_words(kept):
    (port,) = free_ports(["server"]).values()
    kept.start("server", [sys.executable, "-c", "raise SystemExit('no certificate')"], port)
    with pytest.raises(Exception, match="server ended before it listened") as raised:
        kept.wait_for_port("server")
    assert "no certificate" in str(raised.value)
    assert str(kept.place.logs / "server.log") in str(raised.value)


def test_a_process_that_never_listens_is_not_waited_for_without_end(kept):
    (port,) = free_ports(["server"]).values()
    kept.start("server", [sys.executable, "-c", "print('busy', flush=True); import time; time.sleep(1000)"], port)
    while "busy" not in kept.last_words("server"):
        time.sleep(0.05)
    with pytest.raises(HawthornError, match=f"server does not listen on port {port} after 0.1 s") as raised:
        kept.wait_for_port("server", seconds=0.1)
    assert "busy" in str(raised.value)


def test_free_ports_are_free_and_differ():
    ports = free_ports("abcdefgh")
    assert len(set(ports.values())) == 8
    assert not any(map(listens, ports.values()))


def test_two_commands_do_not_bring_up_the_same_federation(hawthorn, deployment):
    with rehearsal.alone(deployment.rehearsal):
        ended = hawthorn("federation", "up", "federation")
    assert ended.status == 2
    assert "is being brought up by another `hawthorn federation up`" in ended.err
    assert json_in(deployment.rehearsal.processes) == {}


def test_status_fails_when_a_process_has_ended(hawthorn, deployment):
    place = deployment.rehearsal
    place.folder.mkdir()
    processes = Processes(place, dict(os.environ) | {"FLWR_HOME": str(place.home)})
    processes.start("supernode-north", ["true"])
    while processes.alive("supernode-north"):
        time.sleep(0.05)
    ended = hawthorn("federation", "status", "federation")
    processes.stop()
    assert ended.status == 1
    assert "supernode-north.log" in ended.out


def test_status_of_production_fails_while_nobody_listens_in_its_place(hawthorn, deployment, monkeypatch):
    up = {9091, 9092, 9443, 9444}
    monkeypatch.setattr(status, "listens", lambda port: port in up)
    monkeypatch.setattr(status, "is_listening", lambda place: False)
    ended = hawthorn("federation", "status", "federation", "--production", "--json", "-")
    assert ended.status == 0, ended.err
    told = {one["name"]: (one["port"], one["alive"]) for one in ended.document["processes"]}
    assert told == {
        "superlink": (9091, True),
        "front": (9092, True),
        "control": (9443, True),
        "dashboard": (9444, True),
    }
    up.remove(9091)
    shown = hawthorn("federation", "status", "federation", "--production")
    assert shown.status == 1
    assert "see journalctl --unit hawthorn-superlink" in shown.out


@pytest.mark.parametrize(("sites", "hostile"), [(3, 1), (4, 1), (7, 2)])
def test_the_recipe_brings_poisoned_sites_into_quarantine_and_trains_meanwhile(tmp_path, sites, hostile):
    deployment = Deployment(tmp_path, "test", ("localhost",), 9092, own_programs())
    chosen = {"hostile": hostile, "attack": "sign_flip"}
    settings = Settings.parse(settings_of(deployment, deployment.rehearsal, sites, chosen))
    assert not settings.remark
    federation = Federation.of(settings, settings.recipe)
    run = on_engine("in-process", sites, lambda grid: federation.run("defended", grid, lambda _: None))
    assert set(range(sites)) - set(run.records[-1].verdicts) == federation.hostile  # who is in quarantine is not asked
    assert run.accuracy[-1] > 0.85
