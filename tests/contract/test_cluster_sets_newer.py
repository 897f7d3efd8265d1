"""What StatefulSets and DaemonSets learned after 1.20; an older server drops the field and works without it.

Each test says from which minor on it is so, and holds the older server to the other half.
"""

from __future__ import annotations

import pytest

from tests.contract.cluster_client import (
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    condition,
    daemons_complete,
    daemonset,
    gather_until,
    image_of,
    observed,
    set_complete,
    set_image,
    statefulset,
)

pytestmark = pytest.mark.real

SURGE: Json = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
SURGE_SINCE = 25
AVAILABLE_SINCE = 25
INDEX_SINCE = 28
ORDINALS_SINCE = 31


async def surging(client: ClusterClient) -> int:
    """A DaemonSet of v1 with maxSurge 1; the number of its nodes."""
    await client.make("daemonsets", daemonset(updateStrategy=SURGE))
    done = await client.until("daemonsets", "agent", daemons_complete)
    return int(done["status"]["desiredNumberScheduled"])


async def test_a_surge_keeps_every_node_served(client: ClusterClient) -> None:
    """MaxSurge 1: the new pod is ready beside the old one before that goes, on one node at a time."""
    if await client.minor() < SURGE_SINCE:
        status, _ = await client.ask("POST", client.path("daemonsets"), daemonset(updateStrategy=SURGE))
        assert status == 422  # maxUnavailable 0 is all that it reads
        return
    total = await surging(client)
    _, listed = await client.ask("GET", client.path("pods"))
    ready = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in listed["items"]}
    await client.patch("daemonsets", "agent", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    await client.until("daemonsets", "agent", daemons_complete)
    pods = await client.until_items("pods", lambda items: len(items) == total)
    last = max(int(pod["metadata"]["resourceVersion"]) for pod in pods)
    async with client.watch("pods", resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        seen = await gather_until(events, lambda event: int(event["object"]["metadata"]["resourceVersion"]) >= last)
    for event in seen:
        pod = event["object"]
        if event["type"] != "DELETED" and condition(pod, "Ready").get("status") == "True":
            ready[pod["metadata"]["name"]] = pod["spec"]["nodeName"]
        else:
            ready.pop(pod["metadata"]["name"], None)
        assert len(set(ready.values())) == total
    assert {image_of(pod) for pod in pods} == {"shop:v2"}


async def test_a_broken_surge_leaves_every_old_pod(client: ClusterClient) -> None:
    """The new pod that is never ready stands beside the old one; put back, it goes and nothing else moves."""
    if await client.minor() < SURGE_SINCE:
        return  # said above
    total = await surging(client)
    old = {pod["metadata"]["uid"] for pod in await client.items("pods")}
    await client.patch("daemonsets", "agent", set_image("shop:v2-unready"), kind=STRATEGIC_PATCH)
    pods = await client.until_items("pods", lambda items: len(items) == total + 1)
    await client.until("daemonsets", "agent", observed)
    assert {pod["metadata"]["uid"] for pod in pods if condition(pod, "Ready").get("status") == "True"} == old
    await client.patch("daemonsets", "agent", set_image("shop:v1"), kind=STRATEGIC_PATCH)
    pods = await client.until_items("pods", lambda items: len(items) == total)
    assert {pod["metadata"]["uid"] for pod in pods} == old


async def test_a_surge_over_pods_that_are_not_ready_replaces_them(client: ClusterClient) -> None:
    """There is nothing to keep: every node gets the new pod at once, and the old one goes before that is ready."""
    if await client.minor() < SURGE_SINCE:
        return  # said above
    await client.make("daemonsets", daemonset(image="shop:v1-unready", updateStrategy=SURGE))
    pods = await client.until_items(
        "pods", lambda items: bool(items) and all(pod["status"]["phase"] == "Running" for pod in items)
    )
    await client.patch("daemonsets", "agent", set_image("shop:v2-unready"), kind=STRATEGIC_PATCH)
    await client.until_items("pods", lambda items: [image_of(pod) for pod in items] == ["shop:v2-unready"] * len(pods))


async def test_a_statefulset_counts_the_available_pods(client: ClusterClient) -> None:
    """A ready pod is available after minReadySeconds; an ordered set makes the next pod only then."""
    await client.make("statefulsets", statefulset(replicas=2, minReadySeconds=2))
    if await client.minor() < AVAILABLE_SINCE:
        done = await client.until("statefulsets", "db", set_complete)
        assert "availableReplicas" not in done["status"]
        assert "minReadySeconds" not in done["spec"]
        return
    first = await client.until("statefulsets", "db", lambda one: one["status"].get("readyReplicas") == 1)
    assert (first["status"]["availableReplicas"], first["status"]["replicas"]) == (0, 1)
    await client.until("statefulsets", "db", lambda one: one["status"]["availableReplicas"] == 2)


async def test_a_pod_of_a_statefulset_has_its_index_as_a_label(client: ClusterClient) -> None:
    """The label apps.kubernetes.io/pod-index is the ordinal."""
    await client.make("statefulsets", statefulset(replicas=1))
    await client.until("statefulsets", "db", set_complete)
    (pod,) = await client.items("pods")
    known = await client.minor() >= INDEX_SINCE
    assert pod["metadata"]["labels"].get("apps.kubernetes.io/pod-index") == ("0" if known else None)


async def test_ordinals_may_start_elsewhere(client: ClusterClient) -> None:
    """With ordinals.start 5, db-5 and db-6; a partition counts from there."""
    start = 5 if await client.minor() >= ORDINALS_SINCE else 0
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    await client.make("statefulsets", statefulset(replicas=2, ordinals={"start": 5}, updateStrategy=strategy))
    await client.until("statefulsets", "db", set_complete)
    await client.patch("statefulsets", "db", set_image("shop:v2"), kind=STRATEGIC_PATCH)
    await client.until(
        "statefulsets",
        "db",
        lambda one: one["status"].get("updatedReplicas") == 1 and one["status"].get("readyReplicas") == 2,
    )
    found = {pod["metadata"]["name"]: image_of(pod) for pod in await client.items("pods")}
    assert found == {f"db-{start}": "shop:v1", f"db-{start + 1}": "shop:v2"}
