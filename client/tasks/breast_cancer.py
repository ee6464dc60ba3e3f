"""Breast cancer, malignant or benign: 569 real patients with 30 features each, bundled with scikit-learn."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from sklearn.datasets import load_breast_cancer

from .examples import Examples, Task, train_and_test
from .models import row_network
from .rows import standardized

MALIGNANT = 0


def breast_cancer(*, network: str = "logistic") -> Task:
    """The breast cancer task: rows in 2 classes, a fifth of them the test set.

    `network` is "logistic", "mlp", "svm" or "forest". Poisoned, it takes malignant tumors for benign ones.

    Wolberg, Mangasarian, Street, Street, "Breast cancer Wisconsin (diagnostic)", UCI 1993, https://doi.org/10.24432/C5DW2B
    """
    loaded = cast(Any, load_breast_cancer())
    rows = loaded.data.astype(np.float32)
    train, test = train_and_test(Examples(rows, loaded.target.astype(np.int64), 2))
    x_train, x_test = standardized(train.x, test.x)
    learner, loss = row_network("breast_cancer", network, 30, 2, ("logistic", "mlp", "svm", "forest"))
    return Task(
        name="breast_cancer",
        train=Examples(x_train, train.y, 2),
        test=Examples(x_test, test.y, 2),
        class_names=tuple(str(name) for name in loaded.target_names),
        network=learner,
        loss=loss,
        positive=MALIGNANT,
        story=f"targeted_flip(source={MALIGNANT}, target={1 - MALIGNANT})",
    ).with_reference()
