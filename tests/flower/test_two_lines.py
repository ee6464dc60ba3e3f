"""The two-line change: an app in the shape of Flower's quickstarts, poisoned, before and after."""

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from hawthorn.client.attacks.forging import with_array
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.scripts.in_process import InProcessGrid

QUICKSTART = Path(__file__).parent / "quickstart"
RUN_CONFIG = {"num-server-rounds": 8, "fraction-train": 1.0, "local-epochs": 10, "lr": 0.5}

# The change, line by line, and the line each one stands behind.
TWO_LINES = {
    "from flwr.serverapp.strategy import FedAvg": "from hawthorn.strategies import RobustStrategy",
    "    strategy = FedAvg(fraction_train=fraction_train)": "    strategy = RobustStrategy(strategy)",
}


def defended(text):
    """The ServerApp with the two lines added, which changes nothing else."""
    lines = text.splitlines()
    for before, added in TWO_LINES.items():
        lines.insert(lines.index(before) + 1, added)
    assert len(lines) == len(text.splitlines()) + 2
    return "\n".join(lines) + "\n"


@pytest.fixture
def final_accuracy(tmp_path, monkeypatch):
    """A function that runs the app from a folder of its own and tells the accuracy of the model it saves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(change=None, poison=None):
        shutil.copytree(QUICKSTART, tmp_path / "quickstart", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__*__"))
        server_file = tmp_path / "quickstart" / "server_app.py"
        if change:
            server_file.write_text(change(server_file.read_text()))
        for name in [name for name in sys.modules if name.split(".")[0] == "quickstart"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        task, client, server = (
            importlib.import_module(f"quickstart.{name}") for name in ("task", "client_app", "server_app")
        )

        def node(message, context):
            reply = client.app(message, context)
            hostile = context.node_config["partition-id"] == 0 and message.metadata.message_type == "train"
            return poison(reply)[0] if poison and hostile else reply

        grid = InProcessGrid(node, 8, RUN_CONFIG)
        server.app(grid, Context(1, 0, {}, RecordDict(), dict(RUN_CONFIG)))
        with np.load("final_model.npz") as saved:
            model = list(saved.values())
        return task.accuracy(model, *task.load_test_data()) if all(np.isfinite(a).all() for a in model) else 0.0

    return run


def garbage(reply):
    """A poisoned reply: large random numbers in the place of what was learned."""
    return with_array(reply, lambda array: np.random.default_rng(1).normal(0, 1000, array.shape).astype(array.dtype))


@pytest.mark.slow
def test_undisturbed_both_learn_the_same(final_accuracy):
    plain, robust = final_accuracy(), final_accuracy(defended)
    assert plain > 0.85
    assert robust >= plain - 0.01


@pytest.mark.parametrize(
    "poison", [garbage, pytest.param(MALFORMED["one_nan"], marks=pytest.mark.slow)], ids=["garbage", "one nan"]
)
def test_the_two_lines_save_the_run_from_a_poisoned_client(final_accuracy, poison):
    assert final_accuracy(poison=poison) < 0.5
    assert final_accuracy(defended, poison) > 0.85


def test_the_two_lines_save_the_run_from_a_reply_that_ends_it(final_accuracy):
    with pytest.raises(Exception, match="keys"):
        final_accuracy(poison=MALFORMED["missing_array"])
    assert final_accuracy(defended, MALFORMED["missing_array"]) > 0.85
