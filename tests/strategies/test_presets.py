"""Recipes with names: each runs, prints as what it stands for, and gives way to what is written beside it."""

from pathlib import Path

import numpy as np
import pytest
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_stands_for_a_recipe_and_keeps_hostile_rows_from_the_update(name):
    defense = Defense.parse(name, f=0.2)
    assert Defense.parse(str(defense)) == defense
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 300)) / 10 + 1
    rows[:4] = -50.0
    given = {"trusted": np.ones(300)} if "trusted" in defense.asked else {}
    names, state = [f"client-{k}" for k in range(20)], None
    for _ in range(3):
        outcome = defense(rows, clients=names, state=state, **given)
        state = outcome.state
        assert np.abs(outcome.update - 1).max() < 0.2


def test_the_default_preset_is_what_a_defense_is_without_a_word():
    assert Defense.parse("default") == Defense()


def test_what_is_written_beside_a_preset_wins_over_it():
    defense = Defense.parse("strict; f=3; policy=fdr(q=0.1)", momentum=0.5)
    strict = Defense.parse("strict")
    assert (defense.f, defense.policy, defense.momentum) == (3, "fdr(q=0.1)", 0.5)
    assert (defense.rule, defense.scores, defense.reputation) == (strict.rule, strict.scores, strict.reputation)


def test_a_preset_takes_no_transforms_and_a_misspelled_one_is_told_its_name():
    with pytest.raises(SettingError, match="no rule named 'strict'"):
        Defense.parse("nnm | strict")
    with pytest.raises(SettingError, match="no rule or preset named 'stric'; did you mean 'strict'"):
        Defense.parse("stric")


def test_the_readme_says_what_each_preset_is_and_when_to_use_it():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name, preset in PRESETS.items():
        assert f"| `{name}` | `{preset.recipe}` | {preset.use} |" in readme
