"""Our watch on a control plane where Rollouts are, and waiting for what it tells of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from daemon.core.model import WorkloadView
from handlers.inbound.cluster import ClusterWatch
from handlers.kinds import DEPLOYMENT, ROLLOUT
from tests.controlplane.argo_player import Shop
from tests.handlers.rollback_world import WallClock
from tests.handlers.test_cluster_watch import Views

SECONDS = 60.0
"""For what controller, kubelet and our watch do together; a few seconds on an idle machine."""


@asynccontextmanager
async def watching(shop: Shop) -> AsyncIterator[tuple[ClusterWatch, Views]]:
    """Our watch of Deployments, and of Rollouts and Canaries where there are any."""
    inbox, before = Views(), _open_files()
    async with shop.client() as client:
        watch = ClusterWatch(client, inbox, WallClock(), kinds=(DEPLOYMENT, ROLLOUT), flagger=True)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(), name=name) for name, run in watch.tasks().items()]
            async with asyncio.timeout(SECONDS):
                await watch.synced.wait()
            yield watch, inbox
            for task in tasks:
                task.cancel()
    # TLS connections take some turns of the loop to close; one that is left when the loop ends is a warning.
    await until(lambda: _open_files() <= before)


async def until(good: Callable[[], Any]) -> None:
    """Polls until it is so."""
    async with asyncio.timeout(SECONDS):
        while not good():
            await asyncio.sleep(0.02)


async def seen(inbox: Views, shop: Shop, good: Callable[[WorkloadView], Any]) -> WorkloadView:
    """The first view of the shop's Rollout that is good."""
    await until(lambda: any(view.workload == shop.workload and good(view) for view in inbox.all))
    return next(view for view in inbox.all if view.workload == shop.workload and good(view))


async def last(inbox: Views, shop: Shop, name: str, good: Callable[[WorkloadView], Any]) -> WorkloadView:
    """The newest view of a workload once it is good."""

    def newest() -> list[WorkloadView]:
        found = [v for v in inbox.all if (v.workload.namespace, v.workload.name) == (shop.namespace, name)]
        return [view for view in found[-1:] if good(view)]

    await until(newest)
    return newest()[0]


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
