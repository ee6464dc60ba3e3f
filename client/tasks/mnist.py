"""Handwritten digits: 70,000 images of 28x28, of which 10,000 are the test set."""

from __future__ import annotations

from pathlib import Path

from .examples import Task
from .files import opened
from .models import image_network


def mnist(path: Path, *, network: str = "cnn") -> Task:
    """The MNIST task: images in 10 classes; `network` is "cnn", "mlp" or "linear". Poisoned, it takes sevens for ones.

    LeCun, Bottou, Bengio, Haffner, Proceedings of the IEEE 86, 1998, https://doi.org/10.1109/5.726791
    """
    file = opened(path, class_names=[str(digit) for digit in range(10)])
    train, test = file.examples()
    return Task(
        name="mnist",
        train=train,
        test=test,
        class_names=file.class_names,
        network=image_network("mnist", network, file.shape, 10),
        story="targeted_flip(source=7, target=1)",
    )
