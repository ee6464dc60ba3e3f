"""What the cells say together, by hand."""

from typing import Any

import pytest
from hawthorn.scripts.evaluation.grid import Grid
from hawthorn.scripts.evaluation.summary import FEDAVG, Estimate, entries, standings

GRID = Grid.parse({"attacks": ["sign_flip", "backdoor"], "defenses": ["median", "krum"], "hostile": 2, "seeds": 2})

ACCURACY = {  # without an attack, and under each
    "oracle": {"": 0.9, "backdoor": 0.9},
    "undefended": {"": 0.92, "sign_flip": 0.1, "backdoor": 0.9},
    "median": {"": 0.88, "sign_flip": 0.8, "backdoor": 0.87},
    "krum": {"": 0.8, "sign_flip": 0.85, "backdoor": 0.6},
}
SUCCESS = {"oracle": 0.05, "undefended": 1.0, "median": 0.65, "krum": 0.15}


def result(rule: str, attack: str, seed: int) -> dict[str, Any]:
    """A result as if seeds 1 and 2 had lain a point below and above."""
    noise = 0.01 * (2 * seed - 3)
    final = {"accuracy": ACCURACY[rule][attack] + (0.0 if rule == "oracle" else noise)}
    final["attack_success"] = SUCCESS[rule] if attack == "backdoor" else None
    detection = {"recall": 0.9, "auroc": 0.95, "false_alarm_rate": 0.04} if rule in {"median", "krum"} else {}
    times = {"seconds_per_round": 0.5, "defense_seconds_per_round": 0.1}
    return {"figure": "accuracy", "final": final, "detection": detection, "skipped": 1, "stopped": None} | times


def results() -> dict[str, dict[str, Any]]:
    found = {}
    for cell in GRID.cells():
        rule = cell.config["defense"].split(";")[0] if cell.run == "defended" else cell.run
        found[cell.key] = result(rule, cell.config["attack"], cell.config["seed"])
    return found


def test_an_estimate_is_a_mean_with_students_interval():
    # by hand: mean 2, standard deviation 1, and t(0.975, 2 degrees of freedom) = 4.302653
    found = Estimate.of([1.0, 2.0, 3.0, None])
    assert found == Estimate(2.0, pytest.approx(4.302653 / 3**0.5, abs=1e-5), 3)
    assert Estimate.of([0.5]) == Estimate(0.5, None, 1)
    assert Estimate.of([None]) is None


def test_what_is_lost_is_lost_to_the_same_seeds_honest_clients():
    found = {(entry.defense.split(";")[0], entry.attack): entry for entry in entries(GRID.cells(), results())}
    assert len(found) == 3 * 3
    entry = found["median", "sign_flip"]
    assert entry.gap is not None
    assert entry.gap.mean == pytest.approx(0.1)
    assert entry.gap.seeds == 2
    assert entry.gap.half == pytest.approx(12.706 * 0.01, rel=1e-3)  # t(0.975, 1) times the deviation over root 2
    assert entry.success is None
    assert entry.excess is None
    assert entry.skipped == 2
    assert len(entry.keys) == 2
    fooled = found["krum", "backdoor"]
    assert fooled.excess is not None
    assert fooled.excess.mean == pytest.approx(0.1)
    assert found[FEDAVG, "sign_flip"].auroc is None
    peace = found["krum", "none"]
    assert peace.hostile == 0
    assert peace.gap is not None
    assert peace.gap.mean == pytest.approx(0.1)


def test_the_defense_that_loses_least_at_worst_comes_first():
    ranked = standings(entries(GRID.cells(), results()))
    assert [one.defense.split(";")[0] for one in ranked] == ["median", "krum", FEDAVG]
    median, krum, plain = ranked
    assert median.worst is not None
    assert median.worst.attack == "sign_flip"
    assert krum.worst is not None
    assert krum.worst.attack == "backdoor"
    assert median.fooled is not None
    assert median.fooled.attack == "backdoor"
    assert median.peace is not None
    assert median.peace.attack == "none"
    assert plain.detection == {"auroc": None, "recall": None, "false_alarm_rate": None}
    assert median.detection["recall"] == pytest.approx(0.9)


def test_a_run_that_was_stopped_has_lost_everything():
    found = results()
    for cell in GRID.cells():
        if cell.run == "undefended" and cell.config["attack"] == "sign_flip":
            found[cell.key] |= {"stopped": "round 1: ValueError", "final": {"accuracy": None, "attack_success": None}}
    plain = next(e for e in entries(GRID.cells(), found) if e.defense == FEDAVG and e.attack == "sign_flip")
    assert plain.gap is not None
    assert plain.gap.mean == pytest.approx(0.9)
    assert plain.stopped == 2


def test_cells_without_a_result_are_left_out():
    found = results()
    missing = next(cell for cell in GRID.cells() if cell.run == "defended" and cell.config["attack"] == "sign_flip")
    del found[missing.key]
    entry = next(
        e for e in entries(GRID.cells(), found) if e.defense == missing.config["defense"] and e.attack == "sign_flip"
    )
    assert entry.keys != ()
    assert missing.key not in entry.keys
    assert entries(GRID.cells(), {}) == ()
