"""The page in a real Chromium, over a run that commits rounds in another process."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import dashboard_rounds
import pytest
from audit_rounds import record_of
from hawthorn.server.audit import Audit
from hawthorn.server.dashboard.serving import Place, Served
from hawthorn.server.dashboard.sessions import Sessions
from hawthorn.server.dashboard.users import Users

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PASSWORD = "berries in winter"
PATIENCE = 120_000  # milliseconds that a slow machine may take for anything

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]

CONTRASTS = Path(__file__).with_name("contrasts.js").read_text().rstrip().removesuffix(";")

# Whatever may be focused or chosen, and the name by which a screen reader calls it.
EXPECTED = "status of 403|ERR_(CONNECTION|EMPTY|INCOMPLETE|SOCKET)"  # what tests bring about by themselves

NAMELESS = """() => [...document.querySelectorAll("button, select, input, [tabindex='0'], canvas")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length))
  .map((one) => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run that goes on in a process of its own, and the dashboard in another."""
    folder = tmp_path_factory.mktemp("dashboard")
    users = Users(folder / "users")
    users.put("ada", "operator", PASSWORD)
    users.put("vic", "viewer", PASSWORD)
    audit = folder / "audit.db"
    with Audit.open(audit) as opened:
        dashboard_rounds.hold(opened, folder / "checkpoints", 4, evaluate=lambda n, a: dashboard_rounds.worth(0, a))
    program = [sys.executable, str(Path(dashboard_rounds.__file__)), str(audit), str(folder / "checkpoints")]
    command = [sys.executable, "-m", "hawthorn.scripts.main", "dashboard", "--audit", str(audit), "--json"]
    command += ["--listen", "127.0.0.1:0", "--users", str(users.path), "--login-link", "operator"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen(program, **quiet, env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0"}) as run,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as served,
    ):
        try:
            told = json.loads(served.stdout.readline())
            with Audit.open(audit) as opened:
                yield {"audit": opened, "url": told["url"], "link": told["link"], "run": run}
        finally:
            for process in (run, served):
                process.terminate()


@pytest.fixture
def still(tmp_path):
    """Two runs of one round and of two, held by hand, the newer one of fewer clients; and their page."""
    users = Users(tmp_path / "users")
    users.put("ada", "operator", PASSWORD)
    with (
        Audit.open(tmp_path / "audit.db") as audit,
        audit.run({}, name="older") as older,
        audit.run({}, name="newer") as newer,
    ):
        older(record_of(1, clients=9))
        for number in (1, 2):
            newer(record_of(number, clients=6))
        served = Served(audit, users, Place.at("127.0.0.1:0"), Sessions(users))
        thread = threading.Thread(target=served.run)
        thread.start()
        try:
            yield {"audit": audit, "url": served.url, "older": older, "newer": newer}
        finally:
            served.stop()
            thread.join()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root Chromium has none
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield opened
        opened.close()


@pytest.fixture
def opened(place, browser):
    """Open a page as somebody, in a context of its own; whatever goes wrong on it fails the test."""
    contexts, wrong = [], []

    def open_page(name="ada", url=place["url"], **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(url)
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in wrong if not re.search(EXPECTED, text)] == []


def until(fact):
    """Return once a fact holds."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def round_shown(page):
    return int(page.inner_text("#tiles dd >> nth=0").split()[0].replace(",", ""))


def test_rounds_come_in_while_one_looks(opened, place):
    page = opened()
    first = round_shown(page)
    page.wait_for_function(f"() => parseInt(document.querySelector('#tiles dd').textContent) >= {first + 3}")
    page.wait_for_function(f"() => document.querySelector('#metric-read').textContent.match(/\\d+/)[0] > {first}")
    page.wait_for_function(f"() => parseInt(document.querySelector('#round-title').textContent.slice(6)) > {first}")
    assert page.inner_text("#live") == "live"
    assert page.locator("#replies-plot rect.rejected").count() > 0
    assert page.locator("#clients tbody tr").count() == dashboard_rounds.ledger_rounds.CLIENTS
    assert page.locator("#heat canvas").count() == 1
    # a round that one chose stays while others come
    page.click("#earlier")
    chosen = page.inner_text("#round-title")
    page.wait_for_selector("#latest[aria-pressed=false]")
    before = round_shown(page)
    page.wait_for_function(f"() => parseInt(document.querySelector('#tiles dd').textContent) > {before + 1}")
    assert page.inner_text("#round-title") == chosen


def test_what_clients_say_is_never_markup(opened):
    page = opened()
    page.fill("#search", "")
    row = page.locator("#clients tbody tr", has_text="refused").first
    row.wait_for()
    row.locator("button.link").click()
    page.wait_for_selector("#sheet table")
    assert dashboard_rounds.MARKUP in page.inner_text("#sheet")
    page.keyboard.press("Escape")
    page.click("details:has(#settings) summary")
    assert "<b>digits</b>" in page.inner_text("#settings")
    assert page.locator("img[src=x]").count() == 0
    assert page.get_attribute("body", "id") is None


def test_an_operator_quarantines_releases_and_pauses_and_the_run_obeys(opened, place):
    page, audit = opened(), place["audit"]
    run = audit.newest().id
    victim = sorted(one.identity for one in audit.clients(run))[4]
    row = page.locator(f"#clients tr[data-client='{victim}']")
    row.locator("[data-order=quarantine]").click()
    page.click("#confirm button[value=no]")
    assert audit.orders(run) == ()
    row.locator("[data-order=quarantine]").click()
    assert page.evaluate("document.activeElement.id") == "confirm-count"
    page.click("#confirm-yes")
    until(lambda: [order.result for order in audit.orders(run)] == [""])
    row.locator("text=kept in quarantine by an operator").wait_for()
    asked = audit.find_run(run) and audit.rounds(run)[-1].number
    until(lambda: audit.rounds(run)[-1].number > asked + 1)
    assert victim not in {one.client for one in audit.contributions(run, asked + 2)}
    row.locator("[data-order=release]").click()
    page.click("#confirm-yes")
    row.locator("text=good standing").wait_for()

    page.click("#pause")
    page.click("#confirm-yes")
    page.wait_for_selector("#status:text('paused')")
    assert audit.find_run(run).status == "paused"
    stopped = audit.rounds(run)[-1].number
    page.click("#resume")
    page.click("#confirm-yes")
    page.wait_for_selector("#status:text('running')")
    until(lambda: audit.rounds(run)[-1].number > stopped)

    page.click("#earlier")
    page.click("#back")
    page.click("#confirm-yes")
    until(lambda: [order.result for order in audit.orders(run)] == [""] * 5)
    orders = audit.orders(run)
    assert [order.kind for order in orders] == ["quarantine", "release", "pause", "resume", "roll_back"]
    assert {order.by for order in orders} == {"ada (dashboard)"}
    page.wait_for_function("() => document.querySelectorAll('#orders tbody .pill.good').length === 5")


def test_a_viewer_sees_no_buttons_and_is_refused(opened, place):
    page, audit = opened("vic"), place["audit"]
    placed = len(audit.orders(audit.newest().id))
    assert page.locator("[data-order]:visible, #pause:visible, #resume:visible, #back:visible").count() == 0
    page.locator("#clients tbody button.link").first.click()
    page.wait_for_selector("#sheet table")
    assert page.locator("#sheet [data-order]").count() == 0
    code = page.evaluate(
        """async () => {
          const { csrf } = await (await fetch("/api/me")).json();
          const headers = { "content-type": "application/json", "x-csrf-token": csrf };
          return (await fetch("/api/runs/1/orders", { method: "POST", headers, body: '{"kind":"pause"}' })).status;
        }"""
    )
    assert code == 403
    assert len(audit.orders(audit.newest().id)) == placed


def test_a_chain_is_verified_and_a_client_looked_up(opened):
    page = opened("vic")
    page.click("#verify")
    page.wait_for_selector("#verified .verified")
    assert "entries are as they were written" in page.inner_text("#verified")
    identity = page.locator("#clients tbody tr").nth(2).get_attribute("data-client")
    page.fill("#search", identity)
    page.wait_for_function("() => document.querySelectorAll('#clients tbody tr').length === 1")
    assert page.inner_text("#clients tbody button.link") == identity


def test_a_login_link_opens_the_page_and_leaves_no_trace(place, browser):
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(place["link"])
    page.wait_for_selector("body[data-ready]")
    assert "once" not in page.url
    page.click("#leave")
    page.wait_for_url("**/login")
    page.goto(place["url"])
    assert page.url.endswith("/login")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_text_is_readable_and_nothing_is_cut_off(opened, scheme, width):
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.wait_for_selector("#verdicts tbody tr")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 60
    assert [found for found in contrasts if found[0] < 4.5] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#clients tbody button.link").first.click()
    page.wait_for_selector("#sheet table")
    assert [found for found in page.evaluate(CONTRASTS) if found[0] < 4.5] == []
    assert page.evaluate("document.querySelector('#sheet').scrollWidth") <= width
    assert page.evaluate(NAMELESS) == []


def test_the_keyboard_reaches_everything(opened, place):
    page = opened()
    reached, ids = [], set()
    for _ in range(200):
        page.keyboard.press("Tab")
        told = page.evaluate(
            """() => {
              const one = document.activeElement, style = getComputedStyle(one);
              const outline = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
              const what = one.id || one.getAttribute("class") || one.tagName;
              return { what, name: one.getAttribute("aria-label") ?? "", outline };
            }"""
        )
        if told["what"] == "BODY":
            break
        reached.append(told)
        ids.add(told["what"])
    assert all(one["outline"] for one in reached), [one for one in reached if not one["outline"]]
    wanted = {"skip", "runs", "leave", "metric", "earlier", "latest", "search", "standing", "sort", "verify", "pause"}
    assert wanted <= ids
    assert {"Accuracy by round", "Replies by round"} <= {one["name"] for one in reached}

    plot = page.locator("#metric-plot svg")
    plot.focus()
    page.keyboard.press("Home")
    assert plot.get_attribute("aria-valuetext").startswith("start")
    page.keyboard.press("ArrowRight")
    assert plot.get_attribute("aria-valuetext").startswith("round 1,")
    page.keyboard.press("Enter")
    page.wait_for_selector("#round-title:text-is('Round 1')")
    page.locator("#heat canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#heat-read:text(' and ')")
    button = page.locator("#clients tbody button.link").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#sheet[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#sheet", state="hidden")
    page.focus("#pause")
    page.keyboard.press("Enter")
    page.wait_for_selector("#confirm[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#confirm", state="hidden")
    assert page.evaluate("document.activeElement.id") == "pause"


class Relay:
    """A port before another one, which can be cut off: connections end, and new ones are closed at once."""

    def __init__(self, port):
        self.target, self.cut, self.ends = port, False, []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.server.accept()
            except OSError:
                return
            if self.cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.target))
            self.ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.pass_on, args=(one, other), daemon=True).start()

    def pass_on(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def sever(self):
        self.cut = True
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.sever()
        self.server.shutdown(socket.SHUT_RDWR)
        for end in [*self.ends, self.server]:
            end.close()


def test_a_page_that_lost_its_stream_catches_up(opened, place):
    relay = Relay(int(place["url"].rpartition(":")[2]))
    page, audit = opened(url=f"http://127.0.0.1:{relay.port}"), place["audit"]
    relay.sever()
    page.wait_for_selector("#live:text('reconnecting')")
    before = round_shown(page)
    until(lambda: audit.rounds(audit.newest().id)[-1].number > before + 3)
    relay.cut = False
    page.wait_for_function(f"() => parseInt(document.querySelector('#tiles dd').textContent) > {before + 3}")
    page.wait_for_selector("#live:text('live')")
    page.context.close()
    relay.close()


def test_answers_of_another_run_that_come_late_are_not_shown(still, opened):
    page, late = opened(url=still["url"]), []
    for path in ("rounds?*", "clients?*", "verify", "rounds/1/similarity"):
        page.route(f"**/api/runs/2/{path}", lambda route: late.append(route))
    page.click("[data-last='0']")
    page.select_option("#sort", "name")
    page.click("#earlier")
    page.click("#verify")
    until(lambda: page.evaluate("1") and len(late) == 4)
    page.select_option("#runs", "1")
    page.wait_for_function("() => document.querySelectorAll('#clients tbody tr').length === 10")
    page.wait_for_selector("#verify:enabled")
    for held in late:
        with page.expect_response(held.request.url) as answered:
            held.continue_()
        answered.value.finished()
    page.evaluate("() => new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)))")
    page.wait_for_function("() => document.querySelectorAll('#verdicts tbody tr').length === 10")
    assert page.text_content("#title") == "Run 1, older"
    assert page.locator("#clients tbody tr").count() == 10
    assert page.get_attribute("#replies-plot svg", "aria-valuemax") == "0"
    assert page.inner_text("#verified") == ""


def test_an_order_goes_to_the_run_for_which_it_was_asked(still, opened):
    page, held = opened(url=still["url"]), []
    page.route("**/api/runs/1", lambda route: held.append(route))
    page.select_option("#runs", "1")
    until(lambda: page.evaluate("1") and held)
    assert page.locator("#pause:visible, #back:visible, tbody button:visible").count() == 0
    held[0].continue_()
    page.wait_for_selector("#pause:visible")
    page.locator("#clients button.link").first.click()
    page.click("#sheet [data-order=quarantine]")
    page.click("#confirm-yes")
    until(lambda: page.evaluate("1") and still["audit"].orders(1))
    assert still["audit"].orders(2) == ()


def test_what_became_of_an_order_is_seen_and_heard_over_an_open_sheet(still, opened):
    page = opened(url=still["url"])
    refusal = {"status": 403, "content_type": "application/json", "body": '{"error": "it takes no orders"}'}
    page.route(
        "**/orders", lambda asked: asked.fulfill(**refusal) if asked.request.method == "POST" else asked.continue_()
    )
    page.locator("#clients tbody button.link").first.click()
    page.click("#sheet [data-order=quarantine]")
    page.click("#confirm-yes")
    page.wait_for_selector(".notice:text('it takes no orders')")
    assert "it takes no orders" in page.locator("body").aria_snapshot()
    assert (
        page.evaluate(
            """() => {
          const box = [...document.querySelectorAll(".notice")].find((one) => one.textContent).getBoundingClientRect();
          return document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2).textContent;
        }"""
        )
        == "it takes no orders"
    )


def test_a_commit_is_not_read_aloud(still, opened):
    page = opened(url=still["url"])
    page.wait_for_selector("#live:text('live')")
    page.evaluate(
        """() => {
          window.said = [];
          for (const one of document.querySelectorAll("output, [role=status], [role=alert], [aria-live]")) {
            const heard = () => one.ariaLive !== "off" && window.said.push([one.id, one.textContent]);
            new MutationObserver(heard).observe(one, { childList: true, characterData: true, subtree: true });
          }
        }"""
    )
    still["newer"](record_of(3))
    page.wait_for_selector("#round-title:text-is('Round 3')")
    page.wait_for_selector("#replies-plot svg[aria-valuemax='2']")
    page.wait_for_function("() => document.querySelector('#clients tbody td.number')?.textContent === '3'")
    assert page.evaluate("window.said") == []
