"""DeepSight: against its definition, by hand, and the attack it was made for."""

import numpy as np
import oracles
import pytest
from hawthorn.strategies import Defense, Geometry, SettingError, deepsight
from hawthorn.strategies.columns import Columns
from hawthorn.strategies.rules.deepsight import clusters, output_layer, threshold_exceedings
from matrices import matrix
from numpy.testing import assert_allclose, assert_array_equal

BOUNDS = (0, 30, 30, 70, 80)  # ten neurons of four weights and a bias


def trained(seed, n=12, hostile=3):
    """Clients with all ten labels, and hostile ones that train on two of them."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=80) + 0.5 * rng.normal(size=(n, 80))
    away = rng.normal(size=80) * 2
    for row in rows[:hostile]:
        row[30:] = 0.02 * rng.normal(size=50)
        row[30:38] = away[30:38] + 0.1 * rng.normal(size=8)
        row[70:72] = away[70:72]
    return rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bounds", [BOUNDS, None, (0, 71, 80)], ids=["weights and biases", "unknown", "no weights"])
@pytest.mark.parametrize("hostile", [0, 3])
def test_deepsight_agrees_with_its_definition(seed, bounds, hostile):
    rows = trained(seed, hostile=hostile)
    expected = oracles.RULES["deepsight"](rows, bounds=bounds)
    assert_allclose(deepsight(rows, f=3, bounds=bounds), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["plain", "huge", "scattered", "offset", "several_huge", "astronomic"])
@pytest.mark.parametrize("size", [(11, 23), (5, 2), (7, 700)], ids=str)
def test_deepsight_agrees_with_its_definition_on_every_kind_of_round(name, size):
    rows = matrix(name, 1, *size)
    found, expected = deepsight(rows, f=1), oracles.RULES["deepsight"](rows)
    size = np.abs(rows).max(axis=0)
    assert (np.abs(found - expected) <= 1e-6 * np.maximum(np.abs(expected), 1e-9 * size)).all()


def test_energies_by_hand():
    # neurons of two weights and a bias: 1 + 2 + 3 = 6 and 1 + 1 + 0 = 2, so that the shares are 36/40 and 4/40
    row = np.array([9.0, 1, -2, 1, 1, -3, 0])
    energies, cosines = output_layer(Columns.of(row[None], (0, 1, 5, 7)), Geometry.of(row[None]))
    assert_allclose(energies, [[0.9, 0.1]])
    assert_allclose(cosines, [[1.0]])
    rows = np.array([[0.0, 3, 4], [0, 4, -3], [0, 0, 0]])
    energies, cosines = output_layer(Columns.of(rows, (0, 1, 3)), Geometry.of(rows))
    assert_allclose(energies, [[0, 0], [9 / 25, 16 / 25], [16 / 25, 9 / 25]])  # in canonical order
    assert_allclose(cosines, [[0, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-15)


def test_exceedings_by_hand():
    # of 200 neurons a hundredth of the largest share counts, of 4 a quarter of it; what equals it exceeds nothing
    assert_array_equal(threshold_exceedings(np.array([[0.4, 0.1, 0.3, 0.2]])), [3])
    assert_array_equal(threshold_exceedings(np.array([[1.0, *[0.011] * 99, *[0.009] * 100]])), [100])
    assert_array_equal(threshold_exceedings(np.zeros((2, 4))), [0, 0])


def test_rows_that_train_on_few_labels_are_left_out():
    for seed in range(5):
        verdicts = Defense("deepsight", f=3, policy="none")(trained(seed), bounds=BOUNDS).verdicts
        assert [verdict.weight for verdict in verdicts[:3]] == [0, 0, 0]
        assert sum(verdict.weight > 0 for verdict in verdicts[3:]) >= 7


def test_rows_are_shortened_to_the_median_length_of_all():
    rows = trained(6, hostile=0)
    rows[4] *= 100
    usual = np.median(np.linalg.norm(rows, axis=1))
    assert np.linalg.norm(deepsight(rows, f=2, bounds=BOUNDS)) <= usual * (1 + 1e-9)


def test_a_row_in_no_cluster_is_one_of_its_own():
    distances = np.abs(np.subtract.outer([0.0, 0.1, 0.2, 9.0], [0.0, 0.1, 0.2, 9.0]))
    assert clusters(distances).tolist() == [0, 0, 0, -1]
    rows = np.array([[1.0, -1.2, 0.9], [1.1, -1.0, 1.0], [0.9, -1.1, 1.2], [-1.0, 1.0, 1.0]])
    # the last one stands alone and is no suspect: it takes part
    assert_allclose(deepsight(rows, f=1), oracles.RULES["deepsight"](rows))
    assert Defense("deepsight", f=1, policy="none")(rows).verdicts[3].weight > 0


@pytest.mark.parametrize("tau", [0, -0.1, 1.1, "x", True])
def test_a_wrong_tau_is_refused(tau):
    with pytest.raises(SettingError, match="deepsight needs a tau from 0 to 1"):
        Defense(f"deepsight(tau={tau!r})")
