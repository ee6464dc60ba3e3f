"""The scores of columns against plain loops, and what only they see."""

import itertools

import numpy as np
import oracles
import pytest
from hawthorn.strategies import Defense, Geometry, SettingError
from hawthorn.strategies.columns import Columns
from hawthorn.strategies.contract import SCORES
from matrices import matrix
from numpy.testing import assert_allclose, assert_array_equal
from parts import scored

BOUNDS = [0, 1, 1, 9, 40]


def signs(rows):
    """Value by value: how often the sign is not the one that more of the others have; nearer 1/2 if columns are few."""
    found = []
    chance = 0.5 / len(rows[0]) ** 0.5
    drawn = 0.03 / chance if chance > 0.03 else 1.0
    for i, row in enumerate(rows):
        against = counted = 0
        for column, value in enumerate(row):
            others = [other[column] for k, other in enumerate(rows) if k != i]
            balance = sum(other > 0 for other in others) - sum(other < 0 for other in others)
            if value != 0 and balance != 0:
                counted += 1
                against += (value > 0) != (balance > 0)
        found.append(0.5 + drawn * (against / counted - 0.5) if counted else 0.5)
    return found


def layers(rows, f, bounds):
    """Layer by layer: the logarithm of a row's distance to its neighbors over the median row's."""
    found = []
    for first, last in itertools.pairwise(bounds):
        between = [[oracles.length(row[first:last] - other[first:last]) ** 2 for other in rows] for row in rows]
        if not np.any(between):
            continue
        nearest = [
            sorted(value for k, value in enumerate(values) if k != i)[: max(1, len(rows) - f - 2)]
            for i, values in enumerate(between)
        ]
        away = np.sqrt([np.mean(values) for values in nearest])
        found.append(np.log(np.clip(away / np.median(away), 1e-12, 1e12)))
    return np.max(found, axis=0) if found else np.zeros(len(rows))


@pytest.mark.parametrize("case", ["plain", "lattice", "duplicates", "zeros", "huge", "offset"])
@pytest.mark.parametrize("n", [2, 3, 4, 9, 12])
def test_signs_are_those_of_the_loop_over_all_values(case, n):
    for d in (1, 40, 277, 278, 300):
        rows = matrix(case, 80, n, d)
        assert_allclose(scored(SCORES["signs"], rows), signs(rows), atol=1e-12)


@pytest.mark.parametrize("case", ["plain", "lattice", "huge", "offset"])
@pytest.mark.parametrize(("n", "f"), [(2, 0), (3, 1), (9, 2), (12, 3)])
def test_layers_are_those_of_the_loop_over_all_layers(case, n, f):
    rows = matrix(case, 81, n, 40)
    rows[:, 1:9] = rows[0, 1:9]  # a layer in which nothing differs
    found = scored(SCORES["layers"], rows, f, columns=Columns.of(rows, bounds=BOUNDS))
    assert_allclose(found, layers(rows, f, BOUNDS), atol=1e-5)


def test_signs_of_few_columns_are_as_even_as_those_of_many():
    rng, spreads = np.random.default_rng(82), {}
    for d in (4, 20, 80, 278):
        said = [scored(SCORES["signs"], rng.normal(size=(20, d))) for _ in range(20)]
        spreads[d] = np.std(said)
    assert max(spreads.values()) < 1.3 * SCORES["signs"].spread


def test_zeros_and_columns_in_balance_do_not_count():
    rows = np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 0.0, -5.0], [0.0, 0.0, 0.0]])
    rows = np.tile(rows, 100)  # a hundred columns say little
    assert_array_equal(scored(SCORES["signs"], rows, 1), [0.5, 0.5, 0.0, 0.5])
    assert_array_equal(scored(SCORES["signs"], rows[:1], 0), [0.5])


def test_signs_see_no_lengths():
    rows = matrix("plain", 83)
    factors = 10.0 ** np.random.default_rng(84).uniform(-20, 20, size=len(rows))
    assert_array_equal(scored(SCORES["signs"], rows * factors[:, None]), scored(SCORES["signs"], rows))


def test_a_backdoor_in_the_last_layer_shows_there_and_nowhere_else():
    rng = np.random.default_rng(85)
    rows = rng.normal(size=(15, 2000))
    rows[:3, -20:] += 3 * rng.normal(size=20)
    defense = Defense("mean", f=3, scores=("layers", "distance"), policy="none")
    found = [verdict.scores for verdict in defense(rows, bounds=[0, 1980, 2000]).verdicts]
    by_layer, whole = ([said[name] for said in found] for name in ("layers", "distance"))
    assert set(np.argsort(by_layer)[-3:]) == {0, 1, 2}
    assert min(by_layer[:3]) > 0.2 + max(by_layer[3:])
    assert max(whole) < 0.1


def test_a_value_moved_in_a_layer_that_all_others_leave_alone_is_seen():
    rows = matrix("plain", 86, 9, 40)
    rows[:, 1:9] = 0.0
    rows[4, 3] = 1e-6
    found = scored(SCORES["layers"], rows, 2, columns=Columns.of(rows, bounds=BOUNDS))
    assert np.argmax(found) == 4
    assert found[4] > 20


@pytest.mark.parametrize("name", ["signs", "layers"])
def test_columns_are_asked_for_where_there_are_only_distances(name):
    with pytest.raises(SettingError, match=rf"{name} looks at the columns .* columns=Columns.of\(updates\)"):
        SCORES[name](Geometry.of(matrix("plain", 87)), f=2)
