"""Which cells a grid has, and what tells one from another."""

from pathlib import Path
from typing import Any

import hawthorn.client.attacks  # noqa: F401 - registers them
import numpy as np
import pytest
from hawthorn.client.tasks import find_task
from hawthorn.scripts.evaluation.catalog import CATALOG, QUICK
from hawthorn.scripts.evaluation.cell import Cell
from hawthorn.scripts.evaluation.grid import Grid
from hawthorn.server.settings import Settings
from hawthorn.strategies import SettingError
from hawthorn.strategies.contract import ATTACKS, Call


def cell(run: str = "defended", **settings: Any) -> Cell:
    written = {"hostile": 2, "attack": "sign_flip", "tolerated": "2"} | settings
    return Cell(run, Settings.parse({name.replace("_", "-"): value for name, value in written.items()}))


def test_the_catalog_has_every_attack_there_is():
    named = {Call.parse(part).name for recipe in CATALOG for part in recipe.split(" + ")}
    assert named == set(ATTACKS)
    assert set(QUICK) <= set(CATALOG)
    assert len(set(CATALOG)) == len(CATALOG)


def test_every_federation_is_also_run_undefended_without_attack_and_with_its_honest_clients_alone():
    grid = Grid.parse(
        {"attacks": ["sign_flip", "label_flip"], "defenses": ["median", "krum"], "hostile": 2, "seeds": 3}
    )
    found = sorted(
        (cell.run, cell.config["attack"], cell.config.get("defense", "").split(";")[0]) for cell in grid.cells()
    )
    once = [
        *(("defended", attack, rule) for attack in ("", "label_flip", "sign_flip") for rule in ("krum", "median")),
        ("oracle", "", ""),  # of all clients, where nobody is hostile
        ("oracle", "", ""),  # of the honest ones
        ("oracle", "label_flip", ""),  # the same ones, and how often they do by themselves what the attack wants
        *(("undefended", attack, "") for attack in ("", "label_flip", "sign_flip")),
    ]
    assert found == sorted(once * 3)
    assert {cell.config["seed"] for cell in grid.cells()} == {1, 2, 3}
    assert {cell.config["tolerated"] for cell in grid.cells() if cell.run == "defended"} == {"2"}


def test_axes_are_multiplied_and_each_cell_is_there_once():
    axes = {"clients": [8, 9], "partition": ["iid", "dirichlet(0.5)"], "tolerated": ["1", "2"], "attacks": "gaussian"}
    cells = Grid.parse(axes | {"hostile": 1}).cells()
    assert len({cell.key for cell in cells}) == len(cells)
    # for each of four federations: defended in peace and attacked with both tolerances, undefended and oracle in both
    assert len(cells) == 4 * (2 * 2 + 2 + 2)


def test_a_grid_is_read_from_a_file_and_options_win_over_it(tmp_path: Path):
    path = tmp_path / "grid.toml"
    path.write_text('task = "digits"\nclients = [8]\nhostile = 2\nattacks = "sign_flip; gaussian"\nseeds = [4, 7]\n')
    grid = Grid.read(path, {"clients": [9], "defenses": ["median"]})
    assert grid.axes["clients"] == (9,)
    assert grid.axes["attacks"] == ("sign_flip", "gaussian")
    assert grid.axes["seeds"] == (4, 7)
    assert {cell.settings.clients for cell in grid.cells()} == {9}


def test_all_are_the_attacks_that_the_task_can_be_put_to_and_story_is_its_own():
    def attacks(**axes: Any) -> set[str]:
        return {cell.config["attack"] for cell in Grid.parse(axes).cells() if cell.run == "undefended"} - {""}

    assert attacks(attacks="all") == set(CATALOG)
    trees = attacks(attacks="all", task="breast_cancer(network='forest')")
    assert "label_flip" in trees
    assert "sign_flip" not in trees
    assert attacks(attacks="story", task="breast_cancer") == {find_task("breast_cancer").story}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"attack": "sign_flip"}, "did you mean 'attacks'"),
        ({"rouns": 3}, "did you mean 'rounds'"),
        ({"clients": []}, "at least one value"),
        ({"data": ["a.npz", "b.npz"]}, "data must be one"),
        ({"attacks": " ; "}, "at least one attack"),
        ({"attacks": [3]}, "recipes such as"),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": "two"}, "seeds must be"),
    ],
    ids=str,
)
def test_what_is_no_grid_is_refused(written: dict[str, Any], told: str):
    with pytest.raises(SettingError, match=told):
        Grid.parse(written)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"attacks": "sign_flip", "hostile": 0}, "at least one hostile"),
        ({"attacks": "sign_flop"}, "did you mean 'sign_flip'"),
        ({"defenses": "krumm"}, "did you mean 'krum'"),
        ({"rounds": -1}, "rounds must be"),
        ({"clients": "eight"}, "clients must be"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused(written: dict[str, Any], told: str):
    with pytest.raises(SettingError, match=told):
        Grid.parse(written).cells()


@pytest.mark.parametrize("content", ["clients = ", "\x00"], ids=["no toml", "null byte"])
def test_a_file_that_is_no_grid_is_named(tmp_path: Path, content: str):
    path = tmp_path / "grid.toml"
    path.write_text(content)
    with pytest.raises(SettingError, match=r"grid\.toml"):
        Grid.read(path)
    with pytest.raises(SettingError, match="cannot be read"):
        Grid.read(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "changed",
    [
        {"attack": "sign_flip(scale=2.0)"},
        {"tolerated": "1"},
        {"defense": "median"},
        {"seed": 2},
        {"rounds": 19},
        {"clients": 11},
        {"hostile": 1},
        {"partition": "iid"},
        {"local_epochs": 1},
        {"local_steps": 3},
        {"batch_size": 8},
        {"learning_rate": 0.2},
        {"learning_rate_decay": 0.9},
        {"momentum": 0.9},
        {"client_momentum": 0.9},
        {"fraction_train": 0.5},
        {"evaluate_every": 2},
        {"task": "breast_cancer"},
    ],
    ids=str,
)
def test_every_setting_that_counts_makes_another_cell(changed: dict[str, Any]):
    assert cell(**changed).key != cell().key
    assert cell().key == cell().key


def test_a_defense_that_says_what_it_bears_is_one_whatever_else_is_told():
    assert cell(defense="median; f=2", tolerated="1").key == cell(defense="median", tolerated="2").key


def test_what_does_not_count_makes_no_other_cell(tmp_path: Path):
    assert cell(reply_timeout=5.0, audit=str(tmp_path / "a.db"), wait=1.0).key == cell().key


def test_an_oracle_knows_no_attack_but_a_wish():
    assert cell("oracle", attack="ipm", tolerated="1").key == cell("oracle", defense="median").key
    assert cell("oracle", attack="backdoor + model_replacement").key == cell("oracle", attack="backdoor").key
    assert cell("oracle", attack="backdoor").key != cell("oracle").key
    assert cell("undefended", defense="median").key == cell("undefended", tolerated="1").key
    assert cell("undefended", attack="ipm").key != cell("undefended").key


def test_data_counts_by_its_content_and_not_by_its_place(tmp_path: Path):
    rng = np.random.default_rng(1)
    arrays = {"x_train": rng.normal(size=(40, 3)), "x_test": rng.normal(size=(9, 3))}
    arrays |= {"y_train": np.arange(40) % 2, "y_test": np.arange(9) % 2}
    here, there, other = (tmp_path / name for name in ("here.npz", "there.npz", "other.npz"))
    np.savez(here, **arrays)
    there.write_bytes(here.read_bytes())
    np.savez(other, **(arrays | {"x_test": -arrays["x_test"]}))
    keys = [cell(task="npz", data=str(path)).key for path in (here, there, other)]
    assert keys[0] == keys[1] != keys[2]


def test_the_code_that_decides_over_results_counts(monkeypatch: pytest.MonkeyPatch):
    before = cell().key
    monkeypatch.setattr("hawthorn.scripts.evaluation.cell.code", lambda: "another version")
    assert cell().key != before
