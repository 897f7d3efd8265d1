"""Since when pods are ready, and so which are available: the timestamps on the wire are too coarse to scale."""

from __future__ import annotations

import asyncio

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.resources import PODS
from deploy.sandbox.kube.store import Change
from deploy.sandbox.kube.workloads import is_ready


class Availability:
    """Listens to the pods. ``time_scale``: seconds that an object writes down pass that many times faster."""

    def __init__(self, *, time_scale: float) -> None:
        self._time_scale = time_scale
        self._since: dict[str, float] = {}

    def saw(self, change: Change) -> None:
        """A listener for the store."""
        if change.resource is not PODS:
            return
        uid = change.obj["metadata"]["uid"]
        if change.type == "DELETED" or not is_ready(change.obj):
            self._since.pop(uid, None)
        else:
            self._since.setdefault(uid, asyncio.get_running_loop().time())

    def since(self, pod: Json) -> float:
        """The loop's time since when the pod is ready, 0 when it is not."""
        return self._since.get(pod["metadata"]["uid"], 0.0)

    def left(self, pod: Json, owner: Json) -> float | None:
        """Seconds of the loop's clock until the pod was ready for ``spec.minReadySeconds`` of its owner: 0 when it is
        available, None while it is not ready.
        """
        if not is_ready(pod):
            return None
        wanted = (owner["spec"].get("minReadySeconds") or 0) / self._time_scale
        return max(0.0, self.since(pod) + wanted - asyncio.get_running_loop().time()) if wanted else 0.0

    def has(self, pod: Json, owner: Json) -> bool:
        """Whether the pod is available."""
        return self.left(pod, owner) == 0

    def next_change(self, pods: list[Json], owner: Json) -> float | None:
        """Seconds until the next of these pods becomes available by waiting alone, None when none will."""
        waits = [left for pod in pods if (left := self.left(pod, owner))]
        return min(waits, default=None)
