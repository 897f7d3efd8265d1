"""A person's rollback: the same proof, guards, dry run and patch; what they may override, they name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.actions import CheckTarget, Page
from daemon.core.asked import verdict
from daemon.core.events import RollbackAsked
from daemon.core.facts import CommandRefused
from daemon.core.guards import GUARDS
from daemon.core.incidents import Ask, Phase, VerdictKind
from daemon.core.ledger import TargetChoice
from daemon.core.measurement import TargetCheck
from daemon.core.model import Mode, Owner, OwnerKind, RevisionId
from daemon.core.reasons import NEVER_OVERRIDDEN, Consequence, Reason, Refusal
from tests.core.builders import (
    CART,
    HOUR,
    MINUTE,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_check,
    a_location,
    a_measurement,
    a_policy,
    a_rollout_view,
    a_view,
    an_alert,
)
from tests.core.story import Story


def out(**changes: Any) -> Story:
    """v2 has been out for five minutes and measures well."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.proves_v1()
    story.rolls_out()
    story.completes(**changes)
    story.now += 5 * MINUTE
    story.measures = lambda action: a_measurement(story.now, new=0.0, old=None)
    return story


def refused(story: Story) -> str:
    """Why the only command was refused."""
    (fact,) = story.of(CommandRefused)
    assert (fact.command, fact.actor) == ("rollback", "ann")
    return str(fact.why)


def test_it_runs_at_once_and_is_watched_until_the_end() -> None:
    """No blame is needed, no countdown: checked, patched, quarantined, verified, and nobody is paged."""
    story = out()
    story.asks(note="bad copy")
    (rollback,) = story.rollbacks
    assert (rollback.blamed, rollback.target) == (V2, V1)
    assert story.incident.approved_by == "ann"
    story.is_back()
    story.waits(5 * MINUTE)
    story.expect(Phase.RECOVERED)
    assert not [told for told in story.told if isinstance(told, Page)]
    assert story.state.workloads[SHOP.key].ledger[V2.id].quarantined_by == story.incident.id
    assert story.replayed() == story.state


def test_what_was_shown_must_still_run() -> None:
    """A newer rollout in between: the person decides anew."""
    story = out()
    story.sees(a_rollout_view(V3, V2, started_at=story.now))
    story.asks()
    assert "not what was shown" in refused(story)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"target": V2.id}, "runs that revision already"),
        ({"target": RevisionId("gone")}, "no revision gone any more"),
        ({"workload": CART.key}, "no workload shop/Deployment/cart is known"),
        ({"overrides": (Reason.PAUSED, Reason.TOO_OLD)}, "paused cannot be overridden"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(changes: dict[str, Any], why: str) -> None:
    """With the reason; nothing opens."""
    story = out()
    values: dict[str, Any] = {"workload": SHOP.key, "current": V2.id, "target": V1.id, "actor": "ann"} | changes
    story.plays(RollbackAsked(at=story.now, **values))
    assert why in refused(story)
    assert story.incidents == ()


def test_an_unproven_target_is_refused_whatever_is_overridden() -> None:
    """The promise of the product holds for people too; nobody is paged for it."""
    story = Story(a_policy())
    story.soaks = lambda action: None
    story.starts()
    story.rolls_out()
    story.asks()
    story.expect(Phase.DISMISSED, Reason.TARGET_NOT_VERIFIED)
    assert story.told == []


def test_a_revision_that_was_never_seen_serving_is_no_target() -> None:
    """Known to the history only: nothing is proven."""
    story = out()
    v0 = replace(V3, id=RevisionId("00hash"), number=0)
    story.completes(history=(v0, V1, V2))
    story.asks(v0)
    story.expect(Phase.DISMISSED, Reason.TARGET_NOT_VERIFIED)
    verdict_ = story.incident.verdict
    assert verdict_ is not None
    assert "never seen serving" in verdict_.rejected[0]


def test_a_refusal_that_may_be_overridden_is_only_by_name() -> None:
    """GitOps owns it: refused; with its reason named, it runs."""
    gitops = {"owner": Owner(kind=OwnerKind.ARGO_CD, name="shop")}
    story = out(**gitops)
    story.asks()
    story.expect(Phase.DISMISSED, Reason.OWNED_BY_GITOPS)
    story.now += MINUTE
    story.asks(overrides=(Reason.OWNED_BY_GITOPS,))
    story.expect(Phase.ROLLING_BACK)


def test_a_pause_and_mode_observe_hold_for_people_too() -> None:
    """Both are switches that somebody set for everybody."""
    story = out()
    story.pauses()
    story.asks()
    story.expect(Phase.DISMISSED, Reason.PAUSED)
    story = out()
    story.policy = a_policy(default_mode=Mode.OBSERVE)
    story.asks()
    story.expect(Phase.DISMISSED, Reason.MODE_OBSERVE)


def test_it_waits_for_the_check_of_the_target_and_gives_up_in_time() -> None:
    """Without a dry run nothing is patched: it is asked again, and at the deadline the request ends."""
    story = out()
    story.checks = lambda action: None
    story.asks()
    story.expect(Phase.OPEN)
    story.waits(11 * MINUTE)
    story.expect(Phase.DISMISSED, Reason.DECIDE_DEADLINE)
    assert story.rollbacks == []


def test_a_target_that_cannot_be_deployed_is_refused() -> None:
    """The dry run speaks for itself."""
    story = out()

    def gone(action: CheckTarget) -> TargetCheck:
        return replace(a_check(action.target), exists=False)

    story.checks = gone
    story.asks()
    story.expect(Phase.DISMISSED, Reason.TARGET_GONE)


def test_no_second_request_beside_the_first() -> None:
    """While one is looked into or carried out, another is told so."""
    story = out()
    story.withheld.add(CheckTarget)
    story.asks()
    story.asks()
    assert "looks into the same request of ann" in refused(story)
    story = out()
    story.asks()
    story.asks()
    assert "is rolling it back already" in refused(story)


def test_what_is_proposed_already_is_to_be_approved() -> None:
    """One road for one rollback."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    story.expect(Phase.PROPOSED)
    story.asks()
    assert "approve it" in refused(story)


def test_it_supersedes_what_was_proposed_otherwise() -> None:
    """A person who wants another revision than the proposed one gets it; the proposal ends."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.waits(30 * MINUTE)
    story.rolls_out(V3, V2)
    story.now += MINUTE
    story.where["f1"] = a_location(onset=story.now - STEP)
    story.fires(an_alert(starts_at=story.now))
    story.expect(Phase.PROPOSED)
    assert story.incident.target == V2
    story.asks(V1, V3)
    (rollback,) = story.rollbacks
    assert rollback.target == V1


def test_a_first_rollout_without_a_known_predecessor_can_be_asked_about() -> None:
    """Who asks has judged: it needs no predecessor, only a proven target."""
    story = out()
    assert story.state.workloads[SHOP.key].rollout is not None
    story.now += 3 * HOUR
    story.asks(overrides=(Reason.TOO_OLD,))
    story.expect(Phase.ROLLING_BACK)


def test_what_cannot_be_overridden_is_said_in_one_place_and_by_every_guard() -> None:
    """The list for people's requests and the guards' own word agree."""
    ask = Ask(actor="ann", current=V2.id, target=V1.id, overrides=tuple(Reason))
    choice = TargetChoice(target=None, skipped=(), rejected=())
    for reason in NEVER_OVERRIDDEN:
        said = Refusal(reason=reason, consequence=Consequence.ESCALATE, seen="", needed="", overridable=False)
        assert verdict((said,), choice, ask).kind is VerdictKind.ESCALATE
    assert len(GUARDS) > len(NEVER_OVERRIDDEN)


def test_incidents_of_other_workloads_do_not_stand_in_the_way() -> None:
    """An open incident elsewhere is none of this request's business."""
    story = out()
    story.sees(a_rollout_view(V2, V1, workload=CART, started_at=story.now))
    story.now += MINUTE
    story.declares(workload=CART.key)
    story.asks()
    story.expect(Phase.ROLLING_BACK)


def test_a_revision_that_served_without_being_proven_is_no_target() -> None:
    """Seen serving is not proven, and a quarantined one has lost it."""
    story = Story(a_policy())
    story.soaks = lambda action: None
    story.starts()
    story.sees(a_view(V1))
    story.rolls_out()
    story.asks()
    story.expect(Phase.DISMISSED, Reason.TARGET_NOT_VERIFIED)
    assert story.rollbacks == []


def test_one_override_is_not_all() -> None:
    """Who takes one refusal upon themselves has not seen another."""
    story = out(owner=Owner(kind=OwnerKind.ARGO_CD, name="shop"), irreversible=True)
    story.asks(overrides=(Reason.OWNED_BY_GITOPS,))
    story.expect(Phase.DISMISSED, Reason.IRREVERSIBLE)
    assert story.rollbacks == []
