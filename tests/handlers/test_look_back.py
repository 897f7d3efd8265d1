"""Looking back in a storm: alerts of one workload share what was read, few read at a time, a slow Prometheus is left alone."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from daemon.core.actions import Locate
from daemon.core.model import ActionId, Workload
from daemon.core.onsets import LOOK_BACK
from daemon.runtime.dispatch import AT_ONCE_MAX, ATTEMPT_SECONDS
from handlers.look_back import FELT_SECONDS, KEPT_MAX, KEPT_SECONDS, READ_AT_ONCE, REST_SECONDS, LookBack
from handlers.outbound.locate import LocateRunner
from handlers.prometheus import Vector
from handlers.sampling import QUERIES_AT_ONCE, floor
from tests.handlers.measuring_world import MINUTE, NOW, SECOND, STEP, Prometheus, Scene, alert
from tests.handlers.test_locate import IN_SHOP, located_with, shop

ONSET = floor(NOW - 5 * MINUTE, STEP)
FELT_AT = ONSET - 6 * MINUTE
SIGNALS = 3
"""That those feel who ask, of a policy that names none: the error ratio and two latencies."""

ALERTS, WORKLOADS = 640, 32


def felt(query: str, at: datetime) -> float | None:
    return (0.02 if at >= FELT_AT else 0.001) if "5.." in query else None


def workload(number: int) -> Workload:
    return Workload(namespace="shop", kind="Deployment", name=f"w{number}")


async def storm(looking: LookBack, alerts: int = ALERTS, workloads: int = WORKLOADS) -> list[datetime | None]:
    """So many alerts of so many workloads, a second or so apart, located as many at a time as the dispatcher does."""
    places = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(number: int) -> datetime | None:
        async with places:
            return await looking.felt_at(workload(number % workloads), ONSET + timedelta(milliseconds=number))

    return await asyncio.gather(*map(one, range(alerts)))


def seconds() -> float:
    return asyncio.get_running_loop().time()


async def test_alerts_of_one_workload_share_the_answer() -> None:
    """One look back per workload, whatever its number of alerts; all hear of it, and it is the right one."""
    scene = Scene(Prometheus(felt))
    assert set(await storm(LookBack(scene.sampler))) == {FELT_AT}
    assert len(scene.prometheus.queries) == WORKLOADS * SIGNALS


async def test_what_is_shared_is_of_the_workload_and_of_the_sample() -> None:
    """Another workload, and another onset of the same one, are looked at by themselves."""
    scene = Scene(Prometheus(felt))
    looking = LookBack(scene.sampler)
    for each, onset in ((0, ONSET), (1, ONSET), (0, ONSET + STEP), (0, ONSET + STEP + SECOND)):
        await looking.felt_at(workload(each), onset)
    asked = [("w1-" in query, end) for query, _, end, _ in scene.prometheus.queries[::SIGNALS]]
    assert asked == [(False, ONSET), (True, ONSET), (False, ONSET + STEP)]


async def test_measurements_keep_their_part() -> None:
    """However many are looked for, look backs never use up the queries that all share."""
    scene = Scene(Prometheus(felt))
    await storm(LookBack(scene.sampler), AT_ONCE_MAX, AT_ONCE_MAX)
    assert scene.prometheus.out_most == READ_AT_ONCE * SIGNALS < QUERIES_AT_ONCE


async def test_a_storm_waits_for_a_slow_prometheus_once() -> None:
    """Ten thousand alerts behind one that does not answer are held up for some seconds together, not each of them."""
    scene = Scene(Prometheus(felt))
    scene.prometheus.hang = lambda query: True
    began = seconds()
    assert set(await storm(LookBack(scene.sampler), 10_000, 500)) == {None}
    assert seconds() - began == pytest.approx(FELT_SECONDS, abs=0.1)
    assert len(scene.prometheus.queries) == READ_AT_ONCE * SIGNALS


async def test_after_a_rest_it_is_asked_again() -> None:
    """What could not be read is not taken for an answer; what was read before the rest is still told in it."""
    scene = Scene(Prometheus(felt))
    looking = LookBack(scene.sampler)
    assert await looking.felt_at(workload(0), ONSET) == FELT_AT
    scene.prometheus.hang = lambda query: True
    assert await looking.felt_at(workload(1), ONSET) is None
    scene.prometheus.hang = lambda query: False
    assert await looking.felt_at(workload(1), ONSET) is None, "it rests"
    assert await looking.felt_at(workload(0), ONSET) == FELT_AT
    await asyncio.sleep(REST_SECONDS)
    assert await looking.felt_at(workload(1), ONSET) == FELT_AT


async def test_an_answer_is_good_for_a_minute() -> None:
    """Read right at the onset it may lack samples that Prometheus gets a little later."""
    scene = Scene(Prometheus(lambda query, at: None))
    looking = LookBack(scene.sampler)
    assert await looking.felt_at(workload(0), ONSET) is None
    scene.prometheus.value = felt
    await asyncio.sleep(KEPT_SECONDS - 1)
    assert await looking.felt_at(workload(0), ONSET) is None
    await asyncio.sleep(2)
    assert await looking.felt_at(workload(0), ONSET) == FELT_AT


async def test_no_more_is_kept_than_said() -> None:
    """The oldest goes: what is asked for again is read again."""
    scene = Scene(Prometheus(lambda query, at: None))
    looking = LookBack(scene.sampler)
    await asyncio.gather(*(looking.felt_at(workload(each), ONSET) for each in range(KEPT_MAX + 1)))
    read = len(scene.prometheus.queries)
    assert read == (KEPT_MAX + 1) * SIGNALS
    await looking.felt_at(workload(1), ONSET)
    assert len(scene.prometheus.queries) == read
    await looking.felt_at(workload(0), ONSET)
    assert len(scene.prometheus.queries) == read + SIGNALS


class Slow(Prometheus):
    """Answers each question in a little less than what it may take."""

    async def query(self, promql: str, at: datetime) -> Vector:
        await asyncio.sleep(9.9)
        return await super().query(promql, at)

    async def rules(self) -> tuple[()]:
        await asyncio.sleep(9.9)
        return ()


async def test_the_slowest_alert_is_placed_within_an_attempt() -> None:
    """Else it would be tried again, in vain, until Prometheus is faster."""
    scene, began = shop(), seconds()
    slow = Slow(felt)
    slow.hang = lambda query: True
    scene.prometheus = slow
    found = await located_with(scene, slow, {**IN_SHOP, "deployment": "web", "alertname": "HighErrors"})
    assert (found.onset, found.felt_at) == (alert().starts_at - scene.policy.assumed_for, None)
    assert 3 * 9.9 + FELT_SECONDS - 0.1 < seconds() - began < ATTEMPT_SECONDS["locate"]


async def test_locating_shares_it() -> None:
    """Several alerts of one workload are located by one runner, as the daemon does."""
    scene = shop()
    scene.prometheus.value = felt
    runner = LocateRunner(scene.cluster, scene.prometheus, scene.sampler, scene.hands)  # type: ignore[arg-type]  # a stand-in
    for name in ("HighErrors", "Slow", "HighErrors"):
        fired = alert(name, alertname=name, deployment="web", **IN_SHOP)
        await runner.run(Locate(id=ActionId(f"locate/{name}"), deadline=NOW + MINUTE, alert=fired))
    assert len(scene.prometheus.queries) == SIGNALS
    assert {end - start for _, start, end, _ in scene.prometheus.queries} == {LOOK_BACK}
