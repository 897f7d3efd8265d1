"""The plainest client that the contract suite can speak to an API server with: raw JSON, no library in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

from deploy.sandbox.kube import SandboxCluster
from tests.controlplane.credentials import ADMIN
from tests.controlplane.plane import ControlPlane

Json = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

DEADLINE_SECONDS = 20.0
"""For anything a controller has to do first: a real one on a busy machine takes a few seconds."""

_APPS = ("deployments", "replicasets", "statefulsets", "daemonsets", "controllerrevisions")
_ROOTS = {**dict.fromkeys(_APPS, "/apis/apps/v1"), "leases": "/apis/coordination.k8s.io/v1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterClient:
    """Requests to one namespace of a cluster; ``ask`` answers (HTTP status, body)."""

    session: aiohttp.ClientSession
    url: str
    namespace: str

    def path(self, plural: str, name: str = "") -> str:
        """The path of a collection or of one object in the test's namespace."""
        path = f"{_ROOTS.get(plural, '/api/v1')}/namespaces/{self.namespace}/{plural}"
        return f"{path}/{name}" if name else path

    async def ask(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: str
    ) -> tuple[int, Json]:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind, "User-Agent": "contract/1"}
        async with self.session.request(method, self.url + path, data=data, headers=headers, params=query) as response:
            return response.status, await response.json(content_type=None)

    async def minor(self) -> int:
        """The server's minor version, 36 for 1.36."""
        _, answer = await self.ask("GET", "/version")
        return int("".join(letter for letter in answer["minor"] if letter.isdigit()))

    async def make(self, plural: str, body: Json, **query: str) -> Json:
        status, answer = await self.ask("POST", self.path(plural), body, **query)
        assert status == 201, answer
        return answer

    async def read(self, plural: str, name: str) -> Json:
        status, answer = await self.ask("GET", self.path(plural, name))
        assert status == 200, answer
        return answer

    async def items(self, plural: str, **query: str) -> list[Json]:
        status, answer = await self.ask("GET", self.path(plural), **query)
        assert status == 200, answer
        found: list[Json] = answer["items"]
        return found

    async def patch(self, plural: str, name: str, body: Any, *, kind: str = MERGE_PATCH, **query: str) -> Json:
        status, answer = await self.ask("PATCH", self.path(plural, name), body, kind=kind, **query)
        assert status == 200, answer
        return answer

    async def until(self, plural: str, name: str, good: Callable[[Json], bool]) -> Json:
        """Reads an object until it is ``good``; fails with its last state at the deadline."""
        seen: Json = {}
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    seen = await self.read(plural, name)
                    if good(seen):
                        return seen
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{plural}/{name} never came to what was expected; last: {seen}") from None

    async def until_items(self, plural: str, good: Callable[[list[Json]], bool], **query: str) -> list[Json]:
        """Lists until the items are ``good``; fails with the last ones at the deadline."""
        seen: list[Json] = []
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    seen = await self.items(plural, **query)
                    if good(seen):
                        return seen
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{plural} never came to what was expected; last: {seen}") from None

    @asynccontextmanager
    async def watch(self, plural: str, **query: str) -> AsyncIterator[AsyncIterator[Json]]:
        """A watch's events, one after another, until the server ends the stream."""
        query = {"watch": "1", **query}
        async with self.session.get(self.url + self.path(plural), params=query) as response:
            assert response.status == 200, await response.text()

            async def events() -> AsyncIterator[Json]:
                async for line in response.content:
                    yield json.loads(line)

            yield events()


@asynccontextmanager
async def client_of_sandbox(cluster: SandboxCluster) -> AsyncIterator[ClusterClient]:
    """A client in a new namespace of the sandbox."""
    async with aiohttp.ClientSession() as session, _in_a_namespace(session, cluster.url) as client:
        yield client


@asynccontextmanager
async def client_of_plane(plane: ControlPlane) -> AsyncIterator[ClusterClient]:
    """The admin's client in a new namespace of a control plane."""
    connector = aiohttp.TCPConnector(ssl=plane.ssl_context())
    headers = {"Authorization": f"Bearer {plane.token(ADMIN)}"}
    async with (
        aiohttp.ClientSession(headers=headers, connector=connector) as session,
        _in_a_namespace(session, plane.url) as client,
    ):
        yield client


@asynccontextmanager
async def _in_a_namespace(session: aiohttp.ClientSession, url: str) -> AsyncIterator[ClusterClient]:
    client = ClusterClient(session=session, url=url, namespace=f"contract-{uuid4().hex[:8]}")
    status, answer = await client.ask("POST", "/api/v1/namespaces", {"metadata": {"name": client.namespace}})
    assert status == 201, answer
    yield client
    await client.ask("DELETE", f"/api/v1/namespaces/{client.namespace}")


async def gather_until(events: AsyncIterator[Json], good: Callable[[Json], bool]) -> list[Json]:
    """The events up to the first ``good`` one; fails with what was seen at the deadline or the stream's end."""
    seen: list[Json] = []
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for event in events:
                seen.append(event)
                if good(event):
                    return seen
    except TimeoutError:
        pass
    raise AssertionError(f"the event never came; seen: {seen}")


def deployment(name: str = "web", image: str = "shop:v1", *, replicas: int = 2, **spec: Any) -> Json:
    """A Deployment with one container, fit for a real cluster and for the sandbox."""
    return _workload("Deployment", name, image, replicas=replicas, **spec)


def statefulset(name: str = "db", image: str = "shop:v1", *, replicas: int = 3, **spec: Any) -> Json:
    """A StatefulSet with one container and no volumes."""
    return _workload("StatefulSet", name, image, replicas=replicas, serviceName=name, **spec)


def daemonset(name: str = "agent", image: str = "shop:v1", **spec: Any) -> Json:
    """A DaemonSet with one container, for every node without a taint."""
    return _workload("DaemonSet", name, image, **spec)


def _workload(kind: str, name: str, image: str, **spec: Any) -> Json:
    labels = {"app": name}
    container = {"name": "main", "image": image, "env": [{"name": "MODE", "value": "test"}]}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
    body = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": body}


def set_image(image: str) -> Json:
    """A strategic merge patch that changes the container's image."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}


def complete(obj: Json) -> bool:
    """Whether a Deployment's rollout is over, as ``kubectl rollout status`` means it."""
    status, wanted = obj.get("status", {}), obj["spec"]["replicas"]
    numbers = [status.get(field, 0) for field in ("updatedReplicas", "replicas", "availableReplicas")]
    return status.get("observedGeneration", 0) >= obj["metadata"]["generation"] and numbers == [wanted] * 3


def observed(obj: Json) -> bool:
    """Whether the controller has seen the latest spec."""
    return bool(obj.get("status", {}).get("observedGeneration", 0) >= obj["metadata"]["generation"])


def set_complete(obj: Json) -> bool:
    """Whether a StatefulSet has all its pods, ready and of the update revision, which has become the current one."""
    status, wanted = obj.get("status", {}), obj["spec"]["replicas"]
    numbers = [status.get(field, 0) for field in ("updatedReplicas", "currentReplicas", "replicas", "readyReplicas")]
    return (
        observed(obj) and numbers == [wanted] * 4 and status.get("currentRevision") == status.get("updateRevision", "")
    )


def daemons_complete(obj: Json) -> bool:
    """Whether a DaemonSet has an available pod of the present template on every node that it wants."""
    status = obj.get("status", {})
    fields = ("currentNumberScheduled", "updatedNumberScheduled", "numberReady", "numberAvailable")
    wanted = status.get("desiredNumberScheduled", 0)
    return observed(obj) and wanted > 0 and [status.get(field, 0) for field in fields] == [wanted] * 4


def image_of(revision_or_pod: Json) -> str:
    """The first container's image of a pod, of a workload, or of the template that a ControllerRevision restores."""
    spec = revision_or_pod.get("data", revision_or_pod)["spec"]
    return str(spec.get("template", {"spec": spec})["spec"]["containers"][0]["image"])


def condition(obj: Json, kind: str) -> Json:
    """A condition of the status, {} without it."""
    return next((one for one in obj.get("status", {}).get("conditions", []) if one["type"] == kind), {})


def revision(obj: Json) -> str:
    """The revision annotation, "" without it."""
    return str(obj["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision", ""))
