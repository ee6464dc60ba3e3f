"""`hawthorn benchmark replies`: every cell comes from a real run, and the hedge has no red one."""

import json

import pytest
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.scripts.benchmarks.replies import STRATEGIES, measured, show
from hawthorn.scripts.main import app
from rich.console import Console
from typer.testing import CliRunner

SOME = {
    name: MALFORMED[name]
    for name in ("missing_array", "all_nan", "integers", "trillion_examples", "negative_examples", "reordered_arrays")
}
PAIR = {name: STRATEGIES[name] for name in ("FedAvg", "RobustStrategy")}


@pytest.fixture(scope="module")
def figures():
    return measured(SOME, PAIR)


def test_what_happens_to_the_plain_mean_is_told_apart(figures):
    assert {name: kind["survival"]["FedAvg"] for name, kind in figures["kinds"].items()} == {
        "missing_array": "run ends",
        "all_nan": "NaN model",
        "integers": "dtype changed",
        "trillion_examples": "one rules",
        "negative_examples": "model ruined",
        "reordered_arrays": "ok",
    }
    assert figures["survived"] == {"FedAvg": 1, "RobustStrategy": 6}


def test_the_table_tells_families_and_ends(figures):
    console = Console(record=True, width=80)
    show(figures, console)
    text = console.export_text()
    assert "run ends" in text
    assert "RobustStrategy survives 6 of 6 kinds of bad reply, FedAvg 1." in text


@pytest.mark.slow
def test_the_command_writes_the_whole_catalog_as_json():
    result = CliRunner().invoke(app, ["benchmark", "replies", "--json", "-"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["kinds"].keys() == MALFORMED.keys()
    assert found["survived"]["RobustStrategy"] == found["total"] == len(MALFORMED)
    assert all(found["survived"][name] < found["total"] / 2 for name in STRATEGIES if name != "RobustStrategy")
