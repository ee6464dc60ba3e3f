"""Evidence: the scale is the honest majority's, noise averages out over rounds, and a good past is no licence."""

import json

import numpy as np
import pytest
from hawthorn.strategies import Defense
from hawthorn.strategies.evidence import History, deviations

HONEST, HOSTILE, LENGTH = 16, 4, 400
CLIENTS = [f"client-{k}" for k in range(HONEST + HOSTILE)]
DEFENSE = Defense("geometric_median", f=HOSTILE)


def honest_round(rng, tilt=0.0):
    """Twenty updates around a common direction, the last four turned away from it by `tilt`."""
    direction = np.ones(LENGTH) / np.sqrt(LENGTH)
    updates = direction + rng.normal(0, 0.06, (HONEST + HOSTILE, LENGTH))
    updates[HONEST:] -= tilt * direction
    return updates


def rejected(outcome):
    return {name for name, verdict in zip(CLIENTS, outcome.verdicts, strict=True) if not verdict.accepted}


@pytest.mark.parametrize("share", [0, 0.1, 0.2, 0.3, 0.4])
def test_deviations_of_normal_values_are_standard_whatever_share_is_cut_off(share):
    values = np.random.default_rng(5).normal(3.0, 2.0, 20_000)
    found = deviations(values, f=int(share * 20_000), spread=0.01)
    assert abs(found.mean()) < 0.06
    assert abs(found.std() - 1) < 0.06


def test_hostile_values_do_not_widen_the_scale_they_are_measured_by():
    values = np.append(np.random.default_rng(5).normal(0, 1, 14), np.full(6, 50.0))
    alone = deviations(values, f=6, spread=0.01)[:14]
    assert alone.max() < 4
    assert deviations(values, f=6, spread=0.01)[14:].min() > 25
    assert deviations(values, f=0, spread=0.01)[14:].min() < 25


def test_differences_below_the_spread_are_no_evidence():
    assert np.ptp(deviations(np.array([1.0, 1.001, 1.002, 1.003, 1.009]), f=1, spread=0.5)) < 0.05


def test_what_one_round_leaves_in_doubt_several_rounds_make_certain():
    rng, state, caught = np.random.default_rng(7), None, []
    for _ in range(15):
        outcome = DEFENSE(honest_round(rng, tilt=0.4), clients=CLIENTS, state=state)
        state = outcome.state
        caught.append(len(rejected(outcome) & set(CLIENTS[HONEST:])))
    without_memory = [len(rejected(DEFENSE(honest_round(rng, tilt=0.4))) & set(CLIENTS[HONEST:])) for _ in range(15)]
    assert sum(caught[5:]) > sum(without_memory[5:])
    assert caught[-1] == HOSTILE


def test_a_long_good_past_is_no_licence_for_one_blow():
    rng, state = np.random.default_rng(3), None
    for _ in range(60):
        state = DEFENSE(honest_round(rng), clients=CLIENTS, state=state).state
    blow = honest_round(rng)
    blow[HONEST:] *= -20
    assert rejected(DEFENSE(blow, clients=CLIENTS, state=state)) == set(CLIENTS[HONEST:])


def test_who_turns_hostile_is_caught_within_ten_rounds_and_kept_out():
    rng, state = np.random.default_rng(4), None
    for _ in range(30):
        state = DEFENSE(honest_round(rng), clients=CLIENTS, state=state).state
    for _ in range(10):
        outcome = DEFENSE(honest_round(rng, tilt=2.0), clients=CLIENTS, state=state)
        state = outcome.state
    assert rejected(outcome) == set(CLIENTS[HONEST:])


def test_honest_rounds_reject_next_to_nobody():
    rng, state, alarms = np.random.default_rng(9), None, 0
    for _ in range(40):
        outcome = DEFENSE(honest_round(rng), clients=CLIENTS, state=state)
        state = outcome.state
        alarms += len(rejected(outcome))
    assert alarms <= 0.02 * 40 * len(CLIENTS)


def test_memory_follows_the_identity_not_the_row():
    rng = np.random.default_rng(2)
    state = DEFENSE(honest_round(rng, tilt=2.0), clients=CLIENTS, state=None).state
    updates, order = honest_round(rng, tilt=2.0), np.random.default_rng(1).permutation(len(CLIENTS))
    straight = DEFENSE(updates, clients=CLIENTS, state=state)
    shuffled = DEFENSE(updates[order], clients=[CLIENTS[k] for k in order], state=state)
    assert shuffled.state == straight.state
    assert [straight.verdicts[k] for k in order] == list(shuffled.verdicts)


def test_who_is_absent_is_remembered_and_who_is_new_has_no_past():
    rng = np.random.default_rng(2)
    state = DEFENSE(honest_round(rng), clients=CLIENTS, state=None).state
    present = [*CLIENTS[:10], *(f"new-{k}" for k in range(10))]
    after = DEFENSE(honest_round(rng), clients=present, state=state).state
    assert after["clients"]["client-15"] == state["clients"]["client-15"]
    assert (after["clients"]["client-3"]["seen"], after["clients"]["new-3"]["seen"], after["rounds"]) == (2, 1, 2)
    assert History.recalled(after, ["new-3", "stranger"], 2).weight.tolist()[1] == 0.0


def test_a_state_saved_as_json_goes_on_bit_for_bit():
    rng = np.random.default_rng(8)
    state = DEFENSE(honest_round(rng, tilt=1.0), clients=CLIENTS, state=None).state
    updates = honest_round(rng, tilt=1.0)
    saved = json.loads(json.dumps(state))
    assert (
        DEFENSE(updates, clients=CLIENTS, state=saved).verdicts
        == DEFENSE(updates, clients=CLIENTS, state=state).verdicts
    )
