"""Any `.npz` file with `x_train, y_train, x_test, y_test`: images or rows of numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .examples import Task
from .files import opened
from .models import ImageNetwork, dense_network


def npz(path: Path) -> Task:
    """The task in a file written with `np.savez`: `x_train, y_train, x_test, y_test`, and `class_names` if it has them.

    Images `(N, H, W)` or `(N, H, W, C)`, uint8 or floats in [0, 1], get a small convolutional network. Rows
    `(N, features)` of numbers get a network with one hidden layer; NaN marks a missing value. Labels count from 0.
    Raises `SettingError`, naming the file and what to write, for anything else.
    """
    file = opened(path)
    train, test = file.examples()
    classes = len(file.class_names)
    return Task(
        name=path.stem,
        train=train,
        test=test,
        class_names=file.class_names,
        network=partial(ImageNetwork, file.shape, classes)
        if train.images
        else partial(dense_network, inputs=file.shape[0], classes=classes, hidden=32),
    )
