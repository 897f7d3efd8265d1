"""List and watch: no gap, no double, and every way a stream ends."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.cluster_client import ClusterClient, Json, gather_until

pytestmark = pytest.mark.real


def config(name: str, **labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}


def brief(events: list[Json]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


async def version(client: ClusterClient) -> str:
    _, answer = await client.ask("GET", client.path("configmaps"))
    return str(answer["metadata"]["resourceVersion"])


async def test_a_watch_from_a_lists_version_misses_nothing(client: ClusterClient) -> None:
    """Writes between the list and the watch are told, in their order, and nothing that the list held."""
    await client.make("configmaps", config("old", mine="1"))
    start = await version(client)
    await client.make("configmaps", config("new", mine="1"))
    await client.patch("configmaps", "new", {"data": {"a": "1"}})
    await client.ask("DELETE", client.path("configmaps", "old"))
    async with client.watch("configmaps", resourceVersion=start, labelSelector="mine") as events:
        seen = await gather_until(events, lambda event: event["type"] == "DELETED")
    assert brief(seen) == [("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "old")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))
    assert versions[0] > int(start)


async def test_a_watch_without_a_version_begins_with_what_is_there(client: ClusterClient) -> None:
    """No resourceVersion: first the present objects as ADDED, then what happens."""
    await client.make("configmaps", config("old", mine="1"))
    async with client.watch("configmaps", labelSelector="mine") as events:
        await gather_until(events, lambda event: brief([event]) == [("ADDED", "old")])
        await client.make("configmaps", config("new", mine="1"))
        assert brief(await gather_until(events, lambda _event: True)) == [("ADDED", "new")]


async def test_an_object_that_leaves_the_selection_is_deleted_for_the_watch(client: ClusterClient) -> None:
    """A label change makes ADDED or DELETED of what was only modified."""
    start = await version(client)
    await client.make("configmaps", config("one"))
    for value in ("a", "b"):
        await client.patch("configmaps", "one", {"metadata": {"labels": {"app": value}}})
    async with client.watch("configmaps", resourceVersion=start, labelSelector="app=a") as events:
        seen = await gather_until(events, lambda event: event["type"] == "DELETED")
    assert brief(seen) == [("ADDED", "one"), ("DELETED", "one")]


async def test_the_server_ends_a_watch_at_its_time_limit(client: ClusterClient) -> None:
    """timeoutSeconds=1 ends the response in an orderly way."""
    start = await version(client)
    async with asyncio.timeout(10), client.watch("configmaps", resourceVersion=start, timeoutSeconds="1") as events:
        assert [event async for event in events] == []


async def test_bookmarks_carry_a_version_and_nothing_else(client: ClusterClient) -> None:
    """With allowWatchBookmarks a quiet watch is told a version from which it can go on."""
    start = await version(client)
    query = {"resourceVersion": start, "allowWatchBookmarks": "true", "timeoutSeconds": "10"}
    async with client.watch("configmaps", **query) as events:
        seen = await gather_until(events, lambda event: event["type"] == "BOOKMARK")
    mark = seen[-1]["object"]
    assert mark["kind"] == "ConfigMap"
    assert "data" not in mark
    assert int(mark["metadata"]["resourceVersion"]) >= int(start)
    async with client.watch("configmaps", resourceVersion=mark["metadata"]["resourceVersion"], timeoutSeconds="1"):
        pass


@pytest.mark.parametrize("true", ["1", "true", "True"])
async def test_every_spelling_of_true_asks_for_a_watch(client: ClusterClient, true: str) -> None:
    """Clients write the flag in three ways (kubernetes-asyncio sends `True`)."""
    await client.make("configmaps", config("one", mine="1"))
    async with client.watch("configmaps", watch=true, labelSelector="mine") as events:
        assert brief(await gather_until(events, lambda _event: True)) == [("ADDED", "one")]
