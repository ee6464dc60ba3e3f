"""Runs that are killed with SIGKILL after a random number of steps, and go on: `killed_rounds.py FOLDER KILLS`.

Says one JSON document per run: first the one that nobody disturbs, then the killed ones. The steps are lines executed
in the strategy, the audit and the files below it. The process that is killed is forked from this one, which has
imported all there is to import.
"""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import warnings
from contextlib import redirect_stdout, suppress
from hashlib import sha256
from pathlib import Path

import hawthorn.server.audit as audit_package
import hawthorn.strategies.flower as flower_package
import numpy as np
from hawthorn.server.audit import Audit
from hawthorn.strategies import AuditError
from ledger_rounds import ROUNDS, run, started

SERVER = Path(audit_package.__file__).parent.parent
WATCHED = (
    *(str(path) for path in SERVER.glob("audit/*.py")),
    *(str(SERVER / f"{name}.py") for name in ("files", "checkpoints", "archive")),
    *(str(path) for path in Path(flower_package.__file__).parent.glob("*.py")),
)

LOOPS = ("_without_arrays", "_with_arrays", "plain_data", "<genexpr>", "<listcomp>", "<dictcomp>")  # many equal steps


def held(folder: Path, steps: int | None, told: int | None) -> None:
    """Hold the run, or as much of it as fits into so many steps; then this process kills itself and says where."""
    left = steps

    def count(frame, event, argument):
        nonlocal left
        if event == "line" and left is not None:
            left -= 1
            if left <= 0:
                where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                os.write(told, where.encode())
                os.kill(os.getpid(), signal.SIGKILL)
        elif event == "line":
            TOTAL[0] += 1
        return count

    def watch(frame, event, argument):
        code = frame.f_code
        return count if code.co_filename in WATCHED and code.co_name not in LOOPS else None

    sys.settrace(watch)
    folder.mkdir(exist_ok=True)
    with Audit.open(folder / "audit.db") as audit, run(audit, folder / "files", updates="all") as ledger:
        started(ledger)
    sys.settrace(None)


TOTAL = [0]


def forked(folder: Path, steps: int | None, seconds: float | None = None) -> str:
    """Where a child was killed, by itself or by a clock, empty if it came to the end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        held(folder, steps, writing)
        if steps is None:
            os.write(writing, f"total:{TOTAL[0]}".encode())
        os._exit(0)
    os.close(writing)
    clock = threading.Timer(seconds or 0, os.kill, (child, signal.SIGKILL))
    if seconds is not None:
        clock.start()
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    if seconds is not None:
        clock.cancel()
        clock.join()
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    if seconds is not None and ended == -signal.SIGKILL:
        said = "clock:"
    if ended not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run in {folder} ended with {ended}")
    return said


def told(folder: Path, seed: int, places: list[str], over: list[int]) -> dict:
    """What is left of a run, to compare with another."""
    with Audit.open(folder / "audit.db", create=False) as audit:
        (found,) = audit.runs()
        last = audit.commit_after(found.id, ROUNDS)
        model = sha256(b"".join(np.ascontiguousarray(a.numpy()).tobytes() for a in last.arrays.values())).hexdigest()
        with_memory = {path.name for path in Path(found.place).glob("memory-*")}
        verdicts = [
            [one.round, one.client, one.verdict.accepted, one.verdict.weight, one.verdict.reason, one.update_digest]
            for one in audit.contributions(found.id)
        ]
        return {
            "seed": seed,
            "kills": len(places),
            "places": places,
            "over": over,
            "model": model,
            "memory": sorted(with_memory),
            "files": sorted(path.name for path in Path(found.place).iterdir()),
            "rounds": [one.number for one in audit.rounds(found.id)],
            "verdicts": verdicts,
            "faults": list(audit.verify(found.id)),
            "status": found.status,
        }


def main() -> None:
    """Hold the run once whole, then again and again with kills."""
    warnings.simplefilter("ignore")
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    with redirect_stdout(sys.stderr):
        held(folder / "warm", None, None)  # what is compiled and imported late
    TOTAL[0] = 0
    begun = time.monotonic()
    total = int(forked(folder / "whole", None).partition(":")[2])
    seconds = time.monotonic() - begun
    print(json.dumps(told(folder / "whole", 0, [], [])), flush=True)
    for seed in range(1, kills + 1):
        rng = random.Random(seed)
        here = folder / str(seed)
        places, over = [], []
        while True:
            by_clock = seed % 4 == 0 and not places
            steps = rng.randrange(1, total + 1) if len(places) < 3 and not by_clock else None
            place = forked(here, steps, rng.uniform(0.02, 0.9) * seconds if by_clock else None)
            if not place or place.startswith("total:"):
                break
            places.append(place)
            over.append(0)
            with suppress(AuditError), Audit.open(here / "audit.db", create=False) as audit:
                over[-1] = max((one.number for found in audit.runs() for one in audit.rounds(found.id)), default=0)
        print(json.dumps(told(here, seed, places, over)), flush=True)
        shutil.rmtree(here)


if __name__ == "__main__":
    main()
