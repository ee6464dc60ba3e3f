"""Any `.npz` file with `x_train, y_train, x_test, y_test`: images or rows of numbers."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hawthorn.strategies.errors import SettingError

from .examples import Examples, Floats, Labels, Task
from .models import ImageNetwork, dense_network
from .rows import standardized

Array = npt.NDArray[Any]
KEYS = ("x_train", "y_train", "x_test", "y_test")


def npz(path: Path) -> Task:
    """The task in a file written with `np.savez`: `x_train, y_train, x_test, y_test`, and `class_names` if it has them.

    Images `(N, H, W)` or `(N, H, W, C)`, uint8 or floats in [0, 1], get a small convolutional network. Rows
    `(N, features)` of numbers get a network with one hidden layer; NaN marks a missing value. Labels count from 0.
    Raises `SettingError`, naming the file and what to write, for anything else; pickled objects are never read.
    """
    arrays = _read(path)
    for side in ("train", "test"):
        _check_x(path, f"x_{side}", arrays[f"x_{side}"])
        _check_lengths(path, side, arrays)
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        found = f"{arrays['x_train'].shape} and {arrays['x_test'].shape}"
        raise SettingError(f"{path}: x_train and x_test must differ only in the number of examples, got {found}")
    labels = {side: _labels(path, f"y_{side}", arrays[f"y_{side}"]) for side in ("train", "test")}
    names = _class_names(path, arrays, labels)
    x_train, x_test = _scaled(path, arrays["x_train"], arrays["x_test"])
    shape: tuple[int, ...] = x_train.shape[1:]
    return Task(
        name=path.stem,
        train=Examples(x_train, labels["train"], len(names)),
        test=Examples(x_test, labels["test"], len(names)),
        class_names=names,
        network=partial(ImageNetwork, shape, len(names))
        if len(shape) > 1
        else partial(dense_network, inputs=x_train.shape[1], classes=len(names), hidden=32),
    )


def _read(path: Path) -> dict[str, Array]:
    """The arrays of the file that matter here."""
    expected = f"{path}: write it with np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"
    try:
        # opened here: numpy leaves the file open when it is no archive
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if missing := [key for key in KEYS if key not in file.files]:
                raise SettingError(f"{expected}; it lacks {', '.join(missing)}")
            return {key: file[key] for key in (*KEYS, "class_names") if key in file.files}
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


def _check_x(path: Path, key: str, x: Array) -> None:
    """Raise `SettingError` unless these are images or rows of numbers."""
    supported = "images (N, H, W) or (N, H, W, C) or rows of numbers (N, features)"
    if x.dtype.kind in "US":
        raise SettingError(
            f"{path}: {key} holds texts, but must be {supported}; turn texts into numbers first (TF-IDF)"
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


def _class_names(path: Path, arrays: dict[str, Array], labels: dict[str, Labels]) -> tuple[str, ...]:
    """The names in the file, else the numbers up to the largest label."""
    largest = max(int(y.max()) for y in labels.values())
    if "class_names" not in arrays:
        if not 1 <= largest < len(labels["train"]):
            raise SettingError(f"{path}: labels must count the classes, 0, 1, 2 ...; the largest is {largest}")
        return tuple(str(label) for label in range(largest + 1))
    names = tuple(str(name) for name in arrays["class_names"].ravel())
    if len(names) < 2 or largest >= len(names):
        raise SettingError(f"{path}: class_names must name every class, got {len(names)} for labels up to {largest}")
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
