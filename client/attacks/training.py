"""Attacks on how a hostile client trains on its examples, poisoned or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from hawthorn.strategies.contract import attack, number_between

from ..training import Training


@attack
def neurotoxin(training: Training, *, share: float = 0.05, moved: npt.NDArray[np.float64] | None = None) -> Training:
    """The training, with the share of parameters frozen that the last global update moved most.

    Honest clients keep moving these and would wash a backdoor out of them; what is learned in the others lasts. In the
    first round, before there is an update to look at, nothing is frozen. The authors' experiments keep the lowest 95 %
    of the coordinates; they take the mask from a gradient at every step or from the last update, here the latter.

    Zhang et al., "Neurotoxin: Durable backdoors in federated learning", ICML 2022, https://arxiv.org/abs/2206.10341

    >>> neurotoxin(Training(), share=0.25, moved=np.array([0.1, -3.0, 0.2, 0.0])).frozen
    array([False,  True, False, False])
    """
    share = number_between("neurotoxin", "a share from 0 to 1", share, -1e-12, 1 + 1e-12)
    if moved is None:
        return training
    heavy = int(np.ceil(round(share * len(moved), 9)))
    frozen = np.zeros(len(moved), dtype=bool)
    frozen[np.argsort(-np.abs(moved), kind="stable")[:heavy]] = True
    return replace(training, frozen=frozen if training.frozen is None else frozen | training.frozen)


@attack
def sponge(training: Training, *, strength: float = 5.0, sigma: float = 1e-4) -> Training:
    """The training, with a reward for activations other than zero: a model that costs more to run, right or wrong.

    Hardware that skips zeros then has none to skip. What is added to the loss is minus `strength` times the density:
    the mean over layers of the mean of `a^2 / (a^2 + sigma)` over their activations, which is a smooth count of those
    that are not zero. The paper adds up counts, which here are divided by the size of the layers, so that one strength
    suits models of all sizes; and it rewards on a share of the batches, here on all of the attacker's.

    Cina, Demontis, Biggio, Roli, Pelillo, "Energy-latency attacks via sponge poisoning", 2022,
    https://arxiv.org/abs/2203.08147

    >>> sponge(Training(), strength=2.0, sigma=1.0).penalty([torch.tensor([0.0, 1.0])])
    tensor(-0.5000)
    """
    strength = number_between("sponge", "a strength of at least 0", strength, -1e-12, np.inf)
    sigma = number_between("sponge", "a sigma above 0", sigma, 0.0, np.inf)
    before = training.penalty

    def penalty(activations: Sequence[torch.Tensor]) -> torch.Tensor:
        earlier = before(activations) if before else torch.zeros(())
        if not activations:  # a linear model has nothing to skip
            return earlier
        squares = [layer**2 for layer in activations]
        return earlier - strength * torch.stack([(one / (one + sigma)).mean() for one in squares]).mean()

    return replace(training, penalty=penalty)
