"""What is done about a workload that a controller owns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core import owners
from daemon.core.model import Owner, OwnerKind
from daemon.core.policy import GitOps, GitOpsRule
from daemon.core.reasons import Reason
from tests.core.builders import V1, a_policy, a_view
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


def test_what_is_refused_says_so() -> None:
    """Without a rule the incident goes to a person, as before."""
    story = Story()
    story.spikes(owner=FLUX)
    assert Reason.OWNED_BY_GITOPS in story.refusals
