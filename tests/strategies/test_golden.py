"""Values worked by hand: small enough for a pencil, chosen so that the mistakes known elsewhere change them."""

import golden_columns
import golden_geometric
import golden_rounds
import numpy as np
import pytest
from hawthorn.strategies import (
    Defense,
    Geometry,
    arc,
    bucketing,
    centered_clipping,
    clip,
    geometric_median,
    krum,
    mean,
    median,
    multi_krum,
    nnm,
    shortened_mean,
)
from hawthorn.strategies import trimmed_mean as trimmed
from hawthorn.strategies.contract import RULES, TRANSFORMS
from numpy.testing import assert_allclose, assert_array_equal


def line(*values):
    """Rows of one number each."""
    return np.array(values, dtype=np.float64)[:, None]


GOLDEN = [
    ("mean", mean, line(1, 2, 6), {}, [3.0]),
    ("mean of columns", mean, np.array([[1.0, 2.0], [3.0, 6.0]]), {}, [2.0, 4.0]),
    ("a row counts as twice the median length", shortened_mean, line(1, -2, 3, 99), {}, [7 / 4]),
    ("a row counts as half the median length", shortened_mean, line(1, -2, 3), {"times": 0.5}, [1 / 3]),
    ("median of odd n", median, line(9, 1, 4), {}, [4.0]),
    ("median of even n is the mean of the middle two", median, line(1, 2, 4, 1000), {}, [3.0]),
    ("median of columns", median, np.array([[1.0, 9.0], [5.0, 2.0], [3.0, 4.0]]), {}, [3.0, 4.0]),
    ("trimmed mean", trimmed, line(-100, 1, 2, 6, 50), {"f": 1}, [3.0]),
    ("trimmed mean of n = 3 trims too", trimmed, line(-100, 2, 50), {"f": 1}, [2.0]),
    ("trimmed mean beside 1e30", trimmed, line(-1e30, 1, 2, 6, 1e30), {"f": 1}, [3.0]),
    ("trimmed mean of f = 0 is the mean", trimmed, line(1, 2, 6), {"f": 0}, [3.0]),
    # two nearest others: 0: 1 + 4, 1: 1 + 1, 2: 1 + 4, 4: 4 + 9; with three of them, 2 would win: 1 + 4 + 4
    ("krum counts n - f - 2 others", krum, line(0, 1, 2, 4, 50), {"f": 1}, [1.0]),
    # squared: 0: 0 + 9, 3: 2.56 + 9, 4.6: 2.56 + 2.56; unsquared, 0 would win: 0 + 3 against 1.6 + 1.6
    ("krum squares distances", krum, line(0, 0, 3, 4.6, 6.2), {"f": 1}, [4.6]),
    # scores 7.25, 3.25, 4.5, 11.25
    ("multi-krum averages n - f - 2 rows", multi_krum, line(0, 1, 2.5, 4, 50), {"f": 1}, [1.75]),
    ("multi-krum of one row is krum", multi_krum, line(0, 1, 2.5, 4, 50), {"f": 1, "m": 1}, [1.0]),
    ("multi-krum of three rows", multi_krum, line(0, 1, 2.5, 4, 50), {"f": 1, "m": 3}, [3.5 / 3]),
    ("geometric median on a line is the median", geometric_median, line(0, 1, 7), {}, [1.0]),
    (
        "geometric median of a square is its center",
        geometric_median,
        np.array([[0.0, 0], [2, 0], [0, 2], [2, 2]]),
        {},
        [1, 1],
    ),
    # Fermat's point of the right isosceles triangle: t = (3 - sqrt 3) / 6
    (
        "geometric median of a triangle",
        geometric_median,
        np.array([[0.0, 0], [1, 0], [0, 1]]),
        {},
        [(3 - 3**0.5) / 6] * 2,
    ),
    (
        "geometric median at a corner wider than 120 degrees",
        geometric_median,
        np.array([[-1.0, 0], [1, 0], [0, 0.1]]),
        {},
        [0, 0.1],
    ),
    (
        "geometric median of a majority is the majority",
        geometric_median,
        np.array([[9.0, 9], [1, 2], [1, 2]]),
        {},
        [1.0, 2.0],
    ),
    # starts on a row that is not the median, and must leave it
    (
        "geometric median leaves a row",
        geometric_median,
        np.array([[0.0, 0], [1, 0], [-1, 0], [0, 9], [0, 3]]),
        {},
        None,
    ),
    # from 0, each difference shortened to 1; then from 1: 0, 1 and 1
    ("one step of clipping", centered_clipping, line(1, 2, 9), {"tau": 1.0, "iterations": 1, "center": [0.0]}, [1.0]),
    (
        "two steps of clipping",
        centered_clipping,
        line(1, 2, 9),
        {"tau": 1.0, "iterations": 2, "center": [0.0]},
        [5 / 3],
    ),
    # the median distance from 0 is 2: 1 + 2 + 2
    ("tau is the median distance", centered_clipping, line(1, 2, 9), {"iterations": 1, "center": [0.0]}, [5 / 3]),
    ("tau that clips nothing gives the mean", centered_clipping, line(1, 2, 9), {"tau": 1e9, "iterations": 1}, [4.0]),
    # from the median 1, the distances 1, 0 and 6: the two ends pull alike
    ("clipping starts at the geometric median", centered_clipping, line(0, 1, 7), {}, [1.0]),
    ("a bucket of all rows is their mean", bucketing, line(1, 2, 6), {"s": 3}, line(3)),
    ("buckets of one row are the rows", bucketing, line(6, 1, 2), {"s": 1}, line(6, 1, 2)),
    ("the last bucket holds what is left", bucketing, line(3, 3, 3, 3, 3), {"s": 2}, line(3, 3, 3)),
    ("clip", clip, np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]), {"radius": 1.0}, [[0.6, 0.8], [0.3, 0.4], [0, 0]]),
    # k = floor(2 * 1/5 * 4) = 1
    ("arc clips one of five", arc, line(1, -2, 3, 4, -90), {"f": 1}, line(1, -2, 3, 4, -4)),
    # k = floor(2 * 3/10 * 7) = 4
    ("arc clips four of ten", arc, line(*range(1, 11)), {"f": 3}, line(1, 2, 3, 4, 5, 6, 6, 6, 6, 6)),
    # k = 2 * 3/9 * 6 = 4 without rounding
    ("arc clips four of nine", arc, line(*range(1, 10)), {"f": 3}, line(1, 2, 3, 4, 5, 5, 5, 5, 5)),
    ("arc of f = 0 changes nothing", arc, line(1, 2, 3), {"f": 0}, line(1, 2, 3)),
    ("nnm averages n - f rows, the row included", nnm, line(0, 1, 2, 10), {"f": 1}, line(1, 1, 1, 13 / 3)),
    ("nnm of f = 0 is the mean", nnm, line(0, 1, 5), {"f": 0}, line(2, 2, 2)),
    *golden_columns.GOLDEN,
    *golden_geometric.GOLDEN,
    *golden_rounds.GOLDEN,
]


@pytest.mark.parametrize(
    ("part", "rows", "options", "expected"), [case[1:] for case in GOLDEN], ids=[case[0] for case in GOLDEN]
)
def test_by_hand(part, rows, options, expected):
    found = part(rows, **options)
    if expected is None:
        z = found
        sums = [np.linalg.norm(rows - center, axis=1).sum() for center in (z, rows[0], [0.0, 0.001], [0.001, 0.0])]
        assert sums[0] <= min(sums[1:]) + 1e-9
        return
    assert_allclose(found, np.asarray(expected, dtype=np.float64), rtol=0, atol=1e-9)


def test_every_rule_and_transform_of_the_first_release_is_worked_by_hand():
    worked = {case[1].name for case in GOLDEN}
    assert {"mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median", "clip", "arc", "nnm"} <= worked
    assert worked <= RULES.keys() | TRANSFORMS.keys()


def test_pipelines_by_hand():
    rows = line(0, 1, 2, 10)  # nnm: 1, 1, 1, 13/3
    run = {"scores": (), "policy": "none"}
    assert_allclose(Defense("mean", f=1, before=("nnm",), **run)(rows).update, [(3 + 13 / 3) / 4])
    assert_allclose(Defense("median", f=1, before=("nnm",), **run)(rows).update, [1.0])
    # k = floor(2 * 1/4 * 3) = 1: 0, 1, 2, 2; then the three nearest: 1, 1, 5/3, 5/3 (0 and 1, each 1 or 2 away)
    assert_allclose(Defense("trimmed_mean", f=1, before=("arc", "nnm"), **run)(rows).update, [4 / 3])
    assert_allclose(Defense("mean", f=1, before=("clip(radius=1.0)",), **run)(rows).update, [0.75])


def test_weights_by_hand():
    rows = line(0, 1, 2.5, 4, 50)
    geometry = Geometry.of(rows)
    assert_array_equal(krum.weights(geometry, f=1), [0, 1, 0, 0, 0])
    assert_array_equal(multi_krum.weights(geometry, f=1), [0, 0.5, 0.5, 0, 0])
    assert_allclose(mean.weights(geometry, f=0), [0.2] * 5)
    verdicts = Defense("multi_krum", f=1, before=("nnm",), scores=(), policy="none")(rows).verdicts
    # nnm of f = 1: {0, 1, 2.5, 4} for each of the four, {50, 4, 2.5, 1} for the last: four rows are one and the same
    assert_allclose([verdict.weight for verdict in verdicts], [0.25, 0.25, 0.25, 0.25, 0])


def test_geometry_by_hand():
    geometry = Geometry.of(np.array([[3.0, 4.0], [0.0, 0.0], [-6.0, -8.0]]))
    assert_array_equal(geometry.gram, [[25, 0, -50], [0, 0, 0], [-50, 0, 100]])
    assert_array_equal(geometry.squared_distances, [[0, 25, 225], [25, 0, 100], [225, 100, 0]])
    assert_array_equal(geometry.norms, [5, 0, 10])
    assert_allclose(geometry.cosines, [[1, 0, -1], [0, 0, 0], [-1, 0, 1]], atol=1e-15)


def test_coordinate_wise_rules_have_no_weights_per_client():
    for rule in (median, trimmed):
        with pytest.raises(ValueError, match="coordinate-wise"):
            rule.weights(Geometry.of(line(1, 2, 3)), f=1)
