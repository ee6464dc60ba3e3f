"""The Operator service beside runs that are held while it is asked: in this process, and in another."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from controlled import pki, refused, served, service
from google.protobuf.message_factory import GetMessageClass
from hawthorn.server.audit import Audit
from hawthorn.server.control import hawthorn_pb2 as pb
from hawthorn.server.control.limits import Limits
from ledger_rounds import CLIENTS, ROUNDS, run, started, worth

PROGRAM = Path(__file__).parent / "ledger_rounds.py"
QUICK = Limits(poll_seconds=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pki(tmp_path_factory.mktemp("operator") / "pki").folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The audit of a run that is over, and the Operator service over it, as a viewer calls it."""
    where = tmp_path_factory.mktemp("finished")
    with Audit.open(where / "audit.db") as audit:
        with run(audit, where / "checkpoints") as ledger:
            started(ledger)
        with (
            served(folder, audit=audit, limits=Limits(poll_seconds=0.05, page=5)) as found,
            service(found, folder, "vera", "Operator") as viewer,
            service(found, folder, "otto", "Operator") as operator,
        ):
            yield audit, viewer, operator


def test_how_a_run_stands(finished):
    audit, viewer, _ = finished
    reply = viewer.call("Status", pb.StatusRequest())
    head = audit.head(1)
    assert (reply.run.id, reply.run.name, reply.run.status) == (1, "run", "finished")
    assert (reply.entry, reply.digest, reply.clients) == (head.number, head.digest, CLIENTS)
    assert reply.last_round.number == ROUNDS
    assert reply.last_round.metrics["distance"].values[0] == audit.rounds(1)[-1].metrics["distance"]
    assert reply.run.settings["task"] == '"none"'
    assert reply.quarantined == sum(
        one.standing is not None and one.standing.name == "quarantine" for one in audit.clients(1)
    )


def test_rounds_come_in_pages(finished):
    audit, viewer, _ = finished
    first = viewer.call("Rounds", pb.RoundsRequest())
    rest = viewer.call("Rounds", pb.RoundsRequest(run=1, after=first.rounds[-1].number))
    assert (len(first.rounds), first.more, rest.more) == (5, True, False)
    for told, one in zip([*first.rounds, *rest.rounds], audit.rounds(1), strict=True):
        assert (told.number, told.accepted, told.rejected, told.refused) == (
            one.number,
            one.accepted,
            one.rejected,
            one.refused,
        )
        assert (told.seconds, told.at) == (one.seconds, one.at)
    assert len(viewer.call("Rounds", pb.RoundsRequest(most=2)).rounds) == 2


def test_clients_come_with_where_they_stand(finished):
    audit, viewer, _ = finished
    first = viewer.call("Clients", pb.ClientsRequest())
    rest = viewer.call("Clients", pb.ClientsRequest(after=first.clients[-1].identity))
    told = {one.identity: one for one in [*first.clients, *rest.clients]}
    assert (first.more, rest.more, len(told)) == (True, False, CLIENTS)
    for one in audit.clients(1):
        assert (told[one.identity].accepted, told[one.identity].rejected) == (one.accepted, one.rejected)
        if one.standing is not None:
            assert told[one.identity].standing.evidence == one.standing.evidence
            assert told[one.identity].standing.words == str(one.standing)
    assert any(one.rejected for one in told.values())


def test_a_client_has_a_history(finished):
    audit, viewer, _ = finished
    worst = max(audit.clients(1), key=lambda one: one.rejected)
    reply = viewer.call("History", pb.HistoryRequest(client=worst.identity))
    verdicts = list(reply.verdicts)
    while reply.more:
        reply = viewer.call("History", pb.HistoryRequest(client=worst.identity, after=verdicts[-1].round))
        verdicts += reply.verdicts
    expected = audit.contributions(1, client=worst.identity)
    assert [(one.round, one.accepted, one.reason, dict(one.scores)) for one in verdicts] == [
        (one.round, one.verdict.accepted, one.verdict.reason, one.verdict.scores) for one in expected
    ]
    with refused("NOT_FOUND", "no client 'nobody'"):
        viewer.call("History", pb.HistoryRequest(client="nobody"))


def test_all_that_was_committed_is_told_and_then_the_stream_ends(finished):
    audit, viewer, _ = finished
    news = list(viewer.call("Watch", pb.WatchRequest(after=-1)))
    entries = audit.entries(1)
    assert [(one.entry, one.kind, one.round, one.digest) for one in news] == [
        (one.number, one.kind, one.round, one.digest) for one in entries
    ]
    rounds = [one for one in news if one.kind == "round"]
    assert [one.held.number for one in rounds] == list(range(1, ROUNDS + 1))
    for one in rounds:
        assert [verdict.client for verdict in one.verdicts] == [c.client for c in audit.contributions(1, one.round)]
    assert list(viewer.call("Watch", pb.WatchRequest())) == []
    assert len(list(viewer.call("Watch", pb.WatchRequest(after=news[-2].entry)))) == 1


def test_a_run_that_is_not_there_is_not_found_and_one_that_is_over_takes_no_orders(finished):
    _, viewer, operator = finished
    for method in ("Status", "Rounds", "Clients", "History", "Orders", "Watch"):
        with refused("NOT_FOUND", "no run 7"):
            reply = viewer.call(method, getattr(pb, f"{method}Request")(run=7))
            list(reply)
    for method in ("Pause", "Resume", "Stop", "RollBack"):
        with refused("FAILED_PRECONDITION", "is finished and takes no orders"):
            operator.call(method, getattr(pb, f"{method}Request")())
        with refused("NOT_FOUND", "no run 7"):
            operator.call(method, getattr(pb, f"{method}Request")(run=7))
    assert [one.id for one in viewer.call("Runs", pb.RunsRequest()).runs] == [1]
    assert not viewer.call("Runs", pb.RunsRequest(after=1)).runs


def test_rounds_that_another_process_commits_are_seen_as_they_are(folder, tmp_path):
    database, checkpoints = tmp_path / "audit.db", tmp_path / "checkpoints"
    with Audit.open(database) as audit, served(folder, audit=audit, limits=QUICK) as found:
        process = subprocess.Popen([sys.executable, PROGRAM, database, checkpoints], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == "ready\n"
            with service(found, folder, "vera", "Operator") as viewer:
                running = viewer.call("Status", pb.StatusRequest()).run.status
                news = list(viewer.call("Watch", pb.WatchRequest(after=-1), seconds=None))
        finally:
            process.stdout.close()
            process.wait()
    assert running == "running"
    assert [one.kind for one in news] == ["start", "initial", *["round"] * ROUNDS, "end"]
    assert all(one.verdicts for one in news if one.kind == "round")


def test_orders_are_carried_out_by_a_run_and_told(folder, tmp_path):
    with (
        Audit.open(tmp_path / "audit.db") as audit,
        served(folder, audit=audit, limits=QUICK) as found,
        service(found, folder, "otto", "Operator") as operator,
    ):
        placed = []

        def evaluate(round, arrays):
            if round == 2 and not placed:
                placed.append(operator.call("Pause", pb.PauseRequest()).order)
            return worth(round, arrays)

        def hold():
            with run(audit, tmp_path / "checkpoints") as ledger:
                started(ledger, rounds=40, evaluate=evaluate)

        thread = threading.Thread(target=hold)
        thread.start()
        while not audit.runs():
            pass
        news = operator.call("Watch", pb.WatchRequest(after=-1), seconds=None)
        for one in news:
            if one.orders:
                break
        assert [(order.kind, order.by, order.open, order.failure) for order in one.orders] == [
            ("pause", "otto", False, "")
        ]
        while operator.call("Status", pb.StatusRequest()).run.status != "paused":
            pass
        out = operator.call("Clients", pb.ClientsRequest()).clients[1].identity
        with refused("NOT_FOUND"):
            operator.call("Quarantine", pb.QuarantineRequest(client="nobody"))
        with refused("FAILED_PRECONDITION", "no checkpoint after round 3"):
            operator.call("RollBack", pb.RollBackRequest(round=3))
        with refused("NOT_FOUND", "no run 9"):
            operator.call("RollBack", pb.RollBackRequest(round=1, from_run=9))
        operator.call("RollBack", pb.RollBackRequest(round=1))
        operator.call("Quarantine", pb.QuarantineRequest(client=out))
        operator.call("Resume", pb.ResumeRequest())
        told, later = [], []
        for one in news:
            told += [(order.kind, order.client, order.failure) for order in one.orders]
            later += [one] if told and one.kind == "round" else []
            if len(later) == 3:
                operator.call("Release", pb.ReleaseRequest(client=out))
                operator.call("Stop", pb.StopRequest())
        thread.join()
        listed = operator.call("Orders", pb.OrdersRequest()).orders
        ended = operator.call("Status", pb.StatusRequest()).run.status
    assert told[:3] == [("roll_back", "", ""), ("quarantine", out, ""), ("resume", "", "")]
    assert not [one for one in later[:3] for verdict in one.verdicts if verdict.client == out]
    assert [order.kind for order in listed] == ["pause", "roll_back", "quarantine", "resume", "release", "stop"]
    assert {order.by for order in listed} == {"otto"}
    assert not [order for order in listed if order.open or order.failure]
    assert ended == "finished"


def test_a_watch_ends_at_its_deadline_and_goes_on_from_where_it_was(folder, tmp_path):
    with Audit.open(tmp_path / "audit.db") as audit, audit.run({"task": "none"}):  # noqa: SIM117 - the run first
        with (
            served(folder, audit=audit, limits=Limits(poll_seconds=0.05, watch_seconds=0.4)) as found,
            service(found, folder, "vera", "Operator") as viewer,
        ):
            told = []
            with refused("DEADLINE_EXCEEDED"):
                told.extend(one.entry for one in viewer.call("Watch", pb.WatchRequest(after=-1), seconds=None))
            assert told == [0]
            with refused("DEADLINE_EXCEEDED"):
                list(viewer.call("Watch", pb.WatchRequest(after=0), seconds=None))


NUMBERS = [
    (method.name, field.name)
    for method in pb.DESCRIPTOR.services_by_name["Operator"].methods
    for field in method.input_type.fields
    if field.cpp_type in (field.CPPTYPE_UINT64, field.CPPTYPE_INT64)
]


@pytest.mark.parametrize(("method", "field"), NUMBERS)
def test_a_number_that_nothing_can_have_is_refused(finished, method, field):
    _, _, operator = finished
    request = operator.descriptor.methods_by_name[method].input_type
    with refused("INVALID_ARGUMENT", f"{field} must be at most 2**53"):
        told = operator.call(method, GetMessageClass(request)(**{field: 2**63 - 1}))
        list(told if method == "Watch" else [])
