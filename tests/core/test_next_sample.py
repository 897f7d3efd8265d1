"""When an incident that holds is measured again: when there is something new to be seen."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from daemon.core.facts import Judged
from daemon.core.measuring import next_sample
from daemon.core.policy import Policy
from tests.core.builders import NOON, SECOND, a_measurement, a_policy, an_alert
from tests.core.story import Story

QUICK = a_policy(sample_interval=SECOND, signal_window=4 * SECOND)
EARLY = a_policy(sample_interval=30 * SECOND, signal_window=20 * SECOND)


@pytest.mark.parametrize(
    ("policy", "now", "expected"),
    [
        (a_policy(), NOON, NOON + 30 * SECOND),
        (a_policy(), NOON + SECOND, NOON + 30 * SECOND),
        (a_policy(), NOON + 29.9 * SECOND, NOON + 30 * SECOND),
        (QUICK, NOON + 0.4 * SECOND, NOON + SECOND),
        (EARLY, NOON + 9 * SECOND, NOON + 10 * SECOND),
        (EARLY, NOON + 10 * SECOND, NOON + 40 * SECOND),
        (a_policy(sample_interval=0.5 * SECOND), NOON, NOON + SECOND * 0.5),
    ],
)
def test_the_next_sample(policy: Policy, now: datetime, expected: datetime) -> None:
    """A sample lies on a multiple of the interval (whole seconds) and counts when it has settled; never now, never later
    than one interval from now.
    """
    found = next_sample(now, policy)
    assert found == expected
    assert timedelta(0) < found - now <= max(SECOND, policy.sample_interval)


def test_a_verdict_that_holds_looks_again_when_a_sample_is_due() -> None:
    """A first look between two samples is followed by one when the next sample is there, not a whole interval later."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=0.3, old=None)
    story.proves_v1()
    story.rolls_out()
    story.fires(an_alert(starts_at=NOON + 67 * SECOND))
    assert story.of(Judged)[-1].at == NOON + 67 * SECOND
    assert story.incident.next_measure_at == NOON + 90 * SECOND
