"""What a GitOps controller owns is reverted where its source is, and the page names how."""

from __future__ import annotations

import pytest

from daemon.core.incidents import Phase
from daemon.core.model import Owner, OwnerKind
from daemon.core.reverts import reverts
from tests.core.builders import MINUTE
from tests.core.story import Story

COMMIT = "4f2a9c1d" * 5


@pytest.mark.parametrize(
    ("kind", "name", "commit", "commands"),
    [
        (OwnerKind.ARGO_CD, "shop", COMMIT, (f"git revert --no-edit {COMMIT}", "argocd app history shop")),
        (OwnerKind.ARGO_CD, "team_shop", None, ("argocd app history team/shop",)),
        (OwnerKind.ARGO_CD, "unknown application", COMMIT, (f"git revert --no-edit {COMMIT}",)),
        (
            OwnerKind.FLUX,
            "Kustomization flux-system/apps",
            "4f2a9c1",
            ("git revert --no-edit 4f2a9c1", "flux reconcile kustomization apps --namespace flux-system --with-source"),
        ),
        (
            OwnerKind.FLUX,
            "HelmRelease shop/web",
            "v1; rm -rf /",
            ("flux reconcile helmrelease web --namespace shop --with-source",),
        ),
        (OwnerKind.FLUX, "kustomize-controller", None, ()),
        (OwnerKind.HELM, "shop/web", COMMIT, ()),
        (OwnerKind.OPERATOR, "Shop/a", COMMIT, ()),
    ],
)
def test_the_commands(kind: OwnerKind, name: str, commit: str | None, commands: tuple[str, ...]) -> None:
    """The commit where it is one, then the controller's object; nothing that could not be pasted safely."""
    assert reverts(Owner(kind=kind, name=name), commit) == commands


def test_nobody_owns_it() -> None:
    """Without an owner an undo in the cluster is the way."""
    assert reverts(None, COMMIT) == ()


def test_the_page_names_the_revert() -> None:
    """Refused because a controller would write over it: the page names the way that holds, and no undo in the cluster."""
    story = Story()
    story.proves_v1()
    story.rolls_out(owner=Owner(kind=OwnerKind.ARGO_CD, name="shop"))
    story.fires()
    story.waits(5 * MINUTE)
    story.expect(Phase.ESCALATED)
    commands = story.pages[-1].brief.commands
    assert "argocd app history shop" in commands
    assert not any("rollout undo" in command for command in commands)
