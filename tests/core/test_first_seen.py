"""A rollout that is under way when it is first seen is watched as if it had been seen to begin."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.actions import Measure, MeasurePurpose
from tests.core.builders import HOUR, MINUTE, NOON, SHOP, STEP, V1, V2, a_measurement, a_rollout_view
from tests.core.story import Story


def first_seen(**changes: Any) -> Story:
    """The daemon starts ten minutes after a rollout of the shop began, and sees it for the first time."""
    story = Story(now=NOON + 10 * MINUTE)
    story.watches = story.measures = lambda _: a_measurement(story.now, alerts=())
    story.starts()
    story.sees(a_rollout_view(**changes))
    return story


def test_a_rollout_that_is_first_seen_under_way_is_watched() -> None:
    """From the start on, and what it shows since it began opens an incident: a person learns that nothing is proven."""
    story = first_seen()
    story.waits(STEP)
    (look,) = [each for each in story.done if isinstance(each, Measure) and each.purpose is MeasurePurpose.WATCH]
    assert (look.new, look.old, look.since) == (V2, V1, NOON)
    assert [incident.suspect for incident in story.incidents] == [SHOP]


@pytest.mark.parametrize(
    ("changes", "watched"),
    [
        ({"converged": True, "available_since": NOON + 5 * MINUTE}, True),
        ({"converged": True, "available_since": NOON - 25 * MINUTE, "started_at": NOON - HOUR}, False),
        ({"started_at": NOON - 3 * HOUR}, False),
        ({"action_id": "inc-0/roll_back"}, False),
    ],
    ids=["complete since five minutes", "complete since 35 minutes", "for three hours", "ours"],
)
def test_what_is_first_seen_is_watched_as_if_it_had_been_seen_begin(changes: dict[str, Any], watched: bool) -> None:
    """For as long as it would have been, and a start looks at nothing that is done long since."""
    story = first_seen(**changes)
    assert (story.state.workloads[SHOP.key].watch_due is not None) is watched
