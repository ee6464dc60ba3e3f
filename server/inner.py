"""The Flower strategies that can be wrapped by name: `inner = "fedadam(eta=0.01)"`.

Those that decide how one update moves the model. Flower's own robust strategies are not here: the defense comes first
and hands them a single reply. Nor is QFedAvg, which weighs clients by the losses they claim. Any other strategy is
wrapped in Python: `RobustStrategy(MyStrategy(), defense)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy
from hawthorn.strategies.contract import Call, Table, check_options


class Sampling(TypedDict, total=False):
    """Whom a strategy asks: the arguments that all of Flower's strategies share."""

    fraction_train: float
    fraction_evaluate: float
    min_train_nodes: int
    min_evaluate_nodes: int
    min_available_nodes: int


INNER: Table[Callable[..., Strategy]] = Table("strategy")


def inner(function: Callable[..., Strategy]) -> Callable[..., Strategy]:
    """The function itself, now found in `INNER` under its name."""
    return INNER.add(function.__name__, function)


@inner
def fedavg(sampling: Sampling) -> Strategy:
    """The update as it is: McMahan et al., AISTATS 2017, https://arxiv.org/abs/1602.05629."""
    return FedAvg(**sampling)


@inner
def fedavgm(sampling: Sampling, *, server_learning_rate: float = 1.0, server_momentum: float = 0.9) -> Strategy:
    """Momentum on the server: Hsu, Qi, Brown 2019, https://arxiv.org/abs/1909.06335."""
    return FedAvgM(**sampling, server_learning_rate=server_learning_rate, server_momentum=server_momentum)


@inner
def fedprox(sampling: Sampling, *, proximal_mu: float = 0.1) -> Strategy:
    """Clients pulled towards the model they were sent: Li et al., MLSys 2020, https://arxiv.org/abs/1812.06127."""
    return FedProx(**sampling, proximal_mu=proximal_mu)


@inner
def fedadagrad(sampling: Sampling, *, eta: float = 0.1, tau: float = 1e-3) -> Strategy:
    """Adagrad on the server: Reddi et al., ICLR 2021, https://arxiv.org/abs/2003.00295."""
    return FedAdagrad(**sampling, eta=eta, tau=tau)


@inner
def fedadam(
    sampling: Sampling, *, eta: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
) -> Strategy:
    """Adam on the server: Reddi et al., ICLR 2021, https://arxiv.org/abs/2003.00295."""
    return FedAdam(**sampling, eta=eta, beta_1=beta_1, beta_2=beta_2, tau=tau)


@inner
def fedyogi(
    sampling: Sampling, *, eta: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3
) -> Strategy:
    """Yogi on the server: Reddi et al., ICLR 2021, https://arxiv.org/abs/2003.00295."""
    return FedYogi(**sampling, eta=eta, beta_1=beta_1, beta_2=beta_2, tau=tau)


def inner_strategy(text: str, **sampling: Any) -> Strategy:
    """The Flower strategy that `text` names; raises `SettingError` with the nearest name or option.

    >>> type(inner_strategy("fedadam(eta=0.01)")).__name__
    'FedAdam'
    """
    call = Call.parse(text)
    made = INNER[call.name]
    options = dict(call.options)
    check_options(call.name, made, options)
    return made(Sampling(**sampling), **options)
