import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hawthorn.client.tasks import Examples, Task, find_task
from hawthorn.client.tasks.rows import FARTHEST, standardized
from hawthorn.client.training import Training, evaluate, train
from hawthorn.strategies import SettingError

Arrays = dict[str, np.ndarray]


def images(*shape: int) -> Arrays:
    """A file's arrays: uint8 images of four classes."""
    rng = np.random.default_rng(1)
    return {
        "x_train": rng.integers(0, 256, (40, *shape), dtype=np.uint8),
        "y_train": np.arange(40) % 4,
        "x_test": rng.integers(0, 256, (8, *shape), dtype=np.uint8),
        "y_test": np.arange(8) % 4,
    }


def rows() -> Arrays:
    """A file's arrays: rows of two classes that one feature tells apart, another one on another scale, some missing."""
    rng = np.random.default_rng(1)
    y = np.arange(60) % 2
    x = np.stack([y + rng.normal(size=60) / 4, rng.normal(1e6, 1e5, size=60), np.full(60, 7.0)], axis=1)
    x[::7, 1] = np.nan
    return {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Arrays], Path]:
    def write(arrays: Arrays) -> Path:
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_bundled_tasks_have_every_class_on_both_sides(name: str) -> None:
    task = find_task(name)
    assert task.name == name
    for side in (task.train, task.test):
        assert set(side.y.tolist()) == set(range(task.classes))
        assert side.x.dtype == np.float32
        assert np.isfinite(side.x).all()
    assert 0.18 < len(task.test) / (len(task.train) + len(task.test)) < 0.22


def test_no_test_example_is_trained_on(digits: Task) -> None:
    trained = {image.tobytes() for image in digits.train.x}
    assert sum(image.tobytes() in trained for image in digits.test.x) == 0


def test_a_task_is_read_once_and_described() -> None:
    assert find_task("digits") is find_task("digits")
    assert find_task("digits").describe == "digits: 1438 training and 359 test images of 8x8, 10 classes"


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_a_model_depends_on_its_seed_alone(name: str) -> None:
    task = find_task(name)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (task.model(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="no task named 'digit'; did you mean 'digits'"):
        find_task("digit")


def test_a_file_goes_with_the_task_that_reads_one(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="needs a file"):
        find_task("npz")
    with pytest.raises(SettingError, match="brings its own data"):
        find_task("digits", "some.npz")
    with pytest.raises(SettingError, match="no file"):
        find_task("npz", tmp_path / "absent.npz")


@pytest.mark.parametrize("shape", [(12, 9), (8, 8, 1), (9, 9, 3)], ids=str)
def test_images_of_a_file_are_scaled_and_learned_by_convolutions(
    shape: tuple[int, ...], written: Callable[[Arrays], Path]
) -> None:
    task = find_task("npz", written(images(*shape)))
    assert task.train.images
    assert task.train.x.min() >= 0
    assert task.train.x.max() == 1
    model = task.model(seed=1)
    assert any(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    # Forty random images can be learned by heart, if the gradient reaches the weights and the labels fit the images.
    train(model, task.train, Training(epochs=150, batch_size=8, learning_rate=0.05), seed=1)
    assert evaluate(model, task.train).accuracy > 0.9


def test_rows_of_a_file_are_standardized_and_gaps_filled(written: Callable[[Arrays], Path]) -> None:
    task = find_task("npz", written(rows()))
    assert not task.train.images
    np.testing.assert_allclose(task.train.x.mean(axis=0), 0, atol=1e-6)
    assert (task.train.x[::7, 1] == 0).all()
    assert (task.train.x[:, 2] == 0).all()
    model = task.model(seed=1)
    train(model, task.train, Training(epochs=20, batch_size=8, learning_rate=0.1), seed=1)
    assert evaluate(model, task.test).accuracy > 0.9


def test_test_rows_lend_nothing_to_the_scale() -> None:
    x = np.random.default_rng(1).normal(size=(20, 2))
    alone, _ = standardized(x, x[:1])
    beside, far = standardized(x, np.full((5, 2), 1e9))
    assert np.array_equal(alone, beside)
    assert (far == FARTHEST).all()


def test_class_names_of_a_file_are_kept(written: Callable[[Arrays], Path]) -> None:
    task = find_task("npz", written(images(8, 8) | {"class_names": np.array(["a", "b", "c", "d", "e"])}))
    assert task.class_names == ("a", "b", "c", "d", "e")
    assert task.train.classes == task.test.classes == 5
    assert np.isnan(evaluate(task.model(seed=1), task.test).recalls[4])


def test_a_file_written_anew_is_read_anew(written: Callable[[Arrays], Path]) -> None:
    path = written(images(8, 8))
    first = find_task("npz", path)
    written(images(8, 8) | {"x_train": np.zeros((40, 8, 8), np.uint8)})
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    assert first.train.x.any()
    assert not find_task("npz", path).train.x.any()


BAD_FILES = {
    "missing keys": (lambda a: {"x_train": a["x_train"]}, "it lacks y_train, x_test, y_test"),
    "too few labels": (lambda a: a | {"y_train": a["y_train"][:-1]}, "one label for each"),
    "labels in columns": (lambda a: a | {"y_test": a["y_test"][:, None]}, "one label for each"),
    "no examples": (lambda a: a | {"x_test": a["x_test"][:0], "y_test": a["y_test"][:0]}, "there must be some"),
    "texts": (lambda a: a | {"x_train": np.array(["spam"] * 40)}, "holds texts"),
    "objects": (lambda a: a | {"x_train": np.array([None] * 40)}, "without Python objects"),
    "complex numbers": (lambda a: a | {"x_train": a["x_train"] + 1j}, "rows of numbers"),
    "a single column": (lambda a: a | {"x_train": a["x_train"][:, 0, 0]}, "images .* or rows of numbers"),
    "sides that differ": (lambda a: a | {"x_test": a["x_test"][:, 1:]}, "differ only in the number"),
    "channels first": (lambda a: a | {"x_train": np.zeros((40, 3, 8, 8), np.uint8)}, r"np.moveaxis\(x_train, 1, -1\)"),
    "dark floats": (lambda a: a | {"x_train": a["x_train"].astype(float)}, r"write x_train / x_train.max\(\)"),
    "infinite pixels": (lambda a: a | {"x_test": np.full((8, 8, 8), np.inf)}, "must be finite"),
    "missing pixels": (lambda a: a | {"x_test": np.full((8, 8, 8), np.nan)}, "must be finite"),
    "text labels": (lambda a: a | {"y_train": a["y_train"].astype(str)}, "whole numbers from 0"),
    "fractional labels": (lambda a: a | {"y_train": a["y_train"] / 2}, "whole numbers from 0"),
    "negative labels": (lambda a: a | {"y_test": a["y_test"] - 1}, "whole numbers from 0"),
    "far labels": (lambda a: a | {"y_test": a["y_test"] + 10**9}, "count the classes"),
    "one class": (lambda a: a | {"y_train": a["y_train"] * 0, "y_test": a["y_test"] * 0}, "count the classes"),
    "names for some": (lambda a: a | {"class_names": np.array(["a", "b"])}, "name every class"),
}


@pytest.mark.parametrize(("change", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_of_another_form_is_refused_by_name(
    change: Callable[[Arrays], Arrays], message: str, written: Callable[[Arrays], Path]
) -> None:
    path = written(change(images(8, 8)))
    with pytest.raises(SettingError, match=message) as caught:
        find_task("npz", path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(SettingError, match="cannot be read"):
        find_task("npz", path)


def test_a_lone_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lone.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(SettingError, match="cannot be read"):
        find_task("npz", path)


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("mnist.npz", "mnist: 60000 training and 10000 test images of 28x28, 10 classes"),
        ("heart_disease.npz", "heart_disease: 735 training and 185 test rows of 13 features, 2 classes"),
        ("creditcard_fraud.npz", "creditcard_fraud: 20926 training and 5232 test rows of 30 features, 2 classes"),
        ("pneumonia_mnist.npz", "pneumonia_mnist: 4708 training and 624 test images of 28x28, 2 classes"),
    ],
)
def test_real_files_are_read(name: str, described: str, real_data: Callable[[str], Path]) -> None:
    task = find_task("npz", real_data(name))
    assert task.describe == described
    model = task.model(seed=1)
    train(model, task.train, Training(epochs=1, steps=60, batch_size=32, learning_rate=0.1), seed=1)
    majority = np.bincount(task.test.y).max() / len(task.test)
    assert evaluate(model, task.test[:2000]).accuracy > majority - 0.05


def test_real_texts_are_refused(real_data: Callable[[str], Path]) -> None:
    with pytest.raises(SettingError, match=r"sms_spam.npz: x_train holds texts"):
        find_task("npz", real_data("sms_spam.npz"))


def test_examples_need_a_label_each() -> None:
    with pytest.raises(SettingError, match="3 examples and 2 labels"):
        Examples(np.zeros((3, 1), np.float32), np.zeros(2, np.int64))
