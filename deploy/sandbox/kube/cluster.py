"""``SandboxCluster``: the API server, the controllers and the kubelet as one thing to start and stop."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from deploy.sandbox.kube.availability import Availability
from deploy.sandbox.kube.behaviours import Behaviour, BehaviourOf, Behaviours
from deploy.sandbox.kube.daemonsets import DaemonSetController
from deploy.sandbox.kube.deployments import DeploymentController
from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.faults import Faults
from deploy.sandbox.kube.garbage import GarbageCollector
from deploy.sandbox.kube.nodes import NODES_MAX, node, node_status
from deploy.sandbox.kube.pods import Kill, Kubelet, PodHooks, SetReady, Timing
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.replicasets import ReplicaSetController
from deploy.sandbox.kube.resources import (
    CONTROLLER_REVISIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    STATEFULSETS,
    by_kind,
    named,
)
from deploy.sandbox.kube.server import ApiServer
from deploy.sandbox.kube.statefulsets import StatefulSetController
from deploy.sandbox.kube.store import HISTORY_MAX, Change, Store
from deploy.sandbox.kube.workloads import controller_of
from deploy.sandbox.kube.workqueue import Key, WorkQueue

BOOKMARK_SECONDS = 2.0
"""Between bookmarks on a quiet watch; a real server sends one a minute."""

NODE_COUNT = 3
"""Nodes of a cluster that is not asked for another number: node-1 to node-3."""

_BOOT = Write(manager="sandbox")
_CONTROLLED = (DEPLOYMENTS, REPLICASETS, STATEFULSETS, DAEMONSETS)
_OWNED = (PODS, REPLICASETS, CONTROLLER_REVISIONS)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SandboxCluster:
    """A cluster on 127.0.0.1, from ``async with`` to its end. All state is in memory.

    ``port`` 0 takes a free one. ``timing`` and ``behaviour_of`` shape the pods (see ``pods`` and ``behaviours``),
    ``clock`` gives the times that are written down, ``seed`` makes uids and pod names repeatable, ``network`` is the
    second byte of pod addresses (one per cluster on a machine), ``token`` the bearer token asked for, ``history_max``
    bounds what a watch can resume from, ``nodes`` is the number of nodes at the start (``node-1`` and on; ``add_node``
    adds more, DELETE takes one away). ``faults``, ``hooks`` and ``behaviours`` may be changed at any time.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        timing: Timing | None = None,
        behaviour_of: BehaviourOf | None = None,
        clock: Callable[[], datetime] = _utc_now,
        seed: int = 0,
        network: int = 10,
        token: str = "",
        bookmark_seconds: float = BOOKMARK_SECONDS,
        history_max: int = HISTORY_MAX,
        nodes: int = NODE_COUNT,
    ) -> None:
        if not 0 <= nodes <= NODES_MAX:
            raise ValueError(f"nodes: {nodes} is not between 0 and {NODES_MAX}")
        timing = timing or Timing()
        self.faults = Faults()
        self.hooks = PodHooks()
        self.behaviours: BehaviourOf = behaviour_of or Behaviours()
        self.store = Store(history_max=history_max)
        self.registry = Registry(self.store, clock=clock, seed=seed)
        self._port = port
        self._token = token
        self._node_count = nodes
        self._queue = WorkQueue(self._work)
        self._availability = Availability(time_scale=timing.scale)
        self._sync = self._controllers(timing)
        self._garbage = GarbageCollector(self.registry)
        self.kubelet = Kubelet(
            self.registry,
            timing=timing,
            behaviour_of=self._behaviour,
            hooks=self.hooks,
            network=network,
        )
        self.server = ApiServer(
            self.registry, self._garbage, self.faults, bookmark_seconds=bookmark_seconds, token=token
        )
        self._runner: web.AppRunner | None = None
        self._worker: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, once started."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        # The counters listen before the queue and the kubelet, so that both find them up to date.
        for listener in (self._availability.saw, self._garbage.saw, self._saw, self.kubelet.saw):
            self.store.listen(listener)
        self._boot()
        self._worker = asyncio.create_task(self._queue.run())
        self._runner = web.AppRunner(
            self.server.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.5
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.watches.cut()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        await self.kubelet.close()

    def write_kubeconfig(self, path: Path) -> Path:
        """Writes a kubeconfig for this cluster (JSON, which is YAML) and returns its path."""
        name = "sandbox"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {"token": self._token} if self._token else {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        }
        path.write_text(json.dumps(config, indent=2))
        return path

    def objects(self, api_version: str, plural: str, namespace: str = "") -> list[Json]:
        """Copies of all objects of a kind, e.g. ``objects("apps/v1", "deployments")``."""
        return copy.deepcopy(self.store.objects(named(api_version, plural), namespace))

    def object(self, api_version: str, plural: str, name: str, namespace: str = "default") -> Json | None:
        """A copy of one object, or None."""
        return copy.deepcopy(self.store.get(named(api_version, plural), namespace, name))

    def create(self, obj: Json, *, manager: str = "sandbox") -> Json:
        """Stores an object as a POST would; ApiError for one that is refused, KeyError for an unknown kind."""
        resource = by_kind(obj["apiVersion"], obj["kind"])
        if resource is None:
            raise KeyError(f"no kind {obj['apiVersion']} {obj['kind']} in the sandbox")
        namespace = obj["metadata"].get("namespace", "default") if resource.namespaced else ""
        return copy.deepcopy(self.registry.create(resource, namespace, obj, Write(manager=manager)))

    def define(self, api_version: str, plural: str) -> None:
        """Serves a custom kind from now on, as when its CustomResourceDefinition is created; KeyError for others."""
        self.server.defined.add(named(api_version, plural))

    def add_node(self, name: str, *, labels: dict[str, str] | None = None) -> None:
        """Adds a node that is ready; ApiError for a name that is taken."""
        number = len(self.store.objects(NODES))
        self.registry.create(NODES, "", node(name, labels or {}), _BOOT)
        fresh = self.registry.copy(NODES, "", name)
        fresh["status"] = node_status(number, self.registry.stamp())
        self.registry.update(NODES, "", name, fresh, Write(manager="kubelet", subresource="status"))

    def kill(self, name: str, *, namespace: str = "default", reason: str = "Error", exit_code: int = 1) -> None:
        """Ends the container of a running pod; the kubelet restarts it. ``OOMKilled`` goes with exit code 137."""
        self.kubelet.command(namespace, name, Kill(reason=reason, exit_code=exit_code))

    def set_ready(self, name: str, *, ready: bool, namespace: str = "default") -> None:
        """Makes a running pod's readiness probe pass or fail."""
        self.kubelet.command(namespace, name, SetReady(ready=ready))

    def go_down(self) -> None:
        """From now on every connection is dropped; running watches are cut."""
        self.faults.down = True
        self.server.watches.cut(abrupt=True)

    def come_up(self) -> None:
        """Ends ``go_down``."""
        self.faults.down = False

    def cut_watches(self, *, abrupt: bool = False) -> None:
        """Ends all running watches: with an orderly EOF, or ``abrupt``."""
        self.server.watches.cut(abrupt=abrupt)

    def compact(self) -> None:
        """Forgets history: a watch from any older resourceVersion and any continue token gets 410."""
        self.store.compact()
        self.server.lister.forget()

    def forbid_image(self, part: str) -> None:
        """Denies (403, as an admission webhook does) every pod template with an image that contains ``part``."""

        def check(_resource: object, obj: Json) -> str | None:
            spec = obj.get("spec") or {}
            containers = (spec.get("template") or {"spec": spec}).get("spec", {}).get("containers") or []
            found = next((one["image"] for one in containers if part in one.get("image", "")), None)
            return f"image {found} is forbidden" if found else None

        self.registry.admission.append(check)

    def _behaviour(self, image: str, pod: Json) -> Behaviour:
        return self.behaviours(image, pod)

    def _boot(self) -> None:
        for name in ("default", "kube-system", "kube-public"):
            self.registry.create(NAMESPACES, "", {"metadata": {"name": name}}, _BOOT)
        self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
        for index in range(self._node_count):
            self.add_node(f"node-{index + 1}")

    def _saw(self, change: Change) -> None:
        metadata = change.obj["metadata"]
        if change.resource in _CONTROLLED:
            self._queue.add((change.resource.kind, metadata["namespace"], metadata["name"]))
        if change.resource is NODES:
            for one in self.store.objects(DAEMONSETS):
                self._queue.add(("DaemonSet", one["metadata"]["namespace"], one["metadata"]["name"]))
        owner = controller_of(change.obj) if change.resource in _OWNED else None
        if owner is None:
            return
        self._queue.add((owner["kind"], metadata["namespace"], owner["name"]))
        if change.resource is PODS and change.type == "DELETED":
            # A Recreate rollout waits for the last old pod, which no status of the ReplicaSet shows.
            replicaset = self.store.get(REPLICASETS, metadata["namespace"], owner["name"])
            above = controller_of(replicaset) if replicaset is not None else None
            if above is not None:
                self._queue.add((above["kind"], metadata["namespace"], above["name"]))

    def _work(self, key: Key) -> None:
        kind, namespace, name = key
        if kind in self._sync:
            self._sync[kind](namespace, name)

    def _controllers(self, timing: Timing) -> dict[str, Callable[[str, str], None]]:
        """What brings one object of a kind a step further, by kind."""

        def again(kind: str) -> Callable[[str, str, float], None]:
            return lambda namespace, name, seconds: self._queue.add_after((kind, namespace, name), seconds)

        registry, availability = self.registry, self._availability
        deployments = DeploymentController(registry, time_scale=timing.scale, again=again("Deployment"))
        replicasets = ReplicaSetController(registry, availability=availability, again=again("ReplicaSet"))
        statefulsets = StatefulSetController(registry, availability=availability, again=again("StatefulSet"))
        daemonsets = DaemonSetController(registry, availability=availability, again=again("DaemonSet"))
        return {
            "Deployment": deployments.sync,
            "ReplicaSet": replicasets.sync,
            "StatefulSet": statefulsets.sync,
            "DaemonSet": daemonsets.sync,
        }
