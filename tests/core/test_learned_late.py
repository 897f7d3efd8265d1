"""What becomes known of a rollback only after its deadline: it counts as one, and who has the incident is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.actions import Outcome, OutcomeKind, RolledBack
from daemon.core.events import ActionFinished
from daemon.core.incidents import Phase
from daemon.core.reasons import Reason
from tests.core.builders import HOUR, MINUTE, SECOND, SHOP, V2
from tests.core.story import Story, done

UNKNOWN = Outcome(kind=OutcomeKind.UNKNOWN, message="given up: no route to host")
FAILED = Outcome(kind=OutcomeKind.FAILED, message="given up: no route to host")


def unanswered() -> Story:
    """The patch was sent, its answer and every answer since are lost, and the deadline has passed."""
    story = Story()
    story.patches = lambda action: None
    story.spikes()
    story.waits(11 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.CONVERGE_DEADLINE)
    return story


def learns(story: Story, outcome: Outcome) -> list[str]:
    """The outcome comes; what people are told of it."""
    known = len(story.announcements)
    story.now += SECOND
    action = story.rollbacks[0]
    story.plays(ActionFinished(at=story.now, action_id=action.id, outcome=outcome))
    assert story.pages[-1].page is story.pages[-2].page
    return [each.brief.update for each in story.announcements[known:]]


def test_it_was_carried_out() -> None:
    """It is a rollback like any other: quarantine, cooling down, blast radius; the person reads it, and what is to be seen to."""
    story = unanswered()
    patched = RolledBack(generation=99, patched_at=story.now, warnings=("Git still names v2.",))
    told = learns(story, done(patched))
    assert told == [
        "As is known only now, the rollback to checkout:v1 (11hash) was carried out.",
        "Git still names v2.",
    ]
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is not None
    assert entry.quarantined_by is not None
    assert story.state.workloads[SHOP.key].rolled_back_at is not None
    assert len(story.state.rollbacks) == 1
    story.expect(Phase.ESCALATED, Reason.CONVERGE_DEADLINE)


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (
            UNKNOWN,
            "Whether the rollback to checkout:v1 (11hash) was carried out could not be found out: given up: no route to host",
        ),
        (
            FAILED,
            "As is known only now, the rollback to checkout:v1 (11hash) was not carried out: given up: no route to host",
        ),
    ],
)
def test_it_was_not_or_nobody_knows(outcome: Outcome, says: str) -> None:
    """The person reads that too; nothing is quarantined by what may not have happened."""
    story = unanswered()
    story.waits(HOUR)
    assert learns(story, outcome) == [says]
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is None or entry.quarantined_by is None
    assert story.state.rollbacks == ()


def test_nobody_has_the_incident_any_more() -> None:
    """Closed by a person in the meantime: it counts as a rollback all the same, and nobody is told."""
    story = unanswered()
    story.closes()
    told = len(story.announcements)
    patched = done(RolledBack(generation=99, patched_at=story.now))
    story.plays(ActionFinished(at=story.now, action_id=story.rollbacks[0].id, outcome=patched))
    assert len(story.announcements) == told
    assert len(story.state.rollbacks) == 1


def test_the_incident_is_forgotten() -> None:
    """Of incidents that ended only so many are kept: the rollback of a forgotten one counts all the same, and nobody is told."""
    story = unanswered()
    story.closes()
    story.state = replace(story.state, incidents={})
    told = len(story.announcements)
    patched = done(RolledBack(generation=99, patched_at=story.now))
    story.plays(ActionFinished(at=story.now, action_id=story.rollbacks[0].id, outcome=patched))
    assert len(story.announcements) == told
    assert len(story.state.rollbacks) == 1
    entry = story.state.workloads[SHOP.key].entry(V2.id)
    assert entry is not None
    assert entry.quarantined_by is not None
