"""Which way of training a fleet is fastest here: measured once per machine, and remembered in the user's cache folder.

Methods differ in their last digits, and two runs of one experiment must not. So the first answer stands, whoever finds
it: processes that measure at the same time end up with the one that was written first, and where nothing can be kept
every process takes the clients one by one. What is measured is processor time on one thread, which neither other
programs nor the number of threads change much.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from .stacking import Job, at_once
from .tasks.examples import Task
from .tasks.lookup import cache_folder

DEFAULT = "one_by_one"
FEW, STEPS = 8, 6  # clients of a trial where none depends on another, and steps of the one that takes most
RUNS, SECONDS = 3, 0.5  # of each method; what takes longer is tried once

CODE = hashlib.sha256(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("fleet", "stacking")))


class Choice:
    """The choices for a task's model, by the number of clients, their batches and their steps."""

    def __init__(self, task: Task, model: torch.nn.Module) -> None:
        shapes = {name: (*entry.shape,) for name, entry in model.state_dict().items()}
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        loss = getattr(
            task.loss, "__qualname__", type(task.loss).__qualname__
        )  # its repr tells where it lies in memory
        self.model = f"{kind} {model} {shapes} {loss} {task.train.x.shape[1:]}"
        self.d = sum(entry.numel() for entry in model.state_dict().values())
        self.known: dict[str, str] = {}

    def __call__(
        self, jobs: Sequence[Job], candidates: Sequence[str], run: Callable[[str, Sequence[Job]], None]
    ) -> str:
        """The method for such jobs, one of the candidates; `run` trains jobs in a given way."""
        jobs = [job for job in jobs if job.steps and not job.alone]
        if len(candidates) == 1 or not jobs:
            return DEFAULT
        key = self._key(jobs)
        if key not in self.known:
            found = recalled(key) or kept(key, lambda: fastest(jobs, candidates, run, self.d))
            self.known[key] = found if found in candidates else DEFAULT
        return self.known[key]

    def _key(self, jobs: Sequence[Job]) -> str:
        """What the choice may depend on, the numbers of clients and steps in powers of two.

        Not the machine's name: containers change theirs, and machines that share a home should agree.
        """
        machine = (platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.__version__)
        batch = max(min(job.training.batch_size, len(job.examples)) for job in jobs)
        sizes = (len(jobs).bit_length(), batch, max(job.steps for job in jobs).bit_length())
        return hashlib.sha256(repr((self.model, machine, sizes, CODE.hexdigest())).encode()).hexdigest()[:32]


def fastest(jobs: Sequence[Job], candidates: Sequence[str], run: Callable[[str, Sequence[Job]], None], d: int) -> str:
    """The method that takes least processor time per client and step, tried on some of the jobs, cut short alike."""
    share = min(1.0, STEPS / max(job.steps for job in jobs))
    short = [replace(job, training=replace(job.training, steps=math.ceil(share * job.steps))) for job in jobs]
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for name in candidates:
        some = short[:: -(-len(short) // (at_once(d) if name == "stacked" else FEW))]
        run(name, some)  # the first time, things are imported and laid out
        while len(seconds[name]) < RUNS and sum(seconds[name]) < SECONDS:
            started = time.thread_time()
            run(name, some)
            seconds[name].append(time.thread_time() - started)
        seconds[name] = [spent / sum(job.steps for job in some) for spent in seconds[name]]
    return min(candidates, key=lambda name: min(seconds[name]))


def recalled(key: str) -> str | None:
    """The choice that was kept, None if there is none that can be read."""
    try:
        return str(json.loads(_file(key).read_text(encoding="utf-8"))["method"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def kept(key: str, choice: Callable[[], str]) -> str:
    """The choice that is on disk afterwards: this one, or that of whoever was first; the default if none can be."""
    try:
        file = _file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix="choice-")
    except (OSError, RuntimeError):  # no home, or no place in it
        return DEFAULT
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"method": choice()}, stream)
        with contextlib.suppress(FileExistsError):
            os.link(name, file)  # unlike a rename, never over another's choice
    except OSError:
        return DEFAULT
    finally:
        os.unlink(name)
    return recalled(key) or DEFAULT


def _file(key: str) -> Path:
    return cache_folder() / "training" / f"{key}.json"
