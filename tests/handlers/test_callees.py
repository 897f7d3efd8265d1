"""What reaches those that a workload calls: as they tell it, from that workload alone, and where its new pods are not heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from daemon.core.actions import MeasurePurpose
from daemon.core.division import division
from daemon.core.measurement import BEFORE_SAMPLES, Measurement, Peer
from daemon.core.model import Workload
from daemon.core.policy import SignalKind
from daemon.core.silence import CALLERS_MAX, SILENT_SAMPLES
from handlers import fan_outs
from handlers.call_graph import CallGraph
from handlers.call_metrics import End
from handlers.callees import Callees
from handlers.faults import Fault
from handlers.live_calls import Meanings
from handlers.prometheus import Matrix
from handlers.sampling import Sampler
from tests.handlers.calls_world import istio_labels
from tests.handlers.measuring_world import (
    DOWN,
    MINUTE,
    NEW_PODS,
    NOW,
    OLD_PODS,
    STEP,
    V1,
    V2,
    WEB,
    Prometheus,
    Scene,
    healthy,
    pod,
    policy,
    signal_of,
)

BEGAN = NOW - 10 * MINUTE
BEFORE, SINCE = 40.0, 30.0


def deployment(name: str) -> Workload:
    return Workload(namespace="shop", kind="Deployment", name=name)


CART, PAY, FRONT = (deployment(name) for name in ("cart", "pay", "front"))


def end(name: str) -> End:
    return End(name=name, namespace="shop")


def ends(caller: str, callee: str) -> dict[str, str]:
    """Istio's labels of a pair in this namespace."""
    named = istio_labels(caller, callee)
    return {label: "shop" if value == "istio" else value for label, value in named.items()}


def meant(*workloads: Workload) -> Meanings:
    return {"istio": {end(each.name): (each,) for each in workloads}}


EVERYBODY = meant(WEB, CART, PAY, FRONT)
Rates = Mapping[tuple[str, str], tuple[float | None, float | None]]
"""By caller and callee: requests/s before BEGAN and from then on; None for no series."""

TOLD: Rates = {("web", "cart"): (BEFORE, SINCE), ("web", "pay"): (10.0, 5.0), ("front", "cart"): (7.0, 70.0)}


@dataclass
class Mesh(Prometheus):
    """Answers of the mesh's requests by these, and of all else as healthy pods do, the new ones of web not at all."""

    rates: Rates = field(default_factory=lambda: TOLD)
    heard: bool = False
    fault: Fault | None = None
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.of_pods)

    def of_pods(self, query: str, at: datetime) -> float | Fault | None:
        """The old pods answer half of the twenty requests/s that they answered before."""
        if not self.heard and NEW_PODS[0].rsplit("-", 1)[0] in query:
            return None
        halved = at >= BEGAN and signal_of(query) == "traffic" and OLD_PODS[0].rsplit("-", 1)[0] in query
        return 10.0 if halved else healthy(query, at)

    async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        if "istio_requests_total" not in promql:
            return await super().query_range(promql, start, end, step)
        self.asked.append((promql, start, end))
        if self.fault is not None:
            raise self.fault
        moments = [start + step * number for number in range(int((end - start) / step) + 1)]
        told = {pair: rates[start >= BEGAN] for pair, rates in self.rates.items()}
        return [(ends(*pair), [(at, rate) for at in moments]) for pair, rate in told.items() if rate is not None]


async def read(mesh: Mesh, meanings: Meanings = EVERYBODY, *callees: Workload) -> dict[Workload, Peer]:
    reader = Callees(Sampler(mesh, policy), lambda: meanings)  # type: ignore[arg-type]  # a stand-in has what is asked for
    return {peer.workload: peer for peer in await reader.read(WEB, callees or (CART, PAY), BEGAN, NOW)}


def rates_of(peer: Peer) -> list[float | None]:
    (name,) = policy().names_of(SignalKind.TRAFFIC)
    return [sample.value(name) if sample is not None else None for sample in (peer.before, peer.now)]


# -- the reading


async def test_what_reaches_each_from_it_is_told_before_and_now() -> None:
    """From it alone, under the name of the traffic signal, in the spans in which the old pods are looked at: two queries."""
    mesh = Mesh()
    found = await read(mesh)
    assert {each: rates_of(peer) for each, peer in found.items()} == {CART: [BEFORE, SINCE], PAY: [10.0, 5.0]}
    settled = NOW - policy().settling
    assert [span for _, *span in mesh.asked] == [
        [BEGAN - BEFORE_SAMPLES * STEP, BEGAN - STEP],
        [settled - (SILENT_SAMPLES - 1) * STEP, settled],
    ]
    before, now = found[CART].before, found[CART].now
    assert before is not None
    assert now is not None
    assert before.at < BEGAN < now.at <= settled


async def test_only_those_who_are_called_are_believed() -> None:
    """What callers tell of their calls is missing where their pods are not heard; a waypoint misses whoever is outside."""
    mesh = Mesh()
    await read(mesh)
    for query, *_ in mesh.asked:
        assert 'reporter="destination"' in query
        assert 'destination_workload=~"cart|pay"' in query
        assert "source_workload=" not in query
        assert "response_code" not in query


@pytest.mark.parametrize("source", ["linkerd", "traces"])
async def test_what_callers_tell_is_not_asked(source: str) -> None:
    """Linkerd's outbound proxies and the callers' spans are as silent as the pods are."""
    mesh = Mesh()
    assert await read(mesh, {source: EVERYBODY["istio"]}) == {}
    assert mesh.asked == []


async def test_who_hears_callers_without_a_name_now_says_nothing() -> None:
    """Theirs may be the caller's, too. Such callers of earlier are no matter."""
    rates: Rates = {**TOLD, ("unknown", "cart"): (10.0, 10.0), ("unknown", "pay"): (10.0, 0.0)}
    assert set(await read(Mesh(rates=rates))) == {PAY}


@pytest.mark.parametrize("before", [None, 0.0], ids=["never heard", "not asking"])
async def test_nobody_says_anything_where_callers_without_a_name_came(before: float | None) -> None:
    """New pods without a sidecar have none: their work would pass for none."""
    assert await read(Mesh(rates={**TOLD, ("unknown", "cart"): (before, 10.0)})) == {}


async def test_a_name_that_means_others_too_is_not_its_own() -> None:
    """A StatefulSet of the same name: what that asks is none of its work."""
    twin = replace(WEB, kind="StatefulSet")
    mesh = Mesh()
    assert await read(mesh, {"istio": {**EVERYBODY["istio"], end("web"): (WEB, twin)}}) == {}
    assert mesh.asked == []
    alias: Meanings = {"istio": {**EVERYBODY["istio"], end("front"): (WEB, twin)}}
    assert rates_of((await read(mesh, alias))[CART]) == [BEFORE, SINCE]


@pytest.mark.parametrize("rates", [(None, 5.0), (10.0, None)], ids=["of before", "of now"])
async def test_of_whom_one_time_is_not_known_nothing_is_told(rates: tuple[float | None, float | None]) -> None:
    """It would be held against nothing."""
    assert set(await read(Mesh(rates={**TOLD, ("web", "pay"): rates}))) == {CART}


async def test_no_call_is_a_number() -> None:
    """A callee that is heard and is not asked any more tells that."""
    assert rates_of((await read(Mesh(rates={("web", "cart"): (BEFORE, 0.0)})))[CART]) == [BEFORE, 0.0]


async def test_so_many_are_told_at_most() -> None:
    """The first ones that the mesh knows; the others cost nothing."""
    many = [deployment(f"s{number}") for number in range(CALLERS_MAX + 2)]
    mesh = Mesh(rates={("web", each.name): (1.0, 1.0) for each in many})
    assert list(await read(mesh, meant(WEB, *many[1:]), *many)) == many[1 : CALLERS_MAX + 1]
    assert not any("s0" in query or f"s{CALLERS_MAX + 1}" in query for query, *_ in mesh.asked)


async def test_prometheus_that_is_down_or_hangs_holds_up_nothing() -> None:
    """It is told in the log."""

    class Hanging(Mesh):
        async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
            await asyncio.sleep(3600)
            raise AssertionError("it was waited for")

    with structlog.testing.capture_logs() as logs:
        assert await read(Mesh(fault=DOWN)) == {}
        assert await read(Hanging()) == {}
    late = f"no answer within {fan_outs.READ_SECONDS:.0f} s"
    assert [(each["event"], each["reason"]) for each in logs] == [
        ("callees_unreadable", DOWN.reason),
        ("callees_unreadable", late),
    ]


# -- the measurement


def scene_of(**changes: Any) -> Scene:
    """One new pod beside one old one since BEGAN; web calls cart and pay."""
    scene = Scene(Mesh(**changes))
    scene.calls = CallGraph([(WEB, CART), (WEB, PAY)])
    scene.meanings = EVERYBODY
    scene.cluster.pods[WEB, V1.id] = [pod(OLD_PODS[0], V1)]
    scene.cluster.pods[WEB, V2.id] = [pod(NEW_PODS[0], ready_since=BEGAN)]
    return scene


@pytest.mark.parametrize("purpose", [each for each in MeasurePurpose if each is not MeasurePurpose.RECOVERY])
async def test_callees_are_measured_where_nothing_is_heard_of_the_new_pods(purpose: MeasurePurpose) -> None:
    """Whatever it is measured for; since the rollout, not since the onset."""
    measured = await scene_of().measured(purpose=purpose, onset=NOW - MINUTE)
    assert [(peer.workload, rates_of(peer)) for peer in measured.callees] == [
        (CART, [BEFORE, SINCE]),
        (PAY, [10.0, 5.0]),
    ]


def no_graph(scene: Scene) -> None:
    scene.calls = None


def nobody_is_called(scene: Scene) -> None:
    scene.calls = CallGraph([(FRONT, WEB)])


def not_ready(scene: Scene) -> None:
    scene.cluster.pods[WEB, V2.id] = [pod(NEW_PODS[0], ready_since=None)]


def heard(scene: Scene) -> None:
    scene.prometheus.value = healthy


@pytest.mark.parametrize("change", [no_graph, nobody_is_called, not_ready, heard])
async def test_nobody_is_asked_without_need(change: Callable[[Scene], None]) -> None:
    """Where the new pods can speak for themselves, cannot be asked themselves, or nobody is known to be called."""
    scene = scene_of()
    change(scene)
    assert (await scene.measured()).callees == ()
    assert isinstance(scene.prometheus, Mesh)
    assert scene.prometheus.asked == []


@pytest.mark.parametrize(
    ("created_at", "told"), [(BEGAN + MINUTE, [PAY]), (BEGAN - 10 * MINUTE, [CART, PAY])], ids=["younger", "older"]
)
async def test_a_callee_with_pods_of_the_same_time_says_nothing(created_at: datetime, told: list[Workload]) -> None:
    """A change of the metrics of all services: the cart hears less of web, because its own new pods are not heard."""
    scene = scene_of()
    scene.cluster.pods[CART, V1.id] = [pod("cart-old", V1), pod("cart-new", V1, created_at=created_at)]
    assert [peer.workload for peer in (await scene.measured()).callees] == told


async def test_callees_say_nothing_of_a_recovery() -> None:
    """They are not asked."""
    scene = scene_of()
    assert (await scene.measured(purpose=MeasurePurpose.RECOVERY)).callees == ()
    assert isinstance(scene.prometheus, Mesh)
    assert scene.prometheus.asked == []


async def test_what_cannot_be_read_takes_nothing_with_it() -> None:
    """No callee, and all else is measured."""
    broken, whole = await scene_of(fault=DOWN).measured(), await scene_of().measured()
    assert whole.callees
    assert broken == replace(whole, callees=())


@pytest.mark.parametrize(
    ("since", "work", "none"), [(BEFORE, True, False), (BEFORE / 2, False, True)], ids=["all goes on", "half of it"]
)
async def test_the_balance_of_requests_rests_on_it(since: float, *, work: bool, none: bool) -> None:
    """The old pod answers half of what both did: where all goes on the new one works, where half does it does nothing."""
    measured: Measurement = await scene_of(rates={("web", "cart"): (BEFORE, since)}).measured()
    found = division(measured, policy(), served_before=2)
    assert found is not None
    assert (found.new_work, found.new_do_none, found.lost) == (work, none, none)
