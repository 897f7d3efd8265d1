"""Simulated nodes for a real control plane: what a kubelet says to the API server, without a container behind it.

`python -m tests.controlplane.kubelet SETTINGS.json`, as its own process, so that a busy test does not make nodes late.
Images choose what pods do, in the sandbox's language (deploy/sandbox/kube/behaviours.py), in its timing and with its
statuses: one language for both clusters. One word of it is the scheduler's here: `unschedulable` is a pod that asks for
more than a node has; an image of that name is bound by the real scheduler, and then stays Pending.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from deploy.sandbox.kube import Behaviour, Behaviours, Timing
from tests.controlplane.node_api import Api, Json
from tests.controlplane.pod_life import Life

CAPACITY = {"cpu": "4000", "memory": "16Ti", "pods": "5000", "ephemeral-storage": "16Ti"}
"""Of one node: ten thousand small pods fit on three."""

ADDRESSES_MAX = 250 * 250
"""Pods at a time; the addresses of pods that are gone are used again, the oldest first."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Addresses:
    """Different addresses for all pods of the cluster, below `network` (two bytes)."""

    network: str
    _free: list[int] = field(default_factory=lambda: list(range(ADDRESSES_MAX, 0, -1)))

    def take(self) -> str:
        """One that no pod has."""
        number = self._free.pop() - 1
        return f"{self.network}.{number // 250}.{number % 250 + 1}"

    def keep(self, address: str) -> None:
        """A pod of an earlier life of ours has it."""
        number = self._number(address)
        if number in self._free:
            self._free.remove(number)

    def give_back(self, address: str) -> None:
        """The pod is gone."""
        self._free.insert(0, self._number(address))

    def _number(self, address: str) -> int:
        third, fourth = address.split(".")[2:]
        return int(third) * 250 + int(fourth)


class PlannedBehaviours:
    """Behaviours by image from a file that a test may change while we run; any other image by its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0
        self._behaviours = Behaviours()

    def __call__(self, image: str, pod: Json) -> Behaviour:
        changed = self._path.stat().st_mtime_ns
        if changed != self._seen:
            planned = json.loads(self._path.read_text())
            self._behaviours = Behaviours({name: Behaviour(**fields) for name, fields in planned.items()})
            self._seen = changed
        return self._behaviours(image, pod)


@dataclass(kw_only=True)
class Node:
    """One node: it registers, follows the pods that are bound to it, and leads each through its life."""

    name: str
    address: str
    version: str
    api: Api
    timing: Timing
    behaviour_of: PlannedBehaviours
    addresses: Addresses
    tasks: asyncio.TaskGroup
    _lives: dict[str, Life] = field(default_factory=dict)

    async def run(self) -> None:
        """For ever; after each interruption it lists anew."""
        while True:
            try:
                await self._register()
                await self._follow(await self._list())
            except (aiohttp.ClientError, TimeoutError, ValueError, ConnectionError) as error:
                _log.warning("%s: begins anew after %r", self.name, error)
                await asyncio.sleep(0.2)

    async def _register(self) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.name,
                "labels": {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux"},
            },
        }
        status, _ = await self.api.insist("POST", "/api/v1/nodes", body)
        if status not in {201, 409}:
            raise ValueError(f"the node is refused: {status}")
        now = stamp()
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated"}
        facts = {
            "capacity": CAPACITY,
            "allocatable": CAPACITY,
            "addresses": [{"type": "InternalIP", "address": self.address}, {"type": "Hostname", "address": self.name}],
            "conditions": [{**condition, "lastHeartbeatTime": now, "lastTransitionTime": now}],
            "nodeInfo": {"kubeletVersion": self.version, "operatingSystem": "linux", "architecture": "amd64"},
        }
        await self.api.patch(f"/api/v1/nodes/{self.name}/status", {"status": facts})
        # Admission marks each new node as not ready; taking that away is the business of a controller that is left out.
        merge = "application/merge-patch+json"
        await self.api.insist("PATCH", f"/api/v1/nodes/{self.name}", {"spec": {"taints": None}}, kind=merge)

    @property
    def _mine(self) -> dict[str, str]:
        return {"fieldSelector": f"spec.nodeName={self.name}"}

    async def _list(self) -> str:
        """Brings the lives in line with what there is; returns the resourceVersion to watch from."""
        status, listed = await self.api.ask("GET", "/api/v1/pods", **self._mine)
        if status != 200:
            raise ValueError(f"the pods are refused: {status}")
        there = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
        for uid in [uid for uid in self._lives if uid not in there]:
            self._lives.pop(uid).gone()
        for pod in there.values():
            self._saw(pod)
        version: str = listed["metadata"]["resourceVersion"]
        return version

    async def _follow(self, version: str) -> None:
        query = {**self._mine, "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
        async for event in self.api.watch("/api/v1/pods", **query):
            match event["type"]:
                case "ADDED" | "MODIFIED":
                    self._saw(event["object"])
                case "DELETED":
                    if life := self._lives.pop(event["object"]["metadata"]["uid"], None):
                        life.gone()
                case "ERROR":
                    raise ValueError(event["object"].get("message", "the watch ends"))

    def _saw(self, pod: Json) -> None:
        metadata = pod["metadata"]
        life = self._lives.get(metadata["uid"])
        if life is None:
            life = self._lives[metadata["uid"]] = Life(self, pod)
            life.begin()
        if metadata.get("deletionTimestamp"):
            life.end(float(metadata.get("deletionGracePeriodSeconds", 0)))

    def now(self) -> str:
        """The moment, as the API writes it."""
        return stamp()

    def spawn(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        """Work of one pod: if it breaks, the other pods live on, and the log says so."""

        async def run() -> None:
            try:
                await work
            except Exception:  # noqa: BLE001 -- one pod that breaks must not be silent, nor stop the others
                _log.exception("%s: the pod %s broke", self.name, name)

        return self.tasks.create_task(run())


def stamp() -> str:
    """Now, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def run(settings: dict[str, Any]) -> None:
    """All nodes, until the process is ended. `settings` as ControlPlane writes them."""
    headers = {"Authorization": f"Bearer {settings['token']}", "User-Agent": f"kubelet/{settings['version']}"}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=settings["ca"]), limit=50)
    addresses = Addresses(network=settings["network"])
    behaviour_of = PlannedBehaviours(Path(settings["behaviours"]))
    async with (
        aiohttp.ClientSession(headers=headers, connector=connector, read_bufsize=2**22) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(1, settings["nodes"] + 1):
            node = Node(
                name=f"node-{number}", address=f"10.243.{number // 250}.{number % 250 + 1}", version=settings["version"],
                api=Api(session=session, url=settings["server"]), timing=Timing(**settings["timing"]),
                behaviour_of=behaviour_of, addresses=addresses, tasks=tasks,
            )  # fmt: skip
            tasks.create_task(node.run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))
