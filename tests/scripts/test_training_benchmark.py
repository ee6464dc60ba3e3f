"""`hawthorn benchmark training`: the real measurements with few clients; no figure is judged, as in the others."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hawthorn.client.fleet import Fleet, Job
from hawthorn.client.tasks import Examples, Task
from hawthorn.scripts.benchmarks import training, training_peers
from hawthorn.scripts.benchmarks.training import BARE, CASES, OURS, PEERS
from hawthorn.scripts.benchmarks.training_peers import TRAINING, Bare, ConvolutionalNetwork, Loop, images, shares
from hawthorn.strategies import Defense
from rich.console import Console

COMMAND = ("benchmark", "training", "--clients", "6", "--repeats", "2")


@pytest.fixture(autouse=True)
def few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder without choices and data; 60 random images instead of MNIST's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    few = Examples(rng.random((60, 28, 28), dtype=np.float32), rng.integers(0, 10, 60), 10)
    for module in (training, training_peers):
        monkeypatch.setattr(module, "images", lambda: few)


@pytest.fixture
def without_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)


@pytest.fixture
def task() -> Task:
    few = training.images()
    return Task("images", few, few, tuple("0123456789"), ConvolutionalNetwork)


def test_every_network_is_trained_in_every_way(without_flower) -> None:
    found = training.measured(clients=(6,), repeats=2)
    assert [size["case"] for size in found["sizes"]] == [case.name for case in CASES]
    for case, size in zip(CASES, found["sizes"], strict=True):
        ours = {OURS, *(f"{OURS}: {method}" for method in case.methods)}
        assert {name for name, work in size["work"].items() if work["ours"]} == ours
        assert size["work"][BARE]["reads"] == 1.0
        assert size["overhead"] == pytest.approx(size["work"][OURS]["reads"] - 1, abs=1e-3)
    assert PEERS["loop"] in found["sizes"][0]["work"]
    assert PEERS["loop"] in found["sizes"][0]["faster"]
    assert found["sizes"][0]["left_out"][PEERS["flower"]] == "not installed"
    console = Console(width=100, record=True)
    training.show(found, console)
    shown = console.export_text()
    assert "times as fast as PyTorch: plain loop" in shown
    assert "left out: Flower: simulation: not installed" in shown


@pytest.mark.skipif(importlib.util.find_spec("byzfl") is not None, reason="ByzFL is installed")
def test_without_byzfl_it_says_so(without_flower) -> None:
    found = training.measured(clients=(6,), repeats=1, only=lambda name: name in {OURS, PEERS["byzfl"]})
    assert found["sizes"][0]["left_out"] == {PEERS["byzfl"]: "not installed"}
    assert found["sizes"][0]["faster"] == {}


@pytest.mark.skipif(importlib.util.find_spec("byzfl") is None, reason="ByzFL is not installed")
def test_byzfl_trains_the_same_network() -> None:
    import byzfl

    network = byzfl.cnn_mnist()
    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    assert shapes == [tuple(parameter.shape) for parameter in ConvolutionalNetwork().parameters()]
    found = training.measured(clients=(6,), repeats=1, only=lambda name: name in {OURS, PEERS["byzfl"]})
    assert found["sizes"][0]["faster"].keys() == {PEERS["byzfl"]}


@pytest.mark.parametrize("method", ["one_by_one", "channels_last", "stacked"])
def test_the_bare_training_differentiates_the_same_batches(task: Task, method: str, monkeypatch) -> None:
    monkeypatch.setattr(training_peers, "STILL", training_peers.RATE)
    jobs = [Job(own, TRAINING, seed=place) for place, own in enumerate(shares(task.train, 1))]
    fleet = Fleet(task, seed=1, method=method)
    expected, _ = fleet.trained(fleet.initial, jobs)
    bare = Bare(task, jobs, method, threads=1)
    bare()
    parameters = bare.work[0][0] if method == "stacked" else bare.models[0].parameters()
    found = torch.cat([parameter.detach().reshape(-1) for parameter in parameters]).numpy() - fleet.initial
    np.testing.assert_allclose(found, expected[0], atol=1e-6)


def test_the_plain_loop_learns(task: Task) -> None:
    loop = Loop(task, shares(task.train, 6), Defense.parse("nnm | trimmed_mean", f=1))
    x, y = torch.from_numpy(task.train.x), torch.from_numpy(task.train.y)

    def loss() -> float:
        torch.nn.utils.vector_to_parameters(loop.sent.clone(), loop.model.parameters())
        return task.loss(loop.model(x), y).mean().item()

    before = loss()
    for _ in range(10):
        loop()
    assert loss() < before


def test_images_are_mnists_where_they_are_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAWTHORN_DATA", raising=False)
    assert images.__wrapped__().x.shape == (60_000, 28, 28)
    x, y = np.arange(20 * 28 * 28, dtype=np.uint8).reshape(20, 28, 28), np.arange(20) % 10
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    monkeypatch.setenv("HAWTHORN_DATA", str(tmp_path))
    np.testing.assert_array_equal(images.__wrapped__().y, y)


def test_the_command_writes_a_page_and_compares(hawthorn, without_flower) -> None:
    few = (*COMMAND, "--only", f"^{OURS}$")
    assert hawthorn(*few, "--json", "old.json", "--html", "page.html").status == 0
    assert "as a multiple of the bare training" in Path("page.html").read_text()
    ended = hawthorn(*few, "--compare", "old.json")
    assert ended.status in {0, 1}  # with so few clients, noise alone may look like a slow-down
    assert "new over old" in ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--clients", "5,6"), "--clients as one number for all networks, instead of 5,6"),
        (("--values", "20000"), "benchmark training has no --values"),
        (("--only", "kruum"), "--only finds none of"),
    ],
)
def test_what_cannot_be_measured_is_told(hawthorn, without_flower, arguments, words) -> None:
    ended = hawthorn("benchmark", "training", *arguments)
    assert ended.status == 2
    assert words in ended.err


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_flowers_simulation_runs_in_turns_with_the_others(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hawthorn.scripts.main", *COMMAND, "--only", "^Flower|^Hawthorn$", "--json", "-"]
    environment = os.environ | {"FLWR_HOME": str(tmp_path / "flwr")}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    cnn, *others = json.loads(ended.stdout)["sizes"]
    assert cnn["work"][PEERS["flower"]]["runs"] == 2
    assert cnn["faster"].keys() == {PEERS["flower"]}
    assert not any(PEERS["flower"] in size["work"] for size in others)
