"""A server in another language: one round from JavaScript is the defense's own to the last bit."""

import json
import subprocess
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from controlled import pki, served
from hawthorn.server.control.limits import Limits
from hawthorn.strategies import Defense

NODE = Path(__file__).parent / "node"
PROTO = Path(__file__).parents[2] / "server" / "control" / "hawthorn.proto"

pytestmark = pytest.mark.skipif(
    which("node") is None or not (NODE / "node_modules").is_dir(), reason="run `npm ci` in tests/server/node"
)


def test_a_round_from_javascript(tmp_path):
    folder = pki(tmp_path / "pki").folder
    rows = np.random.default_rng(0).normal(size=(8, 20_000)).astype(np.float32)  # more than one chunk each
    rows[3] *= -20
    request = {"session": "js", "defense": "nnm | trimmed_mean; f=2", "rows": rows.tolist()}
    with served(folder, limits=Limits(chunk=1 << 15)) as found:
        done = subprocess.run(
            ["node", NODE / "round.mjs", PROTO, f"127.0.0.1:{found.port}", folder, "flare"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    outcome = Defense.parse(request["defense"])(rows, clients=[f"site-{place}" for place in range(8)])
    assert answer["sound"]
    assert answer["defense"] == str(Defense.parse(request["defense"]))
    assert answer["accepted"] == [verdict.accepted for verdict in outcome.verdicts]
    assert bytes.fromhex(answer["aggregate"]) == outcome.update.tobytes()
