"""The audit's records as messages of the services."""

from __future__ import annotations

import json

from ..audit import Audit
from ..audit.records import ClientRecord, Contribution, Entry, OrderRecord, Round, Run
from . import hawthorn_pb2 as pb


def run_told(run: Run) -> pb.Run:
    """A run as a message."""
    return pb.Run(
        id=run.id,
        name=run.name,
        status=run.status,
        started=run.started,
        finished=run.finished or "",
        error=run.error or "",
        version=run.version,
        settings={name: json.dumps(value) for name, value in run.settings.items()},
    )


def round_told(one: Round) -> pb.Round:
    """A round as a message."""
    metrics = {
        name: pb.Metric(values=value if isinstance(value, list) else [value]) for name, value in one.metrics.items()
    }
    return pb.Round(
        number=one.number,
        skipped=one.skipped or "",
        rolled_back=one.rolled_back or "",
        seconds=one.seconds,
        at=one.at,
        accepted=one.accepted,
        rejected=one.rejected,
        refused=one.refused,
        metrics=metrics,
    )


def client_told(client: ClientRecord) -> pb.Client:
    """A client and where it stands as a message."""
    standing = client.standing
    return pb.Client(
        identity=client.identity,
        name=client.name,
        node=client.node,
        rounds=client.rounds,
        accepted=client.accepted,
        rejected=client.rejected,
        refused=client.refused,
        last_round=client.last_round,
        last_reason=client.last_reason,
        standing=None
        if standing is None
        else pb.Standing(
            name=standing.name,
            since=standing.since,
            until=standing.until,
            evidence=standing.evidence,
            quarantines=standing.quarantines,
            words=str(standing),
        ),
        held=client.held,
    )


def verdict_told(one: Contribution) -> pb.Verdict:
    """What became of one client's update as a message."""
    verdict = one.verdict
    return pb.Verdict(
        client=one.client,
        name=one.name,
        round=one.round,
        admitted=one.admitted,
        accepted=verdict.accepted,
        weight=verdict.weight,
        p_value=verdict.p_value,
        scores=verdict.scores,
        reason=verdict.reason,
        standing=verdict.standing,
    )


def order_told(order: OrderRecord) -> pb.Order:
    """An order and what became of it as a message."""
    return pb.Order(
        id=order.id,
        run=order.run,
        kind=order.kind,
        client=order.client,
        rounds=order.rounds,
        other_run=order.other,
        round=order.round,
        by=order.by,
        at=order.at,
        open=order.result is None,
        failure=order.result or "",
    )


def news_told(audit: Audit, entry: Entry) -> pb.News:
    """An entry of the chain, with the round and its verdicts where it is one, and what became of orders there."""
    news = pb.News(
        run=entry.run, entry=entry.number, kind=entry.kind, round=entry.round, at=entry.at, digest=entry.digest
    )
    if entry.kind == "round":
        for one in audit.rounds(entry.run, after=entry.round - 1, most=1):
            news.held.CopyFrom(round_told(one))
        news.verdicts.extend(map(verdict_told, audit.contributions(entry.run, entry.round)))
    if entry.kind == "orders":
        news.orders.extend(order_told(order) for order in audit.orders(entry.run) if order.entry == entry.number)
    return news
