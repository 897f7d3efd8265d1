"""A Rollout of Argo in the sandbox, which has no controller for it: an update in flight, as its objects would tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.core.actions import RollBack
from daemon.core.model import ActionId, IncidentId, Revision, Workload
from deploy.sandbox.kube import SandboxCluster
from handlers import revisions, workload_objects
from handlers.argo_templates import HASH_LABEL, REVISION_NUMBER
from handlers.kinds import ROLLOUT
from handlers.kube import KubeClient
from tests.handlers.rollback_world import Json

KINDS_APART = (
    ("argoproj.io/v1alpha1", "rollouts"),
    ("flagger.app/v1beta1", "canaries"),
    ("argoproj.io/v1alpha1", "applications"),
    ("kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
    ("helm.toolkit.fluxcd.io/v2", "helmreleases"),
)
"""What Argo Rollouts, Flagger, Argo CD and Flux bring; the sandbox serves them once they are defined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryWorld:
    """The cluster, and the revisions of the Rollout: `v1` is stable, `v2` has its first canaries."""

    cluster: SandboxCluster
    workload: Workload
    uid: str
    v1: Revision
    v2: Revision

    def obj(self) -> Json:
        """The Rollout as it is now."""
        found = self.cluster.object(ROLLOUT.api_version, ROLLOUT.plural, self.workload.name)
        assert found is not None
        return found

    def action(self) -> RollBack:
        """The order to go from v2 to v1, which is an abort."""
        return RollBack(
            id=ActionId("inc-1/roll_back"),
            deadline=datetime.now(UTC) + timedelta(minutes=5),
            incident=IncidentId("inc-1"),
            workload=self.workload,
            uid=self.uid,
            blamed=self.v2,
            target=self.v1,
            why="errors of v2 0.3 against 0.0",
        )


async def add_rollout(cluster: SandboxCluster, client: KubeClient, name: str = "cart") -> CanaryWorld:
    """Defines the kinds, and makes one Rollout with the ReplicaSets of v1 and v2."""
    for api_version, plural in KINDS_APART:
        cluster.define(api_version, plural)
    workload = Workload(namespace="default", kind=ROLLOUT.name, name=name)
    made = cluster.create(_rollout(name, "shop:v2"), manager="kubectl")
    for number, image in enumerate(("shop:v1", "shop:v2"), start=1):
        cluster.create(_replica_set(made, image, number), manager="rollouts-controller")
    status = {
        "observedGeneration": "1", "stableRS": "hash-1", "currentPodHash": "hash-2", "phase": "Paused",
        "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
    }  # fmt: skip
    ops = [{"op": "add", "path": "/status", "value": status}]
    await client.patch_json(f"{workload_objects.path_of(workload)}/status", ops, field_manager="rollouts-controller")
    fresh = await workload_objects.read(client, workload)
    assert fresh is not None
    second, first = (revisions.revision_of(each) for each in fresh.history)
    return CanaryWorld(cluster=cluster, workload=workload, uid=fresh.uid, v1=first, v2=second)


def _template(name: str, image: str, **labels: str) -> Json:
    spec: dict[str, Any] = {"containers": [{"name": "main", "image": image}]}
    return {"metadata": {"labels": {"app": name, **labels}}, "spec": spec}


def _rollout(name: str, image: str) -> Json:
    selector = {"matchLabels": {"app": name}}
    spec = {"replicas": 1, "selector": selector, "template": _template(name, image), "strategy": {"canary": {}}}
    return {"apiVersion": ROLLOUT.api_version, "kind": ROLLOUT.name, "metadata": {"name": name}, "spec": spec}


def _replica_set(owner: Json, image: str, number: int) -> Json:
    name, pod_hash = owner["metadata"]["name"], f"hash-{number}"
    labels = {"app": name, HASH_LABEL: pod_hash}
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {
        "name": name, "uid": owner["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    metadata = {
        "name": f"{name}-{pod_hash}",
        "labels": labels,
        "annotations": {REVISION_NUMBER: str(number)},
        "ownerReferences": [reference],
    }
    template = _template(name, image, **{HASH_LABEL: pod_hash})
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
