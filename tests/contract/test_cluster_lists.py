"""Lists: how old an answer may be, pages, selectors, and what is refused."""

from __future__ import annotations

import pytest

from tests.contract.cluster_client import ClusterClient, Json

pytestmark = pytest.mark.real


def config(name: str, **labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"mine": "1", **labels}}}


def names(listed: Json) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


async def ask(client: ClusterClient, **query: str) -> tuple[int, Json]:
    return await client.ask("GET", client.path("configmaps"), labelSelector="mine", **query)


@pytest.fixture
async def version(client: ClusterClient) -> str:
    """The version of a list that holds a, b and c; d came after it."""
    for name in ("a", "b", "c"):
        await client.make("configmaps", config(name))
    _, listed = await ask(client)
    await client.patch("configmaps", "b", {"data": {"later": "1"}})
    await client.ask("DELETE", client.path("configmaps", "c"))
    await client.make("configmaps", config("d"))
    return str(listed["metadata"]["resourceVersion"])


async def test_a_version_is_the_oldest_that_one_accepts(client: ClusterClient, version: str) -> None:
    """With resourceVersion alone the answer is at least that new; with 0 it is of any age, and whole despite a limit.

    Only what comes from etcd is sorted for sure: 1.20 answers from its watch cache in the order of a Go map.
    """
    status, newest = await ask(client)
    assert (status, names(newest)) == (200, ["a", "b", "d"])
    for query in ({"resourceVersion": version}, {"resourceVersion": version, "resourceVersionMatch": "NotOlderThan"}):
        status, listed = await ask(client, **query)
        assert (status, sorted(names(listed))) == (200, ["a", "b", "d"])
    status, cached = await ask(client, resourceVersion="0", limit="1")
    assert (status, len(cached["items"])) == (200, 3)
    assert "continue" not in cached["metadata"]


async def test_an_exact_version_is_the_past_as_it_was(client: ClusterClient, version: str) -> None:
    """resourceVersionMatch=Exact, or a version with a limit: what was deleted is there, what came later is not."""
    status, listed = await ask(client, resourceVersion=version, resourceVersionMatch="Exact")
    assert (status, names(listed), listed["metadata"]["resourceVersion"]) == (200, ["a", "b", "c"], version)
    assert "data" not in listed["items"][1]
    status, page = await ask(client, resourceVersion=version, limit="2")
    assert (status, names(page)) == (200, ["a", "b"])


async def test_pages_may_be_asked_for_again(client: ClusterClient, version: str) -> None:
    """The same token gives the same page twice; remainingItemCount is told only without a selector."""
    _, first = await ask(client, limit="2")
    token = {"continue": first["metadata"]["continue"]}
    assert "remainingItemCount" not in first["metadata"]
    for _ in range(2):
        status, second = await ask(client, limit="2", **token)
        assert (status, names(second)) == (200, ["d"])
    _, whole = await client.ask("GET", "/api/v1/namespaces", limit="1")
    assert whole["metadata"]["remainingItemCount"] >= 1


@pytest.mark.parametrize(
    ("query", "status", "reason", "message"),
    [
        ({"resourceVersion": "99999999"}, 504, "Timeout", "Too large resource version"),
        ({"resourceVersionMatch": "Exact"}, 422, "Invalid", "forbidden unless resourceVersion is provided"),
        ({"continue": "garbage"}, 400, "BadRequest", "continue key is not valid"),
        ({"limit": "two"}, 400, "BadRequest", ""),
        ({"labelSelector": "a in b"}, 400, "BadRequest", "unable to parse requirement"),
        ({"fieldSelector": "status.phase=Running"}, 400, "BadRequest", "is not a known field selector"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
async def test_what_cannot_be_listed_says_why(
    client: ClusterClient, query: dict[str, str], status: int, reason: str, message: str
) -> None:
    """A Status with the code in its body, too. A version of the future is a 504 that names the cause."""
    answered, refused = await client.ask("GET", client.path("configmaps"), **query)
    assert (answered, refused["kind"], refused["code"], refused["reason"]) == (status, "Status", status, reason)
    assert message in refused["message"]


async def test_the_path_of_one_object_has_no_watch(client: ClusterClient, version: str) -> None:
    """`watch=1` on the path of one object is not heard: the answer is the object."""
    status, answer = await client.ask("GET", client.path("configmaps", "a"), watch="1", timeoutSeconds="1")
    assert (status, answer["kind"], answer["metadata"]["name"]) == (200, "ConfigMap", "a")
