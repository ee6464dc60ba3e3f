"""`hawthorn clients`: who takes part in a run and where they stand, and orders to the run, over gRPC."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .audit import Lines, add_row, made_table, show_lines
from .messages import client_table, document, news_words, print_json, print_lines, round_words, verdict_table

if TYPE_CHECKING:
    from hawthorn.server.control import hawthorn_pb2 as pb
    from hawthorn.server.control.remote import Service

app = typer.Typer(help="Clients of a run, and orders to it, over the network.", no_args_is_help=True)

Server = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where `hawthorn control` listens.")]
Certificates = Annotated[
    str, typer.Option(metavar="DIR", help="Folder with ca.crt and the certificate and key of whoever calls.")
]
As = Annotated[str, typer.Option("--as", metavar="NAME", help="Whose certificate: NAME.crt and NAME.key.")]
RunNumber = Annotated[int, typer.Option("--run", metavar="RUN", help="Number of the run; 0: the newest.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Client = Annotated[str, typer.Argument(metavar="CLIENT", help="Identity of a client, or its name.")]

LOCAL, FOLDER, WHO = "127.0.0.1:9443", "certificates", "operator"


@app.command("list")
def list_clients(
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """List the clients of a run with their reputation."""
    from hawthorn.server.control import hawthorn_pb2 as pb

    with operator(server, certificates, who) as service:
        clients: list[pb.Client] = []
        more = True
        while more:
            after = clients[-1].identity if clients else ""
            reply = service.call("Clients", pb.ClientsRequest(run=run, after=after))
            clients += reply.clients
            run, more = reply.run, reply.more
    if as_json:
        print_json([document(client) for client in clients])
    else:
        show_lines(f"Run {run}: {len(clients)} clients", client_table(clients))


@app.command()
def show(
    client: Client,
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """Show what became of a client's updates, round by round."""
    from hawthorn.server.control import hawthorn_pb2 as pb

    with operator(server, certificates, who) as service:
        verdicts: list[pb.Verdict] = []
        more, found = True, pb.Client()
        while more:
            after = verdicts[-1].round if verdicts else 0
            reply = service.call("History", pb.HistoryRequest(run=run, client=client, after=after))
            verdicts += reply.verdicts
            run, more, found = reply.run, reply.more, reply.client
    if as_json:
        print_json(document(found) | {"verdicts": [document(verdict) for verdict in verdicts]})
    else:
        show_lines(f"Run {run}, client {found.name or found.identity}", client_table([found]), verdict_table(verdicts))


@app.command()
def status(
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """Show how a run stands."""
    from hawthorn.server.control import hawthorn_pb2 as pb

    with operator(server, certificates, who) as service:
        reply: pb.StatusReply = service.call("Status", pb.StatusRequest(run=run))
    if as_json:
        return print_json(document(reply))
    told = [" ".join(filter(None, [f"run {reply.run.id}", reply.run.name, "is", reply.run.status]))]
    if reply.HasField("last_round"):
        told.append(round_words(reply.last_round))
    told.append(f"{reply.clients} clients, {reply.quarantined} in quarantine; {reply.open_orders} open orders")
    told.append(f"entry {reply.entry} of the audit, {reply.digest}")
    if reply.run.error:
        told.append(reply.run.error)
    return print_lines(told)


@app.command()
def watch(
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    after: Annotated[int | None, typer.Option(help="Begin after this entry; -1: from the start; default: now.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document per line.")] = False,
) -> None:
    """Follow a run until it ends: every round with its verdicts, every order carried out."""
    from hawthorn.server.control import hawthorn_pb2 as pb

    with operator(server, certificates, who) as service:
        run = service.call("Status", pb.StatusRequest(run=run)).run.id
        for news in _news(service, run, after):
            if as_json:
                print(json.dumps(document(news)), flush=True)
            else:
                print_lines(news_words(news))


@app.command()
def quarantine(
    client: Client,
    rounds: Annotated[int, typer.Option(min=0, help="For so many rounds; 0: until it is released.")] = 0,
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """Keep a client out of the rounds that come."""
    order(server, certificates, who, as_json, "Quarantine", run=run, client=client, rounds=rounds)


@app.command()
def release(
    client: Client,
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """Have nothing speak against a client any more."""
    order(server, certificates, who, as_json, "Release", run=run, client=client)


@app.command()
def pause(
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """Hold no more rounds until `resume`."""
    order(server, certificates, who, as_json, "Pause", run=run)


@app.command()
def resume(
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """Hold rounds again."""
    order(server, certificates, who, as_json, "Resume", run=run)


@app.command("roll-back")
def roll_back(
    round: Annotated[int, typer.Argument(metavar="ROUND", min=0, help="Go back to the model after this round.")],
    from_run: Annotated[int, typer.Option(metavar="RUN", min=0, help="Of another run; 0: of this one.")] = 0,
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """Put the model, and all that is remembered, back to what it was after a round."""
    order(server, certificates, who, as_json, "RollBack", run=run, round=round, from_run=from_run)


@app.command()
def stop(
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """End a run after the round that is being held."""
    order(server, certificates, who, as_json, "Stop", run=run)


@app.command()
def orders(
    server: Server = LOCAL,
    certificates: Certificates = FOLDER,
    who: As = WHO,
    run: RunNumber = 0,
    as_json: Json = False,
) -> None:
    """List the orders to a run and what became of them."""
    from hawthorn.server.control import hawthorn_pb2 as pb

    with operator(server, certificates, who) as service:
        reply: pb.OrdersReply = service.call("Orders", pb.OrdersRequest(run=run))
    if as_json:
        return print_json([document(one) for one in reply.orders])
    table = made_table("order", "kind", "client", "round", "by", "at (UTC)", "result", folded=("client", "result"))
    for one in reply.orders:
        result = "open" if one.open else one.failure or "carried out"
        at = one.at[:19].replace("T", " ")
        add_row(table, one.id, one.kind, one.client, one.round if one.HasField("round") else "", one.by, at, result)
    return show_lines(f"Run {reply.run}: {len(reply.orders)} orders", Lines(table, []))


def order(server: str, certificates: str, who: str, as_json: bool, method: str, **details: Any) -> None:
    """Place an order and say so."""
    from hawthorn.server.control import hawthorn_pb2 as pb

    request = getattr(pb, f"{method}Request")(**details)
    with operator(server, certificates, who) as service:
        reply: pb.OrderReply = service.call(method, request)
    if as_json:
        print_json(document(reply))
    else:
        print(f"order {reply.order} to run {reply.run}: it is carried out between two rounds")


@contextmanager
def operator(server: str, certificates: str, who: str) -> Generator[Service]:
    """The Operator service of a server; whatever it refuses is a `ServiceError`."""
    from hawthorn.server.control.remote import Service, channel, explained

    with channel(server, certificates, who) as opened, explained(server):
        yield Service(opened, "Operator")


def _news(service: Service, run: int, after: int | None) -> Generator[pb.News]:
    """What is committed until the run ends, over as many calls as the server cuts that into."""
    import grpc
    from hawthorn.server.control import hawthorn_pb2 as pb

    while True:
        try:
            for news in service.call("Watch", pb.WatchRequest(run=run, after=after), seconds=None):
                after = news.entry
                yield news
            return
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:  # pyright: ignore[reportAttributeAccessIssue] - raised as a Call
                raise
            if after is None:  # nothing was told yet: begin again from where the server is now
                continue
