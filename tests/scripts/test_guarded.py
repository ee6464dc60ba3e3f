"""The guard where commands use it: a simulation with one, and the benchmark of it on a few rounds."""

import io
import json
from collections.abc import Callable

import pytest
from hawthorn.scripts.benchmarks import guard
from hawthorn.scripts.engine import on_engine
from hawthorn.scripts.federation import Federation
from hawthorn.server.settings import Settings
from hawthorn.strategies import SettingError
from program import SMALL, Ended
from rich.console import Console

ATTACKED = {"clients": 5, "tolerated": "1", "hostile": 1, "rounds": 15, "partition": "iid"}
LATE = {"attack": "label_flip + model_replacement + sleeper(wakes=14)"}


def defended(**settings):
    chosen = Settings.parse(ATTACKED | LATE | {"defense": "mean; policy=none"} | settings)
    one = Federation.of(chosen, chosen.recipe)
    return on_engine("in-process", 5, lambda grid: one.run("defended", grid, lambda _: None))


@pytest.mark.slow
def test_a_guarded_simulation_ends_with_the_model_that_was_there_before():
    run = defended(guard="holdout")
    undone = {record.round for record in run.records if record.rolled_back}
    assert undone == {14, 15}
    assert len(run.figures) == 15  # the model that stays is measured in rounds that are undone, too
    assert run.accuracy[-1] == run.accuracy[12] > 0.85
    assert defended().accuracy[-1] < 0.8


def test_a_simulation_has_no_clients_that_evaluate():
    with pytest.raises(SettingError, match="in a simulation no client evaluates: write guard='holdout'"):
        defended(guard="clients")


def test_the_command_takes_a_guard(hawthorn: Callable[..., Ended]):
    ended = hawthorn("simulate", *SMALL, "--guard", "holdout(tolerence=0.1)", "--no-report")
    assert ended.status != 0
    assert "did you mean 'tolerance'?" in " ".join(ended.err.split())
    assert hawthorn("simulate", *SMALL, "--guard", "holdout", "--no-report").status == 0


@pytest.mark.slow
def test_the_benchmark_counts_what_was_rolled_back(monkeypatch):
    monkeypatch.setattr(guard, "ROUNDS", 15)
    monkeypatch.setattr(guard, "SEEDS", (1,))
    late = guard.Scenario("late", "iid", attack="label_flip + model_replacement + schedule(start=14)")
    monkeypatch.setattr(guard, "PEACE", guard.PEACE[:1])
    monkeypatch.setattr(guard, "ATTACKS", (late,))
    found = json.loads(json.dumps(guard.measured()))
    peace, attacked = found["scenarios"].values()
    assert peace["unguarded"] == []
    assert peace["guarded"][0]["rolled_back"] == {}
    guarded, unguarded = (attacked[part][0] for part in ("guarded", "unguarded"))
    assert set(guarded["rolled_back"]) == {"14", "15"}
    assert guarded["attacked"] == [14, 15]
    assert guarded["accuracy"] > 0.85 > unguarded["accuracy"]
    console = Console(file=io.StringIO(), width=200)
    guard.show(found, console)
    assert "2/2" in console.file.getvalue()
