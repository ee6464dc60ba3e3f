"""The ServerApp on an in-process grid, with the real ClientApp; `tests/federation` runs both in Flower's processes."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, MetricRecord, RecordDict
from hawthorn.client.app import app as client_app
from hawthorn.client.provider import holdout, initial_arrays
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.app import app as server_app
from hawthorn.server.audit import Audit
from hawthorn.server.settings import Settings
from hawthorn.strategies import AuditError, SettingError

SMALL = {"task": "digits", "clients": 5, "rounds": 2, "partition": "iid", "local-epochs": 1, "wait": 0.0}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Runs a federation with these settings beside the small ones; returns its audit."""

    def run(*, nodes: int = 5, **settings: Any) -> Path:
        audit = tmp_path / "audit.db"
        written = {name.replace("_", "-"): value for name, value in settings.items()}
        run_config = Settings.parse({}).run_config() | SMALL | {"audit": str(audit)} | written
        grid = InProcessGrid(client_app, nodes, run_config)
        server_app(grid, Context(1, 1, {}, RecordDict(), run_config))
        return audit

    return run


def test_a_federation_learns_and_is_audited(run: Callable[..., Path]):
    with Audit.open(run(), create=False) as audit:
        (found,) = audit.runs()
        assert (found.name, found.status) == ("flwr run 1", "finished")
        assert found.settings == Settings.parse(found.settings).run_config()
        assert [(round.number, round.size) for round in audit.rounds(found.id)] == [(1, 5), (2, 5)]
        metrics = audit.metrics(found.id)
        assert set(metrics) == {0, 1, 2}
        assert metrics[2]["loss"] < metrics[0]["loss"]


def test_an_attacker_is_rejected_and_written_down(run: Callable[..., Path]):
    with Audit.open(run(hostile=1, tolerated=1, attack="sign_flip"), create=False) as audit:
        rejected = {one.client for one in audit.contributions(1) if not one.verdict.accepted}
        assert len(rejected) == 1


def test_a_memory_budget_changes_nothing_but_where_the_updates_lie(run: Callable[..., Path], tmp_path: Path):
    run()
    spool = tmp_path / "spool"
    spool.mkdir()
    with Audit.open(run(memory="1 kB", spool=str(spool)), create=False) as audit:
        first, second = (audit.metrics(found.id) for found in audit.runs())
    assert first == second
    assert list(spool.iterdir()) == []


def test_clients_are_weighed_by_their_examples_where_that_is_asked_for(run: Callable[..., Path]):
    with Audit.open(run(**{"weighted-by": "examples", "defense": "mean; policy=none"}), create=False) as audit:
        weights = {one.verdict.weight for one in audit.contributions(1)}
        assert len(weights) > 1
        assert max(weights) < 0.8


def test_the_same_settings_give_the_same_federation(run: Callable[..., Path]):
    run()
    with Audit.open(run(), create=False) as audit:
        first, second = (audit.metrics(found.id) for found in audit.runs())
    assert first == second


def test_the_inner_strategy_is_the_one_asked_for(run: Callable[..., Path], caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="hawthorn"):
        run(inner="fedadam(eta=0.01)", rounds=1)
    assert "FedAdam is defended by shortened_mean" in caplog.text


def test_without_audit_and_holdout_nothing_is_written(run: Callable[..., Path], tmp_path: Path):
    run(audit="", holdout="", rounds=1)
    assert list(tmp_path.iterdir()) == []


def test_a_holdout_of_the_operators_own_is_asked(run: Callable[..., Path]):
    with Audit.open(run(model=f"{__name__}:own_model", holdout=f"{__name__}:own_holdout"), create=False) as audit:
        found = {number: metrics["rounds-so-far"] for number, metrics in audit.metrics(1).items()}
        assert found == {number: float(number) for number in range(3)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rounds": 0}, "rounds must be a whole number of at least 1"),
        ({"nodes": 3}, "3 of clients=5 nodes connected within wait=0 seconds"),
        ({"defense": "fltrust"}, "write root-examples=100"),
        ({"defense": "fltrust", "root-examples": 5000}, "below the"),
        ({"task": "digit"}, "did you mean 'digits'?"),
        ({"partition": "dirichlett(1)"}, "dirichlet"),
        ({"hostile": 1, "attack": "sign_flop"}, "did you mean 'sign_flip'?"),
        ({"hostile": 1, "attack": "alie(z=1.5)"}, "use hawthorn simulate"),
        ({"model": "hawthorn.client.provider:arrays"}, "no function 'arrays' there"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_end_the_run_before_it_begins(
    run: Callable[..., Path], tmp_path: Path, settings: dict[str, Any], words: str
):
    with pytest.raises(SettingError) as error:
        run(**settings)
    assert words in str(error.value)
    if (tmp_path / "audit.db").exists():  # settings that can be read are written down with the reason
        with Audit.open(tmp_path / "audit.db", create=False) as audit:
            (found,) = audit.runs()
            assert found.status == "failed"
            assert found.error is not None
            assert words in found.error
            assert audit.rounds(found.id) == ()


def test_an_audit_that_cannot_be_opened_ends_the_run_before_it_begins(run: Callable[..., Path]):
    with pytest.raises(AuditError, match="cannot open the audit database"):
        run(audit="nowhere/at/all/audit.db")


def test_a_run_goes_on_while_a_node_is_away(run: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    named = {"run": "hospitals", "checkpoints": str(tmp_path / "kept")}
    with pytest.raises(SettingError, match="4 of clients=5 nodes connected"):
        run(nodes=4, rounds=1, **named)  # no round was held yet
    run(rounds=1, **named)
    with caplog.at_level(logging.WARNING, logger="hawthorn"):
        audit = run(nodes=4, **named)
    assert "4 of clients=5 are connected: the run goes on without the rest" in caplog.text
    with Audit.open(audit, create=False) as opened:
        assert [(round.number, round.size) for round in opened.rounds(1)] == [(1, 5), (2, 4)]


def test_the_initial_model_is_the_same_for_the_same_seed():
    config = Settings().run_config()
    first, again, other = (initial_arrays(config | {"seed": seed}) for seed in (1, 1, 2))
    assert list(first) == list(again)
    for name in first:
        np.testing.assert_array_equal(first[name].numpy(), again[name].numpy())
    assert any(not np.array_equal(first[name].numpy(), other[name].numpy()) for name in first)


def test_the_holdout_tells_how_far_a_targeted_attack_has_come():
    config = Settings.parse({"hostile": 1, "attack": "label_flip"}).run_config()
    metrics = holdout(config)(0, initial_arrays(config))
    figures = {"accuracy", "balanced-accuracy", "worst-class-recall"}
    for_guards = {"class-recalls", "class-examples", "activation-density"}
    assert set(metrics) == {"loss", "attack-success"} | figures | for_guards


def own_model(run_config: dict[str, Any]) -> ArrayRecord:
    return initial_arrays(run_config)


def own_holdout(run_config: dict[str, Any]) -> Callable[[int, ArrayRecord], MetricRecord]:
    return lambda number, arrays: MetricRecord({"rounds-so-far": number})


def test_the_server_trains_on_examples_of_its_own(run: Callable[..., Path]):
    chosen = {"defense": "fltrust; policy=none", "root-examples": 50, "hostile": 3, "attack": "sign_flip"}
    with Audit.open(run(**chosen), create=False) as audit:
        for number in (1, 2):
            weights = [one.verdict.weight for one in audit.contributions(1, number)]
            assert sum(weight < 0.05 for weight in weights) == 3


def test_a_function_of_the_operators_own_trains_in_its_place(run: Callable[..., Path]):
    with Audit.open(run(defense="fltrust; policy=none", root=f"{__name__}:own_root"), create=False) as audit:
        assert [found.skipped for found in audit.rounds(1)] == ["the server made no update of its own"] * 2


def own_root(run_config: dict[str, Any]) -> Callable[[int, ArrayRecord], None]:
    assert run_config["root-examples"] == 0
    return lambda _round, _arrays: None
