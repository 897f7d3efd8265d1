"""A controller that a rollback suspended goes on again: at its end, at once where nothing was rolled back, and once told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.core import owners, suspensions
from daemon.core.actions import (
    Announce,
    EndSuspension,
    Outcome,
    OutcomeKind,
    RollBack,
    RolledBack,
    StaysSuspended,
    Superseded,
)
from daemon.core.briefs import commands
from daemon.core.incidents import Phase
from daemon.core.model import ActionId, Mode, Owner, OwnerKind
from daemon.core.policy import GitOps, GitOpsRule
from daemon.core.reasons import Reason
from tests.core.builders import MINUTE, NOON, SHOP, V1, V2, a_policy, a_recovery, a_revision, a_rollout_view
from tests.core.story import Story, done, failed
from tests.core.test_notices import a_notice, hears

FLUX = Owner(kind=OwnerKind.FLUX, name="Kustomization flux-system/shop")
KEY = suspensions.key_of(FLUX)
POLICY = a_policy(gitops=(GitOpsRule(do=GitOps.FLUX_SUSPEND),))
AGAIN = "Kustomization flux-system/shop is reconciled again."


def suspended(outcome: Outcome | None = None, **changes: Any) -> Story:
    """A rollback went around Flux, and came to this outcome (it worked)."""
    story = Story(replace(POLICY, **changes))
    story.going_on = done_saying(AGAIN)
    if outcome is not None:
        story.patches = lambda action: outcome
    story.spikes(owner=FLUX)
    story.waits(story.policy.countdown)
    return story


def done_saying(message: str, kind: OutcomeKind = OutcomeKind.DONE) -> Outcome:
    return Outcome(kind=kind, message=message)


def updates(story: Story) -> list[str]:
    return [told.brief.update for told in story.told if isinstance(told, Announce)]


def ends(story: Story) -> list[EndSuspension]:
    return [action for action in story.done if isinstance(action, EndSuspension)]


def test_it_goes_on_at_its_end_and_recovers_before() -> None:
    """Rolling back, verifying, recovered, as ever; the controller goes on when the policy says, and that is announced."""
    story = suspended()
    (action,) = story.rollbacks
    assert action.suspend_until is not None
    assert story.state.suspensions[KEY].due == action.suspend_until
    story.measures = lambda action: a_recovery(story.now)
    story.sees(
        a_rollout_view(V1, V2, started_at=story.now, generation=99, action_id=action.id, owner=FLUX, history=(V1, V2))
    )
    story.completes(V1, generation=99, action_id=action.id, owner=FLUX)
    story.resolves()
    story.waits(story.policy.hold + 5 * MINUTE)
    assert story.incident.phase is Phase.RECOVERED
    assert not ends(story)
    story.waits(action.suspend_until - story.now - timedelta(seconds=1))
    assert not ends(story)
    story.waits(timedelta(seconds=1))
    (end,) = ends(story)
    assert (end.owner, end.way, end.workload) == (FLUX, GitOps.FLUX_SUSPEND, SHOP)
    assert not story.state.suspensions
    assert updates(story)[-1] == f"{AGAIN} A source that still names the bad revision brings it back now."


@pytest.mark.parametrize(
    "outcome",
    [
        failed(),
        Outcome(kind=OutcomeKind.REFUSED, message="paused"),
        Outcome(kind=OutcomeKind.REFUSED, result=Superseded(revision=V2.id)),
    ],
)
def test_what_was_not_rolled_back_is_not_held(outcome: Outcome) -> None:
    """Refused, failed or superseded: the controller goes on at once."""
    story = suspended(outcome)
    assert len(ends(story)) == 1
    assert not story.state.suspensions


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(kind=OutcomeKind.UNKNOWN, message="given up"),
        Outcome(kind=OutcomeKind.FAILED, result=StaysSuspended(), message="another template runs"),
    ],
)
def test_what_may_have_changed_something_is_held(outcome: Outcome) -> None:
    """Where something was, or may have been, rolled back: to go on now would change even more. It ends as announced."""
    story = suspended(outcome)
    assert not ends(story)
    story.waits(story.policy.suspend_for)
    assert len(ends(story)) == 1


def test_an_end_that_fails_is_told_and_tried_again() -> None:
    """A suspension never stays for ever in silence."""
    story = suspended()
    story.going_on = failed("403: may not patch")
    story.waits(story.policy.suspend_for)
    assert updates(story)[-1] == "403: may not patch"
    assert len(ends(story)) == 1
    story.going_on = done_saying(AGAIN)
    story.waits(suspensions.END_AGAIN)
    first, second = ends(story)
    assert first.id != second.id
    assert not story.state.suspensions


def test_what_a_person_changed_is_left_and_told() -> None:
    """REFUSED is an end too: the object is a person's now."""
    story = suspended()
    story.going_on = done_saying("left as it is", OutcomeKind.REFUSED)
    story.waits(story.policy.suspend_for)
    assert updates(story)[-1] == "left as it is"
    assert not story.state.suspensions


def test_the_commit_to_revert_is_told() -> None:
    """Where a pipeline named the commit, its revert is told with the end."""
    story = Story(POLICY)
    story.going_on = done_saying(AGAIN)
    story.proves_v1(owner=FLUX)
    story.rolls_out(owner=FLUX)
    hears(story, a_notice(commit="1234567890abcdef"))
    story.now += MINUTE
    story.fires()
    story.waits(2 * MINUTE)
    assert story.rollbacks, story.incident
    story.resolves()
    story.is_back(owner=FLUX)
    story.waits(story.policy.hold + 5 * MINUTE)
    story.expect(Phase.RECOVERED)
    assert "git revert --no-edit 1234567890abcdef" in story.announcements[-1].brief.commands
    story.waits(story.policy.suspend_for)
    assert "git revert --no-edit 1234567890abcdef" not in story.announcements[-1].brief.commands
    assert updates(story)[-1].endswith("`git revert --no-edit 1234567890abcdef` takes it back.")


def test_nothing_to_end_is_no_news() -> None:
    """A rollback that was refused before it suspended anybody announces no end."""
    story = Story(POLICY)
    story.patches = lambda action: failed()
    story.spikes(owner=FLUX)
    story.waits(story.policy.countdown)
    assert len(ends(story)) == 1
    assert not any("reconciled" in update for update in updates(story))


def an_action(name: str, **changes: Any) -> RollBack:
    """A rollback around Flux, held for an hour from NOON."""
    (action,) = suspended().rollbacks
    values: dict[str, Any] = {"id": ActionId(name), "suspend_until": NOON + timedelta(hours=1)}
    return replace(action, **(values | changes))


def test_two_rollbacks_hold_one_controller() -> None:
    """It goes on when the later one lets it; the failure of one of them does not end the other's suspension."""
    first = an_action("a")
    second = an_action("b", suspend_until=NOON + timedelta(hours=2))
    both = suspensions.held(suspensions.held(None, first), second)
    assert both is not None
    assert both.due == second.suspend_until
    assert suspensions.kept(both, second, failed(), NOON).due == first.suspend_until
    patched = done(RolledBack(generation=1, patched_at=NOON))
    assert suspensions.kept(both, first, patched, NOON) == both
    alone = suspensions.ended(suspensions.ending(both), done(), NOON + timedelta(hours=1))
    assert alone is not None
    assert (alone.due, [hold.action for hold in alone.holds]) == (second.suspend_until, ["b"])
    assert suspensions.ended(alone, done(), NOON + timedelta(hours=2)) is None


def test_the_revert_is_shown_by_the_incident_that_suspended() -> None:
    """Another incident that recovered while the controller is suspended names no revert: its rollback needs none."""
    story = suspended()
    other = replace(story.incident, phase=Phase.RECOVERED, roll_back=ActionId("inc-9/roll_back"))
    assert not any(command.startswith("git revert") for command in commands(other, story.state))


def test_a_plain_rollback_holds_nobody() -> None:
    """Without a way nothing is suspended."""
    assert suspensions.held(None, an_action("a", way=None)) is None


def test_where_the_target_came_from_is_named() -> None:
    """The commit and the moment of the rollout that brought the target, as the journal has them."""
    story = suspended()
    (action,) = story.rollbacks
    past = story.state.workloads[SHOP.key].past
    assert action.target_since == past[-1].started_at
    tracked = story.state.workloads[SHOP.key]
    assert owners.brought(tracked, V2) == {}


def test_an_end_outlives_its_incident() -> None:
    """An incident that nobody remembers any more has no thread; the controller goes on all the same."""
    story = suspended()
    story.state = replace(story.state, incidents={})
    story.waits(story.policy.suspend_for)
    assert len(ends(story)) == 1
    assert not story.state.suspensions


ARGO = Owner(kind=OwnerKind.ARGO_CD, name="shop")
V3 = a_revision(3)
STAYS = Outcome(kind=OutcomeKind.FAILED, result=StaysSuspended(), message="it runs another revision now")


def around_argo() -> Story:
    """A rollback around Argo CD is under way, and the cluster shows a revision that is neither blamed nor the target."""
    story = Story(a_policy(gitops=(GitOpsRule(do=GitOps.ARGOCD_ROLLBACK),)))
    story.patches = lambda action: None
    story.spikes(owner=ARGO)
    story.waits(story.policy.countdown)
    assert story.rollbacks
    story.sees(a_rollout_view(V3, V2, started_at=story.now, generation=99, owner=ARGO, history=(V1, V2, V3)))
    story.expect(Phase.ROLLING_BACK)
    return story


@pytest.mark.parametrize(
    ("outcome", "phase", "reason"),
    [
        (STAYS, Phase.ESCALATED, Reason.ROLLBACK_FAILED),
        (Outcome(kind=OutcomeKind.REFUSED, result=Superseded(revision=V3.id)), Phase.SUPERSEDED, Reason.SUPERSEDED),
        (done(RolledBack(generation=98, patched_at=NOON)), Phase.SUPERSEDED, Reason.SUPERSEDED),
    ],
)
def test_what_argo_cd_wrote_its_outcome_tells(outcome: Outcome, phase: Phase, reason: Reason) -> None:
    """Another revision may be what the entry really held, or a newer rollout: only who asked Argo CD for it can tell."""
    story = around_argo()
    story.patches = lambda action: outcome
    story.withheld.clear()
    story.answers()
    story.expect(phase, reason)
    assert bool(story.state.suspensions) == (outcome.kind is not OutcomeKind.REFUSED)


@pytest.mark.parametrize(
    ("owner", "way", "words"),
    [
        (ARGO, GitOps.ARGOCD_ROLLBACK, "All of Argo CD application shop goes back with it, and its auto-sync is off"),
        (FLUX, GitOps.FLUX_SUSPEND, "Kustomization flux-system/shop is suspended for it until an end"),
        (None, GitOps.FLUX_SUSPEND, ""),
    ],
)
def test_whoever_approves_knows_what_else_changes(owner: Owner | None, way: GitOps, words: str) -> None:
    """A rollback that suspends a controller says so when it is proposed."""
    story = Story(a_policy(default_mode=Mode.APPROVE, gitops=(GitOpsRule(do=way),)))
    story.spikes(owner=owner)
    story.waits(story.policy.decide_deadline / 2)
    story.expect(Phase.PROPOSED)
    (proposed,) = updates(story)
    assert words in proposed
    assert bool(words) == (proposed != Reason.BLAMED_CONTRAST.sentence)
