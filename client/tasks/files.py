"""The arrays of an `.npz` file with `x_train, y_train, x_test, y_test`, read and checked."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.errors import SettingError

from .examples import Examples, Floats, Groups, Labels
from .rows import standardized

Array = npt.NDArray[Any]
KEYS = ("x_train", "y_train", "x_test", "y_test")
SIDES = ("train", "test")


@dataclass(frozen=True, eq=False)
class File:
    """What a file holds: examples as they stand there, labels, class names, and arrays by other names."""

    path: Path
    x_train: Array
    x_test: Array
    y_train: Labels
    y_test: Labels
    class_names: tuple[str, ...]
    others: dict[str, Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.x_train.shape[1:]

    def examples(self) -> tuple[Examples, Examples]:
        """The training and the test examples: images in [0, 1], rows in standard deviations."""
        return self.labeled(*_scaled(self.path, self.x_train, self.x_test))

    def labeled(self, x_train: Floats, x_test: Floats) -> tuple[Examples, Examples]:
        """These arrays with the file's labels."""
        classes = len(self.class_names)
        return Examples(x_train, self.y_train, classes), Examples(x_test, self.y_test, classes)

    def groups(self, key: str) -> Groups:
        """The array `key`, which numbers the group of each example of one side; raises `SettingError`."""
        found, side = self.others[key], key.rpartition("_")[2]
        if found.dtype.kind not in "bui" or found.shape != (len(getattr(self, f"y_{side}")),):
            raise SettingError(f"{self.path}: {key} must be a whole number for each example in x_{side}, its group's")
        return found.astype(np.int64)


def opened(path: Path, *, others: Sequence[str] = (), texts: bool = False, class_names: Sequence[str] = ()) -> File:
    """The content of a file written with `np.savez`; it must hold the arrays `others` too.

    Images are `(N, H, W)` or `(N, H, W, C)`, uint8 or floats in [0, 1]; rows are `(N, features)`, with NaN for a
    missing value; texts, where asked for, `(N,)`. Labels count from 0. `class_names` must be as many as the classes of
    the file, and stand for those it lacks. Raises `SettingError`, naming the file and what to write, for anything else;
    pickled objects are never read.
    """
    arrays = _read(path, others)
    for side in SIDES:
        _check_texts(path, f"x_{side}", arrays[f"x_{side}"]) if texts else _check_x(
            path, f"x_{side}", arrays[f"x_{side}"]
        )
        _check_lengths(path, side, arrays)
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        found = f"{arrays['x_train'].shape} and {arrays['x_test'].shape}"
        raise SettingError(f"{path}: x_train and x_test must differ only in the number of examples, got {found}")
    labels = {side: _labels(path, f"y_{side}", arrays[f"y_{side}"]) for side in SIDES}
    names = _class_names(path, arrays, labels, tuple(class_names))
    return File(path, arrays["x_train"], arrays["x_test"], labels["train"], labels["test"], names, arrays)


def _read(path: Path, others: Sequence[str]) -> dict[str, Array]:
    """The arrays of the file that matter here."""
    wanted = (*KEYS, *others)
    expected = f"{path}: write it with np.savez(path, {', '.join(f'{key}=...' for key in wanted)})"
    try:
        # opened here: numpy leaves the file open when it is no archive
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if missing := [key for key in wanted if key not in file.files]:
                raise SettingError(f"{expected}; it lacks {', '.join(missing)}")
            return {key: file[key] for key in (*wanted, "class_names", "client_names") if key in file.files}
    except SettingError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        # AttributeError and TypeError: a lone .npy array has no keys and is no context manager.
        raise SettingError(f"{expected}, without Python objects; it cannot be read: {error}") from error


def _check_texts(path: Path, key: str, x: Array) -> None:
    if x.dtype.kind != "U" or x.ndim != 1:
        raise SettingError(f"{path}: {key} must hold texts (N,), got {x.dtype} of shape {x.shape}")


def _check_x(path: Path, key: str, x: Array) -> None:
    """Raise `SettingError` unless these are images or rows of numbers."""
    supported = "images (N, H, W) or (N, H, W, C) or rows of numbers (N, features)"
    if x.dtype.kind in "US":
        raise SettingError(
            f"{path}: {key} holds texts, but must be {supported}; write task='sms_spam', which reads texts of two "
            "classes, or turn texts into numbers first (TF-IDF)"
        )
    if x.dtype.kind not in "buif" or x.ndim not in (2, 3, 4) or 0 in x.shape[1:]:
        raise SettingError(f"{path}: {key} must be {supported}, got {x.dtype} of shape {x.shape}")
    if x.ndim == 4 and x.shape[3] > 4:
        write = f"write np.moveaxis({key}, 1, -1)" if x.shape[1] <= 4 else "at most 4 of them"
        raise SettingError(f"{path}: {key} must have its channels last, {write}; got shape {x.shape}")


def _check_lengths(path: Path, side: str, arrays: dict[str, Array]) -> None:
    x, y = arrays[f"x_{side}"], arrays[f"y_{side}"]
    if len(x) == 0 or y.shape != (len(x),):
        raise SettingError(
            f"{path}: y_{side} must be one label for each of the examples in x_{side}, and there must be some; "
            f"got {len(x)} examples and labels of shape {y.shape}"
        )


def _labels(path: Path, key: str, y: Array) -> Labels:
    if y.dtype.kind not in "bui" or int(y.min()) < 0:
        found = f"{y.dtype}" + (f" from {y.min()}" if y.dtype.kind in "if" else "")
        raise SettingError(f"{path}: {key} must be whole numbers from 0, one per class, got {found}")
    return y.astype(np.int64)


def _class_names(
    path: Path, arrays: dict[str, Array], labels: dict[str, Labels], expected: tuple[str, ...]
) -> tuple[str, ...]:
    """The names in the file, else those expected, else the numbers up to the largest label."""
    largest = max(int(y.max()) for y in labels.values())
    if "class_names" not in arrays and not expected:
        if not 1 <= largest < len(labels["train"]):
            raise SettingError(f"{path}: labels must count the classes, 0, 1, 2 ...; the largest is {largest}")
        return tuple(str(label) for label in range(largest + 1))
    names = tuple(str(name) for name in arrays["class_names"].ravel()) if "class_names" in arrays else expected
    if len(names) < 2 or largest >= len(names):
        raise SettingError(f"{path}: class_names must name every class, got {len(names)} for labels up to {largest}")
    if expected and len(names) != len(expected):
        raise SettingError(f"{path}: there must be {len(expected)} classes, as in {path.stem}, got {len(names)}")
    return names


def _scaled(path: Path, x_train: Array, x_test: Array) -> tuple[Floats, Floats]:
    """Images in [0, 1], rows in standard deviations."""
    for key, x in (("x_train", x_train), ("x_test", x_test)):
        if np.isinf(x).any() or (x.ndim > 2 and np.isnan(x).any()):
            raise SettingError(
                f"{path}: {key} must be finite" + ("; write NaN for missing values" if x.ndim == 2 else "")
            )
    if x_train.ndim == 2:
        return standardized(x_train, x_test)
    return _unit_interval(path, "x_train", x_train), _unit_interval(path, "x_test", x_test)


def _unit_interval(path: Path, key: str, x: Array) -> Floats:
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(255)
    if x.min() < 0 or x.max() > 1:
        raise SettingError(
            f"{path}: images in {key} must be uint8, or numbers in [0, 1]; got {x.dtype} from {x.min()} to {x.max()}, "
            f"write {key} / {key}.max()"
        )
    return x.astype(np.float32)
