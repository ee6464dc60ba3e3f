"""Breast cancer, malignant or benign: 569 real patients with 30 features each, bundled with scikit-learn."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from .examples import Examples, Task
from .models import dense_network
from .rows import standardized


def breast_cancer() -> Task:
    """The breast cancer task: 455 training and 114 test rows in 2 classes, and logistic regression.

    Wolberg, Mangasarian, Street, Street, "Breast cancer Wisconsin (diagnostic)", UCI 1993, https://doi.org/10.24432/C5DW2B
    """
    loaded = cast(Any, load_breast_cancer())
    x_train, x_test, y_train, y_test = cast(
        Any,
        train_test_split(
            loaded.data, loaded.target.astype(np.int64), test_size=0.2, stratify=loaded.target, random_state=0
        ),
    )
    x_train, x_test = standardized(x_train, x_test)
    return Task(
        name="breast_cancer",
        train=Examples(x_train, y_train, 2),
        test=Examples(x_test, y_test, 2),
        class_names=tuple(str(name) for name in loaded.target_names),
        network=partial(dense_network, inputs=30, classes=2, hidden=0),
    )
