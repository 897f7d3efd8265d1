"""Fills a control plane with workloads, changes some of them, and reads collections without any code of the daemon's.

No controller is needed, and none should run: Deployments, ReplicaSets and pods are written as controllers and nodes leave
them (owners, hashes, revisions, status). For whoever watches the API there is no difference. The first workload is made by
requests, the others are copies of it (copies.py); every later change is a request again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp

from tests.controlplane import copies
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import path

Json = dict[str, Any]
Version = tuple[str, str]
"""The uid of an object and its resourceVersion."""

NAMESPACES = 10
AT_ONCE = 48
"""Requests under way: enough to keep an API server on two cores busy."""

TIMES_ROLLED, TIMES_REMOVED, TIMES_ADDED = 12, 3, 3
"""What one `stir` does to how many Deployments: some 300 writes, about a second."""

MERGE = "application/merge-patch+json"
_BARE, _BARE_LIST = (
    f"application/json;as=PartialObjectMetadata{more};g=meta.k8s.io;v=v1" for more in ("", "List")
)  # fmt: skip
"""Answers without spec and status: nobody here reads them."""

_SINCE = "2026-01-01T00:00:00Z"


@dataclass(slots=True)
class App:
    """One Deployment of the crowd: what its newest version is, and the names of its pods."""

    name: str
    namespace: str
    version: int = 0
    uid: str = ""
    set_uid: str = ""
    uids: list[str] = field(default_factory=list)
    sets: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)

    @property
    def image(self) -> str:
        """Of the newest version."""
        return f"registry.example/shop/{self.name}:v{self.version}"

    @property
    def labels(self) -> dict[str, str]:
        """Of the newest ReplicaSet and its pods."""
        return {"app": self.name, "pod-template-hash": f"v{self.version}"}


class Crowd:
    """So many Deployments, each with a ReplicaSet for each of its versions and so many pods of the newest."""

    def __init__(self, plane: ControlPlane, *, deployments: int, pods_each: int) -> None:
        self._plane = plane
        self._deployments = deployments
        self._pods_each = pods_each
        self._numbers = count()
        self._http: aiohttp.ClientSession | None = None
        self.apps: dict[str, App] = {}
        self.others: list[str] = []
        """One object of every other collection, by address."""

    @asynccontextmanager
    async def hands(self) -> AsyncIterator[None]:
        """Connections for everything below, in the loop that runs now; straight to the API server, as the admin."""
        connector = aiohttp.TCPConnector(ssl=self._plane.ssl_context(), limit=AT_ONCE)
        headers = {"Authorization": f"Bearer {self._plane.token('admin')}"}
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as self._http:
            yield

    # -- filling and changing ----------------------------------------------------------------------------------

    async def fill(self) -> None:
        """Everything, at its second version: two ReplicaSets for each Deployment, pods of the newer."""
        for number in range(NAMESPACES):
            await self._write("POST", "/api/v1/namespaces", {"metadata": {"name": _namespace(number)}})
        first = self._new_app()
        await self._appear(first, versions=2)
        assert self._http is not None
        keys = [f"/registry/deployments/{first.namespace}/{first.name}"]
        keys += [f"/registry/replicasets/{first.namespace}/{name}" for name in first.sets]
        keys += [f"/registry/pods/{first.namespace}/{name}" for name in first.pods]
        etcd = self._plane.layout.etcd_url
        mould = await copies.stored(self._http, etcd, keys)
        await copies.copy(self._http, etcd, mould, (self._copied(first) for _ in range(self._deployments - 1)))

    def _copied(self, first: App) -> dict[str, str]:
        """One more app, and the words by which it differs from the first."""
        app = self._new_app()
        uids = dict(copies.numbered(first.uids, int(app.name[-5:])))
        app.version, app.uid, app.set_uid = first.version, uids[first.uid], uids[first.set_uid]
        app.sets = [name.replace(first.name, app.name) for name in first.sets]
        app.pods = [name.replace(first.name, app.name) for name in first.pods]
        return {first.name: app.name, first.namespace: app.namespace, **uids}

    async def place(self, collection: str, body: Json) -> None:
        """One object of another collection (its address without a namespace), which `stir` changes too."""
        root, _, plural = collection.rpartition("/")
        address = f"{root}/namespaces/{_namespace(0)}/{plural}"
        await self._write("POST", address, body)
        self.others.append(f"{address}/{body['metadata']['name']}")

    async def stir(self) -> list[App]:
        """Deployments are rolled, deleted and created, one object of each other collection is changed; the rolled ones."""
        apps = list(self.apps.values())
        rolled, removed = apps[:TIMES_ROLLED], apps[TIMES_ROLLED : TIMES_ROLLED + TIMES_REMOVED]
        for app in rolled:  # to the end of the line: each stir takes others
            self.apps[app.name] = self.apps.pop(app.name)
        stamp = {"metadata": {"annotations": {"stirred": str(next(self._numbers))}}}
        await self._at_once(
            [
                *(self._roll(app) for app in rolled),
                *(self._vanish(app) for app in removed),
                *(self._appear(self._new_app(), versions=1) for _ in range(TIMES_ADDED)),
                *(self._write("PATCH", other, stamp) for other in self.others),
                self._write("PATCH", f"/api/v1/namespaces/{_namespace(1)}", stamp),
            ]
        )
        return rolled

    def _new_app(self) -> App:
        number = next(self._numbers)
        app = App(name=f"app-{number:05}", namespace=_namespace(number % NAMESPACES))
        self.apps[app.name] = app
        return app

    async def _appear(self, app: App, *, versions: int) -> None:
        for app.version in range(1, versions):
            await self._deploy(app)
        app.version = versions
        await self._deploy(app)
        await self._serve(app)

    async def _roll(self, app: App) -> None:
        old, app.pods = app.pods, []
        app.version += 1
        await self._deploy(app)
        await self._serve(app)
        for name in old:
            await self._write("DELETE", path(app.namespace, "pods", name))
        await self._write("DELETE", path(app.namespace, "replicasets", app.sets.pop(0)))

    async def _vanish(self, app: App) -> None:
        del self.apps[app.name]
        await self._write("DELETE", path(app.namespace, "deployments", app.name))
        for plural, names in (("replicasets", app.sets), ("pods", app.pods)):
            for name in names:
                await self._write("DELETE", path(app.namespace, plural, name))

    async def _deploy(self, app: App) -> None:
        """The Deployment at its newest version, and the ReplicaSet of that."""
        spec = {"replicas": self._pods_each, "selector": {"matchLabels": {"app": app.name}}, "template": _template(app)}
        marks = {"annotations": {"deployment.kubernetes.io/revision": str(app.version)}}
        if not app.uid:
            body = {"metadata": {"name": app.name, **marks}, "spec": spec}
            made = await self._write("POST", path(app.namespace, "deployments"), body)
            app.uid = made["metadata"]["uid"]
        else:
            body = {"metadata": marks, "spec": {"template": spec["template"]}}
            await self._write("PATCH", path(app.namespace, "deployments", app.name), body)
        hashed = app.labels
        name = f"{app.name}-v{app.version}"
        metadata = {
            "name": name,
            "labels": hashed,
            "ownerReferences": [_owner("apps/v1", "Deployment", app.name, app.uid)],
        }
        spec = {"replicas": self._pods_each, "selector": {"matchLabels": hashed}, "template": _template(app, hashed)}
        body = {"metadata": {**metadata, **marks}, "spec": spec}
        app.set_uid = (await self._write("POST", path(app.namespace, "replicasets"), body))["metadata"]["uid"]
        app.sets.append(name)
        app.uids += [app.uid, app.set_uid]

    async def _serve(self, app: App) -> None:
        """Pods of the newest ReplicaSet that are ready, and a Deployment that says so."""
        owner = _owner("apps/v1", "ReplicaSet", app.sets[-1], app.set_uid)
        template = _template(app, app.labels)
        for number in range(self._pods_each):
            name = f"{app.sets[-1]}-{number}"
            metadata = {"name": name, "labels": template["metadata"]["labels"], "ownerReferences": [owner]}
            body = {"metadata": metadata, "spec": {**template["spec"], "nodeName": f"node-{number}"}}
            app.uids.append((await self._write("POST", path(app.namespace, "pods"), body))["metadata"]["uid"])
            await self._write("PATCH", f"{path(app.namespace, 'pods', name)}/status", _pod_status(app, number))
            app.pods.append(name)
        numbers = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), self._pods_each)
        status = {"status": {**numbers, "observedGeneration": 1_000_000}}
        await self._write("PATCH", f"{path(app.namespace, 'deployments', app.name)}/status", status)

    # -- reading -----------------------------------------------------------------------------------------------

    async def fresh(self, collection: str) -> dict[tuple[str, str], Version]:
        """Everything that is in a collection now: namespace and name, uid and resourceVersion."""
        answer = await self._send("GET", collection, headers={"Accept": _BARE_LIST})
        found = [each["metadata"] for each in answer["items"]]
        return {(one.get("namespace", ""), one["name"]): (one["uid"], one["resourceVersion"]) for one in found}

    # -- requests ----------------------------------------------------------------------------------------------

    async def _at_once(self, works: list[Coroutine[Any, Any, Any]]) -> None:
        waiting = iter(works)

        async def worker() -> None:
            for work in waiting:
                await work

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())

    async def _write(self, method: str, address: str, body: Json | None = None) -> Json:
        kind = MERGE if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        return await self._send(method, address, data=data, headers={"Content-Type": kind, "Accept": _BARE})

    async def _send(self, method: str, address: str, **options: Any) -> Json:
        assert self._http is not None, "use `async with crowd.hands()`"
        async with self._http.request(method, self._plane.url + address, **options) as response:
            answer: Json = json.loads(await response.read())
            assert response.status in {200, 201}, f"{method} {address}: {response.status} {answer}"
            return answer


def _namespace(number: int) -> str:
    return f"crowd-{number}"


def _owner(api_version: str, kind: str, name: str, uid: str) -> Json:
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True}


def _template(app: App, labels: Json | None = None) -> Json:
    """Of the size of a real one: probes, variables, limits."""
    container = {
        "name": "main",
        "image": app.image,
        "ports": [{"containerPort": 8080, "name": "http"}],
        "env": [{"name": f"SETTING_{number}", "value": "x" * 40} for number in range(10)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}, "periodSeconds": 10},
    }
    # Without a grace period a deleted pod is gone at once; there is no node to wait for.
    return {
        "metadata": {"labels": labels or {"app": app.name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


def _pod_status(app: App, number: int) -> Json:
    conditions = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    container = {
        "name": "main",
        "image": app.image,
        "imageID": f"registry.example/shop/{app.name}@sha256:{app.version:064x}",
        "containerID": f"containerd://{number:064x}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": _SINCE}},
    }
    return {
        "status": {
            "phase": "Running",
            "startTime": _SINCE,
            "podIP": f"10.0.0.{number + 1}",
            "conditions": [{"type": each, "status": "True", "lastTransitionTime": _SINCE} for each in conditions],
            "containerStatuses": [container],
        }
    }
