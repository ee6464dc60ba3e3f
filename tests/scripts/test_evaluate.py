from collections.abc import Callable
from pathlib import Path

import pytest
from program import Ended

SMALL = ("--clients", "7", "--hostile", "2", "--tolerated", "2", "--rounds", "3", "--seeds", "1", "--local-steps", "4")


def test_each_attack_has_a_row_beside_the_row_without_one(hawthorn: Callable[..., Ended]):
    ended = hawthorn("evaluate", *SMALL, "--attacks", "gaussian; backdoor + model_replacement", "--json", "-")
    assert ended.status == 0
    rows = ended.document["attacks"]
    assert list(rows) == ["none", "gaussian", "backdoor + model_replacement"]
    for name, row in rows.items():
        assert row["gap"] == pytest.approx(row["honest_only"] - row["defended"])
        assert (row["recall"] is None) == (name == "none")
        assert (row["attack_success_defended"] is None) == ("backdoor" not in name)
    # what honest clients reach alone is no matter of the attack
    assert rows["gaussian"]["honest_only"] == rows["backdoor + model_replacement"]["honest_only"]
    assert rows["gaussian"]["recall"] == 1.0
    assert rows["gaussian"]["defended"] > rows["gaussian"]["undefended"]


def test_people_read_a_table_and_programs_a_file(hawthorn: Callable[..., Ended], tmp_path: Path):
    ended = hawthorn("evaluate", *SMALL, "--attacks", "sign_flip", "--json", str(tmp_path / "figures.json"))
    assert ended.status == 0
    assert "geometric_median; f=2" in ended.out
    assert "sign_flip" in ended.out
    assert '"sign_flip"' in (tmp_path / "figures.json").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--attacks", "sign_flop"), "did you mean 'sign_flip'"),
        (("--attacks", " ; "), "at least one attack"),
        (("--hostile", "0"), "one hostile client"),
        (("--defense", "krumm"), "did you mean 'krum'"),
    ],
    ids=["unknown attack", "no attack", "nobody hostile", "unknown rule"],
)
def test_what_cannot_be_run_is_told_before_anything_runs(hawthorn: Callable[..., Ended], options, told):
    ended = hawthorn("evaluate", *SMALL, *options)
    assert ended.status == 2
    assert told in ended.err
