"""Whether Argo CD and Flux leave a rollback alone is read from their own objects; what is not certain is taken for a no."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from daemon.core.model import Owner, OwnerKind
from handlers import gitops_owners
from handlers.gitops_owners import APPLICATIONS, HELM_RELEASES, KUSTOMIZATIONS, Source, Sources, answer
from handlers.outbound.rollback import gitops_drift
from handlers.store import Obj, Store

WEB: Obj = {"kind": "Deployment", "metadata": {"namespace": "shop", "name": "web"}}
LISTED = {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "shop", "name": "web"}
HERE = {"server": "https://kubernetes.default.svc", "namespace": "shop"}
ARGO = Owner(kind=OwnerKind.ARGO_CD, name="shop")
KUSTOMIZATION = Owner(kind=OwnerKind.FLUX, name="Kustomization flux-system/shop")
HELM_RELEASE = Owner(kind=OwnerKind.FLUX, name="HelmRelease shop/web")


def an_app(policy: Any = None, *, namespace: str = "argocd", **changes: Any) -> Obj:
    spec = {"destination": HERE, "source": {"repoURL": "https://git.example/shop"}} | changes
    resources = [LISTED, {"version": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "x"}]
    history = [{"id": number, "revision": f"c{number}", "source": {"path": "x"}} for number in range(15)]
    metadata = {
        "name": "shop",
        "namespace": namespace,
        "uid": f"{namespace}-1",
        "resourceVersion": "1",
        "labels": {"a": "b"},
    }
    return {
        "metadata": metadata,
        "spec": spec if policy is None else spec | {"syncPolicy": policy},
        "status": {"resources": resources, "sync": {"revision": "c9", "status": "Synced"}, "history": history},
    }


def a_flux(name: str, namespace: str, **spec: Any) -> Obj:
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"interval": "5m"} | spec, "status": {"conditions": []}}


def sources(plural: str, *objects: Obj, readable: bool = True) -> Sources:
    project = gitops_owners.application if plural == APPLICATIONS else gitops_owners.flux_object
    store = Store()
    for each in objects:
        store.put(project(copy.deepcopy(each)))
    return Sources(by_plural={plural: Source(store=store, readable=lambda: readable)})


@pytest.mark.parametrize(
    ("policy", "yields", "note"),
    [
        (None, True, "synced by hand only"),
        ({}, True, "synced by hand only"),
        ({"automated": {}}, True, "self-heal is off"),
        ({"automated": {"selfHeal": False, "prune": True}}, True, "self-heal is off"),
        ({"automated": {"selfHeal": True}}, False, "self-heal is on in Application argocd/shop"),
        ({"automated": {"selfHeal": True, "enabled": False}}, True, "synced by hand only"),
        ({"automated": {"selfHeal": True, "enabled": True}}, False, "self-heal is on"),
    ],
)
def test_self_heal_alone_reverts(policy: Any, yields: bool, note: str) -> None:
    """Auto-sync without self-heal syncs a commit once; `enabled: false` (Argo CD 3) is no auto-sync at all."""
    found = answer(sources(APPLICATIONS, an_app(policy)), WEB, ARGO)
    assert found.yields is yields
    assert note in found.note


@pytest.mark.parametrize(
    ("apps", "note"),
    [
        ([], "no Application of that name lists the workload"),
        ([an_app() | {"status": {}}], "no Application of that name lists the workload"),
        (
            [an_app(), an_app(namespace="team")],
            "more than one Application of that name lists the workload: argocd/shop, team/shop",
        ),
        ([an_app(destination={"server": "https://other.example"})], "not known to be this cluster"),
        ([an_app(destination={})], "not known to be this cluster"),
    ],
)
def test_what_is_not_certain_reverts(apps: list[Obj], note: str) -> None:
    """Not found, not its own, ambiguous, or perhaps of another cluster: refused, and the note says which."""
    found = answer(sources(APPLICATIONS, *apps), WEB, ARGO)
    assert not found.yields
    assert note in found.note


def test_an_application_in_any_namespace() -> None:
    """A tracking-id names it with its namespace; then the other one of that name is no candidate."""
    both = sources(
        APPLICATIONS,
        an_app({"automated": {"selfHeal": True}}),
        an_app(namespace="team", destination={"name": "in-cluster"}),
    )
    found = answer(both, WEB, Owner(kind=OwnerKind.ARGO_CD, name="team_shop"))
    assert found.yields
    assert "team/shop" in found.note


@pytest.mark.parametrize(
    ("plural", "obj", "owner", "yields", "note"),
    [
        (KUSTOMIZATIONS, a_flux("shop", "flux-system"), KUSTOMIZATION, False, "applied at every interval"),
        (KUSTOMIZATIONS, a_flux("shop", "flux-system", suspend=True), KUSTOMIZATION, True, "is suspended"),
        (
            KUSTOMIZATIONS,
            a_flux("other", "flux-system", suspend=True),
            KUSTOMIZATION,
            False,
            "there is no Kustomization",
        ),
        (
            KUSTOMIZATIONS,
            a_flux("shop", "flux-system", suspend=True, kubeConfig={"secretRef": {"name": "x"}}),
            KUSTOMIZATION,
            False,
            "another cluster",
        ),
        (HELM_RELEASES, a_flux("web", "shop"), HELM_RELEASE, True, "drift detection is off"),
        (HELM_RELEASES, a_flux("web", "shop", driftDetection={"mode": "warn"}), HELM_RELEASE, True, "is off"),
        (HELM_RELEASES, a_flux("web", "shop", driftDetection={"mode": "enabled"}), HELM_RELEASE, False, "is enabled"),
        (
            HELM_RELEASES,
            a_flux("web", "shop", driftDetection={"mode": "enabled"}, suspend=True),
            HELM_RELEASE,
            True,
            "is suspended",
        ),
    ],
)
def test_flux(plural: str, obj: Obj, owner: Owner, yields: bool, note: str) -> None:
    """A Kustomization reverts at every interval, a HelmRelease only with drift detection, neither while suspended."""
    found = answer(sources(plural, obj), WEB, owner)
    assert found.yields is yields
    assert note in found.note


@pytest.mark.parametrize(
    ("owner", "note"),
    [
        (ARGO, "its Application cannot be read"),
        (KUSTOMIZATION, "its Kustomization cannot be read"),
        (HELM_RELEASE, "its HelmRelease cannot be read"),
        (Owner(kind=OwnerKind.FLUX, name="kustomize-controller"), "is not known"),
        (Owner(kind=OwnerKind.OPERATOR, name="Shop/a"), ""),
        (None, ""),
    ],
)
def test_what_may_not_be_read_reverts(owner: Owner | None, note: str) -> None:
    """Neither watched nor readable: what the store once held says nothing."""
    for nothing in (Sources(), sources(APPLICATIONS, an_app(), readable=False)):
        found = answer(nothing, WEB, owner)
        assert not found.yields
        assert note in found.note


def test_little_is_kept() -> None:
    """Of an Application: identity, sync policy, destination, its workloads, and the end of its history."""
    kept = gitops_owners.application(an_app({"automated": {}}))
    assert set(kept) == {"metadata", "spec", "status"}
    assert set(kept["metadata"]) == {"name", "namespace", "uid", "resourceVersion"}
    assert set(kept["spec"]) == {"syncPolicy", "destination"}
    assert kept["status"]["resources"] == [{"kind": "Deployment", "namespace": "shop", "name": "web"}]
    assert [each["id"] for each in kept["status"]["history"]] == list(range(5, 15))
    assert kept["status"]["sync"] == {"revision": "c9"}


def test_a_status_alone_is_no_news_of_flux() -> None:
    """Flux writes a status at every interval: no view is looked at again for that."""
    old, new = a_flux("web", "shop"), a_flux("web", "shop")
    new["status"], new["metadata"]["resourceVersion"] = {"conditions": [{"type": "Ready"}]}, "2"
    project = gitops_owners.flux_object
    assert gitops_owners.is_same(project(old), project(new))
    assert not gitops_owners.is_same(project(old), project(a_flux("web", "shop", suspend=True)))
    assert not gitops_owners.is_same(None, project(old))


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        (Owner(kind=OwnerKind.ARGO_CD, name="team_shop"), "`argocd app history team/shop`"),
        (KUSTOMIZATION, "`flux reconcile kustomization shop --namespace flux-system --with-source`"),
        (HELM_RELEASE, "`flux reconcile helmrelease web --namespace shop --with-source`"),
    ],
)
def test_the_drift_is_told(owner: Owner, told: str) -> None:
    """After a rollback: who brings it back, when, and the exact command."""
    (warning,) = gitops_drift.warnings(owner)
    assert told in warning
    assert "Revert the commit" in warning


@pytest.mark.parametrize("name", ["Shop/a", "kustomize-controller"])
def test_of_others_nothing_is_told(name: str) -> None:
    """What cannot be named is not told; Helm's and kubectl's drift are told elsewhere."""
    kind = OwnerKind.OPERATOR if "/" in name else OwnerKind.FLUX
    assert gitops_drift.warnings(Owner(kind=kind, name=name)) == ()
    assert gitops_drift.warnings(None) == ()
