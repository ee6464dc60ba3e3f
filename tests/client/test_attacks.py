"""That each attack does what its paper says, and harms a plain mean."""

import numpy as np
import pytest
from hawthorn.client.attacks import (
    Trigger,
    alie,
    backdoor,
    gaussian,
    ipm,
    label_flip,
    model_replacement,
    sign_flip,
    targeted_flip,
)
from hawthorn.client.attacks.colluding import largest_hidden_z
from hawthorn.client.tasks import Examples
from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import ATTACKS
from hypothesis import given
from hypothesis import strategies as st

KINDS = {name: ATTACKS[name].kind for name in ATTACKS}
WITH_OPTIONS = {"alie": {"z": 1.5}, "model_replacement": {"boost": 4.0}}

rng = np.random.default_rng(7)
DIRECTION = rng.normal(size=50)
HONEST = DIRECTION + 0.3 * rng.normal(size=(7, 50))
OWN = DIRECTION + 0.3 * rng.normal(size=(3, 50))


def attacked(name: str) -> np.ndarray:
    """The three hostile rows next to seven honest ones."""
    subject = {"honest": HONEST, "own": OWN}[KINDS[name]]
    return ATTACKS[name](subject, f=3, **WITH_OPTIONS.get(name, {}))


UPDATES = sorted(name for name, kind in KINDS.items() if kind != "data")
DATA = sorted(name for name, kind in KINDS.items() if kind == "data")


def test_every_attack_is_registered_with_its_kind() -> None:
    assert KINDS == {
        "label_flip": "data",
        "targeted_flip": "data",
        "backdoor": "data",
        "sign_flip": "own",
        "gaussian": "own",
        "model_replacement": "own",
        "ipm": "honest",
        "alie": "honest",
    }


@pytest.mark.parametrize("name", UPDATES)
def test_update_attacks_give_a_finite_row_per_hostile_client_and_change_no_input(name: str) -> None:
    honest, own = HONEST.copy(), OWN.copy()
    rows = attacked(name)
    assert rows.shape == (3, 50)
    assert np.isfinite(rows).all()
    assert np.array_equal(rows, attacked(name))
    assert np.array_equal(honest, HONEST)
    assert np.array_equal(own, OWN)


@pytest.mark.parametrize("name", UPDATES)
def test_a_plain_mean_ends_farther_from_the_honest_one(name: str) -> None:
    """With three of ten hostile, and half as far again as three more honest clients would make it."""
    mean = HONEST.mean(axis=0)

    def error(hostile: np.ndarray) -> float:
        return float(np.linalg.norm(np.concatenate([HONEST, hostile]).mean(axis=0) - mean))

    assert error(attacked(name)) > 1.5 * error(OWN)


@pytest.mark.parametrize("name", DATA)
def test_data_attacks_change_copies_only_and_the_same_way_twice(name: str, ten_images: Examples) -> None:
    x, y = ten_images.x.copy(), ten_images.y.copy()
    poisoned, again = ATTACKS[name](ten_images), ATTACKS[name](ten_images)
    assert len(poisoned) == len(ten_images)
    assert poisoned.classes == 10
    assert np.array_equal(poisoned.x, again.x)
    assert np.array_equal(poisoned.y, again.y)
    assert not np.array_equal(poisoned.y, y)
    assert np.array_equal(ten_images.x, x)
    assert np.array_equal(ten_images.y, y)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_option_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="has no option 'strenth'"):
        ATTACKS[name](OWN, strenth=1)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_names_its_source(name: str) -> None:
    assert "https://arxiv.org/abs/" in str(ATTACKS[name].__doc__)


def test_sign_flip_goes_uphill() -> None:
    np.testing.assert_array_equal(sign_flip(OWN), -OWN)
    np.testing.assert_array_equal(sign_flip(HONEST, 2, scale=3.0), -3 * HONEST[:2])


def test_gaussian_noise_has_the_deviation_asked_for_and_no_direction() -> None:
    own = np.tile(rng.normal(size=20_000), (2, 1)) * [[1.0], [5.0]]
    np.testing.assert_allclose(gaussian(own, sigma=200.0).std(axis=1), 200, rtol=0.03)
    np.testing.assert_allclose(gaussian(own, scale=10.0).std(axis=1), [10, 50], rtol=0.03)
    noise = gaussian(own, sigma=1.0)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05
    assert abs(np.corrcoef(noise[0], own[0])[0, 1]) < 0.05
    assert not np.array_equal(noise, gaussian(own, sigma=1.0, rng=np.random.default_rng(1)))


def test_model_replacement_carries_the_attackers_model_through_the_mean() -> None:
    """The law of the paper: n clients, one hostile, honest ones near convergence (updates about zero)."""
    wanted = rng.normal(size=(1, 50))
    sent = model_replacement(wanted, boost=10.0)
    mean = np.concatenate([sent, np.zeros((9, 50))]).mean(axis=0)
    np.testing.assert_allclose(mean, wanted[0])


def test_model_replacement_takes_its_boost_from_all_rows_or_asks_for_it() -> None:
    np.testing.assert_allclose(model_replacement(np.ones((10, 2)), 4), np.full((4, 2), 2.5))
    with pytest.raises(SettingError, match="boost=clients / hostile"):
        model_replacement(np.ones((3, 2)))
    with pytest.raises(SettingError, match="boost=clients / hostile"):
        model_replacement(np.ones((3, 2)), 3)


@given(epsilon=st.floats(0.01, 100), f=st.integers(1, 6))
def test_ipm_makes_the_inner_product_negative_beyond_h_over_f(epsilon: float, f: int) -> None:
    mean = HONEST.mean(axis=0)
    product = np.concatenate([HONEST, ipm(HONEST, f, epsilon=epsilon)]).mean(axis=0) @ mean
    # (h - f epsilon) / n times |mean|^2, by the definition.
    np.testing.assert_allclose(product, (7 - f * epsilon) / (7 + f) * (mean @ mean), rtol=1e-9, atol=1e-9)


def test_alie_lies_z_deviations_below_the_mean_in_every_coordinate() -> None:
    lies = alie(HONEST, 3, z=1.5)
    np.testing.assert_allclose((HONEST.mean(axis=0) - lies[0]) / HONEST.std(axis=0), 1.5)
    assert np.array_equal(lies[0], lies[2])
    np.testing.assert_array_equal(alie(np.ones((1, 4)), 2, z=9.0), np.ones((2, 4)))
    assert alie(HONEST, 0).shape == (0, 50)


@pytest.mark.parametrize(
    ("n", "f", "z"),
    # By hand: s = floor(n / 2 + 1) - f, and the quantile of (n - f - s) / (n - f) from a table of the normal law.
    [(50, 12, 0.336), (50, 24, 1.426), (10, 3, 0.180), (25, 5, 0.253), (100, 20, 0.285)],
)
def test_the_z_of_the_paper(n: int, f: int, z: float) -> None:
    assert largest_hidden_z(n, f) == pytest.approx(z, abs=2e-3)


@pytest.mark.parametrize(("h", "f"), [(8, 2), (9, 1), (4, 6), (3, 6)])
def test_alie_says_so_where_the_papers_z_is_no_attack(h: int, f: int) -> None:
    with pytest.raises(SettingError, match=r"alie\(z=1.5\)"):
        alie(np.ones((h, 2)), f)


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
