"""What waits for data, what ends by itself, and what missing data never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.core.actions import CheckTarget, Measure
from daemon.core.facts import Judged
from daemon.core.incidents import Phase, VerdictKind
from daemon.core.measurement import Measurement
from daemon.core.model import AlertStatus, OnsetSource
from daemon.core.reasons import Reason
from tests.core.builders import (
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    STEP,
    V1,
    V2,
    a_location,
    a_measurement,
    a_policy,
    a_sample,
    a_start_failure,
    an_alert,
    pods_of,
    samples,
    states,
)
from tests.core.story import Story


def test_without_prometheus_nothing_is_ever_done() -> None:
    """Data that is missing is neither good nor bad: it holds, and at the deadline a person is called."""
    story = Story()
    story.measures = lambda action: a_measurement(
        story.now, new=None, old=None, before=(), missing=("prometheus: down",)
    )
    story.spikes()
    story.completes()
    story.expect(Phase.OPEN)
    assert story.incident.verdict is not None
    assert (story.incident.verdict.kind, story.incident.verdict.reason) == (VerdictKind.HOLD, Reason.NO_DATA)
    story.waits(9 * MINUTE)
    assert not story.pages
    story.waits(MINUTE)
    story.expect(Phase.ESCALATED, Reason.DECIDE_DEADLINE)
    assert not story.rollbacks
    assert story.incident.blamed is None


def test_a_measurement_that_fails_as_a_whole_counts_as_missing() -> None:
    """When measuring itself breaks, even pods that could not start once convict nobody."""
    story = Story()
    story.measures = lambda action: None
    story.spikes(start_failure=a_start_failure(), pods=(pods_of(V1), pods_of(V2, 1, ready=0)))
    story.waits(12 * MINUTE)
    assert not story.rollbacks
    story.expect(Phase.ESCALATED, Reason.DECIDE_DEADLINE)


def test_a_start_failure_that_is_over_convicts_nobody() -> None:
    """Pods that crashed once and are ready now are judged by their signals."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=0.0)
    story.spikes(start_failure=a_start_failure())
    story.waits(MINUTE)
    assert not story.rollbacks
    story.expect(Phase.OPEN)


def test_too_little_traffic_holds_until_there_is_enough() -> None:
    """LOW_TRAFFIC waits; with traffic the same contrast convicts."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, traffic=0.2)
    story.spikes()
    assert Reason.LOW_TRAFFIC in story.refusals
    story.expect(Phase.OPEN)
    story.measures = lambda action: a_measurement(story.now)
    story.waits(STEP)
    story.expect(Phase.PROPOSED)


def test_a_symptom_that_is_known_to_be_older_dismisses() -> None:
    """With a known onset before the rollout there is no candidate, and nobody is told."""
    story = Story()
    story.where["f1"] = a_location(onset=NOON - HOUR)
    story.spikes()
    story.expect(Phase.DISMISSED, Reason.SYMPTOM_OLDER)
    assert not story.told


def test_a_symptom_assumed_to_be_older_holds() -> None:
    """With an assumed onset the same veto only holds, and hands over at the deadline."""
    story = Story()
    story.where["f1"] = a_location(onset=NOON - MINUTE, onset_source=OnsetSource.ASSUMED)
    story.spikes()
    assert Reason.ONSET_ASSUMED in story.refusals
    story.expect(Phase.OPEN)
    story.waits(10 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.DECIDE_DEADLINE)
    assert not story.rollbacks


def test_without_any_rollout_there_is_no_candidate() -> None:
    """An alert on a workload that nobody touched is not ours to page about."""
    story = Story()
    story.proves_v1()
    story.fires()
    story.expect(Phase.DISMISSED, Reason.NO_CANDIDATE)
    assert not story.told


def test_a_rollout_outside_the_blame_window_is_no_candidate() -> None:
    """A rollout that was complete for longer than the window when the anomaly began is not blamed for it."""
    for late, phase in ((29 * MINUTE, Phase.PROPOSED), (31 * MINUTE, Phase.DISMISSED)):
        story = Story()
        story.proves_v1()
        story.rolls_out()
        story.completes()
        story.now = NOON + late + MINUTE
        story.where["f1"] = a_location(onset=NOON + late)
        story.fires(an_alert(starts_at=story.now))
        story.expect(phase)


def test_resolved_with_fresh_good_data_dismisses() -> None:
    """The alert is gone and fresh data is good: over, without a page."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=0.0)
    story.spikes()
    story.expect(Phase.OPEN)
    story.resolves()
    story.measures = lambda action: a_measurement(story.now, new=0.0, alerts=states(AlertStatus.RESOLVED))
    story.waits(STEP)
    story.expect(Phase.DISMISSED, Reason.SYMPTOM_GONE)
    assert not story.told


def test_an_alert_that_resolves_because_prometheus_died_dismisses_nothing() -> None:
    """Gone alerts with stale samples, or with silent signals, are no health."""
    silences: tuple[dict[str, Any], ...] = (
        {"new": samples(0.0, until=NOON - 5 * MINUTE)},
        {"new": tuple(a_sample(NOON + MINUTE + STEP, errors=None, traffic=0.0) for _ in range(2))},
        {"new": ()},
        {"new": (), "missing": ("prometheus: down",)},
    )
    for silent in silences:
        story = Story()
        story.spikes()
        story.measures = _gone(story, silent)
        story.waits(STEP)
        story.expect(Phase.PROPOSED)
        assert not story.rollbacks


def _gone(story: Story, changes: dict[str, Any]) -> Callable[[Measure], Measurement]:
    resolved = states(AlertStatus.RESOLVED)
    return lambda action: replace(a_measurement(story.now, alerts=resolved), **changes)


def test_a_silenced_alert_is_neither_firing_nor_gone() -> None:
    """While the alert is suppressed good signals do not dismiss."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=0.0, alerts=states(AlertStatus.SUPPRESSED))
    story.spikes()
    story.waits(2 * MINUTE)
    story.expect(Phase.OPEN)


def test_a_workload_without_signals_is_judged_by_its_pods() -> None:
    """Where nothing was ever measured, ready pods and a gone alert are all there is to know."""
    for new in ((), (a_sample(NOON + MINUTE, errors=None),)):
        story = Story()
        story.measures = _gone(story, {"new": new, "old": (), "before": ()})
        story.spikes()
        story.expect(Phase.DISMISSED, Reason.SYMPTOM_GONE)


def test_new_pods_that_are_fine_are_not_blamed() -> None:
    """Side by side with the old ones and healthy: timing alone does not carry a proposal."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=0.001)
    story.spikes()
    assert story.incident.verdict is not None
    assert story.incident.verdict.reason is Reason.NOTHING_BLAMED
    assert [term.name for term in story.incident.suspicions[0].terms] == ["exculpation", "timing"]
    story.waits(10 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.DECIDE_DEADLINE)
    assert not story.rollbacks


def test_blame_that_is_taken_back_is_forgotten() -> None:
    """A revision blamed while a guard held is not named any more once the evidence speaks of a common cause."""
    story = Story()
    story.checks = lambda action: None
    story.spikes()
    assert [fact.verdict.blames for fact in story.of(Judged)] == [True]
    story.measures = lambda action: a_measurement(story.now, new=0.3, old=0.3)
    story.waits(STEP)
    story.completes()
    story.waits(4 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.COMMON_CAUSE)
    assert story.incident.blamed is None
    assert story.pages[0].key == f"test/{story.incident.id}"


def test_a_look_is_judged_once_both_of_its_halves_are_there() -> None:
    """Measurement and target check may come in any order; neither alone leads to a verdict."""
    for late in (Measure, CheckTarget):
        story = Story()
        story.proves_v1()
        story.rolls_out()
        story.withheld = {late}
        story.fires()
        assert not story.of(Judged)
        story.withheld = set()
        story.answers()
        story.expect(Phase.PROPOSED)


def test_before_and_after_proposes_and_names_its_evidence() -> None:
    """With no overlap to compare, worse than before the rollout is enough to ask a person, not to act."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, old=None, new_ready=3)
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.now = NOON + 4 * MINUTE
    story.fires()
    story.expect(Phase.PROPOSED, Reason.BLAMED_BEFORE_AFTER)
    assert story.triggers
    story.waits(5 * MINUTE)
    assert not story.rollbacks


def test_before_and_after_may_act_where_the_user_says_so() -> None:
    """`act_without_control` lets the same evidence act, after the countdown."""
    story = Story(a_policy(act_without_control=True))
    story.measures = lambda action: a_measurement(story.now, old=None, new_ready=3)
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.now = NOON + 4 * MINUTE
    story.fires()
    story.waits(31 * SECOND)
    assert len(story.rollbacks) == 1


@pytest.mark.parametrize(("interval", "gathering"), [(STEP, 60), (50 * SECOND, 100), (90 * SECOND, 120)])
def test_timing_alone_proposes_once_the_alerts_have_gathered(interval: timedelta, gathering: int) -> None:
    """Where no signal says anything, a person is asked: after two samples, or two minutes where samples are rare."""
    story = Story(a_policy(sample_interval=interval))
    story.measures = lambda action: a_measurement(story.now, new=None, old=None)
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.now = NOON + 10 * MINUTE
    story.fires()
    story.expect(Phase.OPEN)
    story.waits(4 * MINUTE)
    story.expect(Phase.PROPOSED, Reason.BLAMED_TIMING)
    assert Reason.NO_CONTRAST in story.incident.shown
    lasted = [(fact.at - story.incident.opened_at, fact.verdict.kind) for fact in story.of(Judged)]
    proposed = [after for after, kind in lasted if kind is VerdictKind.PROPOSE]
    assert {kind for after, kind in lasted if after not in proposed} == {VerdictKind.HOLD}
    assert gathering * SECOND <= min(proposed) < gathering * SECOND + interval


def test_what_is_more_than_timing_gathers_nothing() -> None:
    """Worse than before the rollout, and nothing to compare any more: that is put to a person at the first look."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, old=None, new_ready=3)
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.now = NOON + 10 * MINUTE
    story.fires()
    story.expect(Phase.PROPOSED, Reason.BLAMED_BEFORE_AFTER)
    assert [fact.at for fact in story.of(Judged)] == [story.incident.opened_at]
