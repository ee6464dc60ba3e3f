import io

import pytest
from hawthorn.scripts import speed
from rich.console import Console


def test_every_figure_is_a_multiple_of_one_read_of_the_same_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "VALUES", 200_000)
    monkeypatch.setattr(speed, "TURNS", 1)
    figures = speed.measured()
    assert [found["n"] for found in figures["rounds"]] == list(speed.CLIENTS)
    for found in figures["rounds"]:
        assert found["reads"]["read once"] == 1.0
        assert all(reads > 0 for reads in found["reads"].values())
    out = io.StringIO()
    speed.show(figures, Console(file=out, width=120))
    assert "geometric_median" in out.getvalue()
