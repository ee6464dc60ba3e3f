"""`hawthorn audit verify`, `replay` and `explain`, over runs as the server holds them."""

import json
import re
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from hawthorn.scripts.audit import app
from hawthorn.server.audit import Audit
from pages import Page
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from audit_rounds import SETTINGS, strange_record
from replayed_runs import held_run

EVIL = "</script><img src=https://evil.example/x.png onerror=alert(1)>"


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    path = tmp_path_factory.mktemp("held") / "audit.db"
    orders = [
        (2, "quarantine", {"client": "103", "rounds": 2, "by": "an engineer"}),
        (3, "release", {"client": "103", "by": "an engineer"}),
    ]
    held_run(path, rounds=6, orders=orders, name="hospitals")
    with Audit.open(path) as audit, audit.run(SETTINGS, name="odd") as run:
        run(strange_record(1))
    return path


@pytest.fixture
def copied(held, tmp_path):
    """A copy of the audit, with what a caller changes in it."""
    path = tmp_path / "audit.db"

    def change(*statements):
        with sqlite3.connect(held) as source, sqlite3.connect(path) as copy:
            source.backup(copy)
            for statement in statements:
                assert copy.execute(statement).rowcount > 0
        return path

    return change


def ran(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


def test_an_unchanged_audit_verifies_and_says_what_to_note_down(held):
    found = ran("verify", "--audit", held)
    assert found.exit_code == 0, found.output
    assert "run 1, hospitals: nothing was changed" in found.stdout
    with Audit.open(held, create=False) as audit:
        assert audit.head(1).digest in found.stdout
    assert "run 2, odd: nothing was changed" in found.stdout


def test_metrics_that_are_whole_numbers_or_have_many_digits_are_no_fault(tmp_path):
    path = tmp_path / "audit.db"
    with Audit.open(path) as audit, audit.run(SETTINGS) as run:
        values = [0.0, 1.0, 3.0, -0.0, 1e300, 1e-300, float("nan"), *np.random.default_rng(0).random(200).tolist()]
        run.evaluated(1, {f"metric-{number}": value for number, value in enumerate(values)} | {"recalls": [1.0, 0.0]})
    found = ran("verify", "--audit", path)
    assert found.exit_code == 0, found.output
    with sqlite3.connect(path) as database:
        database.execute("UPDATE metrics SET value = 0.25 WHERE name = 'metric-7'")
    assert ran("verify", "--audit", path).exit_code == 1


def test_what_was_changed_is_told_and_fails(copied):
    path = copied("UPDATE verdicts SET accepted = 1, reason = '' WHERE run = 1 AND round = 2 AND client = '101'")
    found = ran("verify", 1, "--audit", path)
    assert found.exit_code == 1
    assert re.search(r"entry \d+ \(round, round 2, .*\) is not what was committed", found.stdout)
    told = json.loads(ran("verify", "--audit", path, "--json", "-").stdout)
    assert [bool(one["faults"]) for one in told] == [True, False]
    assert [one["run"] for one in told] == [1, 2]


def test_a_head_that_was_noted_down_is_looked_for(held):
    with Audit.open(held, create=False) as audit:
        noted = audit.entries(1)[3].digest
    for arguments in (["1"], ["all"], []):
        assert ran("verify", *arguments, "--audit", held, "--head", noted).exit_code == 0
        found = ran("verify", *arguments, "--audit", held, "--head", "f" * 64)
        assert found.exit_code == 1
        assert "f" * 64 in found.stdout
    assert ran("verify", 2, "--audit", held, "--head", noted).exit_code == 1


def test_a_chain_whose_end_was_cut_off_does_not_have_the_head(copied, held):
    with Audit.open(held, create=False) as audit:
        noted = audit.head(1)
    path = copied(
        f"DELETE FROM entries WHERE run = 1 AND number = {noted.number}",
        "UPDATE runs SET status = 'running', finished = NULL WHERE id = 1",
    )
    assert ran("verify", 1, "--audit", path).exit_code == 0  # which is why a head is to be noted down
    found = ran("verify", 1, "--audit", path, "--head", noted.digest)
    assert found.exit_code == 1
    assert "its end was cut off" in found.stdout


def test_a_run_is_replayed_with_its_models(held):
    found = ran("replay", 1, "--audit", held)
    assert found.exit_code == 0, found.output
    assert found.stdout.count("signs as recorded): equal; model: made again from the updates: equal") == 6
    assert re.search(r"47 verdicts of 6 rounds derived again and 6 models made again in .* s: all equal", found.stdout)


def test_a_single_round_is_replayed(held):
    told = json.loads(ran("replay", 1, 3, "--audit", held, "--json", "-").stdout)
    (one,) = told
    assert (one["round"], one["equal"], one["verdicts"], one["model"]["equal"]) == (3, True, 7, True)
    assert one["defense"].startswith("shortened_mean; f=0.2")


def test_a_verdict_that_was_turned_round_is_found(copied):
    path = copied("UPDATE verdicts SET accepted = 1, reason = '' WHERE run = 1 AND round = 2 AND client = '101'")
    found = ran("replay", 1, "--audit", path)
    assert found.exit_code == 1
    assert "client 101: accepted is stored as True, derived as False" in found.stdout
    assert "other than stored in rounds 2" in found.stdout
    told = json.loads(ran("replay", 1, 2, "--audit", path, "--json", "-").stdout)
    assert {one["what"] for one in told[0]["differences"]} == {"accepted", "reason"}


def test_another_model_is_found(copied):
    path = copied("UPDATE checkpoints SET model = (SELECT model FROM checkpoints WHERE round = 1) WHERE round = 4")
    found = ran("replay", 1, 4, "--audit", path)
    assert found.exit_code == 1
    assert "model: not the one that was committed: weight, bias" in found.stdout
    assert ran("replay", 1, 4, "--audit", path, "--no-models").exit_code == 0


def test_rounds_that_judged_nobody_are_told(held):
    found = ran("replay", 2, "--audit", held)
    assert found.exit_code == 0
    assert "round 1: not judged again: no reply was judged: every client was rejected" in found.stdout


def test_the_story_of_a_hostile_client(held):
    found = ran("explain", "101", "--run", 1, "--audit", held)
    assert found.exit_code == 0, found.output
    assert "Client 101 took part in 6 of the 6 rounds of run 1, hospitals." in found.stdout
    assert "Of its replies 6 rejected." in found.stdout
    assert "round 1: it was seen for the first time, in round 1" in found.stdout
    reasons = re.findall(r"round (\d): its update was rejected: (.*)", found.stdout)
    assert [int(number) for number, _ in reasons] == [1, 2, 3, 4, 5, 6]
    for _, text in reasons:
        assert re.search(r"its cosine to their mean was -0\.\d\d, where the others have 0\.\d\d", text)
        assert re.search(r"times as long as usual", text) or "signs are against the majority" in text
        assert re.search(r"an honest client is so unlike the others once in [\d,]+ rounds", text)
    assert "it went into quarantine in round" in found.stdout


def test_the_story_of_a_client_that_an_operator_held(held):
    told = json.loads(ran("explain", "103", "--run", 1, "--audit", held, "--json", "-").stdout)
    assert [one["kind"] for one in told["events"]] == ["seen", "order", "away", "order"]
    assert [one["text"] for one in told["events"]][1:] == [
        "an engineer put it in quarantine for 2 rounds",
        "it sent nothing in round 3",
        "an engineer released it",
    ]
    assert [one["round"] for one in told["rounds"]] == [1, 2, 4, 5, 6]
    assert {one["verdict"] for one in told["rounds"]} == {"accepted"}
    for one in told["rounds"]:
        assert one["cosine"] > 0.3
        assert abs(one["cosine"] - one["usual_cosine"]) < 0.2
        assert 0.8 < one["length"] < 1.25
        assert set(one["against"]) == set(one["usual"]) == {"length", "agreement", "similarity", "signs"}


def test_the_newest_run_is_the_one_that_is_meant(held):
    found = ran("explain", "7", "--audit", held)
    assert found.exit_code == 0, found.output
    assert "took part in 1 of the 1 rounds of run 2, odd" in found.stdout
    assert "\x1b" not in found.stdout
    assert "its update was rejected: \\x1b[2Jfar [bold]away[/bold]" in found.stdout
    assert "its reply was refused: a second reply; the first one counts" in found.stdout


def test_clients_are_found_by_name_and_node_and_mistakes_are_told(copied):
    path = copied(
        "UPDATE verdicts SET name = 'St. Mary' WHERE run = 1 AND client = '102'",
        "UPDATE verdicts SET name = 'twin' WHERE run = 1 AND client IN ('104', '105')",
        "UPDATE verdicts SET node = '9001' WHERE run = 1 AND client = '106'",
    )
    assert "Client St. Mary (102) took part" in ran("explain", "St. Mary", "--run", 1, "--audit", path).stdout
    assert "Client 106 took part" in ran("explain", "9001", "--run", 1, "--audit", path).stdout
    several = ran("explain", "twin", "--run", 1, "--audit", path)
    assert "several clients are called 'twin': write one of 104, 105" in str(several.exception)
    nobody = ran("explain", "St. Marie", "--run", 1, "--audit", path)
    assert "run 1 has seen no client 'St. Marie'; did you mean 'St. Mary'?" in str(nobody.exception)


def test_what_clients_said_of_their_data_is_told_when_it_changes(copied):
    path = copied(
        *(
            f"UPDATE verdicts SET manifest = '{json.dumps(told | {'verified': True, 'round': number})}' "
            f"WHERE run = 1 AND client = '104' AND round = {number}"
            for number, told in enumerate(
                [{"dataset": "aa", "examples": 120}] * 3 + [{"dataset": "bb", "examples": 90}] * 2, 1
            )
        ),
        """UPDATE verdicts SET manifest = '{"verified": false, "fault": "it is no JSON"}'
           WHERE run = 1 AND client = '104' AND round = 6""",
    )
    found = ran("explain", "104", "--run", 1, "--audit", path)
    assert "round 1: it said of its data, and signed: dataset aa, 120 examples" in found.stdout
    assert "round 4: what it says of its data changed: dataset bb, before aa; 90 examples, before 120" in found.stdout
    assert "round 6: what it said of its data cannot be believed: it is no JSON" in found.stdout
    assert found.stdout.count("its data") == 3


def test_a_round_that_was_rolled_back_is_part_of_the_story(copied):
    path = copied("UPDATE rounds SET rolled_back = 'accuracy fell by 0.2', skipped = 'rolled back' WHERE round = 2")
    found = ran("explain", "104", "--run", 1, "--audit", path)
    assert "round 2: the model that its update was part of was rolled back: accuracy fell by 0.2" in found.stdout
    assert "rolled back" not in ran("explain", "101", "--run", 1, "--audit", path).stdout


def test_the_page_tells_the_story_and_loads_nothing(held, tmp_path):
    target = tmp_path / "story.html"
    assert ran("explain", "101", "--run", 1, "--audit", held, "--html", target).exit_code == 0
    page = Page(target.read_text(encoding="utf-8"))
    scores = {f"score-{name}" for name in ("length", "agreement", "similarity", "signs")}
    assert set(page.plots) == {"strength", "p-values", "cosine", "length"} | scores
    places = {one.attributes["data-plot"] for one in page.all("div", **{"class": "plot"})}
    assert places == set(page.plots)
    for element in page.elements:
        assert not {"src", "href", "srcset", "action"} & set(element.attributes)
    strengths = page.plots["strength"]["data"]
    bound, own = strengths
    assert bound["y"][0] == pytest.approx(2.1318, abs=1e-4)  # of the alarm's rate of 1 in 20
    assert all(value > bound["y"][0] for value in own["y"])
    assert own["x"] == [1, 2, 3, 4, 5, 6]
    events, rounds = page.all("table")
    assert len(page.rows(rounds)) == 1 + 6
    assert [row[1] for row in page.rows(rounds)[1:]] == ["rejected"] * 6
    assert page.rows(events)[1][1:] == ["seen", "it was seen for the first time, in round 1"]


def test_lines_are_broken_where_a_client_was_away(held, tmp_path):
    target = tmp_path / "story.html"
    assert ran("explain", "103", "--run", 1, "--audit", held, "--html", target).exit_code == 0
    own = Page(target.read_text(encoding="utf-8")).plots["length"]["data"][-1]
    assert [(x, y is None) for x, y in zip(own["x"], own["y"], strict=True)] == [
        (1, False),
        (2, False),
        (3, True),
        (4, False),
        (5, False),
        (6, False),
    ]


def test_nothing_that_a_client_wrote_gets_into_the_page(copied, tmp_path):
    path = copied(
        f"UPDATE verdicts SET name = '{EVIL}', standing = '{EVIL}' WHERE run = 1 AND client = '104'",
        f"UPDATE verdicts SET name = '{EVIL}' WHERE run = 1 AND client = '105'",
    )
    target = tmp_path / "story.html"
    assert ran("explain", "104", "--run", 1, "--audit", path, "--html", target).exit_code == 0
    page = Page(target.read_text(encoding="utf-8"))
    assert page.all("img") == []
    assert "<img" not in json.dumps(page.plots)


def test_a_client_that_was_only_refused_has_a_page_without_plots(copied, tmp_path):
    path = copied("UPDATE verdicts SET admitted = 0, accepted = 0, reason = 'too long' WHERE run = 2")
    target = tmp_path / "story.html"
    assert ran("explain", "7", "--run", 2, "--audit", path, "--html", target).exit_code == 0
    page = Page(target.read_text(encoding="utf-8"))
    assert page.plots == {}
    assert "too long" in target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "three"], "write the number of a run, or 'all', instead of 'three'"),
        (["verify", "9"], "no run 9; the audit has runs 1, 2"),
        (["replay", "1", "99"], "run 1 has no round 99"),
        (["explain", "101", "--html", "nowhere/page.html"], "--html must be a file in a folder that exists"),
    ],
    ids=["no number", "no run", "no round", "no folder"],
)
def test_mistakes_are_told(held, arguments, words):
    assert words in str(ran(*arguments, "--audit", held).exception)
