"""One pod on a simulated node, from the moment it is bound to its end."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from deploy.sandbox.kube import HEALTHY, Behaviour, pod_status
from tests.controlplane.node_api import Json

if TYPE_CHECKING:
    from tests.controlplane.kubelet import Node

OWN_FIELDS = ("phase", "hostIP", "podIP", "podIPs", "startTime", "containerStatuses")
OWN_CONDITIONS = {"Initialized", "Ready", "ContainersReady"}
"""Others (`PodScheduled`, readiness gates, `DisruptionTarget`) belong to others."""


class Gone(Exception):  # noqa: N818 -- it is no error: the pod went while we wrote
    """The pod is no more."""


class Life:
    """Leads a pod through the states of its behaviour; what it says to the API server is what a kubelet says."""

    def __init__(self, node: Node, pod: Json) -> None:
        self._node = node
        self._timing = node.timing
        self._pod = copy.deepcopy(pod)
        metadata = pod["metadata"]
        self.uid: str = metadata["uid"]
        self.name: str = f"{metadata['namespace']}/{metadata['name']}"
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self._known = bool(pod["status"].get("containerStatuses"))
        self._address: str = pod["status"].get("podIP", "")
        self._backoff = 0.0
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._grace = float("inf")
        if self._address:
            node.addresses.keep(self._address)
        else:
            self._address = node.addresses.take()

    # -- what the node sees ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Starts the pod, or goes on with one that runs since before we were started."""
        self._task = self._node.spawn(self._live(), self.name)

    def end(self, grace_seconds: float) -> None:
        """It is being deleted; once more, if now it must go faster."""
        if grace_seconds >= self._grace:
            return
        self._grace = grace_seconds
        for task in (self._task, self._ending):
            if task is not None:
                task.cancel()
        self._ending = self._node.spawn(self._terminate(min(grace_seconds, self._timing.termination)), self.name)

    def gone(self) -> None:
        """It is not there any more."""
        for task in (self._task, self._ending):
            if task is not None:
                task.cancel()
        self._node.addresses.give_back(self._address)

    # -- what it does ------------------------------------------------------------------------------------------

    async def _terminate(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        await self._node.api.insist("DELETE", self._path, options)

    async def _live(self) -> None:
        try:
            await self._live_on()
        except Gone:
            pass  # the node will hear of it

    async def _live_on(self) -> None:
        if self._pod["status"].get("phase") in {"Succeeded", "Failed"}:
            return
        name, behaviour = self._culprit()
        if not behaviour.schedulable:
            return
        start = self._timing.start if behaviour.start_seconds is None else behaviour.start_seconds
        if not self._known:
            await self._write(lambda pod, now: pod_status.accepted(pod, self._node.address, now))
            await asyncio.sleep(start * 2 / 3)
        if behaviour.waiting:
            await self._wait_for_ever(name, behaviour.waiting)
            return
        await self._write(lambda pod, now: pod_status.running(pod, self._address, now))
        while True:
            began = asyncio.get_running_loop().time()
            await self._run(name, behaviour, start / 3)
            await self._end_container(name, behaviour)
            if await self._stays_ended(behaviour):
                return
            lasted = asyncio.get_running_loop().time() - began
            await self._back_off(name, reset=lasted > 2 * self._timing.backoff_max)
            name, behaviour = self._culprit(name)
            await self._restart(name)

    def _culprit(self, known: str = "") -> tuple[str, Behaviour]:
        """The container whose behaviour shapes the pod: the one that did already, else the first not healthy one."""
        containers = self._pod["spec"]["containers"]
        choices = [(one["name"], self._node.behaviour_of(one["image"], self._pod)) for one in containers]
        if known:
            return next(one for one in choices if one[0] == known)
        return next((one for one in choices if one[1] != HEALTHY), choices[0])

    async def _run(self, name: str, behaviour: Behaviour, until_ready: float) -> None:
        """From the start of the container to its end; without an end, until it is cancelled."""
        lives = behaviour.lives_seconds
        if lives is not None and lives <= until_ready:
            await asyncio.sleep(lives)
            return
        await asyncio.sleep(until_ready)
        unready = "" if behaviour.becomes_ready else name

        def ready(pod: Json, now: str) -> None:
            for one in pod["status"]["containerStatuses"]:
                one["ready"] = one["name"] != unready
            pod_status.readiness(pod, now)

        await self._write(ready)
        if lives is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(lives - until_ready)

    async def _end_container(self, name: str, how: Behaviour) -> None:
        await self._write_container(name, lambda one, now: pod_status.terminated(one, how.reason, how.exit_code, now))

    async def _stays_ended(self, how: Behaviour) -> bool:
        """A Job's pod is not restarted, or only when it failed."""
        policy = self._pod["spec"].get("restartPolicy", "Always")
        if policy == "Always" or (policy == "OnFailure" and how.exit_code):
            return False
        phase = "Failed" if how.exit_code else "Succeeded"
        await self._write(lambda pod, _now: pod["status"].update(phase=phase))
        return True

    async def _back_off(self, name: str, *, reset: bool) -> None:
        restarts = pod_status.container(self._pod, name)["restartCount"]
        if reset or restarts == 0:
            self._backoff = 0.0
            # Long enough for a watcher of the status to see the terminated state, as on a real node.
            await asyncio.sleep(min(0.05, self._timing.backoff))
            return
        self._backoff = min(self._timing.backoff_max, self._backoff * 2 or self._timing.backoff)
        whose = f"{self.name.partition('/')[2]}_{self.name.partition('/')[0]}({self.uid})"
        message = f"back-off {self._backoff:g}s restarting failed container={name} pod={whose}"
        await self._write_container(name, lambda one, _now: pod_status.waiting(one, "CrashLoopBackOff", message))
        await asyncio.sleep(self._backoff)

    async def _restart(self, name: str) -> None:
        def change(pod: Json, now: str) -> None:
            one = pod_status.container(pod, name)
            one["restartCount"] += 1
            pod_status.running(pod, self._address, now, restarted=one)

        await self._write(change)

    async def _wait_for_ever(self, name: str, reason: str) -> None:
        """Never starts. A pull that fails alternates between the error and its back-off, as on a real node."""
        if reason != "ImagePullBackOff":
            await self._write_container(name, lambda one, _now: pod_status.waiting(one, reason, "planned by a test"))
            return
        image = pod_status.container(self._pod, name)["image"]
        error, back_off = f'failed to resolve reference "{image}": not found', f'Back-off pulling image "{image}"'
        pause = self._timing.backoff
        while True:
            await self._write_container(name, lambda one, _now: pod_status.waiting(one, "ErrImagePull", error))
            await asyncio.sleep(min(0.1, pause))
            await self._write_container(name, lambda one, _now: pod_status.waiting(one, reason, back_off))
            await asyncio.sleep(pause)
            pause = min(self._timing.backoff_max, pause * 2)

    # -- what it writes ----------------------------------------------------------------------------------------

    async def _write_container(self, name: str, change: Callable[[Json, str], None]) -> None:
        def whole(pod: Json, now: str) -> None:
            change(pod_status.container(pod, name), now)
            pod_status.readiness(pod, now)

        await self._write(whole)

    async def _write(self, change: Callable[[Json, str], None]) -> None:
        """Changes our copy, and sends what of its status is ours. Gone when the pod is not there, or another of its name."""
        change(self._pod, self._node.now())
        status = self._pod["status"]
        own: Json = {name: status[name] for name in OWN_FIELDS if name in status}
        conditions = [one for one in status.get("conditions", []) if one["type"] in OWN_CONDITIONS]
        # Conditions are merged field by field: what a condition no longer says must be taken away by name.
        own["conditions"] = [{"reason": None, "message": None, **one} for one in conditions]
        body = {"metadata": {"uid": self.uid}, "status": own}
        code, answer = await self._node.api.patch(f"{self._path}/status", body)
        if code in {404, 409}:
            raise Gone
        if code != 200:
            raise RuntimeError(f"the status is refused: {code} {answer.get('message')}")
