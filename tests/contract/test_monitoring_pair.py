"""From a bad image to a webhook and back, alike with the real Prometheus and Alertmanager and with the stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from deploy.sandbox.monitoring import Monitoring, default_rules, kube_state_metrics, start_monitoring
from deploy.sandbox.monitoring.capture import Hook
from deploy.sandbox.monitoring.start import Kind
from deploy.sandbox.services import SampleServices, serve_loopback, serve_metrics
from tests import parts

KINDS = [pytest.param("stand-in", marks=pytest.mark.looptime(False)), pytest.param("real", marks=pytest.mark.real)]
DEADLINE_SECONDS = 20.0
POD = {
    "metadata": {"namespace": "shop", "name": "cart-1", "uid": "u1"},
    "status": {
        "containerStatuses": [{"name": "main", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    },
}


class World:
    """A service with two pods, what watches it, and what the webhook got."""

    def __init__(self, services: SampleServices, monitoring: Monitoring, hook: Hook, pods: list[Any]) -> None:
        self.services = services
        self.monitoring = monitoring
        self.hook = hook
        self.pods = pods

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.monitoring.prometheus_url + path, params=query) as reply,
        ):
            return reply.status, await reply.json()

    async def query(self, text: str) -> list[Any]:
        status, body = await self.get("/api/v1/query", query=text)
        assert (status, body["status"]) == (200, "success")
        return list(body["data"]["result"])

    async def until(self, text: str, count: int) -> list[Any]:
        """Poll until the query has this many elements."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(found := await self.query(text)) != count:
                await asyncio.sleep(0.1)
        return found


@asynccontextmanager
async def world(kind: Kind, folder: Path) -> AsyncIterator[World]:
    if kind == "real":
        parts.require("prometheus")
        parts.require("alertmanager")
    services, hook, pods = SampleServices(seed=1), Hook(), list[Any]()
    for number in (1, 2):
        services.pod_ready("shop", f"web-{number}", app="web", image="web:1", ip=f"10.0.0.{number}")
    app = web.Application()
    app.router.add_post("/hook", hook.serve)
    async with (
        serve_loopback(app) as receiver,
        serve_metrics(services, kube_state=lambda: kube_state_metrics(pods)) as pages,
        start_monitoring(
            sd_url=f"{pages}/sd",
            webhook_url=f"{receiver}/hook",
            webhook_token="token",
            workdir=folder,
            rules=default_rules(window_seconds=2, for_seconds=0.6),
            scrape_interval=0.3,
            kind=kind,
        ) as monitoring,
    ):
        assert monitoring.kind == kind
        yield World(services, monitoring, hook, pods)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", KINDS)
async def test_bad_image_fires_and_resolves(kind: Kind, tmp_path: Path) -> None:
    """Errors of one image fire HighErrorRate with the service's labels, show in ALERTS, and resolve when they end."""
    async with world(kind, tmp_path) as here:
        await here.until('up{app="web"} == 1', 2)
        fault = here.services.fault(image="web:1", error_ratio=0.5)
        firing = json.loads(await here.hook.wait(1))
        assert here.hook.headers[0]["Authorization"] == "Bearer token"
        labels = firing["alerts"][0]["labels"]
        wanted = {"alertname": "HighErrorRate", "namespace": "shop", "app": "web", "deployment": "web"}
        assert labels == {**wanted, "severity": "critical"}
        assert firing["groupKey"] == '{}:{alertname="HighErrorRate", namespace="shop"}'
        assert firing["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
        assert [each["metric"]["alertstate"] for each in await here.until("ALERTS", 1)] == ["firing"]
        (state,) = await here.query("ALERTS_FOR_STATE")
        assert 0 <= float(state["value"][0]) - float(state["value"][1]) < 30
        _, rules = await here.get("/api/v1/rules")
        (group,) = rules["data"]["groups"]
        high = next(each for each in group["rules"] if each["name"] == "HighErrorRate")
        assert (high["state"], high["duration"], high["health"], high["type"]) == ("firing", 0.6, "ok", "alerting")
        assert high["alerts"][0]["labels"] == labels
        here.services.clear(fault)
        resolved = json.loads(await here.hook.wait(2))
        assert (resolved["status"], resolved["alerts"][0]["labels"]) == ("resolved", labels)
        assert resolved["alerts"][0]["startsAt"] == firing["alerts"][0]["startsAt"]
        await here.until("ALERTS", 0)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", KINDS)
async def test_pods_come_and_go(kind: Kind, tmp_path: Path) -> None:
    """A new pod is found, one that is gone ends its series at once, and a crash loop fires by kube-state metrics."""
    async with world(kind, tmp_path) as here:
        await here.until('http_requests_total{pod="web-1"}', 1)
        here.services.pod_ready("shop", "web-3", app="web", image="web:1")
        here.services.pod_gone("shop", "web-1")
        here.pods.append(POD)
        await here.until('http_requests_total{pod="web-3"}', 1)
        await here.until('http_requests_total{pod="web-1"}', 0)
        assert await here.query('kube_pod_container_status_restarts_total{pod="cart-1"} == 4')
        body = json.loads(await here.hook.wait(1))
        assert body["alerts"][0]["labels"] == {
            "alertname": "PodCrashLooping",
            "namespace": "shop",
            "pod": "cart-1",
            "severity": "critical",
        }


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", KINDS)
async def test_bad_requests_get_the_envelope(kind: Kind, tmp_path: Path) -> None:
    """Bad requests get status error with the same errorType and HTTP status from both."""
    cases = [
        (400, "bad_data", "/api/v1/query", {"query": "sum("}),
        (400, "bad_data", "/api/v1/query", {"query": ""}),
        (400, "bad_data", "/api/v1/query", {"query": "up", "time": "yesterday"}),
        (400, "bad_data", "/api/v1/query", {"query": "1 > 2"}),
        (422, "execution", "/api/v1/query", {"query": "http_requests_total / on (app) http_requests_total"}),
        (400, "bad_data", "/api/v1/query_range", {"query": "up", "start": "2", "end": "1", "step": "1"}),
        (400, "bad_data", "/api/v1/query_range", {"query": "up", "start": "1", "end": "2", "step": "0"}),
        (400, "bad_data", "/api/v1/query_range", {"query": "up", "start": "1", "end": "20000", "step": "1"}),
        (400, "bad_data", "/api/v1/query_range", {"query": "up[1m]", "start": "1", "end": "2", "step": "1"}),
    ]
    async with world(kind, tmp_path) as here:
        await here.until('http_requests_total{app="web"}', 2)
        for status, error, path, query in cases:
            seen, body = await here.get(path, **query)
            assert (seen, body["status"], body["errorType"]) == (status, "error", error), query
            assert body["error"]
        status, body = await here.get("/api/v1/query", query="topk(1, up)")
        if kind == "stand-in":
            assert (status, body["errorType"]) == (400, "bad_data")
            assert "unsupported in the sandbox: function or aggregation topk" in body["error"]
