"""Small models that train in milliseconds on one core: how a federation holds is the point here, not what it learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from hawthorn.strategies.contract import nearest
from hawthorn.strategies.errors import SettingError
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits `(B, C)` and labels `(B,)` -> the loss of each example `(B,)`."""


def cross_entropy(answers: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each example, `(B,)`: logistic regression and networks."""
    return functional.cross_entropy(answers, labels, reduction="none")


def weighted_cross_entropy(answers: Tensor, labels: Tensor, *, weights: tuple[float, ...]) -> Tensor:
    """The cross-entropy of each example times the weight of its class, `(B,)`: for classes of very unequal size."""
    return cross_entropy(answers, labels) * answers.new_tensor(weights)[labels]


def class_weights(labels: npt.NDArray[np.int64], power: float = 1.0) -> tuple[float, ...]:
    """A weight per class, their mean over the examples 1: as rare a class is, to that `power`.

    At power 1 all classes count the same. A class so rare that most batches have none of it needs less, or each of its
    examples outweighs all else in a batch and plain gradient descent jumps.

    >>> labels = np.repeat([0, 1], [90, 10])
    >>> np.round(class_weights(labels), 2), np.round(class_weights(labels, power=0.5), 2)
    (array([0.56, 5.  ]), array([0.83, 2.5 ]))
    """
    counts = np.bincount(labels)
    weights = np.maximum(counts, 1).astype(np.float64) ** -power
    return tuple(float(weight) for weight in weights / (weights @ counts / len(labels)))


def hinge(answers: Tensor, labels: Tensor) -> Tensor:
    """The multi-class hinge loss of each example, `(B,)`: a linear model trained with it is a support vector machine.

    Crammer, Singer, JMLR 2, 2001.
    """
    right = answers.gather(1, labels.unsqueeze(1))
    margins = (1 + answers - right).scatter(1, labels.unsqueeze(1), 0.0)
    return margins.clamp(min=0).amax(dim=1)


class Contrast(nn.Module):
    """A layer that spreads images in [0, 1] over [-reach, reach]: gradient descent learns much faster around zero."""

    def __init__(self, reach: float = 2.0) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, x: Tensor) -> Tensor:
        """Images of the same shape."""
        return 2 * self.reach * x - self.reach


class ImageNetwork(nn.Module):
    """A network of two strided convolutions and one linear layer, for images `(N, H, W)` or `(N, H, W, C)`."""

    def __init__(self, shape: tuple[int, ...], classes: int, channels: int = 8) -> None:
        super().__init__()
        height, width, depth = (*shape, 1)[:3]
        quarter = ((height + 3) // 4) * ((width + 3) // 4)
        self.contrast = Contrast()
        self.first = nn.Conv2d(depth, channels, kernel_size=3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, 2 * channels, kernel_size=3, stride=2, padding=1)
        self.active = nn.ReLU()
        self.last = nn.Linear(2 * channels * quarter, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(N, classes)`."""
        x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
        x = self.active(self.second(self.active(self.first(self.contrast(x)))))
        return self.last(x.flatten(1))


def dense_network(inputs: int, classes: int, hidden: int) -> nn.Module:
    """A network with one hidden layer for rows of numbers, or logistic regression if `hidden` is 0."""
    if not hidden:
        return nn.Sequential(nn.Linear(inputs, classes))
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def dense_image_network(pixels: int, classes: int, hidden: int) -> nn.Module:
    """A network with one hidden layer for images so small that convolutions do not pay, or a linear one.

    The more pixels, the less each counts: otherwise the step size that suits small images throws large ones off.
    """
    return nn.Sequential(Contrast(min(2.0, 16 / pixels**0.5)), nn.Flatten(), dense_network(pixels, classes, hidden))


def initialized(network: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The network with weights drawn from `seed`, biases zero.

    He, Zhang, Ren, Sun, ICCV 2015, https://arxiv.org/abs/1502.01852
    """
    generator = torch.Generator().manual_seed(seed)
    # On the meta device the layers' own initialization draws nothing from the global random state.
    with torch.device("meta"):
        model = network()
    model = model.to_empty(device="cpu")
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.kaiming_uniform_(parameter, nonlinearity="relu", generator=generator)
    return model


Known = TypeVar("Known")


def chosen(task: str, network: object, known: Mapping[str, Known]) -> Known:
    """What stands under `network`, an option of the task; raises `SettingError` with the nearest name."""
    if not isinstance(network, str) or network not in known:
        raise SettingError(f"{task} has no network {network!r}; {nearest(str(network), list(known))}")
    return known[network]


def row_network(
    task: str, network: object, inputs: int, classes: int, known: Sequence[str]
) -> tuple[Callable[[], nn.Module] | None, Loss]:
    """What learns rows, and its loss: `network` is one of those `known`, which are among these.

    "logistic" regression; "svm", the same with the hinge loss; "mlp", a network with one hidden layer; "forest", which
    is no network: None.
    """
    linear = partial(dense_network, inputs=inputs, classes=classes, hidden=0)
    learners: dict[str, tuple[Callable[[], nn.Module] | None, Loss]] = {
        "logistic": (linear, cross_entropy),
        "svm": (linear, hinge),
        "mlp": (partial(dense_network, inputs=inputs, classes=classes, hidden=32), cross_entropy),
        "forest": (None, cross_entropy),
    }
    return chosen(task, network, {name: learners[name] for name in known})


def image_network(
    task: str, network: object, shape: tuple[int, ...], classes: int, channels: int = 8
) -> Callable[[], nn.Module]:
    """What learns images: "cnn", "mlp" with one hidden layer, or "linear"."""
    pixels = math.prod(shape)
    learners: dict[str, Callable[[], nn.Module]] = {
        "cnn": partial(ImageNetwork, shape, classes, channels),
        "mlp": partial(dense_image_network, pixels=pixels, classes=classes, hidden=64),
        "linear": partial(dense_image_network, pixels=pixels, classes=classes, hidden=0),
    }
    return chosen(task, network, learners)
