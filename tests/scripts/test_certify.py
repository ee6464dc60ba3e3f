"""What is certified of a defense: figures by hand, what a search finds, and that it finds a rule that is broken."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hawthorn.scripts.certifying.hostile_rows import attacks, spread
from hawthorn.scripts.certifying.kappa import EVERY, needed_kappa, sets_of, turns, worst_case
from hawthorn.scripts.certifying.recording import recorded_updates, updates_in
from hawthorn.server.settings import Settings
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.certificates import (
    after_arc,
    after_bucketing,
    after_nnm,
    krum_kappa,
    least_kappa,
    median_kappa,
    most_tolerated,
    part_tolerances,
    proven_kappa,
    trimmed_kappa,
)
from hawthorn.strategies.contract import RULES, Rule
from numpy.testing import assert_allclose
from program import Ended

QUIET = {"scores": (), "policy": "none"}


def honest(rounds: int = 2, n: int = 9, d: int = 60) -> np.ndarray:
    """Clients about a common direction, some of them farther out than others."""
    rng = np.random.default_rng(1)
    return rng.normal(size=d) + rng.standard_t(3, size=(rounds, n, d)) * np.exp(rng.normal(size=(rounds, n, 1)) / 2)


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    np.savez(tmp_path / "recorded.npz", updates=honest())
    return str(tmp_path / "recorded.npz")


@pytest.fixture
def broken() -> Iterator[str]:
    """A rule that leaves out the f shortest rows, as one would that sorts the wrong way."""

    def longest_first(geometry, f: int):
        weights = np.zeros(geometry.n)
        weights[np.argsort(geometry.norms)[f:]] = 1 / (geometry.n - f)
        return weights

    before = dict(RULES._parts)
    RULES.add("longest_first", Rule(longest_first, lambda f: 2 * f + 1))
    yield "longest_first"
    RULES._parts = before


def test_coefficients_by_hand():
    # n = 10, f = 2: f / (n - 2f) = 1/3
    assert least_kappa(10, 2) == pytest.approx(1 / 3)
    assert trimmed_kappa(10, 2) == pytest.approx(6 / 3 * 4 / 3)
    assert median_kappa(10, 2) == pytest.approx(4 * (4 / 3) ** 2)
    assert krum_kappa(10, 2) == pytest.approx(6 * 8 / 5)
    assert after_nnm(10, 2, 1.0) == pytest.approx(16 / 8 * 2)
    # k = floor(2 * 2/10 * 8) = 3 of 8 may be shortened
    assert after_arc(10, 2, 0.0) == pytest.approx(3 / 5)
    # 5 buckets of two, 3 of them honest: 6 of 8 honest rows weigh 1/6; 8 (6 (1/6 - 1/8)^2 + 2 (1/8)^2) = 1/3
    assert after_bucketing(10, 2, 0.0, s=2) == pytest.approx(1 / 3)
    assert after_bucketing(10, 2, 3.0, s=2) == pytest.approx((2.0 + (1 / 3) ** 0.5) ** 2)
    # 9 rows: sizes 2, 2, 2, 2, 1; with f = 1 the four left are all of two, or the small one is among them
    small = np.array([1 / 8] * 6 + [1 / 4, 0.0])
    assert after_bucketing(9, 1, 0.0, s=2) == pytest.approx(8 * ((small - 1 / 8) ** 2).sum())


@pytest.mark.parametrize(
    ("recipe", "n", "f", "expected"),
    [
        ("trimmed_mean", 10, 2, 8 / 3),
        ("multi_krum(m=3)", 10, 2, 9.6),
        ("nnm | trimmed_mean", 10, 2, 2 * (1 + 8 / 3)),
        ("nnm | nnm | trimmed_mean", 10, 2, 2 * (1 + 2 * (1 + 8 / 3))),
        ("arc | nnm | trimmed_mean", 10, 2, ((2 * (1 + 8 / 3)) ** 0.5 + 0.6**0.5) ** 2),
        # 6 means of two, 4 of them of 8 of the 10 honest rows: the median of 6 with f = 2 has 4 (1 + 2/2)^2 = 16, and
        # the mean of 8 of 10 is away by at most 10 (8 (1/8 - 1/10)^2 + 2 (1/10)^2) = 1/4
        ("bucketing(s=2) | median", 12, 2, ((16 * 10 / 8) ** 0.5 + 0.25**0.5) ** 2),
        ("mean", 10, 2, None),
        ("centered_clipping", 10, 2, None),
        ("clip(radius=1.0) | median", 10, 2, None),
        ("nnm | mean", 10, 2, None),
    ],
)
def test_proofs_compose(recipe: str, n: int, f: int, expected: float | None):
    found = proven_kappa(Defense.parse(recipe, f=f), n, f)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("recipe", "n", "expected"),
    [
        ("krum", 10, [("krum", 10, 7, 3)]),
        ("nnm | krum", 10, [("nnm", 10, 5, 4), ("krum", 10, 7, 3)]),
        ("bucketing(s=2) | median", 10, [("bucketing(s=2)", 10, 1, 9), ("median", 5, 5, 2)]),
        ("bucketing(s=3) | krum", 10, [("bucketing(s=3)", 10, 1, 9), ("krum", 4, 7, 0)]),
        ("clip(radius=1.0) | mean", 4, [("clip(radius=1.0)", 4, 1, 3), ("mean", 4, 5, 1)]),
    ],
)
def test_tolerance_by_hand(recipe: str, n: int, expected: list[tuple[str, int, int, int]]):
    parts = part_tolerances(Defense.parse(recipe), n, 2)
    assert [(part.part, part.rows, part.needs, part.limit) for part in parts] == expected
    assert most_tolerated(Defense.parse(recipe), n) == min(limit for *_, limit in expected)


def test_the_coefficient_that_a_round_needs_by_hand():
    # S = {0, 2}: mean 1, variance 1, and the update 4 is 3 away; {0, 9}: 4.5, 20.25; {2, 9}: 5.5, 12.25
    rows, sets = np.array([[0.0], [2.0], [9.0]]), np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)
    assert needed_kappa(np.array([4.0]), rows, sets) == (pytest.approx(9.0), 0)
    assert needed_kappa(np.array([9.0]), rows, sets[:2])[0] == pytest.approx(64.0)
    assert needed_kappa(np.array([1.0]), rows, sets[:1])[0] == 0.0
    far = np.array([[0.0], [2.0], [1e12]])
    assert needed_kappa(np.array([4.0]), far, sets)[0] == pytest.approx(9.0)


def test_all_sets_are_tried_where_they_are_few_and_the_honest_one_is_the_first():
    rows = np.random.default_rng(2).normal(size=(9, 4))
    assert len(np.unique(sets_of(rows, 2), axis=0)) == 36
    many = np.random.default_rng(2).normal(size=(40, 4))
    assert len(sets_of(many, 5)) == 41 < EVERY
    for found, h in ((sets_of(rows, 2), 7), (sets_of(many, 5), 35)):
        assert (found.sum(axis=1) == h).all()
        assert found[0, :h].all()


def test_only_what_turns_with_the_rows_is_looked_at_in_turned_columns():
    for recipe, expected in (
        ("nnm | krum", True),
        ("centered_clipping", True),
        ("arc | geometric_median", True),
        ("trimmed_mean", False),
        ("bucketing(s=2) | krum", False),
    ):
        assert turns(Defense.parse(recipe)) == expected


def test_turned_columns_show_a_rule_the_same_round():
    rows = honest()[0]
    defense = Defense("geometric_median", f=2, before=("arc",), **QUIET)
    turned = np.linalg.qr(rows.T, mode="r").T
    assert_allclose(np.linalg.norm(defense(turned).update), np.linalg.norm(defense(rows).update))
    assert spread(turned) == pytest.approx(spread(rows))


def test_attacks_are_of_every_kind_and_f_rows_each():
    rows = honest()[0]
    told = list(attacks(rows, 3, np.random.default_rng(3)))
    assert {"copies", "the mean (ipm)", "the deviations of the columns (alie)", "principal direction 1"} <= {
        kind for kind, _, _ in told
    }
    assert all(hostile.shape == (3, 60) and np.isfinite(hostile).all() for _, _, hostile in told)
    assert len({name for _, name, _ in told}) == len(told)


@pytest.mark.parametrize(
    "recipe",
    ["trimmed_mean", "krum", "multi_krum", "geometric_median", "median", "nnm | trimmed_mean", "arc | nnm | krum"],
)
@pytest.mark.parametrize("f", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_worst_of_a_proven_defense_is_between_its_bounds(recipe: str, f: int):
    defense = Defense.parse(recipe, f=f, **QUIET)
    worst = worst_case(defense, honest(), 9, f, budget=300, seed=1)
    assert worst.tried == 300
    assert 0 <= worst.moved <= worst.kappa <= proven_kappa(defense, 9, f)
    assert worst.kappa >= 0.9 * least_kappa(9, f), "far rows alone need that much of any rule"
    # what is told is a round, an update and a set that anybody can put together again
    chosen = worst.rows[list(worst.chosen)]
    center = chosen.mean(axis=0)
    away = ((defense(worst.rows).update - center) ** 2).sum()
    assert away / ((chosen - center) ** 2).sum(axis=1).mean() == pytest.approx(worst.kappa, rel=1e-6)


def test_the_worst_of_the_mean_grows_with_the_budget_until_digits_end():
    found = [
        worst_case(Defense("mean", f=2, **QUIET), honest(), 9, 2, budget=budget, seed=1).kappa for budget in (10, 400)
    ]
    assert found[0] > median_kappa(9, 2)
    assert found[1] > 1e3 * found[0]
    assert found[1] > 1e20


def test_a_search_does_the_same_when_it_is_repeated():
    defense = Defense("centered_clipping", f=2)
    one, other = (worst_case(defense, honest(), 9, 2, budget=60, seed=5) for _ in range(2))
    assert (one.kappa, one.attack, one.chosen) == (other.kappa, other.attack, other.chosen)
    assert worst_case(defense, honest(), 9, 2, budget=60, seed=6).kappa != one.kappa


def test_many_rows_are_searched_without_trying_every_set():
    worst = worst_case(Defense("geometric_median", f=8, **QUIET), honest(1, 40, 30), 40, 8, budget=60, seed=1)
    assert len(worst.chosen) == 32
    assert 0.9 * least_kappa(40, 8) <= worst.kappa <= median_kappa(40, 8)


@pytest.mark.parametrize("rule", ["krum", "median"])
def test_honest_rows_that_do_not_differ_are_refused(rule: str):
    with pytest.raises(SettingError, match="all alike"):
        worst_case(Defense(rule, f=1, **QUIET), np.ones((2, 9, 4)), 9, 1, budget=10, seed=1)


@pytest.mark.parametrize("rule", ["krum", "median"])
def test_columns_and_rounds_in_which_nobody_differs_are_passed_over(rule: str):
    updates = np.ones((2, 9, 5000))  # dead neurons: a draw of all columns would hardly meet the two that live
    updates[1, :, [17, 3003]] = np.random.default_rng(5).normal(size=(2, 9))
    worst = worst_case(Defense(rule, f=2, **QUIET), updates, 9, 2, budget=60, seed=1)
    assert 0 < worst.moved <= worst.kappa <= proven_kappa(Defense(rule, f=2), 9, 2)


def test_a_certificate_of_recorded_updates(hawthorn: Callable[..., Ended], recorded: str):
    ended = hawthorn(
        "certify", "--defense", "nnm | krum", "--tolerated", "2", "--updates", recorded, "--budget", "60", "--json", "-"
    )
    assert ended.status == 0
    document = ended.document
    assert document["settings"]["clients"] == 9
    assert document["settings"]["rounds"] == 2
    assert document["most_tolerated"] == 3
    assert document["holds_up_to"] == 3
    assert [part["limit"] for part in document["tolerance"]] == [4, 3]
    assert [one["f"] for one in document["certificates"]] == [1, 2, 3]
    for one in document["certificates"]:
        assert one["holds"]
        assert one["compared_with"] == "the proven coefficient"
        assert one["proven"] == pytest.approx(after_nnm(9, one["f"], krum_kappa(9, one["f"])))
        assert one["lower_bound"] == least_kappa(9, one["f"])
        assert one["empirical"]["kappa"] <= one["proven"]
        assert one["empirical"]["tried"] == one["with_policy"]["tried"] == 60


def test_the_certificate_of_the_mean_does_not_hold(hawthorn: Callable[..., Ended], recorded: str, tmp_path: Path):
    options = ("--defense", "mean; policy=none", "--tolerated", "1", "--updates", recorded, "--budget", "40")
    ended = hawthorn("certify", *options, "--json", str(tmp_path / "certificate.json"))
    assert ended.status == 1
    assert "NO" in ended.out
    assert "holds up to f=0" in ended.out
    assert "nothing is proven" in " ".join(ended.out.split())
    document = json.loads((tmp_path / "certificate.json").read_text())
    assert document["certificates"][0]["proven"] is None
    assert document["certificates"][0]["with_policy"] is None
    assert document["certificates"][0]["compared_with"] == "the geometric median's coefficient"
    assert document["holds_up_to"] == 0


def test_a_rule_that_is_broken_is_found_out(hawthorn: Callable[..., Ended], recorded: str, broken: str):
    options = ("--tolerated", "2", "--updates", recorded, "--budget", "60", "--json", "-")
    ended = hawthorn("certify", "--defense", broken, *options)
    assert ended.status == 1
    assert ended.document["holds_up_to"] == 0
    assert ended.document["certificates"][1]["empirical"]["kappa"] > 1e6


def test_the_updates_of_a_real_run_are_recorded(hawthorn: Callable[..., Ended]):
    ended = hawthorn("certify", "--clients", "6", "--rounds", "2", "--budget", "20", "--defense", "trimmed_mean")
    assert ended.status == 0
    assert "trimmed_mean" in ended.out
    assert "digits, dirichlet(0.5), 2 round(s)" in ended.out.replace("\n", " ")
    settings = Settings.parse({"clients": 6, "rounds": 2, "tolerated": "0", "defense": "mean"})
    one, other = recorded_updates(settings), recorded_updates(settings)
    assert one.shape[:2] == (2, 6)
    assert (one == other).all()
    assert spread(one[0]) > 0
    assert not np.allclose(one[0], one[1])


@pytest.mark.parametrize("shape", [(9, 5), (1, 9, 5), (3, 9, 5)], ids=str)
@pytest.mark.parametrize("name", ["updates", "x"])
def test_a_file_holds_one_round_or_several(tmp_path: Path, shape: tuple[int, ...], name: str):
    rows = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    np.savez(tmp_path / "rows.npz", **{name: rows})
    assert_allclose(updates_in(str(tmp_path / "rows.npz")), rows.reshape(-1, 9, 5))


@pytest.mark.parametrize(
    "arrays",
    [
        {"updates": np.zeros(5)},
        {"updates": np.zeros((9, 5), int)},
        {"updates": np.zeros((0, 9, 5))},
        {"updates": np.full((9, 5), np.nan)},
        {"updates": np.array([None, "x"], dtype=object)},
        {"x": np.zeros((9, 5)), "y": np.zeros((9, 5))},
        {},
    ],
    ids=["vector", "integers", "empty", "nan", "objects", "two arrays", "none"],
)
def test_files_that_hold_no_updates_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]):
    np.savez(tmp_path / "rows.npz", **arrays)
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "lone.npy", np.zeros((9, 5)))
    for name in ("rows.npz", "text.npz", "lone.npy", "nowhere.npz", "."):
        with pytest.raises(SettingError, match=r"must be an \.npz file with an array"):
            updates_in(str(tmp_path / name))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--defense", "krumm"), "did you mean 'krum'"),
        (("--defense", "krum", "--tolerated", "4"), "must be from 1 to 3 of 9 clients, got 4: krum bears 3 of 9 rows"),
        (("--tolerated", "0"), "must be from 1 to 4"),
        (("--tolerated", "many"), "a count such as 3 or a share such as 0.2, got 'many'"),
        (("--clients", "10"), "from 1 to 9, the clients in the file"),
        (("--clients", "-1"), "from 1 to 9"),
        (("--defense", "bucketing(s=9) | median", "--tolerated", "1"), "median bears 0 of 1 rows"),
        (("--json", "nowhere/certificate.json"), "folder that exists"),
        (("--updates", "nowhere.npz"), "must be an .npz file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_certified_says_what_to_write(
    hawthorn: Callable[..., Ended], recorded: str, options: tuple[str, ...], told: str
):
    ended = hawthorn("certify", "--updates", recorded, "--budget", "10", *options)
    assert ended.status == 2
    assert ended.out == ""
    assert told in ended.err


def test_an_unknown_task_is_told_too(hawthorn: Callable[..., Ended]):
    ended = hawthorn("certify", "--task", "digit")
    assert ended.status == 2
    assert "did you mean 'digits'" in ended.err
