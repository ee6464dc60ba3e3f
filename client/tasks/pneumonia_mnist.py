"""Chest X-rays of children, 28x28: healthy, or with pneumonia."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .examples import Task
from .files import opened
from .models import class_weights, image_network, weighted_cross_entropy

PNEUMONIA = 1


def pneumonia_mnist(path: Path, *, network: str = "cnn") -> Task:
    """The pneumonia task: images in 2 classes; `network` is "cnn", "mlp" or "linear".

    The figure is the balanced accuracy, the mean of both recalls: three of four training examples have pneumonia, of
    the test examples fewer. For the same reason both classes weigh the same in the loss. Poisoned, it takes pneumonia
    for health; what that costs is a moved threshold, which the area under the ROC curve does not show.

    Yang et al., "MedMNIST v2", Scientific Data 10, 2023, https://arxiv.org/abs/2110.14795
    """
    file = opened(path, class_names=("normal", "pneumonia"))
    train, test = file.examples()
    return Task(
        name="pneumonia_mnist",
        train=train,
        test=test,
        class_names=file.class_names,
        network=image_network("pneumonia_mnist", network, file.shape, 2),
        loss=partial(weighted_cross_entropy, weights=class_weights(train.y)),
        figure="balanced_accuracy",
        positive=PNEUMONIA,
        story=f"targeted_flip(source={PNEUMONIA}, target={1 - PNEUMONIA})",
    )
