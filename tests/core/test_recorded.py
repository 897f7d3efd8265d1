"""A recording is whole: its samples have settled, lie where they lie, and may not tell the traffic."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from daemon.core.measuring import next_sample
from daemon.core.policy import Policy, RecordedPolicy, SignalKind
from daemon.core.signals import enough_traffic, served
from tests.core.builders import MINUTE, NOON, SECOND, STEP, a_policy, a_sample, samples

RECORDED = RecordedPolicy(cluster="test", phase=7 * SECOND)
"""Samples at 7 and 37 seconds past each minute."""


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOON, NOON + 7 * SECOND),
        (NOON + 6.9 * SECOND, NOON + 7 * SECOND),
        (NOON + 7 * SECOND, NOON + 37 * SECOND),
        (NOON + 40 * SECOND, NOON + 67 * SECOND),
    ],
)
def test_a_recorded_sample_is_there_at_its_moment(now: datetime, expected: datetime) -> None:
    """At its phase of the interval, and nothing is waited for to settle."""
    assert next_sample(now, RECORDED) == expected


@pytest.mark.parametrize(
    ("window", "interval", "settling"),
    [(MINUTE, STEP, 30 * SECOND), (20 * SECOND, STEP, 10 * SECOND), (4 * MINUTE, STEP, STEP)],
)
def test_a_live_sample_settles(window: timedelta, interval: timedelta, settling: timedelta) -> None:
    """Half a window, at most an interval: the scrapes of the last seconds are still to come."""
    policy = a_policy(signal_window=window, sample_interval=interval)
    assert (policy.settling, policy.sample_phase) == (settling, timedelta(0))
    assert RECORDED.settling == timedelta(0)


@pytest.mark.parametrize(
    ("new", "old", "enough"),
    [
        ((0.1, 10), (0.9, 10), True),
        ((0.1, 10), (0.89, 10), False),
        ((0.1, 7), (2.0, 10), True),
        ((0.1, 6), (2.0, 10), False),
    ],
    ids=["a tenth goes to the canary", "too little in all", "21 requests of the canary", "18 requests of the canary"],
)
def test_the_rate_is_the_workloads_and_the_requests_are_each_sides(
    new: tuple[float, int], old: tuple[float, int], enough: bool
) -> None:
    """A canary gets a share: its workload is asked enough, and of itself there must be enough requests to tell."""
    policy = a_policy(min_traffic_rate=1.0, min_requests=20)
    sides = [samples(0.0, until=NOON, count=count, traffic=rate) for rate, count in (new, old)]
    assert enough_traffic(policy, *sides) is enough


@pytest.mark.parametrize(("policy", "enough"), [(a_policy(), False), (RECORDED, True)], ids=["live", "recorded"])
def test_traffic_that_is_not_told(policy: Policy, enough: bool) -> None:
    """Live it cannot be told from none and counts as too little; in a recording it means unknown. No sample is never enough."""
    unknown = samples(0.1, until=NOON, traffic=None)
    assert served(policy, unknown[0]) is enough
    assert enough_traffic(policy, unknown) is enough
    assert not enough_traffic(policy, ())


@pytest.mark.parametrize("policy", [a_policy(), RECORDED], ids=["live", "recorded"])
def test_traffic_that_is_told_counts_the_same_everywhere(policy: Policy) -> None:
    """None is none, a handful is too little, twenty per second are enough."""
    assert [served(policy, a_sample(NOON, traffic=rate)) for rate in (0.0, 0.1, 20.0)] == [False, True, True]
    assert [enough_traffic(policy, samples(0.1, until=NOON, traffic=rate)) for rate in (0.1, 20.0)] == [False, True]


def test_every_kind_of_latency_has_a_warm_up() -> None:
    """Also one of which nobody says which quantile it is."""
    kinds = {SignalKind.LATENCY, SignalKind.LATENCY_P95, SignalKind.LATENCY_P99}
    assert a_policy().latency_kinds == kinds
