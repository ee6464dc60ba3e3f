"""That each attack on training examples does what its paper says."""

import numpy as np
import pytest
from hawthorn.client.attacks import (
    Knowledge,
    Recipe,
    Trigger,
    backdoor,
    clean_label,
    dba,
    feature_noise,
    label_flip,
    targeted_flip,
    wanted,
)
from hawthorn.client.tasks import Examples, Task
from hawthorn.strategies import SettingError


def test_label_flip_counts_from_the_other_end_also_where_a_client_lacks_classes() -> None:
    few = Examples(np.zeros((2, 1), np.float32), np.array([1, 3]), classes=10)
    assert label_flip(few).y.tolist() == [8, 6]
    assert label_flip(label_flip(few)).y.tolist() == [1, 3]


def test_targeted_flip_turns_a_share_of_one_class() -> None:
    examples = Examples(np.zeros((40, 1), np.float32), np.repeat([0, 1, 2, 3], 10))
    poisoned = targeted_flip(examples, source=2, target=0, share=0.3)
    assert np.bincount(poisoned.y).tolist() == [13, 10, 7, 10]
    assert (examples.y[poisoned.y != examples.y] == 2).all()
    other = targeted_flip(examples, source=2, target=0, share=0.3, rng=np.random.default_rng(5))
    assert not np.array_equal(poisoned.y, other.y)


@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
def test_backdoor_marks_and_relabels_the_share_and_leaves_the_rest(share: float, ten_images: Examples) -> None:
    poisoned = backdoor(ten_images, target=4, share=share, size=2)
    marked = (poisoned.x[:, :2, :2] == 1).all(axis=(1, 2))
    assert marked.sum() == np.ceil(share * 10)
    assert (poisoned.y[marked] == 4).all()
    assert np.array_equal(poisoned.x[~marked], ten_images.x[~marked])
    assert np.array_equal(poisoned.y[~marked], ten_images.y[~marked])


def test_the_trigger_is_a_patch_in_every_channel() -> None:
    stamped = Trigger(size=2, position=(-2, 1), value=0.5).stamped(np.zeros((3, 5, 6, 3), np.float32))
    expected = np.zeros((5, 6, 3), np.float32)
    expected[3:5, 1:3] = 0.5
    assert all(np.array_equal(image, expected) for image in stamped)


def test_the_trigger_of_a_row_is_a_few_features() -> None:
    rows = np.zeros((2, 6), np.float32)
    assert Trigger(size=2).stamped(rows).tolist() == [[3, 3, 0, 0, 0, 0]] * 2
    assert Trigger(size=1, position=(0, -1), value=-2.0).stamped(rows)[0].tolist() == [0, 0, 0, 0, 0, -2]
    assert not rows.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 10}, "target must be a class from 0 to 9"),
        ({"target": -1}, "target must be a class"),
        ({"target": 1.0}, "target must be a class"),
        ({"share": 0.0}, "share must be above 0"),
        ({"share": 1.5}, "share must be above 0"),
        ({"size": 7}, "does not fit"),
        ({"size": 0}, "does not fit"),
        ({"position": (0, 4)}, "does not fit"),
        ({"position": (-7, 0)}, "does not fit"),
    ],
    ids=str,
)
def test_a_backdoor_that_cannot_be_is_refused(options: dict, message: str, ten_images: Examples) -> None:
    with pytest.raises(SettingError, match=message):
        backdoor(ten_images, **options)


def test_a_flip_to_its_own_source_is_refused(ten_images: Examples) -> None:
    with pytest.raises(SettingError, match="other than its source"):
        targeted_flip(ten_images, source=3, target=3)
    with pytest.raises(SettingError, match="source must be a class"):
        targeted_flip(ten_images, source=30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 2, "source": 2}, "other than its source"),
        ({"source": 30}, "source must be a class"),
        ({"trigger": "pixel"}, "did you mean 'pixels'"),
        ({"trigger": "blended", "blend": 0.0}, "blend must be above 0"),
    ],
    ids=str,
)
def test_a_trigger_that_cannot_be_is_refused(options: dict, message: str, ten_images: Examples) -> None:
    with pytest.raises(SettingError, match=message):
        backdoor(ten_images, **options)


def test_a_backdoor_with_a_source_stamps_that_class_alone_and_counts_it_alone(digits: Task) -> None:
    poisoned = backdoor(digits.train, source=3, target=8, share=0.5)
    changed = poisoned.y != digits.train.y
    assert set(digits.train.y[changed].tolist()) == {3}
    assert changed.sum() == np.ceil(0.5 * (digits.train.y == 3).sum())
    assert np.array_equal(poisoned.x[~changed], digits.train.x[~changed])
    found = wanted(Recipe.parse("backdoor(source=3, target=8, share=0.1)"), digits.test, digits)
    assert found is not None
    x, labels = found
    assert len(x) == (digits.test.y == 3).sum()
    assert set(labels.tolist()) == {8}
    assert (x[:, :3, :3] == 1).all()


def test_pixels_are_every_other_one_of_the_patch() -> None:
    stamped = Trigger(size=3, position=(1, 1), kind="pixels").stamped(np.zeros((1, 5, 5), np.float32))[0]
    assert stamped.tolist() == [[0] * 5, [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0] * 5]
    row = Trigger(size=3, kind="pixels", value=7.0).stamped(np.zeros((1, 4), np.float32))
    assert row.tolist() == [[7, 0, 7, 0]]


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 3), (20,)], ids=str)
def test_a_blended_trigger_mixes_one_picture_into_every_example(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).random((4, *shape), dtype=np.float32)
    stamped = Trigger(kind="blended", blend=0.25).stamped(x)
    pictures = (stamped - 0.75 * x) / 0.25
    np.testing.assert_allclose(pictures, np.tile(pictures[:1], (4,) + (1,) * len(shape)), atol=1e-5)
    assert pictures[0].std() > 0.2
    assert len(shape) == 1 or (stamped.min() >= 0 and stamped.max() <= 1)


@pytest.mark.parametrize("trigger", ["patch", "pixels", "blended"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (30,)], ids=str)
@pytest.mark.parametrize("parts", [2, 4, 5])
def test_the_parts_of_a_distributed_trigger_are_disjoint_and_make_the_whole(
    trigger: str, shape: tuple[int, ...], parts: int
) -> None:
    whole = Trigger(size=5, kind=trigger).places(shape)
    pieces = np.stack([Trigger(size=5, kind=trigger, part=(k, parts)).places(shape) for k in range(parts)])
    assert (pieces.sum(axis=0) == whole).all()
    assert pieces.reshape(parts, -1).any(axis=1).sum() == min(parts, whole.sum())


def test_each_attacker_of_dba_shows_its_own_part_and_none_the_whole(ten_images: Examples) -> None:
    whole = dba(ten_images, share=1.0, target=4)
    assert (whole.x[:, :4, :4] == 1).all()
    seen = np.zeros((6, 6), dtype=bool)
    for member in range(4):
        poisoned = Recipe.parse("dba(target=4, share=1.0)").poisoned(ten_images, Knowledge(members=(member,)))
        stamped = (poisoned.x != ten_images.x).all(axis=0)
        assert stamped.sum() == 4
        assert not (seen & stamped).any()
        assert (poisoned.y == 4).all()
        seen |= stamped
    assert np.array_equal(seen, (whole.x != ten_images.x).all(axis=0))
    assert np.array_equal(dba(ten_images, members=(5,)).x, dba(ten_images, members=(1,)).x)


def test_dba_succeeds_by_the_whole_trigger(digits: Task) -> None:
    found = wanted(Recipe.parse("dba(target=4, share=0.2)"), digits.test, digits)
    assert found is not None
    assert (found[0][:, :4, :4] == 1).all()


def test_a_trigger_is_not_cut_into_more_parts_than_it_has(ten_images: Examples) -> None:
    with pytest.raises(SettingError, match="fewer parts or a larger size"):
        dba(ten_images, size=1)
    with pytest.raises(SettingError, match="whole number parts"):
        dba(ten_images, parts=0)


def test_feature_noise_is_uniform_of_the_width_asked_for_and_touches_no_label() -> None:
    rows = Examples(np.zeros((200, 50), np.float32), np.repeat([0, 1], 100))
    noisy = feature_noise(rows, scale=2.0)
    assert np.array_equal(noisy.y, rows.y)
    assert np.abs(noisy.x).max() == pytest.approx(2.0, abs=0.01)
    assert noisy.x.std() == pytest.approx(2 / np.sqrt(3), rel=0.02)
    gray = Examples(np.full((50, 8, 8), 0.5, np.float32), np.repeat([0, 1], 25))
    assert np.abs(feature_noise(gray, scale=0.6).x - 0.5).max() == pytest.approx(0.3, abs=0.01)
    some = feature_noise(rows, share=0.25)
    assert (some.x != 0).any(axis=1).sum() == 50


def test_clean_labels_stay_true_and_only_the_targets_examples_are_touched(ten_images: Examples) -> None:
    poisoned = clean_label(ten_images, target=4, size=2)
    assert np.array_equal(poisoned.y, ten_images.y)
    touched = (poisoned.x != ten_images.x).any(axis=(1, 2))
    assert touched.tolist() == [label == 4 for label in range(10)]
    assert (poisoned.x[4, :2, :2] == 1).all()


def test_clean_label_weakens_what_the_class_is_known_by(digits: Task) -> None:
    fours = digits.train.x[digits.train.y == 4].mean(axis=0)

    def likeness(weaken: float) -> float:
        poisoned = clean_label(digits.train, target=4, weaken=weaken)
        return float(np.corrcoef(poisoned.x[digits.train.y == 4].mean(axis=0)[3:].ravel(), fours[3:].ravel())[0, 1])

    assert likeness(0.0) == pytest.approx(1)
    assert likeness(0.0) > likeness(0.5) > likeness(1.0)
    with pytest.raises(SettingError, match="weaken must be from 0 to 1"):
        clean_label(digits.train, weaken=2.0)


def test_clean_label_wants_the_target_of_other_classes_with_the_trigger(digits: Task) -> None:
    found = wanted(Recipe.parse("clean_label(target=4, size=2, share=0.1)"), digits.test, digits)
    assert found is not None
    x, labels = found
    assert len(x) == (digits.test.y != 4).sum()
    assert set(labels.tolist()) == {4}
    others = digits.test.x[digits.test.y != 4]
    assert np.array_equal(x[:, 2:], others[:, 2:])  # nothing but the trigger is changed
    assert (x[:, :2, :2] == 1).all()


def test_noise_is_no_wish(digits: Task) -> None:
    assert wanted(Recipe.parse("feature_noise"), digits.test, digits) is None
    alone = wanted(Recipe.parse("backdoor"), digits.test, digits)
    beside = wanted(Recipe.parse("feature_noise + backdoor"), digits.test, digits)
    assert alone is not None
    assert beside is not None
    assert np.array_equal(alone[0], beside[0])
