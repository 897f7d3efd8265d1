"""What people do: approve, decline, close, pause, resume, release; and what a refused command leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.actions import Measure, PageKind
from daemon.core.events import Approved
from daemon.core.facts import CommandRefused, Moved
from daemon.core.incidents import Phase
from daemon.core.measurement import ConfigChange
from daemon.core.model import AlertStatus, IncidentId, Mode
from daemon.core.reasons import Reason
from tests.core.builders import (
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    a_check,
    a_measurement,
    a_policy,
    a_rollout_view,
    states,
)
from tests.core.story import Story


def proposed() -> Story:
    """A spike in mode approve: a person must confirm."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    return story


def test_a_proposal_wakes_a_person_and_waits() -> None:
    """In mode approve nothing happens by itself, and the page says which command confirms."""
    story = proposed()
    story.expect(Phase.PROPOSED, Reason.BLAMED_CONTRAST)
    assert [(page.page, page.urgent) for page in story.pages] == [(PageKind.TRIGGER, True)]
    assert f"lastgood approve {story.incident.id}" in story.pages[0].brief.commands
    assert "waits for approval" in story.pages[0].brief.done
    story.waits(10 * MINUTE)
    assert not story.rollbacks


def test_an_approval_leads_to_a_fresh_look_and_then_to_the_rollback() -> None:
    """An approved rollback runs under the name of who approved it, and the page calms down."""
    story = proposed()
    attempts = story.incident.attempt
    story.approves("ann")
    assert len(story.rollbacks) == 1
    assert story.incident.attempt == attempts + 1
    assert story.incident.ended_by == "ann"
    story.expect(Phase.ROLLING_BACK, Reason.APPROVED)
    assert [(page.page, page.urgent) for page in story.pages][-1] == (PageKind.UPDATE, False)


def test_an_approval_may_come_in_a_countdown() -> None:
    """A person need not wait for the countdown."""
    story = Story()
    story.spikes()
    story.approves()
    story.expect(Phase.ROLLING_BACK, Reason.APPROVED)
    assert len(story.rollbacks) == 1


def test_a_new_question_after_the_approval_asks_again() -> None:
    """An approval answers only what it was shown: a ConfigMap that changed meanwhile is put to the person anew."""
    story = proposed()
    story.checks = lambda action: a_check(action.target, configs=(ConfigChange(name="settings", changed_at=story.now),))
    story.approves()
    assert not story.rollbacks
    story.expect(Phase.PROPOSED)
    assert story.incident.approved_by is None
    assert set(story.incident.shown) == {Reason.MODE_APPROVE, Reason.CONFIG_CHANGED}
    assert any("CONFIG_CHANGED" in line for line in story.pages[-1].brief.refusals)
    story.approves("ben")
    assert len(story.rollbacks) == 1


def test_a_second_approval_is_refused_and_kept() -> None:
    """While the last look is out the first approval stands, and whose the second was is in the journal."""
    story = proposed()
    story.withheld.add(Measure)
    story.approves("ann")
    story.approves("ben")
    assert story.incident.approved_by == "ann"
    assert [(fact.actor, fact.why) for fact in story.of(CommandRefused)] == [
        ("ben", f"ann approved incident {story.incident.id} already")
    ]


@pytest.mark.parametrize(
    ("shown", "counts"),
    [
        ({}, True),
        ({"target": V1.id, "questions": (Reason.MODE_APPROVE,)}, True),
        ({"target": V1.id, "questions": (Reason.MODE_APPROVE, Reason.CONFIG_CHANGED)}, True),
        ({"target": V2.id, "questions": (Reason.MODE_APPROVE,)}, False),
        ({"target": V1.id, "questions": ()}, False),
    ],
)
def test_consent_is_to_what_was_shown(shown: dict[str, Any], counts: bool) -> None:
    """Another target, or a question that was not put: refused, and the refusal is kept with its actor."""
    story = proposed()
    story.plays(Approved(at=story.now, incident=story.incident.id, actor="slack:U1", **shown))
    assert bool(story.rollbacks) is counts
    assert [fact.actor for fact in story.of(CommandRefused)] == ([] if counts else ["slack:U1"])


def test_what_is_asked_is_told() -> None:
    """The announcement of a proposal names target and questions; once it is decided there is nothing to consent to."""
    story = proposed()
    brief = story.announcements[-1].brief
    assert (brief.asks, brief.target, brief.questions) == (True, V1.id, ("mode_approve",))
    story.approves()
    brief = story.announcements[-1].brief
    assert (brief.asks, brief.target, brief.questions) == (False, "", ())


def test_an_approval_waits_while_data_is_missing() -> None:
    """A HOLD after the approval waits; when the data is back, the approval still stands."""
    story = proposed()
    story.checks = lambda action: None
    story.approves()
    story.waits(2 * MINUTE)
    story.expect(Phase.PROPOSED)
    story.checks = lambda action: a_check(action.target)
    story.waits(STEP)
    story.expect(Phase.ROLLING_BACK, Reason.APPROVED)


def test_an_approval_does_not_override_a_refusal_for_good() -> None:
    """What appears at the fresh look and is no question for a person hands the incident over."""
    story = proposed()
    story.checks = lambda action: a_check(action.target, exists=False)
    story.approves()
    story.expect(Phase.ESCALATED, Reason.TARGET_GONE)
    assert not story.rollbacks


def test_a_declined_proposal_is_handed_over_and_its_marks_stay() -> None:
    """Declining escalates under the person's name; nothing is quarantined, nothing rolled back."""
    story = proposed()
    story.declines("ben")
    story.expect(Phase.ESCALATED, Reason.DECLINED)
    assert story.incident.ended_by == "ben"
    story.waits(20 * MINUTE)
    assert not story.rollbacks
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is None or entry.quarantined_by is None
    assert story.verified(V1)


def test_a_countdown_can_be_declined() -> None:
    """A person stops what would run by itself."""
    story = Story()
    story.spikes()
    story.declines()
    story.waits(5 * MINUTE)
    assert not story.rollbacks
    story.expect(Phase.ESCALATED, Reason.DECLINED)


def test_nobody_confirms_in_time() -> None:
    """After the approve deadline a proposal is handed over, and no late data makes it run."""
    story = proposed()
    story.waits(15 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.APPROVE_DEADLINE)
    assert [(page.page, page.urgent) for page in story.pages] == [
        (PageKind.TRIGGER, True),
        (PageKind.UPDATE, True),
    ]
    story.waits(30 * MINUTE)
    assert not story.rollbacks


def test_the_deadline_holds_in_auto_too() -> None:
    """A countdown that is over but finds no data does not stay armed for ever."""
    story = Story()
    story.spikes()
    story.measures = lambda action: None
    story.waits(14 * MINUTE)
    story.expect(Phase.PROPOSED)
    story.waits(MINUTE)
    story.expect(Phase.ESCALATED, Reason.APPROVE_DEADLINE)
    assert not story.rollbacks


@pytest.mark.parametrize("scope", ["", "shop", "shop/checkout"])
def test_a_pause_ends_the_countdown(scope: str) -> None:
    """A pause of everything, of the namespace or of the workload hands a running countdown over at once."""
    story = Story()
    story.spikes()
    story.pauses(scope)
    story.expect(Phase.ESCALATED, Reason.PAUSED)
    story.waits(5 * MINUTE)
    assert not story.rollbacks


def test_a_pause_of_something_else_stops_nothing() -> None:
    """The pause of another namespace is none of this incident's business."""
    story = Story()
    story.spikes()
    story.pauses("elsewhere")
    story.waits(31 * SECOND)
    assert len(story.rollbacks) == 1


def test_the_namespace_annotation_pauses_out_of_reach_of_the_command_line() -> None:
    """A view that shows the namespace paused ends the countdown like a person's pause."""
    story = Story()
    story.spikes()
    story.sees(a_rollout_view(namespace_paused=True))
    story.expect(Phase.ESCALATED, Reason.PAUSED)


def test_a_pause_after_the_patch_stops_nothing() -> None:
    """What was patched is watched to its end."""
    story = Story()
    story.spikes()
    story.waits(30 * SECOND)
    story.pauses()
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)


def test_a_timed_pause_ends_by_itself() -> None:
    """After its time a pause does not hold any more, and its end is journalled."""
    story = Story()
    story.pauses("shop", 10 * MINUTE)
    assert "paused by ann until" in str(story.state.paused_by(SHOP, story.now))
    story.waits(10 * MINUTE)
    assert story.state.paused_by(SHOP, story.now) is None
    assert not story.state.pauses


def test_a_pause_ends_when_its_scope_is_resumed() -> None:
    """Exactly the paused scope can be resumed; anything else is refused and kept."""
    story = Story()
    story.pauses("shop")
    story.resumes("")
    assert story.of(CommandRefused)[-1].why == "everything is not paused"
    story.resumes("shop")
    assert story.state.paused_by(SHOP, story.now) is None


def test_a_pause_in_force_hands_every_new_incident_over() -> None:
    """While paused, a blamed rollout is paged and not touched."""
    story = Story()
    story.pauses()
    story.spikes()
    story.expect(Phase.ESCALATED, Reason.PAUSED)
    assert story.triggers


def test_a_person_closes_an_escalated_incident() -> None:
    """Closing resolves the page and says who did it."""
    story = proposed()
    story.declines()
    story.closes("ben", "known issue")
    assert [(moved.actor, moved.note) for moved in story.of(Moved)][-1] == ("ben", "known issue")
    story.expect(Phase.CLOSED, Reason.CLOSED_BY_PERSON)
    assert story.pages[-1].page is PageKind.RESOLVE
    assert story.pages[-1].brief.update == "Closed by ben. known issue"
    assert story.state.next_deadline() is None or story.incident not in story.state.open_incidents


def test_commands_that_do_not_fit_are_refused_and_kept() -> None:
    """An unknown incident, a wrong phase, nothing to release: said, journalled, and nothing moves."""
    story = Story()
    story.plays(Approved(at=story.now, incident=IncidentId("inc-none"), actor="ann"))
    story.spikes()
    story.closes()
    story.releases()
    whys = [fact.why for fact in story.of(CommandRefused)]
    assert whys[0] == "there is no incident inc-none"
    assert whys[1].endswith("is proposed, not escalated")
    assert whys[2] == f"nothing of {SHOP.key} is quarantined"
    story.expect(Phase.PROPOSED)


def test_good_data_ends_a_countdown() -> None:
    """The alert is gone and fresh data is good: dismissed before anything is done, and nobody was paged."""
    story = Story()
    story.spikes()
    story.waits(10 * SECOND)
    story.resolves()
    story.measures = lambda action: a_measurement(story.now, new=0.0, alerts=states(AlertStatus.RESOLVED))
    story.waits(MINUTE)
    story.expect(Phase.DISMISSED, Reason.SYMPTOM_GONE)
    assert not story.rollbacks
    assert not story.pages


def test_a_countdown_that_ran_out_while_down_starts_anew() -> None:
    """Being away is no consent: after a restart the countdown is given once more, in full, and people are told."""
    story = Story()
    story.spikes()
    story.now += 5 * MINUTE
    story.starts(down_since=NOON + MINUTE)
    assert story.incident.countdown_until == story.now + 30 * SECOND
    assert "starts anew" in story.announcements[-1].brief.update
    story.waits(29 * SECOND)
    assert not story.rollbacks
    story.waits(SECOND)
    assert len(story.rollbacks) == 1


def test_a_countdown_that_still_runs_after_a_restart_goes_on() -> None:
    """A restart within the countdown changes nothing about it."""
    story = Story()
    story.spikes()
    until = story.incident.countdown_until
    story.now += 5 * SECOND
    story.starts(down_since=story.now)
    assert story.incident.countdown_until == until


def test_the_fresh_look_decides_not_the_old_one() -> None:
    """What was blamed when the countdown began but fails alike at its end is not rolled back."""
    story = Story()
    story.spikes()
    story.measures = lambda action: a_measurement(story.now, new=0.3, old=0.3)
    story.waits(STEP)
    assert not story.rollbacks
    story.expect(Phase.ESCALATED, Reason.COMMON_CAUSE)
