"""What people say of decisions: kept, counted by the last word, and the innocent get back what they had."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.actions import RollBack
from daemon.core.events import Reviewed
from daemon.core.evolution import evolve
from daemon.core.facts import CommandRefused, LedgerWritten, ReviewGiven
from daemon.core.incidents import Phase, Word
from daemon.core.ledger import LedgerEntry
from daemon.core.model import IncidentId, Mode
from daemon.core.reasons import Reason
from daemon.core.scorecard import MADE, Tally, number, precision
from tests.core.builders import (
    HOUR,
    MINUTE,
    SHOP,
    V1,
    V2,
    a_measurement,
    a_policy,
    a_recovery,
)
from tests.core.story import Story

RIGHT, WRONG = Word.RIGHT, Word.WRONG


def observed() -> Story:
    """A spike in observe: it would have been rolled back."""
    story = Story(a_policy(default_mode=Mode.OBSERVE))
    story.spikes()
    story.expect(Phase.ESCALATED, Reason.MODE_OBSERVE)
    return story


def rolled_back() -> Story:
    """A spike in auto: rolled back and recovered."""
    story = Story()
    story.spikes()
    story.waits(MINUTE)
    story.is_back()
    story.waits(10 * MINUTE)
    story.expect(Phase.RECOVERED)
    return story


def tally(story: Story) -> Tally:
    return story.state.scorecards[SHOP.key]


def entry(story: Story, revision: str = V2.id) -> LedgerEntry:
    found = story.state.workloads[SHOP.key].entry(revision)
    assert found is not None
    return found


def refused(story: Story) -> str:
    (fact,) = story.of(CommandRefused)
    assert fact.command == "judge"
    return str(fact.why)


@pytest.mark.parametrize("word", list(Word))
def test_the_word_is_kept_with_who_said_it(word: Word) -> None:
    """On the incident and in the tally, with the note and the moment; a replay knows it, too."""
    story = observed()
    story.judges(word, note="looked at the traces")
    for found in (story.incident.decision, tally(story).decisions[0]):
        assert found is not None
        assert (found.word, found.judged_by, found.note) == (word, "ann", "looked at the traces")
        assert found.judged_at == story.now
    assert story.replayed().scorecards == story.state.scorecards
    assert precision(tally(story).counts, *MADE).right == (1 if word is RIGHT else 0)


def test_the_last_word_counts() -> None:
    """Each is in the journal; one is counted."""
    story = observed()
    for word in (WRONG, RIGHT, WRONG):
        story.judges(word)
    assert [fact.word for fact in story.of(ReviewGiven)] == [WRONG, RIGHT, WRONG]
    assert number(tally(story).counts, MADE, WRONG) == sum(tally(story).counts.values()) == 1


def test_an_ended_incident_can_be_judged() -> None:
    """The morning after, when the symptom is long gone."""
    story = observed()
    story.measures = lambda action: a_recovery(story.now)
    story.waits(HOUR)
    story.expect(Phase.CLOSED)
    story.judges(RIGHT)
    assert tally(story).unjudged == ()


def test_a_forgotten_incident_can_be_judged() -> None:
    """Its tally has the decision; nothing else of it is needed."""
    story = rolled_back()
    incident = story.incident.id
    story.state = replace(story.state, incidents={})
    story.plays(Reviewed(at=story.now, incident=incident, word=WRONG, actor="ann"))
    assert tally(story).decisions[0].word is WRONG
    assert entry(story).quarantined_by is None


def test_whoever_read_of_the_decision_reads_of_the_word() -> None:
    """One line in the incident's thread, nobody is paged."""
    story = observed()
    before = len(story.pages)
    story.judges(WRONG, note="the database was down")
    assert story.announcements[-1].brief.update == "Judged wrong by ann. the database was down"
    assert len(story.pages) == before


def test_nothing_is_announced_where_nothing_was() -> None:
    """An incident that nobody had heard of stays so."""
    story = observed()
    quiet = replace(story.incident, thread=replace(story.incident.thread, count=0))
    story.state = story.state.with_incident(quiet.id, thread=quiet.thread)
    before = len(story.announcements)
    story.judges(RIGHT)
    assert len(story.announcements) == before


# -- what cannot be judged


def test_what_is_not_known_is_refused() -> None:
    """No such incident, and none in the tallies."""
    story = observed()
    story.judges(RIGHT, incident=IncidentId("inc-9"))
    assert refused(story) == "there is no incident inc-9"


def test_what_is_not_decided_is_refused() -> None:
    """While it is measured there is nothing to judge."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=0.0, old=0.0)
    story.spikes()
    story.expect(Phase.OPEN)
    story.judges(WRONG)
    assert refused(story) == f"nothing was decided about incident {story.incident.id}: it is open"


def test_what_a_person_asked_for_is_no_decision_of_ours() -> None:
    """A rollback by hand says nothing about Lastgood's judgement."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.asks()
    story.judges(RIGHT)
    assert "is a rollback that ann asked for" in refused(story)


def test_a_merged_one_says_where_it_went() -> None:
    """The decision is on the incident that it joined."""
    story = observed()
    gone = replace(story.incident, id=IncidentId("inc-7"), decision=None, merged_into=story.incident.id)
    story.state = replace(story.state, incidents={gone.id: gone})
    story.judges(RIGHT, incident=gone.id)
    assert refused(story) == f"incident inc-7 was merged: judge {gone.merged_into}"


# -- the innocent get back what they had


def test_wrong_lifts_the_quarantine_of_its_rollback() -> None:
    """As clearing does: what the revision had soaked counts on."""
    story = rolled_back()
    before = entry(story)
    assert before.quarantined_by == story.incident.id
    story.judges(WRONG)
    (released,) = [fact for fact in story.of(LedgerWritten) if fact.what == "released"]
    assert released.because == "judged wrong by ann"
    assert entry(story) == replace(before, quarantined_by=None)


def test_wrong_gives_a_proof_back() -> None:
    """A verified revision that was rolled back may be a target again."""
    story = rolled_back()
    held = replace(entry(story), proof=entry(story, V1.id).proof)
    story.state = evolve(story.state, LedgerWritten(at=story.now, workload=SHOP.key, entry=held, what="quarantined"))
    assert not story.verified(V2)
    story.judges(WRONG)
    assert story.verified(V2)


def test_a_quarantine_of_another_origin_stays() -> None:
    """Somebody undid it by hand as well: that was not this incident's doing."""
    story = rolled_back()
    held = replace(entry(story), quarantined_by="the undo by kubectl")
    story.state = evolve(story.state, LedgerWritten(at=story.now, workload=SHOP.key, entry=held, what="quarantined"))
    story.judges(WRONG)
    assert entry(story).quarantined_by == "the undo by kubectl"


def test_right_after_wrong_keeps_it_out_again() -> None:
    """A slip of the hand must not make a bad revision a target; without a rollback there is nothing to keep out."""
    story = rolled_back()
    story.judges(WRONG)
    story.judges(RIGHT)
    assert entry(story).quarantined_by == story.incident.id
    story.judges(RIGHT)
    assert entry(story).quarantined_by == story.incident.id
    watched = observed()
    watched.judges(WRONG)
    watched.judges(RIGHT)
    assert watched.state.workloads[SHOP.key].entry(V2.id) is None


def test_right_does_not_take_over_the_quarantine_of_another() -> None:
    """Wrong, then kept out by somebody else, then right: it stays theirs."""
    story = rolled_back()
    story.judges(WRONG)
    held = replace(entry(story), quarantined_by="the undo by kubectl")
    story.state = evolve(story.state, LedgerWritten(at=story.now, workload=SHOP.key, entry=held, what="quarantined"))
    story.judges(RIGHT)
    assert entry(story).quarantined_by == "the undo by kubectl"


def test_a_workload_that_is_gone_has_nothing_to_get_back() -> None:
    """Its ledger went with it; the word counts all the same. So where no revision was named."""
    story = rolled_back()
    story.sees(replace(story.state.workloads[SHOP.key].view, gone=True))
    story.judges(WRONG)
    assert tally(story).decisions[0].word is WRONG
    nameless = observed()
    assert nameless.incident.decision is not None
    decision = replace(nameless.incident.decision, revision=None, label="")
    nameless.state = nameless.state.with_incident(nameless.incident.id, decision=decision)
    nameless.judges(WRONG)
    assert nameless.incident.judged_wrong


def test_wrong_declines_what_is_proposed() -> None:
    """A person who says that it is innocent need not say so twice: no countdown rolls it back."""
    story = Story(a_policy(countdown=5 * MINUTE))
    story.spikes()
    story.expect(Phase.PROPOSED)
    story.judges(WRONG)
    story.expect(Phase.ESCALATED, Reason.DECLINED)
    assert story.incident.ended_by == "ann"
    story.waits(HOUR)
    assert not story.rollbacks


def test_right_is_no_approval() -> None:
    """The proposal goes its way."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    story.judges(RIGHT)
    story.expect(Phase.PROPOSED)
    assert not story.rollbacks


def test_wrong_while_it_is_rolled_back_quarantines_nothing() -> None:
    """The patch is out and cannot be called back; its outcome must not put the innocent away."""
    story = Story()
    story.withheld.add(RollBack)
    story.spikes()
    story.waits(MINUTE)
    story.expect(Phase.ROLLING_BACK)
    story.judges(WRONG)
    story.withheld.clear()
    story.answers()
    assert len(story.rollbacks) == 1
    assert story.state.workloads[SHOP.key].entry(V2.id) is None


def test_wrong_ends_the_suspension_of_the_soak() -> None:
    """Blamed, it proves nothing; judged innocent, it is verified while the incident is still open."""
    story = observed()
    story.completes()
    story.waits(HOUR)
    assert not story.verified(V2)
    first = story.incidents[0]
    story.judges(WRONG, incident=first.id)
    story.waits(2 * HOUR)
    assert not story.incidents[0].phase.ended
    assert story.verified(V2)


def test_declining_ends_the_suspension_of_the_soak() -> None:
    """Who declines takes the revision as it is; it has to prove itself like any other."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    first = story.incident
    story.declines()
    story.completes()
    story.waits(HOUR)
    assert story.state.incidents[first.id].phase is Phase.ESCALATED
    assert story.verified(V2)
