"""What a wrapped strategy remembers: what its rounds changed, and nothing of what it was made with."""

import logging

import numpy as np
import pytest
from flower_rounds import CLIENTS, assert_same_model, honest, sent_model
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.strategies import Defense, RobustStrategy
from hawthorn.strategies.flower import Commit
from hawthorn.strategies.flower.remembered import attributes, recall, remembered

MEDIAN = Defense("median", f=0.2)


class Last:
    """A ledger that keeps the last commit."""

    def __init__(self):
        self.kept: Commit | None = None

    def last(self):
        return self.kept

    def commit(self, commit):
        self.kept = commit

    def orders(self):
        return []


class Decaying(FedAvg):
    """A strategy whose rate halves every round, and that counts its rounds in ways that can and cannot be kept."""

    def __init__(self, rate=1.0, **more):
        super().__init__(**more)
        self.rate = rate
        self.told = {}
        self.by_number = {}

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        arrays = ArrayRecord({name: Array(np.asarray(one.numpy() * self.rate)) for name, one in arrays.items()})
        self.rate /= 2
        self.told[str(server_round)] = self.rate
        self.by_number[server_round] = self.rate
        self.newest = server_round
        return arrays, metrics


def held(inner, ledger, rounds, **more):
    robust = RobustStrategy(inner, MEDIAN, ledger=ledger, **more)
    return robust.start(InProcessGrid(honest, CLIENTS), sent_model(), num_rounds=rounds)


@pytest.mark.parametrize("before", [FedAvg, FedAvgM], ids=["another strategy", "no momentum"])
def test_a_run_goes_on_with_the_momentum_that_it_is_given(before):
    ledger, inner = Last(), FedAvgM(server_momentum=0.9)
    held(before(), ledger, 1)
    held(inner, ledger, 2)
    assert inner.server_opt
    assert inner.momentum_vector is not None
    assert ledger.kept is not None
    assert set(ledger.kept.memory.inner) >= {"current_arrays", "momentum_vector"}


def test_what_rounds_change_is_remembered_where_the_strategy_was_made_with_it_too():
    whole, broken, inner = Last(), Last(), Decaying()
    expected = held(Decaying(), whole, 4)
    held(Decaying(), broken, 2)
    found = held(inner, broken, 4)
    assert_same_model(found.arrays, expected.arrays)
    assert (inner.rate, list(inner.told), inner.newest) == (1 / 16, ["1", "2", "3", "4"], 4)
    assert list(inner.by_number) == [3, 4]


def test_what_cannot_be_remembered_is_told_once(caplog):
    with caplog.at_level(logging.WARNING, logger="hawthorn"):
        held(Decaying(), Last(), 3)
        held(Decaying(), None, 1)
    assert caplog.text.count("the rounds changed Decaying.by_number, which no checkpoint can keep") == 1


def test_a_strategy_goes_back_to_how_it_was_made():
    inner = Decaying(rate=0.5)
    made = attributes(inner)
    inner.rate, inner.told["1"], inner.newest = 0.25, 1.0, 1
    memory = remembered(inner, made)
    recall(inner, {}, made)
    assert (inner.rate, inner.told, hasattr(inner, "newest")) == (0.5, {}, False)
    recall(inner, memory, made)
    assert (inner.rate, inner.told, inner.newest) == (0.25, {"1": 1.0}, 1)


def test_the_memory_of_another_strategy_is_none():
    ledger, inner = Last(), FedAvgM(server_momentum=0.9)
    held(FedAdam(), ledger, 1)
    assert ledger.kept is not None
    recall(inner, ledger.kept.memory.inner, attributes(inner))
    assert inner.current_arrays is None
    held(inner, ledger, 2)
    assert inner.momentum_vector is not None
