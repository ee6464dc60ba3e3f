"""Vetting on real data that were tampered with: what is found, what is not, what is dropped, and what a site keeps."""

import json
import logging

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from hawthorn.client.app import app
from hawthorn.client.assignment import Assignment
from hawthorn.client.attacks.triggers import Trigger
from hawthorn.client.tasks import Examples, find_task
from hawthorn.client.training import Training, arrays_of, train
from hawthorn.client.vetting import Report, Vetting, dataset_digest, kept, vetted
from hawthorn.client.vetting.digest import example_digests
from hawthorn.client.vetting.drift import Sketch, drifts
from hawthorn.client.vetting.site import REPORT, SKETCH, vetted_by
from hawthorn.client.vetting.spectral import hashed, penultimate, triggers
from hawthorn.strategies import SettingError
from hypothesis import given
from hypothesis import strategies as st

DROP = Vetting("drop")


def flipped(data, label, share, seed=1):
    """The data with a share of one class's labels changed to others, and the places of these."""
    rng = np.random.default_rng(seed)
    members = np.flatnonzero(data.y == label)
    wrong = rng.choice(members, round(share * len(members)), replace=False)
    y = data.y.copy()
    y[wrong] = (y[wrong] + rng.integers(1, data.classes, len(wrong))) % data.classes
    return Examples(data.x, y, data.classes), set(wrong.tolist())


def marked(data, target, share=0.05, own=False, trigger=None, seed=1):
    """The data with marked examples of other classes added to one, or that many of its own marked; and their places."""
    rng = np.random.default_rng(seed)
    trigger = trigger or Trigger(size=3)
    count = round(share * np.sum(data.y == target))
    if own:
        places = rng.choice(np.flatnonzero(data.y == target), count, replace=False)
        x = data.x.copy()
        x[places] = trigger.stamped(x[places])
        return Examples(x, data.y, data.classes), set(places.tolist())
    others = rng.choice(np.flatnonzero(data.y != target), count, replace=False)
    x = np.concatenate([data.x, trigger.stamped(data.x[others])])
    y = np.concatenate([data.y, np.full(count, target)])
    return Examples(x, y, data.classes), set(range(len(data), len(data) + count))


def places(report, check):
    return {one.example for one in report.findings if one.check == check}


def joined(one, other):
    return Examples(np.concatenate([one.x, other.x]), np.concatenate([one.y, other.y]), one.classes)


@pytest.fixture(scope="module")
def data(digits):
    return digits.train


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", range(10))
def test_wrong_labels_of_one_class_are_found_among_digits(data, label):
    wrong_data, wrong = flipped(data, label, 0.1)
    found = places(vetted(wrong_data), "labels")
    assert len(found & wrong) > 0.5 * len(wrong)
    assert len(found & wrong) > 0.7 * len(found)


def test_most_wrong_labels_are_found_and_most_that_are_found_are_wrong(data):
    hits = total = said = 0
    for label in range(10):
        wrong_data, wrong = flipped(data, label, 0.1, seed=2)
        found = places(vetted(wrong_data), "labels")
        hits, total, said = hits + len(found & wrong), total + len(wrong), said + len(found)
    assert hits / total > 0.85
    assert hits / said > 0.75


def test_the_right_label_is_suggested(data):
    wrong_data, wrong = flipped(data, 7, 0.1)
    told = {one.example: one.suggested for one in vetted(wrong_data).findings if one.check == "labels"}
    assert np.mean([told[place] == 7 for place in wrong & set(told)]) > 0.9


def test_hardly_a_label_of_clean_digits_is_in_doubt(data):
    assert len(places(vetted(data), "labels")) < 0.01 * len(data)


def test_wrong_labels_among_mnist(real_data):
    task = find_task("mnist(train=2000, test=100)", real_data("mnist.npz"))
    wrong_data, wrong = flipped(task.train, 0, 0.1)
    found = places(vetted(wrong_data), "labels")
    assert len(found & wrong) > 0.8 * len(wrong)
    # the price on so few images: neighbors contradict one right label in forty
    assert len(found - wrong) < 0.04 * len(task.train)


def test_where_neighbors_say_nothing_nothing_is_judged(data):
    noise = Examples(data.x, np.random.default_rng(0).integers(10, size=len(data)), 10)
    report = vetted(noise, vetting=DROP)
    check = report.checks[0]
    assert (check.name, check.limit) == ("labels", None)
    assert "neighbors say too little of labels here" in check.note
    assert not report.dropped


def test_copies_do_not_vouch_for_each_other(data):
    """A wrong example that is there eleven times is found as the single one is."""
    wrong_data, wrong = flipped(data, 3, 0.03)
    repeated = np.concatenate([np.arange(len(data)), np.repeat(sorted(wrong), 10)])
    once, often = vetted(wrong_data), vetted(wrong_data[repeated])
    assert len(places(once, "labels") & wrong) == len(wrong)
    assert wrong <= places(often, "labels")


@pytest.mark.parametrize("count", [1, 2, 5, 11])
def test_few_examples_are_no_fault(data, count):
    report = vetted(data[:count], data[:0])
    assert report.clean
    assert [check.limit for check in report.checks if check.name in ("labels", "triggers", "leaks")] == [None] * 3


def test_one_class_alone_is_not_judged(data):
    report = vetted(data[data.y == 4])
    assert report.checks[0].limit is None
    assert not places(report, "labels")


# --- copies ---------------------------------------------------------------------------------------


def test_copies_are_found_and_one_of_each_stays(data):
    report = vetted(joined(data, data[:30]), vetting=DROP)
    assert places(report, "duplicates") == set(range(len(data), len(data) + 30))
    assert set(range(len(data), len(data) + 30)) <= set(report.dropped)
    left = kept(joined(data, data[:30]), report)
    assert set(example_digests(left)) >= set(example_digests(data[:30])) - {
        digest for place, digest in enumerate(example_digests(data)) if place in report.dropped
    }


def test_copies_with_two_labels_are_both_in_doubt(data):
    other = Examples(data.x[:3], (data.y[:3] + 1) % 10, 10)
    report = vetted(joined(data, other), vetting=DROP)
    assert places(report, "duplicates") == {0, 1, 2, len(data), len(data) + 1, len(data) + 2}
    assert places(report, "duplicates") <= set(report.dropped)
    assert "its copies are labeled" in next(one for one in report.findings if one.check == "duplicates").reason


def test_almost_copies_are_told_and_not_dropped(data):
    rng = np.random.default_rng(0)
    x = data.x[:20] + rng.normal(0, 0.005, data.x[:20].shape).astype(np.float32)
    report = vetted(joined(data, Examples(x, data.y[:20], 10)), vetting=DROP)
    assert places(report, "near duplicates") == {*range(20), *range(len(data), len(data) + 20)}
    assert not places(report, "near duplicates") & set(report.dropped) - places(report, "labels")


def test_examples_that_are_held_out_too_are_not_trained_on(data, digits):
    report = vetted(joined(data, digits.test[:15]), digits.test, vetting=DROP)
    assert places(report, "leaks") == set(range(len(data), len(data) + 15))
    assert places(report, "leaks") <= set(report.dropped)


def test_minus_zero_makes_no_difference(data):
    negative = Examples(np.where(data.x[:5] == 0, np.float32(-0.0), data.x[:5]), data.y[:5], 10)
    assert places(vetted(joined(data, negative)), "duplicates") == set(range(len(data), len(data) + 5))


# --- outliers -------------------------------------------------------------------------------------


def test_what_is_like_nothing_else_is_found(data):
    rng = np.random.default_rng(0)
    noise = Examples(3 * rng.random((3, 8, 8), dtype=np.float32), np.array([0, 1, 2]), 10)
    assert places(vetted(joined(data, noise)), "outliers") == {len(data), len(data) + 1, len(data) + 2}


def test_clean_digits_have_no_outliers_copies_or_triggers(data, digits):
    found = vetted(data, digits.test).found
    assert {name: count for name, count in found.items() if name != "labels"} == dict.fromkeys(
        ("duplicates", "near duplicates", "leaks", "outliers", "triggers"), 0
    )


# --- triggers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [False, True], ids=["others marked", "own marked"])
@pytest.mark.parametrize("target", [1, 4, 7])
def test_a_mark_on_one_in_twenty_of_a_class_is_found(data, target, own):
    marked_data, places_of_marks = marked(data, target, own=own)
    found = places(vetted(marked_data), "triggers")
    assert found == places_of_marks


@pytest.fixture(scope="module")
def backdoored(digits):
    """Digits with marked examples of others among the sevens, and a model that has learned the mark."""
    marked_data, places_of_marks = marked(digits.train, 7, seed=7)
    model = digits.model(1)
    train(model, marked_data, Training(epochs=20), seed=1)
    return marked_data, places_of_marks, model


def test_a_mark_is_found_in_the_features_of_a_model_that_obeys_it(backdoored):
    marked_data, places_of_marks, model = backdoored
    features = penultimate(model, marked_data.x)
    assert features.shape == (len(marked_data), 64)
    # as if there were no inputs to see the mark in
    _, findings = triggers(Examples(features.astype(np.float32), marked_data.y, 10), 8.0)
    found = {one.example for one in findings}
    assert len(found & places_of_marks) > 0.8 * len(places_of_marks)
    assert found <= places_of_marks


def test_the_model_is_as_it_was_after_its_features_were_looked_at(backdoored):
    marked_data, _, model = backdoored
    model.train()
    before = arrays_of(model)
    vetted(marked_data, model=model)
    assert model.training
    assert arrays_of(model) == before


def test_a_mark_is_found_among_mnist_by_the_features(real_data):
    task = find_task("mnist(train=2000, test=100)", real_data("mnist.npz"))
    marked_data, places_of_marks = marked(task.train, 1)
    model = task.model(1)
    train(model, marked_data, Training(epochs=4), seed=1)
    _, findings = triggers(marked_data, 8.0, penultimate(model, marked_data.x))
    assert {one.example for one in findings} == places_of_marks


def test_a_group_as_large_as_a_way_of_writing_is_no_mark(data):
    """What a third of a class shares is how some people write a seven, for all that can be told."""
    marked_data, _ = marked(data, 7, share=0.4, own=True)
    assert not places(vetted(marked_data), "triggers")


def test_two_marked_examples_are_below_what_is_told(data):
    marked_data, places_of_marks = marked(data, 7, share=0.015, own=True)
    assert len(places_of_marks) == 2
    assert not places(vetted(marked_data), "triggers")


def test_hashed_columns_keep_what_rows_share():
    rows = np.zeros((3, 1000))
    rows[0, 17] = rows[1, 17] = 5.0
    sums = hashed(rows, 64)
    assert sums.shape[1] <= 64
    np.testing.assert_allclose(sums[0], sums[1])
    assert np.linalg.norm(sums[0] - sums[2]) == pytest.approx(5.0)
    assert hashed(rows[:, :64], 64) is not None


@pytest.mark.parametrize("name", ["breast_cancer", "sms_spam", "heart_disease"])
def test_rows_and_texts_are_vetted_too(name, real_data):
    task = find_task(name, None if name == "breast_cancer" else real_data(f"{name}.npz"))
    part = task.train[:500]
    report = vetted(part, task.test[:100], vetting=DROP)
    assert report.found["triggers"] == 0
    assert report.found["labels"] < 0.05 * len(part)
    twice = joined(part, part[:10])
    assert places(vetted(twice), "duplicates") >= set(range(len(part), len(part) + 10))


# --- what is dropped ------------------------------------------------------------------------------


def test_no_class_is_emptied(data):
    """Half of the labels of a class are wrong: which half cannot be told, and it stays, and the report says so."""
    wrong_data, _ = flipped(data, 5, 1.0)
    few = np.flatnonzero(wrong_data.y == 8)
    y = wrong_data.y.copy()
    y[few] = 3
    fake = np.random.default_rng(0).choice(np.flatnonzero(data.y == 0), 6, replace=False)
    y[fake] = 8  # all that is left of class 8 are zeros
    report = vetted(Examples(data.x, y, 10), vetting=DROP)
    left = kept(Examples(data.x, y, 10), report)
    assert set(np.unique(left.y)) == set(np.unique(y))
    assert report.spared[8] == 6
    assert "class 8 stays whole: 6 of its 6 examples are in doubt" in str(report)


def test_only_drop_drops_and_says_how_many(data):
    wrong_data, _ = flipped(data, 7, 0.1)
    for action in ("report", "warn"):
        report = vetted(wrong_data, vetting=Vetting(action))
        assert report.found["labels"]
        assert not report.dropped
        assert kept(wrong_data, report) is wrong_data
    report = vetted(wrong_data, vetting=DROP)
    assert len(kept(wrong_data, report)) == len(data) - len(report.dropped) < len(data)
    assert f"{len(report.dropped)} of {len(data)} examples are not trained on" in str(report)


def test_a_report_is_plain_data_and_comes_back(data):
    report = vetted(flipped(data, 7, 0.1)[0], vetting=DROP)
    assert Report.of(json.loads(json.dumps(report.document()))) == report
    assert report.summary()["dropped"] == len(report.dropped)


def test_more_examples_than_wanted_are_vetted_in_part_and_the_report_says_so(data):
    report = vetted(joined(data, data[:5]), vetting=Vetting(most=400))
    assert {check.examples for check in report.checks} == {400}
    assert "400 of them were looked at" in str(report)
    assert report.examples == len(data) + 5


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("dropp", "did you mean 'drop'"),
        ("drop(neighbours=3)", "did you mean 'neighbors'"),
        ("drop(neighbors=0)", "neighbors must be a whole number of at least 1"),
        ("drop(level=1.5)", "level must be a number above 0, below 1"),
        ("warn(deviations='x')", "deviations must be a number above 0"),
        ("report(most=10)", "most must be a whole number of at least 100"),
        ("drop and warn", "write a name"),
    ],
)
def test_wrong_options_are_told(written, message):
    with pytest.raises(SettingError, match=message):
        Vetting.parse(written)


# --- digests --------------------------------------------------------------------------------------


@given(st.permutations(range(20)))
def test_a_data_set_is_the_same_in_any_order(order):
    data = find_task("digits").train[:20]
    assert dataset_digest(data[list(order)]) == dataset_digest(data)


def test_a_data_set_is_another_with_any_change(data):
    few = data[:20]
    brighter, renamed = few.x.copy(), few.y.copy()
    brighter[3, 4, 4] = np.nextafter(brighter[3, 4, 4], np.float32(2))
    renamed[3] += 1
    others = [
        few[:19],
        joined(few, few[:1]),
        Examples(brighter, few.y, 10),
        Examples(few.x, renamed, 10),
        Examples(few.x.reshape(20, 64), few.y, 10),
    ]
    assert len({dataset_digest(one) for one in [few, *others]}) == 6


# --- drift ----------------------------------------------------------------------------------------


def test_two_samples_of_the_same_differ_as_rarely_as_stated(data):
    told = 0
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(len(data))
        one, other = data[order[:700]], data[order[700:]]
        told += bool(drifts(Sketch.of(one), Sketch.of(other), 0.01))
    assert told <= 1  # 0.1 expected


def test_another_share_of_a_class_is_told(data):
    order = np.random.default_rng(0).permutation(len(data))
    one, other = data[order[:700]], data[order[700:]]
    fewer = other[(other.y != 3) | (np.arange(len(other)) % 4 == 0)]
    found = drifts(Sketch.of(one), Sketch.of(fewer), 0.01)
    assert {drift.what for drift in found} >= {"share of class 3"}
    assert all(drift.p <= 0.01 for drift in found)


def test_another_look_of_a_class_is_told(data):
    order = np.random.default_rng(0).permutation(len(data))
    one, other = data[order[:700]], data[order[700:]]
    x = other.x.copy()
    x[other.y == 6] = x[other.y == 6][:, ::-1]  # upside down
    found = drifts(Sketch.of(one), Sketch.of(Examples(x, other.y, 10)), 0.01)
    assert {drift.label for drift in found} == {6}
    assert {drift.what for drift in found} == {"examples of class 6"}


def test_a_class_that_is_gone_is_told(data):
    found = drifts(Sketch.of(data), Sketch.of(data[data.y != 2]), 0.01)
    assert "share of class 2" in {drift.what for drift in found}


def test_a_sketch_is_small_and_does_not_depend_on_the_order(data):
    sketch, other = Sketch.of(data), Sketch.of(data[np.random.default_rng(0).permutation(len(data))])
    np.testing.assert_array_equal(sketch.values, other.values)
    assert sketch.values.nbytes < 64 * 1024


# --- in a federation ------------------------------------------------------------------------------


def context(**run_config):
    node = {"partition-id": 0, "num-partitions": 2}
    run = {"partition": "iid", **{name.replace("_", "-"): value for name, value in run_config.items()}}
    return Context(1, 1, node, RecordDict(), run)


def test_what_is_found_is_not_looked_for_again_in_the_same_data(data):
    state = context()
    wrong_data, _ = flipped(data, 7, 0.1)
    report = vetted_by(state, DROP, wrong_data, data[:0], None)
    record = state.state.config_records[REPORT]
    document = json.loads(record["report"])
    document["findings"] = document["findings"][:1]  # where this comes back, nobody has looked again
    record["report"] = json.dumps(document)
    again = vetted_by(state, DROP, wrong_data, data[:0], None)
    assert len(places(report, "labels")) > 1
    assert len(again.findings) == 1
    assert again.dropped == (again.findings[0].example,)
    changed = vetted_by(state, DROP, wrong_data[:-1], data[:0], None)
    assert len(places(changed, "labels")) > 1


def test_data_are_compared_with_those_of_the_round_before_that_the_state_remembers(data):
    state = context()
    order = np.random.default_rng(0).permutation(len(data))
    one, other = data[order[:700]], data[order[700:]]
    other = other[other.y != 3]
    assert not vetted_by(state, Vetting(), one, data[:0], None).drifts
    assert not vetted_by(state, Vetting(), one, data[:0], None).drifts
    assert SKETCH in state.state.array_records
    assert {drift.label for drift in vetted_by(state, Vetting(), other, data[:0], None).drifts} >= {3}
    assert not vetted_by(state, Vetting(), other, data[:0], None).drifts


def asked(state, digits, number=1):
    from flwr.app import ConfigRecord

    content = RecordDict({"arrays": arrays_of(digits.model(seed=1)), "config": ConfigRecord({"server-round": number})})
    reply = app(Message(content, 1, "train"), state)
    assert not reply.has_error(), reply.error
    return reply.content.metric_records["metrics"]["num-examples"]


@pytest.fixture
def in_a_run(monkeypatch):
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)  # Flower makes no message outside a run


@pytest.mark.usefixtures("in_a_run")
def test_the_app_drops_what_it_finds_and_goes_on(digits, caplog):
    poisoned = {"hostile": 1, "attack": "backdoor(target=0, share=0.02)", "clients": 2, "seed": 1}
    hostile = Assignment.of(context(**poisoned)).hostile[0]
    counts = {}
    for vetting in ("", "report", "warn", "drop"):
        state = context(vetting=vetting, **poisoned)
        state.node_config["partition-id"] = hostile
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            counts[vetting] = asked(state, digits)
        assert ("vetting:" in caplog.text) == (vetting in ("warn", "drop"))
        assert bool(state.state.config_records.get(REPORT)) == bool(vetting)
    assert counts[""] == counts["report"] == counts["warn"]
    assert 0.85 * counts[""] < counts["drop"] < counts[""]


@pytest.mark.usefixtures("in_a_run")
def test_the_apps_state_survives_being_written_down(digits):
    """As Flower keeps it from message to message."""
    state = context(vetting="drop")
    first = asked(state, digits)
    kept_state = RecordDict.inflate(
        state.state.deflate(), {child.object_id: child for child in state.state.children.values()}
    )
    state = Context(1, 1, state.node_config, kept_state, state.run_config)
    assert asked(state, digits, 2) == first


@pytest.mark.usefixtures("in_a_run")
def test_wrong_options_are_answered_with_what_to_write(digits):
    content = RecordDict({"arrays": arrays_of(digits.model(seed=1))})
    reply = app(Message(content, 1, "train"), context(vetting="dropp"))
    assert "did you mean 'drop'" in str(reply.error.reason)
