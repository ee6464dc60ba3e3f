"""Handwritten digits: 1,797 real images of 8x8, bundled with scikit-learn; a fifth is the test set."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from sklearn.datasets import load_digits

from .examples import Examples, Task, train_and_test
from .models import image_network


def digits(*, network: str = "mlp") -> Task:
    """The digits task: images in 10 classes; `network` is "mlp", "cnn" or "linear". Poisoned, it takes sevens for ones.

    Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI 1998, https://doi.org/10.24432/C50P49
    """
    loaded = cast(Any, load_digits())
    images = (loaded.images / 16.0).astype(np.float32)
    train, test = train_and_test(Examples(images, loaded.target.astype(np.int64), 10))
    return Task(
        name="digits",
        train=train,
        test=test,
        class_names=tuple(str(digit) for digit in range(10)),
        network=image_network("digits", network, (8, 8), 10),
        story="targeted_flip(source=7, target=1)",
    )
