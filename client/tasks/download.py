"""Data files fetched from where they are published, for the tasks that bring none.

Each source is a function that fetches one data set and answers the arrays of its `.npz` file; what is fetched is
converted by a function of its own. The conversions are tested on files of the published forms, and the fetching on
local files; the addresses themselves are not, because tests do not go to the network.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
import urllib.request
import warnings
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hawthorn.strategies.errors import SettingError
from sklearn import datasets
from torch.nn import functional

from .examples import held_out

Arrays = dict[str, npt.NDArray[Any]]

UCI = "https://archive.ics.uci.edu/static/public"
ZENODO = "https://zenodo.org/records/10519652/files"
GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
FRAUD_SHARE = 0.018

ARRAYS = {
    "mnist": "x_train, x_test (N, 28, 28) uint8, y_train, y_test",
    "cifar10": "x_train, x_test (N, 32, 32, 3) uint8, y_train, y_test",
    "gtsrb": "x_train, x_test (N, 32, 32, 3) uint8, y_train, y_test, track_train (N,) whole numbers",
    "pneumonia_mnist": "x_train, x_test (N, 28, 28) uint8, y_train, y_test (1: pneumonia)",
    "sms_spam": "x_train, x_test (N,) texts, y_train, y_test (1: spam)",
    "creditcard_fraud": "x_train, x_test (N, features), y_train, y_test (1: fraud)",
    "heart_disease": "x_train, x_test (N, 13), y_train, y_test (1: disease), client_train, client_test (the hospital)",
}
"""What the file of each task must hold."""


def downloaded(name: str, folder: Path, source: Callable[[], Arrays] | None = None) -> Path:
    """The file `NAME.npz` in `folder`, fetched if it is not there yet.

    Raises `SettingError` that says which file with which arrays to put where, if it cannot be had.
    """
    path = folder / f"{name}.npz"
    if path.is_file():
        return path
    try:
        arrays = (source or SOURCES[name])()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            np.savez_compressed(Path(beside) / path.name, allow_pickle=False, **arrays)
            os.replace(Path(beside) / path.name, path)  # whoever fetches the same file meanwhile is not disturbed
    except (OSError, HTTPException, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SettingError(
            f"task {name!r} needs {name}.npz, which cannot be downloaded ({type(error).__name__}: {error}): put a file "
            f"with {ARRAYS[name]} into {folder}, or into the folder that HAWTHORN_DATA names, or write its path as data"
        ) from error
    return path


def _fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as response:
        return response.read()


def _from_openml(name: str, version: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Rows and labels of a data set at OpenML; no copy is kept but ours."""
    openml: Any = datasets
    options = {"as_frame": False, "parser": "liac-arff", "cache": False, "n_retries": 1}
    with warnings.catch_warnings(action="ignore"):  # of retries: what comes of them is told in the end
        found = openml.fetch_openml(name, version=version, **options)
    return found.data.astype(np.float32), found.target.astype(np.int64)


def mnist() -> Arrays:
    """MNIST, whose test set are the last 10,000."""
    x, y = _from_openml("mnist_784", 1)
    images = x.reshape(-1, 28, 28).astype(np.uint8)
    return divided(images, y, np.arange(len(y)) >= len(y) - 10_000)


def cifar10() -> Arrays:
    """The 20,000 images of CIFAR-10 that OpenML has in a small edition, a fifth of them the test set."""
    x, y = _from_openml("CIFAR_10_small", 1)
    return divided(x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.uint8), y, held_out(y))


def creditcard_fraud(rows: Callable[[], tuple[Any, Any]] | None = None) -> Arrays:
    """All frauds there are, and so many of the other payments that 1.8 % are fraud; a fifth is the test set."""
    x, y = (rows or (lambda: _from_openml("creditcard", 1)))()
    _, first = np.unique(np.column_stack([x, y]), axis=0, return_index=True)
    x, y = x[np.sort(first)], y[np.sort(first)]
    frauds, others = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    count = min(len(others), round(len(frauds) * (1 / FRAUD_SHARE - 1)))
    kept = np.sort(np.concatenate([frauds, np.random.default_rng(0).permutation(others)[:count]]))
    return divided(x[kept], y[kept], held_out(y[kept]))


def pneumonia_mnist(address: str = f"{ZENODO}/pneumoniamnist.npz") -> Arrays:
    """PneumoniaMNIST, with its own test set."""
    with np.load(io.BytesIO(_fetched(address)), allow_pickle=False) as file:
        return {
            f"{to}_{side}": file[f"{side}_{of}"].reshape(-1, 28, 28) if to == "x" else file[f"{side}_{of}"].ravel()
            for side in ("train", "test")
            for to, of in (("x", "images"), ("y", "labels"))
        }


def sms_spam(address: str = f"{UCI}/228/sms+spam+collection.zip") -> Arrays:
    """The SMS Spam Collection, a fifth of it the test set; copies of a text are on one side."""
    with zipfile.ZipFile(io.BytesIO(_fetched(address))) as archive:
        lines = archive.read("SMSSpamCollection").decode("utf-8").splitlines()
    pairs = [line.split("\t", 1) for line in lines if "\t" in line]
    texts, labels = np.array([text for _, text in pairs]), np.array([int(label == "spam") for label, _ in pairs])
    _, first, copy_of = np.unique(texts, return_index=True, return_inverse=True)
    return divided(texts, labels, held_out(labels[first])[copy_of])


def heart_disease(address: str = f"{UCI}/45/heart+disease.zip") -> Arrays:
    """The patients of four hospitals, a fifth of each class the test set; NaN marks what was not measured."""
    with zipfile.ZipFile(io.BytesIO(_fetched(address))) as archive:
        found = [
            np.genfromtxt(io.BytesIO(archive.read(f"processed.{name}.data")), delimiter=",", missing_values="?")
            for name in HOSPITALS
        ]
    rows = np.concatenate(found).astype(np.float32)
    hospital = np.repeat(np.arange(len(found)), [len(part) for part in found])
    labels = (rows[:, 13] > 0).astype(np.int64)
    test = held_out(labels)
    return divided(rows[:, :13], labels, test) | {
        "client_train": hospital[~test],
        "client_test": hospital[test],
        "client_names": np.array(HOSPITALS),
    }


def gtsrb(address: str = GTSRB) -> Arrays:
    """Every third frame of the training tracks, and every second image of the official test set."""
    with zipfile.ZipFile(io.BytesIO(_fetched(f"{address}/GTSRB_Final_Training_Images.zip"))) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".ppm"))[::3]
        x_train = np.stack([thumbnail(archive.read(name)) for name in names])
    # .../Images/00014/00003_00029.ppm: class, track of the class, frame
    signs = np.array([int(name.split("/")[-2]) for name in names])
    tracks = np.array([int(name.split("/")[-1].partition("_")[0]) for name in names])
    with zipfile.ZipFile(io.BytesIO(_fetched(f"{address}/GTSRB_Final_Test_GT.zip"))) as archive:
        table = list(csv.DictReader(archive.read("GT-final_test.csv").decode().splitlines(), delimiter=";"))[::2]
    with zipfile.ZipFile(io.BytesIO(_fetched(f"{address}/GTSRB_Final_Test_Images.zip"))) as archive:
        x_test = np.stack([thumbnail(archive.read(f"GTSRB/Final_Test/Images/{row['Filename']}")) for row in table])
    y_test = np.array([int(row["ClassId"]) for row in table])
    return {
        "x_train": x_train,
        "y_train": signs,
        "x_test": x_test,
        "y_test": y_test,
        "track_train": 1000 * signs + tracks,
    }


def divided(x: npt.NDArray[Any], y: npt.NDArray[Any], test: npt.NDArray[np.bool_]) -> Arrays:
    """The arrays of a file, of which `test` `(N,)` says which examples are for testing."""
    return {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}


def thumbnail(content: bytes, side: int = 32) -> npt.NDArray[np.uint8]:
    """The picture `(side, side, 3)` in a binary PPM file of 8 bits per color.

    >>> thumbnail(b"P6 2 1 255 " + bytes([9, 9, 9, 9, 9, 9]), side=1)
    array([[[9, 9, 9]]], dtype=uint8)
    """
    kind, width, height, _ = content.split(maxsplit=3)
    if kind != b"P6":
        raise ValueError(f"expected a binary PPM picture, P6, got {kind!r}")
    shape = (int(height), int(width), 3)
    # the one white space after the header is not the pixels', which may look like white space themselves
    picture = np.frombuffer(content[len(content) - np.prod(shape) :], np.uint8).reshape(shape).astype(np.float32)
    small = functional.interpolate(
        torch.from_numpy(picture).permute(2, 0, 1)[None], (side, side), mode="bilinear", antialias=True
    )
    return small[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(np.uint8)


SOURCES: dict[str, Callable[[], Arrays]] = {
    "mnist": mnist,
    "cifar10": cifar10,
    "gtsrb": gtsrb,
    "pneumonia_mnist": pneumonia_mnist,
    "sms_spam": sms_spam,
    "creditcard_fraud": creditcard_fraud,
    "heart_disease": heart_disease,
}
