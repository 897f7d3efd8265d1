"""The stand-in for Prometheus answers the preset signals as a real one does (tests/handlers/test_signal_presets_real.py)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from daemon.core.policy import SignalKind
from deploy.sandbox.monitoring.alerting import RuleEvaluator
from deploy.sandbox.monitoring.labels import freeze
from deploy.sandbox.monitoring.prometheus_api import PrometheusApi
from deploy.sandbox.monitoring.promql import Evaluator
from deploy.sandbox.monitoring.samples import SampleStore
from handlers import signal_presets as presets
from handlers.prometheus import PrometheusClient, render
from handlers.signal_search import search
from handlers.signal_sources import SOURCE_LABEL, united
from tests.handlers import metric_families as families
from tests.handlers.intake_fakes import Counted

pytestmark = pytest.mark.looptime(False)  # real sockets: virtual time would run past them

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
K = SignalKind

EXPECTED = [
    ("istio", "istio"),
    ("linkerd", "linkerd"),
    ("opentelemetry", "otel"),
    ("prometheus", "status"),
    ("micrometer", "spring"),
    ("grpc", "grpc"),
]


def filled() -> SampleStore:
    """All families but native histograms, which the stand-in does not know."""
    store = SampleStore()
    for series in families.everything(NOW):
        for at, value in series.samples:
            if isinstance(value, float):
                store.append(freeze(series.labels), at, value)
    return store


async def test_the_stand_in_finds_and_measures_the_families() -> None:
    """The same search, the same queries, the same truth, several sources in one query."""
    store = filled()
    rules = RuleEvaluator(rules=(), store=store, interval_seconds=1, resend_seconds=60)
    api = PrometheusApi(evaluator=Evaluator(store), rules=rules, clock=NOW.timestamp)
    async with TestServer(api.app()) as server, aiohttp.ClientSession() as session:
        client = PrometheusClient(session, str(server.make_url("/")), telemetry=Counted())
        ways = presets.ways(await search(client, NOW))
        truth = {K.TRAFFIC: families.RATE, K.ERROR_RATIO: families.SHARE, K.LATENCY_P95: families.P95}
        wanted = {source for source, _ in EXPECTED}
        for kind, value in truth.items():
            query = united([way for way in ways[kind] if way.source in wanted])
            for source, namespace in EXPECTED:
                asked = render(query, namespace=namespace, pods=[families.POD], window=MINUTE)
                [(labels, got)] = await client.query(asked, NOW)
                assert labels == {SOURCE_LABEL: source}
                assert got == pytest.approx(value, rel=1e-6)
        for kind, namespace, value in ((K.CPU, "limits", 0.4), (K.MEMORY, "exported", 0.6), (K.MEMORY, "spec", 0.6)):
            asked = render(united(ways[kind]), namespace=namespace, pods=[families.POD], window=MINUTE)
            [(_, got)] = await client.query(asked, NOW)
            assert got == pytest.approx(value, rel=1e-6)
