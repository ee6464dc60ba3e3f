"""The rounds that paths name: which clients' files are there, and what of them becomes rows."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from hawthorn.strategies import SettingError
from hawthorn.strategies.flower.admission import Refused

from .layout import Layout, Signature, signature
from .reading import LONE, READERS, Array, Stored, arrays_in

STACKED = "updates"  # the name under which `hawthorn certify` looks for a matrix beside other arrays


@dataclass(frozen=True)
class Client:
    """One client's file, or its part of a file with all clients; `arrays` raises `Refused`."""

    name: str
    arrays: Callable[[], Mapping[str, Stored]]


@dataclass(frozen=True)
class Round:
    """The clients of one round, by names that differ."""

    name: str
    clients: tuple[Client, ...]


def rounds_in(paths: Sequence[Path]) -> tuple[list[Round], bool]:
    """The rounds that the paths name, oldest first, and whether rows are flat: one file holds them all as vectors.

    Files are one round, a client each. A folder is a round of the files in it; its sub-folders, or several folders,
    are rounds in natural order. A lone file holds all clients: as rows `(n, d)` or `(rounds, n, d)` of one array, or an
    array each. Raises `SettingError`.
    """
    for path in paths:
        if not path.exists():
            raise SettingError(f"there is no file or folder {str(path)!r}")
    folders = [path for path in paths if path.is_dir()]
    if folders and len(folders) < len(paths):
        raise SettingError("write either files, of a client each, or folders, of a round each, not both")
    if not folders:
        return (stacked(paths[0]), True) if len(paths) == 1 else ([Round("", _clients(paths))], False)
    inner = [folder for path in folders for folder in _sorted(path) if folder.is_dir()]
    if len(folders) == 1 and inner:
        files = [path.name for path in _sorted(folders[0]) if path.suffix.lower() in READERS and path.is_file()]
        if files:
            raise SettingError(
                f"{str(folders[0])!r} holds sub-folders, of a round each, and files beside them: {files[0]!r}"
            )
        folders = inner
    folders = sorted(folders, key=lambda path: natural(str(path)))
    rounds = [Round(path.name, _clients(files_in(path))) for path in folders]
    empty = next((path for path, one in zip(folders, rounds, strict=True) if not one.clients), None)
    if empty is not None:
        raise SettingError(f"{str(empty)!r} holds no files: write a folder of files {', '.join(READERS)}")
    if len(rounds) > 1 and all(len(one.clients) == 1 for one in rounds):
        raise SettingError(
            f"each folder is a round, and each of these {len(rounds)} holds one file; where they are clients of one "
            "round, write the files: FOLDER/*/FILE"
        )
    return rounds, False


def natural(text: str) -> list[tuple[int, str]]:
    """What to sort names by for numbers in them to count as such.

    >>> sorted(["round-10", "round-9", "round-1"], key=natural)
    ['round-1', 'round-9', 'round-10']
    """
    parts = cast("list[str]", re.split(r"(\d+)", text))
    return [(int(part), part) if part.isdecimal() and part.isascii() else (-1, part) for part in parts]


def stacked(path: Path) -> list[Round]:
    """The rounds in a file that holds all clients; raises `SettingError`."""
    try:
        found = arrays_in(path)
    except Refused as refusal:
        raise SettingError(f"{str(path)!r}: {refusal}") from None
    floating = {name: array for name, array in found.items() if array.floating}
    lone = floating.get(STACKED) or (next(iter(floating.values())) if len(floating) == 1 else None)
    if lone is not None and len(lone.shape) in (2, 3):
        return _matrices(lone)
    shapes = {array.shape for array in floating.values()}
    if lone is not None or len(shapes) != 1:
        raise SettingError(
            f"{str(path)!r} must hold the updates of all clients, as rows (n, d) of one array or as an array of one "
            f"shape each, got shapes {sorted(shapes)[:3]}: for files of a client each, write their folder"
        )
    return [Round("", tuple(Client(name, partial(_flat, array, array.read)) for name, array in floating.items()))]


def _matrices(array: Stored) -> list[Round]:
    try:
        matrix = array.read()
    except Exception as error:
        raise SettingError(f"the updates cannot be read: {error}") from None
    rounds = matrix[None] if matrix.ndim == 2 else matrix

    def clients(rows: Array) -> tuple[Client, ...]:
        own = replace(array, shape=rows.shape[1:])
        return tuple(Client(str(k), partial(_flat, own, partial(_row, rows, k))) for k in range(len(rows)))

    return [Round("" if len(rounds) == 1 else f"round {k + 1}", clients(rows)) for k, rows in enumerate(rounds)]


def _row(rows: Array, k: int) -> Array:
    return rows[k]


def _flat(array: Stored, read: Callable[[], Any]) -> dict[str, Stored]:
    """A client's array as a lone vector."""
    return {LONE: Stored(array.dtype, (math.prod(array.shape),), lambda: read().reshape(-1))}


def _sorted(folder: Path) -> list[Path]:
    """What is in a folder in natural order, without hidden files."""
    return sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: natural(path.name))


def files_in(folder: Path) -> list[Path]:
    """What is in a folder and is no folder, in natural order, without hidden files."""
    return [path for path in _sorted(folder) if not path.is_dir()]


def _clients(paths: Sequence[Path]) -> tuple[Client, ...]:
    """A client for each file, named by its stem, and by its whole name or path where that is another's too."""
    names = [path.stem for path in paths]
    for longer in ([path.name for path in paths], [str(path) for path in paths]):
        counts = Counter(names)
        names = [name if counts[name] == 1 else more for name, more in zip(names, longer, strict=True)]
    if len(set(names)) != len(names):
        raise SettingError(f"a file is named twice: {next(name for name, k in Counter(names).items() if k > 1)!r}")
    return tuple(Client(name, partial(arrays_in, path)) for name, path in zip(names, paths, strict=True))


def signatures(one: Round) -> tuple[dict[str, Signature], dict[str, str]]:
    """What the clients of a round sent, by name, and why the files of the others cannot be used."""
    found: dict[str, Signature] = {}
    refused: dict[str, str] = {}
    for client in one.clients:
        try:
            sent = signature(client.arrays())
            Layout.of(sent)
            found[client.name] = sent
        except Refused as refusal:
            refused[client.name] = str(refusal)
    return found, refused
