"""What a deadline is judged by: a look at the symptom since the rollback, and of about now; nothing older clears or convicts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.core.actions import Measure
from daemon.core.events import DeadlinePassed
from daemon.core.incidents import Phase
from daemon.core.reasons import Reason
from tests.core.builders import HOUR, MINUTE, SECOND, SHOP, V2, a_measurement
from tests.core.story import Story
from tests.core.test_verifying import rolling, verifying


def wakes(story: Story, after: timedelta) -> None:
    """Nobody was there for so long (down, stopped, a clock set forward)."""
    story.now += after
    story.starts(down_since=story.now - after)
    story.plays(DeadlinePassed(at=story.now))


def quarantined(story: Story) -> bool:
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    return entry is not None and entry.quarantined_by is not None


def test_never_looked_since_the_rollback() -> None:
    """What convicted v2 was seen before the rollback: it does not say that the symptom outlived it, and clears nobody."""
    story = rolling()
    story.waits(20 * SECOND)
    story.withheld = {Measure}
    story.is_back()
    story.expect(Phase.VERIFYING)
    wakes(story, HOUR)
    story.expect(Phase.ESCALATED, Reason.VERIFY_INCONCLUSIVE)
    assert quarantined(story)


@pytest.mark.parametrize(("away", "reason"), [(20 * MINUTE, Reason.VERIFY_INCONCLUSIVE), (None, Reason.NOT_RECOVERED)])
def test_a_look_of_long_ago(away: timedelta | None, reason: Reason) -> None:
    """Bad right after the rollback, and then nobody looked: inconclusive, blame kept. Bad to the last: cleared."""
    story = verifying()
    story.measures = lambda action: a_measurement(story.now)
    story.waits(2 * MINUTE)
    story.expect(Phase.VERIFYING)
    if away is None:
        story.waits(20 * MINUTE)
    else:
        wakes(story, away)
    story.expect(Phase.ESCALATED, reason)
    assert quarantined(story) is (away is not None)
