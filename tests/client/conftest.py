"""What the tests of the client share: tasks, the real data where there is some, and a way to call the ClientApp."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hawthorn.client.app import app
from hawthorn.client.tasks import Examples, Task, find_task
from hawthorn.client.training import arrays_of

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package

DATA = Path(os.environ.get("HAWTHORN_DATA", Path(__file__).parents[3] / "shared" / "data"))

Ask = Callable[..., Message]


@pytest.fixture(scope="session")
def digits() -> Task:
    return find_task("digits")


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """The path of a real data file; skips the test where there is none."""

    def path(name: str) -> Path:
        if not (DATA / name).is_file():
            pytest.skip(f"no {name} in {DATA}: set HAWTHORN_DATA")
        return DATA / name

    return path


@pytest.fixture
def ten_images() -> Examples:
    """One image of 6x6 of each of ten classes."""
    return Examples(np.random.default_rng(1).random((10, 6, 6), dtype=np.float32) / 2, np.arange(10))


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, digits: Task) -> Ask:
    """The real ClientApp's reply to a message, as a node of a federation of ten would give it."""
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)  # Flower makes no message outside a run

    def reply(kind: str = "train", *, node_config: dict | None = None, content: RecordDict | None = None, **run_config):
        node_config = {"partition-id": 0, "num-partitions": 10} if node_config is None else node_config
        content = content or RecordDict({"arrays": arrays_of(digits.model(seed=1))})
        run_config = {name.replace("_", "-"): value for name, value in run_config.items()}
        return app(Message(content, 1, kind), Context(1, 1, node_config, RecordDict(), run_config))

    return reply
