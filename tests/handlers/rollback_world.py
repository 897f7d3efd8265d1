"""A sandbox cluster with one workload that went from v1 to v2, and a client that reads it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from daemon.core.actions import CheckTarget, RollBack
from daemon.core.model import ActionId, IncidentId, Revision, Workload
from deploy.sandbox.kube import SandboxCluster, Timing
from deploy.sandbox.kube.faults import RequestRecord
from handlers import revisions, workload_objects
from handlers.kube import KubeClient, Timeouts
from handlers.kube_access import from_url

Json = dict[str, Any]
T = TypeVar("T")

FAST = Timing(start=0.03, termination=0.03, backoff=0.05, backoff_max=0.3, scale=20.0)
WEB = Workload(namespace="default", kind="Deployment", name="web")
PATH = workload_objects.path_of(WEB)
DEADLINE_SECONDS = 15.0


class WallClock:
    """The wall clock: the sandbox writes real times."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def manifest(image: str, **metadata: Any) -> Json:
    labels = {"app": "web"}
    container = {
        "name": "main",
        "image": image,
        "env": [
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "colours", "key": "main"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "main"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "maybe", "optional": True}}],
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}
    body = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", **metadata}, "spec": body}


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The cluster, our client, and the revisions of the workload."""

    cluster: SandboxCluster
    client: KubeClient
    v1: Revision
    v2: Revision
    uid: str

    def web(self) -> Json:
        found = self.cluster.object("apps/v1", "deployments", "web")
        assert found is not None
        return found

    def images(self) -> list[str]:
        return [c["image"] for c in self.web()["spec"]["template"]["spec"]["containers"]]

    def action(self, name: str = "inc-1/roll_back", **changes: Any) -> RollBack:
        values: Json = {
            "id": ActionId(name),
            "deadline": datetime.now(UTC) + timedelta(minutes=5),
            "incident": IncidentId("inc-1"),
            "workload": WEB,
            "uid": self.uid,
            "blamed": self.v2,
            "target": self.v1,
            "why": "errors of v2 0.3 against 0.0",
        }
        return RollBack(**(values | changes))

    def check(self, **changes: Any) -> CheckTarget:
        return check_of(self.action(**changes))

    async def deploy(self, image: str, manager: str = "kubectl-set") -> None:
        """Another rollout, as a pipeline would start it."""
        await self.client.patch_json(PATH, image_op(image), field_manager=manager)

    async def settled(self) -> Json:
        return await until(self.web, complete)

    def writes(self) -> list[RequestRecord]:
        """The patches of ours that were meant to be stored."""
        log = self.cluster.faults.log
        return [r for r in log if r.method == "PATCH" and r.field_manager == "lastgood" and not r.dry_run]


def check_of(action: RollBack) -> CheckTarget:
    """The check of the target that comes before it."""
    return CheckTarget(
        id=ActionId("inc-1/check/1"),
        deadline=action.deadline,
        incident=action.incident,
        attempt=1,
        workload=action.workload,
        uid=action.uid,
        blamed=action.blamed,
        target=action.target,
    )


def image_op(image: str) -> list[Json]:
    return [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]


def complete(obj: Json) -> bool:
    status, wanted = obj.get("status", {}), obj["spec"]["replicas"]
    numbers = [status.get(field, 0) for field in ("updatedReplicas", "replicas", "availableReplicas")]
    return status.get("observedGeneration", 0) >= obj["metadata"]["generation"] and numbers == [wanted] * 3


async def until(read: Callable[[], T], good: Callable[[T], Any]) -> T:
    """Polls with a deadline."""
    ends = time.monotonic() + DEADLINE_SECONDS
    while not good(value := read()):
        assert time.monotonic() < ends, value
        await asyncio.sleep(0.01)
    return value


@asynccontextmanager
async def world(*, v2: str = "shop:v2", metadata: Json | None = None) -> AsyncIterator[World]:
    """The workload runs v2, v1 is its history."""
    async with (
        SandboxCluster(timing=FAST, bookmark_seconds=0.2, network=44) as cluster,
        KubeClient(from_url(cluster.url), timeouts=Timeouts(connect=2, read=5, total=5)) as client,
    ):
        made = cluster.create(manifest("shop:v1", **(metadata or {})), manager="kubectl")
        await until(lambda: cluster.object("apps/v1", "deployments", "web"), lambda o: o and complete(o))
        await client.patch_json(PATH, image_op(v2), field_manager="kubectl-set")
        await until(lambda: cluster.objects("apps/v1", "replicasets"), lambda found: len(found) == 2)
        fresh = await workload_objects.read(client, WEB)
        assert fresh is not None
        second, first = (revisions.revision_of(rs) for rs in fresh.history)
        there = World(cluster=cluster, client=client, v1=first, v2=second, uid=made["metadata"]["uid"])
        await until(there.web, lambda o: o["status"].get("observedGeneration") == o["metadata"]["generation"])
        if v2 == "shop:v2":
            await there.settled()
        yield there
