"""Where the data file of a task lies."""

from __future__ import annotations

import os
from pathlib import Path

from hawthorn.strategies.errors import SettingError

from .download import ARRAYS, SOURCES, downloaded


def data_file(name: str, data: str | Path | None = None) -> Path:
    """The `.npz` file of the task `name`.

    `data` is the file, or a folder that holds `NAME.npz`. Without it, `NAME.npz` is looked for in the folder that the
    environment variable `HAWTHORN_DATA` names, then in the user's cache folder, where a download puts it. Raises
    `SettingError`, saying which file with which arrays to put where, if it is nowhere.
    """
    if data:
        given = Path(data).expanduser().resolve()
        path = given / f"{name}.npz" if given.is_dir() and name != "npz" else given
        if path.is_file():
            return path
        holds = f"; a folder must hold {name}.npz with {ARRAYS[name]}" if name in ARRAYS else ""
        raise SettingError(f"no file {str(path)!r} for task {name!r}: write the path of an .npz file as data{holds}")
    if name not in SOURCES:
        raise SettingError(f"task {name!r} needs a file: write data='/path/to/file.npz'")
    folder = os.environ.get("HAWTHORN_DATA")
    if folder and (found := Path(folder).expanduser() / f"{name}.npz").is_file():
        return found.resolve()
    return downloaded(name, cache_folder())


def cache_folder() -> Path:
    """The folder where downloads are kept: `hawthorn` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "hawthorn"
