"""For tests of what only the sandbox has: a fast clock for its pods, and waiting for what it shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp

from deploy.sandbox.kube import SandboxCluster, Timing
from tests.contract.cluster_client import ClusterClient

T = TypeVar("T")

FAST = Timing(start=0.05, termination=0.05, backoff=0.05, backoff_max=0.4, scale=20.0)
UNTIL_SECONDS = 10.0


@asynccontextmanager
async def connected(cluster: SandboxCluster) -> AsyncIterator[ClusterClient]:
    """A client of the cluster's namespace `default`."""
    async with aiohttp.ClientSession() as session:
        yield ClusterClient(session=session, url=cluster.url, namespace="default")


async def until(read: Callable[[], T], good: Callable[[T], Any]) -> T:
    """What `read` gives once it is `good`; asserts that within UNTIL_SECONDS."""
    ends = time.monotonic() + UNTIL_SECONDS
    while not good(read()):
        assert time.monotonic() < ends, read()
        await asyncio.sleep(0.01)
    return read()
