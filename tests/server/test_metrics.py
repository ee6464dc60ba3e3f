"""Figures for Prometheus: what they say is what the audit says, and their number is bounded."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from audit_rounds import record_of, strange_record
from hawthorn.server.audit import Audit
from hawthorn.server.dashboard.following import Following
from hawthorn.server.metrics import BUCKETS, MOST_METRICS, Exposed, exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def told(tmp_path):
    """A run of four rounds, one of them skipped, and a way to ask for its figures."""
    with Audit.open(tmp_path / "audit.db") as audit, audit.run({"rounds": 9}, name='a "name"\n') as run:
        for number in range(1, 4):
            run(record_of(number))
            run.evaluated(number, {"accuracy": number / 10, "recalls": [0.1, 0.2], "clients/loss": 2.0})
        run(strange_record(4))
        audit.order(run.id, "pause", by="ada")
        following = Following(audit, audit.find_run(run.id))
        following.news(audit.find_run(run.id))

        def ask(exposed=None, **options):
            return exposition([following.now], exposed or Exposed(), **options)[0].decode()

        yield audit, run.id, ask


def samples(text):
    return {(one.name, *sorted(one.labels.items())): one.value for family in families(text) for one in family.samples}


def test_figures_are_those_of_the_audit(told):
    audit, run, ask = told
    found, label = samples(ask()), ("run", str(run))
    rounds = audit.rounds(run)
    assert found["hawthorn_rounds_total", label] == 4
    assert found["hawthorn_rounds_skipped_total", label] == 1
    assert found["hawthorn_rounds_rolled_back_total", label] == 0
    for verdict in ("accepted", "rejected", "refused"):
        total = sum(getattr(one, verdict) for one in rounds)
        assert found["hawthorn_replies_total", label, ("verdict", verdict)] == total > 0
    assert found["hawthorn_round_seconds_sum", label] == sum(one.seconds for one in rounds)
    assert found["hawthorn_round_seconds_bucket", ("le", "0.3"), label] == 3
    assert found["hawthorn_round_seconds_bucket", ("le", "+Inf"), label] == 4
    assert found["hawthorn_model", ("metric", "accuracy"), label, ("source", "holdout")] == 0.3
    assert found["hawthorn_model", ("metric", "loss"), label, ("source", "clients")] == 2.0
    assert found["hawthorn_chain_head", label] == audit.head(run).number
    assert found["hawthorn_run_status", label, ("status", "running")] == 1
    assert found["hawthorn_run_status", label, ("status", "failed")] == 0
    assert found["hawthorn_orders_open", label] == 1
    assert found["hawthorn_clients", label, ("standing", "good")] == len(audit.clients(run))
    assert found["hawthorn_seconds_since_commit", label] >= 0
    assert found["hawthorn_audit_readable",] == 1
    assert samples(ask(fault="gone"))["hawthorn_audit_readable",] == 0


def test_clients_are_told_one_by_one_only_if_asked_and_only_so_many(told):
    _, _, ask = told
    assert "client=" not in ask()
    found = samples(ask(Exposed(clients=3)))
    assert sum(key[0] == "hawthorn_client_evidence" for key in found) == 3


def test_a_run_that_failed_is_told_of_for_a_day_though_another_is_newer(tmp_path):
    now = datetime.now(UTC)
    with Audit.open(tmp_path / "audit.db") as audit:
        with audit.run({}) as run:
            one = audit.find_run(run.id)
        runs = [
            replace(one, id=1, status="failed", finished=(now - timedelta(hours=25)).isoformat()),
            replace(one, id=2, status="failed", finished=(now - timedelta(hours=23)).isoformat()),
            replace(one, id=3, status="paused"),
            *(
                replace(one, id=k, status="finished", finished=(now - timedelta(hours=2)).isoformat())
                for k in range(4, 9)
            ),
            replace(one, id=9, status="finished", finished=(now - timedelta(days=9)).isoformat()),
        ]
        assert [run.id for run in Exposed().shown(runs)] == [3, 9, 8, 7, 6, 5, 4, 2]
        assert [run.id for run in Exposed(runs=2).shown(runs)] == [3, 9]
        assert Exposed().shown([]) == []


def test_names_of_metrics_are_bounded(tmp_path):
    with Audit.open(tmp_path / "audit.db") as audit, audit.run({}) as run:
        run(record_of(1))
        run.evaluated(1, {f"clients/made-up-{k}": 1.0 for k in range(500)} | {"accuracy": 1.0})
        following = Following(audit, audit.find_run(run.id))
        following.news(audit.find_run(run.id))
    found = samples(exposition([following.now], Exposed())[0].decode())
    names = [key for key in found if key[0] == "hawthorn_model"]
    assert len(names) == MOST_METRICS
    assert ("hawthorn_model", ("metric", "accuracy"), ("run", "1"), ("source", "holdout")) in names


def test_the_form_is_what_a_scraper_asks_for(told):
    _, _, ask = told
    text = ask(accept="application/openmetrics-text; version=1.0.0")
    assert {family.name for family in open_families(text)} >= {"hawthorn_rounds", "hawthorn_run"}
    assert list(BUCKETS) == sorted(BUCKETS)


def test_the_grafana_dashboard_asks_for_figures_that_are_there(told):
    _, _, ask = told
    names = {key[0] for key in samples(ask(Exposed(clients=5)))}
    board = json.loads((ROOT / "docs/grafana/hawthorn.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    used = {name for expression in asked for name in re.findall(r"hawthorn_\w+", expression)}
    assert used <= names
    assert used >= {"hawthorn_replies_total", "hawthorn_model", "hawthorn_clients", "hawthorn_seconds_since_commit"}
    rules = re.findall(r"expr: (.+)", (ROOT / "docs/dashboard.md").read_text())
    for expression in [*asked, *rules]:  # on() matches series with series, never with a number before the operator
        assert not re.search(r"(^|[\s(])[\d.]+\s*[-+*/%^]\s*(on|ignoring)\b", expression), expression
        assert expression.count("(") == expression.count(")")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
