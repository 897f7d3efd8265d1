"""After the patch: convergence, recovery or not, and a newer rollout in every phase."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.actions import Outcome, OutcomeKind, PageKind, RolledBack, Superseded
from daemon.core.briefs import TEXT_MAX
from daemon.core.events import DeadlinePassed
from daemon.core.incidents import Phase
from daemon.core.model import AlertStatus, Mode
from daemon.core.reasons import Reason
from tests.core.builders import (
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_location,
    a_measurement,
    a_policy,
    a_recovery,
    a_rollout_view,
    a_view,
    an_alert,
    samples,
    states,
)
from tests.core.story import Story, done, failed


def rolling() -> Story:
    """The countdown is over and the patch is written."""
    story = Story()
    story.spikes()
    story.waits(30 * SECOND)
    story.expect(Phase.ROLLING_BACK, Reason.COUNTDOWN_OVER)
    return story


def verifying() -> Story:
    """The workload runs v1 again; everything measures well from here on."""
    story = rolling()
    story.waits(20 * SECOND)
    story.is_back()
    story.expect(Phase.VERIFYING, Reason.CONVERGED)
    return story


def test_the_target_must_have_converged_at_the_patched_generation() -> None:
    """An old view, another revision or a rollout in progress is no convergence."""
    story = rolling()
    back: dict[str, Any] = {"history": (V1, V2), "action_id": story.incident.roll_back, "started_at": story.now}
    story.sees(a_view(V1, generation=98, **back))
    story.expect(Phase.ROLLING_BACK)
    story.sees(a_view(V1, generation=100, **(back | {"converged": False})))
    story.expect(Phase.ROLLING_BACK)
    story.sees(a_view(V1, generation=100, **back))
    story.expect(Phase.VERIFYING)


def test_a_view_that_comes_before_the_outcome_is_not_lost() -> None:
    """When the cluster shows the target before we know that our patch was accepted, the outcome finds it there."""
    story = Story()
    story.spikes()
    patched = done(RolledBack(generation=3, patched_at=story.now))
    story.patches = lambda action: None
    story.waits(30 * SECOND)
    story.is_back()
    story.expect(Phase.ROLLING_BACK)
    story.withheld = set()
    story.patches = lambda action: patched
    story.answers()
    story.expect(Phase.VERIFYING)


def test_a_rollback_that_does_not_converge_is_handed_over() -> None:
    """At the converge deadline the page is raised; later recovery closes the incident."""
    story = rolling()
    story.waits(10 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.CONVERGE_DEADLINE)
    assert [(page.page, page.urgent) for page in story.pages] == [(PageKind.TRIGGER, False), (PageKind.UPDATE, True)]
    story.is_back()
    story.waits(5 * MINUTE)
    assert len(story.incidents) == 1, "our own rollback, late, is no newer rollout to be judged"
    story.expect(Phase.CLOSED, Reason.SYMPTOM_GONE)
    assert story.pages[-1].page is PageKind.RESOLVE


def test_what_has_to_be_followed_up_is_told_at_once() -> None:
    """Each warning of an executed rollback is announced and on the page before anything else happens, the first one last."""
    story = Story()
    warnings = (
        "The StatefulSet waits for db-1: `kubectl delete pod db-1`",
        "The next `kubectl apply` brings it back" + "!" * 999,
    )
    story.patches = lambda action: done(RolledBack(generation=99, patched_at=story.now, warnings=warnings))
    story.spikes()
    story.waits(30 * SECOND)
    story.expect(Phase.ROLLING_BACK)
    for told in (story.announcements, story.pages):
        drift, waits = told[-2:]
        assert waits.brief.update == warnings[0]
        assert drift.brief.update.startswith("The next `kubectl apply` brings it back")
        assert len(drift.brief.update) == TEXT_MAX
    assert [page.page for page in story.pages] == [PageKind.TRIGGER, PageKind.UPDATE, PageKind.UPDATE]
    assert not any(page.urgent for page in story.pages)


def test_a_rollback_that_fails_is_handed_over_and_quarantines_nothing() -> None:
    """An error is told in its own words, and what was not executed marks nothing."""
    story = Story()
    story.patches = lambda action: failed("admission webhook denied it")
    story.spikes()
    story.waits(30 * SECOND)
    story.expect(Phase.ESCALATED, Reason.ROLLBACK_FAILED)
    assert "admission webhook denied it" in story.pages[-1].brief.update
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is None or entry.quarantined_by is None
    assert story.state.rollbacks == ()


def test_a_failed_guard_of_the_patch_means_superseded() -> None:
    """A newer rollout that only the patch's precondition found wins."""
    story = Story()
    story.patches = lambda action: Outcome(kind=OutcomeKind.REFUSED, result=Superseded(revision=V3.id))
    story.spikes()
    story.waits(30 * SECOND)
    story.expect(Phase.SUPERSEDED, Reason.SUPERSEDED)
    assert story.pages[-1].page is PageKind.RESOLVE


def test_an_executed_rollback_quarantines_the_revision() -> None:
    """The blamed revision is no target any more, whatever it had proven, until released."""
    story = verifying()
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is not None
    assert entry.quarantined_by == story.incident.id
    assert not entry.verified
    story.releases()
    assert not _quarantined(story)


def _quarantined(story: Story) -> bool:
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    return entry is not None and entry.quarantined_by is not None


def test_recovery_must_hold() -> None:
    """One bad look within the hold starts it anew; good for the whole hold is recovered."""
    story = verifying()
    story.waits(90 * SECOND)
    story.measures = lambda action: a_recovery(story.now, errors=0.2)
    story.waits(STEP)
    story.measures = lambda action: a_recovery(story.now)
    story.waits(110 * SECOND)
    story.expect(Phase.VERIFYING)
    story.waits(MINUTE)
    story.expect(Phase.RECOVERED, Reason.RECOVERED)
    assert _quarantined(story)
    assert story.verified(V1)


def test_still_there_at_the_deadline_clears_the_rollout() -> None:
    """The old version runs and the symptom stays: the rollout was not the cause, a person is called."""
    story = verifying()
    story.measures = lambda action: a_recovery(story.now, errors=0.2)
    story.waits(15 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.NOT_RECOVERED)
    assert not _quarantined(story)
    assert story.pages[-1].urgent


def test_a_look_that_is_under_way_at_the_deadline_does_not_hide_the_last_one() -> None:
    """What the last complete look said counts when the deadline comes."""
    story = verifying()
    story.measures = lambda action: a_recovery(story.now, errors=0.2)
    story.waits(14 * MINUTE)
    story.measures = lambda action: None
    story.withheld = set(story._answers)
    story.now += 70 * SECOND
    story.happens(DeadlinePassed(at=story.now))
    story.expect(Phase.ESCALATED, Reason.NOT_RECOVERED)


def test_cannot_tell_at_the_deadline_keeps_the_blame() -> None:
    """Missing data clears nobody: the revision stays quarantined."""
    story = verifying()
    story.measures = lambda action: a_recovery(story.now, errors=None, missing=("prometheus: down",))
    story.waits(15 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.VERIFY_INCONCLUSIVE)
    assert _quarantined(story)


@pytest.mark.parametrize(
    "changes",
    [
        {"alerts": states(AlertStatus.FIRING)},
        {"alerts": states(AlertStatus.SUPPRESSED)},
        {"alerts": ()},
        {"new_ready": 0},
    ],
)
def test_the_old_version_running_is_not_recovery(changes: dict[str, Any]) -> None:
    """Good signals with an alert that fires, is silenced or unread, or with no pod ready, are not recovered."""
    story = verifying()
    story.measures = lambda action: a_recovery(story.now, **changes)
    story.waits(10 * MINUTE)
    story.expect(Phase.VERIFYING)


def test_recovery_is_judged_against_the_time_before_the_rollout() -> None:
    """A workload that always had 2 % errors has recovered at 2 %."""
    story = verifying()
    usual = samples(0.02, until=NOON - STEP)
    story.measures = lambda action: a_recovery(story.now, errors=0.021, before=usual)
    story.waits(4 * MINUTE)
    story.expect(Phase.RECOVERED)


def fix(story: Story) -> None:
    """A newer rollout of the shop, not ours."""
    story.resolves()
    story.sees(a_rollout_view(V3, V2, started_at=story.now, history=(V1, V2, V3)))


def test_a_newer_rollout_supersedes_an_open_incident() -> None:
    """OPEN: nothing is judged any more, nobody is paged."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, traffic=0.2)
    story.spikes()
    fix(story)
    story.expect(Phase.SUPERSEDED)
    assert not story.pages


def test_a_newer_rollout_supersedes_a_proposal_and_resolves_its_page() -> None:
    """PROPOSED: the page that asked for a confirmation is resolved, saying why."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    fix(story)
    story.expect(Phase.SUPERSEDED)
    assert [page.page for page in story.pages] == [PageKind.TRIGGER, PageKind.RESOLVE]
    assert "superseded" in story.pages[-1].brief.headline


def test_a_newer_rollout_supersedes_while_rolling_back() -> None:
    """ROLLING_BACK: a newer deploy is never overwritten, and the quarantine stays."""
    story = rolling()
    fix(story)
    story.expect(Phase.SUPERSEDED)
    assert _quarantined(story)


def test_a_newer_rollout_supersedes_the_verification() -> None:
    """VERIFYING: the symptom is not ours to judge any more."""
    story = verifying()
    fix(story)
    story.expect(Phase.SUPERSEDED)


def test_going_back_by_hand_at_the_same_moment_is_what_we_wanted() -> None:
    """A person's undo to the same target does not count as superseding."""
    story = rolling()
    story.sees(a_view(V1, generation=100, history=(V1, V2), started_at=story.now))
    story.expect(Phase.VERIFYING)


def test_an_escalated_incident_stays_when_a_newer_rollout_comes() -> None:
    """ESCALATED: it is a person's; the newer rollout is for a successor to judge."""
    story = Story()
    story.soaks = lambda action: None
    story.spikes()
    fix(story)
    story.expect(Phase.ESCALATED, Reason.TARGET_NOT_VERIFIED)


def test_an_object_made_anew_is_a_newer_rollout() -> None:
    """Deleted and created again under the same name: the proposal ends, and nothing proven of the old one holds."""
    story = Story()
    story.spikes()
    story.sees(a_view(V2, uid="uid-2", started_at=story.now, available_since=None, history=(V2,)))
    story.expect(Phase.SUPERSEDED)
    assert not story.verified(V1)


def test_a_deleted_object_cannot_be_rolled_back() -> None:
    """Without the object there is no candidate any more: a proposal is handed over, an open incident dismissed."""
    story = Story()
    story.spikes()
    story.sees(a_rollout_view(gone=True))
    story.waits(MINUTE)
    story.expect(Phase.ESCALATED, Reason.NO_CANDIDATE)
    assert SHOP.key not in story.state.workloads
    assert not story.rollbacks
    held = Story()
    held.measures = lambda action: a_measurement(held.now, traffic=0.1)
    held.spikes()
    held.sees(a_rollout_view(gone=True))
    held.waits(MINUTE)
    held.expect(Phase.DISMISSED, Reason.NO_CANDIDATE)


def test_recovery_after_an_escalation_closes_the_incident_and_its_page() -> None:
    """ESCALATED: the symptom went away and stayed away: closed, the page resolved."""
    story = Story()
    story.soaks = lambda action: None
    story.spikes()
    story.resolves()
    story.measures = lambda action: a_recovery(story.now)
    story.waits(4 * MINUTE)
    story.expect(Phase.CLOSED, Reason.SYMPTOM_GONE)
    assert [page.page for page in story.pages] == [PageKind.TRIGGER, PageKind.RESOLVE]


def test_a_late_alert_of_the_same_anomaly_joins_the_verification() -> None:
    """It began with the bad rollout, so it opens nothing of its own, and recovery waits for it too."""
    story = verifying()
    story.where["f2"] = a_location()
    story.fires(an_alert("f2", starts_at=story.now))
    assert len(story.incidents) == 1
    assert len(story.incident.alerts) == 2
    story.waits(5 * MINUTE)
    story.expect(Phase.VERIFYING)
    both = states(AlertStatus.RESOLVED, ("f1", "f2"))
    story.measures = lambda action: a_recovery(story.now, alerts=both)
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
