"""That each colluding attack does what its paper says."""

import numpy as np
import pytest
from attacked import HONEST, OWN
from hawthorn.client.attacks import (
    Knowledge,
    Recipe,
    alie,
    answering,
    fang,
    ipm,
    mimic,
    min_max,
    min_sum,
    optimized,
)
from hawthorn.client.attacks.colluding import largest_hidden_z
from hawthorn.strategies import Defense, SettingError, krum
from hawthorn.strategies.contract import ATTACKS
from hypothesis import given
from hypothesis import strategies as st

rng = np.random.default_rng(13)
SPREAD = rng.normal(size=(9, 30))  # honest rows that differ more than they agree, as on uneven data


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


def test_alie_takes_its_z_from_the_federation_whoever_is_asked_in_a_round() -> None:
    few = alie(SPREAD[:4], 1, clients=50, hostile=12)
    np.testing.assert_allclose(few, alie(SPREAD[:4], 1, z=largest_hidden_z(50, 12)))


def squared_distances(rows: np.ndarray, row: np.ndarray) -> np.ndarray:
    return ((rows - row) ** 2).sum(axis=1)


@pytest.mark.parametrize("direction", ["unit", "std", "sign", "own"])
@pytest.mark.parametrize(
    "honest", [HONEST, SPREAD, 1e3 + SPREAD, 1e-6 * SPREAD], ids=["alike", "spread", "far", "tiny"]
)
def test_min_max_ends_inside_the_honest_diameter_and_goes_as_far_as_it_can(direction: str, honest: np.ndarray) -> None:
    own = -honest[:2]
    lies = min_max(honest, 2, direction=direction, own=own)
    diameter = max(squared_distances(honest, row).max() for row in honest)
    mean, lie = honest.mean(axis=0), lies[0]
    assert np.array_equal(lies[0], lies[1])
    assert squared_distances(honest, lie).max() <= diameter
    assert squared_distances(honest, mean + 1.001 * (lie - mean)).max() > diameter
    np.testing.assert_allclose(unit(lie - mean), unit(ahead(direction, honest, own)), atol=1e-6)


@pytest.mark.parametrize("direction", ["unit", "std", "sign", "own"])
@pytest.mark.parametrize(
    "honest", [HONEST, SPREAD, 1e3 + SPREAD, 1e-6 * SPREAD], ids=["alike", "spread", "far", "tiny"]
)
def test_min_sum_keeps_its_sum_of_squares_within_the_honest_ones_and_goes_as_far_as_it_can(
    direction: str, honest: np.ndarray
) -> None:
    own = -honest[:2]
    lie = min_sum(honest, 1, direction=direction, own=own)[0]
    most = max(squared_distances(honest, row).sum() for row in honest)
    mean = honest.mean(axis=0)
    assert squared_distances(honest, lie).sum() <= most
    assert squared_distances(honest, mean + 1.001 * (lie - mean)).sum() > most
    np.testing.assert_allclose(unit(lie - mean), unit(ahead(direction, honest, own)), atol=1e-6)


def ahead(direction: str, honest: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The direction by the paper's definition, or towards the colluders' own."""
    mean = honest.mean(axis=0)
    return {"unit": -mean, "std": -honest.std(axis=0), "sign": -np.sign(mean), "own": own.mean(axis=0) - mean}[
        direction
    ]


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def test_a_direction_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingError, match="did you mean 'std'"):
        min_max(HONEST, 2, direction="sdt")
    with pytest.raises(SettingError, match="needs the colluders' own updates"):
        min_sum(HONEST, 2, direction="own")


def test_a_poisoned_update_can_hide_within_the_honest_diameter() -> None:
    """As `backdoor + min_max(direction='own') + jitter` does with what the poisoned clients trained."""
    poisoned = HONEST.mean(axis=0) + 50 * rng.normal(size=(3, 50))
    recipe = Recipe.parse("min_max(direction='own') + jitter(share=0.001)")
    rows, state = recipe.attacked(poisoned, Knowledge(), HONEST)
    assert state is None
    np.testing.assert_allclose(rows, min_max(HONEST, 3, direction="own", own=poisoned), atol=0.05)
    assert len(np.unique(rows, axis=0)) == 3


@pytest.mark.parametrize("f", [2, 3])
def test_fang_against_krum_is_selected_by_krum_against_the_honest_direction(f: int) -> None:
    lies = fang(SPREAD, f, against="krum")
    rows = np.concatenate([SPREAD, lies])
    np.testing.assert_array_equal(krum(rows, f=f), lies[0])
    step = np.abs(lies[0]).max()
    np.testing.assert_allclose(lies[0], -step * np.sign(SPREAD.mean(axis=0)))
    assert step > 0.01  # far from nothing at all
    twice = np.concatenate([SPREAD, np.tile(2 * lies[0], (f, 1))])
    assert not np.array_equal(krum(twice, f=f), 2 * lies[0])


@pytest.mark.parametrize("against", ["trimmed_mean", "median"])
def test_fang_against_a_trimmed_mean_lies_beyond_the_honest_extremes_against_the_mean(against: str) -> None:
    honest = np.concatenate([SPREAD, SPREAD + 5, SPREAD - 5], axis=1)  # columns about zero, above it and below it
    lies = fang(honest, 3, against=against)
    mean, low, high = honest.mean(axis=0), honest.min(axis=0), honest.max(axis=0)
    rises = mean >= 0
    assert (lies[:, rises] <= low[rises]).all()
    assert (lies[:, ~rises] >= high[~rises]).all()
    # the paper's intervals with b = 2: as far as twice the extreme, or as half of it
    reach = np.where(rises, np.where(low > 0, low / 2, 2 * low), np.where(high > 0, 2 * high, high / 2))
    assert (np.abs(lies - reach) <= np.abs(np.where(rises, low, high) - reach) + 1e-12).all()
    assert len(np.unique(lies, axis=0)) == 3
    other = fang(honest, 3, against=against, rng=np.random.default_rng(5))
    assert not np.array_equal(lies, other)


def test_fang_is_made_for_three_rules() -> None:
    with pytest.raises(SettingError, match="did you mean 'median'"):
        fang(HONEST, 2, against="medain")
    with pytest.raises(SettingError, match="b above 1"):
        fang(HONEST, 2, against="median", b=0.5)


def rounds_of_mimic(
    rounds: int, absent: frozenset[int] = frozenset(), **options: object
) -> tuple[list[int], dict, np.ndarray]:
    """Whom mimic copies round by round among clients of which number 5 is farthest along one direction."""
    generator = np.random.default_rng(3)
    common, apart = generator.normal(size=20), unit(generator.normal(size=20))
    places = np.array([0.1, -0.4, 0.3, -0.2, 0.0, 2.0])
    state, copied = None, []
    for number in range(rounds):
        clients = [c for c in range(6) if not (number % 2 and c in absent)]
        noise = 0.25 * generator.normal(size=(6, 20))
        honest = (common + places[:, None] * apart + noise)[clients]
        rows, state = ATTACKS["mimic"].stepped(honest, 2, others=tuple(clients), state=state, **options)
        assert np.array_equal(rows[0], rows[1])
        (place,) = np.flatnonzero((honest == rows[0]).all(axis=1))
        copied.append(clients[place])
    return copied, dict(state or {}), apart


def test_mimic_copies_one_client_exactly_and_settles_on_the_one_farthest_along_the_top_direction() -> None:
    copied, state, apart = rounds_of_mimic(12)
    assert copied[2:] == [5] * 10
    assert abs(state["direction"] @ apart) > 0.9
    assert state["rounds"] == 10  # what it learned in the warmup


def test_mimic_knows_clients_again_that_are_not_always_there() -> None:
    copied, state, _ = rounds_of_mimic(12, absent=frozenset({0, 5}))
    assert all(client == 5 for client in copied[2::2])
    assert 5 not in copied[1::2]
    assert len(set(copied[5::2])) == 1  # the farthest of those that are there, always the same one
    assert state["projections"][5][1] == 5
    assert state["projections"][1][1] == 10


def test_mimic_without_rounds_copies_the_farthest_of_one_round() -> None:
    rows = mimic(SPREAD * np.geomspace(1, 3, 9)[:, None], 2)
    assert rows.shape == (2, 30)
    assert (SPREAD * np.geomspace(1, 3, 9)[:, None] == rows[0]).all(axis=1).any()


def test_a_recipe_hands_on_what_mimic_remembers() -> None:
    recipe = Recipe.parse("mimic(warmup=3)")
    _, state = recipe.attacked(OWN, Knowledge(others=tuple(range(7))), HONEST)
    _, state = recipe.attacked(OWN, Knowledge(others=tuple(range(7)), state=state), HONEST + 0.1)
    assert state is not None
    assert state["rounds"] == 2
    assert not Recipe.parse("ipm").attacked(OWN, Knowledge(), HONEST)[1]


DEFENSES = {
    "median": Defense("median", f=3, policy="none"),
    "krum": Defense("krum", f=3, policy="none"),
    "default": Defense(f=3),
    "function": lambda rows: np.median(rows, axis=0),
}


@pytest.mark.parametrize("defense", DEFENSES.values(), ids=DEFENSES)
@pytest.mark.parametrize("family", ["ipm", "alie"])
def test_the_optimized_factor_does_more_harm_than_any_of_a_grid(family: str, defense: object) -> None:
    answer, mean = answering(defense), HONEST.mean(axis=0)  # type: ignore[arg-type]

    def harm(lies: np.ndarray) -> float:
        found = answer(np.concatenate([HONEST, lies]))
        return float(np.linalg.norm((0 if found is None else found) - mean))

    found = optimized(HONEST, 3, family=family, defense=defense)
    direction = mean if family == "ipm" else HONEST.std(axis=0)
    factors = [-8.0, -4.0, -2.0, -1.0, -0.5, -0.1, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0]
    others = [harm(np.tile(mean + factor * direction, (3, 1))) for factor in factors]
    assert harm(found) >= 0.97 * max(others)
    np.testing.assert_allclose(abs(unit(found[0] - mean) @ unit(direction)), 1)


def test_optimized_tries_both_signs() -> None:
    """Of a server that takes the largest value seen, only lies above the mean move the answer."""
    lies = optimized(HONEST, 2, defense=lambda rows: rows.max(axis=0))
    assert (lies[0] > HONEST.mean(axis=0)).all()
    lies = optimized(HONEST, 2, defense=lambda rows: rows.min(axis=0))
    assert (lies[0] < HONEST.mean(axis=0)).all()


def test_optimized_asks_for_what_it_needs() -> None:
    with pytest.raises(SettingError, match="needs the defense"):
        optimized(HONEST, 2)
    with pytest.raises(SettingError, match="did you mean 'alie'"):
        optimized(HONEST, 2, family="alei", defense=DEFENSES["median"])
    with pytest.raises(SettingError, match="most above"):
        optimized(HONEST, 2, most=0.0, defense=DEFENSES["median"])


def test_a_round_that_is_skipped_leaves_the_model_which_is_harm_too() -> None:
    """A server that skips whenever someone is far off: to bring that about is worse than any small lie."""

    def skips(rows: np.ndarray) -> np.ndarray | None:
        return None if np.abs(rows - np.median(rows, axis=0)).max() > 5 else np.median(rows, axis=0)

    lies = optimized(HONEST, 3, family="ipm", defense=skips)
    assert skips(np.concatenate([HONEST, lies])) is None


def test_a_defense_as_text_is_told_how_to_be_written() -> None:
    with pytest.raises(SettingError, match=r"Defense\.parse\('krum', f=\.\.\.\)"):
        optimized(np.ones((4, 2)) + np.eye(4, 2), 1, defense="krum")


def test_what_the_server_does_not_see_is_what_they_turn_around():
    rng = np.random.default_rng(3)
    trusted = np.eye(6)[0]
    honest = rng.normal(1.0, 0.2, (5, 6))
    mean = honest.mean(axis=0)

    def answer(rows: np.ndarray) -> np.ndarray:
        return rows.mean(axis=0)

    rows = ATTACKS["optimized"](honest, f=2, family="unseen", defense=answer, trusted=trusted)
    np.testing.assert_allclose(rows[:, 0], mean[0])  # as much of the server's direction as honest clients have
    assert np.abs(rows[:, 1:] - mean[1:]).min() > 1
    guessed = ATTACKS["optimized"](honest, f=2, family="unseen", defense=answer, own=np.tile(trusted, (2, 1)))
    np.testing.assert_array_equal(guessed, rows)
