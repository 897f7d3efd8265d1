"""A proposal that others wait on is looked at on: what was open may be settled, and another candidate may come to lead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.core.actions import CheckTarget, Measure
from daemon.core.facts import Proposed
from daemon.core.incidents import Phase
from daemon.core.measurement import Measurement
from daemon.core.model import Mode, Neighbour, RevisionId, Workload
from daemon.core.reasons import Consequence, Reason
from tests.core.builders import (
    CART,
    FINGERPRINT,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    a_check,
    a_location,
    a_measurement,
    a_policy,
    a_rollout_view,
    a_start_failure,
    a_view,
    an_alert,
    pods_of,
    samples,
)
from tests.core.story import Story

FRONT = Workload(namespace="shop", kind="Deployment", name="front")
CALLED = Neighbour(workload=SHOP, hops=1, called=True)
CART_1, CART_2 = (
    replace(each, id=RevisionId(f"cart-{each.id}"), uid=f"cart-{each.uid}", replica_set=f"cart-{each.number}")
    for each in (V1, V2)
)
GATHERED = 3 * STEP


def opened(**policy: Any) -> Story:
    """The shop's v2 is fine at home, its caller hurts; it could be the cart as well, which is further away."""
    story = prepared(**policy)
    story.fires()
    return story


def prepared(**policy: Any) -> Story:
    """The same before the alert."""
    story = Story(a_policy(**policy))
    story.proves_v1()
    story.sees(a_view(workload=CART, uid="uid-cart", current=CART_1, history=(CART_1,), pods=(pods_of(CART_1),)))
    story.waits(0 * SECOND)
    story.sees(a_view(workload=FRONT, uid="uid-front", current=replace(V1, uid="rs-front")))
    story.rolls_out()
    story.measures = lambda _: a_measurement(story.now, new=0.001)
    near = (CALLED, replace(CALLED, workload=CART, hops=2))
    story.where[FINGERPRINT] = replace(a_location(FRONT), neighbours=near)
    return story


def asked(**policy: Any) -> Story:
    """By timing alone a person is asked about the shop."""
    story = opened(**policy)
    story.waits(GATHERED)
    story.expect(Phase.PROPOSED, Reason.BLAMED_TIMING)
    assert Reason.NO_CONTRAST in story.incident.shown
    return story


def proposals(story: Story) -> list[tuple[Workload, bool]]:
    """What was proposed, one after the other: the workload, and whether it goes by itself."""
    return [(fact.workload, fact.countdown_until is not None) for fact in story.of(Proposed)]


# -- what was open is settled


def test_what_a_person_had_to_confirm_may_be_settled_by_what_is_known_later() -> None:
    """A contrast shows after the proposal: it is proposed anew with a countdown, and goes by itself."""
    story = asked()
    story.waits(2 * STEP)
    assert proposals(story) == [(SHOP, False)], "nothing new, nothing is proposed again"
    story.measures = lambda _: a_measurement(story.now)
    story.waits(STEP)
    assert proposals(story) == [(SHOP, False), (SHOP, True)]
    assert (story.incident.shown, story.rollbacks) == ((), [])
    assert story.incident.countdown_until == story.of(Proposed)[-1].at + story.policy.countdown
    story.waits(story.policy.countdown)
    assert [(action.workload, action.target.id) for action in story.rollbacks] == [(SHOP, V1.id)]
    assert story.incident.approved_by is None
    assert proposals(story) == [(SHOP, False), (SHOP, True)], "the last look is no new proposal"


def test_what_a_person_must_confirm_in_any_case_stays_with_the_person() -> None:
    """In `approve` the contrast settles one question, and the mode remains one."""
    story = asked(default_mode=Mode.APPROVE)
    story.measures = lambda _: a_measurement(story.now)
    story.waits(3 * MINUTE)
    story.expect(Phase.PROPOSED)
    assert proposals(story) == [(SHOP, False)]
    assert story.rollbacks == []
    story.approves()
    assert len(story.rollbacks) == 1


def test_what_a_person_approved_is_not_proposed_anew() -> None:
    """The approval comes just before the contrast: it goes at once, without a countdown."""
    story = asked()
    story.measures = lambda _: a_measurement(story.now)
    story.approves()
    assert proposals(story) == [(SHOP, False)]
    assert len(story.rollbacks) == 1


# -- another candidate leads


def cart_cannot_start(story: Story) -> None:
    """The cart's v2 went out at the same time as the shop's, and its pods crash."""
    story.sees(
        a_rollout_view(
            CART_2,
            CART_1,
            workload=CART,
            uid="uid-cart",
            history=(CART_1, CART_2),
            started_at=NOON,
            pods=(pods_of(CART_1, 2), pods_of(CART_2, 1, ready=0)),
            start_failure=a_start_failure(),
        )
    )


def looked_at(story: Story, kind: type[Measure | CheckTarget]) -> list[str]:
    """Whom the incident looked at, one after the other."""
    return [action.workload.name for action in story.done if isinstance(action, kind) and action.incident]


def test_before_a_decision_the_one_that_leads_is_measured() -> None:
    """The shop that the front calls, while it is open and when it is proposed; once the cart leads, the cart, in both."""
    story = asked()
    story.waits(STEP)
    assert set(looked_at(story, Measure)) == set(looked_at(story, CheckTarget)) == {"checkout"}
    other = opened()
    cart_cannot_start(other)
    other.checks = lambda action: None if action.workload == CART else a_check(action.target)
    other.measures = lambda action: _of(other, action)
    other.waits(2 * STEP)
    other.expect(Phase.OPEN)
    assert other.incident.suspect == CART
    assert (looked_at(other, Measure)[0], looked_at(other, Measure)[-1]) == ("checkout", "cart")
    assert looked_at(other, CheckTarget)[-1] == "cart"


@pytest.mark.parametrize(
    "found", [{"no_way": "others own it"}, {"may_patch": False}], ids=["out of reach", "no permission"]
)
def test_what_a_check_found_of_one_says_nothing_of_another(found: dict[str, Any]) -> None:
    """The shop could not be rolled back; the cart, which leads when that is known, is checked by itself, and is."""
    story = prepared()
    cart_cannot_start(story)
    story.checks = lambda action: a_check(action.target, **(found if action.workload == SHOP else {}))
    story.measures = lambda action: _of(story, action)
    story.fires()
    assert looked_at(story, CheckTarget) == ["checkout"]
    story.expect_refused(Reason.TARGET_UNCHECKED, Consequence.HOLD)
    story.waits(STEP)
    assert looked_at(story, CheckTarget)[-1] == "cart"
    assert [action.workload for action in story.rollbacks] == [CART]


def test_a_proposal_whose_leader_changes_is_about_the_new_one() -> None:
    """The cart cannot start: it is measured and its target checked before it is rolled back; the shop never is."""
    story = asked()
    known = len(looked_at(story, CheckTarget))
    cart_cannot_start(story)
    story.measures = lambda action: _of(story, action)
    story.waits(STEP)
    story.expect_refused(Reason.TARGET_UNCHECKED, Consequence.HOLD)
    assert proposals(story) == [(SHOP, False)], "what was measured and checked was the shop"
    story.waits(STEP)
    assert looked_at(story, CheckTarget)[known:] == ["checkout", "cart"]
    assert looked_at(story, Measure)[-1] == "cart"
    assert [(action.workload, action.target.id) for action in story.rollbacks] == [(CART, CART_1.id)]
    assert story.incident.suspect == CART


def test_once_approved_the_one_that_was_proposed_is_measured() -> None:
    """Another one leads at the last look; the approval is of the shop, so the shop is looked at, and nothing is rolled back."""
    story = asked()
    cart_cannot_start(story)
    story.measures = lambda action: _of(story, action)
    story.waits(STEP)
    story.approves()
    assert (looked_at(story, Measure)[-1], looked_at(story, CheckTarget)[-1]) == ("checkout", "checkout")
    assert story.rollbacks == []
    story.expect(Phase.PROPOSED)


def test_who_asked_for_a_rollback_has_said_whom_to_measure() -> None:
    """The shop is asked for, whoever leads."""
    story = asked()
    story.declines()
    cart_cannot_start(story)
    story.asks()
    assert looked_at(story, Measure)[-1] == "checkout"
    assert [action.workload for action in story.rollbacks] == [SHOP]


def _of(story: Story, action: Measure) -> Measurement:
    if action.workload == CART:
        return a_measurement(story.now, new=None, old=None, new_ready=0, start_failure=a_start_failure())
    return a_measurement(story.now, new=0.001)


# -- pods that are never heard


@pytest.mark.parametrize(("elsewhere", "rolled"), [(False, 1), (True, 0)])
def test_pods_that_are_never_heard_are_rolled_back_where_only_their_callers_hurt(elsewhere: bool, rolled: int) -> None:
    """The old ones answer, the new ones say nothing, the front hurts; what hurts elsewhere, too, is put to a person."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.measures = lambda _: replace(
        a_measurement(story.now, new=None, new_pods=2, new_ready=2), old=samples(0.001, until=story.now, count=6)
    )
    story.where[FINGERPRINT] = replace(a_location(FRONT), neighbours=(CALLED,))
    story.where["f2"] = replace(a_location(CART), neighbours=(replace(CALLED, called=False),))
    story.fires(an_alert(), *([an_alert("f2")] if elsewhere else []))
    story.completes()
    story.waits(8 * MINUTE)
    assert len(story.rollbacks) == rolled
    names = {term.name for term in story.incidents[0].suspicions[0].terms}
    assert ("silence" in names, "unheard" in names) == (not elsewhere, elsewhere)


@pytest.mark.parametrize(
    ("away", "again", "rolled"),
    [(timedelta(0), False, 0), (timedelta(minutes=30), False, 1), (timedelta(0), True, 1)],
    ids=["at the same time", "long before", "gone by now"],
)
def test_what_hurts_where_nobody_is_to_blame_counts_as_much(away: timedelta, again: bool, rolled: int) -> None:
    """A place without a candidate is dismissed at once, and still tells of another cause: while it fires, and began with it."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.measures = lambda _: replace(
        a_measurement(story.now, new=None, new_pods=2, new_ready=2), old=samples(0.001, until=story.now, count=6)
    )
    located = a_location(CART)
    story.where["f2"] = replace(located, onset=located.onset - away)
    story.where[FINGERPRINT] = replace(a_location(FRONT), neighbours=(CALLED,))
    story.fires(an_alert("f2"))
    if again:
        story.resolves(an_alert("f2"))
    story.fires(an_alert())
    story.completes()
    story.waits(8 * MINUTE)
    assert len(story.rollbacks) == rolled
