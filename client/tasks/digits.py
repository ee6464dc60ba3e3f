"""Handwritten digits: 1,797 real images of 8x8, bundled with scikit-learn; a fifth is the test set."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from .examples import Examples, Task
from .models import dense_network


def digits() -> Task:
    """The digits task: 1,437 training and 360 test images in 10 classes, and a network with one hidden layer.

    Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI 1998, https://doi.org/10.24432/C50P49
    """
    loaded = cast(Any, load_digits())
    images = (loaded.images / 16.0).astype(np.float32)
    labels = loaded.target.astype(np.int64)
    x_train, x_test, y_train, y_test = cast(
        Any, train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    )
    return Task(
        name="digits",
        train=Examples(x_train, y_train, 10),
        test=Examples(x_test, y_test, 10),
        class_names=tuple(str(digit) for digit in range(10)),
        network=partial(dense_network, inputs=64, classes=10, hidden=32),
    )
