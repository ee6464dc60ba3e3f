"""Every mistake that `definitions.md` has seen elsewhere: the test that would catch it, here or where it is named.

Those with a test of their own here are made on purpose, beside the rule that does not make them.
"""

import tracemalloc
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from hawthorn.scripts.catalogue import LAWS as TOLD
from hawthorn.strategies import Defense, Geometry, flame, foolsgold, geometric_median, krum, multi_krum, rlr
from numpy.testing import assert_allclose
from parts import LAWS, RULES, apply, every

HERE = Path(__file__).parent
TESTS = {
    # distances
    "inner products of whole models in float32": "test_distances_of_models_that_differ_little_are_not_rounded_away",
    "torch.cdist beyond 25 rows": "test_distances_of_tensors_beside_a_common_part_are_right_for_any_number_of_rows",
    "a common part of 1e6 times the spread": "test_distances_norms_and_cosines_are_those_of_brute_force",
    "one row 1e30 long": "test_a_long_row_keeps_its_direction_and_leaves_the_others_theirs",
    "selections that are not those of brute force": "test_krum_selects_the_row_that_brute_force_selects",
    "the first of the sorted distances taken for oneself": "test_the_nearest_of_a_row_is_not_itself_nor_is_a_duplicate",
    "squares that overflow float32": "test_squares_of_float32_do_not_overflow",
    # rules
    "example counts believed": "test_counts_weigh_metrics_only_and_are_capped",
    "example counts without a cap": "test_capped_claims_weigh_clients_where_that_is_asked_for",
    "the lower one of two middle values": "median of even n is the mean of the middle two",
    "nothing trimmed of few rows": "trimmed mean of n = 3 trims too",
    "the mean of an empty middle": "test_f_beyond_the_limit_names_the_limit",
    "the sum less its extremes": "trimmed mean beside 1e30",
    "mean around median taken for the trimmed mean": "mean around median is not the trimmed mean",
    "krum of n - f - 1 neighbors": "krum counts n - f - 2 others",
    "krum of distances": "krum squares distances",
    "krum of fourth powers": "test_krum_scored_otherwise_selects_other_rows",
    "krum of too few rows": "test_limits_are_the_published_ones",
    "multi-krum weighted by scores": "multi-krum averages n - f - 2 rows",
    "bulyan of rows selected at once": "bulyan selects anew each time",
    "bulyan of one row many times, or of wrong ones": "test_bulyan_with_rows_selected_otherwise_would_be_seen",
    "bulyan of one value more or less, or none left out": "test_bulyan_with_another_second_step_would_be_seen",
    "bulyan without a neighbor at the last": "test_bulyan_of_the_fewest_rows_ends_with_one_neighbor",
    "geometric median by weights multiplied up": "test_weights_multiplied_up_end_at_a_row_and_ours_do_not",
    "geometric median by a set of weights": "test_rows_as_far_from_the_center_count_each",
    "geometric median of each tensor": "test_a_median_per_tensor_is_another_one",
    "geometric median that starts at an axis": "test_a_rotation_of_all_rows_rotates_the_result",
    "mda that is not exact without telling": "test_mda_has_the_steps_to_be_exact_for_few_hostile_rows",
    "mda and smea of subsets that are not the least": "test_mda_and_smea_keep_what_is_least_of_all_subsets",
    "caf by one random power iteration": "test_caf_sees_the_direction_of_colluders_whatever_its_place",
    "caf of rows that are alike": "test_rows_that_are_alike_are_their_own_mean",
    "monna that trusts client 0": "test_nothing_stands_in_for_a_trusted_row_that_is_not_there",
    "clipping whose state is poisoned": "test_a_state_that_was_saved_goes_on_and_a_poisoned_one_is_refused",
    "clipping whose state is not finite": "test_nothing_but_finite_numbers_enters_the_state",
    "clipping that starts at a client": "clipping starts at the geometric median",
    "clipping that starts anew each round": "test_a_defense_starts_each_round_where_the_last_one_ended",
    "dnc of nobody": "dnc whose passes keep nobody keeps the model",
    "fltrust that averages where it trusts nobody": "fltrust that trusts nobody keeps the model",
    "foolsgold without pardon": "foolsgold pardons",
    "foolsgold whose largest cosines are of pardoned ones": "test_foolsgold_pardons_by_the_largest_cosines_of_all",
    "foolsgold of rows, not of sums": "foolsgold looks at sums",
    "foolsgold of nobody": "foolsgold of rows that are all alike keeps the model",
    "foolsgold by the order of arrival": "test_foolsgold_remembers_by_identity_not_by_order",
    "flame that clusters rows of the distances": "test_the_majority_is_what_hdbscan_finds",
    "flame clipped to the median of those admitted": "flame clips to the median of all rows",
    "flame that clips by the lengths of other rows": "test_flame_shortens_each_row_by_its_own_length",
    "flame with noise from nowhere": "test_flame_noise_is_of_the_stated_size_and_drawn_anew_in_each_round",
    "signguard of nobody": "test_the_set_of_rows_is_never_empty",
    "rlr that sums up values": "test_rlr_takes_votes_and_no_sizes",
    "standard deviations that one outlier widens": "test_one_huge_row_does_not_hide_another_one",
    "the same over rounds": "test_one_huge_row_hides_no_other_one",
    "history by the order of arrival": "test_state_is_by_identity_and_plain",
    # transforms
    "arc of another number of rows": "arc clips four of nine",
    "nnm without the row itself": "test_selections_are_least_though_rows_tie",
    "nnm that gathers n (n - f) d values": "test_mixing_makes_no_copy_of_the_updates",
    "bucketing without a permutation": "test_buckets_are_means_of_rows_in_a_random_order",
    "bucketing by a seed": "test_a_generator_draws_another_permutation_at_each_call_and_none_the_same_one",
    "bucketing that leaves rows out": "the last bucket holds what is left",
    "bucketing that divides f": "test_tolerance_is_that_of_the_rule_on_the_buckets",
    "an input that is modified": "test_the_input_is_not_modified_nor_handed_back",
    # coefficients
    "coefficients that hostile rows exceed": "test_hostile_rows_move_the_update_no_farther_than_proven",
}


@pytest.mark.parametrize("mistake", TESTS)
def test_the_test_that_would_catch_it_exists(mistake):
    written = "".join(
        path.read_text(encoding="utf-8")
        for folder in (HERE, HERE.parent / "flower")
        for path in folder.glob("*.py")
        if path != Path(__file__)
    )
    own = Path(__file__).read_text(encoding="utf-8")
    name = TESTS[mistake]
    assert f"def {name}(" in written + own or f'"{name}"' in written, "there is none of that name"


def test_the_laws_that_docs_tell_of_are_those_that_are_tested():
    assert set(TOLD) == LAWS


def expanded(rows):
    """Mistaken: |x|^2 + |y|^2 - 2 x y, in the rows' own dtype."""
    squares = (rows**2).sum(axis=1)
    return squares[:, None] + squares[None, :] - 2 * rows @ rows.T


def test_distances_of_models_that_differ_little_are_not_rounded_away():
    """Models of length 50 that differ by 1e-4: elsewhere 51 % of error, and the wrong winner in 18 of 20 rounds."""
    wrong = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        models = (rng.normal(size=2000) * 50 / np.sqrt(2000) + 1e-4 * rng.normal(size=(12, 2000))).astype(np.float32)
        exact = oracles.squared_distances(models)
        assert_allclose(Geometry.of(models).squared_distances, exact, rtol=1e-4)
        winner = int(np.argmin(oracles.krum_scores(models, 3)))
        assert krum.weights(Geometry.of(models), f=3)[winner] == 1.0
        others = np.where(np.eye(12, dtype=bool), np.inf, expanded(models))
        wrong += int(np.argmin(np.sort(others, axis=1)[:, :7].sum(axis=1))) != winner
    assert wrong >= 5, "made on purpose, the mistake shows"


@pytest.mark.parametrize("n", [25, 26, 40])
def test_distances_of_tensors_beside_a_common_part_are_right_for_any_number_of_rows(n):
    rng = np.random.default_rng(n)
    rows = torch.tensor(rng.normal(size=(n, 300)) * 1e-3 + 10 * rng.normal(size=300), dtype=torch.float32)
    exact = oracles.squared_distances(rows.numpy())
    assert_allclose(Geometry.of(rows).squared_distances, exact, rtol=1e-4)
    away = np.abs(torch.cdist(rows, rows).numpy() ** 2 - exact)[~np.eye(n, dtype=bool)]
    assert n <= 25 or away.max() > 0.1 * exact.max(), "made on purpose, the mistake shows"


def test_the_nearest_of_a_row_is_not_itself_nor_is_a_duplicate():
    rows = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2], [3.0, 4.0]])
    assert (Geometry.of(rows).nearest_first()[:3, :2] == 0).all()
    assert (Geometry.of(rows).nearest_first()[3] > 0).all()


def test_squares_of_float32_do_not_overflow():
    rows = np.array([[2e19, 0.0], [0.0, 2e19], [1e19, 1e19], [3e38, -3e38], [2e19, 1e18]], dtype=np.float32)
    exact = oracles.squared_distances(rows)
    assert np.isfinite(exact).all()
    assert_allclose(Geometry.of(rows).squared_distances, exact, rtol=1e-6)
    assert np.isfinite(krum(rows, f=1)).all()


@pytest.mark.parametrize(
    ("power", "more"), [(1, 0), (4, 0), (2, 1)], ids=["not squared", "fourth power", "n - f - 1 neighbors"]
)
def test_krum_scored_otherwise_selects_other_rows(power, more):
    differs = 0
    for seed in range(60):
        rows = np.random.default_rng(seed).standard_t(3, size=(15, 4))
        away = np.sort(oracles.distances(rows), axis=1)[:, 1:]
        mistaken = (away[:, : 15 - 4 - 2 + more] ** power).sum(axis=1)
        winner = int(np.argmin(oracles.krum_scores(rows, 4)))
        assert krum.weights(Geometry.of(rows), f=4)[winner] == 1.0
        assert multi_krum.weights(Geometry.of(rows), f=4, m=1)[winner] == 1.0
        differs += int(np.argmin(mistaken)) != winner
    assert differs >= 3


def test_weights_multiplied_up_end_at_a_row_and_ours_do_not():
    rows = np.random.default_rng(1).normal(size=(9, 3))
    best = oracles.geometric_median(rows)
    weights, center = np.ones(9) / 9, rows.mean(axis=0)
    for _ in range(500):  # mistaken: each step weighs by the last step's weights, too
        weights = weights / np.maximum(oracles.lengths(rows - center), 1e-9)
        weights /= weights.sum()
        center = weights @ rows
    assert oracles.lengths(rows - center).min() < 1e-6
    assert oracles.lengths(rows - best).min() > 0.1
    assert_allclose(geometric_median(rows), best, atol=1e-6)


def test_rows_as_far_from_the_center_count_each():
    """A set would count five corners of one distance once."""
    rows = np.vstack([np.tile([1.0, 0.0], (3, 1)), [[0.0, 1.0], [0.0, -1.0], [-1.0, 0.5], [-1.0, -0.5]]])
    found = geometric_median(rows)
    assert_allclose(found, oracles.geometric_median(rows), atol=1e-6)
    assert np.abs(found - oracles.geometric_median(np.unique(rows, axis=0))).max() > 0.1


def test_a_median_per_tensor_is_another_one():
    rows = np.random.default_rng(2).standard_t(2, size=(9, 6))
    parts = np.concatenate([geometric_median(rows[:, :3]), geometric_median(rows[:, 3:])])
    assert np.abs(geometric_median(rows) - parts).max() > 0.01
    outcome = Defense("geometric_median", f=2, scores=(), policy="none")(rows, bounds=(0, 3, 6))
    assert_allclose(outcome.update, oracles.geometric_median(rows), atol=1e-6)


def foolsgold_weights(sums, *, of_pardoned):
    """The definition; `of_pardoned` is the mistake: a largest cosine that is looked up again while others shrink."""
    n, cosines = len(sums), oracles.cosines(sums)
    np.fill_diagonal(cosines, 0.0)
    first = np.maximum(cosines.max(axis=1), 0.0)
    for i in range(n):
        for j in range(n):
            largest = np.maximum(cosines.max(axis=1), 0.0) if of_pardoned else first
            if i != j and largest[i] < largest[j]:
                cosines[i, j] *= largest[i] / largest[j]
    weights = np.clip(1 - cosines.max(axis=1), 0.0, 1.0)
    weights /= weights.max()
    weights[weights == 1.0] = 0.99
    with np.errstate(divide="ignore"):
        weights = np.clip(np.log(weights / (1 - weights)) + 0.5, 0.0, 1.0)
    return weights / weights.sum()


def test_foolsgold_pardons_by_the_largest_cosines_of_all():
    differs = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(7, 5)) + 0.7
        rows[5:] = rows[4] + 0.05 * rng.normal(size=(2, 5))
        found = foolsgold.weights(Geometry.of(rows))
        assert_allclose(found, foolsgold_weights(rows, of_pardoned=False), atol=1e-9)
        differs += np.abs(found - foolsgold_weights(rows, of_pardoned=True)).max() > 1e-3
    assert differs >= 3


def test_flame_shortens_each_row_by_its_own_length():
    """The first row is not admitted: whoever counts admitted rows from 0 shortens each by the length of another."""
    rows = np.array([[-9.0, 1.0], [1.0, 0.0], [8.0, 0.8], [2.0, -0.2], [4.0, 0.1]])
    lengths = oracles.lengths(rows)
    factors = np.minimum(1.0, np.median(lengths) / lengths)
    admitted = flame.weights(Geometry.of(rows), f=1) > 0
    assert admitted.tolist() == [False, True, True, False, True]
    found = flame(rows, f=1, noise=0.0)
    assert_allclose(found, (rows * factors[:, None])[admitted].mean(axis=0))
    assert np.abs(found - (rows[admitted] * factors[:3, None]).mean(axis=0)).max() > 0.1


@pytest.mark.parametrize("recipe", ["nnm | trimmed_mean", "nnm | krum", "arc | geometric_median", "bucketing | median"])
def test_mixing_makes_no_copy_of_the_updates(recipe):
    rows = np.random.default_rng(3).normal(size=(20, 300_000)).astype(np.float32)
    defense = Defense.parse(recipe, f=2)
    defense(rows[:, :2000])  # what is compiled and cached is made now
    tracemalloc.start()
    defense(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < rows.nbytes / 2, "n (n - f) d values would be 18 times the updates"


@every(RULES)
@pytest.mark.parametrize("n", [7, 8, 12])
def test_rows_of_the_least_numbers_there_are_have_an_update(part, n):
    """A half of them is zero, so that a median length made of halves leaves nobody among the usual rows."""
    for seed in range(5):
        rows = np.random.default_rng(seed).integers(-1, 2, size=(n, 3)) * np.finfo(np.float64).smallest_subnormal
        found = apply(part, rows, 1)
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 2 * np.abs(rows).max()


def test_rlr_of_numbers_as_large_as_there_are_is_their_mean():
    largest = np.finfo(np.float64).max
    rows = np.resize([largest, -largest], 17)[:, None]
    assert_allclose(rlr(rows, f=1, theta=1), largest / 17, rtol=1e-12)
