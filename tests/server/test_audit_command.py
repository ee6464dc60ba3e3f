import csv
import io
import json
import sys
from pathlib import Path

import pytest
from audit_rounds import SETTINGS, record_of, strange_record
from hawthorn.scripts.audit import app
from hawthorn.scripts.main import main
from hawthorn.server.audit import Audit
from typer.testing import CliRunner


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "audit.db"
    with Audit.open(path) as audit:
        with audit.run(SETTINGS, name="first") as run:
            run.evaluated(0, {"accuracy": 0.125})
            run(record_of(1))
            run.evaluated(1, {"accuracy": 0.75})
            run(strange_record(2))
        with pytest.raises(RuntimeError), audit.run(SETTINGS, name="second"):
            raise RuntimeError("lost")
    return path


def output(*arguments: object) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_shows_every_run_and_how_it_ended(database: Path):
    shown = output("list", "--audit", database)
    assert [line.split()[:2] for line in shown.splitlines() if "digits" in line] == [["1", "first"], ["2", "second"]]
    assert "run 2: RuntimeError: lost" in shown


def test_show_counts_replies_by_round(database: Path):
    shown = output("show", 1, "--audit", database)
    lines = [line.split() for line in shown.splitlines()]
    assert ["1", "5", "1", "1", "0.25", "0.75"] in lines
    assert ["2", "0", "1", "1", "1.00"] in lines
    assert "round 2 was skipped: every client was rejected" in shown


def test_show_round_tells_each_client_s_verdict(database: Path):
    shown = output("show", 1, "--round", 1, "--audit", database)
    verdicts = {line.split()[0]: line.split()[1] for line in shown.splitlines() if "ed " in line and ":" not in line}
    assert verdicts == {str(2**64 - 1): "rejected"} | {str(n): "accepted" for n in range(1, 6)} | {"99": "refused"}
    assert "99: array 'w': expected float32" in shown
    assert f"{2**64 - 1}: {next(iter(record_of(1).verdicts.values())).reason}" in shown


def test_what_clients_wrote_drives_no_terminal_and_is_no_markup(database: Path):
    shown = output("show", 1, "--round", 2, "--audit", database)
    assert "\x1b" not in shown
    assert "7: \\x1b[2Jfar [bold]away[/bold]" in shown


def test_json_goes_to_standard_output_alone(database: Path):
    runs = json.loads(output("list", "--audit", database, "--json", "-"))
    assert [run["name"] for run in runs] == ["first", "second"]
    shown = json.loads(output("show", 1, "--round", 2, "--audit", database, "--json", "-"))
    (round,) = shown["rounds"]
    assert round["round"] == 2
    assert [verdict["admitted"] for verdict in round["verdicts"]] == [True, False]


def test_export_writes_a_whole_run(database: Path, tmp_path: Path):
    target = tmp_path / "run.json"
    output("export", 1, "--audit", database, "--json", target, "--geometry")
    found = json.loads(target.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert found["settings"] == SETTINGS
    first, second = found["rounds"]
    assert first["metrics"] == {"accuracy": 0.75}
    assert first["geometry"]["gram"] == record_of(1).geometry.gram.tolist()
    verdict = next(iter(record_of(1).verdicts.values()))
    assert first["verdicts"][0] == {
        "client": str(2**64 - 1),
        "admitted": True,
        "accepted": False,
        "weight": 0.0,
        "p_value": verdict.p_value,
        "scores": verdict.scores,
        "reason": verdict.reason,
        "standing": "",
    }
    assert "geometry" not in second
    assert second["verdicts"][0]["p_value"] is None


def test_export_writes_verdicts_as_csv(database: Path):
    rows = list(csv.DictReader(io.StringIO(output("export", 1, "--audit", database, "--csv", "-"))))
    assert len(rows) == 7 + 2
    assert {row["round"] for row in rows} == {"1", "2"}
    assert float(rows[0]["agreement"]) == next(iter(record_of(1).verdicts.values())).scores["agreement"]
    assert rows[6]["admitted"] == "False"
    assert rows[6]["agreement"] == ""
    assert [row["standing"] for row in rows] == ["", "", "", "", "", "", "", "on probation since round 1", ""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "--audit", "none.db"], "no audit database at none.db; a run started with audit='none.db' writes one"),
        (["show", "9"], "no run 9; the audit has runs 1, 2"),
        (["show", "1", "--round", "5"], "run 1 has no round 5; it has rounds 1, 2"),
        (["export", "1"], "write --json FILE or --csv FILE"),
        (["export", "1", "--json", "nowhere/run.json"], "cannot write 'nowhere/run.json'"),
    ],
    ids=["no database", "no run", "no round", "no target", "no folder"],
)
def test_mistakes_are_told_in_one_line(
    database: Path,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    where = [] if "--audit" in arguments else ["--audit", str(database)]
    monkeypatch.chdir(database.parent)
    monkeypatch.setattr(sys, "argv", ["hawthorn", "audit", *arguments, *where])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert out == ""
