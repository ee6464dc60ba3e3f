"""`hawthorn vet`, as a site's operator runs it."""

import numpy as np
import pytest
from hawthorn.client.tasks import find_task
from hawthorn.client.training import arrays_of


@pytest.fixture
def tampered(tmp_path):
    """A file of digits in which ten sevens are labeled as ones and five ones are there twice."""
    task = find_task("digits")
    y = task.train.y.copy()
    y[np.flatnonzero(y == 7)[:10]] = 1
    ones = np.flatnonzero(task.train.y == 1)[:5]
    file = tmp_path / "tampered.npz"
    np.savez(
        file,
        x_train=np.concatenate([task.train.x, task.train.x[ones]]),
        y_train=np.concatenate([y, y[ones]]),
        x_test=task.test.x,
        y_test=task.test.y,
    )
    return str(file)


def test_a_sites_data_are_vetted_and_the_report_is_readable(hawthorn, tampered):
    ended = hawthorn("vet", "--task", "npz", "--data", tampered, "--most", "3")
    assert ended.status == 0
    assert "duplicates: 5" in ended.out
    assert "a copy of example" in ended.out
    assert "its nearest neighbors have another label, '7'" in ended.out
    assert "are not trained on" in ended.out


def test_strict_says_by_its_status_that_something_was_found(hawthorn, tampered):
    assert hawthorn("vet", "--task", "npz", "--data", tampered, "--strict").status == 1


def test_the_report_as_json(hawthorn, tampered):
    ended = hawthorn("vet", "--task", "npz", "--data", tampered, "--vetting", "report", "--json", "-")
    assert ended.document["found"]["duplicates"] == 5
    wrong = {one["example"] for one in ended.document["findings"] if one["check"] == "labels"}
    sevens = set(np.flatnonzero(find_task("digits").train.y == 7)[:10].tolist())
    assert len(wrong & sevens) >= 5
    assert ended.document["dropped"] == []
    assert len(ended.document["digest"]) == 64


def test_one_sites_share_is_that_of_the_federation(hawthorn):
    from hawthorn.client.assignment import Assignment
    from hawthorn.client.vetting import dataset_digest

    ended = hawthorn("vet", "--client", "3", "--clients", "5", "--partition", "iid", "--json", "-")
    examples, _ = Assignment.honest(find_task("digits"), 3, 5, "iid", 1).examples
    assert ended.document["digest"] == dataset_digest(examples)
    assert ended.document["client"] == 3


def test_a_model_lends_its_features(hawthorn, tmp_path):
    arrays = {name: array.numpy() for name, array in arrays_of(find_task("digits").model(1)).items()}
    np.savez(tmp_path / "model.npz", **arrays)
    for options in (("--model", "model.npz"), ("--train", "1")):
        ended = hawthorn("vet", "--client", "3", "--clients", "3", *options)
        assert ended.status == 2
        ended = hawthorn("vet", "--client", "1", "--clients", "3", *options)
        assert ended.status == 0, ended.err
        assert "the model's features" in ended.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--vetting", "dropp"), "did you mean 'drop'"),
        (("--client", "10"), "--client must be from 0 to 9"),
        (("--model", "missing.npz"), "is no model of this task"),
        (("--model", "x.npz", "--train", "1"), "leave out --train, or --model"),
        (("--train", "-1"), "--train must be a number of epochs"),
        (("--task", "digit"), "did you mean 'digits'"),
        (("--json", "nowhere/report.json"), "--json must be a file in a folder that exists"),
    ],
)
def test_wrong_options_are_told_in_one_line(hawthorn, options, message):
    ended = hawthorn("vet", *options)
    assert ended.status == 2
    assert message in ended.err
