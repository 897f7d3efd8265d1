"""A big cluster and bad weather: after each, our view equals a fresh list, and nobody stormed the API server.

The API server and etcd are real, the proxy between (weather.py) makes the weather, and the crowd (crowd.py) changes while it
lasts. 2,000 Deployments and 10,000 pods on the newest minor; a tenth of that on the others, where the same must hold.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from daemon.core.events import Event, WorkloadSeen
from daemon.core.model import WorkloadKey, WorkloadView
from handlers import kube, reflector
from handlers.faults import Fault, FaultKind
from handlers.inbound.cluster import ClusterWatch
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.reflector import Reflector
from handlers.store import key_of, uid_of, version_of
from tests.controlplane import builds, definitions
from tests.controlplane.builds import Release
from tests.controlplane.crowd import Crowd, Json
from tests.controlplane.plane import APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES, ControlPlane
from tests.controlplane.steps import BuildError
from tests.controlplane.weather import LIST, WATCH, Weather, spread, weather_over
from tests.controlplane.workloads import workload
from tests.handlers.rollback_world import WallClock

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

SECONDS = 60.0
"""For our view to come right after a weather; the longest of our own waits is 30."""

AMID_SECONDS = 0.2
"""Until something happens amid changes, which take longer."""

OUTAGE_SECONDS = 8.0
ASKED_IN_AN_OUTAGE_MAX = 8
"""For each collection in OUTAGE_SECONDS: five by our waits, and what the transport tries anew by itself."""

USER = "lastgood"
ROLE = "tests:watches"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Land:
    """A control plane without controllers, and who lives there."""

    plane: ControlPlane
    crowd: Crowd


@dataclass(slots=True)
class Latest:
    """An inbox that keeps the newest view of each Deployment that is there."""

    views: dict[str, WorkloadView] = field(default_factory=dict)
    told: Counter[WorkloadKey] = field(default_factory=Counter)

    def put(self, event: Event) -> None:
        assert isinstance(event, WorkloadSeen)
        view = event.view
        self.told[view.workload.key] += 1
        if view.workload.kind == "Deployment":
            self.views[view.workload.name] = view
            if view.gone:
                del self.views[view.workload.name]


@dataclass(frozen=True, slots=True)
class Scene:
    """Our watch, at work behind the weather."""

    land: Land
    weather: Weather
    watch: ClusterWatch
    inbox: Latest
    faults: list[Fault]

    @property
    def present(self) -> dict[str, Reflector]:
        """The reflectors of the collections that this cluster knows."""
        return {name: one for name, one in self.watch.reflectors.items() if not one.absent}

    async def agrees(self) -> None:
        """Until each collection equals a fresh list, and the views that were told are those of the crowd."""
        for name, one in self.present.items():
            await self._until(lambda one=one, name=name: self._same(name, one))  # type: ignore[misc]
        await self._until(self._told)

    async def until(self, good: Callable[[], Any]) -> None:
        """Polls until it is so."""
        async with asyncio.timeout(SECONDS):
            while not good():
                await asyncio.sleep(0.05)

    async def watching(self) -> None:
        """Until every collection is watched."""
        await self.until(lambda: self.weather.watches >= len(self.present))

    def listed(self, since: int) -> set[str]:
        """The collections that were listed since; each at most once."""
        counted = self.weather.counted(LIST, since)
        found = {name: counted[one.path] for name, one in self.present.items() if counted[one.path]}
        assert set(found.values()) <= {1}, f"listed more than once: {found}"
        return set(found)

    async def _until(self, wrong: Callable[[], Any]) -> None:
        ends = time.monotonic() + SECONDS
        while (what := await wrong()) is not None:
            assert time.monotonic() < ends, what
            await asyncio.sleep(0.3)

    async def _same(self, name: str, one: Reflector) -> str | None:
        there = await self.land.crowd.fresh(one.path)
        held = {key_of(obj): (uid_of(obj), version_of(obj)) for obj in one.store}
        return None if held == there else f"{name}: {sorted(set(held.items()) ^ set(there.items()))[:6]}"

    async def _told(self) -> str | None:
        wanted = {name: app.image for name, app in self.land.crowd.apps.items()}
        told = {name: view.current.images[0] for name, view in self.inbox.views.items()}
        return None if told == wanted else f"told: {sorted(set(told.items()) ^ set(wanted.items()))[:6]}"


# -- the place ---------------------------------------------------------------------------------------------------


def _name(release: Release | None) -> str:
    return "none" if release is None else f"v{release.minor}"


@pytest.fixture(scope="module", params=builds.possible() or [None], ids=_name)
def land(request: pytest.FixtureRequest) -> Iterator[Land]:
    """A control plane of our own: nobody else's tests could work beside the crowd."""
    release: Release | None = request.param
    if release is None:
        pytest.skip("this machine can have no control plane")
    try:
        binaries = release.binaries()
    except BuildError as error:
        pytest.skip(str(error))
    with ControlPlane(binaries, nodes=0) as plane:
        for part in (NODES, KUBE_SCHEDULER, CONTROLLER_MANAGER):
            plane.kill(part)
        scale = 10 if binaries.release < definitions.SINCE else 1
        crowd = Crowd(plane, deployments=2000 // scale, pods_each=5)
        with asyncio.Runner() as runner:
            runner.run(_settle(plane, crowd))
        yield Land(plane, crowd)


async def _settle(plane: ControlPlane, crowd: Crowd) -> None:
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["list", "watch"]}]
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE}
    bodies: dict[str, Json] = {
        "clusterroles": {"metadata": {"name": ROLE}, "rules": rules},
        "clusterrolebindings": {"metadata": {"name": ROLE}, "roleRef": ref, "subjects": [subject]},
    }
    for plural, body in bodies.items():
        assert plane.ask("POST", f"{RBAC}/{plural}", body)[0] == 201
    async with crowd.hands():
        await crowd.fill()
        for collection, body in _others(plane):
            await crowd.place(collection, body)


def _others(plane: ControlPlane) -> Iterator[tuple[str, Json]]:
    """One object of each other collection that we watch; the definitions of those that are no part of Kubernetes."""
    named = {"metadata": {"name": "one"}}
    yield "/api/v1/configmaps", named
    yield "/api/v1/services", {**named, "spec": {"ports": [{"port": 80}]}}
    yield "/apis/apps/v1/statefulsets", workload("StatefulSet", "one", "shop:v1", serviceName="one")
    yield "/apis/apps/v1/daemonsets", workload("DaemonSet", "one", "shop:v1", replicas=None)
    yield "/apis/apps/v1/controllerrevisions", {**named, "revision": 1, "data": {"note": "x"}}
    if plane.release >= definitions.SINCE:
        for file in ("rollouts.yaml", "canaries.yaml"):
            definitions.define(plane, definitions.CRDS / file)
        template = workload("Deployment", "one", "shop:v1")["spec"]
        yield definitions.ROLLOUTS, {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", **named, "spec": template}
        target = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}
        yield definitions.CANARIES, {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", **named, "spec": target}


@asynccontextmanager
async def scene(land: Land) -> AsyncIterator[Scene]:
    """Our watch, synced, behind fair weather."""
    if not land.plane.running(APISERVER):  # a test that failed has left it so
        await asyncio.to_thread(land.plane.restart, APISERVER)
    async with land.crowd.hands(), weather_over(land.plane) as weather:
        inbox, faults = Latest(), list[Fault]()
        async with KubeClient(from_url(weather.url, token=land.plane.token(USER))) as client:
            watch = ClusterWatch(
                client, inbox, WallClock(), flagger=True, on_fault=lambda _name, fault: faults.append(fault)
            )
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run(), name=name) for name, run in watch.tasks().items()]
                async with asyncio.timeout(SECONDS):
                    await watch.synced.wait()
                here = Scene(land, weather, watch, inbox, faults)
                await here.watching()
                yield here
                assert not any(task.done() for task in tasks), "a watch that ends is a fault"
                for task in tasks:
                    task.cancel()


# -- the weather -------------------------------------------------------------------------------------------------


async def test_the_first_view(land: Land, capsys: pytest.CaptureFixture[str]) -> None:
    """Each collection is listed once, and each Deployment is told once. Prints what that takes."""
    gc.collect()
    began, before = time.monotonic(), _memory()
    async with scene(land) as here:
        took = time.monotonic() - began
        gc.collect()
        grown = (_memory() - before) / 2**20
        await here.agrees()
        assert here.listed(0) == set(here.present)
        assert len(here.inbox.views) == len(land.crowd.apps)
        assert max(here.inbox.told.values()) == 1
        sizes = {name: len(one.store) for name, one in here.present.items()}
    with capsys.disabled():
        told = f"first full view in {took:.1f} s, {grown:.0f} MiB with the views, through the proxy"
        sys.stdout.write(f"\nv{land.plane.minor}: {told}: {sizes}\n")


@pytest.mark.parametrize("abrupt", [False, True], ids=["in-order", "reset"])
async def test_watches_are_cut(land: Land, abrupt: bool) -> None:
    """Cut again and again while the crowd changes: resumed from where it was, and never listed anew."""
    async with scene(land) as here:
        since = here.weather.mark()
        for _ in range(4):
            await _amid(land.crowd.stir(), lambda: here.weather.cut(abrupt=abrupt))
            await here.watching()
        await here.agrees()
        assert here.listed(since) == set()
        assert min(here.weather.counted(WATCH, since)[one.path] for one in here.present.values()) >= 4


async def test_the_api_server_is_killed_and_restarted(land: Land) -> None:
    """Away for a while: asked ever more slowly, and not by all at once. Back: listed once at most, changes and all."""
    async with scene(land) as here:
        since = here.weather.mark()
        await land.crowd.stir()
        await asyncio.to_thread(land.plane.kill, APISERVER)
        await asyncio.sleep(OUTAGE_SECONDS)
        _is_bounded(here, since)
        assert here.watch.age() > OUTAGE_SECONDS / 2
        since = here.weather.mark()
        await asyncio.to_thread(land.plane.restart, APISERVER)
        await land.crowd.stir()
        await here.agrees()
        here.listed(since)
        assert len(here.inbox.views) == len(land.crowd.apps)


@pytest.mark.parametrize("as_status", [False, True], ids=["event", "status"])
async def test_etcd_is_compacted(land: Land, as_status: bool) -> None:
    """What we would resume from is forgotten: 410, and each collection is listed once for it, never twice."""
    async with scene(land) as here:
        here.weather.gone_as_status = as_status
        since = here.weather.mark()
        here.weather.away = True
        here.weather.cut(abrupt=True)
        await land.crowd.stir()
        await asyncio.to_thread(land.plane.compact_etcd)
        await asyncio.to_thread(land.plane.restart, APISERVER)
        here.weather.away = False
        await here.agrees()
        await here.watching()
        listed = here.listed(since)
        assert {"deployments", "replicasets", "pods"} <= listed
        assert here.weather.gone == len(listed)
        assert sum(fault.kind is FaultKind.GONE for fault in here.faults) == len(listed)


async def test_throttled(land: Land) -> None:
    """429 with Retry-After: nobody comes back sooner, the watches are resumed afterwards, and nothing is listed."""
    wait = 3
    async with scene(land) as here:
        here.weather.refuse = (429, {"Retry-After": str(wait)})
        here.weather.cut(abrupt=False)
        await asyncio.sleep(0)
        since = here.weather.mark()
        await land.crowd.stir()
        await here.until(lambda: min(len(here.weather.times(o.path, since)) for o in here.present.values()) >= 3)
        here.weather.refuse = None
        assert min(min(gaps[:2]) for gaps in here.weather.gaps(since).values()) >= wait
        await here.agrees()
        assert here.listed(since) == set()
        assert {fault.kind for fault in here.faults} == {FaultKind.RATE_LIMITED}


async def test_slow(land: Land) -> None:
    """Every answer takes seconds: the view is late, not wrong, and nobody asks twice."""
    async with scene(land) as here:
        since = here.weather.mark()
        here.weather.delay_seconds = 3.0
        here.weather.cut(abrupt=False)
        await land.crowd.stir()
        await here.agrees()
        assert here.listed(since) == set()
        assert set(here.weather.counted(WATCH, since).values()) == {1}
        assert here.faults == []


async def test_watches_hang(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted, and not a word: the view says how old it is, and what was missed comes with the next watch."""
    monkeypatch.setattr(reflector, "WATCH_SECONDS", (4.0, 6.0))  # a minute or so is a long test
    monkeypatch.setattr(kube, "WATCH_GRACE_SECONDS", 2.0)
    async with scene(land) as here:
        since = here.weather.mark()
        here.weather.hush = True
        here.weather.cut(abrupt=False)
        await land.crowd.stir()
        await here.watching()
        await here.until(lambda: here.watch.age() > 3)
        assert await here._told() is not None
        await here.until(lambda: FaultKind.TIMEOUT in {fault.kind for fault in here.faults})
        here.weather.hush = False
        await here.agrees()
        assert here.listed(since) == set()


async def test_forbidden_for_a_moment(land: Land) -> None:
    """403 right after a start of the API server, to those who may: waited out, nothing vanishes, nothing is listed."""
    async with scene(land) as here:
        here.weather.refuse = (403, {})
        here.weather.cut(abrupt=False)
        since = here.weather.mark()
        await land.crowd.stir()
        await here.until(lambda: min(len(here.weather.times(o.path, since)) for o in here.present.values()) >= 3)
        here.weather.refuse = None
        await here.agrees()
        assert here.listed(since) == set()


# -- helpers -----------------------------------------------------------------------------------------------------


def _is_bounded(here: Scene, since: int) -> None:
    """Few requests for each collection, waits that grow, and no two collections in step."""
    gaps = {name: found for name, found in here.weather.gaps(since).items() if found}
    assert set(gaps) == {one.path for one in here.present.values()}
    assert max(len(found) + 1 for found in gaps.values()) <= ASKED_IN_AN_OUTAGE_MAX, gaps
    assert all(max(found[-2:]) > found[0] for found in gaps.values() if len(found) > 1), gaps
    assert spread([found[-1] for found in gaps.values()]) > 1.1


async def _amid(changes: Coroutine[Any, Any, object], act: Callable[[], object]) -> None:
    """Acts while the changes are being made, a moment after their begin."""
    acted = asyncio.Event()

    def now() -> None:
        act()
        acted.set()

    asyncio.get_running_loop().call_later(AMID_SECONDS, now)
    await asyncio.gather(changes, acted.wait())


def _memory() -> int:
    """Bytes of memory in use by this process now (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
