"""An alert that comes when the watch has blamed a rollout already and a newer one has superseded it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.core.incidents import Phase
from daemon.core.model import OnsetSource
from tests.core.builders import FINGERPRINT, HOUR, MINUTE, V3, a_location, a_measurement, a_policy
from tests.core.story import Story


def superseded() -> Story:
    """v2 is bad, the watch proposes to go back, and v3 comes before any alert."""
    story = Story(a_policy(countdown=5 * MINUTE))
    story.proves_v1()
    story.watches = story.measures = lambda _: a_measurement(story.now, alerts=())
    story.rolls_out()
    story.waits(2 * MINUTE)
    story.expect(Phase.PROPOSED)
    story.rolls_out(V3)
    story.expect(Phase.SUPERSEDED)
    return story


def alerted(story: Story, began: timedelta, source: OnsetSource = OnsetSource.RULE) -> None:
    """An alert fires whose anomaly began that long after the first rollout did."""
    first = next(iter(story.incidents))
    assert first.rollout_started_at is not None
    story.where[FINGERPRINT] = replace(a_location(), onset=first.rollout_started_at + began, onset_source=source)
    story.measures = lambda _: a_measurement(story.now)
    story.fires()


@pytest.mark.parametrize(
    ("began", "source"),
    [(MINUTE, OnsetSource.RULE), (-MINUTE, OnsetSource.ASSUMED)],
    ids=["after it", "as far as one can assume"],
)
def test_it_judges_the_newer_rollout(began: timedelta, source: OnsetSource) -> None:
    """What it tells began with v2; v3 follows in the chain, so it is no rollout that is younger than the symptom."""
    story = superseded()
    alerted(story, began, source)
    first, second = story.incidents
    assert (second.predecessor, second.chain_started_at) == (first.id, first.rollout_started_at)
    assert not second.phase.ended


def test_what_is_older_than_both_is_about_neither() -> None:
    """It was there before v2: neither is to blame."""
    story = superseded()
    alerted(story, -HOUR)
    assert story.incidents[-1].predecessor is None
    story.expect(Phase.DISMISSED)


def test_long_after_it_is_another_matter() -> None:
    """Beyond the blame window nothing is linked."""
    story = superseded()
    story.waits(HOUR)
    alerted(story, MINUTE)
    assert story.incidents[-1].predecessor is None
