"""A sandbox cluster with a StatefulSet or DaemonSet that went from v1 to v2, and a client that reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.core.actions import RollBack
from daemon.core.model import ActionId, IncidentId, Revision, Workload
from deploy.sandbox.kube import SandboxCluster
from handlers import revisions, workload_objects
from handlers.kinds import KINDS, standing_of
from handlers.kube import KubeClient, Timeouts
from handlers.kube_access import from_url
from tests.handlers.rollback_world import FAST, Json, image_op, until


def manifest(kind: str, image: str, name: str = "db", **spec: Any) -> Json:
    """The least that an API server takes."""
    labels = {"app": name}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": image}]}
    body = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}, **spec}
    if kind == "StatefulSet":
        body = {"serviceName": name, "replicas": 3, **body}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": body}


@dataclass(frozen=True, kw_only=True, slots=True)
class SetWorld:
    """The cluster, our client, and the revisions of the workload."""

    cluster: SandboxCluster
    client: KubeClient
    workload: Workload
    uid: str
    v1: Revision
    v2: Revision

    def obj(self) -> Json:
        """The workload as it is now."""
        found = self.cluster.object("apps/v1", KINDS[self.workload.kind].plural, self.workload.name)
        assert found is not None
        return {**found, "kind": self.workload.kind}

    def pods(self) -> dict[str, str]:
        """Image by name of its pods that are not leaving."""
        found = [pod for pod in self.cluster.objects("v1", "pods") if revisions.controller_uid(pod) == self.uid]
        here = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in here}

    def is_running(self, name: str) -> bool:
        """Whether the pod's container runs: of one that never becomes ready nothing changes any more after that."""
        containers = (self.cluster.object("v1", "pods", name) or {}).get("status", {}).get("containerStatuses") or [{}]
        return "running" in containers[0].get("state", {})

    def action(self, **changes: Any) -> RollBack:
        """The order to go from v2 to v1."""
        values: Json = {
            "id": ActionId("inc-1/roll_back"),
            "deadline": datetime.now(UTC) + timedelta(minutes=5),
            "incident": IncidentId("inc-1"),
            "workload": self.workload,
            "uid": self.uid,
            "blamed": self.v2,
            "target": self.v1,
            "why": "errors of v2 0.3 against 0.0",
        }
        return RollBack(**(values | changes))

    async def deploy(self, image: str) -> None:
        """Another rollout, as a pipeline would start it."""
        path = workload_objects.path_of(self.workload)
        await self.client.patch_json(path, image_op(image), field_manager="kubectl-set")


async def add_set(
    cluster: SandboxCluster, client: KubeClient, kind: str, *, v2: str, name: str = "db", **spec: Any
) -> SetWorld:
    """One more workload, which was complete with v1 and is being given v2."""
    workload = Workload(namespace="default", kind=kind, name=name)
    made = cluster.create(manifest(kind, "shop:v1", name, **spec), manager="kubectl")

    def converged() -> bool:
        found = cluster.object("apps/v1", KINDS[kind].plural, name)
        return found is not None and standing_of({**found, "kind": kind}).converged

    def history() -> list[Json]:
        found = cluster.objects("apps/v1", "controllerrevisions")
        return [each for each in found if revisions.controller_uid(each) == made["metadata"]["uid"]]

    await until(converged, bool)
    await client.patch_json(workload_objects.path_of(workload), image_op(v2), field_manager="kubectl-set")
    await until(history, lambda found: len(found) == 2)
    fresh = await workload_objects.read(client, workload)
    assert fresh is not None
    second, first = (revisions.revision_of(each) for each in fresh.history)
    uid = made["metadata"]["uid"]
    return SetWorld(cluster=cluster, client=client, workload=workload, uid=uid, v1=first, v2=second)


@asynccontextmanager
async def set_world(kind: str, *, v2: str, **spec: Any) -> AsyncIterator[SetWorld]:
    """A cluster with nothing else in it."""
    async with (
        SandboxCluster(timing=FAST, bookmark_seconds=0.2, network=45) as cluster,
        KubeClient(from_url(cluster.url), timeouts=Timeouts(connect=2, read=5, total=5)) as client,
    ):
        yield await add_set(cluster, client, kind, v2=v2, **spec)
