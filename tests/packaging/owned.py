"""Deployments that Argo CD and Flux own, in the sandbox: their objects, and Argo CD as far as a rollback needs it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.core.actions import RollBack
from daemon.core.model import ActionId, IncidentId, Owner, OwnerKind, Revision, Workload
from daemon.core.policy import GitOps
from deploy.sandbox.kube import SandboxCluster
from deploy.sandbox.kube.registry import Write
from deploy.sandbox.kube.resources import named
from deploy.sandbox.kube.store import Change
from handlers import revisions, workload_objects
from handlers.kube import KubeClient
from tests.handlers import argocd_world
from tests.handlers.rollback_world import Json, image_op, manifest, until

OWNED = ("argo", "kustomized", "charted")
"""The Deployments: of an Application, of a Kustomization, of a HelmRelease, each called `shop` and in the same namespace."""


def owner_of(workload: Workload) -> tuple[Owner, GitOps]:
    """Whose it is, and the way around."""
    if workload.name == "argo":
        return Owner(kind=OwnerKind.ARGO_CD, name="shop"), GitOps.ARGOCD_ROLLBACK
    kind = {"kustomized": "Kustomization", "charted": "HelmRelease"}[workload.name]
    return Owner(kind=OwnerKind.FLUX, name=f"{kind} {workload.namespace}/shop"), GitOps.FLUX_SUSPEND


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """A Deployment that went from v1 to v2."""

    workload: Workload
    uid: str
    v1: Revision
    v2: Revision

    def action(self) -> RollBack:
        """The order to go back, around its owner."""
        owner, way = owner_of(self.workload)
        now = datetime.now(UTC)
        return RollBack(
            id=ActionId(f"inc-{self.workload.name}/roll_back"), deadline=now + timedelta(minutes=5),
            incident=IncidentId(f"inc-{self.workload.name}"), workload=self.workload, uid=self.uid, blamed=self.v2,
            target=self.v1, why="a test", way=way, owner=owner, suspend_until=now + timedelta(hours=4),
            target_commit=argocd_world.GOOD,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Owned:
    """One of each."""

    deployed: tuple[Deployed, ...]

    def actions(self) -> list[RollBack]:
        """All of them back to v1."""
        return [each.action() for each in self.deployed]


async def add_owned(cluster: SandboxCluster, client: KubeClient) -> Owned:
    """Makes them and what owns them; the kinds are defined already. Argo CD answers an operation at once."""
    for api_version, kind in (
        ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"), ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    ):  # fmt: skip
        cluster.create({"apiVersion": api_version, "kind": kind, "metadata": {"name": "shop"}, "spec": {}})
    made = tuple([await _deployed(cluster, client, name) for name in OWNED])
    application = argocd_world.application(namespace="default")
    application["status"]["resources"][0]["name"] = "argo"
    cluster.create(application, manager="argocd-controller")
    cluster.store.listen(lambda change: _saw(cluster, change))
    return Owned(deployed=made)


async def _deployed(cluster: SandboxCluster, client: KubeClient, name: str) -> Deployed:
    made = cluster.create(body_of(name), manager="kubectl")
    workload = Workload(namespace="default", kind="Deployment", name=name)

    def kept(times: int) -> bool:
        found = cluster.objects("apps/v1", "replicasets")
        return len([each for each in found if revisions.controller_uid(each) == made["metadata"]["uid"]]) == times

    await until(lambda: kept(1), bool)
    await client.patch_json(workload_objects.path_of(workload), image_op("shop:v2"), field_manager="kubectl-set")
    await until(lambda: kept(2), bool)
    return await deployed(client, workload)


def body_of(name: str) -> Json:
    """Without pods: nothing here is about them."""
    body = manifest("shop:v1", name=name)
    labels = {"app": name}
    body["spec"] |= {"replicas": 0, "selector": {"matchLabels": labels}}
    body["spec"]["template"]["metadata"]["labels"] = labels
    return body


async def deployed(client: KubeClient, workload: Workload) -> Deployed:
    """As it is once it has both revisions."""
    fresh = await workload_objects.read(client, workload)
    assert fresh is not None
    found = [revisions.revision_of(each) for each in fresh.history]
    second, first = sorted(found, key=lambda revision: revision.id != fresh.current)
    return Deployed(workload=workload, uid=fresh.uid, v1=first, v2=second)


def _saw(cluster: SandboxCluster, change: Change) -> None:
    if change.resource.kind == "Application" and change.type != "DELETED" and change.obj.get("operation"):
        asyncio.get_running_loop().call_soon(_synced, cluster, change.obj["metadata"]["namespace"])


def _synced(cluster: SandboxCluster, namespace: str) -> None:
    """What Argo CD's controller does with an operation, past the API server's authorizer."""
    applications, deployments = named("argoproj.io/v1alpha1", "applications"), named("apps/v1", "deployments")
    write = Write(manager="argocd-controller")
    app = cluster.registry.copy(applications, namespace, "shop")
    operation: Json | None = app.pop("operation", None)
    if operation is None:
        return
    web = cluster.registry.copy(deployments, "default", "argo")
    web["spec"]["template"]["spec"]["containers"][0]["image"] = "shop:v1"
    cluster.registry.update(deployments, "default", "argo", web, write)
    app["status"]["operationState"] = {"phase": "Succeeded", "operation": operation}
    cluster.registry.update(applications, namespace, "shop", app, write)
