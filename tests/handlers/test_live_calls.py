"""Who calls whom, in the running daemon: searched now and then, remembered, matched, and without it all goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from daemon.core.actions import Locate, Located
from daemon.core.model import ActionId, Location, Neighbour, Workload
from daemon.runtime.telemetry import CALL_SOURCES, Metrics
from handlers import call_search
from handlers.call_metrics import EDGES_MAX, METRICS, SOURCES, Call, End
from handlers.call_search import REMEMBERED, SEARCH_AGAIN, SEARCH_EVERY, CallSearch, Found
from handlers.faults import Fault, FaultKind, Permanent
from handlers.live_calls import DECLARED, KEPT, UNMATCHED, LiveCalls
from handlers.outbound.locate import LocateRunner
from handlers.prometheus import Vector
from tests.handlers.calls_world import istio_labels, view
from tests.handlers.measuring_world import DOWN, NOW, WEB, Hands, Scene, alert, policy

REQUESTS, TCP = "istio_requests_total", "istio_tcp_connections_opened_total"
REFUSED = Permanent("prometheus answered 400: too many samples", FaultKind.CLIENT, status=400)
SHOP_CART, FAR = (Workload(namespace="istio", kind="Deployment", name=name) for name in ("cart", "far"))
ISTIO_WEB = Workload(namespace="istio", kind="Deployment", name="web")


@dataclass
class Mesh:
    """A Prometheus with calls only."""

    calls: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    fault: Fault | None = None
    refuses: str = "nothing"
    asked: list[str] = field(default_factory=list)

    async def label_values(self, label: str, selector: str, start: datetime, end: datetime) -> frozenset[str]:
        self.asked.append(selector)
        if self.fault is not None:
            raise self.fault
        assert (label, end - start) == ("__name__", call_search.LOOK_BACK)
        return frozenset(self.calls) | {"more_than_was_asked"}

    async def query(self, promql: str, at: datetime) -> Vector:
        self.asked.append(promql)
        if self.refuses in promql:
            raise REFUSED
        (name,) = (name for name in self.calls if name + "{" in promql)
        return [(istio_labels(*ends), 1.0) for ends in self.calls[name]]


class Daemon:
    """Who is told."""

    def __init__(self, mesh: Mesh) -> None:
        self.hands = Hands()
        self.told: list[Found] = []
        self.search = CallSearch(mesh, self.hands, self.told.append)

    @property
    def known(self) -> set[tuple[str, str]]:
        return {(one.name, other.name) for calls in self.told[-1].values() for one, other in calls}


def call(caller: str, callee: str) -> Call:
    return End(name=caller, namespace="istio"), End(name=callee, namespace="istio")


async def test_what_exists_is_asked_for_and_nothing_else() -> None:
    """One look into the index, then one query for each metric that is there; all of a source's metrics are one source."""
    mesh = Mesh({REQUESTS: [("web", "cart")], TCP: [("cart", "db")]})
    daemon = Daemon(mesh)
    assert await daemon.search.once()
    assert len(mesh.asked) == 3
    assert all(metric.name in mesh.asked[0] for metric in METRICS)
    assert {source: set(calls) for source, calls in daemon.told[-1].items()} == {
        "istio": {call("web", "cart"), call("cart", "db")}
    }
    nothing = Mesh()
    assert await Daemon(nothing).search.once()
    assert len(nothing.asked) == 1


async def test_a_call_is_remembered_for_a_day_after_it_was_last_seen() -> None:
    """While a service is down nobody calls it; what nobody calls any more is forgotten."""
    mesh = Mesh({REQUESTS: [("web", "cart"), ("web", "pay")]})
    daemon = Daemon(mesh)
    await daemon.search.once()
    mesh.calls = {REQUESTS: [("web", "pay")]}
    daemon.hands.at = NOW + REMEMBERED
    await daemon.search.once()
    assert daemon.known == {("web", "cart"), ("web", "pay")}
    daemon.hands.at += timedelta(seconds=1)
    await daemon.search.once()
    assert daemon.known == {("web", "pay")}


async def test_what_is_known_stays_while_prometheus_cannot_be_asked() -> None:
    """Nothing is concluded, nothing forgotten, and it is told once."""
    mesh = Mesh({REQUESTS: [("web", "cart")]})
    daemon = Daemon(mesh)
    await daemon.search.once()
    mesh.fault = DOWN
    with structlog.testing.capture_logs() as logs:
        assert not await daemon.search.once()
        assert not await daemon.search.once()
    assert len(daemon.told) == 1
    assert [log["event"] for log in logs] == ["calls_not_searched"]


async def test_a_refused_query_costs_only_its_own_metric() -> None:
    """The others are read all the same."""
    daemon = Daemon(Mesh({REQUESTS: [("web", "cart")], TCP: [("cart", "db")]}, refuses=TCP))
    with structlog.testing.capture_logs() as logs:
        assert await daemon.search.once()
    assert daemon.known == {("web", "cart")}
    assert [(log["event"], log["metric"]) for log in logs] == [("calls_query_refused", TCP)]


async def test_too_many_calls_are_cut_and_told() -> None:
    """The busiest come first in the answer, so they are kept."""
    many = [("web", f"s{number}") for number in range(EDGES_MAX + 1)]
    daemon = Daemon(Mesh({REQUESTS: many}))
    with structlog.testing.capture_logs() as logs:
        await daemon.search.once()
    assert daemon.known == set(many[:EDGES_MAX])
    assert [log["event"] for log in logs] == ["calls_left_out"]


async def test_it_is_asked_every_five_minutes_and_sooner_after_a_failure() -> None:
    """Bounded, whatever happens."""
    mesh = Mesh(fault=DOWN)
    running = asyncio.get_running_loop().create_task(Daemon(mesh).search.run())
    await asyncio.sleep(1)
    mesh.fault = None
    await asyncio.sleep(SEARCH_AGAIN.total_seconds())
    assert len(mesh.asked) == 2
    await asyncio.sleep(SEARCH_EVERY.total_seconds() - 2)
    assert len(mesh.asked) == 2
    await asyncio.sleep(2)
    assert len(mesh.asked) == 3
    running.cancel()


# -- the graph


class Live:
    """A cluster, a policy and what was found; counts what was told."""

    def __init__(self, *workloads: Workload, **changes: Any) -> None:
        self.views = [view(each) for each in workloads]
        self.policy = policy(**changes)
        self.hands = Hands()
        self.counts: list[Mapping[str, int]] = []
        self.calls = LiveCalls(lambda: self.views, lambda: self.policy, self.hands, self.counts.append)

    def near(self, workload: Workload) -> tuple[Neighbour, ...]:
        graph = self.calls.graph()
        return () if graph is None else graph.near([workload])


def found(*calls: Call) -> Found:
    return {"istio": dict.fromkeys(calls, NOW)}


def test_declared_and_found_calls_are_one_graph() -> None:
    """Both tell; each source is counted, and what fits no workload."""
    live = Live(ISTIO_WEB, SHOP_CART, FAR, calls=((SHOP_CART, FAR),))
    live.calls.found(found(call("web", "cart"), call("web", "gone")))
    assert [(each.workload, each.hops) for each in live.near(ISTIO_WEB)] == [(SHOP_CART, 1), (FAR, 2)]
    assert live.counts[-1] == {DECLARED: 1, "istio": 1, "linkerd": 0, "traces": 0, UNMATCHED: 1}


def test_where_nobody_tells_there_is_no_graph() -> None:
    """None, which is told apart from a graph in which nobody is near."""
    live = Live(ISTIO_WEB)
    assert live.calls.graph() is None
    live.calls.found(found(call("web", "gone")))
    assert live.calls.graph() is None


def test_the_graph_is_kept_for_half_a_minute_and_made_anew_for_what_changed() -> None:
    """A storm of alerts asks a thousand times; a workload that came, a reload and a search are seen all the same."""
    live = Live(ISTIO_WEB)
    live.calls.found(found(call("web", "cart")))
    made = len(live.counts)
    live.views.append(view(SHOP_CART))
    assert live.near(ISTIO_WEB) == ()
    assert len(live.counts) == made
    live.hands.at += KEPT
    assert len(live.near(ISTIO_WEB)) == 1
    live.policy = policy(calls=((SHOP_CART, FAR),))
    assert len(live.near(ISTIO_WEB)) == 2
    live.calls.found(found())
    assert live.near(ISTIO_WEB) == ()


def test_declared_strangers_are_told_once_there_is_a_cluster_to_compare() -> None:
    """A slip in policy.calls is in the log, not before the cluster was seen, and not every half minute."""
    live = Live(calls=((ISTIO_WEB, FAR),))
    with structlog.testing.capture_logs() as logs:
        for workloads in ((), (ISTIO_WEB,), (ISTIO_WEB,), (ISTIO_WEB, FAR), (ISTIO_WEB,)):
            live.views = [view(each) for each in workloads]
            live.hands.at += KEPT
            live.calls.graph()
    strangers = [log["names"] for log in logs if log["event"] == "calls_of_unknown_workloads"]
    assert strangers == [[FAR.key], [FAR.key]]


# -- where it leads to


async def located(scene: Scene, live: Live | None) -> Location:
    calls = live.calls.graph if live is not None else lambda: None
    runner = LocateRunner(scene.cluster, None, scene.sampler, scene.hands, calls)
    outcome = await runner.run(
        Locate(id=ActionId("locate/f1"), deadline=NOW, alert=alert(namespace="shop", deployment="web"))
    )
    assert isinstance(outcome.result, Located)
    return outcome.result.location


async def test_an_alerts_place_comes_with_who_is_near() -> None:
    """Neighbours and kin as of now."""
    live = Live(WEB, calls=((WEB, SHOP_CART),))
    place = await located(Scene(), live)
    assert place.neighbours == (Neighbour(workload=SHOP_CART, hops=1, called=True),)
    assert place.kin == (WEB, SHOP_CART)


@pytest.mark.parametrize("live", [None, Live(WEB)])
async def test_without_a_graph_the_place_is_all_there_is(live: Live | None) -> None:
    """It fails open: the alert is placed, nobody is near, nobody is kin."""
    place = await located(Scene(), live)
    assert place.workloads == (WEB,)
    assert (place.neighbours, place.kin) == ((), ())


def test_the_metric_has_every_source() -> None:
    """Each from 0 on, and set to what was counted."""
    assert set(CALL_SOURCES) == {DECLARED, *SOURCES, UNMATCHED}
    metrics = Metrics(())
    live = Live(ISTIO_WEB, SHOP_CART)
    live.calls = LiveCalls(lambda: live.views, lambda: live.policy, live.hands, metrics.calls)
    live.calls.found(found(call("web", "cart")))
    values = {
        source: metrics.registry.get_sample_value("lastgood_call_graph_edges", {"source": source})
        for source in CALL_SOURCES
    }
    assert values == dict.fromkeys(CALL_SOURCES, 0.0) | {"istio": 1.0}
