"""The calls that a real Prometheus tells: of each mesh and of traces exactly the planted ones, down to an alert's place."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from daemon.core.actions import Locate, Located
from daemon.core.model import ActionId, Workload
from handlers.call_metrics import METRICS
from handlers.call_search import CallSearch, Found
from handlers.live_calls import LiveCalls
from handlers.outbound.locate import LocateRunner
from handlers.prometheus import PrometheusClient
from tests.handlers import calls_world as world
from tests.handlers import remote_write
from tests.handlers.intake_fakes import Counted
from tests.handlers.measuring_world import Hands, Scene, alert, policy

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveCalls:
    """The graph after one search of a server that all three sources write to."""
    now = datetime.now(UTC).replace(microsecond=0)
    with remote_write.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        remote_write.push(url, world.everything(now))
        found = asyncio.run(searched(url, now))
    calls = LiveCalls(world.cluster, policy, Hands(now), lambda counts: None)
    calls.found(found)
    return calls


async def searched(url: str, now: datetime) -> Found:
    told: list[Found] = []
    async with aiohttp.ClientSession() as session:
        search = CallSearch(PrometheusClient(session, url, telemetry=Counted()), Hands(now), told.append)
        assert await search.once()
    return told[-1]


@pytest.mark.parametrize("space", world.SPACES)
def test_each_source_tells_exactly_the_planted_calls(live: LiveCalls, space: str) -> None:
    """What ended, what is of the outside, what is no call of a workload, and names in several namespaces add nothing."""
    graph = live.graph()
    assert graph is not None
    near = {
        name: [(each.workload.name, each.hops, each.called) for each in graph.near([world.workload(space, name)])]
        for name in ("web", "cart", "db")
    }
    assert near == {
        "web": [("cart", 1, True), ("pay", 1, True), ("db", 2, True)],
        "cart": [("db", 1, True), ("web", 1, False)],
        "db": [("cart", 1, False), ("web", 2, False)],
    }
    assert len(graph) == len(world.SPACES) * len(world.CALLS)


async def test_an_alerts_place_knows_its_callees(live: LiveCalls) -> None:
    """From the metrics of a mesh to the candidates of an alert; a set is found by its kind."""
    scene = Scene()
    web = world.workload("istio", "web")
    scene.cluster.workloads["istio", "web"] = web
    runner = LocateRunner(scene.cluster, None, scene.sampler, scene.hands, live.graph)
    labels = {"namespace": "istio", "deployment": "web"}
    outcome = await runner.run(Locate(id=ActionId("locate/f1"), deadline=scene.hands.now(), alert=alert(**labels)))
    assert isinstance(outcome.result, Located)
    place = outcome.result.location
    assert place.workloads == (web,)
    assert [each.workload.key for each in place.neighbours] == [
        "istio/Deployment/cart", "istio/Deployment/pay", "istio/StatefulSet/db",
    ]  # fmt: skip
    assert Workload(namespace="istio", kind="StatefulSet", name="db") in place.kin


def test_a_prometheus_without_calls_is_asked_once(tmp_path: Path) -> None:
    """No mesh, no traces: nothing is found, and there is no graph."""
    with remote_write.prometheus(tmp_path) as url:
        assert asyncio.run(searched(url, datetime.now(UTC))) == {}


def test_every_metric_is_planted() -> None:
    """No metric of the code goes untested."""
    planted = {series.labels["__name__"] for series in world.everything(datetime.now(UTC))}
    assert {metric.name for metric in METRICS} <= planted
