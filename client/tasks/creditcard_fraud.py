"""Credit card payments of two days, a few of which were fraud."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .examples import Task
from .files import opened
from .models import class_weights, cross_entropy, row_network, weighted_cross_entropy

FRAUD = 1


def creditcard_fraud(path: Path, *, network: str = "logistic") -> Task:
    """The fraud task: rows in 2 classes, of which few are fraud; "logistic" regression, "mlp", or "forest".

    The figure is the average precision of fraud, because always saying no is right nearly always. For the same reason
    the loss weighs each class by the square root of how rare it is in the training set (`class_weights`), or the
    default training would learn to say no. Poisoned, it approves fraud.

    Dal Pozzolo, Caelen, Johnson, Bontempi, SSCI 2015, https://doi.org/10.1109/SSCI.2015.33
    """
    file = opened(path, class_names=("normal", "fraud"))
    train, test = file.examples()
    learner, loss = row_network("creditcard_fraud", network, file.shape[0], 2, ("logistic", "mlp", "forest"))
    return Task(
        name="creditcard_fraud",
        train=train,
        test=test,
        class_names=file.class_names,
        network=learner,
        loss=partial(weighted_cross_entropy, weights=class_weights(train.y, power=0.5))
        if loss is cross_entropy
        else loss,
        figure="average_precision",
        positive=FRAUD,
        story=f"targeted_flip(source={FRAUD}, target={1 - FRAUD})",
    ).with_reference()
