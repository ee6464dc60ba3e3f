"""The guard: on real training over Flower messages, and on metrics made by hand for what training seldom does."""

import copy
import json
import logging
import random
from functools import cache

import numpy as np
import pytest
from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp.strategy import FedAvg
from hawthorn.client.app import app
from hawthorn.client.attacks import hostile_clients
from hawthorn.client.provider import holdout, initial_arrays
from hawthorn.scripts.in_process import InProcessGrid
from hawthorn.server.checks import Clients, Holdout, checks
from hawthorn.server.holdout import UNCHECKED, HoldoutGuard
from hawthorn.server.settings import Settings
from hawthorn.strategies import Defense, RobustStrategy, SettingError

CLIENTS, ROUNDS, WAKES = 5, 20, 18
UNDEFENDED = Defense.parse("mean; policy=none; reputation=sequential", f=0.4)
ATTACKS = {
    "": "",
    "replacement": "label_flip + model_replacement",
    "one class": "targeted_flip(source=3, target=8) + model_replacement(boost=4)",
    "sponge": "sponge(strength=2) + model_replacement",
}


@cache
def trained(attack="", guard="holdout", partition="iid", seed=1, rounds=ROUNDS):
    """The records of a run's rounds, and the metrics of the models that were there after them; attackers wake late."""
    attacked = {"hostile": 2, "attack": f"{ATTACKS[attack]} + sleeper(wakes={WAKES})"} if attack else {}
    written = {"clients": CLIENTS, "tolerated": "2", "defense": "mean; policy=none", "rounds": rounds, "seed": seed}
    config = Settings.parse({**written, "partition": partition, **attacked}).run_config()
    evaluate = holdout(config)
    metrics, records = {}, []

    def evaluation(number, arrays):
        metrics[number] = evaluate(number, arrays)
        return metrics[number]

    robust = RobustStrategy(
        FedAvg(fraction_evaluate=1.0 if "clients" in guard else 0.0),
        UNDEFENDED,
        guard=HoldoutGuard.parse(guard, evaluation) if guard else None,
        observers=[records.append],
    )
    random.seed(seed)
    robust.start(InProcessGrid(app, CLIENTS, config), initial_arrays(config), rounds, evaluate_fn=evaluation)
    return records, metrics, robust.recollection().guard


def rolled_back(records):
    return {record.round: record.rolled_back for record in records if record.rolled_back}


@pytest.mark.slow
@pytest.mark.parametrize("guard", ["holdout", "holdout + clients"])
def test_in_peace_no_round_is_rolled_back(guard):
    records, metrics, _ = trained(guard=guard)
    assert rolled_back(records) == {}
    assert metrics[ROUNDS]["accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("guard", ["holdout", "clients"])
def test_a_replaced_model_is_rolled_back_and_suspicion_remains(guard):
    records, metrics, _ = trained("replacement", guard)
    _, undone, _ = trained("replacement", "")
    assert undone[WAKES]["accuracy"] < 0.7
    told = rolled_back(records)
    assert set(told) == set(range(WAKES, ROUNDS + 1))
    assert "the accuracy" in told[WAKES]
    assert ("on the clients' examples" in told[WAKES]) == (guard == "clients")
    assert metrics[ROUNDS]["accuracy"] > 0.9
    evidence = [one.evidence for one in records[WAKES - 1].standings.values()]
    assert len(evidence) == CLIENTS
    assert min(evidence) >= 1
    assert "3 rounds in a row were rolled back" in told[ROUNDS]
    assert f"since={ROUNDS + 1}" in told[ROUNDS]
    assert "in a row" not in told[ROUNDS - 1]


def test_one_class_that_is_unlearned_is_told_by_its_name():
    records, metrics, _ = trained("one class")
    _, undone, _ = trained("one class", "")
    assert undone[ROUNDS]["class-recalls"][3] < 0.2
    told = rolled_back(records)
    assert set(told) == set(range(WAKES, ROUNDS + 1))
    assert "the recall of class 3 fell from" in told[WAKES]
    assert metrics[ROUNDS]["class-recalls"][3] > 0.8


def test_a_model_that_costs_more_to_run_is_rolled_back_though_it_is_as_right():
    records, metrics, _ = trained("sponge")
    _, undone, _ = trained("sponge", "")
    assert undone[WAKES]["accuracy"] > 0.85
    assert undone[ROUNDS]["activation-density"] > metrics[ROUNDS]["activation-density"] + 0.15
    told = rolled_back(records)
    assert set(told) == set(range(WAKES, ROUNDS + 1))
    assert all("the share of activations other than zero rose from" in reason for reason in told.values())
    assert "the accuracy" not in told[WAKES]


def test_what_is_remembered_after_a_run_is_plain():
    _, _, state = trained("replacement")
    assert json.loads(json.dumps(state)) == state
    assert state["rollbacks"] == 3


def metrics(accuracy=0.9, loss=0.4, recalls=(0.9,) * 4, density=0.5, **more):
    counts = {"class-recalls": list(recalls), "class-examples": [100] * len(recalls)} if recalls else {}
    return MetricRecord({"loss": loss, "accuracy": accuracy, "activation-density": density, **counts, **more})


class Told:
    """An evaluation that answers, or raises, what a test has written down; and the guard's rulings on it, in turn."""

    def __init__(self, written="holdout", *, seen=()):
        self.next, self.asked, self.state, self.round = None, [], None, -1
        self.guard = HoldoutGuard.parse(written, self.evaluate)
        for one in seen:
            self.check(one)

    def evaluate(self, number, arrays):
        self.asked.append({name: array.numpy() for name, array in arrays.items()})
        answer = self.next(arrays) if callable(self.next) else self.next
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check(self, answer):
        self.next, self.round = answer, self.round + 1
        before = copy.deepcopy(self.state)
        ruling = self.guard.check(self.round, ArrayRecord([np.ones((2, 3), np.float32), np.array(3)]), self.state)
        assert self.state == before  # what a guard was given it leaves alone
        self.state = json.loads(json.dumps(ruling.state))
        return ruling

    def reports(self, *accuracies, **more):
        reports = {str(k): MetricRecord({"accuracy": one, **more}) for k, one in enumerate(accuracies)}
        ruling = self.guard.check_reports(self.round, reports, self.state)
        self.state = json.loads(json.dumps(ruling.state))
        return ruling


def steady(count=16, seed=0, **more):
    rng = np.random.default_rng(seed)
    return [metrics(0.9 + rng.normal(0, 0.005), 0.4 + rng.normal(0, 0.005), **more) for _ in range(count)]


def test_metrics_as_before_are_answered_and_no_fault():
    told = Told(seen=steady())
    ruling = told.check(metrics())
    assert ruling.fault is None
    assert dict(ruling.metrics) == dict(metrics())


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        (metrics(loss=float("nan")), "the loss is nan"),
        (metrics(loss=float("inf")), "the loss is inf"),
        (metrics(accuracy=float("nan")), "the accuracy is nan"),
        (metrics(density=float("nan")), "the share of activations other than zero is nan"),
        (metrics(recalls=(0.9, float("nan"), 0.9, 0.9)), "the recall of class 1 is nan"),
        (metrics(accuracy=0.4), "the accuracy fell from 0.89"),
        (metrics(recalls=(0.9, 0.9, 0.2, 0.9)), "the recall of class 2 fell from 0.9 to 0.2"),
        (metrics(density=0.8), "the share of activations other than zero rose from 0.5 to 0.8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_worse_is_told_and_the_next_good_model_is_taken(worse, words):
    told = Told(seen=steady())
    ruling = told.check(worse)
    assert words in ruling.fault
    assert ruling.metrics is not None
    assert told.check(metrics()).fault is None


def test_metrics_that_are_not_finite_are_a_fault_from_the_first_round_on():
    told = Told(seen=[metrics()])
    assert told.check(metrics(loss=float("nan"))).fault == "the loss is nan"


def test_without_accuracy_the_loss_is_watched():
    seen = [MetricRecord({"loss": one["loss"]}) for one in steady()]
    assert Told(seen=seen).check(MetricRecord({"loss": 0.41})).fault is None
    assert "the loss rose from 0.4" in Told(seen=seen).check(MetricRecord({"loss": 2.0})).fault


def test_a_metric_of_the_operators_own_is_watched():
    seen = [MetricRecord({"loss": 1.0, "roc-auc": one["accuracy"]}) for one in steady()]
    told = Told("holdout(metric='roc-auc', examples=400)", seen=seen)
    assert "the roc-auc fell from 0.89" in told.check(MetricRecord({"loss": 1.0, "roc-auc": 0.5})).fault


@pytest.mark.parametrize("written", ["holdout", "holdout(metric='roc-auc')"])
def test_a_holdout_that_tells_nothing_to_watch_is_refused_at_the_start(written):
    first = MetricRecord({"f-score": 0.5} | ({"loss": 1.0} if "roc" in written else {}))
    with pytest.raises(SettingError, match=r"but the holdout gives \[.*'f-score'.*\]: name one of these"):
        Told(written, seen=[first])


def test_a_larger_tolerance_takes_what_a_smaller_one_does_not():
    worse = metrics(accuracy=0.75, recalls=())
    assert Told(seen=steady(recalls=())).check(worse).fault is not None
    assert Told("holdout(tolerance=0.2)", seen=steady(recalls=())).check(worse).fault is None


def test_a_slow_decline_is_told():
    told = Told(seen=steady(25))
    faults = [told.check(metrics(0.9 - 0.004 * step)).fault for step in range(1, 30)]
    first = next(fault for fault in faults if fault)
    assert "the accuracy fell over several rounds from 0.8" in first


def test_an_evaluation_that_fails_at_the_start_is_the_operators_to_mend():
    with pytest.raises(SettingError, match="must work for the initial model, but: OSError: no such file"):
        Told(seen=[OSError("no such file")])


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (None, "must work for the initial model, but it answers None"),
        (metrics(accuracy=float("nan")), "but the accuracy is nan"),
        (metrics(recalls=(0.9, float("nan"))), "but the recall of class 1 is nan"),
        (MetricRecord({"accuracy": 0.9, "class-recalls": [0.9, 0.9]}), "class-recalls with class-examples beside it"),
        (
            MetricRecord({"accuracy": 0.9, "class-recalls": [0.9, 0.9], "class-examples": [5]}),
            "class-recalls with class-examples beside it",
        ),
    ],
    ids=str,
)
def test_a_first_evaluation_that_no_round_could_be_judged_by_is_the_operators_to_mend(first, words):
    with pytest.raises(SettingError, match=words):
        Told(seen=[first])


def test_a_class_without_examples_has_no_recall_to_lose():
    seen = [
        MetricRecord({"accuracy": one["accuracy"], "class-recalls": [0.9, float("nan")], "class-examples": [50, 0]})
        for one in steady()
    ]
    told = Told(seen=seen[:-1])
    assert told.check(seen[-1]).fault is None


def test_an_evaluation_that_fails_for_every_model_leaves_rounds_unchecked(caplog):
    told = Told(seen=steady())
    with caplog.at_level(logging.WARNING, logger="hawthorn"):
        rulings = [told.check(OSError("no such file")) for _ in range(2)]
    assert [ruling.fault for ruling in rulings] == [None, None]
    assert [dict(ruling.metrics) for ruling in rulings] == [{UNCHECKED: 1}, {UNCHECKED: 2}]
    assert "the evaluation on the holdout failed: the model is not checked" in caplog.text
    assert set(told.asked[-1]) == {"0", "1"}
    assert not any(array.any() for array in told.asked[-1].values())  # a model of zeros was tried
    assert told.check(metrics(accuracy=0.4)).fault is not None  # what was seen before still counts
    assert told.check(metrics()).fault is None
    assert dict(told.check(None).metrics) == {UNCHECKED: 1}


def test_an_evaluation_that_fails_for_one_model_speaks_against_it():
    def fails(arrays):
        return ValueError("Input contains NaN") if arrays["0"].numpy().any() else metrics(accuracy=0.1)

    told = Told(seen=steady())
    assert told.check(fails).fault == (
        "the evaluation on the holdout fails for this model: ValueError: Input contains NaN"
    )
    assert told.check(metrics()).fault is None


def test_an_operator_has_the_next_model_taken_as_it_is():
    told = Told(seen=steady())
    faults = [told.check(metrics(accuracy=0.6)).fault for _ in range(3)]
    assert "in a row" not in faults[1]
    assert "3 rounds in a row were rolled back: if the federation has changed for good, go on with" in faults[2]
    assert f"guard='holdout(since={told.round + 1})'" in faults[2]
    told.guard = HoldoutGuard.parse(f"holdout(since={told.round + 1})", told.evaluate)
    assert told.check(metrics(accuracy=0.6)).fault is None
    for one in steady(14):
        assert told.check(metrics(one["accuracy"] - 0.3)).fault is None
    assert told.check(metrics(accuracy=0.2)).fault is not None


def test_an_evaluation_that_takes_much_longer_is_told_only_if_asked_for():
    from hawthorn.server import holdout as module

    for written, expected in (("holdout(slowdown=3)", True), ("holdout", False)):
        told = Told(written, seen=steady())
        clock = iter([0.0, 1e9])
        real, module.time = (
            module.time,
            type("Clock", (), {"perf_counter": staticmethod(lambda clock=clock: next(clock))}),
        )
        try:
            fault = told.check(metrics()).fault
        finally:
            module.time = real
        assert (fault is not None and "an evaluation took 1e+09 s" in fault) == expected


def test_an_operator_has_evaluations_take_longer_from_a_round_on(monkeypatch):
    clock = 0.0

    def taking(seconds):
        def evaluated(arrays):
            nonlocal clock
            clock += seconds
            return metrics()

        return evaluated

    monkeypatch.setattr("hawthorn.server.holdout.time.perf_counter", lambda: clock)
    told = Told("holdout(slowdown=3)", seen=[taking(1)] * 12)
    assert "an evaluation took 10 s, where 1 s are usual" in told.check(taking(10)).fault
    told.guard = HoldoutGuard.parse(f"holdout(slowdown=3, since={told.round + 1})", told.evaluate)
    assert [told.check(taking(10)).fault for _ in range(6)] == [None] * 6
    assert "an evaluation took 100 s, where 10 s are usual" in told.check(taking(100)).fault


def test_clients_reports_are_one_vote_each():
    told = Told("clients")
    told.guard = HoldoutGuard.parse("clients")
    rng = np.random.default_rng(0)
    for _ in range(16):
        assert told.check(None).metrics is None
        assert told.reports(*rng.normal(0.9, 0.01, 9)).fault is None
    told.check(None)
    assert told.reports(*[0.9] * 5, 0.0, 0.0, 0.0, 0.0, **{"num-examples": 1}).fault is None
    told.check(None)
    assert "the accuracy on the clients' examples fell from 0.9" in told.reports(*[0.5] * 5, 0.9, 0.9, 0.9, 0.9).fault
    told.check(None)
    assert told.reports(*[0.9] * 9).fault is None


def test_a_loss_that_is_lost_at_most_clients_is_a_fault_from_the_first_round_on():
    told = Told("clients")
    told.guard = HoldoutGuard.parse("clients")
    told.check(None)
    nan, inf = float("nan"), float("inf")
    assert told.reports(0.9, 0.9, nan, inf).fault is None, "half of them may lie"
    told.check(None)
    assert told.reports(0.9, nan, nan, inf).fault == "the accuracy is not finite at 3 of 4 clients"
    told.check(None)
    assert told.reports(*[0.9] * 3, loss=nan).fault == "the loss is not finite at 3 of 3 clients"


@pytest.mark.parametrize("lie", [0.9, float("nan")], ids=str)
def test_a_few_clients_cannot_change_which_metric_is_watched(lie):
    told = Told("clients")
    told.guard = HoldoutGuard.parse("clients")

    def reported(loss):
        told.check(None)
        reports = {str(k): MetricRecord({"loss": loss + 0.001 * k}) for k in range(20)}
        reports |= {f"liar {k}": MetricRecord({"loss": 0.5, "accuracy": lie}) for k in range(3)}
        ruling = told.guard.check_reports(told.round, reports, told.state)
        told.state = ruling.state
        return ruling.fault

    assert [reported(0.5) for _ in range(16)] == [None] * 16
    assert "the loss on the clients' examples rose from 0.5" in reported(50.0)


def test_too_few_clients_tell_nothing(caplog):
    told = Told("clients")
    told.guard = HoldoutGuard.parse("clients(least=4)")
    for _ in range(16):
        told.check(None)
        told.reports(0.9, 0.91, 0.89, 0.9)
    told.check(None)
    with caplog.at_level(logging.WARNING, logger="hawthorn"):
        assert told.reports(0.1, 0.1, 0.1).fault is None
    assert "3 clients report of the model, too few" in caplog.text
    told.check(None)
    assert told.reports(0.1, 0.1, 0.1, 0.1).fault is not None


def test_what_the_holdout_saw_of_a_model_that_clients_refuse_does_not_count():
    told = Told("holdout + clients")
    for one in steady():
        assert told.check(one).fault is None
        assert told.reports(0.9, 0.91, 0.89, 0.9).fault is None
    before = told.check(metrics(0.91)).state["accepted"]
    assert told.reports(0.1, 0.1, 0.1, 0.1).fault is not None
    assert told.check(metrics()).state["accepted"] == json.loads(json.dumps(before))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("holdut", "did you mean 'holdout'?"),
        ("holdout(tolerence=0.1)", "did you mean 'tolerance'?"),
        ("holdout(tolerance=-0.1)", "a tolerance of at least 0 and below 1, got -0.1"),
        ("holdout(rate=0)", "a rate between 0 and 1, got 0"),
        ("holdout(since=-1)", "since as a whole number of at least 0, got -1"),
        ("holdout(slowdown=0.5)", "a slowdown above 1, or 0 for none, got 0.5"),
        ("holdout(collapse=2)", "a collapse above 0 and at most 1, got 2"),
        ("holdout(metric='')", "a metric such as 'accuracy', got ''"),
        ("clients(least=0)", "least"),
        ("holdout + holdout", "write 'holdout' once"),
        ("holdout +", "write 'holdout', 'clients' or 'holdout + clients' instead of 'holdout +'"),
    ],
)
def test_a_guard_that_is_none_is_refused(written, words):
    with pytest.raises(SettingError) as error:
        Settings.parse({"guard": written})
    assert words in str(error.value)


def test_settings_say_what_a_guard_needs():
    assert checks("holdout(tolerance=0.1) + clients(least=5)") == (Holdout(tolerance=0.1), Clients(least=5))
    with pytest.raises(SettingError, match="needs a holdout"):
        Settings.parse({"guard": "holdout", "holdout": ""})
    with pytest.raises(SettingError, match=r"needs 3 clients that evaluate, but fraction-evaluate=0.2 of clients=10"):
        Settings.parse({"guard": "clients", "fraction-evaluate": 0.2})
    Settings.parse({"guard": "clients", "fraction-evaluate": 0.3, "holdout": ""})
    with pytest.raises(SettingError, match="write holdout="):
        HoldoutGuard.parse("holdout")
    with pytest.raises(SettingError, match="needs something to look at"):
        HoldoutGuard()


@pytest.mark.slow
def test_suspicion_alone_brings_attackers_into_quarantine_and_training_goes_on():
    config = Settings.parse(
        {"hostile": 3, "attack": "label_flip + model_replacement + sleeper(wakes=20)", "rounds": 32, "partition": "iid"}
        | {"tolerated": "3", "defense": "mean; policy=none"}
    ).run_config()
    evaluate, records = holdout(config), []
    defense = Defense.parse("mean; policy=none; reputation=sequential", f=3)
    guard = HoldoutGuard.parse("holdout", evaluate)
    robust = RobustStrategy(FedAvg(fraction_evaluate=0.0), defense, guard=guard, observers=[records.append])
    result = robust.start(InProcessGrid(app, 10, config), initial_arrays(config), 32, evaluate_fn=evaluate)
    told = rolled_back(records)
    assert set(told) == set(range(20, 20 + len(told)))
    assert len(told) < 10
    assert {node - 101 for node in records[-1].quarantined} == hostile_clients(10, 3, 1)
    assert records[-1].skipped is None
    assert result.evaluate_metrics_serverapp[32]["accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["iid", "dirichlet(0.5)", "dirichlet(0.1)"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_forty_rounds_in_peace_are_not_rolled_back(partition, seed):
    assert rolled_back(trained(partition=partition, seed=seed, rounds=40)[0]) == {}
