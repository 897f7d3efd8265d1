"""Who else writes a workload, and who wins where several do."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.core.model import Owner, OwnerKind
from handlers.ownership import helm_release, owner_of
from tests.handlers.kube_objects import Json, deployment

ARGO, FLUX, HELM, OPERATOR = OwnerKind.ARGO_CD, OwnerKind.FLUX, OwnerKind.HELM, OwnerKind.OPERATOR
TRACKING = "argocd.argoproj.io/tracking-id"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
MINE = f"{TRACKING}|store:apps/Deployment:shop/web"
RELEASE = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}
FLUX_LABELS = {f"{KUSTOMIZE}/name": "apps", f"{KUSTOMIZE}/namespace": "flux-system"}


def manager(name: str, *, subresource: str = "", owns: str = "f:spec") -> Json:
    entry: Json = {"manager": name, "operation": "Apply", "fieldsV1": {owns: {"f:template": {}}}}
    return entry | ({"subresource": subresource} if subresource else {})


CASES: list[tuple[str, dict[str, Any], Owner | None]] = [
    ("nobody", {}, None),
    ("argo tracks it", {"annotations": {TRACKING: MINE.partition("|")[2]}}, Owner(kind=ARGO, name="store")),
    ("argo tracks another", {"annotations": {TRACKING: "store:apps/Deployment:shop/other"}}, None),
    ("argo tracks another kind", {"annotations": {TRACKING: "store:apps/StatefulSet:shop/web"}}, None),
    ("argo tracking nonsense", {"annotations": {TRACKING: "nonsense"}}, None),
    ("argo by label", {"labels": {"argocd.argoproj.io/instance": "store"}}, Owner(kind=ARGO, name="store")),
    ("a chart's instance label", {"labels": {"app.kubernetes.io/instance": "store"}}, None),
    (
        "argo by its manager",
        {"labels": {"app.kubernetes.io/instance": "store"}, "managedFields": [manager("argocd-controller")]},
        Owner(kind=ARGO, name="store"),
    ),
    ("argo wrote a status only", {"managedFields": [manager("argocd-controller", subresource="status")]}, None),
    ("argo wrote labels only", {"managedFields": [manager("argocd-controller", owns="f:metadata")]}, None),
    ("flux", {"labels": FLUX_LABELS}, Owner(kind=FLUX, name="Kustomization flux-system/apps")),
    ("flux told to keep off", {"labels": FLUX_LABELS, "annotations": {f"{KUSTOMIZE}/reconcile": "disabled"}}, None),
    ("flux told to ignore", {"labels": FLUX_LABELS, "annotations": {f"{KUSTOMIZE}/ssa": "Ignore"}}, None),
    (
        "flux by its manager",
        {"managedFields": [manager("kustomize-controller")]},
        Owner(kind=FLUX, name="kustomize-controller"),
    ),
    (
        "flux helm over helm",
        {
            "labels": {"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "shop"},
            "annotations": RELEASE,
        },
        Owner(kind=FLUX, name="HelmRelease shop/web"),
    ),
    ("helm", {"annotations": RELEASE}, Owner(kind=HELM, name="shop/web")),
    ("helm by its manager", {"managedFields": [manager("helm")]}, Owner(kind=HELM, name="unknown release")),
    ("rendered by helm template", {"labels": {"app.kubernetes.io/managed-by": "Helm"}}, None),
    (
        "an operator over all",
        {
            "annotations": RELEASE | {TRACKING: MINE.partition("|")[2]},
            "ownerReferences": [{"kind": "Shop", "name": "main", "uid": "u", "controller": True}],
        },
        Owner(kind=OPERATOR, name="Shop/main"),
    ),
    (
        "what Flagger made",
        {"ownerReferences": [{"kind": "Canary", "name": "web", "uid": "u", "controller": True}]},
        Owner(kind=OPERATOR, name="Canary/web", drives=True),
    ),
    ("a mere owner reference", {"ownerReferences": [{"kind": "Shop", "name": "main", "uid": "u"}]}, None),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "owner"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_strongest_claim_wins(metadata: dict[str, Any], owner: Owner | None) -> None:
    """Each mark of protocols §2.7 is read, and no mark that names somebody or something else."""
    assert owner_of(deployment(**metadata)) == owner


def test_a_release_without_a_namespace_is_the_objects() -> None:
    """The command that follows up a rollback needs a namespace."""
    assert helm_release(deployment(annotations={"meta.helm.sh/release-name": "web"})) == "shop/web"
    assert helm_release(deployment()) is None
