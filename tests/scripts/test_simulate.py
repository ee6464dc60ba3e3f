import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hawthorn.client.attacks import hostile_clients
from hawthorn.server.audit import Audit
from hawthorn.strategies import Defense
from program import SMALL, Ended

RUNS = ("no_attack", "undefended", "defended", "oracle")


def test_json_says_everything_and_standard_output_nothing_else(hawthorn: Callable[..., Ended]):
    ended = hawthorn("simulate", *SMALL, "--attack", "backdoor + model_replacement", "--no-report", "--json", "-")
    assert ended.status == 0
    found = ended.document
    expected = {"task": "digits", "clients": 8, "hostile": 2, "tolerated": 2, "attack": "backdoor + model_replacement"}
    expected |= {"partition": "dirichlet(0.5)", "rounds": 2, "seed": 1}
    assert {name: found["settings"][name] for name in expected} == expected
    assert Defense.parse(found["settings"]["defense"]) == Defense(f=2)
    assert tuple(found["runs"]) == RUNS
    for run in found["runs"].values():
        assert len(run["accuracy"]) == 2
        assert run["final_accuracy"] == pytest.approx(statistics.mean(run["accuracy"][-3:]))
        assert 0 <= run["worst_class_recall"] <= run["final_accuracy"]
        assert 0 <= run["attack_success"] <= 1
        assert run["seconds_per_round"] > 0
        assert run["stopped"] is None
    assert "Mean of the last three rounds" in ended.err


def test_verdicts_cover_every_client_and_round_with_the_truth(hawthorn: Callable[..., Ended]):
    found = hawthorn("simulate", *SMALL, "--no-report", "--json", "-").document
    hostile = hostile_clients(8, 2, seed=1)
    keys = [(verdict["round"], verdict["client"]) for verdict in found["verdicts"]]
    assert keys == [(round, str(client)) for round in (1, 2) for client in range(8)]
    for verdict in found["verdicts"]:
        assert verdict["hostile"] == (int(verdict["client"]) in hostile)
        assert set(verdict["scores"]) == set(Defense().scores)
        assert 0 <= verdict["p_value"] <= 1
        assert verdict["accepted"] or (verdict["weight"] == 0 and verdict["reason"])


def test_detection_is_what_the_verdicts_say(hawthorn: Callable[..., Ended]):
    found = hawthorn("simulate", *SMALL, "--attack", "gaussian", "--no-report", "--json", "-").document
    rejected = [verdict for verdict in found["verdicts"] if not verdict["accepted"]]
    caught = [verdict for verdict in rejected if verdict["hostile"]]
    assert caught
    assert found["detection"]["precision"] == len(caught) / len(rejected)
    assert found["detection"]["recall"] == len(caught) / (2 * 2)
    assert found["detection"]["false_alarm_rate"] == (len(rejected) - len(caught)) / (6 * 2)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(hawthorn: Callable[..., Ended]):
    def accuracies(seed: int) -> list[list[float]]:
        found = hawthorn("simulate", *SMALL, "--seed", str(seed), "--no-report", "--json", "-").document
        return [found["runs"][name]["accuracy"] for name in RUNS]

    assert accuracies(3) == accuracies(3)
    assert accuracies(3) != accuracies(4)


def test_an_attack_changes_only_the_attacked_runs(hawthorn: Callable[..., Ended]):
    def runs(attack: str) -> dict[str, Any]:
        return hawthorn("simulate", *SMALL, "--attack", attack, "--no-report", "--json", "-").document["runs"]

    one, other = runs("ipm(epsilon=5.0)"), runs("sign_flip")
    assert one["no_attack"]["accuracy"] == other["no_attack"]["accuracy"]
    assert one["oracle"]["accuracy"] == other["oracle"]["accuracy"]
    assert one["undefended"]["accuracy"] != other["undefended"]["accuracy"]
    assert one["undefended"]["attack_success"] is None


def test_the_hedge_holds_where_the_plain_mean_is_ruined(hawthorn: Callable[..., Ended]):
    options = ("--clients", "10", "--hostile", "3", "--rounds", "6", "--attack", "ipm")
    runs = hawthorn("simulate", *options, "--no-report", "--json", "-").document["runs"]
    assert runs["undefended"]["final_accuracy"] < 0.5
    assert runs["defended"]["final_accuracy"] > runs["oracle"]["final_accuracy"] - 0.1


def test_in_peace_the_price_of_the_hedge_is_shown(hawthorn: Callable[..., Ended]):
    found = hawthorn("simulate", *SMALL, "--hostile", "0", "--no-report", "--json", "-").document
    assert tuple(found["runs"]) == ("no_attack", "defended")
    assert found["settings"]["tolerated"] == 0.2
    assert found["settings"]["attack"] == ""
    assert found["detection"]["recall"] is None
    assert found["detection"]["auroc"] is None
    assert 0 <= found["detection"]["false_alarm_rate"] <= 0.2


def test_tolerated_and_policy_are_settings_of_their_own(hawthorn: Callable[..., Ended]):
    options = ("--tolerated", "0.3", "--policy", "none", "--defense", "nnm | trimmed_mean")
    found = hawthorn("simulate", *SMALL, *options, "--no-report", "--json", "-").document
    defense = Defense.parse("nnm | trimmed_mean", f=0.3, policy="none")
    assert Defense.parse(found["settings"]["defense"]) == defense
    assert found["settings"]["tolerated"] == 0.3
    assert all(verdict["accepted"] for verdict in found["verdicts"])
    assert found["detection"]["precision"] is None


def test_tables_go_to_standard_output_and_files_where_they_were_asked_for(
    hawthorn: Callable[..., Ended], tmp_path: Path
):
    ended = hawthorn("simulate", *SMALL, "--json", "results.json")
    for title in ("no attack", "undefended", "defended", "honest clients only", "precision"):
        assert title in ended.out
    assert ended.err.count("round   2/2") == 4
    assert "report: hawthorn-report.html" in ended.out
    assert (tmp_path / "hawthorn-report.html").is_file()
    assert json.loads((tmp_path / "results.json").read_text())["settings"]["rounds"] == 2


def test_the_audit_holds_the_defended_run(hawthorn: Callable[..., Ended], tmp_path: Path):
    found = hawthorn("simulate", *SMALL, "--audit", "audit.db", "--no-report", "--json", "-").document
    with Audit.open(tmp_path / "audit.db", create=False) as audit:
        (run,) = audit.runs()
        assert run.status == "finished"
        assert run.settings["defense"] == found["settings"]["defense"]
        written = {(c.round, c.client): c.verdict.accepted for c in audit.contributions(run.id)}
        assert written == {(v["round"], v["client"]): v["accepted"] for v in found["verdicts"]}
        accuracies = [metrics["accuracy"] for _, metrics in sorted(audit.metrics(run.id).items())]
    assert accuracies == found["runs"]["defended"]["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["sign_flip", "ipm"])
def test_flower_s_own_simulation_gives_the_same_accuracies_and_verdicts(
    hawthorn: Callable[..., Ended], tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flwr"))
    options = ("simulate", *SMALL, "--attack", attack, "--no-report", "--json", "-")
    here = hawthorn(*options).document
    # A process of its own: Ray starts others, and warns of what pytest would make errors.
    command = [sys.executable, "-m", "hawthorn.scripts.main", *options, "--engine", "flower"]
    there = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=tmp_path).stdout)
    for name in RUNS:
        assert there["runs"][name]["accuracy"] == here["runs"][name]["accuracy"]
    for one, other in zip(here["verdicts"], there["verdicts"], strict=True):
        assert (one["round"], one["client"], one["accepted"]) == (other["round"], other["client"], other["accepted"])
        # Colluders send equal rows, told apart by node ids, which Flower draws at random: their last digits may differ.
        assert one["scores"] == pytest.approx(other["scores"], rel=1e-9, abs=1e-9)
        assert one["weight"] == pytest.approx(other["weight"], rel=1e-9)
