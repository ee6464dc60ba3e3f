"""Runs, rounds, clients and orders as the page is told them: plain data that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from hawthorn.strategies import Geometry
from numpy.typing import NDArray

from ..audit.records import ClientRecord, Contribution, Entry, Metric, OrderRecord, Round, Run
from .following import Snapshot, evidence_of, in_quarantine, standing_of

MOST_METRICS = 48  # that a page may choose from
MOST_ORDERS = 200
NOTABLE = 30  # rounds in which the model stayed that are told with the reason
PAIRS = 5  # of clients that are named as most alike

Told = dict[str, Any]


def number_told(value: float | None) -> float | None:
    """The number, None where it is none that JSON knows."""
    return None if value is None or not math.isfinite(value) else value


def run_told(now: Snapshot) -> Told:
    """A run in a few figures: what the head of the page shows."""
    run, last = now.run, now.round
    head = now.tail[-1] if now.tail else None
    wanted = run.settings.get("rounds")
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "error": run.error,
        "version": run.version,
        "started": run.started,
        "finished": run.finished,
        "round": last.number if last else 0,
        "rounds": wanted if isinstance(wanted, int) and not isinstance(wanted, bool) else None,
        "last": None if last is None else round_told(last),
        "skipped": sum(one.skipped is not None for one in now.rounds),
        "rolled_back": sum(one.rolled_back is not None for one in now.rounds),
        "clients": len(now.clients),
        "quarantined": sum(map(in_quarantine, now.clients.values())),
        "probation": sum(standing_of(client) == "probation" for client in now.clients.values()),
        "open_orders": now.open_orders,
        "orders": len(now.orders),
        "entry": now.number,
        "head": head.digest if head else "",
        "committed": head.at if head else "",
        "metric": main_metric(now),
    }


def run_named(run: Run) -> Told:
    """A run as the chooser lists it."""
    return {"id": run.id, "name": run.name, "status": run.status, "started": run.started}


def round_told(one: Round) -> Told:
    """A round without its verdicts."""
    return {
        "number": one.number,
        "accepted": one.accepted,
        "rejected": one.rejected,
        "refused": one.refused,
        "skipped": one.skipped,
        "rolled_back": one.rolled_back,
        "seconds": number_told(one.seconds),
        "at": one.at,
        "metrics": {name: metric_told(value) for name, value in one.metrics.items()},
    }


def metric_told(value: Metric) -> float | list[float | None] | None:
    """A metric, with None for numbers that are none."""
    return [number_told(one) for one in value] if isinstance(value, list) else number_told(value)


def scalar_names(now: Snapshot) -> tuple[str, ...]:
    """The names of the model's metrics that are single numbers, those on the server's own data first."""
    lists = {name for one in now.rounds[-1:] for name, value in one.metrics.items() if isinstance(value, list)}
    return tuple(sorted(now.metrics - lists, key=lambda name: ("/" in name, name)))[:MOST_METRICS]


def main_metric(now: Snapshot) -> str | None:
    """The metric that tells best what a model is worth; the clients' where the server has none."""
    names = scalar_names(now)
    for prefix in ("", "clients/", "training/"):
        own = [name for name in names if name.rpartition("/")[0] == prefix.rstrip("/")]
        for wanted in ("accuracy", "balanced-accuracy", "f1", "auc", "loss"):
            if prefix + wanted in own:
                return prefix + wanted
        if own and prefix == "":
            return own[0]
    return names[0] if names else None


def rounds_told(now: Snapshot, *, last: int | None, points: int) -> Told:
    """The last rounds, as columns of at most so many points; a point tells of `step` rounds, by their means."""
    rounds = now.rounds[-last:] if last else now.rounds
    step = max(1, math.ceil(len(rounds) / max(points, 1)))
    groups = [rounds[start : start + step] for start in range(0, len(rounds), step)]
    names = scalar_names(now)
    whole = not last or last >= len(now.rounds)
    return {
        "step": step,
        "total": len(now.rounds),
        "entry": now.number,
        "first": [group[0].number for group in groups],
        "last": [group[-1].number for group in groups],
        **{
            name: [_mean([getattr(one, name) for one in group]) for group in groups]
            for name in ("accepted", "rejected", "refused", "seconds")
        },
        "skipped": [sum(one.skipped is not None for one in group) for group in groups],
        "rolled_back": [sum(one.rolled_back is not None for one in group) for group in groups],
        "metrics": {name: _series(name, groups) for name in names},
        "initial": {name: metric_told(now.initial[name]) for name in names if name in now.initial} if whole else {},
        "main": main_metric(now),
        "notable": [round_told(one) for one in reversed(rounds) if one.skipped is not None][:NOTABLE],
    }


def _series(name: str, groups: Sequence[Sequence[Round]]) -> Told:
    """A metric in each group of rounds: its mean, least and greatest value; None where nobody measured it."""
    found = [
        [value for one in group if isinstance(value := one.metrics.get(name), float) and math.isfinite(value)]
        for group in groups
    ]
    series: Told = {"mean": [_mean(values) if values else None for values in found]}
    if any(len(group) > 1 for group in groups):
        series |= {"low": [min(values, default=None) for values in found]}
        series |= {"high": [max(values, default=None) for values in found]}
    return series


def client_told(client: ClientRecord) -> Told:
    """A client and how it stands."""
    standing = client.standing
    return {
        "identity": client.identity,
        "name": client.name,
        "node": client.node,
        "rounds": client.rounds,
        "accepted": client.accepted,
        "rejected": client.rejected,
        "refused": client.refused,
        "last_round": client.last_round,
        "last_reason": client.last_reason,
        "standing": standing_of(client),
        "told": "kept in quarantine by an operator" if client.held else str(standing or ""),
        "evidence": number_told(evidence_of(client)),
        "quarantines": number_told(standing.quarantines) if standing else 0.0,
    }


STANDINGS = ("held", "quarantine", "probation", "good")


def _name_key(client: ClientRecord) -> tuple[int, str, str]:
    shown = client.name or client.identity
    return (len(shown) if shown.isdecimal() else 0, shown.casefold(), client.identity)


def _trouble_key(client: ClientRecord) -> tuple[Any, ...]:
    failed = (client.rejected + client.refused) / max(client.rounds, 1)
    return (STANDINGS.index(standing_of(client)), -evidence_of(client), -failed, _name_key(client))


def _rejected_key(client: ClientRecord) -> tuple[Any, ...]:
    return (-client.rejected - client.refused, _name_key(client))


def _evidence_key(client: ClientRecord) -> tuple[Any, ...]:
    return (-evidence_of(client), _name_key(client))


def _last_key(client: ClientRecord) -> tuple[Any, ...]:
    return (-client.last_round, _name_key(client))


CLIENT_ORDERS: dict[str, Callable[[ClientRecord], tuple[Any, ...]]] = {
    "trouble": _trouble_key,
    "name": _name_key,
    "rejected": _rejected_key,
    "evidence": _evidence_key,
    "last": _last_key,
}


def clients_told(now: Snapshot, *, sort: str, standing: str, search: str, offset: int, limit: int) -> Told:
    """A page of the clients, in one of the `CLIENT_ORDERS`."""
    wanted = search.casefold()
    found = [
        client
        for client in now.clients.values()
        if (not standing or standing_of(client) == standing or (standing == "out" and in_quarantine(client)))
        and (wanted in client.name.casefold() or wanted in client.identity.casefold())
    ]
    found.sort(key=CLIENT_ORDERS[sort])
    page = found[offset : offset + limit]
    return {"total": len(found), "all": len(now.clients), "offset": offset, "clients": list(map(client_told, page))}


def contribution_told(one: Contribution) -> Told:
    """What a client sent in a round and what became of it."""
    verdict = one.verdict
    return {
        "round": one.round,
        "client": one.client,
        "name": one.name,
        "admitted": one.admitted,
        "accepted": verdict.accepted,
        "weight": number_told(verdict.weight),
        "p_value": number_told(verdict.p_value),
        "scores": {name: number_told(value) for name, value in verdict.scores.items()},
        "reason": verdict.reason,
        "standing": verdict.standing,
    }


def history_told(told: Sequence[Contribution], *, points: int, limit: int) -> Told:
    """A client's story: its newest verdicts, and p-values and scores as columns of points.

    Of more rounds than points those are left out that say least: of each group the lowest p-value stays.
    """
    page = told[::-1][:limit]
    admitted = [one for one in told if one.admitted]
    step = max(1, math.ceil(len(admitted) / points))
    shown = [min(admitted[start : start + step], key=_badness) for start in range(0, len(admitted), step)]
    names = sorted({name for one in shown for name in one.verdict.scores})
    return {
        "step": step,
        "verdicts": list(map(contribution_told, page)),
        "round": [one.round for one in shown],
        "accepted": [one.verdict.accepted for one in shown],
        "p_value": [number_told(one.verdict.p_value) for one in shown],
        "scores": {name: [number_told(one.verdict.scores.get(name)) for one in shown] for name in names},
    }


def entry_told(now: Snapshot, entry: Entry) -> Told:
    """An entry of the chain, with the round where it tells of one."""
    rounds = (
        [one for one in now.rounds[-50:] if one.number == entry.round] if entry.kind in ("round", "metrics") else []
    )
    return {
        "number": entry.number,
        "kind": entry.kind,
        "round": entry.round,
        "at": entry.at,
        "digest": entry.digest,
        "held": round_told(rounds[0]) if rounds else None,
    }


def order_told(order: OrderRecord, names: Mapping[str, ClientRecord]) -> Told:
    """An order and what became of it."""
    client = names.get(order.client)
    return {
        "id": order.id,
        "kind": order.kind,
        "client": order.client,
        "name": client.name if client else "",
        "rounds": order.rounds,
        "other": order.other,
        "round": order.round,
        "by": order.by,
        "at": order.at,
        "result": order.result,
    }


def orders_told(orders: Sequence[OrderRecord], clients: Mapping[str, ClientRecord]) -> Told:
    """The open orders and the newest of those that are done, newest first."""
    newest = sorted(orders, key=lambda order: (order.result is None, order.id), reverse=True)[:MOST_ORDERS]
    return {"total": len(orders), "orders": [order_told(order, clients) for order in newest]}


def similarity_told(geometry: Geometry, rows: Sequence[Contribution]) -> tuple[Told, bytes]:
    """Who is in which row of a heat map, and the cosines between rows as bytes `(n, n)`, 127 times as large.

    Rejected clients come first; in both parts who is alike stands together. The pairs are those most alike.
    """
    order = alike_together(geometry.cosines, [not one.verdict.accepted for one in rows])
    cosines = geometry.cosines[np.ix_(order, order)]
    above = np.triu_indices(len(order), 1)
    most = np.argsort(-cosines[above], kind="stable")[:PAIRS]
    told: Told = {
        "clients": [
            {"client": rows[i].client, "name": rows[i].name, "accepted": rows[i].verdict.accepted} for i in order
        ],
        "pairs": [[int(above[0][k]), int(above[1][k]), float(cosines[above][k])] for k in most],
    }
    return told, np.rint(cosines * 127).astype(np.int8).tobytes()


def alike_together(cosines: NDArray[np.float64], first: Sequence[bool]) -> list[int]:
    """The rows in the order in which average linkage joins them, those that are to come `first` before the rest.

    >>> alike_together(np.array([[1, 0, 0.9], [0, 1, 0.1], [0.9, 0.1, 1]]), [False, True, False])
    [1, 0, 2]
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    order = list(range(len(cosines)))
    if len(cosines) > 2:
        apart = np.clip(1 - (cosines + cosines.T) / 2, 0, 2)
        np.fill_diagonal(apart, 0)
        linked = cast("Any", hierarchy).linkage(squareform(apart, checks=False), "average")
        order = [int(i) for i in cast("Any", hierarchy).leaves_list(linked)]
    return [i for i in order if first[i]] + [i for i in order if not first[i]]


def _mean(values: Sequence[float]) -> float | None:
    return number_told(sum(values) / len(values)) if values else None


def _badness(one: Contribution) -> tuple[bool, float]:
    p = one.verdict.p_value
    return one.verdict.accepted, p if math.isfinite(p) else 2.0
