import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from hawthorn.server.inner import INNER, inner_strategy
from hawthorn.server.settings import TABLE, Settings, function_named, markdown
from hawthorn.strategies import Defense, SettingError

ROOT = Path(__file__).parents[2]


def declared() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["tool"]["flwr"]["app"]["config"]


def test_pyproject_declares_the_table():
    assert declared() == {name: row.default for name, row in TABLE.items()}
    assert {name: type(value) for name, value in declared().items()} == {
        name: type(row.default) for name, row in TABLE.items()
    }


def test_documentation_shows_the_table():
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "ARCHITECTURE.md")]
    assert any(markdown() in page for page in pages), f"put this table in place of the old one:\n{markdown()}"


def test_components_named_in_pyproject_exist():
    with (ROOT / "pyproject.toml").open("rb") as file:
        components = tomllib.load(file)["tool"]["flwr"]["app"]["components"]
    for path in components.values():
        module, _, name = path.partition(":")
        assert hasattr(import_module(module), name)


def test_defaults_are_valid_and_come_back():
    settings = Settings.parse(declared())
    assert settings == Settings()
    assert settings.run_config() == declared()


def test_default_defense_is_the_packages_default():
    assert Settings().recipe == Defense()


def test_whole_numbers_pass_for_numbers():
    assert Settings.parse({"learning-rate": 1}).learning_rate == 1.0


def test_keys_of_an_apps_own_table_are_left_alone():
    assert Settings.parse({"mine.momentum": 0.9}) == Settings()


@pytest.mark.parametrize(("written", "f"), [("3", 3), (3, 3), ("0.25", 0.25), (0.25, 0.25), ("0", 0), (" 2 ", 2)])
def test_tolerated_is_a_count_or_a_share(written: object, f: float):
    found = Settings.parse({"tolerated": written}).f
    assert found == f
    assert type(found) is type(f)


def test_tolerated_is_f_unless_the_defense_says_otherwise():
    assert Settings.parse({"tolerated": 1, "defense": "nnm | trimmed_mean"}).recipe.f == 1
    assert Settings.parse({"tolerated": 1, "defense": "krum; f=2; policy=none"}).recipe.f == 2


@pytest.mark.parametrize(
    ("hostile", "clients", "count"), [(0.25, 10, 3), ("0.25", 20, 5), (0.28, 25, 7), ("3", 10, 3), (0.0, 10, 0)]
)
def test_a_share_of_hostile_clients_becomes_their_count(hostile: object, clients: int, count: int) -> None:
    settings = Settings.parse({"hostile": hostile, "clients": clients, "attack": "sign_flip"})
    assert settings.hostile == count
    assert isinstance(settings.hostile, int)
    assert Settings.parse(settings.run_config()) == settings


WRONG = [
    ({"round": 3}, "no setting named 'round'; did you mean 'rounds'?"),
    ({"local_epochs": 3}, "did you mean 'local-epochs'?"),
    ({"rounds": 0}, "rounds must be a whole number of at least 1, got 0; the default is rounds=20"),
    ({"rounds": 2.0}, "rounds must be a whole number"),
    ({"rounds": True}, "rounds must be a whole number"),
    ({"seed": "1"}, "seed must be a whole number"),
    ({"learning-rate": float("nan")}, "learning-rate must be a number above 0"),
    ({"learning-rate": 0}, "learning-rate must be a number above 0"),
    ({"learning-rate-decay": 1.5}, "learning-rate-decay must be a number above 0, at most 1"),
    ({"fraction-train": 1.5}, "fraction-train must be a number above 0, at most 1, got 1.5"),
    ({"fraction-train": 0.0}, "fraction-train must be a number above 0"),
    ({"memory": "plenty"}, "memory: memory must be a size such as '1 GB' or '512 MiB', got 'plenty'"),
    ({"spool": "/nowhere"}, "spool must be a directory that can be written to, or empty, got '/nowhere'"),
    ({"fraction-evaluate": -0.1}, "fraction-evaluate must be a number of at least 0, at most 1"),
    ({"weighted-by": "loss"}, "weighted-by must be 'examples', or empty, got 'loss'"),
    ({"weighted-by": "examples", "defense": "nnm | median"}, "nnm mixes the rows of clients"),
    ({"weighted-by": "examples", "defense": "krum", "tolerated": 1}, "krum takes no weights of clients: write one of"),
    ({"task": ""}, "task must be a task such as 'digits'"),
    ({"task": 3}, "task must be a task such as 'digits'"),
    ({"task": "npz"}, "write data="),
    ({"task": "npz(train=500)"}, "write data="),
    ({"tolerated": "many"}, "tolerated must be a count such as 3, or a share below 0.5 such as 0.2, got 'many'"),
    ({"tolerated": 0.5}, "tolerated: f must be"),
    ({"tolerated": "-1"}, "tolerated: f must be"),
    ({"defense": "trimed_mean"}, "defense: no rule or preset named 'trimed_mean'; did you mean 'trimmed_mean'?"),
    ({"defense": "multi_krum(n=3)"}, "has no option 'n'"),
    ({"inner": "fedadm"}, "inner: no strategy named 'fedadm'; did you mean 'fedadam'?"),
    ({"inner": "fedadam(etta=1)"}, "fedadam has no option 'etta'; did you mean 'eta'?"),
    ({"model": "here"}, "model must be a function as 'package.module:function', got 'here'"),
    ({"hostile": 11, "attack": "sign_flip"}, "hostile must be at most clients=10, got 11"),
    ({"hostile": 2}, "write attack='sign_flip', or hostile=0"),
    (
        {"hostile": 1.5, "attack": "sign_flip"},
        "hostile must be a count such as 3, or a share below 1 such as 0.3, got 1.5",
    ),
    ({"hostile": "-1"}, "hostile must be a count such as 3"),
    ({"hostile": True}, "hostile must be a count such as 3"),
    ({"hostile": "a few"}, "hostile must be a count such as 3"),
    ({"clients": 2}, "cannot work with the 2 replies a round will have"),
    ({"clients": 10, "fraction-train": 0.2}, "cannot work with the 2 replies a round will have"),
    ({"clients": 10, "defense": "krum", "quorum": "3"}, "quorum='3' of the 10 clients asked in a round closes rounds"),
    ({"clients": 10, "defense": "krum", "quorum": "0.3"}, "write quorum=7 or more, or a smaller tolerated"),
    ({"clients": 10, "fraction-train": 0.8, "quorum": "9"}, "write a quorum of at most 8, or none"),
]


@pytest.mark.parametrize(("run_config", "words"), WRONG, ids=[str(wrong) for wrong, _ in WRONG])
def test_wrong_settings_say_what_to_write(run_config: dict[str, object], words: str):
    with pytest.raises(SettingError) as error:
        Settings.parse(run_config)
    assert words in str(error.value)


def test_every_setting_refuses_a_value_of_another_kind():
    for name in TABLE:
        with pytest.raises(SettingError, match=f"^{name} "):
            Settings.parse({name: [1]})


@pytest.mark.parametrize("name", sorted(INNER))
def test_inner_strategies_are_made_with_the_sampling_asked_for(name: str):
    strategy = inner_strategy(name, fraction_train=0.5, min_train_nodes=1)
    assert strategy.fraction_train == 0.5
    assert strategy.min_train_nodes == 1


def test_inner_options_reach_the_strategy():
    assert inner_strategy("fedavgm(server_momentum=0.5)").server_momentum == 0.5


def test_a_function_is_found_by_its_import_path():
    assert function_named("model", "hawthorn.server.settings:markdown") is markdown


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("hawthorn.nowhere:model", "cannot be imported: No module named 'hawthorn.nowhere'"),
        ("hawthorn.server.settings:markdwon", "no function 'markdwon' there; did you mean 'markdown'?"),
        ("hawthorn.server.settings:TABLE", "no function 'TABLE' there"),
    ],
)
def test_a_function_that_is_not_there_is_explained(path: str, words: str):
    with pytest.raises(SettingError) as error:
        function_named("model", path)
    assert words in str(error.value)


def test_no_more_are_rejected_than_the_rule_can_spare_and_the_operator_is_told():
    cramped = Settings.parse({"clients": 10, "tolerated": 3, "defense": "krum"})
    assert cramped.recipe.policy == "alarm(most=1)"
    assert "at most 1 of 3 are rejected" in cramped.remark
    assert "more clients or a smaller tolerated" in cramped.remark
    alone = Settings.parse({"clients": 9, "tolerated": 3, "defense": "krum"})
    assert (alone.recipe.policy, alone.remark.startswith("nobody is rejected")) == ("none", True)
    roomy = Settings.parse({"clients": 12, "tolerated": 3, "defense": "krum"})
    assert (roomy.recipe.policy, roomy.remark) == ("alarm", "")
    asked = Settings.parse({"clients": 10, "tolerated": 3, "defense": "krum; policy=threshold"})
    assert (asked.recipe.policy, asked.remark) == ("threshold", "")


def test_what_a_rule_can_spare_is_counted_of_the_replies_that_a_round_closes_with():
    closed = {"clients": 12, "tolerated": 3, "defense": "krum", "quorum": "10"}
    assert Settings.parse(closed).recipe.policy == "alarm(most=1)"
    assert Settings.parse(closed | {"quorum": "12"}).recipe.policy == "alarm"
