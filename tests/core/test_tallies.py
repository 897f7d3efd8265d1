"""What the tallies of the scorecard count: decisions and healthy rollouts, each once, for longer than incidents live."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core import score_evolution
from daemon.core.evolution import ENDED_KEPT_MAX, evolve
from daemon.core.facts import Decided, LedgerWritten
from daemon.core.incidents import Decision, Phase, VerdictKind, Word
from daemon.core.model import ActionId, DeclaredCause, IncidentId, Mode, Workload
from daemon.core.scorecard import MADE, Tally, number
from daemon.core.state import State
from tests.core.builders import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    V1,
    V2,
    V3,
    a_location,
    a_policy,
    a_rollout_view,
    a_soak,
    a_view,
    an_alert,
)
from tests.core.story import Story
from tests.core.test_reviewing import observed, tally
from tests.core.test_scorecard import a_decision

RIGHT, WRONG = Word.RIGHT, Word.WRONG


def test_what_a_person_declared_is_not_counted() -> None:
    """They named the culprit; the decision and the word on it are on the incident."""
    story = Story(a_policy(default_mode=Mode.OBSERVE))
    story.proves_v1()
    story.rolls_out()
    story.now += MINUTE
    story.declares(DeclaredCause.CUSTOMER_REPORTS)
    story.judges(RIGHT)
    assert story.incident.decision is not None
    assert story.incident.decision.word is RIGHT
    assert SHOP.key not in story.state.scorecards


def heals(story: Story) -> None:
    """The rollout completes, nothing is wrong, and it is verified."""
    story.completes()
    story.waits(30 * MINUTE)
    assert story.verified(V2)


def test_a_healthy_rollout_is_counted() -> None:
    """Verified by what was seen of it, without any decision."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    heals(story)
    assert (tally(story).healthy, tally(story).healthy_revision, tally(story).decisions) == (1, V2.id, ())
    assert tally(story).since == [f.at for f in story.of(LedgerWritten) if f.what == "verified"][-1]
    story.waits(2 * DAY)
    assert tally(story).healthy == 1


def test_a_first_deployment_is_no_rollout() -> None:
    """Nothing was replaced, so nothing could have been blamed."""
    story = Story()
    story.proves_v1()
    assert story.verified(V1)
    assert story.state.scorecards == {}


def verified_by(**changes: object) -> State:
    """The state after V2's mark, where the rollout or its proof is a special one."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    heals(story)
    (fact,) = [f for f in story.of(LedgerWritten) if f.what == "verified" and f.entry.revision.id == V2.id]
    tracked = story.state.workloads[SHOP.key]
    assert tracked.rollout is not None
    if changes.pop("backwards", False):
        fact = replace(fact, entry=replace(fact.entry, proof=replace(fact.entry.proof, backwards=True)))
    if changes.pop("unproven", False):
        fact = replace(fact, entry=replace(fact.entry, proof=None))
    tracked = replace(tracked, rollout=replace(tracked.rollout, **changes))  # type: ignore[arg-type]
    return score_evolution.verified(State(), fact, tracked)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"unproven": True}, True),
        ({"backwards": True}, False),
        ({"replaced": None}, False),
        ({"ours": ActionId("inc-1/roll_back")}, False),
        ({"replaced": replace(V2, id=V1.id)}, False),
        ({"revision": V3}, False),
    ],
    ids=["plain", "unproven", "from history", "first deployment", "our rollback", "restart only", "another revision"],
)
def test_which_rollouts_count(changes: dict[str, object], counts: bool) -> None:
    """Only those in which something could have gone wrong, and that we watched."""
    assert bool(verified_by(**changes).scorecards) is counts


def test_what_was_blamed_later_was_not_healthy() -> None:
    """A leak that shows after it was verified: the rollout is not among the healthy ones any more."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    heals(story)
    story.soaks = lambda action: a_soak(
        action.since, story.now, 0 * MINUTE, unhealthy_at=story.now, because="memory 97 %"
    )
    story.waits(3 * HOUR)
    assert story.incident.regression
    assert story.incident.decision is not None
    assert tally(story).healthy == 0


def test_tallies_outlive_incidents_and_workloads() -> None:
    """Hundreds of later incidents and a deletion later it is still known."""
    story = observed()
    story.judges(RIGHT)
    for index in range(ENDED_KEPT_MAX + 5):
        ended = replace(story.incident, id=IncidentId(f"inc-x{index}"), phase=Phase.CLOSED)
        story.state = replace(story.state, incidents={**story.state.incidents, ended.id: ended})
    story.sees(replace(story.state.workloads[SHOP.key].view, gone=True))
    story.sees(a_view(V1))
    assert number(tally(story).counts, MADE, RIGHT) == 1


def made(state: State, workload: Workload, number: int) -> State:
    decision = a_decision(number, workload=workload)
    return evolve(state, Decided(at=NOON, incident=decision.incident, decision=decision))


def with_incident(state: State, story: Story, number: int) -> State:
    known = replace(story.incident, id=IncidentId(f"inc-{number}"), decision=None)
    return replace(state, incidents={known.id: known})


def test_tallies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit one goes: first those that nothing was decided about, then the oldest."""
    monkeypatch.setattr(score_evolution, "TALLIES_KEPT_MAX", 2)
    story = observed()
    names = [replace(SHOP, name=f"w{index}") for index in range(4)]
    state = replace(story.state, scorecards={"quiet": Tally(workload=names[3], since=NOON, healthy=3)})
    for index in range(3):
        state = made(with_incident(state, story, index), names[index], index)
    assert list(state.scorecards) == [names[1].key, names[2].key]


def test_a_decision_on_a_forgotten_incident_counts_for_nobody() -> None:
    """A damaged journal: nothing is known of how it came about."""
    assert made(State(), SHOP, 1).scorecards == {}


def test_a_word_on_a_forgotten_tally() -> None:
    """It stays on the incident."""
    story = observed()
    story.state = replace(story.state, scorecards={})
    story.judges(WRONG)
    assert story.incident.judged_wrong
    assert story.state.scorecards == {}


def test_a_later_decision_about_the_same_revision_is_judged_with_it() -> None:
    """The alert comes back: the latest incident is the one to judge, and a word on the first holds as well."""
    story = observed()
    first = story.incident
    decision = first.decision
    assert isinstance(decision, Decision)
    again = replace(first, id=IncidentId("inc-2"))
    story.state = replace(story.state, incidents={first.id: first, again.id: again})
    fact = Decided(at=story.now, incident=again.id, decision=replace(decision, incident=again.id))
    story.state = evolve(story.state, fact)
    assert [each.incident for each in tally(story).decisions] == ["inc-2"]
    story.judges(RIGHT, incident=first.id)
    assert [each.word for each in tally(story).decisions] == [RIGHT]
    assert decision.made is VerdictKind.ROLL_BACK


def test_a_second_rollout_is_another_decision() -> None:
    """V3 replaces V2 and is bad as well: both wait for a word, the newest first."""
    story = observed()
    story.now += 10 * MINUTE
    story.sees(a_rollout_view(V3, V1, started_at=story.now))
    story.where["f2"] = a_location(onset=story.now + SECOND)
    story.fires(an_alert("f2", starts_at=story.now + MINUTE))
    assert [each.revision for each in tally(story).unjudged] == [V3.id, V2.id]
