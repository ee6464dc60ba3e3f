"""The dashboard over a real audit: who gets in, what is told, what is ordered, and what is kept out."""

import asyncio
import json
import re
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dashboard_rounds
import httpx
import numpy as np
import pytest
from audit_rounds import record_of, strange_record
from hawthorn.scripts.dashboard import app
from hawthorn.server.audit import Audit
from hawthorn.server.audit.census import CATCH_UP
from hawthorn.server.certificates import Authority
from hawthorn.server.dashboard import connections, telling, users
from hawthorn.server.dashboard.feed import QUEUE, Feed, News
from hawthorn.server.dashboard.following import Following
from hawthorn.server.dashboard.serving import Place, Served, pair_of
from hawthorn.server.dashboard.sessions import IDLE, LONGEST, MOST, ONCE, Sessions, Throttle
from hawthorn.server.dashboard.users import Users, matches, nobody, scrypt_hash
from hawthorn.server.metrics import Exposed
from hawthorn.strategies import AuditError, SettingError
from typer.testing import CliRunner

PASSWORD = "berries in winter"
MARKUP_MAKERS = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"


@pytest.fixture(scope="module", autouse=True)
def cheap_hashes():
    """Hashes that take no time to make: as they tell themselves how they were made, the rest is as ever."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(users, "LOG_COST", 6)
        nobody.cache_clear()
        yield
    nobody.cache_clear()


@pytest.fixture(scope="module")
def users_file(tmp_path_factory, cheap_hashes):
    path = tmp_path_factory.mktemp("users") / "users"
    known = Users(path)
    known.put("ada", "operator", PASSWORD)
    known.put("vic", "viewer", PASSWORD)
    return path


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """An audit with a finished run of real rounds."""
    folder = tmp_path_factory.mktemp("watched")
    with Audit.open(folder / "audit.db") as audit:
        dashboard_rounds.hold(audit, folder / "checkpoints", 6, evaluate=quick)
        yield audit


def quick(round, arrays):
    return dashboard_rounds.worth(0, arrays)


@pytest.fixture
def open_run(tmp_path):
    """An audit with a run that goes on, held by hand: two rounds are over."""
    with Audit.open(tmp_path / "audit.db") as audit, audit.run({"rounds": 9}, name="going on") as run:
        run(record_of(1))
        run.evaluated(1, {"accuracy": 0.5})
        run(record_of(2))
        yield audit, run


@contextmanager
def web(audit, users_file, *, sessions=None, exposed=None, **where):
    """A client of the dashboard, which is served on a port of its own meanwhile."""
    known = Users(users_file) if users_file else None
    place = Place.at("127.0.0.1:0", **where)
    sessions = sessions or Sessions(known)
    served = Served(audit, known, place, sessions, exposed)
    thread = threading.Thread(target=served.run)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=60) as client:
            client.sessions = sessions
            yield client
    finally:
        served.stop()
        thread.join()


def enter(client, name="ada", password=PASSWORD):
    return client.post("/login", data={"name": name, "password": password})


def let_in(client, name="ada"):
    """Begin a session without the door, whose hashing takes its time."""
    user = client.sessions.users.find(name)
    token = client.sessions.begun(name, user.role, user.hash)
    client.cookies.clear()
    client.cookies.set(f"hawthorn-{client.base_url.port}", token)


@pytest.fixture(scope="module")
def site(watched, users_file):
    """The dashboard of the finished run."""
    with web(watched, users_file) as client:
        yield client


@pytest.fixture
def ada(site):
    let_in(site)
    yield site
    site.cookies.clear()


def csrf(client):
    return {"x-csrf-token": client.get("/api/me").json()["csrf"]}


# who gets in


@pytest.mark.parametrize(
    "path",
    ["/api/me", "/api/runs", "/api/runs/1", "/api/runs/1/rounds", "/api/runs/1/rounds/1", "/api/runs/1/clients",
     "/api/runs/1/rounds/1/similarity", "/api/runs/1/clients/1", "/api/runs/1/orders", "/events?run=1"],
)  # fmt: skip
def test_nobody_is_told_anything_without_a_session(site, path):
    assert site.get(path).status_code == 401
    assert site.get(path, headers={"cookie": f"hawthorn-{site.base_url.port}=made-up"}).status_code == 401
    assert site.get("/").headers["location"] == "/login"
    assert site.post("/api/runs/1/orders", json={"kind": "pause"}).status_code == 401
    assert site.post("/api/runs/1/verify").status_code == 401


def test_a_password_opens_the_door_and_a_wrong_one_does_not(watched, users_file):
    with web(watched, users_file) as client:
        assert "Name or password is wrong" in enter(client, "ada", "not that one").text
        assert enter(client, "nobody").status_code == 401
        answer = enter(client)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie
        assert client.get("/api/me").json()["role"] == "operator"
        assert client.get("/login").headers["location"] == "/"


def test_behind_tls_the_cookie_is_for_tls_alone(watched, users_file):
    with web(watched, users_file, public="https://fl.example.org") as client:
        answer = enter(client)
        assert answer.headers["set-cookie"].startswith("__Host-hawthorn=")
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "max-age" in answer.headers["strict-transport-security"]


def test_logging_out_ends_the_session_itself(ada):
    kept = dict(ada.cookies)
    assert ada.post("/logout").status_code == 303  # without the token, another site's wish
    ada.cookies.update(kept)
    assert ada.get("/api/me").status_code == 200
    ada.post("/logout", headers=csrf(ada))
    ada.cookies.update(kept)
    assert ada.get("/api/me").status_code == 401


def test_a_session_ends_with_the_password_the_role_and_the_user(watched, tmp_path):
    known = Users(tmp_path / "users")
    for change in (
        lambda: known.put("eve", "operator", "quite another one"),
        lambda: known.put("eve", "viewer", PASSWORD),
        lambda: known.remove("eve"),
    ):
        known.put("eve", "operator", PASSWORD)
        with web(watched, known.path) as client:
            let_in(client, "eve")
            assert client.get("/api/me").status_code == 200
            change()
            assert client.get("/api/me").status_code == 401


def test_who_tries_often_has_to_wait_and_others_do_not(watched, users_file):
    now = [1000.0]
    sessions = Sessions(Users(users_file), clock=lambda: now[0])
    with web(watched, users_file, sessions=sessions) as client:
        codes = [enter(client, "vic", "wrong").status_code for _ in range(6)]
        assert codes == [401] * 5 + [429]
        refused = enter(client, "vic")  # even with the right one
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert enter(client, "ada").status_code == 303
        now[0] += 2
        assert enter(client, "vic").status_code == 303


@pytest.mark.parametrize(("address", "code"), [("127.0.0.2", 303), ("127.0.0.3", 429)])
def test_only_a_trusted_proxy_is_believed_from_where_somebody_comes(watched, users_file, address, code):
    with web(watched, users_file, public="https://fl.example.org", proxies=["127.0.0.2/32"]) as client:
        proxy = httpx.HTTPTransport(local_address=address)
        with httpx.Client(base_url=client.base_url, timeout=60, transport=proxy) as client:
            client.headers["x-forwarded-for"] = "203.0.113.7"
            assert [enter(client, "vic", "wrong").status_code for _ in range(6)] == [401] * 5 + [429]
            client.headers["x-forwarded-for"] = "203.0.113.7, 198.51.100.9"
            assert enter(client, "vic").status_code == code


def test_a_login_link_works_once_and_not_for_long(watched):
    now = [0.0]
    sessions = Sessions(None, clock=lambda: now[0])
    first, second = sessions.link_token("operator"), sessions.link_token("viewer")
    with web(watched, None, sessions=sessions) as client:
        assert client.post("/login", data={"once": first}).status_code == 303
        assert client.get("/api/me").json()["role"] == "operator"
        client.cookies.clear()
        assert client.post("/login", data={"once": first}).status_code == 401
        now[0] = ONCE + 1
        assert client.post("/login", data={"once": second}).status_code == 401
        assert enter(client, "login link", "").status_code == 401


def test_sessions_end_by_themselves():
    now = [0.0]
    sessions = Sessions(None, clock=lambda: now[0])
    token = sessions.begun("a", "viewer")
    now[0] = IDLE - 1
    assert sessions.find(token)
    now[0] += IDLE + 1
    assert sessions.find(token) is None
    token = sessions.begun("a", "viewer")
    for _ in range(int(LONGEST // IDLE) + 1):
        now[0] += IDLE - 1
        found = sessions.find(token)
    assert found is None
    first = sessions.begun("a", "viewer")
    for _ in range(MOST):
        sessions.begun("b", "viewer")
    assert sessions.find(first) is None


def test_a_throttle_remembers_a_bounded_number_of_keys():
    throttle = Throttle(1, clock=lambda: 0.0)
    for number in range(5 * MOST):
        throttle.failed(str(number))
    assert throttle.wait("0") == 0
    assert throttle.wait(str(5 * MOST - 1)) > 0


# the users file


def test_passwords_are_kept_as_salted_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr(users, "LOG_COST", 15)
    Users(tmp_path / "users").put("ada", "operator", PASSWORD)
    text = (tmp_path / "users").read_text()
    assert PASSWORD not in text
    assert re.fullmatch(r"ada:operator:scrypt\$15\$8\$3\$\S+\n", text)
    assert (tmp_path / "users").stat().st_mode & 0o077 == 0
    monkeypatch.setattr(users, "LOG_COST", 6)
    first, second = scrypt_hash(PASSWORD), scrypt_hash(PASSWORD)
    assert first != second
    assert matches(PASSWORD, first)
    assert not matches(PASSWORD + " ", first)


def test_what_is_wrong_with_users_is_said(tmp_path):
    known = Users(tmp_path / "users")
    with pytest.raises(SettingError, match="at least 10"):
        known.put("ada", "viewer", "short")
    with pytest.raises(SettingError, match="viewer, operator"):
        known.put("ada", "admin", PASSWORD)
    with pytest.raises(SettingError, match="name must be"):
        known.put("ada:operator", "viewer", PASSWORD)
    with pytest.raises(SettingError, match="no user 'ada'"):
        known.remove("ada")
    (tmp_path / "users").write_text("ada:operator:plain password\n")
    with pytest.raises(SettingError, match="line 1"):
        known.all()


def test_a_users_file_that_says_nonsense_lets_nobody_in_until_it_is_mended(watched, tmp_path):
    path = tmp_path / "users"
    Users(path).put("ada", "operator", PASSWORD)
    good = path.read_text()
    with web(watched, path) as client:
        let_in(client)
        path.write_text(good + "bob:viewer\n")
        for answer in (client.get("/api/me"), client.get("/events?run=1"), enter(client)):
            assert answer.status_code == 503
            assert answer.json() == {"error": "the users file cannot be read"}
        path.write_text(good)
        assert client.get("/api/me").status_code == 200


# what is kept out


def test_every_answer_forbids_what_a_page_does_not_need(ada):
    for path in ("/", "/login", "/api/runs", "/static/dashboard.js", "/nowhere"):
        headers = ada.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert ada.get("/api/runs").headers["cache-control"] == "no-store"


def test_pages_carry_no_inline_script_or_style_and_ask_nobody_else():
    static = Path(telling.__file__).parent / "static"
    for page in static.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|\bstyle=|<style", text)
    for file in static.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), file
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            file
        )


def test_static_files_end_at_their_folder(ada):
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"):
        assert ada.get(path).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://["}, {"origin": "http://127.0.0.1:81"},
     {"sec-fetch-site": "cross-site"},
     {"sec-fetch-site": "same-site"}],
)  # fmt: skip
def test_other_sites_change_nothing(ada, headers):
    token = csrf(ada)
    assert ada.post("/api/runs/1/verify", headers=token | headers).status_code == 403
    assert ada.post("/login", data={"name": "ada", "password": PASSWORD}, headers=headers).status_code == 403
    own = f"http://127.0.0.1:{ada.base_url.port}"
    assert ada.post("/api/runs/1/verify", headers=token | {"origin": own}).status_code == 200


def test_an_order_needs_the_token_of_its_session(open_run, users_file):
    audit, run = open_run
    with web(audit, users_file) as client, web(audit, users_file) as other:
        let_in(client)
        let_in(other)
        path, order = f"/api/runs/{run.id}/orders", {"kind": "pause"}
        assert client.post(path, json=order).status_code == 403
        assert client.post(path, json=order, headers=csrf(other)).status_code == 403
        assert client.post(path, json=order, headers=csrf(client)).status_code == 201


def test_a_name_that_somebody_points_here_is_not_served(site):
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example"):
        assert site.get("/login", headers={"host": host}).status_code == 421
    for host in ("127.0.0.1:8080", "localhost", "[::1]:8080", "LOCALHOST:1"):
        assert site.get("/login", headers={"host": host}).status_code == 200


def test_an_answer_to_what_nobody_thought_of_forbids_the_same(ada, monkeypatch):
    monkeypatch.setattr(telling, "run_named", lambda run: 1 / 0)
    answer = ada.get("/api/runs")
    assert answer.status_code == 500
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_stream_begins_whatever_was_seen_last(ada):
    with ada.stream("GET", "/events?run=1", headers={"last-event-id": "9" * 5000}) as stream:
        assert stream.status_code == 200


def test_bodies_that_are_too_large_are_refused(ada):
    assert ada.post("/login", content=b"x" * 20_000).status_code == 413

    def pieces():
        for _ in range(100):
            yield b"x" * 1000

    assert ada.post("/login", content=pieces()).status_code == 413


@pytest.mark.parametrize(
    ("path", "code"),
    [("/api/runs/99", 404), ("/api/runs/1/rounds/99", 404), ("/api/runs/1/clients/nobody", 404),
     ("/events?run=99", 404),     ("/api/runs/1/rounds?points=1e9", 400), ("/api/runs/1/rounds?last=-1", 400),
     ("/api/runs/1/clients?sort=color", 400),
     ("/api/runs/1/clients?limit=999999", 400), ("/api/runs/1/rounds/99/similarity", 503), ("/events?run=x", 400)],
)  # fmt: skip
def test_what_is_not_there_and_what_makes_no_sense_is_told(ada, path, code):
    answer = ada.get(path)
    assert answer.status_code == code
    assert answer.json()["error"]


def test_who_sends_no_request_is_not_waited_for(open_run, users_file, monkeypatch):
    audit, run = open_run
    with web(audit, users_file) as client:
        let_in(client)
        with client.stream("GET", f"/events?run={run.id}") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 2000"
            monkeypatch.setattr(connections, "PATIENCE", 0.3)
            for sent in (
                b"",
                b"GET / HTTP/1.1\r\nHost:",
                b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
            ):
                with socket.create_connection(("127.0.0.1", client.base_url.port)) as silent:
                    silent.sendall(sent)
                    assert silent.recv(1) == b""
            run(record_of(3))
            assert next(line for line in lines if line.startswith("id: "))


def test_no_address_but_a_proxys_holds_many_connections(watched, users_file, monkeypatch):
    monkeypatch.setattr(connections, "MOST_OF_ONE", 2)
    with web(watched, users_file) as client, ExitStack() as held:
        for source, most in (("127.0.0.2", 2), ("127.0.0.1", 5)):
            for _ in range(most):
                address = ("127.0.0.1", client.base_url.port)
                one = held.enter_context(socket.create_connection(address, source_address=(source, 0)))
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert one.recv(8) == b"HTTP/1.1"
        with socket.create_connection(address, source_address=("127.0.0.2", 0)) as one:
            assert one.recv(1) == b""


# what is told


def test_a_run_at_a_glance(ada, watched):
    told = ada.get("/api/runs/1").json()
    rounds = watched.rounds(1)
    assert (told["name"], told["status"], told["round"], told["rounds"]) == ("watched", "finished", 6, 6)
    assert told["last"]["accepted"] == rounds[-1].accepted
    assert told["metric"] == "accuracy"
    assert told["head"] == watched.head(1).digest
    assert told["settings"]["task"] == "<b>digits</b>"
    assert [run["id"] for run in ada.get("/api/runs").json()["runs"]] == [1]


def test_rounds_as_columns(ada, watched):
    told = ada.get("/api/runs/1/rounds?points=100").json()
    rounds = watched.rounds(1)
    assert told["last"] == [one.number for one in rounds]
    assert told["rejected"] == [one.rejected for one in rounds]
    assert told["metrics"]["accuracy"]["mean"] == [one.metrics["accuracy"] for one in rounds]
    assert told["initial"]["accuracy"] == watched.metrics(1)[0]["accuracy"]
    assert "class-recalls" not in told["metrics"]
    few = ada.get("/api/runs/1/rounds?points=2&last=4").json()
    assert (few["step"], few["first"], few["last"]) == (2, [3, 5], [4, 6])
    assert few["accepted"] == [np.mean([one.accepted for one in rounds[k : k + 2]]) for k in (2, 4)]
    assert few["metrics"]["accuracy"]["high"][1] == max(one.metrics["accuracy"] for one in rounds[4:])


def test_a_round_with_verdicts_and_reasons_as_they_are(ada, watched):
    told = ada.get("/api/runs/1/rounds/2").json()
    found = {one.client: one for one in watched.contributions(1, 2)}
    assert {one["client"] for one in told["verdicts"]} == set(found)
    refused = next(one for one in told["verdicts"] if not one["admitted"])
    assert dashboard_rounds.MARKUP in refused["reason"]
    assert all(one["p_value"] == found[one["client"]].verdict.p_value for one in told["verdicts"] if one["admitted"])
    assert [one["accepted"] for one in told["verdicts"]] == sorted(one["accepted"] for one in told["verdicts"])


def test_cosines_are_those_of_the_geometry(ada, watched):
    content = ada.get("/api/runs/1/rounds/3/similarity").content
    (length,) = struct.unpack("<I", content[:4])
    head = json.loads(content[4 : 4 + length])
    rows = [one.client for one in watched.contributions(1, 3) if one.admitted]
    order = [rows.index(one["client"]) for one in head["clients"]]
    assert sorted(order) == list(range(len(rows)))
    cosines = watched.geometry(1, 3).cosines[np.ix_(order, order)]
    told = np.frombuffer(content[4 + length :], np.int8).reshape(len(rows), len(rows)) / 127
    assert np.abs(told - cosines).max() <= 0.5 / 127 + 1e-9
    accepted = [one["accepted"] for one in head["clients"]]
    assert accepted == sorted(accepted)
    i, j, most = head["pairs"][0]
    assert most == pytest.approx((cosines - 2 * np.eye(len(rows))).max())
    assert cosines[i, j] == most


def test_clients_and_their_stories(ada, watched):
    told = ada.get("/api/runs/1/clients").json()
    clients = {one.identity: one for one in watched.clients(1)}
    assert told["total"] == len(clients) == dashboard_rounds.ledger_rounds.CLIENTS
    worst = told["clients"][0]
    hostile = min(clients)
    assert worst["identity"] == hostile
    assert worst["rejected"] == clients[hostile].rejected > 0
    page = ada.get("/api/runs/1/clients?limit=3&offset=2&sort=name").json()
    assert [one["identity"] for one in page["clients"]] == sorted(clients)[2:5]
    assert ada.get(f"/api/runs/1/clients?search={hostile}").json()["total"] == 1
    story = ada.get(f"/api/runs/1/clients/{hostile}").json()["history"]
    contributions = watched.contributions(1, client=hostile)
    assert [one["round"] for one in story["verdicts"]] == [one.round for one in reversed(contributions)]
    assert set(story["scores"]) == set(contributions[0].verdict.scores)
    earlier = ada.get(f"/api/runs/1/clients/{hostile}?before={contributions[-1].round}").json()["history"]
    assert [one["round"] for one in earlier["verdicts"]] == [one.round for one in reversed(contributions[:-1])]
    assert earlier["total"] == story["total"] == len(contributions)


def test_numbers_that_json_does_not_know_are_none(tmp_path, users_file):
    with Audit.open(tmp_path / "audit.db") as audit, audit.run({}) as run:
        run(strange_record(1))
        run.evaluated(1, {"accuracy": float("nan"), "loss": float("inf")})
        with web(audit, users_file) as client:
            let_in(client)
            told = client.get("/api/runs/1/rounds/1").json()
            assert told["metrics"] == {"accuracy": None, "loss": None}
            verdict = next(one for one in told["verdicts"] if one["admitted"])
            assert (verdict["p_value"], verdict["scores"]["distance"]) == (None, None)
            assert client.get("/api/runs/1/rounds").json()["notable"][0]["skipped"] == "every client was rejected"
            assert client.get("/api/runs/1/rounds/1/similarity").content[4:] == b"{}"
            assert client.get("/api/runs/1/clients/7").json()["history"]["total"] == 2


def test_clients_metrics_where_the_server_has_none(tmp_path):
    with Audit.open(tmp_path / "audit.db") as audit, audit.run({}) as run:
        run(record_of(1))
        run.evaluated(1, {"clients/accuracy": 0.5, "training/loss": 1.0})
        following = Following(audit, audit.find_run(run.id))
        following.news(following.now.run)
    assert telling.main_metric(following.now) == "clients/accuracy"


@pytest.mark.parametrize("at_once", [1, CATCH_UP + 2])
def test_what_is_followed_is_what_the_audit_tells(tmp_path, at_once):
    with Audit.open(tmp_path / "audit.db") as audit, audit.run({}) as run:
        following = Following(audit, audit.find_run(run.id))
        for number in range(1, CATCH_UP + 6):
            run(record_of(number, clients=6 + number % 3) if number % 4 else strange_record(number))
            run.evaluated(number, {"accuracy": number / 100})
            if number % at_once == 0:
                following.news(audit.find_run(run.id))
        following.news(audit.find_run(run.id))
        now = following.now
        assert now.rounds == audit.rounds(run.id)
        assert sorted(now.clients.values(), key=str) == sorted(audit.clients(run.id), key=str)
        assert now.number == audit.head(run.id).number


def test_whoever_comes_first_nobody_sees_a_run_half_read(watched):
    for _ in range(5):
        feed, start = Feed(watched), threading.Barrier(8)

        def look(_, feed=feed, start=start):
            start.wait()
            return feed.followed(watched.find_run(1)).now

        with ThreadPoolExecutor(8) as pool:
            assert {(len(now.rounds), len(now.clients)) for now in pool.map(look, range(8))} == {(6, 8)}


# orders


def test_an_operator_orders_and_a_viewer_does_not(open_run, users_file):
    audit, run = open_run
    path = f"/api/runs/{run.id}/orders"
    order = {"kind": "quarantine", "client": "3", "rounds": 5}
    with web(audit, users_file) as client:
        let_in(client, "vic")
        assert client.post(path, json=order, headers=csrf(client)).status_code == 403
        assert audit.orders(run.id) == ()
        client.cookies.clear()
        let_in(client, "ada")
        assert client.post(path, json=order, headers=csrf(client)).status_code == 201
        (placed,) = audit.orders(run.id)
        assert (placed.kind, placed.client, placed.rounds, placed.by) == ("quarantine", "3", 5, "ada (dashboard)")
        assert client.get(path).json()["orders"][0]["result"] is None


@pytest.mark.parametrize(
    ("order", "code"),
    [({"kind": "stop"}, 400), ({"kind": "sudo"}, 400), ({}, 400), ([], 400), ({"kind": "pause", "client": "1"}, 400),
     ({"kind": ["pause"]}, 400), ({"kind": "quarantine", "client": 3}, 400),
     ({"kind": "quarantine", "client": "x" * 65}, 400),
     ({"kind": "quarantine", "client": "3", "rounds": "5"}, 400),
     ({"kind": "quarantine", "client": "3", "rounds": True}, 400),
     ({"kind": "quarantine", "client": "nobody"}, 409), ({"kind": "quarantine", "client": "3", "rounds": 0}, 409),
     ({"kind": "roll_back"}, 409), ({"kind": "roll_back", "round": 1}, 409)],
)  # fmt: skip
def test_orders_that_make_no_sense_are_refused(open_run, users_file, order, code):
    audit, run = open_run
    with web(audit, users_file) as client:
        let_in(client)
        answer = client.post(f"/api/runs/{run.id}/orders", json=order, headers=csrf(client))
        assert answer.status_code == code
        assert answer.json()["error"]
        assert client.post(f"/api/runs/{run.id}/orders", content=b"{", headers=csrf(client)).status_code == 415
        assert audit.orders(run.id) == ()


def test_a_run_that_is_over_takes_no_orders(ada):
    answer = ada.post("/api/runs/1/orders", json={"kind": "pause"}, headers=csrf(ada))
    assert answer.status_code == 409
    assert "finished" in answer.json()["error"]


def test_whom_an_order_holds_is_shown_as_the_audit_tells_it(tmp_path, users_file):
    def order_first(round, arrays):
        if round == 2:
            audit.order(1, "quarantine", victim(audit, 3), rounds=2, by="ada")
            audit.order(1, "quarantine", victim(audit, 4), by="ada")
        if round == 4:
            audit.order(1, "release", victim(audit, 4), by="ada")
        following.news(audit.find_run(1))
        seen.append(
            (
                {one.identity for one in following.now.clients.values() if one.held},
                {one.identity for one in audit.clients(1) if one.held},
            )
        )
        return quick(round, arrays)

    seen = []
    with Audit.open(tmp_path / "audit.db") as audit:
        with audit.run({}, name="watched", checkpoints=tmp_path / "c"):
            following = Following(audit, audit.find_run(1))
        dashboard_rounds.hold(audit, tmp_path / "c", 7, evaluate=order_first)
    assert [shown for shown, _ in seen] == [told for _, told in seen]
    assert max(len(shown) for shown, _ in seen) == 2
    assert seen[-1][0] == set()


def victim(audit, place):
    return audit.clients(1)[place].identity


def test_a_chain_is_verified_on_demand(ada, watched, tmp_path):
    assert ada.post("/api/runs/1/verify", headers=csrf(ada)).json() == {"entry": watched.head(1).number, "faults": []}


def test_a_chain_that_was_changed_is_told(open_run, users_file, tmp_path):
    audit, run = open_run
    with sqlite3.connect(tmp_path / "audit.db") as connection:
        connection.execute("UPDATE verdicts SET reason = 'nothing' WHERE round = 1")
    connection.close()
    with web(audit, users_file) as client:
        let_in(client, "vic")
        faults = client.post(f"/api/runs/{run.id}/verify", headers=csrf(client)).json()["faults"]
        assert faults == list(audit.verify(run.id))
        assert faults


# news


def gathered(viewer):
    found = []
    while not viewer.queue.empty():
        found.append(viewer.queue.get_nowait())
    return found


def test_news_reach_every_viewer_and_are_asked_for_once(open_run):
    audit, run = open_run

    async def scene():
        feed = Feed(audit)
        await feed.look()
        viewers = [feed.joined(run.id, None)[0] for _ in range(3)]
        run(record_of(3))
        await feed.look()
        run.evaluated(3, {"accuracy": 0.75})
        audit.order(run.id, "pause", by="ada")
        await feed.look()
        return [gathered(viewer) for viewer in viewers]

    first, *others = asyncio.run(scene())
    assert all(one == first for one in others)
    entries = [news for news in first if news.event == "entry"]
    assert [news.id for news in entries] == [one.number for one in audit.entries(run.id)[-2:]]
    assert entries[0].data["held"]["number"] == 3
    assert entries[1].data["held"]["metrics"] == {"accuracy": 0.75}
    assert [news.data["open_orders"] for news in first if news.event == "run"] == [0, 1]


def test_a_run_in_which_nothing_happens_is_not_told_anew(open_run, monkeypatch):
    audit, run = open_run
    told = telling.run_told
    called = []

    def counted(now):
        with pytest.raises(RuntimeError, match="no running event loop"):  # it may take long, and holds up nobody
            asyncio.get_running_loop()
        called.append(now.number)
        return told(now)

    async def scene():
        feed = Feed(audit)
        for act in (None, None, lambda: audit.order(run.id, "pause", by="ada"), None, lambda: run(record_of(3)), None):
            if act:
                act()
            await feed.look()

    monkeypatch.setattr(telling, "run_told", counted)
    asyncio.run(scene())
    last = audit.head(run.id).number
    assert called == [last - 1, last - 1, last]


def test_a_page_that_was_away_is_told_what_it_missed(open_run):
    audit, run = open_run

    async def scene():
        feed = Feed(audit)
        await feed.look()
        return feed.joined(run.id, 1)[1], feed.joined(run.id, audit.head(run.id).number)[1]

    missed, nothing = asyncio.run(scene())
    assert [news.id for news in missed] == [one.number for one in audit.entries(run.id, after=1)]
    assert nothing == []


def test_a_page_that_is_far_behind_is_told_to_begin_again(open_run):
    audit, run = open_run

    async def scene():
        feed = Feed(audit)
        viewer, _ = feed.joined(run.id, None)
        for number in range(3 * QUEUE):
            viewer.tell(News("entry", {}, number))
        return gathered(viewer)

    found = asyncio.run(scene())
    assert len(found) <= QUEUE
    assert found[0].event == "reload"


@pytest.mark.parametrize(
    ("error", "told"),
    [(AuditError("the disk is gone"), "the disk is gone"),
     (MemoryError("full"), "cannot look for news: MemoryError('full')")],
)  # fmt: skip
def test_whatever_goes_wrong_is_told_and_tried_again(open_run, monkeypatch, error, told):
    audit, run = open_run

    async def scene():
        feed = Feed(audit)
        viewer, _ = feed.joined(run.id, None)
        with monkeypatch.context() as broken:
            broken.setattr(audit, "runs", failing)
            broken.setattr("hawthorn.server.dashboard.feed.POLL", 0.01)
            task = asyncio.create_task(feed.run())
            while not feed.fault and not task.done():
                await asyncio.sleep(0.01)
        while feed.fault and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()
        return [news.data for news in gathered(viewer) if news.event == "fault"]

    def failing():
        raise error

    assert asyncio.run(scene()) == [{"fault": told}, {"fault": ""}]


# the command


@pytest.fixture
def served(tmp_path, users_file):
    """Start the command with options; answers what it printed. All are ended by their ids."""
    started = []

    def start(audit, *options):
        command = [
            sys.executable,
            "-m",
            "hawthorn.scripts.main",
            "dashboard",
            "--audit",
            str(audit),
            "--json",
            *options,
        ]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        line = process.stdout.readline()
        return process, json.loads(line) if line else process.stderr.read()

    yield start
    for process in started:
        process.terminate()
        process.communicate()


def test_the_command_serves_over_tls_and_streams_news(open_run, users_file, served, tmp_path):
    _, run = open_run
    certificates = tmp_path / "ca"
    authority = Authority.made(certificates)
    authority.server("server", ["127.0.0.1"])
    process, told = served(
        tmp_path / "audit.db",
        "--listen",
        "127.0.0.1:0",
        "--users",
        str(users_file),
        "--certificates",
        str(tmp_path / "ca"),
    )
    assert told["url"] == f"https://127.0.0.1:{told['port']}"
    trust = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    with httpx.Client(base_url=told["url"], verify=trust, timeout=60) as client:
        assert client.post("/login", data={"name": "vic", "password": PASSWORD}).status_code == 303
        last = client.get(f"/api/runs/{run.id}").json()["entry"]
        with client.stream("GET", f"/events?run={run.id}", headers={"last-event-id": str(last - 1)}) as stream:
            lines = stream.iter_lines()
            assert next(line for line in lines if line.startswith("id: ")) == f"id: {last}"
            run(record_of(3))
            assert next(line for line in lines if line.startswith("id: ")) == f"id: {last + 1}"
        assert "hawthorn_rounds_total" in client.get("/metrics").text
    process.terminate()
    assert process.wait() == 0
    assert "Traceback" not in process.stderr.read()


def test_what_would_not_be_safe_is_not_served(tmp_path, users_file):
    with pytest.raises(SettingError, match="without TLS"):
        Place.at("0.0.0.0:0")
    assert Place.at("0.0.0.0:0", open=True).hosts is None
    assert Place.at("127.0.0.1:0", public="https://fl.example.org").secure
    assert "fl.example.org" in Place.at("127.0.0.1:0", public="https://fl.example.org").hosts
    assert Place.at("[::1]:80").host == "::1"
    assert "[fd00::1]" in Place.at("127.0.0.1:0", public="https://[fd00::1]:8443/").hosts
    for wrong in (
        "https://fl.example.org/hawthorn",
        "https://fl.example.org?a",
        "ftp://fl",
        "https://",
        "http://[",
        "http://a:b",
    ):
        with pytest.raises(SettingError, match="public-url must be"):
            Place.at("127.0.0.1:0", public=wrong)
    assert "any host name" in Place.at("0.0.0.0:0", open=True).warning
    assert Place.at("127.0.0.1:0").warning == ""
    away = {"public": "https://fl.example.org", "open": True}
    assert "--trusted-proxy" in Place.at("0.0.0.0:0", **away).warning
    assert Place.at("0.0.0.0:0", **away, proxies=["10.0.0.2", "fd00::/8"]).warning == ""
    for wrong in ("proxy.example.org", "*", "10.0.0.1/8", ""):
        with pytest.raises(SettingError, match="trusted-proxy must be"):
            Place.at("0.0.0.0:0", **away, proxies=[wrong])
    with pytest.raises(SettingError, match="goes with public-url"):
        Place.at("0.0.0.0:0", open=True, proxies=["10.0.0.2"])
    for wrong in ("8080", "localhost:", "localhost:x", "localhost:70000"):
        with pytest.raises(SettingError, match="HOST:PORT"):
            Place.at(wrong)
    with pytest.raises(SettingError, match="go together"):
        pair_of("", "server", "a.crt", "")
    with pytest.raises(SettingError, match="not both"):
        pair_of("folder", "server", "a.crt", "a.key")


def test_users_are_managed_by_commands(tmp_path):
    file = ["--users", str(tmp_path / "users")]
    added = CliRunner().invoke(app, ["add-user", "ada", "--role", "operator", *file], input=PASSWORD + "\n")
    assert "ada may log in as operator" in added.output
    assert matches(PASSWORD, Users(tmp_path / "users").find("ada").hash)
    assert CliRunner().invoke(app, ["list-users", *file]).output == "ada\toperator\n"
    with pytest.raises(SettingError, match="at least 10"):
        CliRunner().invoke(app, ["add-user", "eve", *file], input="short\n", catch_exceptions=False)
    CliRunner().invoke(app, ["remove-user", "ada", *file])
    assert CliRunner().invoke(app, ["list-users", *file]).output == ""
    with pytest.raises(SettingError, match="nobody could log in"):
        CliRunner().invoke(app, ["--audit", str(tmp_path / "audit.db"), *file], catch_exceptions=False)


def test_metrics_ask_for_their_token(watched, users_file):
    with web(watched, users_file, exposed=Exposed("a-secret-of-some-length")) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
        answer = client.get("/metrics", headers={"authorization": "Bearer a-secret-of-some-length"})
        assert answer.status_code == 200
    with web(watched, users_file, exposed=Exposed(closed=True)) as client:
        assert client.get("/metrics").status_code == 401
        deadline = time.monotonic() + 60
        while client.get("/healthz").text != "ok":
            assert time.monotonic() < deadline
