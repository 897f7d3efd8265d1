"""Who else hears of a change: the pipeline it came from, and the on-call's timeline."""

from __future__ import annotations

from dataclasses import replace

from daemon.core.actions import AnswerPipeline, NoteChange
from daemon.core.notices import NoticeStatus
from tests.core.builders import HOUR, MINUTE, NOON, STEP, V1, V2, a_policy
from tests.core.story import Story
from tests.core.test_notices import GITHUB, a_notice, attached, hears


def test_the_pipeline_hears_of_the_rollback() -> None:
    """Each deployment that can be answered is, once, when the rollback ran."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    hears(story, a_notice("started", origin=GITHUB, source="github"))
    hears(story, a_notice("success", origin=GITHUB, source="github"))
    hears(story, a_notice("plain"))
    story.withheld.add(AnswerPipeline)
    story.fires()
    story.waits(STEP)
    (answer,) = [action for action in story.state.owed.values() if isinstance(action, AnswerPipeline)]
    assert (answer.origin, answer.source, answer.commit) == (GITHUB, "github", "0123456789abcdef")
    assert story.incident.id in answer.summary


def test_the_timeline_gets_its_marks() -> None:
    """A change event for the rollout and one for the rollback, where they are wanted; none for what was there before us."""
    story = Story(a_policy(change_events=True))
    story.withheld.add(NoteChange)
    story.now = NOON - HOUR
    story.proves_v1()
    assert story.state.owed == {}
    hears(story, a_notice(at=NOON - MINUTE))
    story.rolls_out()
    story.fires()
    story.waits(STEP)
    notes = [action for action in story.state.owed.values() if isinstance(action, NoteChange)]
    assert [note.summary.split(": ")[0] for note in notes] == [
        "shop/checkout",
        "Lastgood rolled shop/checkout back to checkout:v1 (11hash)",
    ]
    assert ("commit", "0123456789abcdef") in notes[0].details
    assert notes[0].links[0] == ("Change", "https://git.example/c/1")


def test_a_restart_is_no_mark() -> None:
    """A restart changes nothing that could be the cause."""
    story = Story(a_policy(change_events=True))
    story.withheld.add(NoteChange)
    story.proves_v1()
    story.rolls_out(replace(V2, content=V1.content, digests=V1.digests))
    assert [action for action in story.state.owed.values() if isinstance(action, NoteChange)] == []


def test_what_we_answered_does_not_come_back_as_a_cause() -> None:
    """The vendor echoes the failure that we set: it speaks of the revision we left, not of our rollback."""
    story = Story()
    story.spikes()
    story.waits(STEP)
    story.is_back()
    hears(story, a_notice("echo", status=NoticeStatus.FAILED, may_cause=True, at=story.now))
    assert attached(story) == []
    assert len(story.incidents) == 1
