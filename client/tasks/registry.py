"""The tasks by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path

from hawthorn.strategies.contract import Table
from hawthorn.strategies.errors import SettingError

from .breast_cancer import breast_cancer
from .digits import digits
from .examples import Task
from .npz import npz

TASKS: Table[Callable[..., Task]] = Table("task")
TASKS.add("digits", digits)
TASKS.add("breast_cancer", breast_cancer)
TASKS.add("npz", npz)


def find_task(name: str, data: str | Path | None = None) -> Task:
    """The task called `name`; `data` is the file of a task that reads one.

    A task is read once per process and then shared. Raises `SettingError` for an unknown name, a file that is missing
    or cannot be used, and a file given to a task that brings its own data.
    """
    builder = TASKS[name]
    takes_file = bool(inspect.signature(builder).parameters)
    if not takes_file:
        if data:
            raise SettingError(
                f"task {name!r} brings its own data: leave data empty, or write task='npz'; got {data!r}"
            )
        return _built(builder)
    if not data:
        raise SettingError(f"task {name!r} needs a file: write data='/path/to/file.npz'")
    path = Path(data).expanduser().resolve()
    if not path.is_file():
        raise SettingError(f"no file {str(data)!r} for task {name!r}: write the path of an .npz file as data")
    return _built(builder, path, path.stat().st_mtime_ns)


# A simulation asks for the same task for every client and round; a file that was written anew is read anew.
@functools.lru_cache(maxsize=4)
def _built(builder: Callable[..., Task], path: Path | None = None, _modified: int = 0) -> Task:
    return builder(path) if path else builder()
