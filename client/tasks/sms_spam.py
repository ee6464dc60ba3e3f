"""Short messages, wanted (ham) or spam: a linear spam filter on hashed words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import HashingVectorizer

from .examples import Floats, Task
from .files import opened
from .models import row_network

SPAM = 1
COLUMNS = 2048
LENGTH = 8.0  # of a row: at length 1, as is usual, plain gradient descent would need a step size 64 times as large


def sms_spam(path: Path, *, network: str = "logistic") -> Task:
    """The spam task: texts in 2 classes, each a row of 2,048 hashed word weights; "logistic" regression, or "svm".

    The figure is the F1 score of spam, of which there is little. Poisoned, it takes spam for ham.

    Almeida, Hidalgo, Yamakami, DocEng 2011, https://doi.org/10.24432/C5CC84
    """
    file = opened(path, texts=True, class_names=("ham", "spam"))
    train, test = file.labeled(*weighted_words(file.x_train, file.x_test))
    learner, loss = row_network("sms_spam", network, COLUMNS, 2, ("logistic", "svm"))
    return Task(
        name="sms_spam",
        train=train,
        test=test,
        class_names=file.class_names,
        network=learner,
        loss=loss,
        figure="f1",
        positive=SPAM,
        story=f"targeted_flip(source={SPAM}, target={1 - SPAM})",
    )


def weighted_words(x_train: npt.NDArray[Any], x_test: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Both sides' texts `(N,)` as rows `(N, 2048)` of equal length: how often each word occurs, times how rare it is.

    Words are hashed into columns, so that clients need no common vocabulary (Weinberger et al., ICML 2009,
    https://arxiv.org/abs/0902.2206). How rare a word is (Sparck Jones, 1972) is counted in the *training* texts, which
    stand for a reference that the clients agreed on before they started, as in `standardized`; the test texts lend
    nothing to it.

    >>> rows, _ = weighted_words(np.array(["free prize", "free lunch"]), np.array([""]))
    >>> rows.shape, np.sort(rows[0])[-2:].round(1)  # "free" is in both texts
    ((2, 2048), array([4.6, 6.5], dtype=float32))
    """
    counts, of_test = (_counts(x) for x in (x_train, x_test))
    rarity = np.log((1 + len(counts)) / (1 + (counts > 0).sum(axis=0))) + 1

    def weighted(words: Floats) -> Floats:
        rows = np.log1p(words) * rarity
        return (LENGTH * rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)

    return weighted(counts), weighted(of_test)


def _counts(texts: npt.NDArray[Any]) -> Floats:
    """How often each hashed word occurs in each text, `(N, 2048)`."""
    options: dict[str, Any] = {"n_features": COLUMNS, "norm": None, "alternate_sign": False, "dtype": np.float32}
    vectorizer: Any = HashingVectorizer(**options)
    return vectorizer.transform(texts).toarray()
