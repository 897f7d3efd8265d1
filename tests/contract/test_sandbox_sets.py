"""What only the sandbox has around its StatefulSets and DaemonSets: nodes at will, and fates of their pods."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from deploy.sandbox.kube import ApiError, Behaviours, SandboxCluster, crash_after
from tests.contract.cluster_client import (
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    condition,
    daemons_complete,
    daemonset,
    image_of,
    set_complete,
    set_image,
    statefulset,
)
from tests.contract.sandbox_alone import FAST, connected, until

pytestmark = pytest.mark.real


@pytest.fixture
async def cluster() -> AsyncIterator[SandboxCluster]:
    async with SandboxCluster(timing=FAST, network=46) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: SandboxCluster) -> AsyncIterator[ClusterClient]:
    async with connected(cluster) as client:
        yield client


def agent(cluster: SandboxCluster) -> Json:
    return cluster.objects("apps/v1", "daemonsets")[0]


def db(cluster: SandboxCluster) -> Json:
    return cluster.objects("apps/v1", "statefulsets")[0]


def on_nodes(cluster: SandboxCluster) -> list[str]:
    """The node of each pod, sorted."""
    return sorted(one["spec"].get("nodeName", "") for one in cluster.objects("v1", "pods"))


async def test_a_cluster_has_the_nodes_that_were_asked_for() -> None:
    """Five nodes, five daemons; none, none."""
    async with SandboxCluster(timing=FAST, network=47, nodes=5) as cluster:
        cluster.create(daemonset())
        done = await until(lambda: agent(cluster), daemons_complete)
        assert done["status"]["desiredNumberScheduled"] == 5
        assert on_nodes(cluster) == [f"node-{number}" for number in range(1, 6)]
        addresses = {one["status"]["hostIP"] for one in cluster.objects("v1", "pods")}
        assert addresses == {f"127.0.0.{number}" for number in range(11, 16)}
    with pytest.raises(ValueError, match="nodes: 201"):
        SandboxCluster(nodes=201)


async def test_without_a_node_a_pod_waits() -> None:
    """It stays Pending, Unschedulable."""
    async with SandboxCluster(timing=FAST, network=47, nodes=0) as cluster:
        cluster.create(statefulset())

        def pods() -> list[Json]:
            return cluster.objects("v1", "pods")

        (pod,) = await until(pods, lambda found: found and condition(found[0], "PodScheduled"))
        assert condition(pod, "PodScheduled")["reason"] == "Unschedulable"


async def test_a_new_node_gets_its_daemon_and_takes_it_along(cluster: SandboxCluster, client: ClusterClient) -> None:
    """Add_node: one more pod, there; once the node is deleted it is not wanted any more, its pod with it."""
    cluster.create(daemonset())
    await until(lambda: agent(cluster), daemons_complete)
    cluster.add_node("node-9")
    done = await until(lambda: agent(cluster), lambda one: one["status"]["numberReady"] == 4)
    assert done["status"]["desiredNumberScheduled"] == 4
    assert on_nodes(cluster) == ["node-1", "node-2", "node-3", "node-9"]
    with pytest.raises(ApiError, match="already exists"):
        cluster.add_node("node-9")
    assert (await client.ask("DELETE", "/api/v1/nodes/node-9"))[0] == 200
    await until(lambda: on_nodes(cluster), lambda nodes: nodes == ["node-1", "node-2", "node-3"])
    assert agent(cluster)["status"]["desiredNumberScheduled"] == 3


async def test_a_node_selector_chooses_nodes(cluster: SandboxCluster) -> None:
    """Only the node with the label."""
    cluster.add_node("fast", labels={"disk": "ssd"})
    body = daemonset()
    body["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd", "kubernetes.io/os": "linux"}
    cluster.create(body)
    await until(lambda: agent(cluster), daemons_complete)
    assert on_nodes(cluster) == ["fast"]


async def test_a_pod_that_is_ready_between_crashes_does_not_hold_an_ordered_set_for_ever(
    cluster: SandboxCluster,
) -> None:
    """The template put back, the set goes on in a moment in which the broken pod is ready: no one has to delete it."""
    cluster.behaviours = Behaviours({"shop:v2": crash_after(0.3)})
    cluster.create(statefulset(replicas=2))
    before = await until(lambda: db(cluster), set_complete)
    async with aiohttp.ClientSession() as session:
        client = ClusterClient(session=session, url=cluster.url, namespace="default")
        await client.patch("statefulsets", "db", set_image("shop:v2"), kind=STRATEGIC_PATCH)
        broken = {"shop:v2"}
        await until(lambda: {image_of(one) for one in cluster.objects("v1", "pods")}, lambda found: found & broken)
        patch = {"spec": {"template": before["spec"]["template"]}}
        await client.patch("statefulsets", "db", patch)
    await until(lambda: db(cluster), set_complete)
    assert {image_of(one) for one in cluster.objects("v1", "pods")} == {"shop:v1"}


async def test_minimum_ready_seconds_pass_faster_with_a_scale(cluster: SandboxCluster) -> None:
    """At scale 20, ten seconds are half a second, for both kinds."""
    begun = time.monotonic()
    cluster.create(daemonset(minReadySeconds=10))
    cluster.create(statefulset(replicas=1, minReadySeconds=10))
    ready = await until(lambda: agent(cluster), lambda one: one["status"]["numberReady"] == 3)
    assert ready["status"].get("numberAvailable", 0) == 0
    await until(lambda: agent(cluster), daemons_complete)
    await until(lambda: db(cluster), lambda one: one["status"]["availableReplicas"] == 1)
    assert 0.45 < time.monotonic() - begun < 5


async def test_a_refused_pod_is_tried_again(cluster: SandboxCluster) -> None:
    """Admission denies the pods; both controllers report none, and make them once they may."""
    cluster.registry.admission.append(lambda resource, _obj: "not now" if resource.kind == "Pod" else None)
    cluster.create(statefulset(replicas=1))
    cluster.create(daemonset())
    await until(lambda: db(cluster), lambda one: one["status"].get("observedGeneration") == 1)
    refused = await until(lambda: agent(cluster), lambda one: one["status"]["desiredNumberScheduled"] == 3)
    assert refused["status"]["currentNumberScheduled"] == 0
    cluster.registry.admission.clear()
    await until(lambda: agent(cluster), daemons_complete)
    await until(lambda: db(cluster), set_complete)
