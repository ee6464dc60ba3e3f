"""A fleet gives every client the update that its ClientApp would send, whatever the method and the threads."""

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, RecordDict
from hawthorn.client.assignment import Assignment
from hawthorn.client.fleet import METHODS, Fleet, Job
from hawthorn.client.stacking import at_once, stacks
from hawthorn.client.tasks import Examples, Task, find_task, partition
from hawthorn.client.tasks.models import ImageNetwork, cross_entropy, dense_network, hinge
from hawthorn.client.training import Training, arrays_of, train
from hawthorn.strategies.errors import SettingError
from torch import nn

WAYS = METHODS[1:]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or leaves a choice of this machine's user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def row(model: nn.Module) -> np.ndarray:
    return np.concatenate([v.detach().numpy().ravel() for v in model.state_dict().values() if v.is_floating_point()])


def alone(task: Task, sent: np.ndarray, jobs: list[Job], *, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """What clients that train one by one from `sent` come to."""
    rows, losses = [], []
    for job in jobs:
        model = Fleet(task, seed=seed).model(sent)
        losses.append(train(model, job.examples, job.training, seed=job.seed, loss=task.loss))
        rows.append(row(model) - sent)
    return np.array(rows), np.array(losses)


MIXED = Training(epochs=2, batch_size=16, momentum=0.9, proximal=0.2)


def uneven(task: Task, training: Training = MIXED) -> list[Job]:
    """Clients with different numbers of examples and steps."""
    jobs = [Job(task.train[a:b], training, seed=b) for a, b in pairwise((0, 40, 47, 48, 81, 97, 187))]
    jobs[3] = dataclasses.replace(jobs[3], training=dataclasses.replace(training, steps=2))
    return jobs


def close(found: np.ndarray, expected: np.ndarray) -> None:
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


def clever(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(answers, labels) * torch.where(labels == 1, 3.0, 1.0)


class Drawn(Task):
    """A task whose model torch itself initializes: ours takes no batch norm and unties what is tied."""

    def model(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.network()


def of(network: Callable[[], nn.Module], shape: tuple[int, ...] = (6, 6), loss=cross_entropy, kind=Task) -> Task:
    """A task of random examples, for a network."""
    rng = np.random.default_rng(3)
    examples = Examples(rng.random((200, *shape), dtype=np.float32), rng.integers(0, 4, 200), 4)
    return kind("random", examples, examples[:20], tuple("abcd"), network, loss)


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 5, 3), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.first(x.unsqueeze(1))), 2)
        return self.last(self.second(x).flatten(1))


class Moody(nn.Module):
    """A model whose way depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x) if x.mean() > 0 else self.last(-x)


def normalized() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))


def mixing() -> nn.Module:
    """Batch norm without buffers: examples that only fill up a batch would count."""
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 4))


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.Linear(5, 4))
    model[2].weight = model[0].weight
    return model


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 4))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "loss",
    [cross_entropy, pytest.param(hinge, marks=pytest.mark.slow), pytest.param(clever, marks=pytest.mark.slow)],
    ids=lambda loss: loss.__name__,
)
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (partial(ImageNetwork, (6, 6), 4), (6, 6)),
        (Pooled, (6, 6)),
        (partial(dense_network, 5, 4, 8), (5,)),
        (partial(dense_network, 5, 4, 0), (5,)),
    ],
    ids=["image", "pooled", "dense", "linear"],
)
def test_rows_and_losses_are_those_of_clients_trained_one_by_one(network, shape, loss, method: str) -> None:
    task = of(network, shape, loss)
    fleet, jobs = Fleet(task, seed=1, method=method), uneven(task)
    sent = fleet.initial + np.float32(0.01)
    found, losses = fleet.trained(sent, jobs)
    expected, expected_losses = alone(task, sent, jobs)
    assert found.dtype == np.float32
    assert losses.dtype == np.float64
    close(found, expected)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert fleet.method in WAYS
    if method != "auto":
        assert fleet.method == method


def test_the_initial_model_is_the_tasks(digits: Task) -> None:
    fleet = Fleet(digits, seed=3)
    np.testing.assert_array_equal(fleet.initial, row(digits.model(seed=3)))
    np.testing.assert_array_equal(row(fleet.model(fleet.initial + 1)), fleet.initial + 1)
    assert fleet.model(fleet.initial) is fleet.model(fleet.initial + 1)


@pytest.mark.parametrize("method", WAYS)
@pytest.mark.parametrize("task", ["digits", "breast_cancer"])
def test_rows_are_what_the_client_app_sends(ask, method: str, task: str) -> None:
    named = find_task(task)
    fleet = Fleet(named, seed=1, method=method)
    run = {"task": task, "local-epochs": 2, "batch-size": 20, "momentum": 0.5, "learning-rate": 0.05}
    config = ConfigRecord({"server-round": 3, "proximal-mu": 0.1})
    jobs, expected, losses = [], [], []
    for client in range(4):
        node = {"partition-id": client, "num-partitions": 10}
        content = RecordDict({"arrays": arrays_of(named.model(seed=1)), "config": config})
        options = {name.replace("-", "_"): value for name, value in run.items()}
        reply = ask(content=content, node_config=node, **options).content
        arrays = reply.array_records["arrays"]
        expected.append(np.concatenate([array.numpy().ravel() for array in arrays.values()]) - fleet.initial)
        losses.append(reply.metric_records["metrics"]["train-loss"])
        own = Assignment.of(Context(1, 1, node, RecordDict(), run))
        seed = int(own.random("batches", 3).integers(2**63))
        jobs.append(Job(own.examples[0], dataclasses.replace(own.training, proximal=0.1), seed))
    found, own_losses = fleet.trained(fleet.initial, jobs)
    assert len({len(job.examples) for job in jobs}) > 1
    close(found, np.array(expected))
    np.testing.assert_allclose(own_losses, losses, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", WAYS)
def test_the_number_of_threads_changes_no_bit(method: str) -> None:
    task = of(Pooled)
    jobs = [Job(task.train[i : i + 9], Training(batch_size=4), seed=i) for i in range(3 * at_once(1000))]
    one, three = (Fleet(task, seed=1, method=method, threads=n) for n in (1, 3))
    for a, b in zip(one.trained(one.initial, jobs), three.trained(three.initial, jobs), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ["one_by_one", "channels_last"])
def test_a_row_does_not_depend_on_the_others_to_the_last_bit(method: str) -> None:
    task = of(Pooled)
    fleet, jobs = Fleet(task, seed=1, method=method), uneven(task)
    all_rows, _ = fleet.trained(fleet.initial, jobs)
    for place, job in enumerate(jobs):
        np.testing.assert_array_equal(fleet.trained(fleet.initial, [job])[0][0], all_rows[place])
    if method == "one_by_one":
        np.testing.assert_array_equal(all_rows, alone(task, fleet.initial, jobs)[0])


def test_stacked_rows_depend_on_the_others_by_rounding_only() -> None:
    task = of(Pooled)
    fleet, jobs = Fleet(task, seed=1, method="stacked"), uneven(task)
    all_rows, _ = fleet.trained(fleet.initial, jobs)
    close(np.array([fleet.trained(fleet.initial, [job])[0][0] for job in jobs]), all_rows)
    np.testing.assert_array_equal(fleet.trained(fleet.initial, jobs)[0], all_rows)


def test_rows_of_a_round_are_not_written_to_in_the_next(digits: Task) -> None:
    fleet, jobs = Fleet(digits, seed=1, method="one_by_one"), uneven(digits)
    first, _ = fleet.trained(fleet.initial, jobs)
    kept = first.copy()
    fleet.trained(fleet.initial + 1, jobs)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("network", [normalized, mixing, tied, dropping, Moody])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_cannot_be_stacked_goes_one_by_one(network, threads: int) -> None:
    task = of(network, (5,), kind=Drawn)
    rng = np.random.default_rng(1)
    jobs = [Job(task.train[rng.permutation(200)[:40]], Training(batch_size=16), seed) for seed in range(5)]
    fleet = Fleet(task, seed=1, method="stacked", threads=threads)
    found, losses = fleet.trained(fleet.initial, jobs)
    assert fleet.method == "one_by_one"
    # a reference whose counters are new in every client, as the fleet says
    expected = []
    for job in jobs:
        model = task.model(1)
        loss = train(model, job.examples, job.training, seed=job.seed)
        expected.append(row(model) - fleet.initial)
        assert loss in losses
    np.testing.assert_array_equal(found, expected)


def test_buffers_of_batch_norm_belong_to_the_row_and_its_counter_does_not() -> None:
    task = of(normalized, (5,), kind=Drawn)
    fleet = Fleet(task, seed=1)
    floats = [name for name, value in task.model(1).state_dict().items() if value.is_floating_point()]
    assert "1.running_mean" in floats
    assert "1.num_batches_tracked" not in floats
    assert len(fleet.initial) == sum(task.model(1).state_dict()[name].numel() for name in floats)


def test_penalized_and_frozen_clients_go_one_by_one_among_the_stacked() -> None:
    task = of(partial(dense_network, 5, 4, 8), (5,))
    fleet, jobs = Fleet(task, seed=1, method="stacked"), uneven(task)
    frozen = np.arange(len(fleet.initial)) % 2 == 0
    jobs[1] = dataclasses.replace(jobs[1], training=dataclasses.replace(jobs[1].training, frozen=frozen))
    penalty = dataclasses.replace(jobs[4].training, penalty=lambda outputs: outputs[0].sum())
    jobs[4] = dataclasses.replace(jobs[4], training=penalty)
    found, losses = fleet.trained(fleet.initial, jobs)
    expected, expected_losses = alone(task, fleet.initial, jobs)
    close(found, expected)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert not found[1][frozen].any()
    assert fleet.method == "stacked"


@pytest.mark.parametrize("method", WAYS)
def test_clients_that_train_otherwise_are_taken_apart(method: str) -> None:
    task = of(partial(dense_network, 5, 4, 8), (5,))
    kinds = [Training(), Training(momentum=0.9), Training(proximal=1.0), Training(learning_rate=0.3, batch_size=8)]
    jobs = [Job(task.train[20 * i : 20 * i + 20], kinds[i % 4], seed=i) for i in range(9)]
    fleet = Fleet(task, seed=1, method=method)
    close(fleet.trained(fleet.initial, jobs)[0], alone(task, fleet.initial, jobs)[0])
    cut = list(stacks(jobs, range(9), len(fleet.initial)))
    assert sorted(place for places in cut for place in places) == list(range(9))
    assert len(cut) == 4


@pytest.mark.parametrize("method", METHODS)
def test_nobody_and_clients_without_examples(digits: Task, method: str) -> None:
    fleet = Fleet(digits, seed=1, method=method)
    rows, losses = fleet.trained(fleet.initial, [])
    assert rows.shape == (0, len(fleet.initial))
    assert losses.shape == (0,)
    jobs = [Job(digits.train[:n], Training(epochs=1), seed=1) for n in (0, 8)]
    rows, losses = fleet.trained(fleet.initial, jobs)
    assert not rows[0].any()
    assert rows[1].any()
    assert np.isnan(losses[0])


@pytest.mark.parametrize("method", WAYS)
def test_the_global_state_of_torch_is_left_alone(method: str) -> None:
    task = of(dropping, (5,))
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    fleet = Fleet(task, seed=1, method=method, threads=2)
    fleet.trained(fleet.initial, uneven(task))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("method", WAYS)
def test_a_row_that_has_left_the_finite_stays_its_own(method: str) -> None:
    task = of(partial(dense_network, 5, 4, 8), (5,))
    jobs = uneven(task, Training(epochs=1, batch_size=16))
    wild = jobs[0].examples
    jobs[0] = dataclasses.replace(jobs[0], examples=Examples(np.full_like(wild.x, np.inf), wild.y, 4))
    fleet = Fleet(task, seed=1, method=method)
    rows, _ = fleet.trained(fleet.initial, jobs)
    assert not np.isfinite(rows[0]).all()
    close(rows[1:], alone(task, fleet.initial, jobs[1:])[0])


def test_settings_that_cannot_be_are_refused(digits: Task) -> None:
    with pytest.raises(SettingError, match="no training method named 'staked'; did you mean 'stacked'"):
        Fleet(digits, seed=1, method="staked")
    with pytest.raises(SettingError, match=r"a model of this task is a row of \(\d+,\), got \(3,\)"):
        Fleet(digits, seed=1).trained(np.zeros(3, np.float32), [])
    double = of(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4).double()))
    with pytest.raises(SettingError, match=r"float32, but 1\.weight is torch\.float64"):
        Fleet(double, seed=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused(digits: Task) -> None:
    with pytest.raises(SettingError, match="device must be cpu"):
        Fleet(digits, seed=1, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("method", METHODS)
def test_rows_from_a_gpu(method: str) -> None:
    task = of(Pooled)
    fleet = Fleet(task, seed=1, method=method, device="cuda")
    jobs = uneven(task)
    found, _ = fleet.trained(fleet.initial, jobs)
    expected, _ = alone(task, fleet.initial, jobs)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert method != "auto" or fleet.method == "stacked"


@pytest.mark.slow
def test_a_fleet_learns_mnist(real_data) -> None:
    from hawthorn.client.tasks.npz import npz

    task = npz(real_data("mnist.npz"))
    fleet = Fleet(task, seed=1)
    parts = [part[:120] for part in partition("iid", task.train.y, 10, 1)]
    model = fleet.initial
    losses = []
    for round_ in range(6):
        jobs = [Job(task.train[part], Training(epochs=1), seed=10 * round_ + i) for i, part in enumerate(parts)]
        updates, found = fleet.trained(model, jobs)
        model = model + updates.mean(axis=0)
        losses.append(found.mean())
    assert losses[-1] < losses[0] / 2
