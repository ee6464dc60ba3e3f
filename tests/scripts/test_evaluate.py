"""`hawthorn evaluate`, as somebody who has to choose would run it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from program import Ended

SMALL = ("--clients", "7", "--hostile", "2", "--rounds", "3", "--local-steps", "4", "--workers", "1")


def test_each_attack_is_shown_with_what_it_costs_beside_honest_clients_alone(hawthorn: Callable[..., Ended]):
    ended = hawthorn("evaluate", *SMALL, "--attacks", "gaussian; backdoor + model_replacement", "--json", "-")
    assert ended.status == 0
    entries = {(e["attack"], e["defense"].split(";")[0]): e for e in ended.document["entries"]}
    attacks = ("none", "gaussian", "backdoor + model_replacement")
    assert set(entries) == {(attack, rule) for attack in attacks for rule in ("shortened_mean", "fedavg")}
    for (attack, rule), entry in entries.items():
        assert entry["gap"]["mean"] == pytest.approx(entry["oracle"]["mean"] - entry["final"]["mean"], abs=1e-5)
        assert (entry["recall"] is None) == (attack == "none" or rule == "fedavg")
        assert (entry["success"] is None) == ("backdoor" not in attack)
    # what honest clients reach alone is no matter of the attack
    assert entries[attacks[1], "fedavg"]["oracle"] == entries[attacks[2], "shortened_mean"]["oracle"]
    assert entries["gaussian", "shortened_mean"]["recall"]["mean"] == 1.0
    assert entries["gaussian", "shortened_mean"]["gap"]["mean"] < entries["gaussian", "fedavg"]["gap"]["mean"]
    assert [one["defense"].split(";")[0] for one in ended.document["standings"]] == ["shortened_mean", "fedavg"]


def test_people_read_tables_worst_case_first_and_programs_a_file(hawthorn: Callable[..., Ended], tmp_path: Path):
    options = ("--attacks", "sign_flip; gaussian", "--defense", "median", "--defense", "krum", "--tolerated", "1")
    ended = hawthorn("evaluate", *SMALL, *options, "--json", str(tmp_path / "figures.json"), "--report", "report.html")
    assert ended.status == 0
    document = json.loads((tmp_path / "figures.json").read_text())
    rules = [one["defense"].split(";")[0] for one in document["standings"]]
    assert sorted(rules) == ["fedavg", "krum", "median"]
    gaps = [document["entries"][one["worst"]]["gap"]["mean"] for one in document["standings"]]
    assert gaps == sorted(gaps)
    places = [ended.out.index(f"{rule};" if rule != "fedavg" else rule) for rule in rules]
    assert places == sorted(places)
    assert "digits, 2 of 7 clients hostile, dirichlet(0.5), 3 rounds" in " ".join(ended.out.split())
    assert "<html" in (tmp_path / "report.html").read_text()


def test_a_second_evaluation_runs_only_what_is_new(hawthorn: Callable[..., Ended]):
    first = hawthorn("evaluate", *SMALL, "--attacks", "sign_flip", "--json", "-")
    assert "0 kept" in first.err
    again = hawthorn("evaluate", *SMALL, "--attacks", "sign_flip; gaussian", "--json", "-")
    assert f"{len(first.document['cells'])} kept" in again.err
    assert first.document["cells"].items() <= again.document["cells"].items()


def test_a_grid_file_and_options_make_one_grid(hawthorn: Callable[..., Ended], tmp_path: Path):
    (tmp_path / "grid.toml").write_text(
        'clients = 7\nhostile = [1, 2]\nrounds = 1\nattacks = "sign_flip"\nlocal-steps = 2\n'
    )
    ended = hawthorn("evaluate", "grid.toml", "--rounds", "2", "--workers", "1", "--json", "-")
    assert ended.status == 0
    configs = [cell["config"] for cell in ended.document["cells"].values()]
    assert {config["rounds"] for config in configs} == {2}
    assert {config["hostile"] for config in configs} == {0, 1, 2}
    assert {standing["hostile"] for standing in ended.document["standings"]} == {1, 2}


def test_where_nobody_attacks_the_price_of_the_hedge_is_shown(hawthorn: Callable[..., Ended]):
    ended = hawthorn(
        "evaluate", "--clients", "5", "--rounds", "2", "--workers", "1", "--hostile", "0", "--attacks", "none"
    )
    assert ended.status == 0
    assert "nobody hostile" in ended.out


def test_a_cell_that_fails_is_told_and_the_status_says_so(
    hawthorn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
):
    def failing(_cell: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("hawthorn.scripts.evaluation.run.result", failing)
    ended = hawthorn("evaluate", *SMALL, "--attacks", "sign_flip", "--json", "-")
    assert ended.status == 1
    assert ended.document["cells"] == {}
    assert {failure["reason"] for failure in ended.document["failed"]} == {"MemoryError: too large"}
    assert "too large" in ended.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--attacks", "sign_flop"), "did you mean 'sign_flip'"),
        (("--attacks", " ; "), "at least one attack"),
        (("--hostile", "0"), "at least one hostile client"),
        (("--hostile", "many"), "hostile must be from 0 to clients=7, or a share"),
        (("--hostile", "7", "--tolerated", "1"), "hostile must be below clients=7"),
        (("--defense", "krumm"), "did you mean 'krum'"),
        (("--task", "digit"), "did you mean 'digits'"),
        (("--attacks", "targeted_flip(source=11)"), "class from 0 to 9"),
        (("--partition", "shards"), "partition must be"),
        (("--task", "breast_cancer(network='forest')", "--attacks", "sign_flip"), "write an attack on data"),
        (("--json", "/absent/figures.json"), "in a folder that exists"),
        (("--attacks", "sign_flip + sleeper(wakes=4)"), "attacks in none of rounds=3"),
        (("--store", "/absent/cells.db"), "--store"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_told_before_anything_runs(hawthorn: Callable[..., Ended], options, told):
    ended = hawthorn("evaluate", *SMALL, *options)
    assert ended.status == 2
    assert told in ended.err
