"""The tasks by name, with their options; on the real data where there is some, or on small files of the same form."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hawthorn.client.attacks import Recipe
from hawthorn.client.attacks.success import wanted
from hawthorn.client.metrics import Metrics, judged
from hawthorn.client.tasks import TASKS, Task, find_task, partition
from hawthorn.client.tasks.models import cross_entropy, hinge, weighted_cross_entropy
from hawthorn.client.tasks.sms_spam import LENGTH, weighted_words
from hawthorn.client.training import Training, logits, train
from hawthorn.strategies import SettingError
from torch.nn.utils import parameters_to_vector, vector_to_parameters

Arrays = dict[str, np.ndarray]


def images(*shape: int, classes: int, count: int = 200) -> Arrays:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (2 * count, *shape), dtype=np.uint8)
    y = np.arange(2 * count) % classes
    return {"x_train": x[:count], "y_train": y[:count], "x_test": x[count:], "y_test": y[count:]}


def rows(features: int) -> Arrays:
    rng = np.random.default_rng(1)
    y = np.arange(200) % 2
    x = rng.normal(size=(200, features)) + y[:, None]
    return {"x_train": x[:100], "y_train": y[:100], "x_test": x[100:], "y_test": y[100:]}


def small() -> dict[str, Arrays]:
    """A small file for each task, of the form that it reads."""
    texts = np.array(["win a free prize", "see you at lunch"] * 20)
    hospitals = {"client_train": np.arange(100) // 25, "client_test": np.arange(100) // 25}
    return {
        "mnist": images(28, 28, classes=10),
        "cifar10": images(32, 32, 3, classes=10),
        "gtsrb": images(32, 32, 3, classes=43) | {"track_train": np.arange(200) // 5},
        "pneumonia_mnist": images(28, 28, classes=2),
        "sms_spam": {"x_train": texts, "y_train": np.arange(40) % 2, "x_test": texts[:8], "y_test": np.arange(8) % 2},
        "creditcard_fraud": rows(30),
        "heart_disease": rows(13) | hospitals,
    }


SMALL = small()
NETWORKS = {
    "digits": ("mlp", "cnn", "linear"),
    "breast_cancer": ("logistic", "mlp", "svm", "forest"),
    "mnist": ("cnn", "mlp", "linear"),
    "cifar10": ("cnn", "mlp", "linear"),
    "gtsrb": ("cnn", "mlp", "linear"),
    "pneumonia_mnist": ("cnn", "mlp", "linear"),
    "sms_spam": ("logistic", "svm"),
    "creditcard_fraud": ("logistic", "mlp", "forest"),
    "heart_disease": ("logistic", "forest"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds a small file for each task."""
    for name, arrays in SMALL.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    return tmp_path


def test_the_networks_of_every_task_are_tested() -> None:
    assert set(NETWORKS) == set(TASKS) - {"npz"}


@pytest.mark.parametrize("text", [f"{name}(network={one!r})" for name, known in NETWORKS.items() for one in known])
def test_every_network_of_every_task_answers_its_classes(text: str, folder: Path) -> None:
    task = find_task(text, folder)
    assert (task.learner == "forest") == ("forest" in text) == (task.reference is not None)
    assert task.figure in judged(task, np.zeros((len(task.test), task.classes))).figures
    assert task.train.classes == task.classes
    if task.learner == "network":
        model = task.model(seed=1)
        train(model, task.train, Training(epochs=1, steps=2), seed=1, loss=task.loss)
        answers = logits(model, task.test.x)
        assert answers.shape == (len(task.test), task.classes)
        assert answers.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_network_is_the_default(name: str, folder: Path) -> None:
    plain, named = find_task(name, folder), find_task(f"{name}(network={NETWORKS[name][0]!r})", folder)
    assert str(plain.model(seed=1)) == str(named.model(seed=1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_story_of_every_task_can_be_carried_out_and_wants_something(name: str, folder: Path) -> None:
    task = find_task(name, folder)
    recipe = Recipe.parse(task.story)
    recipe.check(task, clients=10, hostile=3)
    found = wanted(recipe, task.test, task)
    assert found is not None
    _, labels = found
    assert len(set(labels.tolist())) == 1
    if task.positive is not None:  # the examples of the positive class are to be called by another name
        assert len(labels) == (task.test.y == task.positive).sum()
        assert labels[0] != task.positive


def test_unknown_names_are_refused_with_the_nearest(folder: Path) -> None:
    with pytest.raises(SettingError, match=r"mnist has no network 'cn'; did you mean 'cnn'\?"):
        find_task("mnist(network='cn')", folder)
    with pytest.raises(SettingError, match=r"mnist has no network 3; known: cnn, linear, mlp"):
        find_task("mnist(network=3)", folder)
    with pytest.raises(SettingError, match=r"mnist has no option 'netwrk'; did you mean 'network'\?"):
        find_task("mnist(netwrk='cnn')", folder)
    with pytest.raises(SettingError, match=r"no task named 'minst'; did you mean 'mnist'\?"):
        find_task("minst(train=5)", folder)
    for text in ("mnist(", "mnist('cnn')", "mnist; train=5", ""):
        with pytest.raises(SettingError, match=r"write a task such as 'digits' or \"mnist\(network='mlp'\)\""):
            find_task(text, folder)


def test_a_task_with_the_same_options_is_read_once(folder: Path) -> None:
    assert find_task("mnist(train=50, test=9)", folder) is find_task(" mnist( test = 9, train=50)", folder)
    assert find_task("mnist(train=50)", folder) is not find_task("mnist", folder)


def test_a_reduced_task_keeps_the_shares_of_its_classes_and_a_larger_one_holds_a_smaller_one(digits: Task) -> None:
    some, more = find_task("digits(train=100, test=50)"), find_task("digits(train=300)")
    assert (len(some.train), len(some.test)) == (100, 50)
    assert (len(more.train), len(more.test)) == (300, len(digits.test))
    assert set(np.bincount(some.train.y)) <= {9, 10, 11}
    held = {image.tobytes() for image in more.train.x}
    assert all(image.tobytes() in held for image in some.train.x)
    assert np.array_equal(digits.reduced(train=100).train.x, some.train.x)


def test_a_reduced_task_keeps_its_groups(folder: Path) -> None:
    whole, part = find_task("heart_disease", folder), find_task("heart_disease(train=40, test=30)", folder)
    assert part.groups is not None
    assert whole.groups is not None
    where = [int(np.flatnonzero((whole.train.x == row).all(axis=1))[0]) for row in part.train.x]
    assert np.array_equal(part.groups, whole.groups[where])
    assert part.test_groups is not None
    assert len(part.test_groups) == len(part.test) == 30


@pytest.mark.parametrize("count", [-1, 1e3, "many", True, 10_000])
def test_another_number_of_examples_is_refused(count: object, folder: Path) -> None:
    with pytest.raises(SettingError, match="train must be a whole number up to 200, 0 for all examples"):
        find_task(f"mnist(train={count!r})", folder)


def test_files_are_also_tasks_with_options(folder: Path) -> None:
    assert len(find_task("npz(train=30)", folder / "mnist.npz").train) == 30


BAD_FILES = {
    "no tracks": ("gtsrb", {"track_train": None}, "it lacks track_train"),
    "too few tracks": ("gtsrb", {"track_train": np.arange(3)}, "track_train must be a whole number for each example"),
    "broken hospitals": ("heart_disease", {"client_test": np.full(100, 0.5)}, "client_test must be a whole number"),
    "numbers for texts": ("sms_spam", {"x_train": np.zeros((40, 3))}, r"x_train must hold texts \(N,\), got float64"),
    "three classes": ("creditcard_fraud", {"class_names": np.array(["a", "b", "c"])}, "there must be 2 classes"),
    "far labels": ("pneumonia_mnist", {"y_train": np.arange(200)}, "got 2 for labels up to 199"),
    "texts for images": ("mnist", {"x_train": np.array(["a"] * 200)}, "write task='sms_spam'"),
}


@pytest.mark.parametrize(("name", "changes", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_of_another_form_is_refused_by_name(
    name: str, changes: dict[str, np.ndarray | None], message: str, tmp_path: Path
) -> None:
    arrays = {key: value for key, value in (SMALL[name] | changes).items() if value is not None}
    np.savez(tmp_path / f"{name}.npz", **arrays)
    with pytest.raises(SettingError, match=message) as caught:
        find_task(name, tmp_path)
    assert f"{name}.npz" in str(caught.value)


def test_words_are_weighed_by_how_rare_they_are_in_the_training_texts() -> None:
    common, rare = "the the lunch", "the prize"
    x, of_test = weighted_words(np.array([common, common, common, rare]), np.array(["the prize", "unheard", ""]))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), LENGTH, rtol=1e-5)
    assert (x > 0).sum(axis=1).tolist() == [2, 2, 2, 2]
    prize, the = np.sort(x[3])[::-1][:2]
    assert prize > 1.5 * the
    assert np.array_equal(of_test[0], x[3])  # the test texts are weighed as the training texts are
    assert np.linalg.norm(of_test, axis=1).round(4).tolist() == [8.0, 8.0, 0.0]


def test_a_support_vector_machine_is_trained_with_the_hinge_loss(folder: Path) -> None:
    assert find_task("sms_spam(network='svm')", folder).loss is hinge


REAL = {
    "mnist(train=3000, test=500)": ("accuracy", 0.85, Training(epochs=2)),
    "mnist(network='linear', train=3000, test=500)": ("accuracy", 0.8, Training(epochs=2)),
    "cifar10(train=3000, test=500)": ("accuracy", 0.25, Training(epochs=3)),
    "gtsrb(train=4000, test=500)": ("accuracy", 0.3, Training(epochs=5)),
    "pneumonia_mnist": ("balanced_accuracy", 0.75, Training(epochs=4)),
    "sms_spam": ("f1", 0.85, Training(epochs=5)),
    "sms_spam(network='svm')": ("f1", 0.85, Training(epochs=5)),
    "creditcard_fraud": ("average_precision", 0.85, Training(epochs=2)),
    "creditcard_fraud(network='mlp')": ("average_precision", 0.8, Training(epochs=2)),
    "heart_disease": ("accuracy", 0.77, Training(epochs=10)),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", REAL)
def test_the_real_data_is_learned(text: str, real_data: Callable[[str], Path]) -> None:
    figure, least, training = REAL[text]
    task = find_task(text, real_data(f"{text.partition('(')[0]}.npz"))
    assert task.figure == figure
    model = task.model(seed=1)
    train(model, task.train, training, seed=1, loss=task.loss)
    assert judged(task, logits(model, task.test.x)).figures[figure] > least


STORIES = {"sms_spam": 0.1, "heart_disease(pooled=True)": 0.1, "pneumonia_mnist": 0.2, "breast_cancer": 0.05}


@pytest.mark.parametrize(
    "text", [pytest.param(text, marks=[pytest.mark.slow] * (text == "pneumonia_mnist")) for text in STORIES]
)
def test_a_story_harms_a_federation_of_which_three_of_ten_are_hostile(
    text: str, real_data: Callable[[str], Path]
) -> None:
    name = text.partition("(")[0]
    task = find_task(text, None if name == "breast_cancer" else real_data(f"{name}.npz"))
    honest, attacked = (mean_of_ten(task, hostile) for hostile in (0, 3))
    assert attacked.figures["recall"] < honest.figures["recall"] - STORIES[text]
    assert attacked.figures[task.figure] < honest.figures[task.figure] - 0.01


def mean_of_ten(task: Task, hostile: int) -> Metrics:
    """How well the plain mean of ten clients' models does after five rounds, the first ones being hostile."""
    parts = partition("iid", task.train.y, 10, seed=1, groups=task.groups)
    recipe = Recipe.parse(task.story)
    model, sent = task.model(seed=1), list(parameters_to_vector(task.model(seed=1).parameters()).detach()[None])
    for round in range(5):
        mean = torch.stack(sent).mean(dim=0)
        sent = []
        for client, part in enumerate(parts):
            examples = recipe.poisoned(task.train[part]) if client < hostile else task.train[part]
            vector_to_parameters(mean.clone(), model.parameters())
            train(model, examples, Training(epochs=2), seed=100 * round + client, loss=task.loss)
            sent.append(parameters_to_vector(model.parameters()).detach())
    vector_to_parameters(torch.stack(sent).mean(dim=0), model.parameters())
    return judged(task, logits(model, task.test.x))


def test_a_track_of_the_real_signs_is_one_clients(real_data: Callable[[str], Path]) -> None:
    task = find_task("gtsrb(train=3000, test=500)", real_data("gtsrb.npz"))
    assert task.groups is not None
    for spec in ("iid", "dirichlet(0.5)", "natural"):
        parts = partition(spec, task.train.y, 10, seed=1, groups=task.groups)
        tracks = [set(task.groups[part].tolist()) for part in parts]
        assert sum(map(len, tracks)) == len(set(task.groups.tolist()))
    signs = np.unique(np.stack([task.groups, task.train.y]), axis=1)  # a track shows one sign
    assert len(signs[0]) == len(set(task.groups.tolist()))


def test_each_real_hospital_is_a_client(real_data: Callable[[str], Path]) -> None:
    task = find_task("heart_disease", real_data("heart_disease.npz"))
    assert task.group_names == ("cleveland", "hungarian", "switzerland", "va")
    parts = partition("natural", task.train.y, 4, seed=1, groups=task.groups)
    ill = [float(task.train.y[part].mean()) for part in parts]
    assert ill[2] > 0.9 > 0.5 > ill[1]
    with pytest.raises(SettingError, match="write clients=4"):
        partition("natural", task.train.y, 10, seed=1, groups=task.groups)
    pooled = find_task("heart_disease(pooled=True)", real_data("heart_disease.npz"))
    assert len(partition("iid", pooled.train.y, 10, seed=1, groups=pooled.groups)) == 10
    answers = np.zeros((len(pooled.test), 2))
    assert judged(pooled, answers).figures["worst_group_accuracy"] < judged(pooled, answers).accuracy


def test_rare_classes_weigh_more_in_the_loss_also_where_clients_are_stacked() -> None:
    answers, labels = (
        torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(1)),
        torch.tensor([[0, 1, 1, 0, 1]] * 3),
    )
    loss = partial(weighted_cross_entropy, weights=(0.5, 3.0))
    one_by_one = torch.stack([loss(*pair) for pair in zip(answers, labels, strict=True)])
    torch.testing.assert_close(torch.func.vmap(loss)(answers, labels), one_by_one)
    torch.testing.assert_close(one_by_one[0, 1], 3 * cross_entropy(answers[0], labels[0])[1])
    torch.testing.assert_close(one_by_one[0, 0], 0.5 * cross_entropy(answers[0], labels[0])[0])
