"""What a real Prometheus tells of calls per request, by each mesh and by traces: a rollout that asks four times as often."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from statistics import median

import aiohttp
import pytest

from daemon.core.fan_out import fan_out_terms
from daemon.core.measurement import FanOut, Measurement
from handlers.call_search import CallSearch, Found
from handlers.fan_outs import FanOuts
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
"""Since when web's new pods ask the cart four times per request, and twice as many requests come."""

SERVED, USUAL, GROWN = 5.0, 1.0, 4.0
FAILED = {"cart": 30.0, "web": 0.0}
"""Tries per second that fail since, beside those that do not."""


def counted(now: datetime, name: str, labels: Mapping[str, str], before: float, since: float) -> Series:
    """A counter that grows by so much per second, before AGO and since."""
    samples, value = [], 1000.0
    for at in moments(now):
        samples.append((at, value))
        value += STEP * (since if at >= (now - AGO).timestamp() * 1000 else before)
    return Series(labels={"__name__": name, **labels}, samples=samples)


def istio(now: datetime) -> Iterator[Series]:
    """Both sides report calls within the mesh, the callee alone those from outside; cart asks db as always.

    The database fails two tries of three since, so that the cart tries three times for each request.
    """
    name = "istio_requests_total"
    outside = world.istio_labels("unknown", "web", reporter="destination")
    yield counted(now, name, outside, SERVED, 2 * SERVED)
    for reporter in ("source", "destination"):
        calls = world.istio_labels("web", "cart", reporter=reporter)
        yield counted(now, name, calls, SERVED * USUAL, 2 * SERVED * GROWN)
        asks = world.istio_labels("cart", "db", reporter=reporter, response_code="200")
        yield counted(now, name, asks, SERVED * USUAL, 2 * SERVED * GROWN)
        for code, grpc in (("503", ""), ("200", "14")):
            tries = {**asks, "response_code": code, "grpc_response_status": grpc}
            yield counted(now, name, tries, 0.0, 2 * SERVED * GROWN)


def linkerd(now: datetime) -> Iterator[Series]:
    """Only what callers send tells both ends, so web is counted by what pay asks it."""
    for caller, callee, before, since in (
        ("pay", "web", SERVED, 2 * SERVED),
        ("web", "cart", SERVED * USUAL, 2 * SERVED * GROWN),
    ):
        ends = {"namespace": "linkerd", "deployment": caller, "dst_namespace": "linkerd", "dst_deployment": callee}
        ours = {**ends, "direction": "outbound", "pod": "a", "classification": "success"}
        yield counted(now, "response_total", ours, before, since)
        yield counted(now, "response_total", {**ours, "classification": "failure"}, 0.0, FAILED[callee])
        inbound = {"namespace": "linkerd", "deployment": callee, "direction": "inbound", "pod": "b"}
        yield counted(now, "response_total", inbound, 7.0, 7.0)


def traces(now: datetime) -> Iterator[Series]:
    """Services; who is no service of ours asks as well."""
    spaces = {f"{end}_k8s_namespace_name": "traces" for end in ("client", "server")}
    name = "traces_service_graph_request_total"
    user = {"client": "user", "server": "web", "connection_type": "virtual_node", **spaces}
    yield counted(now, name, user, SERVED, 2 * SERVED)
    calls = {"client": "web", "client_k8s_deployment_name": "web", "server": "cart", **spaces}
    yield counted(now, name, calls, SERVED * USUAL, 2 * SERVED * GROWN + FAILED["cart"])
    yield counted(now, "traces_service_graph_request_failed_total", calls, 0.0, FAILED["cart"])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[FanOut, ...]:
    """What is read of web and cart in each namespace, from a server that all three sources write to."""
    now = datetime.now(UTC).replace(microsecond=0)
    with remote_write.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        remote_write.push(url, [*istio(now), *linkerd(now), *traces(now)])
        return asyncio.run(read(url, now))


async def read(url: str, now: datetime) -> tuple[FanOut, ...]:
    hands, settings = Hands(now), policy(signal_window=MINUTE)
    calls = LiveCalls(world.cluster, lambda: settings, hands)
    async with aiohttp.ClientSession() as session:
        client = PrometheusClient(session, url, telemetry=Counted())
        found: list[Found] = []
        assert await CallSearch(client, hands, found.append).once()
        calls.found(found[-1])
        candidates = [(world.workload(space, name), now - AGO) for space in world.SPACES for name in ("web", "cart")]
        return await FanOuts(Sampler(client, lambda: settings), calls.meanings).read(candidates, now)


@pytest.mark.parametrize("space", world.SPACES)
def test_each_source_tells_who_asks_more(told: tuple[FanOut, ...], space: str) -> None:
    """Four times as often per request, however many requests there are, how many sides report them, and how many tries failed."""
    web, cart = world.workload(space, "web"), world.workload(space, "cart")
    (found,) = [each for each in told if each.workload == web]
    assert found.callee == cart
    assert median(found.before) == pytest.approx(USUAL, rel=0.02)
    assert found.now[-1] == pytest.approx(GROWN, rel=0.02)
    (term,) = fan_out_terms(Measurement(at=datetime.now(UTC), fan_outs=told), web)
    assert "asks cart" in term.sentence


def test_who_passes_on_what_he_is_asked_is_not_suspected(told: tuple[FanOut, ...]) -> None:
    """The cart asks the database eight times as often, as it is asked eight times as often; failed tries are not its doing."""
    cart = world.workload("istio", "cart")
    (found,) = [each for each in told if each.workload == cart]
    assert found.before[0] == pytest.approx(1.0, rel=0.02)
    assert fan_out_terms(Measurement(at=datetime.now(UTC), fan_outs=told), cart) == []
