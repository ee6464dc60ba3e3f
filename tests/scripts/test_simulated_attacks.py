"""Every attack in a simulated federation of the real ClientApp, undefended and defended."""

from typing import Any

import pytest
from hawthorn.client.attacks.malformed import MALFORMED
from hawthorn.scripts.engine import on_engine
from hawthorn.scripts.federation import Federation, Run
from hawthorn.server.settings import Settings
from hawthorn.strategies.contract import ATTACKS

CONFIG = {
    "clients": 8,
    "hostile": 2,
    "tolerated": "2",
    "rounds": 3,
    "local-steps": 3,
    "defense": "median; policy=none",
    "partition": "iid",
}
WITH_OPTIONS = {
    "alie": "alie(z=1.5)",
    "free_rider": "free_rider(sends='moved', noise=0.1)",
    "sleeper": "sleeper(wakes=2)",
    "sybil": "label_flip + sybil",
}

# who answers, and whether at all, is the grid's business: all of these cases; of the other families one case each
CASES = sorted(
    set({one.family: name for name, one in MALFORMED.items()}.values())
    | {name for name, one in MALFORMED.items() if one.family in {"senders", "errors"}}
)


def ran(attack: str, name: str, **changed: Any) -> tuple[Run, Federation]:
    """One run under attack."""
    settings = Settings.parse({**CONFIG, "attack": attack, **changed})
    federation = Federation.of(settings, settings.recipe)
    run = on_engine("in-process", settings.clients, lambda grid: federation.run(name, grid, lambda _: None))
    return run, federation


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_runs_against_a_defense_and_the_defense_goes_on(name: str) -> None:
    text = WITH_OPTIONS.get(name, name)
    run, _ = ran(text, "defended")
    assert run.stopped is None
    assert len(run.accuracy) == 3
    if name == "malformed":
        assert [len(record.refused) for record in run.records] == [2, 2, 2]
    else:
        assert [len(record.verdicts) for record in run.records] == [8, 8, 8]


@pytest.mark.parametrize("case", CASES)
def test_malformed_replies_are_put_before_the_defense_and_costs_its_sender_alone(case: str) -> None:
    run, federation = ran(f"malformed(case='{case}')", "defended", rounds=1)
    (record,) = run.records
    honest = set(range(8)) - federation.hostile
    assert set(record.verdicts) == (honest if MALFORMED[case].fault else set(range(8)))
    assert run.stopped is None


def test_forged_and_crafted_compose() -> None:
    run, _ = ran("lie_about_counts + ipm + jitter", "defended")
    assert [len(record.verdicts) for record in run.records] == [8, 8, 8]


@pytest.mark.parametrize(
    "attack", ["ipm", "label_flip + sybil", "lie_about_counts + sign_flip", "optimized(family='ipm')", "free_rider"]
)
def test_a_plain_mean_does_worse_than_without_attackers(attack: str) -> None:
    longer = {"rounds": 6, "hostile": 3, "tolerated": "2", "local-steps": 0, "local-epochs": 1}
    alone, attacked = (ran(attack, name, **longer)[0] for name in ("oracle", "undefended"))
    assert attacked.accuracy[-1] < alone.accuracy[-1]


def test_a_share_of_the_clients_attacks() -> None:
    by_share, federation = ran("sign_flip", "undefended", hostile=0.25)
    assert len(federation.hostile) == 2
    assert by_share.figures == ran("sign_flip", "undefended", hostile=2)[0].figures


@pytest.mark.parametrize("attack", ["ipm", "malformed", "sign_flip", "label_flip", "sponge"])
def test_before_it_wakes_an_attack_changes_nothing(attack: str) -> None:
    asleep, _ = ran(f"{attack} + sleeper(wakes=3)", "undefended")
    honest, _ = ran("", "no_attack", hostile=0)
    assert asleep.figures[:2] == honest.figures[:2]
    assert asleep.stopped is not None or asleep.figures[2] != honest.figures[2]


def test_mimic_remembers_across_rounds_whom_it_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[Any] = []
    stepped = ATTACKS["mimic"].stepped

    def watched(*arguments: Any, **options: Any) -> Any:
        states.append(options["state"])
        return stepped(*arguments, **options)

    monkeypatch.setattr(ATTACKS["mimic"], "stepped", watched)
    ran("mimic", "defended")
    # the first call of all is the check of the settings
    assert [state and state["rounds"] for state in states[1:]] == [None, 1, 2]
    assert set(states[-1]["projections"]) == set(range(8)) - ran("mimic", "defended")[1].hostile


def test_partial_participation_asks_some_of_the_hostile() -> None:
    run, _ = ran("min_max + jitter", "defended", **{"fraction-train": 0.75, "tolerated": "1", "rounds": 4})
    assert [len(record.verdicts) for record in run.records] == [6] * 4
