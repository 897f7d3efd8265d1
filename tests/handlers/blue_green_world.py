"""Two Deployments and the Service that was switched from blue to green, on any API server that a client reaches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from daemon.core.actions import RollBack
from daemon.core.model import ActionId, IncidentId, Revision, Workload
from handlers import revisions, workload_objects
from handlers.faults import Permanent
from handlers.kinds.service import BLUE_GREEN
from handlers.kube import KubeClient

Json = dict[str, Any]
T = TypeVar("T")

APP = "shop"
LABEL = "version"
DEADLINE_SECONDS = 60.0
"""A real control plane shares the machine with others."""


def colour(name: str, image: str, *, replicas: int = 2, app: str = APP) -> Json:
    """The Deployment of one colour."""
    labels = {"app": app, LABEL: name}
    container = {"name": "main", "image": image}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"{app}-{name}"}, "spec": spec}


def front(selected: str = "blue", annotations: Json | None = None) -> Json:
    """The Service that is switched."""
    metadata = {"name": APP, "annotations": {BLUE_GREEN: LABEL} if annotations is None else annotations}
    spec = {"selector": {"app": APP, LABEL: selected}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


@dataclass(frozen=True, kw_only=True, slots=True)
class BlueGreen:
    """Blue runs v1, green v2, and green is selected."""

    client: KubeClient
    namespace: str
    uid: str
    blue: Revision
    green: Revision

    @property
    def workload(self) -> Workload:
        """As the core names it."""
        return Workload(namespace=self.namespace, kind="Service", name=APP)

    def action(self, name: str = "inc-1/roll_back", **changes: Any) -> RollBack:
        """From green back to blue."""
        values: Json = {
            "id": ActionId(name),
            "deadline": datetime.now(UTC) + timedelta(minutes=5),
            "incident": IncidentId("inc-1"),
            "workload": self.workload,
            "uid": self.uid,
            "blamed": self.green,
            "target": self.blue,
            "why": "a test",
        }
        return RollBack(**(values | changes))

    async def service(self) -> Json:
        """As it is now."""
        return await self.client.get(workload_objects.path_of(self.workload))

    async def selector(self) -> Json:
        """What it selects."""
        found: Json = (await self.service())["spec"]["selector"]
        return found

    async def switch(self, to: str) -> Json:
        """A person switches."""
        ops = [{"op": "replace", "path": f"/spec/selector/{LABEL}", "value": to}]
        return await self.client.patch_json(workload_objects.path_of(self.workload), ops, field_manager="kubectl-patch")

    async def change(self, name: str, *ops: Json) -> Json:
        """A person changes one Deployment."""
        path = f"{deployments(self.namespace)}/{APP}-{name}"
        return await self.client.patch_json(path, ops, field_manager="kubectl-edit")

    async def scale(self, name: str, replicas: int) -> None:
        """Until its pods are that many."""
        await self.change(name, {"op": "replace", "path": "/spec/replicas", "value": replicas})
        await ready(self.client, self.namespace, name, replicas)

    async def deploy(self, name: str, image: str) -> Json:
        """One colour is given another image."""
        where = "/spec/template/spec/containers/0/image"
        return await self.change(name, {"op": "replace", "path": where, "value": image})


def deployments(namespace: str) -> str:
    """Their collection."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


async def until(read: Callable[[], Awaitable[T]], good: Callable[[T], Any]) -> T:
    """Polls with a deadline."""
    ends = time.monotonic() + DEADLINE_SECONDS
    while not good(value := await read()):
        assert time.monotonic() < ends, value
        await asyncio.sleep(0.02)
    return value


async def ready(client: KubeClient, namespace: str, name: str, replicas: int = 2) -> Json:
    """The Deployment, once its pods are ready and its controller says so."""

    def good(obj: Json) -> bool:
        status = obj.get("status", {})
        seen = status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
        counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas")]
        return bool(seen and counts == [replicas] * 3)

    return await until(lambda: client.get(f"{deployments(namespace)}/{APP}-{name}"), good)


async def switched(client: KubeClient, namespace: str) -> BlueGreen:
    """Both colours are there and ready, and the Service has been switched to green."""
    with suppress(Permanent):  # a real controller makes it, too
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        await client.create(accounts, {"metadata": {"name": "default"}})
    for name, image in (("blue", "shop:v1"), ("green", "shop:v2")):
        await client.create(deployments(namespace), colour(name, image), field_manager="kubectl-create")
    made = await client.create(f"/api/v1/namespaces/{namespace}/services", front(), field_manager="kubectl-create")
    found = [await ready(client, namespace, name) for name in ("blue", "green")]
    blue, green = (
        Revision(
            id=revisions.template_hash(revisions.template_of(each)),
            content=revisions.content_hash(revisions.template_of(each)),
            colour=name,
        )
        for each, name in zip(found, ("blue", "green"), strict=True)
    )
    there = BlueGreen(client=client, namespace=namespace, uid=made["metadata"]["uid"], blue=blue, green=green)
    await there.switch("green")
    return there
