"""Edges: what comes too late, what is forgotten, what is too much."""

from __future__ import annotations

from dataclasses import replace

from daemon.core import progress
from daemon.core.actions import Announce, CheckTarget, Locate, Measure, Page, ProveSoak, RollBack, RolledBack
from daemon.core.briefs import commands, compose
from daemon.core.draft import Draft
from daemon.core.events import AlertSource
from daemon.core.evolution import ALERTS_KEPT_MAX, ENDED_KEPT_MAX, evolve
from daemon.core.facts import ActionOwed, ActionSettled, AlertNoted, Judged, LedgerWritten, Moved, RolloutRecorded
from daemon.core.incidents import Phase, Trigger
from daemon.core.intake import ALERTS_PER_INCIDENT_MAX
from daemon.core.ledger import LedgerEntry
from daemon.core.model import AlertStatus, IncidentId, Mode
from daemon.core.reasons import Reason
from daemon.core.state import NotedAlert, State
from tests.core.builders import (
    HOUR,
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
)
from tests.core.story import Story, done, failed


def test_answers_that_come_after_the_end_move_nothing() -> None:
    """A measurement and a target check of an incident that was superseded meanwhile are void."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.withheld = {Measure, CheckTarget}
    story.fires()
    story.sees(a_rollout_view(V3, V2, started_at=story.now))
    story.withheld = set()
    story.answers()
    story.expect(Phase.SUPERSEDED)
    assert not story.rollbacks


def test_a_patch_whose_outcome_comes_after_a_newer_rollout_still_quarantines() -> None:
    """It was executed, so the revision is marked, whatever became of the incident."""
    story = Story()
    story.patches = lambda action: None
    story.spikes()
    story.waits(30 * SECOND)
    story.sees(a_rollout_view(V3, V2, started_at=story.now))
    story.expect(Phase.SUPERSEDED)
    story.withheld, story.patches = set(), story._patch
    story.answers()
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is not None
    assert entry.quarantined_by == story.incident.id
    assert len(story.state.rollbacks) == 1


def test_outcomes_for_a_workload_that_is_gone_break_nothing() -> None:
    """The object was deleted while a patch and a soak measurement were out."""
    story = Story()
    story.patches = lambda action: None
    story.spikes()
    story.waits(30 * SECOND)
    story.withheld |= {ProveSoak}
    story.completes()
    story.waits(SECOND)
    story.sees(a_rollout_view(gone=True))
    story.withheld, story.patches = set(), story._patch
    story.answers()
    assert SHOP.key not in story.state.workloads
    story.waits(10 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.CONVERGE_DEADLINE)


def test_a_patch_without_a_result_waits_for_the_deadline() -> None:
    """An outcome that says done but not what was written is not taken for convergence."""
    story = Story()
    story.patches = lambda action: done()
    story.spikes()
    story.waits(30 * SECOND)
    story.is_back()
    story.expect(Phase.ROLLING_BACK)


def test_a_deleted_workload_may_still_be_recovered_and_released_twice() -> None:
    """The ledger went with the object; the end of its incident needs none."""
    story = Story()
    story.spikes()
    story.waits(STEP)
    story.is_back()
    story.sees(a_view(V1, gone=True))
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    story.releases()


def test_a_release_before_the_deadline_leaves_nothing_to_clear() -> None:
    """A person was faster than the verdict of the verification."""
    story = Story()
    story.spikes()
    story.waits(STEP)
    story.is_back()
    story.releases()
    story.measures = lambda action: a_recovery(story.now, errors=0.3)
    story.waits(15 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.NOT_RECOVERED)


def test_an_alert_that_flaps_while_it_is_located_is_located_once() -> None:
    """The same turn of an alert is one question."""
    story = Story()
    story.withheld = {Locate}
    story.fires()
    story.resolves()
    story.fires()
    assert len(story.state.owed) == 1


def test_an_incident_carries_a_limited_number_of_alerts() -> None:
    """A storm of alerts on one workload stays one readable incident."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, traffic=0.1)
    story.proves_v1()
    story.rolls_out()
    for index in range(ALERTS_PER_INCIDENT_MAX + 1):
        story.fires(an_alert(f"f{index}"))
    assert len(story.incidents) == 1
    assert len(story.incident.alerts) == ALERTS_PER_INCIDENT_MAX


def test_an_alert_of_the_old_rollout_still_joins_its_escalated_incident() -> None:
    """A newer rollout went out, but the alert began before it: it is news about the old anomaly."""
    story = Story()
    story.soaks = lambda action: None
    story.spikes()
    story.now += 5 * MINUTE
    story.rolls_out(V3, V2)
    story.where["f2"] = a_location(onset=NOON + MINUTE)
    story.fires(an_alert("f2", starts_at=story.now))
    assert len(story.incidents) == 1
    assert len(story.incident.alerts) == 2


def test_what_is_forgotten_stays_forgotten() -> None:
    """Facts about an incident or workload that is not in memory any more fold to nothing but themselves."""
    story = Story()
    story.spikes()
    story.waits(STEP)
    told = [action for action in story.done if isinstance(action, Announce | Page | RollBack | ProveSoak)]
    assert {type(action) for action in told} == {Announce, Page, RollBack, ProveSoak}
    state = State()
    for action in told:
        state = evolve(state, ActionOwed(at=NOON, action=action))
    assert len(state.due) <= len(told)
    assert not state.incidents
    for action in told:
        outcome = story._answers[type(action)](action)
        assert outcome is not None
        state = evolve(state, ActionSettled(at=NOON, action_id=action.id, outcome=outcome))
        assert evolve(state, ActionSettled(at=NOON, action_id=action.id, outcome=outcome)) is state
    entry = LedgerEntry(revision=V1)
    state = evolve(state, LedgerWritten(at=NOON, workload=SHOP.key, entry=entry, what="counted"))
    rollout = story.state.workloads[SHOP.key].rollout
    assert rollout is not None
    state = evolve(state, RolloutRecorded(at=NOON, rollout=rollout))
    assert not state.workloads
    assert isinstance(done(RolledBack(generation=1, patched_at=NOON)).result, RolledBack)


def test_a_page_that_is_lost_after_its_incident_was_forgotten_is_let_go() -> None:
    """There is nothing left to announce it under."""
    story = Story()
    story.withheld = {Page, Announce}
    story.soaks = lambda action: None
    story.spikes()
    story.state = replace(story.state, incidents={})
    story._answers[Page] = lambda action: failed()
    story.withheld = set()
    story.answers()
    assert not story.state.owed


def test_ended_incidents_are_kept_up_to_a_limit() -> None:
    """The oldest ended ones leave the memory; the journal has them."""
    story = Story()
    story.spikes()
    many = {
        f"inc-{n}": replace(story.incident, id=IncidentId(f"inc-{n}"), phase=Phase.CLOSED)
        for n in range(ENDED_KEPT_MAX)
    }
    last = story.incident.id
    state = replace(story.state, incidents={**many, last: story.incident})
    moved = Moved(
        at=NOON, incident=last, phase=Phase.DISMISSED, trigger=Trigger.SYMPTOM_GONE, reason=Reason.SYMPTOM_GONE,
        deadline=None, next_measure_at=None,
    )  # fmt: skip
    after = evolve(state, moved)
    assert len(after.incidents) == ENDED_KEPT_MAX
    assert "inc-0" not in after.incidents
    assert last in after.incidents


def test_a_storm_of_alerts_does_not_grow_memory_for_ever() -> None:
    """Beyond the limit those longest gone are forgotten; what fires never is."""
    gone = NotedAlert(alert=an_alert(status=AlertStatus.RESOLVED), noted_at=NOON, gone_since=NOON)
    firing = NotedAlert(alert=an_alert(), noted_at=NOON)
    kept = {f"a{n}": gone if n < 5 else firing for n in range(ALERTS_KEPT_MAX)}
    state = evolve(State(alerts=kept), AlertNoted(at=NOON, source=AlertSource.POLL, alert=an_alert()))
    assert len(state.alerts) == ALERTS_KEPT_MAX
    assert "a0" not in state.alerts
    assert "a1" in state.alerts


def test_a_proposal_between_countdown_and_last_look_says_so() -> None:
    """The countdown is over and data is awaited: nobody must believe that a confirmation is needed."""
    story = Story()
    story.spikes()
    story.measures = lambda action: None
    story.waits(MINUTE)
    brief = compose(story.incident, story.state, story.policy, "")
    assert brief.done == "will roll back to checkout:v1 (11hash) as soon as a last look confirms it"


def test_an_undo_by_hand_is_only_offered_where_it_would_help() -> None:
    """A blamed revision, a known number, and no refusal that says an undo is refused, reverted or useless."""
    story = Story()
    story.soaks = lambda action: None
    story.spikes()
    incident = story.incident
    assert any("--to-revision=1" in command for command in commands(incident, story.state))
    unnamed = replace(incident, replaced=replace(V1, number=None))
    innocent = replace(incident, blamed=None)
    verdict = incident.verdict
    assert verdict is not None
    owned = replace(verdict, refusals=(replace(verdict.refusals[0], reason=Reason.OWNED_BY_GITOPS),))
    for useless in (unnamed, innocent, replace(incident, verdict=owned)):
        assert not any("undo" in command for command in commands(useless, story.state))


def test_a_workload_is_named_by_its_key() -> None:
    """Namespace, kind and name, as in the journal."""
    assert str(SHOP) == "shop/Deployment/checkout"
    assert HOUR > MINUTE


def test_the_answer_of_an_earlier_attempt_is_void() -> None:
    """A look that was still out when a person approved does not count as the fresh look."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    story.withheld = {Measure}
    story.waits(STEP)
    story.approves()
    judged = len(story.of(Judged))
    story.withheld = set()
    story.answers()
    assert len(story.of(Judged)) == judged + 1
    assert len(story.rollbacks) == 1


def test_an_incident_of_which_no_moment_has_come_is_left_alone() -> None:
    """Another incident's deadline may have moved this one since the due ones were listed."""
    story = Story()
    story.spikes()
    draft = Draft(state=story.state, now=story.now, policy=story.policy)
    progress.due(draft, story.incident)
    assert draft.facts == []
