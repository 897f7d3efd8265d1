"""What history no longer holds is 410: in which form, for a watch, a page and an exact version.

A real control plane forgets when etcd is compacted and the API server's own cache is new. That is done to one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from deploy.sandbox.kube import SandboxCluster
from tests.contract.cluster_client import ClusterClient, Json, client_of_plane, client_of_sandbox
from tests.controlplane.plane import APISERVER, ControlPlane

pytestmark = pytest.mark.real


@dataclass(kw_only=True)
class Past:
    """What was read before history was forgotten, and a client that asks about it afterwards."""

    client: ClusterClient
    version: str = ""
    token: str = ""
    items: list[Json] = field(default_factory=list)

    async def ask(self, **query: str) -> tuple[int, Json]:
        return await self.client.ask("GET", self.client.path("configmaps"), **query)


def config(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"mine": "1"}}}


@pytest.fixture
async def past(other_cluster: ControlPlane | None) -> AsyncIterator[Past]:
    """Three ConfigMaps, listed as a whole and by one page; then one more, and nothing of before is remembered."""
    async with AsyncExitStack() as stack:
        if other_cluster is None:
            cluster = await stack.enter_async_context(SandboxCluster())
            past = Past(client=await stack.enter_async_context(client_of_sandbox(cluster)))
            await _read(past)
            cluster.compact()
        else:
            plane = await stack.enter_async_context(ControlPlane(other_cluster.binaries, nodes=1))
            past = Past(client=await stack.enter_async_context(client_of_plane(plane)))
            await _read(past)
            plane.compact_etcd()
            await asyncio.to_thread(plane.restart, APISERVER)
        yield past


async def _read(past: Past) -> None:
    for name in ("a", "b", "c"):
        await past.client.make("configmaps", config(name))
    _, listed = await past.ask()
    past.version = listed["metadata"]["resourceVersion"]
    _, page = await past.ask(limit="1", labelSelector="mine")
    past.token = page["metadata"]["continue"]
    await past.client.make("configmaps", config("d"))


async def test_what_is_forgotten_is_gone_and_a_fresh_list_heals(past: Past) -> None:
    """A watch: an ERROR event in a 200 (never HTTP 410); a page and an exact version: HTTP 410. A fresh list has it all."""
    for version in (past.version, "1"):
        assert await _watched(past, resourceVersion=version) == [("ERROR", 410, "Expired")]
    status, refused = await past.ask(limit="1", labelSelector="mine", **{"continue": past.token})
    assert (status, refused["reason"], refused["code"]) == (410, "Expired", 410)
    status, refused = await past.ask(resourceVersion=past.version, resourceVersionMatch="Exact")
    assert (status, refused["reason"]) == (410, "Expired")

    status, listed = await past.ask(labelSelector="mine")
    assert (status, len(listed["items"])) == (200, 4)
    assert int(listed["metadata"]["resourceVersion"]) > int(past.version)
    status, listed = await past.ask(labelSelector="mine", resourceVersion=past.version)
    assert (status, len(listed["items"])) == (200, 4)  # "not older than"
    assert await _watched(past, resourceVersion=listed["metadata"]["resourceVersion"]) == []


async def _watched(past: Past, **query: str) -> list[tuple[str, Any, Any]]:
    async with past.client.watch("configmaps", timeoutSeconds="1", **query) as events:
        return [(one["type"], one["object"].get("code"), one["object"].get("reason")) async for one in events]
