"""Figures of runs for Prometheus, from what the dashboard follows of them.

Labels are bounded: a few runs, the metrics of the model by name, and clients only where somebody asks for them.
"""

from __future__ import annotations

import hmac
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .audit.records import Round, Run
from .dashboard.following import Snapshot, evidence_of, standing_of

BUCKETS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
STATUSES = ("running", "paused", "finished", "failed")
STANDINGS = ("good", "probation", "quarantine", "held")
MOST_METRICS = 32  # of the model by name
LATELY = timedelta(days=1)  # in which a run ended that is told of still


@dataclass(frozen=True)
class Exposed:
    """What is told to whom: with a `token` only to who sends it; so many runs; `clients` one by one, at most so many.

    `closed` says that without a token nobody is told anything.
    """

    token: str = ""
    runs: int = 8
    clients: int = 0
    closed: bool = False

    def shown(self, runs: Sequence[Run]) -> list[Run]:
        """Those of all runs, oldest first, that are told of: who go on first, then who ended lately, or last of all."""
        going = [run for run in runs if run.status in ("running", "paused")]
        ended = [run for run in runs if run not in going and (run is runs[-1] or _lately(run.finished))]
        return [*reversed(going), *reversed(ended)][: self.runs]

    def admits(self, authorization: str) -> bool:
        """Whether a request with this header is answered."""
        if not self.token:
            return not self.closed
        return hmac.compare_digest(authorization.encode(), f"Bearer {self.token}".encode())


def exposition(runs: Sequence[Snapshot], exposed: Exposed, *, fault: str = "", accept: str = "") -> tuple[bytes, str]:
    """The figures of runs in the form that a scraper accepts, and that form's media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunFigures(runs, exposed, fault))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class RunFigures(Collector):
    """The figures of runs at one moment."""

    def __init__(self, runs: Sequence[Snapshot], exposed: Exposed, fault: str = "") -> None:
        self.runs, self.exposed, self.fault = runs, exposed, fault

    def collect(self) -> Iterable[Metric]:
        """Every figure, with the run's number as its label."""
        yield GaugeMetricFamily("hawthorn_audit_readable", "Whether the audit could be read.", value=not self.fault)
        yield self._info()
        yield from self._counters()
        yield self._seconds()
        yield from self._standings()
        yield self._model()
        yield from self._commits()
        if self.exposed.clients:
            yield from self._clients()

    def _info(self) -> Metric:
        info = InfoMetricFamily("hawthorn_run", "What a run is called, and the version that holds it.", labels=["run"])
        for now in self.runs:
            info.add_metric([str(now.run.id)], {"name": now.run.name[:100], "version": now.run.version})
        return info

    def _counters(self) -> Iterable[Metric]:
        rounds = CounterMetricFamily("hawthorn_rounds", "Rounds that are over.", labels=["run"])
        skipped = CounterMetricFamily("hawthorn_rounds_skipped", "Rounds in which the model stayed.", labels=["run"])
        undone = CounterMetricFamily(
            "hawthorn_rounds_rolled_back", "Rounds whose model the guard refused.", labels=["run"]
        )
        replies = CounterMetricFamily("hawthorn_replies", "Replies by what became of them.", labels=["run", "verdict"])
        for now in self.runs:
            run = str(now.run.id)
            rounds.add_metric([run], len(now.rounds))
            skipped.add_metric([run], sum(one.skipped is not None for one in now.rounds))
            undone.add_metric([run], sum(one.rolled_back is not None for one in now.rounds))
            for verdict in ("accepted", "rejected", "refused"):
                replies.add_metric([run, verdict], sum(getattr(one, verdict) for one in now.rounds))
        return rounds, skipped, undone, replies

    def _seconds(self) -> Metric:
        seconds = HistogramMetricFamily("hawthorn_round_seconds", "How long rounds took.", labels=["run"])
        for now in self.runs:
            seconds.add_metric([str(now.run.id)], _buckets(now.rounds), sum(one.seconds for one in now.rounds))
        return seconds

    def _standings(self) -> Iterable[Metric]:
        clients = GaugeMetricFamily("hawthorn_clients", "Clients by how they stand.", labels=["run", "standing"])
        orders = GaugeMetricFamily("hawthorn_orders_open", "Orders that are still to be carried out.", labels=["run"])
        for now in self.runs:
            run = str(now.run.id)
            counts = Counter(map(standing_of, now.clients.values()))
            for standing in STANDINGS:
                clients.add_metric([run, standing], counts[standing])
            orders.add_metric([run], now.open_orders)
        return clients, orders

    def _model(self) -> Metric:
        """The newest value of each metric that is one number."""
        model = GaugeMetricFamily(
            "hawthorn_model", "Metrics of the model: on the holdout, as clients tell, in training.",
            labels=["run", "source", "metric"],
        )  # fmt: skip
        for now in self.runs:
            newest: dict[str, float] = {}
            for values in (now.initial, *(one.metrics for one in now.rounds[-100:])):
                newest |= {name: value for name, value in values.items() if isinstance(value, float)}
            for name in sorted(newest, key=lambda name: ("/" in name, name))[:MOST_METRICS]:
                source, _, metric = name.rpartition("/")
                model.add_metric([str(now.run.id), source or "holdout", metric[:100]], newest[name])
        return model

    def _commits(self) -> Iterable[Metric]:
        head = GaugeMetricFamily("hawthorn_chain_head", "The number of the chain's last entry.", labels=["run"])
        status = GaugeMetricFamily("hawthorn_run_status", "1 for how the run stands.", labels=["run", "status"])
        since = GaugeMetricFamily("hawthorn_seconds_since_commit", "Since the last commit.", labels=["run"])
        for now in self.runs:
            run = str(now.run.id)
            head.add_metric([run], now.number)
            for name in STATUSES:
                status.add_metric([run, name], now.run.status == name)
            if now.tail:
                committed = datetime.fromisoformat(now.tail[-1].at)
                since.add_metric([run], max(0.0, (datetime.now(UTC) - committed).total_seconds()))
        build = InfoMetricFamily("hawthorn_build", "The version that tells this.")
        build.add_metric([], {"version": version("hawthorn")})
        return head, status, since, build

    def _clients(self) -> Iterable[Metric]:
        """Clients one by one, those with most against them where there are too many."""
        evidence = GaugeMetricFamily("hawthorn_client_evidence", "What speaks against it.", labels=["run", "client"])
        replies = CounterMetricFamily(
            "hawthorn_client_replies", "A client's replies by what became of them.", labels=["run", "client", "verdict"]
        )
        for now in self.runs:
            worst = sorted(now.clients.values(), key=lambda one: (-evidence_of(one), -one.rejected, one.identity))
            for client in worst[: self.exposed.clients]:
                label = [str(now.run.id), client.identity]
                evidence.add_metric(label, evidence_of(client))
                for verdict in ("accepted", "rejected", "refused"):
                    replies.add_metric([*label, verdict], getattr(client, verdict))
        return evidence, replies


def _lately(ended: str | None) -> bool:
    return bool(ended) and datetime.now(UTC) - datetime.fromisoformat(ended) < LATELY


def _buckets(rounds: Sequence[Round]) -> list[tuple[str, float]]:
    """How many rounds took no longer than each of the bounds."""
    counts = Counter(bisect_left(BUCKETS, one.seconds) for one in rounds if math.isfinite(one.seconds))
    total, found = 0, list[tuple[str, float]]()
    for place, bound in enumerate(BUCKETS):
        total += counts[place]
        found.append((str(bound), float(total)))
    return [*found, ("+Inf", float(total + counts[len(BUCKETS)]))]
