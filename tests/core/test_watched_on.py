"""The watch goes on after the soak and after a recovery: more rarely, to 2 h and to 24 h; what it finds is proposed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from daemon.core import soak
from daemon.core.actions import ProveSoak
from daemon.core.facts import LedgerWritten
from daemon.core.incidents import Phase
from daemon.core.ledger import LedgerEntry
from daemon.core.measurement import Measurement, Sample, SoakMeasurement
from daemon.core.model import OnsetSource, Revision
from daemon.core.reasons import Consequence, Reason
from tests.core.builders import (
    DAY,
    FINGERPRINT,
    HOUR,
    MINUTE,
    NOON,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_location,
    a_measurement,
    a_policy,
    a_recovery,
    a_sample,
    a_soak,
    a_start_failure,
    a_view,
    an_alert,
    pods_of,
    samples,
)
from tests.core.story import Story

ZERO = timedelta(0)
LEAK = "memory 0.93 at 13:30:00Z"


def on_watch(*, serves: timedelta = HOUR) -> Story:
    """v2 replaced v1, was verified, and has served alone for a while; approvals take their time."""
    story = Story(replace(a_policy(), approve_deadline=10 * HOUR))
    story.proves_v1()
    story.rolls_out()
    story.waits(2 * MINUTE)
    story.completes()
    story.waits(20 * MINUTE)
    assert story.verified(V2)
    story.waits(serves)
    return story


def recovered(*, serves: timedelta = HOUR) -> Story:
    """v3 replaced v2, erred and was rolled back: v2 serves again, its mark two days old, and the symptom is gone."""
    story = on_watch(serves=2 * DAY)
    story.rolls_out(V3, V2)
    began = story.now
    alert = an_alert(starts_at=began + MINUTE)
    story.where[FINGERPRINT] = a_location(onset=began + STEP)
    story.measures = lambda _: a_measurement(story.now)
    story.fires(alert)
    story.waits(2 * MINUTE)
    assert [action.target.id for action in story.rollbacks] == [V2.id]
    story.measures = lambda _: a_recovery(story.now)
    back = a_view(
        V2, generation=100, started_at=story.now, available_since=story.now, history=(V1, V2, V3),
        action_id=story.incident.roll_back,
    )  # fmt: skip
    story.sees(back)
    story.resolves(alert)
    story.waits(5 * MINUTE)
    story.expect(Phase.RECOVERED)
    story.waits(serves)
    return story


def regresses(story: Story, began: datetime | None = None) -> None:
    """From now on its looks find it persistently unhealthy, and so does whoever measures it."""
    since = began or story.now

    def bad(action: ProveSoak) -> SoakMeasurement:
        return a_soak(action.since, story.now, ZERO, unhealthy_at=story.now, regressed_at=since, because=LEAK)

    def measured(_: object) -> Measurement:
        return a_measurement(story.now, new=0.4, old=None, new_ready=3, new_pods=3, old_ready=0, alerts=())

    story.soaks, story.measures = bad, measured


def looks(story: Story, revision: Revision) -> list[datetime]:
    """When the soak of a revision was measured, up to now."""
    found = [fact.at for fact in story.of(LedgerWritten) if fact.entry.revision.id == revision.id and fact.entry.checks]
    return sorted(set(found))


def entry(story: Story, revision: Revision) -> LedgerEntry:
    """Of the ledger."""
    found = story.state.workloads[SHOP.key].entry(revision.id)
    assert found is not None
    return found


# -- how often


@pytest.mark.parametrize("begun", [on_watch, recovered], ids=["after the soak", "after the recovery"])
def test_it_looks_per_soak_to_two_hours_then_two_hourly_to_a_day_then_daily(begun: object) -> None:
    """However old the mark is: what was rolled back to is watched like what has just finished its soak."""
    story = begun(serves=ZERO)  # type: ignore[operator]
    since = entry(story, V2).watched_since
    assert since is not None
    story.waits(3 * DAY)
    gaps = [(later - look, look - since) for look, later in pairwise(looks(story, V2)) if look >= since + 15 * MINUTE]
    for gap, age in gaps:
        assert gap == (15 * MINUTE if age < 2 * HOUR else 2 * HOUR if age < DAY else DAY), (gap, age)
    assert {gap for gap, _ in gaps} == {15 * MINUTE, 2 * HOUR, DAY}


# -- what a regression leads to


def test_a_leak_that_shows_after_ninety_minutes_withdraws_the_mark_and_proposes() -> None:
    """Within a soak of its beginning; in auto it waits for a person, and everybody reads that the mark is gone, and why."""
    story = on_watch(serves=70 * MINUTE)
    began = story.now
    regresses(story)
    story.waits(15 * MINUTE)
    story.expect(Phase.PROPOSED, Reason.BLAMED_BEFORE_AFTER)
    assert not story.verified(V2)
    withdrawn = [fact for fact in story.of(LedgerWritten) if fact.what == "withdrawn"]
    assert [(fact.entry.revision, fact.because) for fact in withdrawn] == [(V2, LEAK)]
    refusal = story.expect_refused(Reason.REGRESSION, Consequence.PROPOSE)
    assert refusal.seen == f"verified, unhealthy since {began:%H:%M:%S}Z; its mark is withdrawn: {LEAK}"
    assert not story.refusals & {Reason.TOO_OLD, Reason.LOW_TRAFFIC}
    assert (story.incident.suspect, story.incident.target) == (SHOP, V1)
    assert story.rollbacks == []
    (page,) = story.triggers
    assert any(f"its mark is withdrawn: {LEAK}" in line for line in page.brief.refusals)
    assert story.announcements
    assert story.replayed().workloads[SHOP.key].entry(V2.id) == entry(story, V2)


def test_what_it_did_beside_the_old_pods_acquits_nobody_of_a_regression() -> None:
    """90 minutes after the rollout the overlap can still be read: new and old were fine then, which is why it was verified."""
    story = on_watch(serves=70 * MINUTE)
    regresses(story)
    overlap = NOON + 2 * MINUTE
    both = samples(0.001, until=overlap)
    story.measures = lambda _: Measurement(
        at=story.now, new=(*both, *samples(0.4, until=story.now)), old=both, new_ready=3, new_pods=3
    )
    story.waits(15 * MINUTE)
    story.expect(Phase.PROPOSED)


def test_pods_that_run_out_of_memory_long_after_the_soak_are_proposed_too() -> None:
    """Even where the evidence is such that a rollout would be undone at once: the watch alone never acts."""
    story = on_watch()
    regresses(story)
    failure = a_start_failure()
    story.measures = lambda _: a_measurement(
        story.now, new=None, old=None, new_ready=0, new_pods=3, old_ready=0, alerts=(), start_failure=failure
    )
    story.waits(3 * HOUR)
    story.expect(Phase.PROPOSED, Reason.BLAMED_START_FAILURE)
    assert story.rollbacks == []


@pytest.mark.parametrize("fails", [True, False])
def test_when_no_pod_serves_any_more_it_is_looked_at_where_the_pods_themselves_fail(fails: bool) -> None:
    """All pods crash at once, hours after the soak: no other revision serves, and none of this one. A lost node is no failure."""
    story = on_watch()
    regresses(story)
    known = story.state.workloads[SHOP.key].view
    failure = a_start_failure() if fails else None
    gone = replace(known, pods=(pods_of(V2, ready=0),), available_since=None, converged=False, start_failure=failure)
    story.sees(gone)
    story.waits(20 * MINUTE)
    assert story.verified(V2) is not fails
    assert [incident.phase for incident in story.incidents] == ([Phase.PROPOSED] if fails else [])


@pytest.mark.parametrize(("serves", "opened"), [(ZERO, 1), (HOUR, 0)])
def test_pods_that_fail_long_after_the_rollout_was_complete_are_not_stuck_in_it(serves: timedelta, opened: int) -> None:
    """Within the blame window they may be; later it would be dismissed at once for want of a rollout, and the watch looks."""
    story = on_watch(serves=serves)
    known = story.state.workloads[SHOP.key].view
    story.sees(replace(known, stuck=True, start_failure=a_start_failure()))
    assert len(story.incidents) == opened


@pytest.mark.parametrize(("age", "kept"), [(23 * HOUR, False), (25 * HOUR, True)])
@pytest.mark.parametrize("begun", [on_watch, recovered], ids=["after the soak", "after the recovery"])
def test_a_day_after_the_soak_or_the_recovery_the_watch_is_over(begun: object, age: timedelta, kept: bool) -> None:
    """What begins within the day withdraws the mark, even where the look that shows it comes later."""
    story = begun(serves=ZERO)  # type: ignore[operator]
    since = entry(story, V2).watched_since
    assert since is not None
    story.waits(since + age - story.now)
    regresses(story)
    story.waits(DAY + HOUR if kept else 2 * HOUR)
    assert story.verified(V2) is kept
    assert ("withdrawn" in [fact.what for fact in story.of(LedgerWritten)]) is not kept


# -- what was rolled back to


def test_the_revision_that_was_rolled_back_to_is_proposed_to_be_left_for_an_older_one() -> None:
    """Its mark is withdrawn; further back than what it replaced is no flapping, but only a person may go there."""
    story = recovered()
    regresses(story)
    story.waits(20 * MINUTE)
    story.expect(Phase.PROPOSED)
    assert not story.verified(V2)
    assert (story.incident.blamed, story.incident.target) == (V2, V1)
    story.expect_refused(Reason.REGRESSION, Consequence.PROPOSE)
    story.expect_refused(Reason.TARGET_SKIPS, Consequence.PROPOSE)
    story.expect_refused(Reason.COOLING_DOWN, Consequence.PROPOSE)
    assert Reason.ROLLBACK_OF_ROLLBACK not in story.refusals
    assert len(story.rollbacks) == 1


def test_the_way_back_to_what_was_rolled_back_from_stays_closed() -> None:
    """Where a person has released v3 and v3 counts as verified, the regression of v2 does not bring it back."""
    story = recovered()
    proven = replace(entry(story, V2), revision=V3, quarantined_by=None)
    ledger: dict[str, LedgerEntry] = {V2.id: entry(story, V2), V3.id: proven}
    tracked = replace(story.state.workloads[SHOP.key], ledger=ledger)
    story.state = replace(story.state, workloads={SHOP.key: tracked})
    regresses(story)
    story.waits(20 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.ROLLBACK_OF_ROLLBACK)


def test_without_an_older_verified_revision_a_person_is_paged() -> None:
    """v2 lost its mark, v3 is quarantined, v1 is forgotten: there is nothing to propose."""
    story = recovered()
    tracked = story.state.workloads[SHOP.key]
    kept = {key: value for key, value in tracked.ledger.items() if key != V1.id}
    story.state = replace(story.state, workloads={SHOP.key: replace(tracked, ledger=kept)})
    regresses(story)
    story.waits(20 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.TARGET_NOT_VERIFIED)
    assert story.triggers


# -- a blip


def test_a_blip_takes_no_mark_and_is_looked_at_again_soon() -> None:
    """One bad sample may be anything: what comes next tells, within the samples that persistence looks at."""
    story = on_watch(serves=5 * HOUR)
    story.soaks = lambda action: a_soak(action.since, story.now, ZERO, unhealthy_at=story.now, regressed_at=None)
    story.waits(2 * HOUR)
    assert story.verified(V2)
    assert story.incidents == ()
    first = next(at for at in looks(story, V2) if at > story.now - 2 * HOUR)
    assert looks(story, V2)[-1] > first
    assert entry(story, V2).next_check == looks(story, V2)[-1] + 5 * STEP
    regresses(story)
    story.waits(5 * STEP)
    assert not story.verified(V2)


@pytest.mark.parametrize(
    ("bad", "since"),
    [((), None), ((4,), None), ((4, 12), None), ((4, 8), 4), ((4, 5), 4), ((18, 19), 18), ((2, 9, 11, 12), 9)],
)
def test_a_regression_is_two_bad_samples_of_five(bad: tuple[int, ...], since: int | None) -> None:
    """Fewer reset the clock and no more; it is dated from the first of them."""
    found = [a_sample(NOON + STEP * n, errors=0.4 if n in bad else 0.001) for n in range(1, 21)]
    got = measured(found)
    assert got.regressed_at == (None if since is None else NOON + STEP * since)
    assert got.unhealthy_at == (NOON + STEP * bad[-1] if bad else None)


def test_bad_samples_without_traffic_or_numbers_make_no_regression() -> None:
    """Half of two requests is no half of anything, and what says nothing is neither good nor bad."""
    quiet = [a_sample(NOON + STEP * n, errors=0.4, traffic=0.2) for n in range(1, 21)]
    assert measured(quiet).regressed_at is None
    gaps = [a_sample(NOON + STEP * n, errors=0.4 if n in (4, 12) else None) for n in range(1, 21)]
    assert measured(gaps).regressed_at == NOON + 4 * STEP


def test_pods_that_broke_are_a_regression_whatever_the_samples_say() -> None:
    """A crash loop or an OOM kill needs no second one."""
    good = [a_sample(NOON + STEP * n, errors=0.001) for n in range(1, 21)]
    assert measured(good, broken_at=NOON + MINUTE).regressed_at == NOON + MINUTE


def measured(found: list[Sample], broken_at: datetime | None = None) -> SoakMeasurement:
    """Ten minutes from NOON in steps of 30 s."""
    span = soak.Span(
        since=NOON,
        until=NOON + 10 * MINUTE,
        step=STEP,
        proven_from=NOON,
        broken_at=broken_at,
        broken_by="web-1 crashes",
    )
    return soak.measured(found, span, None, a_policy())


# -- by what it is measured


@pytest.mark.parametrize(("seconds", "phase"), [(0.9, Phase.PROPOSED), (0.11, Phase.DISMISSED)])
def test_a_creeping_latency_is_measured_by_the_revision_that_was_verified_before(seconds: float, phase: Phase) -> None:
    """Nobody has said what is slow: v1's typical latency has found it, and tells whether it is over, hours later too."""
    story = Story(replace(a_policy(), approve_deadline=10 * HOUR))
    usual = (("error_ratio", 0.001), ("latency_p95", 0.1))
    story.soaks = lambda action: a_soak(action.since, action.until or story.now, baseline=usual)
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.waits(5 * HOUR)
    regresses(story)
    found = samples(0.001, until=story.now, latency_p95=seconds)
    story.measures = lambda _: Measurement(
        at=story.now, new=tuple(replace(each, at=story.now) for each in found), new_ready=3, new_pods=3
    )
    story.waits(3 * HOUR)
    assert story.incident.phase is phase


def test_without_a_revision_before_there_is_no_usual() -> None:
    """Then only thresholds that hold for everybody tell."""
    story = on_watch()
    tracked = story.state.workloads[SHOP.key]
    silent = replace(tracked.ledger[V1.id], baseline=())
    ledger: dict[str, LedgerEntry] = {V1.id: silent, V2.id: tracked.ledger[V2.id]}
    story.state = replace(story.state, workloads={SHOP.key: replace(tracked, ledger=ledger)})
    regresses(story)
    story.waits(HOUR)
    story.expect(Phase.PROPOSED)


def test_the_anomaly_is_dated_from_when_the_watch_saw_it_begin() -> None:
    """Not from the look that found it, nor from the rollout."""
    story = on_watch()
    began = story.now
    regresses(story)
    story.waits(20 * MINUTE)
    assert (story.incident.onset, story.incident.onset_source) == (began, OnsetSource.RULE)
