"""Flagger asks whether to roll a canary back: yes only to what was decided, about the very revision under analysis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.canary import CanaryAnswer, must_roll_back
from daemon.core.incidents import Incident, Phase
from daemon.core.model import Mode, Owner, OwnerKind, Workload
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.state import State
from tests.core.builders import (
    CART,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    V1,
    V2,
    V3,
    a_measurement,
    a_policy,
    a_revision,
    a_start_failure,
)
from tests.core.story import Story

FLAGGER = Owner(kind=OwnerKind.OPERATOR, name="Flagger Canary/checkout", drives=True)
CRASHING = {"start_failure": a_start_failure(), "new": None, "old": None, "new_ready": 1, "new_pods": 3}
PRIMARY = Workload(namespace="shop", kind="Deployment", name="checkout-primary")


def asked(story: Story, policy: Policy | None = None, target: Workload = SHOP) -> CanaryAnswer:
    return must_roll_back(story.state, policy or story.policy, target, story.now)


def proposed(mode: Mode = Mode.APPROVE, **changes: Any) -> Story:
    """v2 is blamed and its rollback proposed."""
    story = Story(policy=a_policy(default_mode=mode, **changes))
    story.spikes()
    story.expect(Phase.PROPOSED)
    return story


def with_incident(story: Story, **changes: Any) -> State:
    """The story's state with its incident changed."""
    incident: Incident = replace(story.incident, **changes)
    return replace(story.state, incidents={incident.id: incident})


def answer(state: State, mode: Mode = Mode.APPROVE) -> bool:
    return must_roll_back(state, a_policy(default_mode=mode), SHOP, NOON + 5 * MINUTE).roll_back


def test_nothing_known() -> None:
    """A workload that was never seen, or that is gone."""
    story = Story()
    story.proves_v1()
    found = asked(story, target=CART)
    assert found == CanaryAnswer(roll_back=False, reason="shop/Deployment/cart is not known here")
    tracked = story.state.workloads[SHOP.key]
    state = replace(story.state, workloads={SHOP.key: replace(tracked, view=replace(tracked.view, gone=True))})
    assert not must_roll_back(state, story.policy, SHOP, story.now).roll_back


def test_nothing_wrong() -> None:
    """A rollout that nobody complains about goes on, also one whose revision has no entry in the ledger."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    found = asked(story)
    assert found == CanaryAnswer(
        roll_back=False, reason="no open incident blames checkout:v2 (22hash), and it is not quarantined"
    )
    tracked = replace(story.state.workloads[SHOP.key], ledger={})
    assert not answer(replace(story.state, workloads={SHOP.key: tracked}))


def test_a_symptom_without_blame() -> None:
    """An incident that is still measuring blames nobody: no."""
    story = Story(policy=a_policy(default_mode=Mode.AUTO))
    story.proves_v1()
    story.rolls_out()
    story.measures = lambda action: None
    story.fires()
    story.expect(Phase.OPEN)
    assert not asked(story).roll_back


def test_a_proposal_waits_for_a_person() -> None:
    """Proposed is not decided; approved is, until the rollback is carried out."""
    story = proposed()
    found = asked(story)
    assert found.reason == f"{story.incident.id} is proposed: a rollback of checkout:v2 (22hash) is not decided"
    assert not found.roll_back
    story.measures = lambda action: None  # the last look is under way
    story.approves()
    story.expect(Phase.PROPOSED)
    found = asked(story)
    assert found == CanaryAnswer(
        roll_back=True, reason=f"{story.incident.id} is proposed and blames checkout:v2 (22hash)"
    )
    story.waits(20 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.APPROVE_DEADLINE)
    assert not asked(story).roll_back


def test_a_countdown_is_no_decision_before_it_is_over() -> None:
    """In `auto` a person may decline until then; what asks for a person never runs out by itself."""
    story = proposed(Mode.AUTO, countdown=MINUTE)
    assert not asked(story).roll_back
    story.measures = lambda action: None  # the last look is under way
    story.waits(MINUTE + SECOND)
    assert asked(story).roll_back
    assert not asked(story, a_policy(default_mode=Mode.APPROVE)).roll_back, "the mode was lowered since"
    assert not answer(with_incident(story, shown=(Reason.PROOF_OLD,)), Mode.AUTO)


def test_declined() -> None:
    """A person said no."""
    story = proposed()
    story.declines()
    assert not asked(story).roll_back


def test_our_own_rollback_is_under_way() -> None:
    """Until the cluster shows the old template it is the bad one that Flagger analyses; then it is the good one."""
    story = proposed()
    rolling = with_incident(story, phase=Phase.ROLLING_BACK)
    assert answer(rolling)
    assert answer(rolling, Mode.AUTO)
    tracked = story.state.workloads[SHOP.key]
    back = replace(rolling, workloads={SHOP.key: replace(tracked, view=replace(tracked.view, current=V1))})
    assert not answer(back)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in (Phase.ROLLING_BACK, Phase.PROPOSED)])
def test_every_other_phase_says_no(phase: Phase) -> None:
    """Before the decision and after it there is nothing to do now, approved or not."""
    assert not answer(with_incident(proposed(), phase=phase, approved_by="ann"))


@pytest.mark.parametrize(
    "changes",
    [{"suspect": CART}, {"blamed": V3}, {"blamed": None}, {"suspect": None}, {"suspect": PRIMARY, "blamed": V1}],
)
def test_another_workload_or_revision_is_not_this_one(changes: dict[str, Any]) -> None:
    """A decision about v3, about the cart, or about what the primary runs says nothing of the canary's v2."""
    story = proposed()
    assert answer(with_incident(story, phase=Phase.ROLLING_BACK))
    assert not answer(with_incident(story, phase=Phase.ROLLING_BACK, **changes))


@pytest.mark.parametrize(
    ("images", "digests", "same"),
    [
        (V2.images, V2.digests, True),
        ((), V2.digests, True),
        (V2.images, ("sha256:9",), False),
        (V2.images, (), True),
        (("registry.example/checkout:v9",), (), False),
        ((), (), False),
    ],
)
def test_the_same_build_in_the_primary(images: tuple[str, ...], digests: tuple[str, ...], same: bool) -> None:
    """The primary's template hashes otherwise; its digests, else its images, tell whether it is the canary's build."""
    blamed = a_revision(7, images=images, digests=digests)
    story = proposed()
    assert answer(with_incident(story, phase=Phase.ROLLING_BACK, suspect=PRIMARY, blamed=blamed)) is same


def driven(**measured: Any) -> Story:
    """v2 is blamed, and Flagger drives the workload: a person is paged."""
    story = Story(policy=a_policy(default_mode=Mode.AUTO))
    story.measures = lambda action: a_measurement(story.now, **measured)
    story.spikes(owner=FLAGGER)
    story.expect(Phase.ESCALATED)
    story.expect_refused(Reason.OWNED_BY_OPERATOR, Consequence.ESCALATE)
    return story


def test_what_only_flagger_may_roll_back() -> None:
    """Handed over because Flagger drives it, and for nothing else: yes, once our countdown would be over."""
    story = driven()
    assert not asked(story).roll_back
    story.waits(story.policy.countdown)
    found = asked(story)
    assert found == CanaryAnswer(
        roll_back=True, reason=f"{story.incident.id} blames checkout:v2 (22hash), which only Flagger may roll back"
    )
    assert not asked(story, a_policy(default_mode=Mode.APPROVE)).roll_back, "a person would have to approve"
    story.pauses("shop")
    assert not asked(story).roll_back
    story.resumes("shop")
    story.closes()
    assert not asked(story).roll_back


def test_what_cannot_start_is_left_to_flagger_at_once() -> None:
    """As our own rollback of it would have no countdown. That nothing is proven here is no matter: Flagger has its primary."""
    failing = driven(**CRASHING)
    assert asked(failing).roll_back
    verdict = failing.incident.verdict
    assert verdict is not None
    for reason in (Reason.TARGET_NOT_VERIFIED, Reason.NO_PERMISSION, Reason.PROOF_OLD):
        assert asked_with(failing, verdict=replace(verdict, refusals=(*verdict.refusals, a_refusal(reason))))


@pytest.mark.parametrize(
    "reason", [Reason.COMMON_CAUSE, Reason.NO_CONTRAST, Reason.CONFIG_CHANGED, Reason.IRREVERSIBLE, Reason.TOO_OLD]
)
def test_whatever_else_speaks_against_it_stays_a_no(reason: Reason) -> None:
    """Flagger's rollback would be as wrong as ours."""
    story = driven(**CRASHING)
    verdict = story.incident.verdict
    assert verdict is not None
    assert not asked_with(story, verdict=replace(verdict, refusals=(*verdict.refusals, a_refusal(reason))))


def test_escalated_without_flagger() -> None:
    """Nothing is left to Flagger where it drives nothing, nobody is blamed, or nothing was judged."""
    story = driven(**CRASHING)
    verdict = story.incident.verdict
    assert verdict is not None
    unproven = (a_refusal(Reason.TARGET_NOT_VERIFIED),)
    assert not asked_with(story, verdict=replace(verdict, refusals=unproven))
    assert not asked_with(story, verdict=replace(verdict, blames=False))
    assert not asked_with(story, verdict=None)


def asked_with(story: Story, **changes: Any) -> bool:
    return must_roll_back(with_incident(story, **changes), story.policy, SHOP, story.now).roll_back


def a_refusal(reason: Reason) -> Refusal:
    return Refusal(reason=reason, consequence=Consequence.ESCALATE, seen="this", needed="that")


def quarantined(mode: Mode = Mode.AUTO) -> Story:
    """v2 was rolled back, and somebody rolls it out again."""
    story = Story(policy=a_policy(default_mode=mode))
    story.spikes()
    if mode is Mode.APPROVE:
        story.approves()
    story.waits(40 * SECOND)
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    story.resolves()
    story.rolls_out()
    return story


@pytest.mark.parametrize("mode", [Mode.APPROVE, Mode.AUTO])
def test_what_was_rolled_back_is_turned_away(mode: Mode) -> None:
    """At once, without a new incident; `release` takes it back."""
    story = quarantined(mode)
    found = asked(story)
    assert (found.roll_back, "is quarantined by" in found.reason) == (True, True)
    story.releases()
    assert not asked(story).roll_back


@pytest.mark.parametrize("scope", ["", "shop", "shop/checkout", "shop/checkout-primary"])
def test_never_while_paused(scope: str) -> None:
    """Not even for what is quarantined: everything, the namespace, the target or its primary."""
    story = quarantined()
    assert asked(story).roll_back
    story.pauses(scope)
    found = asked(story)
    assert (found.roll_back, "paused by ann" in found.reason) == (False, True)


def test_never_in_observe() -> None:
    """Flagger would act where we must not: by policy, or by the workload's own annotation."""
    story = quarantined()
    assert asked(story, a_policy(default_mode=Mode.OBSERVE)) == CanaryAnswer(
        roll_back=False, reason="its mode is observe"
    )
    tracked = story.state.workloads[SHOP.key]
    view = replace(tracked.view, mode=Mode.OBSERVE)
    assert not answer(replace(story.state, workloads={SHOP.key: replace(tracked, view=view)}), Mode.AUTO)
    rolling = with_incident(proposed(), phase=Phase.ROLLING_BACK)
    assert not answer(rolling, Mode.OBSERVE)
