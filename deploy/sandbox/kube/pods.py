"""The simulated kubelet: one task per pod leads it through the states of its behaviour.

Nothing runs; what a pod would serve is up to the hooks. Times on the wire are the wall clock's, durations the
constructor's: a test need not wait ten seconds for a second crash.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from deploy.sandbox.kube import pod_status
from deploy.sandbox.kube.behaviours import HEALTHY, Behaviour, BehaviourOf
from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.nodes import Nodes
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.resources import NODES, PODS
from deploy.sandbox.kube.store import Change

ADDRESSES_MAX = 250 * 250
"""Pods one cluster can give an address to before they repeat."""

_log = logging.getLogger(__name__)
_MAIN = Write(manager="kube-scheduler", owns=False)
_STATUS = Write(manager="kubelet", subresource="status")

PodHook = Callable[[Json], Awaitable[None]]
"""Is awaited in the pod's own task; gets a copy of the pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of the loop's clock.

    ``start``: from scheduling to ready (two thirds of it until it runs). ``termination``: from the deletionTimestamp to
    the end, if the grace period allows. ``backoff``: before the second restart, doubled each time up to ``backoff_max``
    (the first restart is at once, as with a real kubelet). ``scale``: seconds an object writes down (minReadySeconds,
    progressDeadlineSeconds) pass that many times faster.
    """

    start: float = 0.3
    termination: float = 0.2
    backoff: float = 0.5
    backoff_max: float = 5.0
    scale: float = 1.0


@dataclass(slots=True, kw_only=True)
class PodHooks:
    """``started``: a container runs and has an address; the pod becomes ready only after this returns. ``ready``: after
    the Ready condition was written. ``stopped``: once for every ``started``, when the container ended or before the pod
    vanishes.
    """

    started: list[PodHook] = field(default_factory=list)
    ready: list[PodHook] = field(default_factory=list)
    stopped: list[PodHook] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Ends the running container."""

    reason: str = "Error"
    exit_code: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReady:
    """Makes the readiness probe pass or fail."""

    ready: bool


Command = Kill | SetReady


class Kubelet:
    """Runs all pods of the cluster. ``network`` is the second byte of their 127.x addresses."""

    def __init__(
        self, registry: Registry, *, timing: Timing, behaviour_of: BehaviourOf, hooks: PodHooks, network: int
    ) -> None:
        self.registry = registry
        self.timing = timing
        self.behaviour_of = behaviour_of
        self.hooks = hooks
        self.nodes = Nodes()
        self._network = network
        self._numbers = itertools.count()
        self._lives: dict[str, _Life] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def saw(self, change: Change) -> None:
        """A listener for the store: starts lives, ends them, and knows the nodes."""
        if change.resource is NODES:
            self.nodes.saw(change)
        if change.resource is not PODS:
            return
        uid = change.obj["metadata"]["uid"]
        if change.type == "ADDED":
            self._lives[uid] = life = _Life(self, change.obj)
            life.task = self._spawn(life.live())
        elif uid in self._lives and (change.type == "DELETED" or change.obj["metadata"].get("deletionTimestamp")):
            self._end(self._lives[uid], change)

    def command(self, namespace: str, name: str, command: Command) -> None:
        """Does something to a pod's (misbehaving or first) container; KeyError without such a pod."""
        pod = self.registry.store.get(PODS, namespace, name)
        if pod is None:
            raise KeyError(f"no pod {namespace}/{name}")
        self._lives[pod["metadata"]["uid"]].commands.put_nowait(command)

    async def close(self) -> None:
        """Ends all tasks, without a trace in the store; running containers are stopped."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for life in list(self._lives.values()):
            await life.stop()

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                await work
            except Exception:  # noqa: BLE001 -- one pod that breaks must not be silent, nor stop the others
                _log.exception("a simulated pod failed")

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _end(self, life: _Life, change: Change) -> None:
        metadata = change.obj["metadata"]
        grace = 0.0 if change.type == "DELETED" else float(metadata.get("deletionGracePeriodSeconds", 0))
        seconds = min(grace, self.timing.termination)
        if life.task is not None:
            life.task.cancel()
        if life.ending is not None:
            if change.type != "DELETED" and life.may_hurry:
                life.ending.cancel()
            else:
                return
        life.ending = self._spawn(self._terminate(life, seconds))

    async def _terminate(self, life: _Life, seconds: float) -> None:
        life.may_hurry = True
        await asyncio.sleep(seconds)
        life.may_hurry = False
        await life.stop()
        self._lives.pop(life.uid, None)
        current = self.registry.store.get(PODS, life.namespace, life.name)
        if current is not None and current["metadata"]["uid"] == life.uid:
            self.registry.store.remove(PODS, life.namespace, life.name)

    def address(self) -> str:
        """The next pod address."""
        number = next(self._numbers) % ADDRESSES_MAX
        return f"127.{self._network}.{number // 250}.{number % 250 + 1}"


class _Life:
    """One pod from its creation to its end."""

    def __init__(self, kubelet: Kubelet, pod: Json) -> None:
        self._kubelet = kubelet
        self._registry = kubelet.registry
        self._timing = kubelet.timing
        self.namespace, self.name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self.uid = pod["metadata"]["uid"]
        self.commands: asyncio.Queue[Command] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[None] | None = None
        self.may_hurry = True
        self._serving = False
        self._address = kubelet.address()
        self._backoff = 0.0
        self._last = pod

    async def live(self) -> None:
        """Leads the pod until it is cancelled."""
        await asyncio.sleep(0)
        name, behaviour = self._culprit()
        if not behaviour.schedulable or not self._schedule():
            self._write(pod_status.unschedulable)
            return
        start = self._timing.start if behaviour.start_seconds is None else behaviour.start_seconds
        await asyncio.sleep(start * 2 / 3)
        if behaviour.waiting:
            await self._wait_for_ever(name, behaviour.waiting)
            return
        self._write(lambda pod, now: pod_status.running(pod, self._address, now))
        while True:
            began = asyncio.get_running_loop().time()
            kill = await self._run(name, behaviour, start / 3)
            await self.stop()
            self._end_container(name, kill)
            lasted = asyncio.get_running_loop().time() - began
            await self._back_off(name, reset=lasted > 2 * self._timing.backoff_max)
            name, behaviour = self._culprit(name)
            self._restart(name)

    def _culprit(self, known: str = "") -> tuple[str, Behaviour]:
        """The container whose behaviour shapes the pod: the one that did already, else the first not healthy one."""
        pod = self._registry.get(PODS, self.namespace, self.name)
        choices = [(one["name"], self._kubelet.behaviour_of(one["image"], pod)) for one in pod["spec"]["containers"]]
        if known:
            return next(one for one in choices if one[0] == known)
        return next((one for one in choices if one[1] != HEALTHY), choices[0])

    def _schedule(self) -> bool:
        """Binds the pod to a node; whether there is one. A pod that found none is not tried again."""
        pod = self._registry.copy(PODS, self.namespace, self.name)
        place = self._kubelet.nodes.place(pod, int(self._address.rpartition(".")[2]))
        if place is None:
            return False
        pod["spec"]["nodeName"], address = place
        self._registry.update(PODS, self.namespace, self.name, pod, _MAIN)
        self._write(lambda pod, now: pod_status.accepted(pod, address, now))
        return True

    async def _run(self, name: str, behaviour: Behaviour, until_ready: float) -> Kill:
        """From the start of the container to its end."""
        loop = asyncio.get_running_loop()
        lives = behaviour.lives_seconds
        ends = None if lives is None else loop.time() + lives
        end = Kill(reason=behaviour.reason, exit_code=behaviour.exit_code)
        self._serving = True
        await self._call(self._kubelet.hooks.started)
        if lives is not None and lives <= until_ready:
            await asyncio.sleep(lives)
            return end
        await asyncio.sleep(until_ready)
        if behaviour.becomes_ready:
            await self._become(ready=True, but=name, unready=False)
        else:
            await self._become(ready=True, but=name, unready=True)
        while True:
            left = None if ends is None else max(0.0, ends - loop.time())
            try:
                command = await asyncio.wait_for(self.commands.get(), left)
            except TimeoutError:
                return end
            if isinstance(command, Kill):
                return command
            await self._become(ready=command.ready, but="", unready=False)

    async def _become(self, *, ready: bool, but: str, unready: bool) -> None:
        """Sets all containers ready or not; with ``unready``, the container ``but`` stays not ready."""

        def change(pod: Json, now: str) -> None:
            for one in pod["status"]["containerStatuses"]:
                one["ready"] = ready and not (unready and one["name"] == but)
            pod_status.readiness(pod, now)

        self._write(change)
        if ready and not unready:
            await self._call(self._kubelet.hooks.ready)

    def _end_container(self, name: str, kill: Kill) -> None:
        self._write_container(name, lambda one, now: pod_status.terminated(one, kill.reason, kill.exit_code, now))

    async def _back_off(self, name: str, *, reset: bool) -> None:
        restarts = pod_status.container(self._registry.get(PODS, self.namespace, self.name), name)["restartCount"]
        if reset or restarts == 0:
            self._backoff = 0.0
            # Long enough for a watcher of the status to see the terminated state, as on a real node.
            await asyncio.sleep(min(0.05, self._timing.backoff))
            return
        self._backoff = min(self._timing.backoff_max, self._backoff * 2 or self._timing.backoff)
        whose = f"{self.name}_{self.namespace}({self.uid})"
        message = f"back-off {self._backoff:g}s restarting failed container={name} pod={whose}"
        self._write_container(name, lambda one, _now: pod_status.waiting(one, "CrashLoopBackOff", message))
        await asyncio.sleep(self._backoff)

    def _restart(self, name: str) -> None:
        def change(pod: Json, now: str) -> None:
            one = pod_status.container(pod, name)
            one["restartCount"] += 1
            pod_status.running(pod, self._address, now, restarted=one)

        self._write(change)

    async def _wait_for_ever(self, name: str, reason: str) -> None:
        """Never starts. A pull that fails alternates between the error and its back-off, as on a real node."""
        image = next(
            one["image"]
            for one in self._registry.get(PODS, self.namespace, self.name)["spec"]["containers"]
            if one["name"] == name
        )
        if reason != "ImagePullBackOff":
            self._write_container(name, lambda one, _now: pod_status.waiting(one, reason, "planned by the sandbox"))
            return
        pause = self._timing.backoff
        error = f'failed to resolve reference "{image}": not found'
        while True:
            self._write_container(name, lambda one, _now: pod_status.waiting(one, "ErrImagePull", error))
            await asyncio.sleep(min(0.1, pause))
            self._write_container(
                name, lambda one, _now: pod_status.waiting(one, "ImagePullBackOff", f'Back-off pulling image "{image}"')
            )
            await asyncio.sleep(pause)
            pause = min(self._timing.backoff_max, pause * 2)

    async def stop(self) -> None:
        """Calls the ``stopped`` hooks if a container runs."""
        if self._serving:
            self._serving = False
            await self._call(self._kubelet.hooks.stopped)

    async def _call(self, hooks: list[PodHook]) -> None:
        pod = self._registry.store.get(PODS, self.namespace, self.name) or self._last
        self._last = pod
        for hook in hooks:
            await hook(pod)

    def _write(self, change: Callable[[Json, str], None]) -> None:
        pod = self._registry.copy(PODS, self.namespace, self.name)
        change(pod, self._registry.stamp())
        self._last = self._registry.update(PODS, self.namespace, self.name, pod, _STATUS)

    def _write_container(self, name: str, change: Callable[[Json, str], None]) -> None:
        def whole(pod: Json, now: str) -> None:
            change(pod_status.container(pod, name), now)
            pod_status.readiness(pod, now)

        self._write(whole)
