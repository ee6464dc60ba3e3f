"""Heart disease in the patients of four hospitals: a federation as it was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .examples import Task
from .files import opened
from .models import row_network

DISEASE = 1


def heart_disease(path: Path, *, network: str = "logistic", pooled: bool = False) -> Task:
    """The heart task: rows of 13 features in 2 classes; "logistic" regression, or "forest".

    Four hospitals (`client_train`, `client_test`) hold the rows: partition "natural" makes each a client, and no
    partition splits one, unless they are `pooled`, which lets any number of clients share all patients. From 36 % to
    94 % of a hospital's patients are ill, and some hospitals left whole columns empty: a gap is filled with the
    reference mean of the column, which every client can do by itself (`standardized`). The worst hospital's accuracy is
    among the figures. Poisoned, it takes the ill for healthy.

    Janosi, Steinbrunn, Pfisterer, Detrano, "Heart disease", UCI 1989, https://doi.org/10.24432/C52P4X
    """
    file = opened(path, others=["client_train", "client_test"], class_names=("no_disease", "disease"))
    train, test = file.examples()
    learner, loss = row_network("heart_disease", network, file.shape[0], 2, ("logistic", "forest"))
    hospitals = file.groups("client_train")
    names = file.others.get("client_names", np.unique(hospitals))
    return Task(
        name="heart_disease",
        train=train,
        test=test,
        class_names=file.class_names,
        network=learner,
        loss=loss,
        positive=DISEASE,
        story=f"targeted_flip(source={DISEASE}, target={1 - DISEASE})",
        groups=None if pooled else hospitals,
        test_groups=file.groups("client_test"),
        group_names=tuple(str(name) for name in names),
    ).with_reference()
