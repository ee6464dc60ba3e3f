"""Updates to put a defense to the test with: the honest clients' of a real run, or those of a file."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from hawthorn.strategies import SettingError
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hawthorn.server.settings import Settings

Floats = NDArray[np.float64]


def updates_in(path: str) -> Floats:
    """The updates `(rounds, n, d)` in an .npz file that holds them as `updates`, or a lone array of any name.

    It may be of one round, `(n, d)`. Raises `SettingError`.
    """
    expected = f"--updates must be an .npz file with an array (n, d) or (rounds, n, d) named 'updates', got {path!r}"
    try:
        with np.load(Path(path).expanduser()) as arrays:
            name = "updates" if "updates" in arrays else " ".join(arrays)
            found = cast("NDArray[np.generic]", arrays[name])
    except (OSError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile):
        raise SettingError(expected) from None
    if found.dtype.kind != "f" or found.ndim not in (2, 3) or 0 in found.shape:
        raise SettingError(f"{expected}: {found.dtype} of shape {found.shape}")
    if not np.isfinite(found).all():
        raise SettingError(f"{expected}: some values are not finite")
    return found.reshape(-1, *found.shape[-2:]).astype(np.float64)


def recorded_updates(settings: Settings) -> Floats:
    """The updates `(rounds, n, d)` of all clients of a federation in which nobody attacks and the mean aggregates."""
    from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import FedAvg
    from hawthorn.client.app import app
    from hawthorn.client.provider import initial_arrays

    from ..collusion import arrays_in, vector
    from ..in_process import InProcessGrid

    class Recording(FedAvg):
        """Federated averaging that keeps every round's updates."""

        def __init__(self) -> None:
            super().__init__(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
            self.rounds: list[Floats] = []
            self.sent: Floats = np.zeros(0)

        def configure_train(
            self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
        ) -> Iterable[Message]:
            self.sent = vector(arrays)
            return super().configure_train(server_round, arrays, config, grid)

        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            # whom Flower asks first is drawn from the global generator, and sums are not to depend on it
            replies = sorted(replies, key=lambda reply: reply.metadata.src_node_id)
            failed = next((reply.error.reason for reply in replies if reply.has_error()), None)
            if failed:
                raise SettingError(f"a client failed in round {server_round}: {failed}")
            self.rounds.append(np.stack([vector(arrays_in(reply)) for reply in replies]) - self.sent)
            return super().aggregate_train(server_round, replies)

    run_config = settings.run_config() | {"hostile": 0, "attack": ""}
    log = logging.getLogger("flwr")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        recording = Recording()
        grid = InProcessGrid(app, settings.clients, run_config)
        recording.start(grid=grid, initial_arrays=initial_arrays(run_config), num_rounds=settings.rounds)
    finally:
        log.setLevel(before)
    rounds = np.stack(recording.rounds)
    if not np.isfinite(rounds).all():
        raise SettingError("the run diverged: write a smaller --learning-rate or fewer --rounds")
    return rounds
