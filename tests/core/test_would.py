"""What observe would have done: the verdict of `auto` on the same evidence, kept as the incident's decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from daemon.core import verdicts
from daemon.core.actions import Measure
from daemon.core.evolution import evolve
from daemon.core.facts import Decided, Judged
from daemon.core.incidents import Decision, Incident, Phase, Suspicion, Tier, Verdict, VerdictKind, Word
from daemon.core.model import Mode, Rung
from daemon.core.policy import ModeRule, Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.state import State
from daemon.core.would import waits, would
from tests.core.builders import (
    CART,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    V1,
    V2,
    a_check,
    a_location,
    a_measurement,
    a_policy,
    a_recovery,
    a_soak,
    an_alert,
)
from tests.core.guard_cases import CASES, Play, ambiguous, checked, hardly_any_traffic, spike
from tests.core.story import Story

OF_THE_MODE = {Reason.MODE_OBSERVE, Reason.MODE_APPROVE, Reason.NO_PERMISSION}
"""Refusals that come and go with the mode: in observe nobody asks for the right to patch, which arming gives."""

PLAYS = {f"{reason}-{number}": play for number, (reason, _, _, play) in enumerate(CASES) if reason not in OF_THE_MODE}


def observing(**policy: Any) -> Story:
    return Story(a_policy(default_mode=Mode.OBSERVE, **policy))


def judgements(story: Story) -> Iterator[tuple[Incident, Judged, State]]:
    """Every verdict on an open incident, with what it rested on."""
    state = State()
    for fact in story.facts:
        if isinstance(fact, Judged) and state.incidents[fact.incident].phase is Phase.OPEN:
            yield state.incidents[fact.incident], fact, state
        state = evolve(state, fact)


def in_mode(mode: Mode, policy: Policy) -> Policy:
    return replace(policy, default_mode=mode, modes=tuple(replace(rule, mode=mode) for rule in policy.modes))


@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
@pytest.mark.parametrize("mode", list(Mode))
def test_it_is_the_verdict_of_auto(mode: Mode, play: Play) -> None:
    """Under every circumstance that a guard knows, for each verdict on the way: what auto says, told from another mode's."""
    story = play()
    story.waits(MINUTE)
    seen = 0
    for incident, fact, state in judgements(story):
        if incident.asked is not None:
            continue
        auto, other = (
            verdicts.judge(incident, fact.measurement, state, in_mode(each, story.policy), fact.at)
            for each in (Mode.AUTO, mode)
        )
        assert would(other.verdict, other.suspicions) is auto.verdict.kind, str(other.verdict)
        seen += 1
    assert seen


def decision_of(story: Story) -> Decision:
    """The decision on the latest incident, which is in the journal once."""
    (found,) = [fact.decision for fact in story.of(Decided) if fact.incident == story.incident.id]
    assert story.incident.decision == found
    assert isinstance(found, Decision)
    return found


@pytest.mark.parametrize("mode", list(Mode))
def test_a_plain_spike_would_be_rolled_back_in_every_mode(mode: Mode) -> None:
    """The decision names the culprit and the evidence; the mode is kept beside it and is no refusal."""
    story = spike(Story(a_policy(default_mode=mode)))
    found = decision_of(story)
    assert (found.made, found.mode, found.tier) == (VerdictKind.ROLL_BACK, mode, Tier.CONTRAST)
    assert (found.workload, found.revision, found.label) == (SHOP, V2.id, V2.label)
    assert (found.refusals, found.word, found.at) == ((), None, story.incident.verdict_at)


def test_observe_announces_what_it_would_have_done_and_asks_for_a_word() -> None:
    """Whoever reads it can judge it with one paste; once judged, nobody is asked again."""
    story = spike(observing())
    brief = story.announcements[-1].brief
    assert brief.done.endswith(f"In auto it would have rolled {V2.label} back by itself.")
    asked = [f"lastgood judge {story.incident.id} {word}" for word in Word]
    assert [command for command in brief.commands if "judge" in command] == asked
    story.judges(Word.RIGHT)
    assert not [command for command in story.announcements[-1].brief.commands if "judge" in command]


def test_what_would_be_proposed() -> None:
    """Something that a person has to answer: its reason stands beside the decision."""
    story = observing()
    story.soaks = lambda action: a_soak(action.since, story.now, 0 * MINUTE, quiet=24 * 60 * MINUTE)
    story.spikes()
    found = decision_of(story)
    assert (found.made, found.refusals) == (VerdictKind.PROPOSE, (Reason.PROOF_HEALTH_ONLY,))
    told = story.announcements[-1].brief.done
    assert told.endswith(f"In auto it would have proposed to roll {V2.label} back (PROOF_HEALTH_ONLY).")


def test_what_would_be_handed_over() -> None:
    """A pause hands it over in every mode; the revision is named all the same."""
    story = observing()
    story.pauses("shop")
    story.spikes()
    found = decision_of(story)
    assert (found.made, found.refusals, found.revision) == (VerdictKind.ESCALATE, (Reason.PAUSED,), V2.id)
    brief = story.announcements[-1].brief
    assert brief.done.endswith("In auto it would have been handed to a person, too (PAUSED).")
    assert not [command for command in brief.commands if "judge" in command]


def test_nobody_is_named_where_the_rollout_is_innocent() -> None:
    """Old pods that fail alike: handed over without a culprit."""
    story = observing()
    story.measures = lambda action: a_measurement(story.now, old=0.3)
    story.spikes()
    story.waits(15 * MINUTE)
    found = decision_of(story)
    assert (found.made, found.revision, found.label) == (VerdictKind.ESCALATE, None, "")


def test_observe_waits_for_data_as_auto_does() -> None:
    """What only the mode would end now stays open until there is data; then it is decided."""
    story = observing()
    story.checks = lambda action: None
    story.spikes()
    story.expect(Phase.OPEN)
    verdict = story.incident.verdict
    assert verdict is not None
    assert (verdict.kind, waits(verdict, story.incident.suspicions)) == (VerdictKind.ESCALATE, True)
    assert story.incident.decision is None
    story.checks = lambda action: a_check(action.target)
    story.waits(MINUTE)
    story.expect(Phase.ESCALATED, Reason.MODE_OBSERVE)
    assert decision_of(story).made is VerdictKind.ROLL_BACK
    assert not story.rollbacks


def test_what_is_not_decided_in_time_is_handed_over() -> None:
    """The deadline decides where the data never came: that is what auto would have done, too."""
    story = observing()
    story.checks = lambda action: None
    story.spikes()
    story.waits(15 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.DECIDE_DEADLINE)
    found = decision_of(story)
    assert (found.made, found.refusals) == (VerdictKind.ESCALATE, (Reason.TARGET_UNCHECKED,))


def test_not_even_measured_in_time() -> None:
    """Without a single measurement there is a decision all the same, about the youngest rollout."""
    story = observing()
    story.proves_v1()
    story.rolls_out()
    story.withheld.add(Measure)
    story.fires()
    story.waits(15 * MINUTE)
    found = decision_of(story)
    assert (found.made, found.tier, found.workload, found.refusals) == (VerdictKind.ESCALATE, Tier.NONE, SHOP, ())


def test_what_ends_by_itself_decides_nothing() -> None:
    """The symptom went away before anything was blamed."""
    story = observing()
    story.proves_v1()
    story.rolls_out()
    story.measures = lambda action: a_recovery(story.now)
    story.fires()
    story.waits(5 * MINUTE)
    story.expect(Phase.DISMISSED)
    assert story.of(Decided) == []


def test_a_merged_incident_decides_nothing() -> None:
    """Two symptoms of one culprit are one decision."""
    story = observing()
    story.checks = lambda action: None if action.incident.endswith("-1") else a_check(action.target)
    story.where["f2"] = a_location(CART, SHOP, rung=Rung.SERVICE)
    story.proves_v1()
    story.rolls_out()
    story.fires(an_alert("f2", starts_at=NOON + MINUTE))
    held = replace(story.incidents[0], blamed=None)
    story.state = replace(story.state, incidents={held.id: held})
    story.fires()
    story.checks = lambda action: a_check(action.target)
    story.waits(MINUTE)
    assert [incident.merged_into for incident in story.incidents] == [story.incident.id, None]
    assert [fact.incident for fact in story.of(Decided)] == [story.incident.id]


def test_a_workload_that_is_gone_has_the_default_mode() -> None:
    """Deleted before the deadline: the decision is told with the mode that would apply."""
    story = observing(modes=(ModeRule(mode=Mode.AUTO, namespaces=("shop",)),))
    story.proves_v1()
    story.rolls_out()
    story.withheld.add(Measure)
    story.fires()
    story.sees(replace(story.state.workloads[SHOP.key].view, gone=True))
    story.waits(15 * MINUTE)
    assert decision_of(story).mode is Mode.OBSERVE


def refusal(reason: Reason, consequence: Consequence) -> Refusal:
    return Refusal(reason=reason, consequence=consequence, seen="", needed="")


OBSERVE = refusal(Reason.MODE_OBSERVE, Consequence.ESCALATE)
PAUSED = refusal(Reason.PAUSED, Consequence.ESCALATE)
ALIKE = refusal(Reason.COMMON_CAUSE, Consequence.ESCALATE)
CONFIG = refusal(Reason.CONFIG_CHANGED, Consequence.PROPOSE)
TRAFFIC = refusal(Reason.LOW_TRAFFIC, Consequence.HOLD)


def suspicion(*vetoes: Refusal) -> Suspicion:
    return Suspicion(
        workload=SHOP, revision=V2, replaced=V1, score=1.0, tier=Tier.CONTRAST, terms=(), vetoes=(OBSERVE, *vetoes)
    )


@pytest.mark.parametrize(
    ("refusals", "others", "blames", "expected"),
    [
        ((), (), True, VerdictKind.ROLL_BACK),
        ((), (), False, VerdictKind.HOLD),
        ((CONFIG,), (), True, VerdictKind.PROPOSE),
        ((CONFIG, TRAFFIC), (), True, VerdictKind.HOLD),
        ((PAUSED, TRAFFIC), (), True, VerdictKind.ESCALATE),
        ((PAUSED,), ((PAUSED,),), False, VerdictKind.ESCALATE),
        ((PAUSED,), ((),), False, VerdictKind.HOLD),
        ((ALIKE,), ((),), False, VerdictKind.ESCALATE),
    ],
)
def test_precedence_without_the_mode(
    refusals: tuple[Refusal, ...], others: tuple[tuple[Refusal, ...], ...], blames: bool, expected: VerdictKind
) -> None:
    """An ESCALATE of observe, by what else is refused, of this candidate and of the others."""
    verdict = Verdict(
        kind=VerdictKind.ESCALATE, reason=Reason.MODE_OBSERVE, refusals=(OBSERVE, *refusals), blames=blames
    )
    assert would(verdict, (suspicion(*refusals), *(suspicion(*each) for each in others))) is expected


@pytest.mark.parametrize("kind", list(VerdictKind))
def test_a_verdict_without_the_mode_is_itself(kind: VerdictKind) -> None:
    """Whatever it is: where the mode refused nothing it took nothing away."""
    assert would(Verdict(kind=kind, reason=Reason.PAUSED, refusals=(PAUSED,), blames=True), ()) is kind


@pytest.mark.parametrize("play", [checked(exists=False), ambiguous, hardly_any_traffic])
def test_a_decision_is_made_once(play: Play) -> None:
    """However long an incident lasts afterwards, it has one decision at most."""
    story = play()
    story.waits(20 * MINUTE)
    story.now += SECOND
    decided = [fact.incident for fact in story.of(Decided)]
    assert len(decided) == len(set(decided)) > 0
