"""How often candidates ask others is read with one query per metric, and what cannot be read tells nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
import structlog

from daemon.core.actions import Measured
from daemon.core.measurement import BEFORE_SAMPLES, FanOut
from daemon.core.model import Workload
from handlers import fan_outs
from handlers.call_metrics import ASKED, SERVED, End
from handlers.fan_outs import CALLEES_MAX, NOW_SAMPLES, TOLD_MAX, FanOuts
from handlers.faults import Fault
from handlers.live_calls import Meanings
from handlers.outbound.measure import MeasureRunner
from handlers.prometheus import Matrix
from handlers.sampling import Sampler
from tests.handlers.calls_world import istio_labels
from tests.handlers.measuring_world import DOWN, MINUTE, NOW, STEP, Prometheus, Scene, healthy, measure, policy

SHOP, CART, FRONT = (Workload(namespace="istio", kind="Deployment", name=name) for name in ("web", "cart", "front"))
BEGAN = NOW - 10 * MINUTE


@dataclass
class Mesh:
    """A Prometheus whose series are requests/s by caller and callee: before BEGAN, and from then on. None fails."""

    rates: Mapping[tuple[str, str], tuple[float, float]]
    fault: Fault | None = None
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        self.asked.append((promql, start, end))
        if self.fault is not None:
            raise self.fault
        moments = [start + step * number for number in range(int((end - start) / step) + 1)]
        return [
            (istio_labels(*ends, lastgood_side=side), [(at, late if at >= BEGAN else before) for at in moments])
            for ends, (before, late) in self.rates.items()
            for side in (ASKED, SERVED)
        ]


def meant(*workloads: Workload) -> Meanings:
    """Istio's names of these."""
    ends = {End(name=each.name, namespace=each.namespace): (each,) for each in workloads}
    return {"istio": ends}


def reader(mesh: Mesh, meanings: Meanings) -> FanOuts:
    return FanOuts(Sampler(mesh, policy), lambda: meanings)  # type: ignore[arg-type]  # a stand-in has what is asked for


RATES = {("unknown", "web"): (4.0, 8.0), ("front", "web"): (1.0, 2.0), ("web", "cart"): (10.0, 60.0)}


async def test_it_is_counted_per_request_whoever_asks() -> None:
    """Twice the traffic, and thrice the calls per request: from inside of the mesh and from outside of it."""
    mesh = Mesh(RATES)
    (found,) = await reader(mesh, meant(SHOP, CART, FRONT)).read([(SHOP, BEGAN)], NOW)
    assert (found.workload, found.callee) == (SHOP, CART)
    assert found.before == (2.0,) * BEFORE_SAMPLES
    assert found.now == (6.0,) * NOW_SAMPLES
    ((query, start, end),) = mesh.asked
    assert 'source_workload=~"web"' in query
    assert 'destination_workload=~"web"' in query
    assert (start, end) == (BEGAN - BEFORE_SAMPLES * STEP, NOW - policy().settling)


async def test_all_candidates_are_one_query() -> None:
    """From before the first of their rollouts on; who asks nobody has nothing to tell."""
    mesh = Mesh(RATES)
    candidates = [(SHOP, BEGAN), (CART, BEGAN), (FRONT, BEGAN - 5 * MINUTE)]
    found = await reader(mesh, meant(SHOP, CART, FRONT)).read(candidates, NOW)
    assert [(each.workload, each.callee) for each in found] == [(SHOP, CART)]
    ((query, start, _),) = mesh.asked
    assert '=~"cart|front|web"' in query
    assert start == BEGAN - 5 * MINUTE - BEFORE_SAMPLES * STEP


@pytest.mark.parametrize(
    ("candidates", "meanings"),
    [([], meant(SHOP)), ([(SHOP, BEGAN)], {}), ([(SHOP, BEGAN)], meant(CART))],
    ids=["no candidate", "no metric", "another's metric"],
)
async def test_nothing_is_asked_in_vain(candidates: list[tuple[Workload, datetime]], meanings: Meanings) -> None:
    """Without candidates, without a metric of requests, or where none tells of them."""
    mesh = Mesh(RATES)
    assert await reader(mesh, meanings).read(candidates, NOW) == ()
    assert mesh.asked == []


async def test_a_rollout_that_has_just_begun_tells_nothing_yet() -> None:
    """There is no sample after its start."""
    found = await reader(Mesh(RATES), meant(SHOP, CART)).read([(SHOP, NOW)], NOW)
    assert found == ()


async def test_who_serves_nothing_asks_nothing_per_request() -> None:
    """A worker that takes its work from elsewhere: no quotient, and no division by nought."""
    for rates in ({("web", "cart"): (10.0, 60.0)}, {("front", "web"): (0.0, 0.0), ("web", "cart"): (10.0, 60.0)}):
        assert await reader(Mesh(rates), meant(SHOP, CART)).read([(SHOP, BEGAN)], NOW) == ()


async def test_only_those_that_it_asks_most_are_told() -> None:
    """A gateway asks all of the cluster: of the busiest those that it asks so much more, for each is journalled."""
    many = [Workload(namespace="istio", kind="Deployment", name=f"s{number:02}") for number in range(CALLEES_MAX + 2)]
    rates = {("web", each.name): (1.0, number + 1.0) for number, each in enumerate(many)}
    rates["web", many[0].name] = (0.001, 1.0)  # grows a thousandfold, and is next to nothing
    found = await reader(Mesh({**rates, ("unknown", "web"): (1.0, 1.0)}), meant(SHOP, *many)).read([(SHOP, BEGAN)], NOW)
    assert [each.callee for each in found] == many[: -TOLD_MAX - 1 : -1]


async def test_what_calls_itself_is_no_fan_out() -> None:
    """Pods of one workload that ask each other."""
    mesh = Mesh({("web", "web"): (1.0, 9.0), ("front", "web"): (1.0, 1.0)})
    assert await reader(mesh, meant(SHOP, FRONT)).read([(SHOP, BEGAN)], NOW) == ()


async def test_the_first_source_that_tells_of_it_counts() -> None:
    """A mesh, and traces beside it: two counts of the same calls are not mixed."""
    both = {**meant(SHOP, CART), "traces": {End(name="web"): (SHOP,), End(name="cart"): (CART,)}}
    mesh = Mesh(RATES)
    found: tuple[FanOut, ...] = await reader(mesh, both).read([(SHOP, BEGAN)], NOW)
    assert len(found) == len(mesh.asked) == 1


async def test_prometheus_that_is_down_holds_up_nothing() -> None:
    """It is told in the log, and the measurement goes on without."""
    with structlog.testing.capture_logs() as logs:
        assert await reader(Mesh(RATES, DOWN), meant(SHOP, CART)).read([(SHOP, BEGAN)], NOW) == ()
    assert [(each["event"], each["reason"]) for each in logs] == [("fan_out_unreadable", DOWN.reason)]


async def test_prometheus_that_hangs_holds_up_nothing() -> None:
    """After so many seconds the measurement goes on without."""

    class Hanging(Mesh):
        async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
            await asyncio.sleep(3600)
            raise AssertionError("it was waited for")

    with structlog.testing.capture_logs() as logs:
        assert await reader(Hanging(RATES), meant(SHOP, CART)).read([(SHOP, BEGAN)], NOW) == ()
    assert [each["reason"] for each in logs] == [f"no answer within {fan_outs.READ_SECONDS:.0f} s"]


async def test_a_measurement_holds_them_of_all_candidates() -> None:
    """Measure asks for those that it is given, and for none where it is given none."""
    mesh = Mesh(RATES)

    class Both(Prometheus):
        async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
            if "istio_requests_total" in promql:
                return await mesh.query_range(promql, start, end, step)
            return await super().query_range(promql, start, end, step)

    scene = Scene(Both(healthy))
    runner = MeasureRunner(scene.sampler, scene.cluster, None, scene.hands, meanings=lambda: meant(SHOP, CART))
    for candidates, expected in (((), []), (((SHOP, BEGAN),), [(SHOP, CART)])):
        outcome = await runner.run(measure(candidates=candidates))
        assert isinstance(outcome.result, Measured)
        assert [(each.workload, each.callee) for each in outcome.result.measurement.fan_outs] == expected
