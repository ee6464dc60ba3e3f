"""The ClientApp itself, called with Flower's own messages; no part of it is replaced."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from hawthorn.client.app import app
from hawthorn.client.attacks import hostile_clients
from hawthorn.client.tasks import Task, find_task, partition
from hawthorn.client.training import arrays_of

Ask = Callable[..., Message]

HOSTILE = min(hostile_clients(10, 3, seed=1))
HONEST = min(set(range(10)) - hostile_clients(10, 3, seed=1))


def node(client: int) -> dict:
    return {"partition-id": client, "num-partitions": 10}


def vector(arrays: ArrayRecord) -> np.ndarray:
    return np.concatenate([array.numpy().ravel() for array in arrays.values()]).astype(np.float64)


def update(reply: Message, task: Task) -> np.ndarray:
    assert not reply.has_error(), reply.error
    return vector(reply.content.array_records["arrays"]) - vector(arrays_of(task.model(seed=1)))


def sent_in_round(task: Task, number: int, **config: float) -> RecordDict:
    config_record = ConfigRecord({"server-round": number, **config})
    return RecordDict({"arrays": arrays_of(task.model(seed=1)), "config": config_record})


def test_the_app_is_found_by_flower() -> None:
    assert isinstance(app, ClientApp)


def test_a_reply_has_the_layout_of_the_model_and_the_true_count(ask: Ask, digits: Task) -> None:
    reply = ask()
    sent, back = arrays_of(digits.model(seed=1)), reply.content.array_records["arrays"]
    assert [(k, a.dtype, tuple(a.shape)) for k, a in back.items()] == [
        (k, a.dtype, tuple(a.shape)) for k, a in sent.items()
    ]
    assert np.linalg.norm(update(reply, digits)) > 0.1
    metrics = reply.content.metric_records["metrics"]
    size = len(partition("dirichlet(0.5)", digits.train.y, 10, 1)[0])
    assert metrics["num-examples"] == size - max(1, size // 10)
    assert 0 < float(str(metrics["train-loss"])) < 5


def test_a_client_judges_by_examples_it_does_not_train_on(ask: Ask, digits: Task) -> None:
    metrics = ask("evaluate").content.metric_records["metrics"]
    assert set(metrics) == {"num-examples", "loss", "accuracy"}
    parts = partition("dirichlet(0.5)", digits.train.y, 10, 1)
    assert metrics["num-examples"] == max(1, len(parts[0]) // 10)
    counted = sum(ask(kind).content.metric_records["metrics"]["num-examples"] for kind in ("train", "evaluate"))
    assert counted == len(parts[0])


def test_the_same_call_gives_the_same_bits_whatever_the_global_generators(ask: Ask, digits: Task) -> None:
    first = update(ask(), digits)
    np.random.seed(3)  # on purpose: nothing may depend on it
    random.seed(3)
    assert np.array_equal(first, update(ask(), digits))
    assert not np.array_equal(first, update(ask(seed=2), digits))
    assert not np.array_equal(first, update(ask(node_config=node(1)), digits))


def test_every_round_draws_other_batches(ask: Ask, digits: Task) -> None:
    first, second = (update(ask(content=sent_in_round(digits, number)), digits) for number in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "setting",
    [{"local_epochs": 1}, {"local_steps": 2}, {"batch_size": 8}, {"learning_rate": 0.01}, {"partition": "iid"}],
    ids=str,
)
def test_every_setting_counts(setting: dict, ask: Ask, digits: Task) -> None:
    assert not np.array_equal(update(ask(**setting), digits), update(ask(), digits))


def test_the_learning_rate_falls_from_round_to_round(ask: Ask, digits: Task) -> None:
    third = sent_in_round(digits, 3)
    fallen = update(ask(content=third, learning_rate_decay=0.5), digits)
    assert np.array_equal(fallen, update(ask(content=third, learning_rate=0.1 * 0.5**2), digits))
    assert not np.array_equal(fallen, update(ask(content=third), digits))
    first = sent_in_round(digits, 1)
    assert np.array_equal(
        update(ask(content=first, learning_rate_decay=0.5), digits), update(ask(content=first), digits)
    )


def test_a_learning_rate_that_is_to_fall_needs_the_number_of_the_round(ask: Ask, digits: Task) -> None:
    reply = ask(content=RecordDict({"arrays": arrays_of(digits.model(seed=1))}), learning_rate_decay=0.5)
    assert "server-round" in reply.error.reason


def test_a_strategys_proximal_term_is_obeyed(ask: Ask, digits: Task) -> None:
    free = update(ask(content=sent_in_round(digits, 1)), digits)
    held = update(ask(content=sent_in_round(digits, 1, **{"proximal-mu": 2.0})), digits)
    assert np.linalg.norm(held) < np.linalg.norm(free)


def test_another_task_has_another_model(ask: Ask) -> None:
    task = find_task("breast_cancer")
    reply = ask(task="breast_cancer", content=RecordDict({"arrays": arrays_of(task.model(seed=1))}))
    assert len(update(reply, task)) == 62


def test_sign_flip_turns_the_hostile_update_around_and_no_other(ask: Ask, digits: Task) -> None:
    for client, factor in ((HOSTILE, -2.0), (HONEST, 1.0)):
        honest = update(ask(node_config=node(client)), digits)
        attacked = update(ask(node_config=node(client), hostile=3, attack="sign_flip(scale=2.0)"), digits)
        np.testing.assert_allclose(attacked, factor * honest, rtol=1e-4, atol=1e-6)


def test_model_replacement_boosts_by_clients_over_hostile(ask: Ask, digits: Task) -> None:
    honest = update(ask(node_config=node(HOSTILE)), digits)
    attacked = update(ask(node_config=node(HOSTILE), hostile=3, attack="model_replacement"), digits)
    np.testing.assert_allclose(attacked, 10 / 3 * honest, rtol=1e-4, atol=1e-6)


def test_gaussian_noise_differs_between_rounds_and_hostile_clients(ask: Ask, digits: Task) -> None:
    attack = {"hostile": 3, "attack": "gaussian(sigma=1.0)"}
    noise = [
        update(ask(node_config=node(client), content=sent_in_round(digits, number), **attack), digits)
        for client, number in ((HOSTILE, 1), (HOSTILE, 2), (max(hostile_clients(10, 3, seed=1)), 1))
    ]
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.1
    assert np.std(noise[0]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("attack", ["label_flip", "backdoor(target=1)"])
def test_poisoned_examples_are_trained_on_by_the_hostile_alone(attack: str, ask: Ask, digits: Task) -> None:
    for client, same in ((HOSTILE, False), (HONEST, True)):
        honest = update(ask(node_config=node(client)), digits)
        attacked = update(ask(node_config=node(client), hostile=3, attack=attack), digits)
        assert np.array_equal(honest, attacked) == same


@pytest.mark.parametrize("attack", ["ipm", "alie(z=1.5)"])
def test_colluders_train_honestly_until_the_simulation_speaks_for_them(attack: str, ask: Ask, digits: Task) -> None:
    honest = update(ask(node_config=node(HOSTILE)), digits)
    assert np.array_equal(honest, update(ask(node_config=node(HOSTILE), hostile=3, attack=attack), digits))


def test_hostile_clients_evaluate_like_anyone(ask: Ask) -> None:
    honest = ask("evaluate", node_config=node(HOSTILE))
    hostile = ask("evaluate", node_config=node(HOSTILE), hostile=3, attack="label_flip + sign_flip")
    assert hostile.content == honest.content


def test_a_lie_too_long_for_the_dtype_is_sent_as_infinity(ask: Ask) -> None:
    reply = ask(node_config=node(HOSTILE), hostile=3, attack="sign_flip(scale=1e300)")
    arrays = reply.content.array_records["arrays"]
    assert {array.dtype for array in arrays.values()} == {"float32"}
    assert np.isinf(vector(arrays)).any()


def test_a_model_of_another_precision_is_answered_in_its_layout_by_liars(ask: Ask, digits: Task) -> None:
    arrays = {name: Array(a.numpy().astype(np.float64)) for name, a in arrays_of(digits.model(seed=1)).items()}
    reply = ask(
        node_config=node(HOSTILE), hostile=3, attack="sign_flip", content=RecordDict({"arrays": ArrayRecord(arrays)})
    )
    assert {array.dtype for array in reply.content.array_records["arrays"].values()} == {"float64"}


def test_clients_come_from_the_run_config_where_the_node_does_not_say(ask: Ask, digits: Task) -> None:
    told = update(ask(node_config={"partition-id": 3, "num-partitions": 12}), digits)
    assert np.array_equal(told, update(ask(node_config={"partition-id": 3}, clients=12), digits))


@pytest.mark.parametrize("kind", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("node_config", "run_config", "reason"),
    [
        ({}, {}, "no partition-id in the node config: start the node with --node-config 'partition-id=0'"),
        ({"num-partitions": 10}, {}, "no partition-id"),
        (node(10), {}, "partition-id must be from 0 to 9"),
        (node(-1), {}, "partition-id must be from 0 to 9"),
        ({"partition-id": "0"}, {}, "partition-id must be int"),
        (node(0), {"task": "digit"}, "did you mean 'digits'"),
        (node(0), {"task": "npz"}, "needs a file"),
        (node(0), {"partition": "shards"}, "partition must be"),
        (node(0), {"learning_rate": "fast"}, "learning-rate must be float"),
        (node(0), {"local_epochs": 1.5}, "local-epochs must be int"),
        (node(0), {"local_epochs": True}, "local-epochs must be int"),
        (node(HOSTILE), {"hostile": 3, "attack": "sign_flp"}, "did you mean 'sign_flip'"),
        (node(0), {"hostile": 11}, "hostile must be from 0 to clients=10"),
    ],
    ids=str,
)
def test_wrong_settings_are_answered_with_what_to_write(
    kind: str, node_config: dict, run_config: dict, reason: str, ask: Ask
) -> None:
    reply = ask(kind, node_config=node_config, **run_config)
    assert reply.has_error()
    assert reason in str(reply.error.reason)


def test_a_whole_number_is_a_learning_rate_too(ask: Ask) -> None:
    assert not ask(learning_rate=1).has_error()


def test_even_a_client_of_one_example_can_train_and_judge(ask: Ask, digits: Task) -> None:
    lone = {"partition-id": 5, "num-partitions": len(digits.train)}
    replies = [ask(kind, node_config=lone, partition="iid") for kind in ("train", "evaluate")]
    assert [reply.content.metric_records["metrics"]["num-examples"] for reply in replies] == [1, 1]
