"""Could it be rolled back now, and may it still be in the moment before the patch?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.actions import Outcome, OutcomeKind, RollBack
from daemon.core.incidents import Phase
from daemon.core.ledger import ZERO
from daemon.core.model import Mode, Owner, OwnerKind
from daemon.core.protection import Unprotected, unprotected, veto
from daemon.core.reasons import Reason
from daemon.core.soak import NO_SIGNALS
from tests.core.builders import SHOP, V1, a_soak, a_view
from tests.core.story import Story


def why(story: Story) -> Unprotected | None:
    """Why the shop is unprotected."""
    return unprotected(story.state.workloads[SHOP.key], story.state, story.policy, story.now)


def test_a_verified_workload_is_protected() -> None:
    """Armed, verified, nobody's, measured."""
    story = Story()
    story.proves_v1()
    assert why(story) is None


def test_what_is_only_observed_is_not_missed() -> None:
    """In observe nothing would be rolled back anyway."""
    story = Story()
    story.policy = replace(story.policy, default_mode=Mode.OBSERVE)
    story.starts()
    story.sees(a_view(V1))
    assert why(story) is None


def test_each_lack_has_its_reason() -> None:
    """Paused, owned by another controller, nothing verified, nothing to measure by: each says so."""
    story = Story()
    story.proves_v1()
    story.pauses()
    assert why(story) is Unprotected.PAUSED
    story.resumes()
    story.sees(a_view(V1, owner=Owner(kind=OwnerKind.FLUX, name="apps")))
    assert why(story) is Unprotected.OWNED
    story.sees(a_view(V1, owner=Owner(kind=OwnerKind.HELM, name="shop")))
    assert why(story) is None

    mute = Story()
    mute.soaks = lambda action: a_soak(action.since, mute.now, ZERO, quiet=mute.now - action.since, because=NO_SIGNALS)
    mute.policy = replace(mute.policy, soak_low_traffic=mute.policy.soak)
    mute.proves_v1()
    assert why(mute) is Unprotected.NO_SIGNALS

    young = Story()
    young.soaks = lambda action: None
    young.starts()
    young.sees(a_view(V1))
    assert why(young) is Unprotected.NO_VERIFIED_REVISION
    assert all(reason.sentence for reason in Unprotected)


def owed() -> tuple[Story, RollBack]:
    """A rollback that is owed and not carried out."""
    story = Story()
    story.withheld.add(RollBack)
    story.spikes()
    story.waits(story.policy.countdown)
    story.expect(Phase.ROLLING_BACK)
    (action,) = (action for action in story.state.owed.values() if isinstance(action, RollBack))
    return story, action


def test_a_pause_forbids_a_patch_that_was_not_sent() -> None:
    """Between the decision and the patch a person, or a lowered mode, still has the last word."""
    story, action = owed()
    assert veto(action, story.state, story.policy, story.now) is None
    watched = replace(story.policy, default_mode=Mode.OBSERVE)
    assert veto(action, story.state, watched, story.now) == "its mode is observe now"
    story.pauses()
    assert "paused by ann" in str(veto(action, story.state, story.policy, story.now))
    assert veto(story.done[0], story.state, story.policy, story.now) is None, "looking is never forbidden"


@pytest.mark.parametrize(("paused", "reason"), [(True, Reason.PAUSED), (False, Reason.ROLLBACK_FAILED)])
def test_a_vetoed_rollback_is_handed_over(paused: bool, reason: Reason) -> None:
    """The incident goes to a person, saying whether it was the pause."""
    story, _ = owed()
    if paused:
        story.pauses()
    story.withheld.clear()
    story.patches = lambda action: Outcome(kind=OutcomeKind.REFUSED, message="forbidden")
    story.answers()
    story.expect(Phase.ESCALATED, reason)
