"""The tasks by name, with their options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path

from hawthorn.strategies.contract import Call, Table, nearest, options_of
from hawthorn.strategies.errors import OptionError, SettingError

from .breast_cancer import breast_cancer
from .cifar10 import cifar10
from .creditcard_fraud import creditcard_fraud
from .digits import digits
from .examples import Task
from .gtsrb import gtsrb
from .heart_disease import heart_disease
from .lookup import data_file
from .mnist import mnist
from .npz import npz
from .pneumonia_mnist import pneumonia_mnist
from .sms_spam import sms_spam

TASKS: Table[Callable[..., Task]] = Table("task")
for builder in (
    digits,
    breast_cancer,
    mnist,
    cifar10,
    gtsrb,
    pneumonia_mnist,
    sms_spam,
    creditcard_fraud,
    heart_disease,
    npz,
):
    TASKS.add(builder.__name__, builder)

SIZES = ("train", "test")  # options that every task has: how many examples of each side are used


def find_task(name: str, data: str | Path | None = None) -> Task:
    """The task called `name`, with options where wanted: `"mnist(network='mlp', train=10000, test=2000)"`.

    `train` and `test` use only so many examples, always the same ones: see `Task.reduced`. `data` is the file of a task
    that reads one, or a folder that holds `NAME.npz`; without it, see `data_file`. A task is read once per process and
    then shared. Raises `SettingError` for an unknown name or option, a file that is missing or cannot be used, and a
    file given to a task that brings its own data.

    >>> find_task("digits(network='linear', train=500)").describe
    'digits: 500 training and 359 test images of 8x8, 10 classes'
    """
    call = _call(name)
    if not _reads_a_file(call.name):
        if data and not Path(data).expanduser().is_dir():
            raise SettingError(
                f"task {call.name!r} brings its own data: leave data empty, or write task='npz'; got {data!r}"
            )
        return _built(str(call))
    path = data_file(call.name, data)
    return _built(str(call), path, path.stat().st_mtime_ns)


def file_of(name: str, data: str | Path | None = None) -> Path | None:
    """The file that the task called `name` is read from; None if it brings its own data. Raises `SettingError`."""
    call = _call(name)
    return data_file(call.name, data) if _reads_a_file(call.name) else None


def _call(name: str) -> Call:
    """The task's name and options; raises `SettingError` for unknown ones."""
    try:
        call = Call.parse(name)
    except SettingError:
        raise SettingError(f"write a task such as 'digits' or \"mnist(network='mlp')\" instead of {name!r}") from None
    known = [*options_of(TASKS[call.name]), *SIZES]
    for option, _ in call.options:
        if option not in known:
            raise OptionError(f"{call.name} has no option {option!r}; {nearest(option, known)}")
    return call


def _reads_a_file(name: str) -> bool:
    return "path" in inspect.signature(TASKS[name]).parameters


# A simulation asks for the same task for every client and round; a file that was written anew is read anew.
@functools.lru_cache(maxsize=6)
def _built(written: str, path: Path | None = None, _modified: int = 0) -> Task:
    call = Call.parse(written)
    options = dict(call.options)
    sizes = {side: options.pop(side) for side in SIZES if side in options}
    task = TASKS[call.name](*[path] if path else [], **options)
    return task.reduced(**sizes) if sizes else task  # pyright: ignore[reportArgumentType] - it checks them
