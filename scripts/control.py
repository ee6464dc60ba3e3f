"""`hawthorn control`: serves the operator's view of runs, and a defense for servers of any kind, over gRPC."""

from __future__ import annotations

import json
import logging
import signal
import threading
from contextlib import nullcontext
from dataclasses import replace
from types import FrameType
from typing import Annotated

import typer

Limit = Annotated[int, typer.Option(min=1, help="As the name says, at most.")]


def control(
    certificates: Annotated[
        str, typer.Option(metavar="DIR", help="Folder with ca.crt and the server's certificate and key.")
    ],
    audit: Annotated[
        str, typer.Option(metavar="FILE", help="Audit database to serve to operators; empty: Aggregation alone.")
    ] = "",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0: any that is free.")
    ] = "127.0.0.1:9443",
    name: Annotated[str, typer.Option(metavar="NAME", help="The server's certificate is NAME.crt.")] = "server",
    state: Annotated[
        str, typer.Option(metavar="DIR", help="Folder in which sessions of Aggregation outlive the server.")
    ] = "",
    room: Annotated[str, typer.Option(metavar="SIZE", help="For the updates of all sessions together.")] = "8 GiB",
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Updates of a session above this lie in a file; empty: no limit.")
    ] = "",
    spool: Annotated[str, typer.Option(metavar="DIR", help="Folder of that file.")] = "",
    sessions: Annotated[int, typer.Option(min=1, help="Sessions that may be open at once.")] = 16,
    clients: Annotated[int, typer.Option(min=1, help="Clients that a session may have.")] = 1000,
    idle: Annotated[float, typer.Option(min=1, help="Seconds after which a session without a round ends.")] = 3600.0,
    json_out: Annotated[bool, typer.Option("--json", help="Print where it listens as JSON.")] = False,
) -> None:
    """Serve runs to operators, and robust aggregation to other servers, over gRPC with client certificates."""
    from hawthorn.server.audit import Audit
    from hawthorn.server.control.limits import Limits
    from hawthorn.server.control.serving import serving
    from hawthorn.strategies.updates import byte_count, check_place

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    check_place(None, spool or None, None)
    limits = replace(
        Limits(),
        room=byte_count(room),
        memory=byte_count(memory) if memory else None,
        spool=spool or None,
        sessions=sessions,
        clients=clients,
        idle_seconds=idle,
    )
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with (
        Audit.open(audit, create=False) if audit else nullcontext() as opened,
        serving(listen, certificates, audit=opened, name=name, state=state or None, limits=limits) as served,
    ):
        where = f"{listen.rpartition(':')[0]}:{served.port}"
        services = ["Aggregation", *(["Operator"] if audit else [])]
        told = json.dumps({"listen": where, "port": served.port, "services": services})
        print(told if json_out else f"serving {' and '.join(services)} at {where}", flush=True)
        stopped.wait()
