"""The steps of a rollout: when more of its pods were ready, and what began just then."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.core.blame import SOON, SOON_SHARE, TIMING_HALF_LIFE, UNREADY_SHARE, suspect
from daemon.core.incidents import Term
from daemon.core.model import OnsetSource, Rollout
from daemon.core.rollouts import STEPS_MAX
from daemon.core.weights import WEIGHTS
from tests.core.builders import (
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    a_measurement,
    a_policy,
    a_rollout_view,
    pods_of,
)
from tests.core.story import Story

ROLLOUT = Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)


def steps_of(story: Story) -> tuple[datetime, ...]:
    """Of the shop's rollout."""
    rollout = story.state.workloads[SHOP.key].rollout
    assert rollout is not None
    return rollout.steps


def shows(story: Story, ready: int, after: timedelta = MINUTE) -> None:
    """Later, so many of the three new pods are ready."""
    story.now += after
    story.sees(a_rollout_view(pods=(pods_of(V1, 2), pods_of(V2, 3, ready=ready))))


def test_each_time_more_pods_are_ready_is_a_step() -> None:
    """Not where there are as many, or fewer."""
    story = Story()
    story.proves_v1()
    story.rolls_out(pods=(pods_of(V1, 2), pods_of(V2, 3, ready=0)))
    assert steps_of(story) == ()
    for ready in (0, 1, 1, 0, 2):
        shows(story, ready)
    assert steps_of(story) == (NOON + 2 * MINUTE, NOON + 5 * MINUTE)


def test_pods_that_were_ready_when_it_was_seen_first_are_so_since_it_began() -> None:
    """Nobody knows better, and it may not be thought that none was."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    assert steps_of(story) == (NOON,)


def test_no_more_than_the_newest_steps_are_kept() -> None:
    """A pod that flickers steps without end."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    for turn in range(2 * STEPS_MAX + 4):
        shows(story, turn % 2, SECOND)
    assert (len(steps_of(story)), steps_of(story)[-1]) == (STEPS_MAX, story.now)


def timing(rollout: Rollout, onset: datetime, **more: Any) -> Term:
    """The term."""
    known: dict[str, Any] = {"old_ran": True, "chain_start": None, "onset_source": OnsetSource.RULE}
    found = suspect(rollout, a_measurement(NOON, new=None, old=None), onset, policy=a_policy(), **(known | more))
    return next(term for term in found.terms if term.name == "timing")


@pytest.mark.parametrize(
    ("steps", "lag", "since"),
    [
        ((), 20 * MINUTE, "the rollout"),
        ((NOON + MINUTE,), 19 * MINUTE, "more of its new pods were ready"),
        ((NOON + MINUTE, NOON + 19 * MINUTE), 1 * MINUTE, "more of its new pods were ready"),
        ((NOON + MINUTE, NOON + 18 * MINUTE, NOON + 21 * MINUTE), 2 * MINUTE, "more of its new pods were ready"),
    ],
    ids=["nobody watched", "one step", "just before", "the last one before"],
)
def test_what_begins_with_a_step_is_likelier_its_doing(steps: tuple[datetime, ...], lag: timedelta, since: str) -> None:
    """Of two rollouts under way that one is named first which has just put more of its pods into service."""
    term = timing(replace(ROLLOUT, steps=steps), NOON + 20 * MINUTE)
    assert term.value == lag.total_seconds()
    assert term.weight == round(WEIGHTS["timing"] * 0.5 ** (lag / TIMING_HALF_LIFE), 4)
    assert term.sentence == f"The anomaly began {lag.total_seconds():.0f} s after {since}."


@pytest.mark.parametrize(
    ("lag", "share", "says"),
    [
        (STEP * SOON, 1.0, "8 s after"),
        (STEP * SOON - SECOND, SOON_SHARE, "6 s after"),
        (timedelta(0), 1.0, "0 s after"),
        (-STEP, SOON_SHARE, "30 s before"),
    ],
    ids=["has answered enough", "too soon", "the watch of the rollout began it", "within the slack of one sample"],
)
def test_what_came_at_the_end_of_a_sample_has_hardly_moved_it(lag: timedelta, share: float, says: str) -> None:
    """Of two that began in the same sample the one is named first that has answered more of what it counts."""
    term = timing(ROLLOUT, NOON + lag)
    decay = 0.5 ** (max(lag, timedelta(0)) / TIMING_HALF_LIFE)
    assert term.weight == round(WEIGHTS["timing"] * share * decay, 4)
    assert term.sentence == f"The anomaly began {says} the rollout."
    assert term.value >= 0


def test_the_step_that_tells_most_counts() -> None:
    """A step right at the onset hides none of a few minutes before."""
    term = timing(replace(ROLLOUT, steps=(NOON + 18 * MINUTE, NOON + 20 * MINUTE)), NOON + 20 * MINUTE)
    assert (term.value, term.weight) == (120.0, round(WEIGHTS["timing"] * 0.5 ** (2 / 3), 4))


@pytest.mark.parametrize(
    ("onset", "more", "share"),
    [
        (NOON + STEP, {}, UNREADY_SHARE),
        (NOON, {}, 1.0),
        (NOON + STEP, {"chain_start": NOON - MINUTE}, 1.0),
    ],
    ids=["before", "without an onset of its own", "a successor"],
)
def test_pods_that_were_not_ready_yet_have_hardly_done_it(onset: datetime, more: dict[str, Any], share: float) -> None:
    """Samples and clocks err by a minute, so half is left. The watch's onset is when the rollout began, and says nothing."""
    known, unknown = (timing(replace(ROLLOUT, steps=steps), onset, **more) for steps in ((NOON + MINUTE,), ()))
    assert known.weight == round(unknown.weight * share, 4)
    assert ("before any of its new pods was ready" in known.sentence) is (share < 1)
