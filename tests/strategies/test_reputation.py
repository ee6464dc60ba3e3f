"""Reputation: who goes into quarantine how soon and how rarely, how it ends, and what absence and resuming change."""

import json

import numpy as np
import pytest
from hawthorn.strategies import Defense, SettingError, paroled, quarantined, released
from hawthorn.strategies.contract import Decision
from hawthorn.strategies.reputation import Sequential, Standing, most_rejected, unasked, with_reputation
from scipy import special

GOOD = Standing()
TEST = Sequential(term=4, probation=3)
CLIENTS = [f"client {k}" for k in range(12)]
HOSTILE = {"client 10", "client 11"}
DEFENSE = Defense("median", f=2, policy="alarm", reputation="sequential(term=4,probation=3)")


def standing_after(p_values, test=TEST, standing=GOOD, rejected=False, start=1):
    """The standing after rounds with these p-values, one after the other."""
    for now, p in enumerate(p_values, start):
        standing = test.after(standing, p, rejected, now)
    return standing


def decided(p_values, rejected=()):
    accepted = np.array([k not in rejected for k in range(len(p_values))])
    return Decision(accepted, np.array(p_values), tuple("" if fine else "far off" for fine in accepted))


def federation(rng, tilt, clients=CLIENTS):
    """A round of updates around a common direction, the hostile ones turned away from it."""
    rows = np.ones(300) / 17 + rng.normal(0, 0.02, (len(clients), 300))
    rows[[name in HOSTILE for name in clients]] -= tilt / 17
    return rows


def played(rng, tilts, state=None, defense=DEFENSE):
    """The state and the outcomes of rounds in which hostile clients turn away by so much."""
    outcomes = []
    for tilt in tilts:
        outcomes.append(defense(federation(rng, tilt), clients=CLIENTS, state=state))
        state = outcomes[-1].state
    return state, outcomes


def judged(outcome, name):
    return outcome.verdicts[CLIENTS.index(name)]


@pytest.mark.parametrize("p", [1e-12, 1e-4, 0.001, 0.005])
@pytest.mark.parametrize("good", [0, 1, 50, 500])
def test_a_client_that_turns_hostile_is_caught_within_the_stated_rounds_whatever_its_past(p, good):
    test, count = Sequential(), Sequential().rounds_needed(p)
    past = np.random.default_rng(good).uniform(0.05, 1.0, good)
    assert standing_after([*past, *[p] * count], test).name == "quarantine"
    assert standing_after([*[1.0] * good, *[p] * (count - 1)], test).name == ""
    assert standing_after([*[1.0] * good, *[p] * count], test) == Standing(
        "quarantine",
        since=good + count,
        until=good + count + 10,
        term=10,
        quarantines=1.0,
        evidence=standing_after([*[1.0] * good, *[p] * count], test).evidence,
    )


def test_the_stated_rounds_follow_from_the_settings():
    assert Sequential(rate=0.01, lag=1, decay=1.0).rounds_needed(0.01) == 3  # log 100 / log 5 = 2.86
    assert Sequential(rate=0.01, lag=2, decay=1.0).rounds_needed(0.01) == 6
    assert Sequential().rounds_needed(0.25) is None
    assert Sequential(decay=0.5).rounds_needed(0.01) is None


def test_one_round_is_never_enough_and_what_is_long_past_fades():
    assert standing_after([0.0], Sequential(lag=1)).name == ""
    assert standing_after([0.0, 0.0, 0.0], Sequential(lag=1)).name == "quarantine"
    assert standing_after([0.0, *[0.25] * 40, 0.0, *[0.25] * 40, 0.0], Sequential(lag=1)).name == ""


def quarantines(test, p_values):
    """How many quarantines begin among clients with these p-values `(rounds, clients)`."""
    standings, count = [Standing()] * p_values.shape[1], 0
    for now, row in enumerate(p_values, 1):
        standings = [test.after(standing, float(p), False, now) for standing, p in zip(standings, row, strict=True)]
        count += sum(standing.name == "quarantine" for standing in standings)
        standings = [Standing() if standing.name else standing for standing in standings]
    return count


def test_honest_clients_go_into_quarantine_no_oftener_than_stated():
    rng = np.random.default_rng(11)
    exact = Sequential(rate=0.02, lag=1, decay=1.0)
    assert 0 < quarantines(exact, rng.uniform(size=(500, 60))) < 0.02 * 30_000
    assert quarantines(Sequential(), rng.uniform(size=(500, 60))) == 0


def test_nor_where_p_values_resemble_those_of_the_rounds_before_as_averages_do():
    rng = np.random.default_rng(12)
    z = np.empty((800, 60))
    z[0] = rng.normal(size=60)
    for now in range(1, len(z)):
        z[now] = 0.95 * z[now - 1] + np.sqrt(1 - 0.95**2) * rng.normal(size=60)
    p_values = special.ndtr(-z)
    assert quarantines(Sequential(), p_values) < 0.001 * p_values.size
    assert quarantines(Sequential(lag=1), p_values) > 0.003 * p_values.size


def test_a_term_a_last_look_probation_and_good_standing():
    held = standing_after([1e-9] * TEST.rounds_needed(1e-9))
    since, until = held.since, held.until
    assert until == since + 4
    assert TEST.after(held, 1e-9, True, until - 1) == held, "in its term nothing is held against it"
    assert TEST.after(held, 0.5, False, until) == held, "the last look passed, it still does not count"
    free = TEST.after(held, 0.5, False, until + 1)
    assert (free.name, free.since, free.left) == ("probation", until + 1, 2)
    assert standing_after([0.5] * 2, standing=free, start=until + 2) == Standing(quarantines=1.0)


def test_one_rejection_on_probation_or_at_the_last_look_doubles_the_term():
    held = standing_after([1e-9] * TEST.rounds_needed(1e-9))
    looked = TEST.after(held, 1e-9, True, held.until)
    assert (looked.name, looked.since, looked.term, looked.until) == ("quarantine", held.until, 8, held.until + 8)
    probation = TEST.after(held, 0.5, False, held.until + 1)
    back = TEST.after(probation, 0.01, True, held.until + 2)
    assert (back.name, back.term, back.quarantines) == ("quarantine", 8, 2.0)
    again = TEST.after(back, 0.01, True, back.until)
    assert again.term == 16


def test_past_quarantines_lengthen_the_next_one_and_are_forgotten_in_time():
    needed = TEST.rounds_needed(1e-9)
    assert standing_after([1e-9] * needed, standing=Standing(quarantines=1.0)).term == 8
    later = standing_after([0.5] * 300, standing=Standing(quarantines=1.0))
    assert standing_after([1e-9] * needed, standing=later).term == 4


def test_rounds_without_a_client_change_its_term_alone():
    gaps = np.cumsum(np.random.default_rng(2).integers(1, 9, 8))
    standing = Standing()
    for p, now in zip([0.01, 0.3, 1e-6, 0.9, 1e-6, 1e-6, 1e-6, 1e-6], gaps, strict=True):
        standing = TEST.after(standing, p, False, int(now))
    together = standing_after([0.01, 0.3, 1e-6, 0.9, 1e-6, 1e-6, 1e-6, 1e-6])
    assert standing.name == together.name == "quarantine"
    assert standing.evidence == together.evidence
    assert standing.until - standing.since == 4
    returned = TEST.after(standing, 0.5, False, standing.until + 50)
    assert (returned.name, returned.left) == ("probation", 2), "probation is of rounds that it takes part in"


def test_no_more_than_so_many_are_rejected_and_those_with_the_strongest_evidence():
    record = {"name": "quarantine", "since": 9, "until": 19, "term": 10, "evidence": 7.0, "quarantines": 1.0}
    stale = {**record, "since": 1, "until": 11}
    state = {"rounds": 9, "clients": {}, "reputation": {"a": stale, "b": record}}
    p_values = [0.9, 0.9, 0.9, 0.01, 1e-9]
    found = with_reputation(TEST, decided(p_values, rejected={3, 4}), list("abcde"), state, most=2).decision
    assert found.accepted.tolist() == [True, False, True, True, False], "a blow outweighs a fading quarantine"
    assert [bool(reason) for reason in found.reasons] == [not accepted for accepted in found.accepted]
    assert "in quarantine since round 9, until round 19" in found.reasons[1]
    all_four = with_reputation(TEST, decided(p_values, rejected={3, 4}), list("abcde"), state, most=4).decision
    assert all_four.accepted.tolist() == [False, False, True, False, False]


def test_who_is_left_out_counts_among_those_that_may_be_rejected():
    assert most_rejected("alarm", 2, 10) == 2
    assert most_rejected("alarm", 2, 9, left_out=1) == 1
    assert most_rejected("alarm", 0.2, 8, left_out=2) == 0
    assert most_rejected("fdr(most=1)", 3, 10) == 1


def test_those_in_quarantine_need_not_be_asked_until_their_last_round():
    record = {"name": "quarantine", "since": 5, "until": 9, "term": 4, "evidence": 7.0, "quarantines": 1.0}
    state = {"rounds": 7, "clients": {}, "reputation": {"a": record, "b": {**record, "evidence": 8.0}}}
    assert unasked(state, list("abcd"), most=2) == {"a", "b"}
    assert unasked(state, list("abcd"), most=1) == {"b"}
    assert unasked(state, list("ab"), most=2) == frozenset(), "terms pass only with rounds that are judged"
    assert unasked({**state, "rounds": 8}, list("abcd"), most=2) == frozenset()
    assert unasked(None, list("abcd"), most=2) == frozenset()
    assert set(quarantined({**state, "rounds": 8})) == {"a", "b"}
    assert quarantined({**state, "rounds": 9}) == quarantined(None) == {}


def test_a_sleeper_is_rejected_in_every_round_of_its_quarantine_even_if_it_behaves():
    rng = np.random.default_rng(21)
    state, outcomes = played(rng, [0.0] * 30)
    assert quarantined(state) == {}
    count, held = 0, {}
    while not held:
        state, _ = played(rng, [1.5], state)
        held, count = quarantined(state), count + 1
        assert count <= 15
    assert set(held) == HOSTILE
    state, outcomes = played(rng, [0.0] * 4, state)
    for outcome in outcomes:
        for name in CLIENTS:
            assert judged(outcome, name).accepted == (name not in HOSTILE)
    verdict = judged(outcomes[0], "client 10")
    assert verdict.standing == f"in quarantine since round {30 + count}, until round {34 + count}"
    assert verdict.reason.startswith(verdict.standing)
    assert verdict.weight == 0
    state, outcomes = played(rng, [0.0] * 3, state)
    assert judged(outcomes[0], "client 10").standing == f"on probation since round {35 + count}"
    assert all(judged(outcomes[-1], name).accepted and not judged(outcomes[-1], name).standing for name in HOSTILE)


def test_a_client_that_goes_on_is_sent_back_for_twice_the_term():
    rng = np.random.default_rng(22)
    state, _ = played(rng, [1.5] * 30)
    held = quarantined(state)
    assert set(held) == HOSTILE
    assert all(standing.term >= 8 for standing in held.values())


def test_a_reputation_is_of_an_identity_whatever_the_order_of_the_rows():
    rng, state, other = np.random.default_rng(23), None, None
    for tilt in [0.0] * 3 + [1.5] * 8:
        rows, order = federation(rng, tilt), rng.permutation(12)
        state = DEFENSE(rows, clients=CLIENTS, state=state).state
        other = DEFENSE(rows[order], clients=[CLIENTS[k] for k in order], state=other).state
    assert quarantined(state) == quarantined(other)
    assert set(quarantined(state)) == HOSTILE
    renamed = DEFENSE(federation(rng, 0.0), clients=[f"new {name}" for name in CLIENTS], state=state)
    assert all(verdict.accepted for verdict in renamed.verdicts)
    assert set(quarantined(renamed.state)) == HOSTILE, "who is absent stays where it is"


def test_a_saved_state_gives_the_same_verdicts():
    one, other, resumed = np.random.default_rng(24), np.random.default_rng(24), None
    state = None
    for tilt in [0.0] * 3 + [1.5] * 10 + [0.0] * 8:
        state, (outcome,) = played(one, [tilt], state)
        resumed, (later,) = played(other, [tilt], resumed)
        assert outcome.verdicts == later.verdicts
        resumed = json.loads(json.dumps(resumed))
    assert resumed["reputation"] == state["reputation"]


def test_the_operator_releases_and_paroles():
    rng = np.random.default_rng(25)
    state, _ = played(rng, [1.5] * 8)
    assert set(quarantined(state)) == HOSTILE
    before = json.dumps(state)
    free = released(state, "client 10")
    assert set(quarantined(free)) == {"client 11"}
    _, (outcome,) = played(rng, [0.0], free)
    assert judged(outcome, "client 10").accepted
    assert not judged(outcome, "client 10").standing
    assert not judged(outcome, "client 11").accepted
    after, (outcome,) = played(rng, [0.0], paroled(state, "client 10"))
    assert judged(outcome, "client 10").accepted
    assert judged(outcome, "client 10").standing.startswith("on probation")
    assert after["reputation"]["client 10"]["quarantines"] >= 1
    assert json.dumps(state) == before
    with pytest.raises(SettingError, match="'nobody'"):
        released(state, "nobody")
    with pytest.raises(SettingError, match="not in quarantine"):
        paroled(after, "client 10")


def test_without_reputation_or_names_nothing_is_kept():
    rows = federation(np.random.default_rng(26), 1.5)
    plain = Defense("median", f=2)
    assert "reputation" not in plain(rows, clients=CLIENTS).state
    assert all(verdict.standing == "" for verdict in DEFENSE(rows).verdicts)


def test_recipes_with_a_reputation_print_and_parse_back():
    assert "reputation" not in str(Defense("median"))
    defense = Defense.parse("median; f=2; momentum=0.5; reputation=sequential(term = 7)")
    assert defense.reputation == "sequential(term=7)"
    assert Defense.parse(str(defense)) == defense


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequentiel", "did you mean 'sequential'"),
        ("sequential(terms=3)", "no option 'terms'"),
        ("sequential(rate=0)", "a rate between 0 and 1"),
        ("sequential(decay=1.1)", "a decay above 0 and at most 1"),
        ("sequential(term=0)", "whole number term"),
        ("sequential(lag=1.5)", "whole number lag"),
    ],
)
def test_a_reputation_that_does_not_exist_is_refused(text, message):
    with pytest.raises(SettingError, match=message):
        Defense("median", reputation=text)


def test_a_reputation_needs_scores():
    with pytest.raises(SettingError, match="reputation needs scores"):
        Defense("median", scores=(), policy="none", reputation="sequential")
