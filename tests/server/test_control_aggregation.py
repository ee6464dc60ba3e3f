"""A round through the Aggregation service is the defense's own to the last bit, whatever else is sent."""

import gc
import threading
import time
import zlib
from itertools import pairwise

import grpc
import numpy as np
import process_memory as memory
import pytest
from controlled import opening, pki, refused, served, service
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.limits import Limits
from hawthorn.server.control.refusal import Refusal
from hawthorn.server.control.remote import RemoteDefense, received
from hawthorn.strategies import Defense, SettingError
from hawthorn.strategies.contract import POLICIES, RULES, SCORES, TRANSFORMS, options_of
from hawthorn.strategies.errors import ServiceError

LIMITS = Limits(chunk=1 << 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pki(tmp_path_factory.mktemp("control") / "pki").folder


@pytest.fixture
def found(folder):
    with served(folder, limits=LIMITS) as server:
        yield server


@pytest.fixture
def aggregation(found, folder):
    with service(found, folder, "flare", "Aggregation") as opened:
        yield opened


def rows_of(n=10, d=50, dtype="float32", seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)
    rows[0] *= -30
    return rows


def names(n):
    return [f"site-{place}" for place in range(n)]


def chunk(data, offset=0, **fields):
    return pb.RoundRequest(chunk=pb.Chunk(offset=offset, data=data, **{"crc32": zlib.crc32(data), **fields}))


def update(client, **fields):
    return pb.RoundRequest(update=pb.Update(client=client, **fields))


def begin(round=1, session="s"):
    return pb.RoundRequest(begin=pb.Begin(session=session, round=round))


END = pb.RoundRequest(end=pb.End())


def whole(rows, start=0):
    """The requests of updates that are as they should be."""
    for place, row in enumerate(rows):
        yield update(f"site-{start + place}")
        yield chunk(row.tobytes())


def held(aggregation, requests, round=1):
    return received(aggregation.stream("Round", [begin(round), *requests, END]), np.dtype("float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(
    "defense",
    ["", "nnm | trimmed_mean; f=2", "shortened_mean; reputation=sequential", "centered_clipping", "krum; momentum=0.9"],
)
def test_rounds_are_the_defenses_own_to_the_last_bit(found, folder, dtype, defense):
    numbers = {"float32": pb.FLOAT32, "float64": pb.FLOAT64, "float16": pb.FLOAT16}[dtype]
    here = Defense.parse(defense or Defense().rule, f=None if "f=" in defense else 0.2)
    d, state = 40_001, None
    with service(found, folder, "flare", "Aggregation") as opened:
        remote = RemoteDefense(opened.channel, "s", defense=defense, share=0.2, dimension=d, numbers=numbers, clients=9)
        assert remote.opened.defense == str(here)
        for seed in range(4):
            rows = rows_of(9, d, dtype, seed)
            judged = remote.round(zip(names(9), rows, strict=True))
            outcome = here(rows, clients=names(9), state=state)
            state = outcome.state
            assert judged.aggregate.dtype == rows.dtype
            assert judged.aggregate.tobytes() == np.asarray(outcome.update).astype(dtype).tobytes()
            for told, verdict, name in zip(judged.verdicts, outcome.verdicts, names(9), strict=True):
                assert (told.client, told.accepted, told.weight) == (name, verdict.accepted, verdict.weight)
                assert (told.reason, told.standing) == (verdict.reason, verdict.standing)
                assert dict(told.scores) == verdict.scores
                np.testing.assert_equal(told.p_value, verdict.p_value)
        remote.forget()


def test_weights_layers_and_rows_of_the_servers_own_are_taken(found, folder):
    rows, own = rows_of(), np.ones(50, np.float32)
    weights = {name: 1.0 + place for place, name in enumerate(names(10))}
    with service(found, folder, "flare", "Aggregation") as opened:
        settings = {"dimension": 50, "numbers": pb.FLOAT32, "clients": 10}
        remote = RemoteDefense(opened.channel, "weighted", defense="mean", weighted=True, **settings)
        judged = remote.round(zip(names(10), rows, strict=True), weights=weights)
        expected = Defense("mean")(rows, clients=names(10), weights=list(weights.values()))
        assert judged.aggregate.tobytes() == expected.update.tobytes()
        remote = RemoteDefense(opened.channel, "trusted", defense="fltrust", **settings)
        judged = remote.round(zip(names(10), rows, strict=True), trusted=own)
        expected = Defense("fltrust")(rows, clients=names(10), trusted=own)
        assert judged.aggregate.tobytes() == expected.update.tobytes()
        judged = remote.round(zip(names(10), rows, strict=True))
        assert judged.aggregate is None
        assert "trusted row" in judged.skipped
        remote = RemoteDefense(opened.channel, "layers", defense="lasa", bounds=[0, 20, 50], **settings)
        judged = remote.round(zip(names(10), rows, strict=True))
        expected = Defense("lasa")(rows, clients=names(10), bounds=[0, 20, 50])
        assert judged.aggregate.tobytes() == expected.update.tobytes()


def test_chunks_may_cut_numbers_in_two(aggregation):
    aggregation.call("Open", opening())
    rows = rows_of()
    requests = []
    for name, row in zip(names(10), rows, strict=True):
        content = row.tobytes()
        requests += [update(name)]
        requests += [chunk(content[a:b], a) for a, b in pairwise([0, 1, 2, 7, 100, 199, 200])]
    assert held(aggregation, requests).aggregate.tobytes() == Defense("trimmed_mean")(rows).update.tobytes()


def spoiled(rows):
    """Wrong updates of `site-x`, by what is said of them."""
    content = rows[0].tobytes()
    nan, infinite = rows[0].copy(), rows[0].copy()
    nan[49], infinite[0] = np.nan, np.inf
    return {
        "expected 200 bytes, got 100": [chunk(content[:100])],
        "expected 200 bytes, got 0": [],
        "expected 200 bytes, got at least 201": [chunk(content + b"\0")],
        "expected the bytes from 100 on, got those from 120 on": [chunk(content[:100]), chunk(content[120:], 120)],
        "expected the bytes from 100 on, got those from 0 on": [chunk(content[:100]), chunk(content[:100])],
        "expected the bytes from 0 on, got those from 100 on": [chunk(content[100:], 100), chunk(content[:100])],
        "an empty chunk": [chunk(b""), chunk(content)],
        "do not have the checksum": [chunk(content, crc32=1)],
        "got NaN or infinity": [chunk(nan.tobytes())],
        "numbers must be finite": [chunk(infinite.tobytes()[:6]), chunk(infinite.tobytes()[6:], 6)],
    }


@pytest.mark.parametrize("words", list(spoiled(rows_of())))
@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_bad_update_is_its_own_loss(aggregation, words, place):
    aggregation.call("Open", opening())
    rows = rows_of(9)
    wrong = [update("site-x"), *spoiled(rows)[words]]
    judged = held(aggregation, [*whole(rows[:place]), *wrong, *whole(rows[place:], place)])
    assert list(judged.refused) == ["site-x"]
    assert words in judged.refused["site-x"]
    outcome = Defense("trimmed_mean")(rows, clients=names(9))
    assert judged.aggregate.tobytes() == outcome.update.tobytes()


def test_a_second_update_of_a_client_is_refused_and_the_first_counts(aggregation):
    aggregation.call("Open", opening())
    rows = rows_of(9)
    judged = held(aggregation, [*whole(rows), update("site-3"), chunk((rows[0] * 9).tobytes())])
    assert judged.refused == {"site-3": "a second update; the first one counts"}
    assert judged.aggregate.tobytes() == Defense("trimmed_mean")(rows, clients=names(9)).update.tobytes()


def test_a_client_whose_update_was_refused_may_send_another(aggregation):
    aggregation.call("Open", opening())
    rows = rows_of(10)
    judged = held(aggregation, [update("site-0"), chunk(b"1234"), *whole(rows)])
    assert list(judged.refused) == ["site-0"]
    assert judged.aggregate.tobytes() == Defense("trimmed_mean")(rows, clients=names(10)).update.tobytes()


def test_a_round_without_updates_is_skipped(aggregation):
    aggregation.call("Open", opening())
    judged = held(aggregation, [update("a"), chunk(b"1")])
    assert (judged.aggregate, judged.skipped) == (None, "no update was admitted")
    assert aggregation.call("Open", opening()).rounds == 1


WRONG = {
    "nothing": ([], "INVALID_ARGUMENT", "begins with"),
    "no begin": ([END], "INVALID_ARGUMENT", "begins with"),
    "no such session": ([begin(session="other")], "NOT_FOUND", "no session named 'other'"),
    "round 0": ([begin(0)], "FAILED_PRECONDITION", "0 rounds were held"),
    "round 2": ([begin(2)], "FAILED_PRECONDITION", "round 2 is not the next"),
    "no end": ([begin(), update("a")], "INVALID_ARGUMENT", "without `end`"),
    "begun twice": ([begin(), begin()], "INVALID_ARGUMENT", "goes on with"),
    "nothing in it": ([begin(), pb.RoundRequest()], "INVALID_ARGUMENT", "goes on with"),
    "chunk of nobody": ([begin(), chunk(b"1234")], "INVALID_ARGUMENT", "must follow"),
    "no name": ([begin(), update("")], "INVALID_ARGUMENT", "name must be"),
    "long name": ([begin(), update("a" * 201)], "INVALID_ARGUMENT", "name must be"),
    "control name": ([begin(), update("\x1b[2J")], "INVALID_ARGUMENT", "name must be"),
    "weight": ([begin(), update("a", weight=1.0)], "INVALID_ARGUMENT", "without weights"),
    "trusted": ([begin(), update("", kind=pb.Update.TRUSTED)], "INVALID_ARGUMENT", "asks for no such row"),
    "unknown kind": ([begin(), update("", kind=7)], "INVALID_ARGUMENT", "asks for no such row"),
    "large chunk": ([begin(), update("a"), chunk(b"\0" * 65537)], "RESOURCE_EXHAUSTED", "at most 65536 bytes"),
    "huge message": ([begin(), update("a"), chunk(b"\0" * 200_000)], "RESOURCE_EXHAUSTED", ""),
    "eleven clients": ([begin(), *whole(rows_of(11))], "RESOURCE_EXHAUSTED", "opened for 10 clients"),
    "refused without end": ([begin(), *[update("a")] * 22], "RESOURCE_EXHAUSTED", "more updates than"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_misuse_ends_the_call_with_a_status_and_leaves_the_session_as_it_was(aggregation, name):
    requests, code, words = WRONG[name]
    aggregation.call("Open", opening())
    with refused(code, words):
        list(aggregation.stream("Round", requests))
    rows = rows_of()
    assert aggregation.call("Open", opening()).rounds == 0
    assert held(aggregation, whole(rows)).aggregate.tobytes() == Defense("trimmed_mean")(rows).update.tobytes()


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"session": ""}, "INVALID_ARGUMENT", "session's name"),
        ({"session": "../x"}, "INVALID_ARGUMENT", "session's name"),
        ({"defense": "trimed_mean"}, "INVALID_ARGUMENT", "did you mean 'trimmed_mean'"),
        ({"defense": "krum; f=x"}, "INVALID_ARGUMENT", "f must be"),
        ({"share": 0.7}, "INVALID_ARGUMENT", "0.7"),
        ({"share": float("nan")}, "INVALID_ARGUMENT", "nan"),
        ({"numbers": 0}, "INVALID_ARGUMENT", "numbers must be"),
        ({"numbers": 9}, "INVALID_ARGUMENT", "numbers must be"),
        ({"dimension": 0}, "INVALID_ARGUMENT", "at least 1"),
        ({"clients": 0}, "INVALID_ARGUMENT", "at least 1"),
        ({"clients": 1001}, "RESOURCE_EXHAUSTED", "1000 clients"),
        ({"dimension": 2**63}, "RESOURCE_EXHAUSTED", "bytes"),
        ({"weighted": True, "defense": "nnm | mean"}, "INVALID_ARGUMENT", "weight"),
        ({"bounds": [0, 70]}, "INVALID_ARGUMENT", "50"),
        ({"bounds": [5, 3, 50]}, "INVALID_ARGUMENT", "bounds"),
    ],
)
def test_a_session_that_cannot_be_is_refused(aggregation, fields, code, words):
    with refused(code, words):
        aggregation.call("Open", opening(**fields))


COUNTS = [
    (name, option)
    for table in (RULES, TRANSFORMS, SCORES, POLICIES)
    for name, part in table.items()
    for option, default in options_of(part.function).items()
    if isinstance(default, int)
]


@pytest.mark.parametrize(("name", "option"), COUNTS)
def test_no_option_keeps_the_server_at_work_without_end(aggregation, name, option):
    pipeline = f"{name}({option}=+(1_000_000_000))" + (" | mean" if name in TRANSFORMS else "")
    with refused("INVALID_ARGUMENT", f"{name} takes at most 1000 {option}"):
        aggregation.call("Open", opening(defense=pipeline))


def test_names_end_where_something_is_remembered_of_each(found, aggregation):
    aggregation.call("Open", opening(defense="mean; momentum=0.9", clients=2))
    plan = found.sessions.of("flare", "s").plan
    assert plan.names == 108
    for number in range(1, 55):
        fresh = [f"{number}-{place}" for place in range(2)]
        rows = [part for name in fresh for part in (update(name), chunk(rows_of()[0].tobytes()))]
        assert not held(aggregation, rows, number).refused
    assert len(found.sessions.of("flare", "s").kept.state["momentum"]) == plan.names
    rows = [part for name in ("new", "1-0") for part in (update(name), chunk(rows_of()[0].tobytes()))]
    assert held(aggregation, rows, 55).refused == {"new": "the session knows 108 clients, and takes no other names"}
    assert plan.room >= (2 * 2 + 1 + plan.names) * 50 * 4
    aggregation.call("Open", opening(session="t"))
    assert found.sessions.of("flare", "t").plan.names is None


def test_a_defense_is_no_book(aggregation):
    with refused("INVALID_ARGUMENT", "at most 2000 characters"):
        aggregation.call("Open", opening(defense="nnm | " * 400 + "mean"))


def test_a_session_is_opened_once_and_for_one_thing(aggregation):
    aggregation.call("Open", opening(defense="nnm|trimmed_mean", share=0.2))
    aggregation.call("Open", opening(defense="nnm | trimmed_mean; f=0.2"))
    with refused("FAILED_PRECONDITION", "forget it first"):
        aggregation.call("Open", opening(defense="krum"))
    assert aggregation.call("Forget", pb.ForgetRequest(session="s")).rounds == 0
    aggregation.call("Open", opening(defense="krum"))
    with refused("NOT_FOUND"):
        aggregation.call("Forget", pb.ForgetRequest(session="t"))


def test_a_folder_of_sessions_is_one_servers(folder, tmp_path):
    for _ in range(2):  # again when the first one has ended
        with (
            served(folder, state=tmp_path),
            pytest.raises(SettingError, match="another server keeps its sessions in"),
            served(folder, state=tmp_path),
        ):
            pass


def test_a_session_that_is_only_kept_is_forgotten_by_its_owner_alone(folder, tmp_path):
    with served(folder, state=tmp_path) as found, service(found, folder, "flare", "Aggregation") as one:
        one.call("Open", opening())
        held(one, whole(rows_of()))
    with (
        served(folder, state=tmp_path) as found,
        service(found, folder, "flare", "Aggregation") as one,
        service(found, folder, "openfl", "Aggregation") as two,
    ):
        with refused("FAILED_PRECONDITION", "forget it first"):
            one.call("Open", opening(defense="krum"))
        with refused("NOT_FOUND", "open or kept"):
            two.call("Forget", pb.ForgetRequest(session="s"))
        assert one.call("Forget", pb.ForgetRequest(session="s")).rounds == 1
        assert one.call("Open", opening(defense="krum")).rounds == 0


def test_sessions_of_two_certificates_have_nothing_in_common(found, folder, aggregation):
    aggregation.call("Open", opening())
    with service(found, folder, "openfl", "Aggregation") as other:
        with refused("NOT_FOUND"):
            other.call("Forget", pb.ForgetRequest(session="s"))
        assert other.call("Open", opening(defense="krum")).defense.startswith("krum")
    assert held(aggregation, whole(rows_of())).aggregate is not None


def test_sessions_end_at_their_number_and_their_room(folder):
    each = 11 * 200 + 16 * 100  # ten rows and the answer, and their distances
    with (
        served(folder, limits=Limits(sessions=3, sessions_each=2)) as found,
        service(found, folder, "flare", "Aggregation") as one,
        service(found, folder, "openfl", "Aggregation") as two,
    ):
        for name in "ab":
            one.call("Open", opening(session=name))
        with refused("RESOURCE_EXHAUSTED", "of 'flare'"):
            one.call("Open", opening(session="c"))
        two.call("Open", opening(session="c"))
        with refused("RESOURCE_EXHAUSTED", "3 sessions are open"):
            two.call("Open", opening(session="d"))
        one.call("Forget", pb.ForgetRequest(session="a"))
        two.call("Open", opening(session="d"))
    with served(folder, limits=Limits(room=2 * each)) as found, service(found, folder, "flare", "Aggregation") as one:
        for name in "ab":
            one.call("Open", opening(session=name))
        with refused("RESOURCE_EXHAUSTED", f"{each} bytes are needed, and 0 are left"):
            one.call("Open", opening(session="c"))


def test_the_round_held_last_may_be_asked_for_again_and_changes_nothing(aggregation):
    aggregation.call("Open", opening(defense="centered_clipping"))
    first, second = rows_of(seed=1), rows_of(seed=2)
    defense = Defense("centered_clipping")
    outcome = defense(first, clients=names(10))
    assert held(aggregation, whole(first)).aggregate.tobytes() == outcome.update.tobytes()
    for requests in ([], list(whole(second))):  # with or without the updates, which were judged
        assert held(aggregation, requests, 1).aggregate.tobytes() == outcome.update.tobytes()
    after = defense(second, clients=names(10), state=outcome.state)
    assert held(aggregation, whole(second), 2).aggregate.tobytes() == after.update.tobytes()
    with refused("FAILED_PRECONDITION", "2 rounds were held"):
        list(aggregation.stream("Round", [begin(1), END]))


def test_one_round_of_a_session_is_held_at_a_time(found, aggregation):
    aggregation.call("Open", opening())
    go_on = threading.Event()

    def slowly():
        yield begin()
        yield update("site-0")
        go_on.wait(60)
        yield chunk(rows_of()[0].tobytes())
        yield from whole(rows_of()[1:], 1)
        yield END

    answers = aggregation.stream("Round", slowly())
    while not found.sessions.of("flare", "s").busy:
        time.sleep(0.01)
    for request in (lambda: held(aggregation, []), lambda: aggregation.call("Forget", pb.ForgetRequest(session="s"))):
        with refused("FAILED_PRECONDITION", "is being held"):
            request()
    go_on.set()
    assert received(answers, np.dtype("float32")).aggregate is not None


def test_who_is_in_quarantine_is_not_asked(found, folder):
    with service(found, folder, "flare", "Aggregation") as opened:
        remote = RemoteDefense(
            opened.channel,
            "s",
            defense="trimmed_mean; f=2; reputation=sequential",
            dimension=50,
            numbers=pb.FLOAT32,
            clients=10,
        )
        state, defense = None, Defense.parse("trimmed_mean; f=2; reputation=sequential")
        asked = names(10)
        for seed in range(12):
            rows = rows_of(seed=seed)[[int(name[5:]) for name in asked]]
            judged = remote.round(zip(asked, rows, strict=True))
            outcome = defense(rows, clients=asked, state=state, left_out=10 - len(asked))
            state = outcome.state
            assert judged.aggregate.tobytes() == outcome.update.tobytes()
            asked = remote.asked(names(10))
        assert judged.quarantined == ["site-0"]
        assert asked == names(10)[1:]
        with refused("INVALID_ARGUMENT"):
            remote.service.call("Ask", pb.AskRequest(session="s", clients=["a", "a"]))


def test_what_a_session_remembers_outlives_the_server(folder, tmp_path):
    first, second = rows_of(seed=1), rows_of(seed=2)
    defense = Defense("centered_clipping", momentum=0.5)
    request = opening(defense=str(defense))
    outcome = defense(first, clients=names(10))
    after = defense(second, clients=names(10), state=outcome.state)
    with served(folder, state=tmp_path / "kept") as found, service(found, folder, "flare", "Aggregation") as one:
        one.call("Open", request)
        held(one, whole(first))
    with served(folder, state=tmp_path / "kept") as found, service(found, folder, "flare", "Aggregation") as one:
        with refused("FAILED_PRECONDITION", "is kept for"):
            one.call("Open", opening(defense="krum"))
        assert one.call("Open", request).rounds == 1
        assert held(one, [], 1).aggregate.tobytes() == outcome.update.tobytes()
        assert held(one, whole(second), 2).aggregate.tobytes() == after.update.tobytes()
        assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 1
        one.call("Forget", pb.ForgetRequest(session="s"))
        assert not list((tmp_path / "kept").iterdir())
        assert one.call("Open", request).rounds == 0


def test_a_round_that_cannot_be_kept_does_not_count(folder, tmp_path):
    rows = rows_of(seed=1)
    with (
        served(folder, state=tmp_path / "kept") as found,
        service(found, folder, "flare", "Aggregation") as one,
    ):
        one.call("Open", opening(defense="centered_clipping"))
        (tmp_path / "kept").rmdir()
        (tmp_path / "kept").write_text("in the way")
        with refused("UNAVAILABLE", "does not count"):
            held(one, whole(rows))
        (tmp_path / "kept").unlink()
        expected = Defense("centered_clipping")(rows, clients=names(10))
        assert held(one, whole(rows)).aggregate.tobytes() == expected.update.tobytes()


def test_a_disk_without_room_is_the_servers_own_matter(folder, tmp_path):
    limits = Limits(memory=1000, spool=str(tmp_path), room=1 << 60)
    with served(folder, limits=limits) as found, service(found, folder, "flare", "Aggregation") as one:
        with refused("RESOURCE_EXHAUSTED", "no room for the updates"):
            one.call("Open", opening(dimension=1 << 50, clients=4))
        assert one.call("Open", opening()).rounds == 0


def test_a_session_that_ended_meanwhile_is_not_found(aggregation, found):
    aggregation.call("Open", opening())
    session = found.sessions.of("flare", "s")
    aggregation.call("Forget", pb.ForgetRequest(session="s"))
    with pytest.raises(Refusal, match="was forgotten"), session.held():
        pass
    assert not session.busy


def test_updates_may_lie_in_a_file(folder, tmp_path):
    rows = rows_of()
    with (
        served(folder, limits=Limits(memory=1000, spool=str(tmp_path))) as found,
        service(found, folder, "flare", "Aggregation") as one,
    ):
        one.call("Open", opening())
        judged = held(one, whole(rows))
        session = found.sessions.of("flare", "s")
        assert isinstance(session.updates.rows, np.memmap)
    assert judged.aggregate.tobytes() == Defense("trimmed_mean")(rows).update.tobytes()


def test_an_idle_session_gives_up_its_room(folder):
    with (
        served(folder, limits=Limits(idle_seconds=0.3)) as found,
        service(found, folder, "flare", "Aggregation") as one,
    ):
        one.call("Open", opening())
        assert len(found.sessions) == 1
        while len(found.sessions):
            time.sleep(0.05)
        with refused("NOT_FOUND", "open it"):
            held(one, whole(rows_of()))


@pytest.mark.parametrize("sent", [[], [begin()], [begin(), update("a")], [begin(), update("a"), chunk(b"1234")]])
def test_a_caller_that_sends_nothing_more_loses_its_call_and_keeps_its_session(folder, sent):
    with (
        served(folder, limits=Limits(stalled_seconds=0.3)) as found,
        service(found, folder, "flare", "Aggregation") as one,
    ):
        one.call("Open", opening())
        forever = threading.Event()

        def requests():
            yield from sent
            forever.wait()

        with refused("DEADLINE_EXCEEDED", "nothing was sent for 0.3 seconds"):
            list(one.stream("Round", requests()))
        forever.set()
        assert held(one, whole(rows_of())).aggregate is not None
    while [thread for thread in threading.enumerate() if thread.name.startswith("hawthorn-")]:
        time.sleep(0.05)  # what reads ahead hears of the end a little later


@pytest.mark.parametrize(("most", "asked"), [(0.5, None), (0.5, 3600.0), (3600.0, 0.5)])
def test_a_call_has_a_deadline_whoever_sets_it(folder, most, asked):
    with (
        served(folder, limits=Limits(round_seconds=most)) as found,
        service(found, folder, "flare", "Aggregation") as one,
    ):
        one.call("Open", opening())
        over = threading.Event()

        def requests():
            yield begin()
            while not over.wait(0.05):
                yield update("a")

        with refused("DEADLINE_EXCEEDED"):
            list(one.stream("Round", requests(), seconds=asked))
        over.set()


def test_rounds_at_once_are_limited(folder):
    with (
        served(folder, limits=Limits(rounds=2)) as found,
        service(found, folder, "flare", "Aggregation") as one,
        service(found, folder, "openfl", "Aggregation") as two,
    ):
        over = threading.Event()

        def requests():
            yield begin()
            over.wait(60)

        calls = []
        for who, owner in ((one, "flare"), (two, "openfl")):
            who.call("Open", opening())
            calls.append(who.stream("Round", requests()))
            while not found.sessions.of(owner, "s").busy:
                time.sleep(0.01)
        with refused("RESOURCE_EXHAUSTED", "too many calls of this kind (round) at once"):
            list(one.stream("Round", [begin(), END]))
        over.set()
        for call in calls:
            with refused("INVALID_ARGUMENT", "without `end`"):
                list(call)


def test_a_caller_that_reads_slowly_is_waited_for_without_filling_memory(folder):
    d = 16_000_000  # 64 MB, of which no more than some windows of the network may wait
    with (
        served(folder, limits=Limits(stalled_seconds=60)) as found,
        service(found, folder, "flare", "Aggregation") as one,
    ):
        one.call("Open", opening(defense="mean; f=0; scores=; policy=none", dimension=d, clients=2))
        rows = np.ones((2, d), np.float32)
        session = found.sessions.of("flare", "s")

        def requests():
            yield begin()
            for name, row in zip("ab", rows, strict=True):
                yield update(name)
                for start in range(0, d, 1 << 18):
                    yield chunk(row[start : start + (1 << 18)].tobytes(), start * 4)
            yield END

        replies = iter(one.stream("Round", requests()))
        assert next(replies).judgement.aggregate_bytes == 4 * d
        before = memory.resident()
        time.sleep(1.0)
        grown = memory.resident() - before
        assert session.busy  # it has not sent it all: it waits
        assert grown < 24e6, f"{grown / 1e6:.0f} MB more while nobody reads"
        content = b"".join(reply.chunk.data for reply in replies)
    assert content == np.ones(d, np.float32).tobytes()


def test_a_caller_that_takes_nothing_loses_its_call(folder):
    d = 16_000_000
    with (
        served(folder, limits=Limits(stalled_seconds=0.5)) as found,
        service(found, folder, "flare", "Aggregation") as one,
    ):
        one.call("Open", opening(defense="mean; f=0; scores=; policy=none", dimension=d, clients=1))
        session = found.sessions.of("flare", "s")

        def requests():
            yield begin()
            yield update("a")
            for start in range(0, d, 1 << 18):
                yield chunk(np.ones(min(d - start, 1 << 18), np.float32).tobytes(), start * 4)
            yield END

        replies = iter(one.stream("Round", requests()))
        next(replies)
        while session.busy:
            time.sleep(0.05)
        with refused("CANCELLED"):
            list(replies)
        again = received(one.stream("Round", [begin(1), END]), np.dtype("float32"))
        assert again.aggregate.tobytes() == np.ones(d, np.float32).tobytes()


def test_a_damaged_answer_is_noticed():
    data = np.ones(4, np.float32).tobytes()
    judgement = pb.RoundReply(judgement=pb.Judgement(aggregate_bytes=16))

    def reply(**fields):
        return pb.RoundReply(chunk=pb.Chunk(**{"data": data, "crc32": zlib.crc32(data), **fields}))

    dtype = np.dtype("float32")
    assert received([judgement, reply()], dtype).aggregate.tolist() == [1, 1, 1, 1]
    for replies in ([judgement], [reply()], [judgement, reply(crc32=1)], [judgement, reply(offset=4)]):
        with pytest.raises(ServiceError):
            received(replies, dtype)


def test_the_way_through_the_service_is_measured():
    from hawthorn.scripts.benchmarks import aggregation as benchmark
    from rich.console import Console

    found = benchmark.measured(clients=(5,), values=(50_000,))
    (size,) = found["sizes"]
    assert (size["n"], size["d"], size["bytes"]) == (5, 10_000, 200_000)
    assert size["memory_peak"] >= size["memory_before"] > 0
    assert 0 < size["answer"] < size["round"]
    with Console().capture() as told:
        pass
    console = Console(width=160)
    with console.capture() as told:
        benchmark.show(found, console)
    assert "10000" in told.get()


def test_what_reads_ahead_ends_with_its_call(aggregation):
    gc.collect()
    gc.disable()  # nothing is to wait for the collector
    try:
        for _ in range(20):
            for name in ("begun twice", "large chunk", "round 2", "no such session"):
                with pytest.raises(grpc.RpcError):
                    list(aggregation.stream("Round", [*WRONG[name][0], *[chunk(b"more")] * 5]))
        while [thread for thread in threading.enumerate() if thread.name == "hawthorn-reader"]:
            time.sleep(0.05)
    finally:
        gc.enable()
