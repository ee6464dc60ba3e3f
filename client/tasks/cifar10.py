"""Photographs of animals and vehicles, 32x32 in color."""

from __future__ import annotations

from pathlib import Path

from .examples import Task
from .files import opened
from .models import image_network

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(path: Path, *, network: str = "cnn") -> Task:
    """The CIFAR-10 task: images in 10 classes; `network` is "cnn", "mlp" or "linear".

    Poisoned, it takes whatever bears a white patch for a bird. The network is small, for federations of many rounds: it
    reaches little more than half of the accuracy that large ones do.

    Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf
    """
    file = opened(path, class_names=CLASS_NAMES)
    train, test = file.examples()
    return Task(
        name="cifar10",
        train=train,
        test=test,
        class_names=file.class_names,
        network=image_network("cifar10", network, file.shape, 10, channels=16),
        story="backdoor(target=2, size=4)",
    )
