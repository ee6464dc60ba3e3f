"""Where a task's data comes from: a file, a folder, the cache, or a download, of which the conversions run here."""

import csv
import io
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hawthorn.client.tasks import find_task
from hawthorn.client.tasks.download import (
    ARRAYS,
    HOSPITALS,
    SOURCES,
    creditcard_fraud,
    downloaded,
    gtsrb,
    heart_disease,
    pneumonia_mnist,
    sms_spam,
)
from hawthorn.client.tasks.lookup import cache_folder, data_file
from hawthorn.strategies import SettingError


def zipped(path: Path, members: dict[str, bytes]) -> str:
    """The address of an archive of these members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.as_uri()


def messages() -> bytes:
    """A file as the SMS Spam Collection's: 40 ham, 10 spam, a text that occurs twelve times."""
    lines = [f"ham\tsee you at {hour} o'clock" for hour in range(40)]
    lines += [f"spam\tprize number {number}\twon" for number in range(10)]
    return "\n".join(lines + ["ham\tok"] * 12).encode()


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloads, empty, and no HAWTHORN_DATA."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HAWTHORN_DATA", raising=False)
    return tmp_path / "cache" / "hawthorn"


def written(path: Path, shift: int = 0) -> Path:
    """A small file of texts, whose labels `shift` tells apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts, labels = np.array(["free prize", "at lunch"] * 10), (np.arange(20) + shift) % 2
    np.savez(path, x_train=texts, y_train=labels, x_test=texts, y_test=labels)
    return path


def test_a_file_is_looked_for_in_data_then_hawthorn_data_then_the_cache(
    tmp_path: Path, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == caches
    cached = written(caches / "sms_spam.npz")
    assert data_file("sms_spam") == cached
    monkeypatch.setenv("HAWTHORN_DATA", str(tmp_path / "nowhere"))
    assert data_file("sms_spam") == cached
    mine = written(tmp_path / "mine" / "sms_spam.npz")
    monkeypatch.setenv("HAWTHORN_DATA", str(mine.parent))
    assert data_file("sms_spam") == mine
    other = written(tmp_path / "other" / "sms_spam.npz")
    assert data_file("sms_spam", other.parent) == data_file("sms_spam", str(other)) == other
    assert find_task("sms_spam", other).describe == "sms_spam: 20 training and 20 test rows of 2048 features, 2 classes"


def test_a_file_that_is_not_there_is_refused_with_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"a folder must hold gtsrb.npz with .* track_train \(N,\) whole numbers"):
        data_file("gtsrb", tmp_path)
    with pytest.raises(SettingError, match=r"write the path of an \.npz file as data$"):
        data_file("npz", tmp_path)


def test_a_task_that_brings_its_own_data_leaves_a_folder_to_the_others(tmp_path: Path) -> None:
    assert find_task("digits", tmp_path) is find_task("digits")


def test_what_cannot_be_fetched_is_refused_with_what_to_put_where(caches: Path, tmp_path: Path) -> None:
    for source in (
        lambda: sms_spam((tmp_path / "absent.zip").as_uri()),
        lambda: sms_spam("http://127.0.0.1:9/closed.zip"),
        lambda: sms_spam(written(tmp_path / "no_archive.npz").as_uri()),
        lambda: pneumonia_mnist(zipped(tmp_path / "empty.zip", {})),
    ):
        with pytest.raises(SettingError, match=r"needs sms_spam\.npz, which cannot be downloaded") as caught:
            downloaded("sms_spam", caches, source)
        assert str(caches) in str(caught.value)
        assert "x_train, x_test (N,) texts, y_train, y_test (1: spam)" in str(caught.value)
    assert not caches.exists()


def test_what_was_fetched_is_kept(caches: Path, tmp_path: Path) -> None:
    address = zipped(tmp_path / "sms.zip", {"SMSSpamCollection": messages(), "readme": b""})
    path = downloaded("sms_spam", caches, lambda: sms_spam(address))
    assert [found.name for found in caches.iterdir()] == ["sms_spam.npz"]
    (tmp_path / "sms.zip").unlink()
    assert downloaded("sms_spam", caches, lambda: sms_spam(address)) == path == data_file("sms_spam")
    assert find_task("sms_spam").class_names == ("ham", "spam")


def test_every_task_with_a_source_says_what_its_file_holds() -> None:
    assert SOURCES.keys() == ARRAYS.keys()


def test_messages_are_divided_without_splitting_copies(tmp_path: Path) -> None:
    arrays = sms_spam(zipped(tmp_path / "sms.zip", {"SMSSpamCollection": messages()}))
    assert len(arrays["x_train"]) + len(arrays["x_test"]) == 62
    assert not set(arrays["x_train"].tolist()) & set(arrays["x_test"].tolist())
    assert arrays["y_test"].sum() == 2
    assert all(("prize" in text) == label for text, label in zip(arrays["x_test"], arrays["y_test"], strict=True))
    assert "prize number 0\twon" in {*arrays["x_train"].tolist(), *arrays["x_test"].tolist()}


def test_hospitals_are_read_with_their_gaps(tmp_path: Path) -> None:
    patients = "\n".join(f"{age},1,?,120,0,0,0,150,0,1.5,1,?,3,{age % 3}" for age in range(30, 60)).encode()
    arrays = heart_disease(zipped(tmp_path / "h.zip", {f"processed.{name}.data": patients for name in HOSPITALS}))
    assert arrays["x_train"].shape == (96, 13)
    assert np.isnan(arrays["x_train"]).mean(axis=0).tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    assert np.array_equal(arrays["y_test"], arrays["x_test"][:, 0] % 3 > 0)
    assert np.bincount(np.concatenate([arrays["client_train"], arrays["client_test"]])).tolist() == [30] * 4
    np.savez(tmp_path / "heart_disease.npz", **arrays)
    assert find_task("heart_disease", tmp_path).group_names == HOSPITALS


def test_fraud_is_kept_whole_among_a_part_of_the_rest() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20_000, 3)).astype(np.float32), np.zeros(20_000, np.int64)
    y[:100] = 1
    x[1], x[500] = x[0], x[600]
    arrays = creditcard_fraud(lambda: (x, y))
    labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    assert labels.sum() == 99
    assert labels.mean() == pytest.approx(0.018, abs=1e-3)
    assert arrays["y_test"].sum() == 20


def test_x_rays_keep_their_own_division(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sides = {
        f"{side}_{what}": array
        for side, count in (("train", 6), ("val", 2), ("test", 3))
        for what, array in (
            ("images", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)),
            ("labels", np.arange(count, dtype=np.uint8)[:, None] % 2),
        )
    }
    np.savez(tmp_path / "published.npz", **sides)
    arrays = pneumonia_mnist((tmp_path / "published.npz").as_uri())
    assert np.array_equal(arrays["x_test"], sides["test_images"])
    assert arrays["y_train"].tolist() == [0, 1] * 3


def picture(width: int, height: int, color: int) -> bytes:
    return f"P6\n{width} {height}\n255\n".encode() + bytes([color, 10, 32]) * (width * height)


def test_signs_are_read_with_their_tracks(tmp_path: Path) -> None:
    folder = "GTSRB/Final_Training/Images"
    frames = {
        f"{folder}/{sign:05}/{track:05}_{frame:05}.ppm": picture(40 + frame, 50, sign)
        for sign in (0, 14)
        for track in (0, 1)
        for frame in range(6)
    }
    zipped(tmp_path / "GTSRB_Final_Training_Images.zip", frames | {f"{folder}/00000/GT-00000.csv": b""})
    tests = {f"GTSRB/Final_Test/Images/{number:05}.ppm": picture(16, 16, 200 + number) for number in range(4)}
    zipped(tmp_path / "GTSRB_Final_Test_Images.zip", tests)
    table = io.StringIO()
    out = csv.writer(table, delimiter=";")
    out.writerows([("Filename", "Width", "ClassId"), *((f"{number:05}.ppm", 16, number) for number in range(4))])
    zipped(tmp_path / "GTSRB_Final_Test_GT.zip", {"GT-final_test.csv": table.getvalue().encode()})
    arrays = gtsrb(tmp_path.as_uri())
    assert arrays["track_train"].tolist() == [0, 0, 1, 1, 14000, 14000, 14001, 14001]
    assert arrays["y_train"].tolist() == [0] * 4 + [14] * 4
    assert arrays["x_train"].shape == (8, 32, 32, 3)
    assert arrays["x_train"][5, 0, 0].tolist() == [14, 10, 32]
    assert arrays["x_test"][:, 9, 9, 0].tolist() == [200, 202]
    assert arrays["y_test"].tolist() == [0, 2]


def test_addresses_are_well_formed() -> None:
    for function in (sms_spam, heart_disease, pneumonia_mnist, gtsrb):
        (address,) = function.__defaults__ or ()
        assert urllib.request.Request(address).type == "https"


@pytest.mark.parametrize("name", ["mnist", "cifar10", "creditcard_fraud"])
def test_openml_is_asked_in_its_own_terms(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the network: the call gets as far as asking for an address."""
    asked: list[str] = []

    def unreachable(request: urllib.request.Request, *_: object, **__: object) -> None:
        asked.append(request.full_url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", unreachable)
    with pytest.raises(SettingError, match=r"URLError: .*no network"):
        downloaded(name, tmp_path)
    assert all("openml.org" in address for address in asked)
    assert asked
    assert not list(tmp_path.iterdir())
