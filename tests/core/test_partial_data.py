"""What cannot be read counts neither for nor against anybody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.blame import suspect
from daemon.core.contrast import contrast_of
from daemon.core.incidents import Phase, Tier
from daemon.core.measurement import Measurement, Sample
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


def a_pair(new: float, old: float, traffic: float = 20.0) -> tuple[Sample, Sample]:
    """The pair of a moment of which not every scrape is known."""
    at = NOON + STEP
    return samples(new, until=at, traffic=traffic)[-1], samples(old, until=at, traffic=traffic)[-1]


def lately(*, settled: float = 0.3, settled_old: float = 0.001, unsettled: tuple[Sample, Sample] | None) -> Measurement:
    """One settled pair, and the one after it."""
    new, old = samples(settled, until=NOON)[-1:], samples(settled_old, until=NOON)[-1:]
    return replace(a_measurement(NOON + STEP), new=new, old=old, unsettled=unsettled)


def test_a_conviction_is_completed_by_a_pair_that_is_not_settled() -> None:
    """The second bad pair of two need not be settled: the first has seen the scrapes of everybody."""
    assert not contrast_of(lately(unsettled=None), ROLLOUT, a_policy()).convicts(a_policy())
    found = contrast_of(lately(unsettled=a_pair(0.3, 0.001)), ROLLOUT, a_policy())
    assert found.convicts(a_policy())
    assert (found.convicting, found.recent) == (2, 2)


@pytest.mark.parametrize(
    "measurement",
    [
        lately(settled=0.001, unsettled=a_pair(0.3, 0.001)),
        lately(settled_old=0.3, unsettled=a_pair(0.3, 0.001)),
        lately(unsettled=a_pair(0.3, 0.3)),
        lately(unsettled=a_pair(0.3, 0.001, traffic=0.0)),
        lately(unsettled=a_pair(0.001, 0.001)),
    ],
    ids=["the settled one is fine", "the settled one is shared", "shared", "no traffic", "fine"],
)
def test_what_is_not_settled_convicts_nobody_alone(measurement: Measurement) -> None:
    """Scrapes that are still missing can make an outage of all look like one of the new pods; they can acquit nobody either."""
    found = contrast_of(measurement, ROLLOUT, a_policy())
    assert not found.convicts(a_policy())
    assert not found.acquits(replace(a_policy(), persistence_of=2))


def test_where_one_bad_pair_is_enough_it_must_be_settled() -> None:
    """With a persistence of one nothing else would stand beside it."""
    hasty = replace(a_policy(), persistence_bad=1)
    measurement = lately(settled=0.001, unsettled=a_pair(0.3, 0.001))
    assert not contrast_of(measurement, ROLLOUT, hasty).convicts(hasty)
