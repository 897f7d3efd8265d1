"""Every guard, both ways: the plain spike is refused by none; one circumstance more, and exactly its guard refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from daemon.core.actions import Measure
from daemon.core.incidents import Phase
from daemon.core.measurement import Measurement
from daemon.core.model import Mode, Owner, OwnerKind
from daemon.core.policy import ModeRule
from daemon.core.reasons import Consequence, Reason
from tests.core.builders import (
    MINUTE,
    NOON,
    SECOND,
    STEP,
    V1,
    V2,
    V3,
    a_location,
    a_measurement,
    a_policy,
    a_revision,
    an_alert,
)
from tests.core.guard_cases import CASES, Play, in_kube_system, spike
from tests.core.story import Story

IDS = [f"{reason}-{number}" for number, (reason, *_) in enumerate(CASES)]


def test_the_plain_spike_is_refused_by_no_guard() -> None:
    """Without any special circumstance all guards pass, so each case below is refused for its circumstance alone."""
    story = spike()
    assert not story.refusals
    story.expect(Phase.PROPOSED, Reason.BLAMED_CONTRAST)


@pytest.mark.parametrize(("reason", "consequence", "overridable", "play"), CASES, ids=IDS)
def test_the_guard_refuses_with_its_consequence(
    reason: Reason, consequence: Consequence, overridable: bool, play: Play
) -> None:
    """The guard refuses, says what it saw and what it needs, and nothing is rolled back without a person."""
    story = play()
    before = len(story.rollbacks)
    refusal = story.expect_refused(reason, consequence)
    assert refusal.overridable is overridable
    assert refusal.seen
    assert refusal.needed
    story.waits(10 * SECOND)
    assert len(story.rollbacks) == before
    assert str(refusal).startswith(reason.upper())


@pytest.mark.parametrize(("reason", "consequence", "overridable", "play"), CASES, ids=IDS)
def test_what_a_refusal_leads_to(reason: Reason, consequence: Consequence, overridable: bool, play: Play) -> None:
    """ESCALATE hands over, PROPOSE waits for a person, HOLD waits for data and hands over at the deadline."""
    story = play()
    if consequence is Consequence.PROPOSE:
        story.expect(Phase.PROPOSED)
        assert story.incident.countdown_until is None
        assert reason in story.incident.shown
        assert story.triggers
    story.waits(16 * MINUTE)
    story.expect(Phase.ESCALATED)
    assert len(story.rollbacks) <= 1


def test_kube_system_can_be_named() -> None:
    """A mode rule that names kube-system lifts its protection."""
    rule = ModeRule(mode=Mode.AUTO, namespaces=("kube-system",))
    story = in_kube_system(a_policy(modes=(rule,)))
    assert Reason.PROTECTED not in story.refusals


def test_helm_without_gitops_is_rolled_back() -> None:
    """Helm owns nothing that would write its version back."""
    story = spike(owner=Owner(kind=OwnerKind.HELM, name="shop"))
    assert not story.refusals


def test_restart_with_other_digests_is_no_plain_restart() -> None:
    """The same template that pulled another image is a change."""
    story = spike(new=replace(V2, content=V1.content))
    assert Reason.RESTART_ONLY not in story.refusals


def _new_only(story: Story, errors: float, action: Measure) -> Measurement:
    return a_measurement(story.now, new=errors, old=None)


def test_act_without_control_lifts_no_contrast_only_for_before_and_after() -> None:
    """The setting lets before/after act; timing alone still asks."""
    for measured, refused in ((0.3, False), (0.0, True)):
        story = Story(a_policy(act_without_control=True))
        story.measures = partial(_new_only, story, measured)
        story.proves_v1()
        story.rolls_out()
        story.completes()
        story.now = NOON + 3 * MINUTE
        story.fires()
        assert (Reason.NO_CONTRAST in story.refusals) is refused


def test_cooling_down_ends_when_a_later_revision_is_verified() -> None:
    """After a later revision has proven itself, a bad one may be rolled back by itself again."""
    story = spike()
    story.waits(30 * SECOND)
    story.is_back()
    story.waits(3 * MINUTE)
    story.resolves()
    story.rolls_out(V3, V1, history=(V1, V2, V3))
    story.completes(V3)
    story.waits(20 * MINUTE)
    assert story.verified(V3)
    story.measures = lambda action: a_measurement(story.now)
    v4 = a_revision(4)
    story.rolls_out(v4, V3, history=(V1, V2, V3, v4))
    onset = story.now + STEP
    story.where["f1"] = a_location(onset=onset)
    story.fires(an_alert(starts_at=onset + STEP))
    assert not story.refusals
    story.waits(31 * SECOND)
    assert [act.target for act in story.rollbacks] == [V1, V3]
