"""A whole search against the mean: what it finds is confirmed, told, written down, and not searched twice."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hawthorn.scripts.evaluation import work
from hawthorn.scripts.evaluation.grid import Grid
from hawthorn.scripts.redteaming.campaign import redteamed
from hawthorn.scripts.redteaming.findings import Findings
from hawthorn.scripts.redteaming.goal import Goal
from hawthorn.scripts.redteaming.spec import toml
from hawthorn.scripts.redteaming.terminal import Progressing, show
from program import Ended
from rich.console import Console

pytestmark = pytest.mark.slow

FEDERATION = {"clients": 7, "rounds": 3, "local-steps": 3, "tolerated": "2", "defense": "mean; policy=none"}
GOAL = Goal(FEDERATION, trials=8, search_seeds=1, confirm_seeds=2)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redteam") / "cells.db"


@pytest.fixture(scope="module")
def told() -> StringIO:
    return StringIO()


@pytest.fixture(scope="module")
def findings(kept: Path, told: StringIO) -> Findings:
    console = Console(file=told, width=100)
    found = redteamed(GOAL, kept, workers=1, progress=Progressing(console, GOAL))
    show(found, console)
    return found


def test_a_mean_is_ruined_and_the_figures_are_those_of_fresh_seeds(findings: Findings):
    assert findings.failed == {}
    worst, peace = findings.entry(findings.worst), findings.entry(None)
    assert worst.gap.mean > 0.3
    assert abs(peace.gap.mean) < 0.1
    assert worst.gap.seeds == 2
    assert not {1} & set(GOAL.confirming) & set(GOAL.deciding)
    assert findings.entry(findings.worst, defended=False).gap.mean > 0.3
    assert len([one for one in findings.trials if not one.known]) == 8
    assert findings.added is not None


def test_the_report_names_attacks_families_and_what_got_past(findings: Findings, told: StringIO):
    text = told.getvalue()
    for part in ("worst known", "found", "honest only", "undefended", "families", "100 % was accepted", "not searched"):
        assert part in text
    assert findings.families[0][0].damage.mean == max(one.damage.mean for one in findings.trials)
    assert sum(count for _, count in findings.families) == len(findings.trials)


def test_the_written_grid_is_the_confirmed_attack(findings: Findings, tmp_path: Path):
    file = tmp_path / "worst.toml"
    file.write_text(toml(GOAL, findings.worst, findings.headline), encoding="utf-8")
    cells = Grid.read(file).cells()
    assert {cell.settings.attack for cell in cells} == {"", findings.worst.attack}
    defended = {cell.key for cell in cells if cell.run == "defended" and cell.settings.attack}
    assert defended == set(findings.entry(findings.worst).keys)


def test_the_same_search_again_runs_nothing(
    findings: Findings, kept: Path, hawthorn: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def count() -> int:
        with sqlite3.connect(kept) as connection:
            return connection.execute("SELECT count(*) FROM cells").fetchone()[0]

    def forbidden(cell):
        raise AssertionError(f"run again: {cell.config}")

    before = count()
    monkeypatch.setattr(work, "worked", forbidden)
    options = [f"--{name}={value}" for name, value in FEDERATION.items()]
    budget = ("--trials=8", "--search-seeds=1", "--confirm-seeds=2", "--workers=1", f"--store={kept}")
    grid = tmp_path / "worst.toml"
    ended = hawthorn("redteam", *options, *budget, f"--output={grid}", "--json", "-")
    assert ended.status == 0
    assert count() == before
    document = ended.document
    assert document == json.loads(json.dumps(findings.document()))
    assert document["worst"]["attack"] == findings.worst.attack
    assert document["worst"]["defended"]["gap"]["mean"] == findings.entry(findings.worst).gap.mean
    assert grid.read_text() == toml(GOAL, findings.worst, findings.headline)
    assert document["worst"]["command"] in ended.err


def test_without_time_for_new_attacks_the_worst_is_a_known_one(findings: Findings, kept: Path):
    goal, told = replace(GOAL, minutes=1e-9), StringIO()
    found = redteamed(goal, kept, workers=1, progress=Progressing(Console(file=told), goal))
    show(found, Console(file=told))
    assert len(found.trials) == GOAL.batch
    assert found.found is None
    assert found.worst == found.known
    assert found.entry(found.worst) is not None
    assert "no new attack was tried" in told.getvalue()
