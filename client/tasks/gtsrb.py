"""German traffic signs, 43 kinds, 32x32 in color, filmed from a car as it passes them."""

from __future__ import annotations

from pathlib import Path

from .examples import Task
from .files import opened
from .models import image_network

CLASSES = 43
STOP, LIMIT_80 = 14, 5


def gtsrb(path: Path, *, network: str = "cnn") -> Task:
    """The traffic sign task: images in 43 classes with their original numbers; `network` is "cnn", "mlp" or "linear".

    The frames of one track show one sign as the car nears it: `track_train` numbers the tracks, and no partition splits
    one. Poisoned, it takes a stop sign with a white sticker near its lower edge for a speed limit of 80; stop is the
    positive class, so that its recall and precision are among the figures.

    Stallkamp, Schlipsing, Salmen, Igel, Neural Networks 32, 2012, https://doi.org/10.1016/j.neunet.2012.02.016
    """
    file = opened(path, others=["track_train"], class_names=[str(sign) for sign in range(CLASSES)])
    train, test = file.examples()
    return Task(
        name="gtsrb",
        train=train,
        test=test,
        class_names=file.class_names,
        network=image_network("gtsrb", network, file.shape, CLASSES, channels=16),
        positive=STOP,
        story=f"backdoor(source={STOP}, target={LIMIT_80}, size=4, position=(24, 14))",
        groups=file.groups("track_train"),
    )
