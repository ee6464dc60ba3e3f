"""Files of a deployment: written in one step, private where they hold a secret, and bundles for the sites."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hawthorn.strategies.errors import SettingError

PRIVATE, PUBLIC = 0o600, 0o644


def written(path: Path, content: str | bytes, mode: int = PUBLIC) -> Path:
    """The path of a file that now has this content and mode, or still has the old one; raises `SettingError`."""
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from error
    return path


def write_json(path: Path, document: object) -> None:
    """Write plain data as JSON, in one step."""
    written(path, json.dumps(document, indent=1) + "\n", PRIVATE)


def json_in(path: Path) -> Any:
    """The data in a JSON file, an empty dictionary where there is no such file; raises `SettingError`."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingError(f"cannot read {path}: {error}") from error


def content(path: Path) -> bytes:
    """What is in a file; raises `SettingError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from error


def bundle(path: Path, folder: str, files: Mapping[str, bytes], private: frozenset[str] = frozenset()) -> Path:
    """The path of a `.tar.gz` with these files, by name, in one folder; the `private` ones only their owner reads."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode = len(data), PRIVATE if name in private else PUBLIC
            archive.addfile(entry, io.BytesIO(data))
    return written(path, packed.getvalue(), PRIVATE)
