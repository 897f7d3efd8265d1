"""The reflector and the sandbox's API server, written apart: whatever breaks, both end with the same view."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from deploy.sandbox.kube import SandboxCluster
from handlers import store as stores
from handlers.faults import FaultKind
from handlers.kube import KubeClient, resource_path
from handlers.kube_access import from_kubeconfig, from_url
from handlers.reflector import Reflector
from handlers.store import Change, Key, Obj, key_of, uid_of, version_of

PODS = resource_path("v1", "pods")
DEPLOYMENTS = resource_path("apps/v1", "deployments")
CONVERGES_SECONDS_MAX = 120.0
"""A hung watch (100 s) and a wait after it is the longest that any fault here may blind us."""

View = dict[Key, tuple[str, str]]


def view(objects: object) -> View:
    """Which objects there are, and in which state."""
    return {key_of(o): (uid_of(o), version_of(o)) for o in objects}  # type: ignore[attr-defined]


class Mirror:
    """What a listener knows who believes nothing but the changes it is told."""

    def __init__(self) -> None:
        self.known: dict[Key, Obj] = {}

    def on_change(self, change: Change, old: Obj | None, new: Obj | None) -> None:
        """Follow one change; an impossible one is an error."""
        if change is Change.DELETED:
            assert old is not None
            assert new is None
            assert uid_of(self.known.pop(key_of(old))) == uid_of(old)
            return
        assert new is not None
        before = self.known.get(key_of(new))
        assert before is old
        assert (before is None) is (change is Change.ADDED)
        assert before is None or uid_of(before) == uid_of(new)
        self.known[key_of(new)] = new


class Scene:
    """A cluster, a client, and two reflectors at work."""

    def __init__(self, cluster: SandboxCluster, client: KubeClient) -> None:
        self.cluster = cluster
        self.client = client
        self.faults: set[FaultKind] = set()
        self.mirrors = {path: Mirror() for path in (PODS, DEPLOYMENTS)}
        self.reflectors = {
            path: Reflector(
                client,
                path,
                on_change=mirror.on_change,
                on_fault=lambda fault: self.faults.add(fault.kind),
                random=Random(path).random,
                project=stores.pod if path == PODS else stores.whole,
            )
            for path, mirror in self.mirrors.items()
        }

    async def agrees(self) -> None:
        """Wait until the reflectors see what a fresh list shows, and what they told adds up to it."""
        deadline = asyncio.get_running_loop().time() + CONVERGES_SECONDS_MAX
        for path, reflector in self.reflectors.items():
            while True:
                fresh = [o async for page in self.client.list_pages(path, limit=3) for o in page.items]
                if view(fresh) == view(reflector.store):
                    break
                assert asyncio.get_running_loop().time() < deadline, (view(fresh), view(reflector.store))
                await asyncio.sleep(0.5)
            assert view(self.mirrors[path].known.values()) == view(reflector.store)

    async def roll(self, name: str, image: str) -> None:
        """Give a deployment another image."""
        path = resource_path("apps/v1", "deployments", namespace="default", name=name)
        ops = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
        await self.client.patch_json(path, ops)

    async def remove(self, name: str) -> None:
        """Delete a deployment and all below it."""
        await self.client.delete(resource_path("apps/v1", "deployments", namespace="default", name=name))

    async def add(self, name: str, replicas: int = 3) -> None:
        """Create a deployment."""
        container = {"name": "web", "image": f"{name}:1"}
        labels = {"app": name}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
        await self.client.create(resource_path("apps/v1", "deployments", namespace="default"), body)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """A cluster with two deployments, mirrored."""
    async with SandboxCluster(bookmark_seconds=20) as cluster, KubeClient(from_url(cluster.url)) as client:
        stage = Scene(cluster, client)
        await stage.add("cart")
        await stage.add("shop")
        tasks = [asyncio.get_running_loop().create_task(r.run()) for r in stage.reflectors.values()]
        try:
            for reflector in stage.reflectors.values():
                await reflector.synced.wait()
            yield stage
            assert [task.exception() for task in tasks if task.done()] == []
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def change(stage: Scene) -> None:
    """A rollout, a deletion and a new deployment, while the fault lasts."""
    await stage.roll("cart", "cart:2")
    await stage.remove("shop")
    await stage.add("fresh", replicas=2)
    await asyncio.sleep(20)


async def quiet(stage: Scene) -> None:
    """Nothing breaks."""
    await change(stage)


async def cut(stage: Scene) -> None:
    """Watches end in order, and abruptly, in the middle of changes."""
    await stage.roll("cart", "cart:9")
    stage.cluster.cut_watches()
    await change(stage)
    stage.cluster.cut_watches(abrupt=True)


async def compacted(stage: Scene) -> None:
    """History is forgotten while nobody watches: 410 inside the stream."""
    stage.cluster.faults.fail(5, path="pods|deployments", method="GET", text="<html>")
    stage.cluster.cut_watches()
    await change(stage)
    stage.cluster.compact()


async def compacted_as_status(stage: Scene) -> None:
    """The same, told as the HTTP status."""
    stage.cluster.faults.gone_as_status = True
    await compacted(stage)


async def slow(stage: Scene) -> None:
    """Each answer takes two seconds."""
    stage.cluster.faults.delay_seconds = 2
    stage.cluster.cut_watches(abrupt=True)
    await change(stage)
    stage.cluster.faults.delay_seconds = 0


async def hung(stage: Scene) -> None:
    """Watches are accepted and never say a word, until we cut them."""
    stage.cluster.faults.hang_watches = True
    await change(stage)
    await asyncio.sleep(2 * CONVERGES_SECONDS_MAX)
    assert FaultKind.TIMEOUT in stage.faults
    stage.cluster.faults.hang_watches = False
    # A watch that hung swallowed its events and must not come back to life: no real server does that.
    stage.cluster.cut_watches(abrupt=True)


async def throttled(stage: Scene) -> None:
    """429 with a wait, for lists and watches alike."""
    stage.cluster.faults.fail(4, path="pods|deployments", method="GET", status=429, retry_after=10)
    stage.cluster.cut_watches()
    await change(stage)


@pytest.mark.parametrize("trouble", [quiet, cut, compacted, compacted_as_status, slow, hung, throttled])
async def test_the_view_is_right_after(trouble: Callable[[Scene], Awaitable[None]]) -> None:
    """After the trouble the view equals a fresh list, and the changes that were told add up to it."""
    async with scene() as stage:
        await stage.agrees()
        await trouble(stage)
        stage.cluster.faults.clear()
        await stage.agrees()
        assert stage.cluster.faults.requests(path="pods|deployments")


async def test_an_outage_of_an_hour_ends_by_itself() -> None:
    """The API server is away for an hour: few requests, an old view that says so, and the truth when it is back."""
    async with scene() as stage:
        before = len(stage.cluster.faults.log)
        stage.cluster.go_down()
        await asyncio.sleep(3600)
        assert len(stage.cluster.faults.log) - before < 2 * 400
        assert all(r.freshness() > 3500 for r in stage.reflectors.values())
        stage.cluster.come_up()
        await stage.agrees()
        assert all(r.freshness() < 60 for r in stage.reflectors.values())


async def test_every_kubeconfig_of_the_sandbox_works(tmp_path: object) -> None:
    """The kubeconfig that kubectl uses gives us access, token and all."""
    async with SandboxCluster(token="s3cret") as cluster:
        path = cluster.write_kubeconfig(tmp_path / "kubeconfig")  # type: ignore[operator]
        async with KubeClient(await from_kubeconfig(path)) as client:
            assert (await client.get(PODS, limit=1))["kind"] == "PodList"
            assert await client.self_subject_access_review("patch", "apps", "deployments")
