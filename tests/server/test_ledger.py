"""A run that is committed to the audit: what lasts, what is kept, what breaks the chain, and where a run goes on."""

import random
import sqlite3
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord
from hawthorn.server.audit import Audit
from hawthorn.server.checkpoints import load_memory, load_model, save_memory, save_model
from hawthorn.strategies import AuditError
from hawthorn.strategies.flower import Commit, Memory
from ledger_rounds import ROUNDS, SETTINGS, model, record_of, run, started, strategy, worth


def numbers(arrays: ArrayRecord):
    return {name: array.numpy() for name, array in arrays.items()}


def assert_same(one, other):
    """Equal to the bit, at any depth."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the audit and the checkpoints of a whole run."""
    folder = tmp_path_factory.mktemp("held")
    with Audit.open(folder / "audit.db") as audit, run(audit, folder / "checkpoints", updates="all") as ledger:
        started(ledger)
    return folder


@pytest.fixture
def opened(held: Path):
    with Audit.open(held / "audit.db", create=False) as audit:
        yield audit


def test_a_checkpoint_comes_back_to_the_bit(tmp_path: Path):
    arrays = record_of(
        {
            "z": np.array(0.5),
            "a": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
            "n": np.array(7, np.int64),
            "empty": np.zeros((0, 3), np.float16),
        }
    )
    back = load_model(tmp_path, save_model(tmp_path, arrays))
    assert list(back) == ["z", "a", "n", "empty"]
    assert_same(numbers(back), numbers(arrays))
    memory = Memory(
        defense={"sums": {"a": np.ones(3, np.float32)}, "x": [None, True, 2**70, -0.0, "é"], "center": np.array(1.5)},
        held={"a": None, "b": 7},
        inner={"m_t": {"w": np.zeros((2, 2))}},
        paused=True,
        sampling=[3, [1, 2], None],
    )
    found = load_memory(tmp_path, save_memory(tmp_path, memory))
    assert_same(asdict(found), asdict(memory))
    assert save_model(tmp_path, arrays) == save_model(tmp_path, back)
    found.inner["m_t"]["w"] += 1  # optimizers work in place


def test_names_of_clients_are_never_taken_for_arrays(tmp_path: Path):
    name = "hawthorn's array"
    memory = Memory(
        defense={
            "reputation": {name: {"evidence": 1.0}},
            "rows": {name: np.ones(2)},
            "said": {name: "0", 2 * name: "1"},
        },
        held={name: None},
    )
    assert_same(asdict(load_memory(tmp_path, save_memory(tmp_path, memory))), asdict(memory))


def test_everything_about_a_run_is_there(opened: Audit):
    found = opened.newest()
    assert (found.name, found.status, found.settings) == ("run", "finished", SETTINGS)
    rounds = opened.rounds(found.id)
    assert [one.number for one in rounds] == list(range(1, ROUNDS + 1))
    assert {"distance", "training/loss"} <= set(rounds[0].metrics)
    assert all(one.accepted + one.rejected == one.size and one.at for one in rounds)
    assert [one.number for one in opened.rounds(found.id, after=ROUNDS - 2)] == [ROUNDS - 1, ROUNDS]
    clients = opened.clients(found.id)
    assert [one.identity for one in clients] == [str(node) for node in range(101, 109)]
    assert sum(one.rounds for one in clients) == sum(one.size for one in rounds) > 5 * ROUNDS
    hostile = clients[0]
    assert hostile.rejected > 0
    assert hostile.standing is not None
    assert [entry.kind for entry in opened.entries(found.id)] == ["start", "initial", *["round"] * ROUNDS, "end"]
    assert opened.entries(found.id, after=ROUNDS + 1) == (opened.head(found.id),)
    assert {one.round for one in opened.contributions(found.id, client="101")} <= set(range(1, ROUNDS + 1))


def test_retained_updates_are_those_that_were_admitted(opened: Audit):
    found = opened.newest()
    retained = opened.updates(found.id, 1)
    admitted = opened.contributions(found.id, 1)
    assert retained.clients == tuple(one.client for one in admitted)
    assert retained.rows.shape == (6, 15)
    geometry = opened.geometry(found.id, 1)
    np.testing.assert_allclose(retained.rows @ retained.rows.T, geometry.gram, rtol=1e-5)
    assert len({one.update_digest for one in admitted}) == 6


@pytest.mark.parametrize("half", [False, True])
def test_only_the_last_updates_and_some_checkpoints_are_kept(tmp_path: Path, half: bool):
    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files", newest=2, every=5, updates=3, half=half) as ledger:
            started(ledger)
        for number in range(ROUNDS + 1):
            if number in (0, 5, 7, 8):
                assert audit.commit_after(1, number).round == number
            else:
                with pytest.raises(AuditError, match=f"after round {number} was not kept"):
                    audit.commit_after(1, number)
        assert audit.updates(1, 6).half == half
        with pytest.raises(AuditError):
            audit.updates(1, 5)
        assert audit.verify(1) == ()
        (folder,) = (tmp_path / "files").iterdir()
        assert sorted(path.name.partition("-")[0] for path in folder.iterdir()) == [
            *["memory"] * 4,
            *["model"] * 4,
            *["updates"] * 3,
        ]


def test_half_precision_keeps_the_longest_and_the_shortest_rows(tmp_path: Path):
    from hawthorn.server.archive import load_updates, save_updates

    rows = np.random.default_rng(0).normal(size=(4, 1000)).astype(np.float32)
    rows *= np.array([[1e30], [1e-30], [1.0], [0.0]], np.float32)
    back, half = load_updates(tmp_path, save_updates(tmp_path, rows, half=True))
    assert half
    assert back.dtype == np.float32
    largest = np.abs(rows).max(axis=1, keepdims=True)
    assert (np.abs(back - rows) <= largest * 2**-11).all()


@pytest.mark.parametrize("rounds", [1, 4, 7])
def test_a_run_goes_on_where_it_was(held: Path, tmp_path: Path, rounds: int):
    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, rounds)
        random.seed(0)
        with run(audit, tmp_path / "files") as ledger:
            assert ledger.id == 1
            result = started(ledger)
        with Audit.open(held / "audit.db") as whole:
            expected = whole.commit_after(1, ROUNDS)
            assert_same(numbers(result.arrays), numbers(expected.arrays))
            assert_same(asdict(audit.commit_after(1, ROUNDS).memory), asdict(expected.memory))
            for number in range(1, ROUNDS + 1):
                mine, others = audit.contributions(1, number), whole.contributions(1, number)
                assert [(one.client, one.verdict, one.update_digest) for one in mine] == [
                    (one.client, one.verdict, one.update_digest) for one in others
                ]
        assert audit.verify(1) == ()
        kinds = [entry.kind for entry in audit.entries(1)]
        assert kinds.count("resume") == 1
        assert kinds.count("end") == 2


def test_the_checkpoints_may_be_moved(tmp_path: Path):
    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 2)
        (tmp_path / "files").rename(tmp_path / "moved")
        with run(audit, tmp_path / "moved") as ledger:
            started(ledger, 3)
        assert [one.number for one in audit.rounds(1)] == [1, 2, 3]


def test_a_wrong_folder_after_a_move_is_told_and_does_no_harm(tmp_path: Path):
    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 2)
        (name,) = (path.name for path in (tmp_path / "files").iterdir())
        (tmp_path / "files").rename(tmp_path / "moved")
        with pytest.raises(AuditError, match="its last checkpoint, after round 2, is not in") as error:
            run(audit, tmp_path / "typo")
        assert all(str(tmp_path / where / name) in str(error.value) for where in ("files", "typo"))
        assert not (tmp_path / "typo").exists()
        (tmp_path / "files" / name).mkdir(parents=True)  # an empty one in the old place
        with run(audit, tmp_path / "moved") as ledger:
            started(ledger, 3)
        assert audit.newest().place == str(tmp_path / "moved" / name)
        assert audit.verify(1) == ()


def test_a_run_whose_last_checkpoint_is_gone_says_where_another_can_go_back_to(tmp_path: Path):
    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 3)
        (folder,) = (tmp_path / "files").iterdir()
        with sqlite3.connect(tmp_path / "audit.db") as connection:
            (digest,) = connection.execute("SELECT model FROM checkpoints WHERE round = 3").fetchone()
        (folder / f"model-{digest}.safetensors").unlink()
        with pytest.raises(AuditError, match="hawthorn clients roll-back 2 --from-run 1"):
            run(audit, tmp_path / "files")
        with audit.run(SETTINGS, name="other", checkpoints=tmp_path / "files") as ledger:
            audit.order(ledger.id, "roll_back", other=1, round=2)
            started(ledger, 1)
        assert [order.result for order in audit.orders(2)] == [""]


def test_a_stop_or_a_pause_in_the_last_round_does_not_end_the_next_start(tmp_path: Path):
    def late(round, arrays):
        if round == 2:
            for kind in ("pause", "stop"):
                audit.order(1, kind)
            audit.order(1, "quarantine", "103")
        return worth(round, arrays)

    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 2, late)
        assert [order.result for order in audit.orders(1)] == ["the run was over"] * 2 + [None]
        audit.order(1, "stop")
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 3)
        assert audit.last_round(1) == 3
        assert [order.result for order in audit.orders(1)] == ["the run was over"] * 2 + ["", "the run was over"]
        assert audit.verify(1) == ()


def test_what_cannot_go_on_says_why(tmp_path: Path):
    with Audit.open(tmp_path / "audit.db") as audit:
        with audit.run(SETTINGS, name="run"):
            pass
        with pytest.raises(AuditError, match="was started without checkpoints"):
            run(audit, tmp_path / "files")
        with audit.run(SETTINGS, name="other", resume=True, checkpoints=tmp_path / "files") as ledger:
            assert ledger.id == 2
            started(ledger, 2)
        for path in next((tmp_path / "files").iterdir()).glob("model-*"):
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        with (
            pytest.raises(AuditError, match="was changed since it was written"),
            audit.run(SETTINGS, name="other", resume=True, checkpoints=tmp_path / "files") as ledger,
        ):
            started(ledger, 3)
        faults = audit.verify(2)
        assert faults
        assert all("was changed since it was written" in fault for fault in faults)


def test_two_processes_cannot_go_on_with_one_run(tmp_path: Path):
    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 1)
        one, other = run(audit, tmp_path / "files"), run(audit, tmp_path / "files")
        with pytest.raises(AuditError, match="another process goes on with this run"):
            # the other has gone on since: `one` is behind by an entry
            started(one, 2)
        started(other, 2)
        assert [found.number for found in audit.rounds(1)] == [1, 2]
        assert audit.verify(1) == ()


def test_orders_are_carried_out_and_told(tmp_path: Path):
    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 2)
        with pytest.raises(AuditError, match="has seen no client '9'"):
            audit.order(1, "quarantine", "9")
        with pytest.raises(AuditError, match="no checkpoint after round 7"):
            audit.order(1, "roll_back", round=7)
        audit.order(1, "quarantine", "103", by="Ada")
        audit.order(1, "roll_back", round=1, by="Ada")
        assert [order.result for order in audit.orders(1)] == [None, None]
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 3)
        assert [(order.kind, order.by, order.result) for order in audit.orders(1)] == [
            ("quarantine", "Ada", ""),
            ("roll_back", "Ada", ""),
        ]
        assert [entry.kind for entry in audit.entries(1)][-3:] == ["orders", "round", "end"]
        assert [one.identity for one in audit.clients(1) if one.held] == ["103"]
        assert "103" not in {one.client for one in audit.contributions(1, 3)}
        audit.order(1, "release", "103")
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 4)
        assert not [one for one in audit.clients(1) if one.held]
        assert audit.verify(1) == ()


CHANGES = {
    "a verdict": "UPDATE verdicts SET accepted = 1 - accepted WHERE round = 3 AND position = 0",
    "a reason": "UPDATE verdicts SET reason = 'nothing' WHERE round = 3 AND position = 0",
    "a digest": "UPDATE verdicts SET digest = 'x' WHERE round = 3 AND position = 1",
    "a reply is gone": "DELETE FROM verdicts WHERE round = 3 AND position = 5",
    "a geometry": "UPDATE rounds SET gram = zeroblob(length(gram)) WHERE round = 3",
    "a standing": "UPDATE rounds SET standings = '{}' WHERE round = 8",
    "a metric": "UPDATE metrics SET value = '0.99' WHERE round = 3 AND name = 'distance'",
    "a metric more": "INSERT INTO metrics (run, round, name, value, entry) VALUES (1, 3, 'accuracy', '0.99', 4)",
    "a metric of no entry": "INSERT INTO metrics (run, round, name, value) VALUES (1, 3, 'accuracy', '0.99')",
    "a round is gone": "DELETE FROM rounds WHERE round = 3",
    "a round more": "INSERT INTO rounds (run, round, seconds, size) VALUES (1, 9, 1.0, 0)",
    "a time": "UPDATE entries SET at = '2026-01-01' WHERE number = 4",
    "an entry is gone": "DELETE FROM entries WHERE number = 4",
    "the settings": """UPDATE runs SET settings = '{"task": "other"}'""",
    "the version": "UPDATE runs SET version = '9'",
    "the end": "UPDATE runs SET status = 'failed'",
    "when it ended": "UPDATE runs SET finished = '1999-01-01T00:00:00.000+00:00'",
    "an order of no entry": "INSERT INTO orders (run, kind, client, by, at, result) "
    "VALUES (1, 'quarantine', '103', 'Ada', '2026-01-01T00:00:00.000+00:00', '')",
    "an order of an entry to come": "INSERT INTO orders (run, kind, client, by, at, result, entry) "
    "VALUES (1, 'quarantine', '103', 'Ada', '2026-01-01T00:00:00.000+00:00', '', 99)",
    "the end is gone": "DELETE FROM entries WHERE kind = 'end'",
    "a checkpoint": "UPDATE checkpoints SET model = memory WHERE round = 3",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_found(held: Path, tmp_path: Path, change: str):
    with sqlite3.connect(held / "audit.db") as source, sqlite3.connect(tmp_path / "audit.db") as copy:
        source.backup(copy)
    with Audit.open(tmp_path / "audit.db") as audit:
        head = audit.head(1).digest
        assert audit.verify(1, head) == ()
        with sqlite3.connect(tmp_path / "audit.db") as connection:
            assert connection.execute(change).rowcount > 0
        assert audit.verify(1) != ()


def test_a_run_that_commits_meanwhile_is_no_fault(tmp_path: Path):
    import threading

    found: list[str] = []
    with Audit.open(tmp_path / "audit.db") as audit, run(audit, tmp_path / "files") as ledger:
        over = threading.Event()

        def look() -> None:
            with Audit.open(tmp_path / "audit.db", create=False) as other:
                while not over.is_set():
                    found.extend(other.verify(ledger.id))

        looking = threading.Thread(target=look)
        looking.start()
        started(ledger)
        over.set()
        looking.join()
    assert found == []


def test_a_chain_that_lost_its_end_lacks_the_digest_that_was_noted(held: Path, tmp_path: Path):
    with sqlite3.connect(held / "audit.db") as source, sqlite3.connect(tmp_path / "audit.db") as copy:
        source.backup(copy)
        noted = source.execute("SELECT digest FROM entries ORDER BY number DESC").fetchone()[0]
        copy.execute("DELETE FROM entries WHERE number >= 9")
        for table in ("metrics", "verdicts", "rounds", "checkpoints"):
            copy.execute(f"DELETE FROM {table} WHERE round >= 8")
        copy.execute("UPDATE runs SET status = 'running', finished = NULL")
    with Audit.open(tmp_path / "audit.db") as audit:
        assert audit.verify(1) == ()
        (fault,) = audit.verify(1, noted)
        assert "its end was cut off" in fault


def test_a_commit_whose_answer_was_lost_is_not_made_twice(tmp_path: Path):
    with Audit.open(tmp_path / "audit.db") as audit, run(audit, tmp_path / "files") as ledger:
        commit = Commit(0, model(), strategy(None).recollection())
        ledger.commit(commit)
        behind = ledger.number - 1, audit.entries(1)[-2].digest
        at = audit.head(1).at
        ledger.number, ledger.head = behind
        import hawthorn.server.audit.writing as writing

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writing, "now", lambda: at)  # the second try is of the same entry
            ledger.commit(commit)
        assert ledger.head == audit.head(1).digest
        assert [entry.kind for entry in audit.entries(1)] == ["start", "initial"]


def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import hawthorn.server.files as files

    with Audit.open(tmp_path / "audit.db") as audit:
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 3)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        ledger = run(audit, tmp_path / "files")
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", full)
            with pytest.raises(AuditError, match="No space left on device"), ledger:
                started(ledger, 5)
        assert [one.number for one in audit.rounds(1)] == [1, 2, 3]
        with run(audit, tmp_path / "files") as ledger:
            started(ledger, 5)
        assert [one.number for one in audit.rounds(1)] == [1, 2, 3, 4, 5]
        assert audit.verify(1) == ()
