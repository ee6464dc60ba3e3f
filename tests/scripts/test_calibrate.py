"""`hawthorn calibrate`: figures by hand, and real runs small enough to count what they tell."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hawthorn.scripts.calibrating.alarms import CURVE, RATES, at_or_below, shares, stated_rate
from hawthorn.scripts.calibrating.catching import attack_rounds, caught_at, until, windows
from hawthorn.scripts.calibrating.rate import Rate, wilson, worth
from hawthorn.scripts.calibrating.replies import Reply, rejection_rate
from hawthorn.scripts.calibrating.scenario import SCENARIOS, Scenario
from hawthorn.scripts.evaluation.cell import Cell
from hawthorn.scripts.evaluation.run import result
from hawthorn.server.settings import Settings
from hawthorn.strategies import SettingError
from pages import Page
from program import Ended

TRAINING = ("--clients", "9", "--tolerated", "2", "--rounds", "3", "--local-steps", "2", "--workers", "1")
HALF = "dirichlet(0.5); fraction-train=0.7"
SMALL = (*TRAINING, "--task", "digits", "--scenario", "iid", "--scenario", HALF, "--seeds", "2")


def reply(
    client: int = 0,
    round: int = 1,
    p: float | None = 0.5,
    *,
    seed: int = 1,
    accepted: bool = True,
    hostile: bool = False,
) -> Reply:
    return Reply(seed, round, client, hostile, p, accepted)


def caught(client: int, rounds: str, *, seed: int = 1) -> list[Reply]:
    """A hostile client's replies by round: `x` rejected, `.` accepted, a space for none."""
    return [
        reply(client, number, seed=seed, accepted=sign == ".", hostile=True)
        for number, sign in enumerate(rounds, 1)
        if sign != " "
    ]


def test_the_interval_of_independent_replies_is_wilsons():
    # the textbook's: 10 of 50 from 11.2 to 33.0 per cent
    assert wilson(0.2, 50) == (pytest.approx(0.1124, abs=1e-4), pytest.approx(0.3304, abs=1e-4))
    ones = Rate.of([(1, 1)] * 10 + [(0, 1)] * 40)
    assert ones is not None
    assert (ones.share, ones.replies, ones.clients) == (0.2, 50, 50)
    assert (ones.low, ones.high) == (pytest.approx(0.112, abs=2e-3), pytest.approx(0.330, abs=2e-3))


def test_replies_of_few_clients_say_less_than_as_many_clients():
    spread, alike = Rate.of([(1, 10)] * 40), Rate.of([(10, 10)] * 4 + [(0, 10)] * 36)
    assert spread is not None
    assert alike is not None
    assert spread.share == alike.share == 0.1
    assert worth([(1, 10)] * 40) == 400
    assert worth([(10, 10)] * 4 + [(0, 10)] * 36) == pytest.approx(39)  # as many as there are clients, less one
    assert alike.high - alike.low > 2.5 * (spread.high - spread.low)


def test_what_never_happened_is_no_proof_beyond_the_number_of_clients():
    assert worth([(0, 20)] * 15) == 15
    rate = Rate.of([(0, 20)] * 15)
    assert rate is not None
    assert (rate.share, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(wilson(0.0, 15)[1], abs=1e-6)
    assert Rate.of([]) is None
    assert Rate.of([(0, 0)]) is None


def test_intervals_hold_the_true_rate_as_often_as_they_say():
    """Clients of whom each has a rate of its own, 5 % on average: a plain interval would hold it half the time."""
    rng = np.random.default_rng(4)
    held, plain = 0, 0
    for _ in range(400):
        own = rng.beta(0.2, 3.8, size=60)
        rate = Rate.of([(int(times), 20) for times in rng.binomial(20, own)])
        assert rate is not None
        held += rate.low <= 0.05 <= rate.high
        low, high = wilson(rate.share, rate.replies)
        plain += low <= 0.05 <= high
    assert held >= 0.9 * 400
    assert plain < 0.75 * 400


def test_a_rate_is_of_all_replies_and_clients_of_two_seeds_are_two():
    found = [reply(0, accepted=False), reply(0, 2), reply(1), reply(0, seed=2)]
    rate = rejection_rate(found)
    assert rate is not None
    assert (rate.share, rate.replies, rate.clients) == (0.25, 4, 3)


def test_p_values_at_or_below_a_rate_by_hand():
    found = [reply(client, p=p) for client, p in enumerate((0.01, 0.05, 0.2, 0.9))]
    found.append(reply(9, p=None, accepted=False))  # refused: no p-value that could be right or wrong
    assert shares(found, (0.005, 0.01, 0.05, 0.3)) == (0.0, 0.25, 0.5, 0.75)
    rate = at_or_below(found, 0.05)
    assert rate is not None
    assert (rate.share, rate.replies) == (0.5, 4)


@pytest.mark.parametrize(
    ("policy", "expected"), [("fdr(q=0.01)", 0.01), ("none", None), ("threshold(z=3.0)", None)], ids=str
)
def test_the_rate_that_a_policy_states(policy: str, expected: float | None):
    assert stated_rate(policy) == expected


def test_caught_at_a_share_of_false_alarms_by_hand():
    honest = [reply(client, p=p) for client, p in enumerate(np.linspace(0.05, 1.0, 20))]
    hostile = [reply(client, p=p, hostile=True) for client, p in enumerate((0.01, 0.05, 0.07, 0.5))]
    # of 20 honest replies 1 % may look as bad: none, so below 0.05; 5 %: one, so below 0.1; a tie is not below
    assert caught_at(hostile, honest, 0.01) == 0.25
    assert caught_at(hostile, honest, 0.05) == 0.75
    assert caught_at([reply(p=None, accepted=False, hostile=True)], honest, 0.01) == 1.0
    assert caught_at([], honest, 0.01) is None


def test_rounds_are_counted_over_those_in_which_somebody_attacks():
    found = [*caught(4, "  . .x"), *caught(7, "  ..  "), *caught(4, "   x", seed=2)]
    assert attack_rounds(found) == {(1, 4): [1, 3, 4], (1, 7): [1, 2], (2, 4): [1]}


def test_windows_of_rounds_by_hand():
    found = [*caught(0, "..xxxxxxxxxx"), *caught(1, "..xx.xxxxxxx")]
    assert windows(found) == pytest.approx(
        {1: 0.5, 2: 0.7, 3: 0.9, 4: 0.9, 5: 0.9, 6: 1.0, 7: 1.0, 8: 1.0},
    )
    assert until(found, 0.8) == 3
    assert until(found, 0.95) == 6
    assert until(caught(0, "......"), 0.8) is None
    assert windows(caught(0, "x.x")) == {1: pytest.approx(2 / 3)}  # fewer rounds than a window


def test_scenarios_are_read_as_written():
    assert [Scenario.parse(text).text for text in SCENARIOS] == list(SCENARIOS)
    parsed = Scenario.parse("sorted ;batch-size = 8; learning-rate-decay=0.5")
    assert parsed.settings == {"partition": "sorted", "batch-size": 8, "learning-rate-decay": 0.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("iid; half", "write a scenario such as"),
        ("iid; fraction-trains=0.5", "did you mean 'fraction-train'"),
        ("iid; seed=3", "no 'seed' of its own"),
        ("iid; rounds=many", "rounds of a scenario must be a number"),
    ],
)
def test_scenarios_that_cannot_be_are_refused(text: str, told: str):
    with pytest.raises(SettingError, match=told):
        Scenario.parse(text)


def test_a_cell_keeps_every_reply_but_those_of_attackers_who_wait():
    settings = Settings.parse(
        {
            "clients": 9,
            "hostile": 2,
            "tolerated": "2",
            "rounds": 4,
            "local-steps": 2,
            "attack": "sign_flip(scale=3.0) + sleeper(wakes=3)",
        }
    )
    found = result(Cell("defended", settings))
    assert {round for round, _, hostile, *_ in found["verdicts"] if hostile} == {3, 4}
    assert [sum(1 for number, *_ in found["verdicts"] if number == round) for round in (1, 2, 3, 4)] == [7, 7, 9, 9]
    kept = [accepted for *_, hostile, _, accepted in found["verdicts"] if not hostile]
    assert 1 - sum(kept) / len(kept) == pytest.approx(found["detection"]["false_alarm_rate"])
    assert all(0 <= p <= 1 for *_, p, _ in found["verdicts"])
    assert result(Cell("undefended", settings))["verdicts"] == []


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of results that all commands of this module share."""
    return str(tmp_path_factory.mktemp("calibrate") / "cells.db")


def test_honest_and_attacked_federations_are_measured(hawthorn: Callable[..., Ended], store: str):
    ended = hawthorn("calibrate", *SMALL, "--attacks", "gaussian; label_flip", "--store", store, "--json", "-")
    assert ended.status == 0
    document = ended.document
    # where clients are attacked, they are also left in peace
    assert [one["scenario"] for one in document["honest"]] == ["iid", HALF, "dirichlet(0.5)"]
    for one in document["honest"]:
        counts = one["rejected_by_client"]
        assert one["replies"] == sum(replies for *_, replies in counts) == (36 if one["scenario"] == HALF else 54)
        assert one["share"] == pytest.approx(sum(times for *_, times, _ in counts) / one["replies"], abs=1e-6)
        assert one["low"] <= one["share"] <= one["high"]
        assert one["worst_client"]["share"] == pytest.approx(max(times / replies for *_, times, replies in counts))
        assert one["exceeds"] == (one["stated"] is not None and one["low"] > one["stated"])
        assert [known["rate"] for known in one["reliability"]] == list(RATES)
        drawn = dict(zip(*one["curve"], strict=True))
        assert list(drawn) == list(CURVE)
        assert [known["share"] for known in one["reliability"]] == [drawn[rate] for rate in RATES]
        assert len(one["cells"]) == 2
    attacked = {one["attack"]: one for one in document["attacked"]}
    assert set(attacked) == {"gaussian", "label_flip"}
    for one in attacked.values():
        assert one["hostile"] == 2
        assert one["rejected"]["replies"] == 6
        assert len(one["first_rejected"]) == 2
    assert attacked["gaussian"]["auroc"] == 1.0
    assert attacked["gaussian"]["caught_at"] == [
        {"false_alarms": rate, "same_run": 1.0, "no_attack": 1.0} for rate in (0.01, 0.05)
    ]
    again = hawthorn("calibrate", *SMALL, "--attacks", "none", "--store", store, "--json", "-")
    assert "0 run" in again.err
    assert again.document["honest"] == document["honest"][:2]
    assert again.document["attacked"] == []


def rewritten(store: str, to: Path, change: Callable[[list[float]], list[float]]) -> str:
    """A copy of the kept results in which every reply of honest clients is another."""
    connection, copy = sqlite3.connect(store), sqlite3.connect(to)
    connection.backup(copy)
    connection.close()
    for key, text in copy.execute("SELECT key, result FROM cells").fetchall():
        found: dict[str, Any] = json.loads(text)
        found["verdicts"] = [one if one[2] else change(one) for one in found["verdicts"]]
        copy.execute("UPDATE cells SET result = ? WHERE key = ?", (json.dumps(found), key))
    copy.commit()
    copy.close()
    return str(to)


def test_a_check_fails_where_more_is_rejected_than_stated(hawthorn: Callable[..., Ended], store: str, tmp_path: Path):
    options = ("calibrate", *SMALL, "--attacks", "none", "--store")
    assert hawthorn(*options, store).status == 0
    good = rewritten(store, tmp_path / "good.db", lambda one: [*one[:3], 0.5, 1])
    ended = hawthorn(*options, good, "--check")
    assert ended.status == 0
    assert "the stated rate holds in all 2 federations" in " ".join(ended.out.split())
    assert "!" not in ended.out.partition("In per cent")[0]
    # the clients with an even number are rejected in every round: 5 of 9
    bad = rewritten(store, tmp_path / "bad.db", lambda one: [*one[:3], 0.001 if one[1] % 2 == 0 else 0.5, one[1] % 2])
    ended = hawthorn(*options, bad, "--check", "--json", "-")
    assert ended.status == 1
    assert f"more false alarms than stated in 2 of 2 federations: digits, iid; digits, {HALF}" in " ".join(
        ended.err.split()
    )
    iid = ended.document["honest"][0]
    assert not ended.document["holds"]
    assert iid["share"] == pytest.approx(5 / 9, abs=1e-6)
    assert iid["worst_client"]["share"] == 1.0
    assert iid["clients_above_stated"] == 10
    assert [known["share"] for known in iid["reliability"]] == [pytest.approx(5 / 9, abs=1e-6)] * len(RATES)
    assert hawthorn(*options, bad).status == 0  # told, but nobody asked for a check


def test_people_read_tables_and_a_page(hawthorn: Callable[..., Ended], store: str):
    options = (*SMALL, "--attacks", "gaussian; label_flip", "--store", store)
    ended = hawthorn("calibrate", *options, "--html", "page.html", "--json", "figures.json")
    assert ended.status == 0
    words = " ".join(ended.out.split())
    assert "digits, nobody attacks" in words
    assert "digits, dirichlet(0.5), 2 of 9 clients hostile" in words
    document = json.loads(Path("figures.json").read_text())
    text = Path("page.html").read_text()
    page = Page(text)
    for tag, attribute in (("script", "src"), ("img", "src"), ("link", "href")):
        assert not [one for one in page.all(tag) if attribute in one.attributes]
    assert page.plots.keys() == {"clients-0", "reliability-0"}
    names = ["iid", HALF, "dirichlet(0.5)"]
    assert [line["name"] for line in page.plots["clients-0"]["data"] if "name" in line] == names
    drawn = {line["name"]: line["y"] for line in page.plots["reliability-0"]["data"] if "name" in line}
    assert drawn == {one["scenario"]: one["curve"][1] for one in document["honest"]}
    alarms, reliability, attacks = (page.rows(table) for table in page.all("table"))
    assert [row[0] for row in alarms[1:]] == [row[0] for row in reliability[1:]] == names
    assert [float(row[2]) for row in alarms[1:]] == pytest.approx(
        [100 * one["share"] for one in document["honest"]], abs=0.051
    )
    assert {row[0] for row in attacks[1:]} == {"gaussian", "label_flip"}
    by_attack = {row[0]: row for row in attacks[1:]}
    assert by_attack["gaussian"][3] == "1.000"


def test_a_run_that_fails_is_told_and_the_status_says_so(
    hawthorn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
):
    def failing(_cell: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("hawthorn.scripts.evaluation.run.result", failing)
    ended = hawthorn("calibrate", *SMALL, "--attacks", "none", "--json", "-", "--html", "page.html")
    assert ended.status == 1
    assert ended.document["honest"] == []
    assert {one["reason"] for one in ended.document["failed"]} == {"MemoryError: too large"}
    assert "too large" in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scenario", "shards"), "partition must be"),
        (("--scenario", HALF, "--tolerated", "4"), f"digits, {HALF}: defense='shortened_mean' cannot work"),
        (("--scenario", "iid; seeds=3"), "no 'seeds' of its own"),
        (("--attacks", "sign_flop"), "did you mean 'sign_flip'"),
        (("--attacks", "sign_flip", "--hostile", "0"), "--hostile 1 or more"),
        (("--attacks", "none", "--check", "--defense", "median; policy=none"), "a policy that states a rate"),
        (("--defense", "krumm"), "did you mean 'krum'"),
        (("--task", "digit"), "did you mean 'digits'"),
        (("--html", "absent/page.html"), "--html must be a file in a folder that exists"),
        (("--json", "absent/figures.json"), "--json must be a file in a folder that exists"),
        (("--store", "/absent/cells.db"), "--store"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_told_before_anything_runs(hawthorn: Callable[..., Ended], options, told):
    ended = hawthorn("calibrate", *TRAINING, *(() if "--scenario" in options else ("--scenario", "iid")), *options)
    assert ended.status == 2
    assert told in ended.err
    assert "run in" not in ended.err
