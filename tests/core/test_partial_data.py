"""What cannot be read counts neither for nor against anybody."""

from __future__ import annotations

from dataclasses import replace

from daemon.core.blame import contrast_of, suspect
from daemon.core.incidents import Phase, Tier
from daemon.core.measurement import Measurement
from daemon.core.model import OnsetSource, Rollout
from tests.core.builders import (
    NOON,
    SHOP,
    STEP,
    V1,
    V2,
    a_measurement,
    a_policy,
    a_recovery,
    a_start_failure,
    samples,
)
from tests.core.story import Story

ROLLOUT = Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)


def tier(measurement: Measurement) -> Tier:
    """The strongest evidence that the measurement gives against v2."""
    found = suspect(ROLLOUT, measurement, NOON + STEP, OnsetSource.RULE, a_policy(), old_ran=True, chain_start=None)
    return found.tier


def test_an_old_pod_that_says_nothing_is_no_witness() -> None:
    """New pods err while the old ones only report traffic: that is no contrast."""
    measurement = a_measurement(NOON + 10 * STEP)
    mute = replace(measurement, old=samples(None, until=NOON + 10 * STEP))
    assert contrast_of(measurement, ROLLOUT, a_policy()).convicts(a_policy())
    assert not contrast_of(mute, ROLLOUT, a_policy()).convicts(a_policy())


def test_a_start_failure_needs_most_pods_to_fail() -> None:
    """One ready pod of three may be the flicker of a crash loop, two are a revision that starts."""
    crash = a_start_failure()
    flicker = a_measurement(NOON, new=None, old=None, new_ready=1, new_pods=3, start_failure=crash)
    assert tier(flicker) is Tier.START_FAILURE
    assert tier(replace(flicker, new_ready=2)) is Tier.TIMING


def test_recovery_needs_every_signal_to_be_read() -> None:
    """Alert gone, errors back, but a latency cannot be read: not recovered until it can."""
    story = Story()
    story.spikes()
    story.waits(STEP)
    story.is_back()
    story.measures = lambda _: a_recovery(story.now, missing=("prometheus: timed out (latency_p99)",))
    story.waits(story.policy.hold * 2)
    story.expect(Phase.VERIFYING)
    story.measures = lambda _: a_recovery(story.now)
    story.waits(story.policy.hold * 2)
    story.expect(Phase.RECOVERED)
