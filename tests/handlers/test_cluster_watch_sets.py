"""The watcher on a sandbox that rolls a StatefulSet: what its views say of names that are given again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from daemon.core.events import Event, WorkloadSeen
from daemon.core.model import Rollout, Workload, WorkloadView
from deploy.sandbox.kube import SandboxCluster, Timing
from handlers.inbound.cluster import ClusterWatch
from handlers.kinds import DAEMON_SET, STATEFUL_SET
from handlers.kube import KubeClient, Timeouts
from handlers.kube_access import from_url
from handlers.workload_objects import path_of
from tests.core.story import Story
from tests.handlers.rollback_world import WallClock, image_op, until
from tests.handlers.sets_world import manifest

pytestmark = pytest.mark.real

DB = Workload(namespace="default", kind="StatefulSet", name="db")
NAMES = ["db-0", "db-1", "db-2"]
SLOW = Timing(start=1.2, termination=0.6, backoff=0.05, backoff_max=0.3, scale=1.0)
"""Pods live for more than a second: creation times are whole ones."""


class Core:
    """An inbox that decides every view at once, as the daemon does."""

    def __init__(self) -> None:
        self.story = Story()
        self.views: list[WorkloadView] = []

    def put(self, event: Event) -> None:
        assert isinstance(event, WorkloadSeen)
        self.views.append(event.view)
        self.story.sees(event.view)

    def rollout(self, image: str) -> Rollout | None:
        """The rollout of the image, once it is complete."""
        tracked = self.story.state.workloads.get(DB.key)
        found = tracked.rollout if tracked else None
        return found if found and found.completed_at and found.revision.images == (image,) else None


@asynccontextmanager
async def watched(cluster: SandboxCluster, client: KubeClient) -> AsyncIterator[Core]:
    """A daemon's eyes and memory, for as long as the block lasts."""
    core = Core()
    watch = ClusterWatch(client, core, WallClock(), kinds=(STATEFUL_SET, DAEMON_SET))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(), name=name) for name, run in watch.tasks().items()]
        yield core
        for task in tasks:
            task.cancel()


def one_revision_at_a_time(rollout: Rollout) -> None:
    """Every name ran the old revision, then the new one, and no moment belongs to both."""
    assert rollout.replaced is not None
    old = {stint.name: stint for stint in rollout.stints_of(rollout.replaced.id) if stint.until is not None}
    new = {stint.name: stint for stint in rollout.stints_of(rollout.revision.id) if stint.until is None}
    assert sorted(old) == sorted(new) == NAMES
    for name in NAMES:
        until_, since = old[name].until, new[name].since
        assert until_ is not None
        assert old[name].since <= until_ <= since  # creation times are whole seconds
    order = [new[name].since for name in reversed(NAMES)]
    assert order == sorted(order), "exchanged from the highest number down"


async def test_a_rollout_and_its_way_back() -> None:
    """What the journal would keep of a rollout tells every name's exchange; also of the way back, with the time before."""
    async with (
        SandboxCluster(timing=SLOW, bookmark_seconds=0.2, network=46) as cluster,
        KubeClient(from_url(cluster.url), timeouts=Timeouts(connect=2, read=5, total=5)) as client,
    ):
        cluster.create(manifest("StatefulSet", "shop:v1"), manager="kubectl")
        async with watched(cluster, client) as core:
            await until(lambda: core.rollout("shop:v1"), bool)
            await client.patch_json(path_of(DB), image_op("shop:v2"), field_manager="kubectl-set")
            out = await until(lambda: core.rollout("shop:v2"), bool)
            assert out is not None
            one_revision_at_a_time(out)
            await client.patch_json(path_of(DB), image_op("shop:v1"), field_manager="kubectl-set")
            back = await until(lambda: core.rollout("shop:v1"), bool)
            assert back is not None
            one_revision_at_a_time(back)
            assert back.replaced is not None
            before = [stint for stint in back.stints_of(back.revision.id) if stint.until is not None]
            assert sorted(stint.name for stint in before) == NAMES, "the time before the rollout is the baseline"


async def test_a_rollout_that_nobody_watched() -> None:
    """We were down while all pods were exchanged: what was known of the old ones ends where the new ones begin."""
    async with (
        SandboxCluster(timing=SLOW, bookmark_seconds=0.2, network=47) as cluster,
        KubeClient(from_url(cluster.url), timeouts=Timeouts(connect=2, read=5, total=5)) as client,
    ):
        cluster.create(manifest("StatefulSet", "shop:v1"), manager="kubectl")
        async with watched(cluster, client) as core:
            await until(lambda: core.rollout("shop:v1"), bool)
        await client.patch_json(path_of(DB), image_op("shop:v2"), field_manager="kubectl-set")

        def images() -> set[str]:
            pods = cluster.objects("v1", "pods")
            return {pod["spec"]["containers"][0]["image"] for pod in pods} if len(pods) == len(NAMES) else set()

        await until(images, lambda found: found == {"shop:v2"})
        async with watched(cluster, client) as later:
            later.story.state = core.story.state
            out = await until(lambda: later.rollout("shop:v2"), bool)
            assert out is not None
            one_revision_at_a_time(out)
