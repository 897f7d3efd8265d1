"""What a real Prometheus tells of the requests that reach those whom a workload calls, half of whose pods are not heard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import aiohttp
import pytest

from daemon.core.measurement import Peer
from daemon.core.model import Workload
from handlers.call_search import CallSearch, Found
from handlers.callees import Callees
from handlers.live_calls import LiveCalls
from handlers.prometheus import PrometheusClient
from handlers.sampling import Sampler
from tests.handlers import calls_world as world
from tests.handlers import remote_write
from tests.handlers.intake_fakes import Counted
from tests.handlers.measuring_world import MINUTE, Hands, policy
from tests.handlers.metric_families import STEP, moments
from tests.handlers.remote_write import Series

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

AGO = 3 * MINUTE
"""Since when half of web's pods are new ones."""

RATE = 10.0
REQUESTS = "istio_requests_total"


def counted(now: datetime, name: str, labels: Mapping[str, str], before: float, since: float) -> Series:
    """A counter that grows by so much per second, before AGO and since."""
    samples, value = [], 1000.0
    for at in moments(now):
        samples.append((at, value))
        value += STEP * (since if at >= (now - AGO).timestamp() * 1000 else before)
    return Series(labels={"__name__": name, **labels}, samples=samples)


def istio(now: datetime) -> Iterator[Series]:
    """The cart hears of all that web's pods ask, pay of half; its callers' proxies tell of the old ones alone."""
    for code, before, since in (("200", RATE, RATE / 2), ("503", 0.0, RATE / 2)):
        asks = world.istio_labels("web", "cart", reporter="destination", response_code=code)
        yield counted(now, REQUESTS, asks, before, since)
    yield counted(now, REQUESTS, world.istio_labels("web", "pay", reporter="destination"), RATE, RATE / 2)
    for callee in ("cart", "pay"):
        yield counted(now, REQUESTS, world.istio_labels("web", callee, reporter="source"), RATE, RATE / 2)
        others = world.istio_labels("pay" if callee == "cart" else "cart", callee, reporter="destination")
        yield counted(now, REQUESTS, others, 3.0, 30.0)
    nameless = {"source_workload": "unknown", "source_workload_namespace": "unknown"}
    db = world.istio_labels("web", "db", reporter="destination")
    yield counted(now, REQUESTS, db, RATE, RATE / 2)
    yield counted(now, REQUESTS, {**db, **nameless}, 1.0, 1.0 + RATE / 2)


def others(now: datetime) -> Iterator[Series]:
    """Linkerd's outbound proxies and the service graph of traces."""
    linkerd = {"namespace": "linkerd", "deployment": "web", "dst_namespace": "linkerd", "dst_deployment": "cart"}
    outbound = {**linkerd, "direction": "outbound", "classification": "success"}
    yield counted(now, "response_total", outbound, RATE, RATE / 2)
    spaces = {f"{end}_k8s_namespace_name": "traces" for end in ("client", "server")}
    traced = {"client": "web", "server": "cart", **spaces}
    yield counted(now, "traces_service_graph_request_total", traced, RATE, RATE / 2)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[Workload, Peer]:
    """What is told of those that web calls in each namespace."""
    now = datetime.now(UTC).replace(microsecond=0)
    with remote_write.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        remote_write.push(url, [*istio(now), *others(now)])
        return asyncio.run(read(url, now))


async def read(url: str, now: datetime) -> dict[Workload, Peer]:
    hands, settings = Hands(now), policy(signal_window=MINUTE)
    calls = LiveCalls(world.cluster, lambda: settings, hands)
    async with aiohttp.ClientSession() as session:
        client = PrometheusClient(session, url, telemetry=Counted())
        found: list[Found] = []
        assert await CallSearch(client, hands, found.append).once()
        calls.found(found[-1])
        graph = calls.graph()
        assert graph is not None
        peers: list[Peer] = []
        for space in world.SPACES:
            web = world.workload(space, "web")
            assert graph.callees(web)
            reader = Callees(Sampler(client, lambda: settings), calls.meanings)
            peers += await reader.read(web, graph.callees(web), now - AGO, now)
        return {peer.workload: peer for peer in peers}


@pytest.mark.parametrize(("name", "now"), [("cart", RATE), ("pay", RATE / 2)])
def test_who_is_asked_tells_how_often(told: dict[Workload, Peer], name: str, now: float) -> None:
    """What comes from web alone, also what fails, and also what its own proxies do not tell."""
    peer = told[world.workload("istio", name)]
    assert peer.before is not None
    assert peer.now is not None
    assert peer.before.value("traffic") == pytest.approx(RATE, rel=0.02)
    assert peer.now.value("traffic") == pytest.approx(now, rel=0.02)


def test_nobody_else_says_anything(told: dict[Workload, Peer]) -> None:
    """Not what callers tell, and not who hears callers without a name."""
    assert set(told) == {world.workload("istio", "cart"), world.workload("istio", "pay")}
