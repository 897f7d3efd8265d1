"""Incidents of one revision become one, but for what convicts where an earlier one was handed over without."""

from __future__ import annotations

from dataclasses import replace

from daemon.core.actions import CheckTarget
from daemon.core.incidents import Phase
from daemon.core.measurement import TargetCheck
from daemon.core.model import Rung, Workload
from daemon.core.reasons import Reason
from tests.core.builders import (
    CART,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    V1,
    a_check,
    a_location,
    a_measurement,
    a_policy,
    an_alert,
)
from tests.core.story import Story

FRONT = Workload(namespace="shop", kind="Deployment", name="front")


def front_and_shop(story: Story) -> None:
    """Two symptoms, one cause: the shop's rollout is in the scope of both alerts."""
    story.where["f2"] = a_location(FRONT, SHOP, rung=Rung.SERVICE)
    story.proves_v1()
    story.rolls_out()


def test_incidents_that_blame_the_same_revision_become_one() -> None:
    """The second incident joins the first with its alerts; one page, one rollback."""
    story = Story()
    front_and_shop(story)
    story.fires(an_alert("f2", starts_at=NOON + MINUTE))
    story.fires()
    assert len(story.rollbacks) <= 1
    story.waits(31 * SECOND)
    assert len(story.rollbacks) == 1
    assert len(story.triggers) == 1
    assert len([i for i in story.incidents if not i.phase.ended]) == 1


def test_an_older_incident_that_held_joins_the_one_that_has_settled() -> None:
    """Whichever makes up its mind first proposes; the other one must not propose the same rollback again."""
    story = Story()
    story.checks = lambda action: None if action.incident.endswith("-1") else _fine(action)
    front_and_shop(story)
    story.fires(an_alert("f2", starts_at=NOON + MINUTE))
    assert story.incidents[0].symptom == FRONT
    story.where["f1"] = a_location(SHOP)
    held = replace(story.incidents[0], blamed=None)
    story.state = replace(story.state, incidents={held.id: held})
    story.fires()
    assert [incident.phase for incident in story.incidents] == [Phase.OPEN, Phase.PROPOSED]
    story.checks = _fine
    story.waits(31 * SECOND)
    first, second = story.incidents
    assert (first.phase, first.reason, first.merged_into) == (Phase.DISMISSED, Reason.MERGED, second.id)
    assert {located.alert.fingerprint for located in second.alerts} == {"f1", "f2"}
    assert len(story.rollbacks) == 1


def test_what_convicts_does_not_join_an_incident_that_was_handed_over_for_want_of_it() -> None:
    """Old pods fail as well at first, and nobody is asked; later the new ones alone fail on: that is acted upon."""
    story = Story()
    front_and_shop(story)
    story.completes()
    story.measures = lambda action: a_measurement(story.now, old=0.3)
    story.fires(an_alert("f2", starts_at=NOON + MINUTE))
    story.waits(10 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.COMMON_CAUSE)
    story.measures = lambda action: a_measurement(story.now)
    story.fires()
    story.waits(31 * SECOND)
    assert [incident.phase for incident in story.incidents][:1] == [Phase.ESCALATED]
    assert [each.target for each in story.rollbacks] == [V1]


def test_what_convicts_joins_an_incident_in_which_a_person_was_asked() -> None:
    """The rollback was proposed, and nobody approved it: another incident does not go over that person's head."""
    story = Story(a_policy(approve_deadline=MINUTE))
    front_and_shop(story)
    story.completes()
    story.where["f3"] = a_location(CART, SHOP, rung=Rung.SERVICE)
    alone = {"new": 0.3, "old": None}
    story.measures = lambda action: a_measurement(
        story.now, **(alone if action.incident.endswith("-1") else {"new": 0.0})
    )
    story.fires(an_alert("f2", starts_at=NOON + MINUTE))
    story.fires(an_alert("f3", starts_at=NOON + MINUTE))
    story.waits(5 * MINUTE)
    assert [(each.phase, each.reason) for each in story.incidents] == [
        (Phase.ESCALATED, Reason.APPROVE_DEADLINE),
        (Phase.OPEN, None),
    ]
    story.measures = lambda action: a_measurement(story.now)
    story.waits(MINUTE)
    first, second = story.incidents
    assert (second.phase, second.reason, second.merged_into) == (Phase.DISMISSED, Reason.MERGED, first.id)
    assert story.rollbacks == []


def _fine(action: CheckTarget) -> TargetCheck:
    return a_check(action.target)
