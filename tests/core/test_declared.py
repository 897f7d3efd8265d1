"""What somebody declares: an incident without an alert, judged by the same evidence, never ended by good metrics alone."""

from __future__ import annotations

import pytest

from daemon.core.facts import CommandRefused, IncidentDeclared
from daemon.core.incidents import Phase
from daemon.core.model import DeclaredCause
from daemon.core.reasons import Consequence, Reason
from tests.core.builders import (
    CART,
    HOUR,
    MINUTE,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_measurement,
    a_policy,
    a_recovery,
    a_rollout_view,
)
from tests.core.story import Story

DATA = [DeclaredCause.FAILED_MIGRATION, DeclaredCause.DATA_CORRUPTION]
OTHERS = [cause for cause in DeclaredCause if cause not in DATA]


def healthy(story: Story) -> None:
    """Every metric is good, of the new pods too."""
    story.measures = lambda action: a_measurement(story.now, new=0.0, old=0.0)


def declared(cause: DeclaredCause = DeclaredCause.CUSTOMER_REPORTS, *, good: bool = True) -> Story:
    """v2 is out for a minute, and somebody declares."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.now += MINUTE
    if good:
        healthy(story)
    story.declares(cause, note="ticket 7")
    return story


@pytest.mark.parametrize("cause", list(DeclaredCause))
def test_good_metrics_do_not_disprove_a_person(cause: DeclaredCause) -> None:
    """With every signal well, the rollback is proposed to a person, and nothing happens by itself."""
    story = declared(cause)
    story.expect(Phase.OPEN)
    story.completes()
    story.waits(4 * MINUTE)
    story.expect(Phase.PROPOSED, Reason.DECLARED)
    assert story.incident.countdown_until is None
    assert len(story.triggers) == 1, "a person must confirm"
    story.waits(10 * MINUTE)
    assert story.rollbacks == []
    assert any("Declared by ann" in line for line in story.pages[-1].brief.evidence)


@pytest.mark.parametrize("cause", OTHERS)
def test_with_contrast_it_acts_as_for_an_alert(cause: DeclaredCause) -> None:
    """The evidence decides, not who opened the incident."""
    story = declared(cause, good=False)
    story.waits(STEP)
    assert len(story.rollbacks) == 1


@pytest.mark.parametrize("cause", DATA)
def test_data_and_migrations_never_act_automatically(cause: DeclaredCause) -> None:
    """Whatever the contrast says: an older template may not understand the data."""
    story = declared(cause, good=False)
    story.waits(5 * MINUTE)
    story.expect(Phase.PROPOSED)
    story.expect_refused(Reason.DATA_AT_RISK, Consequence.PROPOSE)
    assert story.rollbacks == []
    story.approves()
    assert len(story.rollbacks) == 1


def test_a_declaration_stops_a_countdown_under_way() -> None:
    """Data at risk, declared while the countdown of an alert's incident runs, makes it ask."""
    story = Story(a_policy(countdown=5 * MINUTE))
    story.spikes()
    before = story.incident
    assert (before.phase, before.countdown_until is None) == (Phase.PROPOSED, False)
    story.declares(DeclaredCause.DATA_CORRUPTION)
    assert len(story.of(IncidentDeclared)) == 1
    assert story.incident.countdown_until is None
    story.waits(6 * MINUTE)
    assert story.rollbacks == []
    assert len(story.incidents) == 1


def test_declared_while_a_person_has_it_is_only_noted() -> None:
    """An escalated incident about the same rollout takes the note and tells it; nothing else moves."""
    story = declared()
    story.completes()
    story.waits(30 * MINUTE)
    story.expect(Phase.ESCALATED)
    attempts = story.incident.attempt
    story.declares(DeclaredCause.VULNERABILITY)
    assert story.incident.attempt == attempts
    assert "Declared by ann" in story.announcements[-1].brief.update
    assert len(story.incidents) == 1


def test_a_declaration_after_a_newer_rollout_opens_its_own() -> None:
    """What a person already has was about an older rollout."""
    story = declared()
    story.completes()
    story.waits(30 * MINUTE)
    story.sees(a_rollout_view(V3, V2, started_at=story.now))
    story.now += MINUTE
    story.declares()
    assert len(story.incidents) == 2
    assert story.incident.suspect == SHOP


def test_recovery_is_measured_once_it_was_rolled_back() -> None:
    """After the rollback good signals count again, and the incident ends by itself."""
    story = declared(good=False)
    story.waits(STEP)
    story.is_back()
    story.waits(5 * MINUTE)
    story.expect(Phase.RECOVERED)


def test_escalated_and_untouched_it_waits_for_a_person() -> None:
    """Good metrics never close what a person declared while nothing was rolled back."""
    story = declared()
    story.completes()
    story.waits(30 * MINUTE)
    story.measures = lambda action: a_recovery(story.now)
    story.waits(HOUR)
    story.expect(Phase.ESCALATED)
    story.closes()
    story.expect(Phase.CLOSED)


def test_an_old_rollout_is_a_candidate_but_too_old_to_act_upon() -> None:
    """Reports come late: the blame window does not count, TOO_OLD does, and hands it over with the evidence."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.now += 3 * HOUR
    healthy(story)
    story.declares()
    story.waits(2 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.TOO_OLD)


def test_an_anomaly_older_than_the_rollout_is_not_its_fault() -> None:
    """Declared to have begun before the rollout: no candidate."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.now += MINUTE
    story.declares(onset=story.now - HOUR)
    story.expect(Phase.DISMISSED, Reason.SYMPTOM_OLDER)


def test_where_nothing_was_rolled_out_the_declaration_is_refused() -> None:
    """Unknown workload, or one without a known predecessor: the person is told, nothing opens."""
    story = Story()
    story.starts()
    story.declares(workload=CART.key)
    story.sees(a_rollout_view(V1, V2, history=(V1,)))
    story.declares()
    refused = story.of(CommandRefused)
    assert [fact.command for fact in refused] == ["declare", "declare"]
    assert story.incidents == ()
    assert V2 not in story.state.workloads[SHOP.key].view.history


@pytest.mark.parametrize("cause", DATA)
def test_what_is_said_later_does_not_take_a_data_risk_back(cause: DeclaredCause) -> None:
    """Data at risk, then customers' reports and another data risk: it still needs a person, whatever the contrast says."""
    story = declared(cause, good=False)
    story.declares(DeclaredCause.CUSTOMER_REPORTS)
    assert story.incident.declared is not None
    assert story.incident.declared.cause is cause
    story.declares(DeclaredCause.DATA_CORRUPTION)
    assert story.incident.declared.cause is DeclaredCause.DATA_CORRUPTION
    story.waits(5 * MINUTE)
    assert story.rollbacks == []
