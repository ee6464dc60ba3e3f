"""A server that is killed in the middle of a round: what was judged is kept, what was not is sent again."""

import json
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from controlled import pki
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.remote import RemoteDefense, channel
from hawthorn.strategies import Defense
from hawthorn.strategies.errors import ServiceError

RECIPE = "centered_clipping; momentum=0.5; reputation=sequential"
CLIENTS = [f"site-{place}" for place in range(6)]


@contextmanager
def started(folder, state):
    """`hawthorn control` with sessions on the disk, and its address; killed at the end without a word."""
    command = [sys.executable, "-m", "hawthorn.scripts.main", "control", "--certificates", str(folder)]
    command += ["--state", str(state), "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())["listen"]
        finally:
            process.kill()


@contextmanager
def opened(folder, address):
    with channel(address, folder, "flare") as found:
        yield RemoteDefense(
            found, "s", defense=RECIPE, share=0.2, dimension=50_000, numbers=pb.FLOAT32, clients=len(CLIENTS)
        )


def rows_of(seed):
    return np.random.default_rng(seed).normal(size=(len(CLIENTS), 50_000)).astype(np.float32)


def test_a_session_outlives_a_server_that_is_killed(tmp_path):
    folder, state = pki(tmp_path / "pki").folder, tmp_path / "state"
    defense, expected, memory = Defense.parse(RECIPE, f=0.2), [], None
    for seed in range(3):
        outcome = defense(rows_of(seed), clients=CLIENTS, state=memory)
        expected, memory = [*expected, outcome.update.tobytes()], outcome.state

    with started(folder, state) as (process, address), opened(folder, address) as remote:
        assert remote.round(zip(CLIENTS, rows_of(0), strict=True)).aggregate.tobytes() == expected[0]

        def updates():
            yield from zip(CLIENTS[:3], rows_of(1)[:3], strict=True)
            process.kill()
            process.wait()
            yield from zip(CLIENTS[3:], rows_of(1)[3:], strict=True)

        with pytest.raises(ServiceError, match="cannot reach"):
            remote.round(updates())

    with started(folder, state) as (_, address), opened(folder, address) as remote:
        assert remote.rounds == 1
        remote.rounds = 0  # as if the answer had been lost, too
        assert remote.round([]).aggregate.tobytes() == expected[0]
        assert remote.round(zip(CLIENTS, rows_of(1), strict=True)).aggregate.tobytes() == expected[1]
        assert remote.round(zip(CLIENTS, rows_of(2), strict=True)).aggregate.tobytes() == expected[2]
