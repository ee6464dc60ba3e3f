"""The server's own update: whose examples it is made of, that it is the same everywhere, and what it is good for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from hawthorn.client.assignment import Assignment, held_back, parts
from hawthorn.client.fleet import Fleet
from hawthorn.client.root import Root
from hawthorn.client.tasks import find_task
from hawthorn.client.training import arrays_of
from hawthorn.client.vectors import vector
from hawthorn.scripts.engine import on_engine
from hawthorn.scripts.evaluation.cell import Cell
from hawthorn.scripts.federation import Federation, Run
from hawthorn.scripts.fleet_engine import run_on_fleet
from hawthorn.server.settings import Settings
from hawthorn.strategies import Defense, SettingError

TRUSTED = "fltrust; scores=length; policy=none"
SMALL = {"clients": 8, "hostile": 2, "tolerated": "2", "rounds": 4, "root-examples": 60, "defense": TRUSTED}


def federation(**settings: Any) -> Federation:
    chosen = Settings.parse(SMALL | {name.replace("_", "-"): value for name, value in settings.items()})
    return Federation.of(chosen, chosen.recipe)


def on_grid(one: Federation, name: str) -> Run:
    return on_engine("in-process", one.settings.clients, lambda grid: one.run(name, grid, lambda _: None))


def rows_of(x: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in x}


@pytest.mark.parametrize(
    "settings",
    [
        {"attack": "sign_flip(scale=3.0)"},
        {"attack": "ipm + jitter"},
        {"attack": "optimized(family='alie')"},
        {"attack": "optimized(family='unseen')"},
        {"attack": "gaussian", "learning_rate_decay": 0.5, "momentum": 0.9},
        {"attack": "label_flip", "task": "breast_cancer", "fraction_train": 1.0, "local_steps": 3},
    ],
    ids=str,
)
def test_a_run_is_the_one_that_flowers_messages_make(settings: dict[str, Any]):
    one = federation(**settings)
    fleet, grid = run_on_fleet(one, "defended"), on_grid(one, "defended")
    np.testing.assert_allclose(fleet.accuracy, grid.accuracy, atol=0.02)
    for number in range(one.settings.rounds):
        found, expected = (
            [run.records[number].verdicts[client].weight for client in range(8)] for run in (fleet, grid)
        )
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-3)
    assert not any(record.skipped for record in (*fleet.records, *grid.records))


@pytest.mark.parametrize("partition", ["iid", "dirichlet(0.1)", "sorted", "sorted_honest"])
def test_no_client_has_what_the_server_keeps(partition: str):
    task = find_task("digits")
    held = held_back(task, 100, seed=3)
    assert len(set(held.tolist())) == 100
    split = parts(task, partition, 10, 3, (2, 5), 100)
    theirs = set(np.concatenate(split).tolist())
    assert theirs.isdisjoint(held.tolist())
    if partition != "sorted_honest":  # there the hostile draw
        assert sorted([*theirs, *held.tolist()]) == list(range(len(task.train)))


def test_the_seed_draws_them_and_not_class_by_class():
    task = find_task("digits")
    first, again, other = (held_back(task, 100, seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    counts = {tuple(np.bincount(task.train.y[held], minlength=10)) for held in (first, other)}
    assert len(counts) == 2
    assert not any(max(count) - min(count) <= 1 for count in counts)


def test_groups_stay_with_their_examples():
    rng = np.random.default_rng(0)
    task = find_task("digits")
    grouped = replace(task, groups=rng.integers(0, 12, len(task.train)))
    split = parts(grouped, "natural", 12, 1, (), 200)
    assert grouped.groups is not None
    assert [set(grouped.groups[part].tolist()) for part in split] == [{group} for group in range(12)]


def test_every_run_of_a_federation_has_the_same_clients():
    """Those of the undefended and the oracle, too, which have no use for the server's examples."""
    settings = federation(attack="sign_flip").settings
    seen: dict[str, list[set[bytes]]] = {}
    for hostile, attack in ((2, "sign_flip"), (0, "")):
        run_config = settings.run_config() | {"hostile": hostile, "attack": attack, "defense": "mean"}
        seen[attack] = [rows_of(assigned(run_config, client).examples[0].x) for client in range(8)]
    assert seen["sign_flip"] == seen[""]
    root = rows_of(Root.of(settings.run_config()).examples.x)
    assert len(root) == 60
    assert not any(root & theirs for theirs in seen[""])


def assigned(run_config: dict[str, Any], client: int) -> Assignment:
    return Assignment.of(Context(1, 1, {"partition-id": client, "num-partitions": 8}, RecordDict(), run_config))


@pytest.mark.parametrize("name", ["no_attack", "undefended", "oracle"])
def test_fewer_examples_change_every_run(name: str):
    found, plain = (
        run_on_fleet(federation(attack="sign_flip", root_examples=count, defense="mean"), name) for count in (60, 0)
    )
    assert found.accuracy != plain.accuracy


def test_the_three_ways_to_train_are_one():
    """As a row, as a record, and as one more job of a fleet."""
    root = Root.of(federation(attack="sign_flip").settings.run_config())
    model = root.task.model(1)
    sent = vector(arrays_of(model)).astype(np.float32)
    row = root.update(2, sent)
    after = vector(root.trained(2, arrays_of(model))).astype(np.float32)
    np.testing.assert_array_equal(row, after - sent)
    np.testing.assert_array_equal(Fleet(root.task, seed=1, method="one_by_one").trained(sent, [root.job(2)])[0][0], row)
    assert not np.array_equal(root.update(3, sent), row)  # other batches
    np.testing.assert_array_equal(root.update(2, sent), row)


def test_it_trains_as_long_as_clients_do():
    """Never fewer steps than they take, never fewer epochs, never more steps than the setting allows."""
    config = Settings.parse({"task": "digits", "clients": 4, "root-examples": 40}).run_config()
    many = Root.of(config).job(1)
    clients = (1438 - 40) // 4
    assert many.steps == 2 * -(-(clients - clients // 10) // 32)
    few = Root.of(config | {"clients": 60, "root-examples": 200}).job(1)
    assert few.steps == 2 * -(-200 // 32)
    assert Root.of(config | {"local-steps": 3}).job(1).steps == 3
    falling = Root.of(config | {"learning-rate-decay": 0.5})
    assert [falling.job(number).training.learning_rate for number in (1, 3)] == [0.1, 0.025]


def test_a_trusted_update_defends_what_nobody_else_does():
    """More than half of the clients flip their updates, and the server's hundred examples tell which."""
    chosen: dict[str, Any] = {"clients": 10, "hostile": 6, "tolerated": "4", "rounds": 12, "root_examples": 100}
    one = federation(attack="sign_flip", **chosen)
    defended, oracle = (run_on_fleet(one, name).accuracy[-1] for name in ("defended", "oracle"))
    median = run_on_fleet(federation(attack="sign_flip", **chosen | {"defense": "median"}), "defended").accuracy[-1]
    assert defended > oracle - 0.1
    assert median < defended - 0.3
    for record in run_on_fleet(one, "defended").records:
        weights = {client: verdict.weight for client, verdict in record.verdicts.items()}
        assert sum(weights[client] for client in one.hostile) < sum(weights.values()) / 3


def test_attackers_who_know_the_servers_update_hide_beside_it():
    """What they send has the cosine to it that honest rows have, more or less, and yet turns the mean around."""
    one = federation(attack="optimized(family='unseen')", clients=10, hostile=3, tolerated="3", rounds=3)
    aware, told = (run_on_fleet(one, "defended").records, on_grid(one, "defended").records)
    for number in range(3):
        weights = {client: verdict.weight for client, verdict in aware[number].verdicts.items()}
        assert all(weights[client] > 0 for client in one.hostile)
        assert [told[number].verdicts[client].weight > 0 for client in one.hostile] == [True] * 3


def test_a_forest_has_trees_of_the_server_to_compare_with():
    one = federation(task="breast_cancer(network='forest')", attack="label_flip", rounds=3)
    run = run_on_fleet(one, "defended")
    assert run.accuracy[-1] > 0.85
    assert all(record.verdicts[client].weight == 0 for record in run.records for client in one.hostile)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"root-examples": 0}, "write root-examples=100"),
        ({"root-examples": -1}, "root-examples must be a whole number of at least 0"),
        ({"root": "nothing"}, "package.module:function"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], words: str):
    with pytest.raises(SettingError, match=words):
        Settings.parse(SMALL | {"attack": "sign_flip"} | settings)


def test_more_examples_than_there_are_cannot_be_kept():
    with pytest.raises(SettingError, match="below the 1438 training examples"):
        federation(attack="sign_flip", root_examples=1438)
    with pytest.raises(SettingError, match="number of clients"):
        federation(attack="sign_flip", root_examples=1435)


def test_a_simulation_cannot_ask_a_function_of_the_operators_own():
    with pytest.raises(SettingError, match="write root-examples=100"):
        federation(attack="sign_flip", root_examples=0, root="somebody.elses:root")


def test_a_defense_that_does_not_ask_leaves_the_examples_alone():
    """So that one grid can compare defenses that have use for them with those that have none."""
    settings = Settings.parse(SMALL | {"attack": "sign_flip", "defense": "median"})
    assert Federation.of(settings, settings.recipe).root is None
    assert not settings.remark or "root" not in settings.remark


def test_every_cell_counts_them():
    for run in ("defended", "undefended", "oracle"):
        few, many = (
            Cell(run, Settings.parse(SMALL | {"attack": "sign_flip", "root-examples": count})) for count in (60, 80)
        )
        assert few.key != many.key


def test_what_the_settings_try_a_defense_on_has_a_trusted_row():
    """Whether a defense can work is found by trying it."""
    settings = Settings.parse(SMALL | {"attack": "sign_flip", "defense": "monna"})
    assert settings.recipe == Defense("monna", f=2)
