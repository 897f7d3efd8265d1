"""What is done about a workload that a controller owns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core import owners
from daemon.core.model import Owner, OwnerKind
from daemon.core.policy import GitOps, GitOpsRule
from daemon.core.reasons import Reason
from tests.core.builders import V1, V3, a_policy, a_view
from tests.core.story import Story

ARGO = Owner(kind=OwnerKind.ARGO_CD, name="shop")
FLUX = Owner(kind=OwnerKind.FLUX, name="Kustomization flux-system/shop")
OPERATOR = Owner(kind=OwnerKind.OPERATOR, name="Shop/a")
POLICY = a_policy()


def test_only_an_owner_that_writes_back_is_in_the_way() -> None:
    """Nobody, Helm, and an Application without self-heal leave a rollback alone; the others do not."""
    assert not owners.is_in_the_way(POLICY, a_view(V1))
    assert not owners.is_in_the_way(POLICY, a_view(V1, owner=Owner(kind=OwnerKind.HELM, name="shop/shop")))
    assert not owners.is_in_the_way(POLICY, a_view(V1, owner=ARGO, owner_yields=True))
    for owner in (ARGO, FLUX, OPERATOR):
        assert owners.is_in_the_way(POLICY, a_view(V1, owner=owner))


@pytest.mark.parametrize(
    ("do", "owner", "way"),
    [
        (GitOps.ARGOCD_ROLLBACK, ARGO, GitOps.ARGOCD_ROLLBACK),
        (GitOps.FLUX_SUSPEND, FLUX, GitOps.FLUX_SUSPEND),
        (GitOps.ARGOCD_ROLLBACK, FLUX, None),
        (GitOps.FLUX_SUSPEND, ARGO, None),
        (GitOps.FLUX_SUSPEND, OPERATOR, None),
        (GitOps.GIT_REVERT, ARGO, None),
        (GitOps.REFUSE, ARGO, None),
    ],
)
def test_a_way_is_around_one_controller_only(do: GitOps, owner: Owner, way: GitOps | None) -> None:
    """Argo CD's way is none around Flux, and there is none around an operator; a pull request is no rollback."""
    policy, view = replace(POLICY, gitops=(GitOpsRule(do=do),)), a_view(V1, owner=owner)
    assert owners.way(policy, view) is way
    assert owners.is_in_the_way(policy, view) is (way is None)


def test_the_first_rule_that_matches_counts() -> None:
    """By namespace and by name, with `*`; what no rule names is refused."""
    rules = (
        GitOpsRule(do=GitOps.REFUSE, names=("pay*",)),
        GitOpsRule(do=GitOps.FLUX_SUSPEND, namespaces=("other",)),
        GitOpsRule(do=GitOps.ARGOCD_ROLLBACK, namespaces=("sh*",), names=("checkout",)),
    )
    view = a_view(V1, owner=ARGO)
    assert owners.wanted(replace(POLICY, gitops=rules), view) is GitOps.ARGOCD_ROLLBACK
    assert owners.wanted(replace(POLICY, gitops=rules[:2]), view) is GitOps.REFUSE
    assert (
        owners.wanted(replace(POLICY, gitops=(replace(rules[0], names=("checkout",)), rules[2])), view) is GitOps.REFUSE
    )


def test_the_rollback_carries_its_way() -> None:
    """The action names the way, the owner and the moment until which it is suspended; a plain one names none of them."""
    for view, expected in (
        ({"owner": ARGO}, GitOps.ARGOCD_ROLLBACK),
        ({"owner": ARGO, "owner_yields": True}, None),
        ({}, None),
    ):
        story = Story(a_policy(gitops=(GitOpsRule(do=GitOps.ARGOCD_ROLLBACK),)))
        story.spikes(**view)
        story.waits(story.policy.countdown)
        (action,) = story.rollbacks
        assert action.way is expected
        assert (action.owner, action.suspend_until) == (
            (None, None) if expected is None else (ARGO, action.suspend_until)
        )
        if expected is not None:
            assert action.suspend_until == story.now + story.policy.suspend_for


@pytest.mark.parametrize("owner", [ARGO, FLUX])
def test_an_abort_is_past_a_gitops_controller(owner: Owner) -> None:
    """What only gives up the update in flight changes nothing that it writes: done, and the action says that no more may be."""
    for rules in ((), (GitOpsRule(do=GitOps.ARGOCD_ROLLBACK),), (GitOpsRule(do=GitOps.FLUX_SUSPEND),)):
        story = Story(a_policy(gitops=rules))
        story.spikes(owner=owner, abort_to=V1.id)
        story.waits(story.policy.countdown)
        (action,) = story.rollbacks
        assert (action.only_abort, action.way, action.owner) == (True, None, None)


def test_an_abort_that_leads_elsewhere_is_refused() -> None:
    """Where another revision than the target would serve, the road is an undo, and the controller is in its way."""
    story = Story()
    story.spikes(owner=ARGO, abort_to=V3.id)
    assert Reason.OWNED_BY_GITOPS in story.refusals


@pytest.mark.parametrize("view", [{}, {"owner": ARGO, "owner_yields": True}])
def test_where_nobody_is_in_the_way_more_than_an_abort_may_be_done(view: dict[str, Any]) -> None:
    """An update that is promoted in the meantime may be undone there."""
    story = Story()
    story.spikes(abort_to=V1.id, **view)
    story.waits(story.policy.countdown)
    (action,) = story.rollbacks
    assert not action.only_abort


def test_an_operator_may_write_anything() -> None:
    """Nobody knows what it reads, so an abort is not past it either."""
    story = Story()
    story.spikes(owner=OPERATOR, abort_to=V1.id)
    assert Reason.OWNED_BY_OPERATOR in story.refusals


@pytest.mark.parametrize("drives", [False, True])
def test_nobody_writes_behind_the_back_of_what_drives_it(drives: bool) -> None:
    """A person overrides an operator, and never a Rollout of Argo or a Canary of Flagger."""
    story = Story()
    story.spikes(owner=replace(OPERATOR, drives=drives))
    story.closes()
    story.asks(overrides=(Reason.OWNED_BY_OPERATOR,))
    assert bool(story.rollbacks) is not drives


def test_what_is_refused_says_so() -> None:
    """Without a rule the incident goes to a person, as before."""
    story = Story()
    story.spikes(owner=FLUX)
    assert Reason.OWNED_BY_GITOPS in story.refusals


def test_the_refusal_says_what_was_found() -> None:
    """Why the owner is thought to revert stands beside its name."""
    story = Story()
    story.spikes(owner=ARGO, owner_note="self-heal is on in Application argocd/shop")
    verdict = story.incident.verdict
    assert verdict is not None
    seen = next(each.seen for each in verdict.refusals if each.reason is Reason.OWNED_BY_GITOPS)
    assert seen == f"{ARGO.kind} shop (self-heal is on in Application argocd/shop)"
