"""ProveSoak: what pods and Prometheus tell of a span, backwards at the first start and onwards from there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from handlers.faults import Fault
from handlers.outbound.soak import SoakRunner
from handlers.sampling import SOAK_SAMPLES_MAX, floor
from tests.handlers.measuring_world import (
    DAY,
    DOWN,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    STEP,
    V1,
    V2,
    WEB,
    Prometheus,
    Scene,
    healthy,
    pod,
    prove,
    signal_of,
)

ZERO = timedelta(0)
END = floor(NOW - STEP, STEP)
"""The last sample that Prometheus surely has."""


def scene(*pods: Any, value: Any = healthy) -> Scene:
    found = Scene(Prometheus(value))
    found.cluster.pods[WEB, V2.id] = list(pods) or [pod("web-7f9c9c9c9c-abcde")]
    return found


async def test_a_first_start_proves_backwards() -> None:
    """An hour of health is proven by the first look, whole and to the last sample, with typical values as a baseline."""
    got = await scene().soaked()
    assert (got.since, got.until) == (NOW - HOUR, END)
    assert (got.healthy, got.quiet, got.inconclusive) == (END - got.since, ZERO, ZERO)
    assert dict(got.baseline) == {"traffic": 20.0, "error_ratio": 0.001, "latency_p95": 0.1, "latency_p99": 0.1}


async def test_checks_that_follow_lose_nothing() -> None:
    """Each check begins where the one before ended, so all of the time is counted, once."""
    world, since, total = scene(), NOW - HOUR, ZERO
    for _ in range(5):
        got = await world.soaked(since=since)
        total, since = total + got.healthy, got.until
        world.hands.at += 90 * SECOND
    assert total == since - (NOW - HOUR)


async def test_a_check_before_there_is_anything_to_see() -> None:
    """A clock that has just begun: nothing is counted and the end is not before the beginning."""
    got = await scene().soaked(since=NOW - SECOND)
    assert (got.since, got.until) == (NOW - SECOND, NOW - SECOND)
    assert (got.healthy, got.quiet, got.inconclusive) == (ZERO, ZERO, ZERO)


async def test_pods_younger_than_the_deployment() -> None:
    """Time before enough pods were ready is not proven, however long the Deployment exists."""
    world = scene()
    world.cluster.available = END - 20 * MINUTE
    got = await world.soaked()
    assert (got.healthy, got.inconclusive) == (20 * MINUTE, END - 20 * MINUTE - (NOW - HOUR))
    world.cluster.available = None
    got = await world.soaked()
    assert (got.healthy, got.inconclusive, got.because) == (ZERO, END - got.since, "not enough pods are available")


async def test_more_pods_are_asked_for() -> None:
    """A workload scaled up: the new pods' time begins with them, what was counted before stays counted."""
    world = scene(pod("a"), pod("b", ready_since=END - 5 * MINUTE))
    world.cluster.available = END - 5 * MINUTE
    got = await world.soaked(since=END - 6 * MINUTE)
    assert (got.healthy, got.inconclusive, got.unhealthy_at) == (5 * MINUTE, MINUTE, None)


async def test_a_restart_pauses() -> None:
    """What was before a restart is not proven (a pod tells only its latest), what came after it is."""
    at = END - 10 * MINUTE
    got = await scene(pod("a", restarts=1, last_restart_at=at)).soaked()
    assert (got.healthy, got.unhealthy_at) == (10 * MINUTE, None)
    got = await scene(pod("a", restarts=1, last_restart_at=None, ready_since=at)).soaked()
    assert got.healthy == 10 * MINUTE
    got = await scene(pod("a", restarts=1, last_restart_at=NOW - 5 * SECOND)).soaked()
    assert (got.healthy, got.unhealthy_at) == (ZERO, None)


async def test_an_oom_kill_resets() -> None:
    """It is the latest unhealthy moment; the time after it counts. One before the span is over and done."""
    at = END - 10 * MINUTE
    world = scene(pod("old", oom_killed=True, restarts=1, last_restart_at=NOW - DAY))
    assert (await world.soaked()).unhealthy_at is None
    world = scene(
        pod("old", oom_killed=True, restarts=1, last_restart_at=NOW - DAY),
        pod("new", oom_killed=True, restarts=1, last_restart_at=at),
    )
    got = await world.soaked()
    assert (got.healthy, got.inconclusive, got.unhealthy_at) == (10 * MINUTE, ZERO, at)
    assert got.because == "new was OOM-killed"


async def test_a_crash_loop_lasts_until_now() -> None:
    """A pod that waits in its back-off crashed before this span, and yet nothing of the span is healthy."""
    looping = pod("a", crash_looping=True, ready_since=None, restarts=7, last_restart_at=NOW - 4 * MINUTE)
    got = await scene(looping, pod("b")).soaked(since=NOW - 3 * MINUTE)
    assert (got.healthy, got.unhealthy_at, got.because) == (ZERO, got.until, "a crash-loops")


async def test_many_restarts_reset() -> None:
    """More than five restarts within five minutes over all pods are DESIGN's trigger."""
    young: dict[str, Any] = {"created_at": NOW - 4 * MINUTE, "last_restart_at": NOW - 3 * MINUTE}
    got = await scene(pod("a", restarts=3, **young), pod("b", restarts=3, **young)).soaked()
    assert (got.unhealthy_at, got.because) == (NOW - 3 * MINUTE, "6 restarts within 5 min")
    got = await scene(pod("a", restarts=3, **young), pod("b", restarts=2, **young)).soaked()
    assert got.unhealthy_at is None


async def test_a_replaced_revision_is_counted_up_to_its_end() -> None:
    """The last check ends when the rollout began, by its own pods; crashes after that are not its fault."""
    until = END - 5 * MINUTE
    world = scene(pod("a", V2), pod("b", V2, ready_since=END - 30 * MINUTE, terminating=True))
    world.cluster.available = None
    got = await world.soaked(until=until)
    assert (got.until, got.healthy) == (floor(until, STEP), floor(until, STEP) - (END - 30 * MINUTE))
    late: dict[str, Any] = {"restarts": 1, "last_restart_at": END - MINUTE}
    for how in ({"crash_looping": True, "ready_since": None}, {"oom_killed": True}):
        got = await scene(pod("a"), pod("b", **(late | how))).soaked(until=until)
        assert (got.unhealthy_at, got.healthy) == (None, ZERO)
    early: dict[str, Any] = {"restarts": 1, "last_restart_at": until - MINUTE, "oom_killed": True}
    assert (await scene(pod("a", **early)).soaked(until=until)).unhealthy_at == until - MINUTE
    world = scene(pod("a", V1))
    world.cluster.pods = {}
    assert (await world.soaked(until=until)).healthy == ZERO


async def test_an_end_that_prometheus_does_not_know_yet() -> None:
    """A rollout that began this second: what is not known yet is not counted as seen."""
    got = await scene().soaked(until=NOW)
    assert got.until == END


async def test_low_traffic_is_quiet() -> None:
    """Idle pods, and such with too few requests to judge by, are quiet, not inconclusive."""
    for rate in (0.0, 0.5):

        def value(query: str, at: datetime, rate: float = rate) -> float | None:
            return (
                rate if signal_of(query) == "traffic" else (0.0 if rate and signal_of(query) == "error_ratio" else None)
            )

        got = await scene(value=value).soaked()
        assert (got.healthy, got.quiet, got.inconclusive) == (ZERO, END - got.since, ZERO)


async def test_no_metrics_at_all_are_quiet() -> None:
    """A workload that never had signals is judged by its pods alone."""
    got = await scene(value=lambda query, at: None).soaked()
    assert (got.healthy, got.quiet, got.because) == (ZERO, END - got.since, "no signals to judge")


async def test_signals_that_fell_silent_prove_nothing() -> None:
    """Where there were signals before the span, or the revision before had some, silence is a gap: inconclusive."""

    def until_the_span(query: str, at: datetime) -> object:
        return healthy(query, at) if at <= NOW - 5 * MINUTE else None

    got = await scene(value=until_the_span).soaked(since=NOW - 5 * MINUTE)
    assert (got.quiet, got.inconclusive, got.because) == (ZERO, END - got.since, "its signals are silent")
    got = await scene(value=lambda query, at: None).soaked(baseline=(("traffic", 20.0),))
    assert (got.quiet, got.inconclusive) == (ZERO, END - got.since)


async def test_a_gap_within_the_span() -> None:
    """Minutes that were not scraped are inconclusive, those around them count."""

    def value(query: str, at: datetime) -> object:
        return None if END - 20 * MINUTE < at <= END - 10 * MINUTE else healthy(query, at)

    got = await scene(value=value).soaked()
    assert got.inconclusive == 10 * MINUTE
    assert got.healthy == END - got.since - 10 * MINUTE


async def test_a_retention_shorter_than_the_span() -> None:
    """What Prometheus does not remember is inconclusive, not quiet and not healthy."""

    def value(query: str, at: datetime) -> object:
        return healthy(query, at) if at > NOW - 2 * HOUR else None

    world = scene(pod("a", ready_since=NOW - 2 * DAY), value=value)
    world.cluster.available = NOW - 2 * DAY
    got = await world.soaked(since=NOW - DAY)
    assert abs(got.healthy - 2 * HOUR) < 2 * MINUTE
    assert got.quiet == ZERO
    assert got.inconclusive > 21 * HOUR


async def test_a_day_has_a_bounded_number_of_samples() -> None:
    """One query per signal, at most 2,000 samples of the span each, whatever its length."""
    world = scene(pod("a", ready_since=NOW - 2 * DAY))
    world.cluster.available = NOW - 2 * DAY
    got = await world.soaked(since=NOW - DAY)
    assert len(world.prometheus.queries) == len(world.policy.signals)
    _, _, _, step = world.prometheus.queries[0]
    assert DAY / step <= SOAK_SAMPLES_MAX
    assert got.healthy == got.until - got.since
    assert NOW - got.until < STEP + 2 * step


async def test_an_unhealthy_minute_resets() -> None:
    """Only what came after it counts, and it is named with its numbers."""
    bad = END - 10 * MINUTE

    def value(query: str, at: datetime) -> object:
        return 0.4 if at == bad and signal_of(query) == "error_ratio" else healthy(query, at)

    got = await scene(value=value).soaked()
    assert (got.healthy, got.inconclusive, got.unhealthy_at) == (10 * MINUTE, ZERO, bad)
    assert "error_ratio 0.4" in got.because


async def test_a_prometheus_that_is_down_proves_nothing() -> None:
    """Nothing is counted, and `missing` says why, so that the span is measured again. One bad signal is enough."""

    def one(query: str, at: datetime) -> float | Fault | None:
        return DOWN if signal_of(query) == "latency_p99" else healthy(query, at)

    for value in (lambda query, at: DOWN, one):
        got = await scene(value=value).soaked()
        assert (got.healthy, got.quiet, got.inconclusive, got.unhealthy_at) == (ZERO, ZERO, ZERO, None)
        assert got.missing == (DOWN.reason,)


@pytest.mark.parametrize("until", [None, NOW])
async def test_looking_is_done_again(until: datetime | None) -> None:
    """A check that was begun before a crash is simply repeated."""
    world = scene()
    assert await SoakRunner(world.sampler, world.cluster, world.hands).probe(prove(until=until)) is None
