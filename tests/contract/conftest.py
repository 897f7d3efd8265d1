"""Fixtures of the contract suite: a cluster's address, and a client in a namespace of its own.

The suite holds the sandbox to what a real control plane does: with ``CONTRACT_KUBE_URL`` set (``kubectl proxy`` gives
such an address without credentials) the very same tests run against that one. It needs a kubelet, real or fake, that
lets the images ``shop:v…`` become ready and those with ``unready`` in the tag never.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from uuid import uuid4

import aiohttp
import pytest

from deploy.sandbox.kube import SandboxCluster, Timing
from tests.contract.cluster_client import ClusterClient

FAST = Timing(start=0.1, termination=0.05, backoff=0.1, backoff_max=1.0)


@pytest.fixture
async def cluster_url() -> AsyncIterator[str]:
    real = os.environ.get("CONTRACT_KUBE_URL", "")
    if real:
        yield real.rstrip("/")
        return
    async with SandboxCluster(timing=FAST, bookmark_seconds=0.3, network=40) as cluster:
        yield cluster.url


@pytest.fixture
async def client(cluster_url: str) -> AsyncIterator[ClusterClient]:
    async with aiohttp.ClientSession() as session:
        client = ClusterClient(session=session, url=cluster_url, namespace=f"contract-{uuid4().hex[:8]}")
        body = {"metadata": {"name": client.namespace}}
        status, answer = await client.ask("POST", "/api/v1/namespaces", body)
        assert status == 201, answer
        yield client
        await client.ask("DELETE", f"/api/v1/namespaces/{client.namespace}")
