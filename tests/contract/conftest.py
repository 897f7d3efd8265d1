"""Fixtures of the contract suite: a cluster, and a client in a namespace of its own.

The suite holds the sandbox to what a real control plane does: with `--controlplane` (`make test-controlplane`) the very same
tests run against each of those that this machine has. README.md says what was found to differ.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from deploy.sandbox.kube import SandboxCluster
from tests.contract.cluster_client import ClusterClient, client_of_plane, client_of_sandbox
from tests.controlplane.plane import FAST, ControlPlane


@pytest.fixture
async def client(other_cluster: ControlPlane | None) -> AsyncIterator[ClusterClient]:
    async with AsyncExitStack() as stack:
        if other_cluster is None:
            sandbox = await stack.enter_async_context(SandboxCluster(timing=FAST, bookmark_seconds=0.3, network=40))
            yield await stack.enter_async_context(client_of_sandbox(sandbox))
        else:
            yield await stack.enter_async_context(client_of_plane(other_cluster))
