"""Runs the program; makes the modules beside the tests importable, as tests are no package."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hawthorn.scripts.main import main

sys.path.insert(0, str(Path(__file__).parent))

from program import Ended


@pytest.fixture
def hawthorn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """The program, run in this process and in an empty folder, as its entry point runs it."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["hawthorn", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def inspected(hawthorn: Callable[..., Ended]) -> Callable[..., dict[str, Any]]:
    """What `hawthorn inspect` finds, as JSON."""

    def run(*arguments: object, status: int = 0) -> dict[str, Any]:
        ended = hawthorn("inspect", *map(str, arguments), "--json", "-")
        assert ended.status == status, ended.err
        return ended.document

    return run
