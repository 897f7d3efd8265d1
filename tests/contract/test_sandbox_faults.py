"""What only the sandbox has: fates of pods, fault switches, hooks, the request log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.kube import CONFIG_ERROR, OOM, ApiError, Behaviours, SandboxCluster, crash_after
from tests.contract.cluster_client import (
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    complete,
    condition,
    deployment,
    gather_until,
    set_image,
)
from tests.contract.sandbox_alone import FAST, connected, until

pytestmark = pytest.mark.real


@pytest.fixture
async def cluster() -> AsyncIterator[SandboxCluster]:
    async with SandboxCluster(timing=FAST, bookmark_seconds=0.2, network=41) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: SandboxCluster) -> AsyncIterator[ClusterClient]:
    async with connected(cluster) as client:
        yield client


def container(cluster: SandboxCluster) -> Json:
    """The container status of the only pod, {} until it has one."""
    pods = cluster.objects("v1", "pods")
    return (pods[0]["status"].get("containerStatuses") or [{}])[0] if pods else {}


def waiting(one: Json) -> Any:
    return one.get("state", {}).get("waiting", {}).get("reason")


def pod(cluster: SandboxCluster) -> Json:
    return cluster.objects("v1", "pods")[0]


async def test_a_crashing_container_loops_with_growing_counts(cluster: SandboxCluster) -> None:
    """CrashLoopBackOff, restartCount rises, lastState says Error and exit code 1, the pod is never ready."""
    cluster.create(deployment(image="shop:v1-crash", replicas=1))
    await until(lambda: container(cluster), lambda one: one.get("restartCount", 0) >= 3)
    one = await until(lambda: container(cluster), lambda one: waiting(one) == "CrashLoopBackOff")
    assert one["lastState"]["terminated"]["exitCode"] == 1
    assert one["lastState"]["terminated"]["reason"] == "Error"
    assert condition(pod(cluster), "Ready")["status"] == "False"
    assert cluster.objects("apps/v1", "deployments")[0]["status"].get("availableReplicas", 0) == 0


async def test_an_oom_kill_says_so(cluster: SandboxCluster) -> None:
    """OOMKilled with exit code 137 in lastState."""
    cluster.behaviours = Behaviours({"shop:v9": OOM})
    cluster.create(deployment(image="shop:v9", replicas=1))
    one = await until(lambda: container(cluster), lambda one: one.get("lastState"))
    assert (one["lastState"]["terminated"]["reason"], one["lastState"]["terminated"]["exitCode"]) == ("OOMKilled", 137)


async def test_a_pod_that_is_never_ready_runs(cluster: SandboxCluster) -> None:
    """Running, no restart, not ready, with the reason."""
    cluster.create(deployment(image="shop:v1-unready", replicas=1))
    one = await until(lambda: container(cluster), lambda one: "running" in one.get("state", {}))
    assert (one["ready"], one["restartCount"]) == (False, 0)
    assert condition(pod(cluster), "Ready")["reason"] == "ContainersNotReady"


async def test_images_that_cannot_be_pulled_and_pods_that_find_no_node(cluster: SandboxCluster) -> None:
    """ErrImagePull alternates with ImagePullBackOff; unschedulable pods stay Pending without a node or a container."""
    cluster.create(deployment(image="shop:v1-nopull", replicas=1))
    await until(lambda: container(cluster), lambda one: waiting(one) == "ErrImagePull")
    await until(lambda: container(cluster), lambda one: waiting(one) == "ImagePullBackOff")
    cluster.create(deployment("lost", "shop:v1-unschedulable", replicas=1))

    def lost() -> Json:
        found = [one for one in cluster.objects("v1", "pods") if one["metadata"]["name"].startswith("lost-")]
        return found[0] if found else {}

    one = await until(lost, lambda one: condition(one, "PodScheduled").get("status") == "False")
    assert condition(one, "PodScheduled")["reason"] == "Unschedulable"
    assert one["status"]["phase"] == "Pending"
    assert "nodeName" not in one["spec"]


async def test_a_container_may_wait_for_its_configuration(cluster: SandboxCluster) -> None:
    """CreateContainerConfigError stays."""
    cluster.behaviours = lambda _image, _pod: CONFIG_ERROR
    cluster.create(deployment(replicas=1))
    await until(lambda: container(cluster), lambda one: waiting(one) == "CreateContainerConfigError")


async def test_a_late_crash_takes_availability_away_but_is_no_rollout(cluster: SandboxCluster) -> None:
    """Crash after it was ready: Available turns False, Progressing keeps NewReplicaSetAvailable."""
    cluster.behaviours = Behaviours({"shop:v1": crash_after(0.3)})
    cluster.create(deployment(replicas=1))

    def web() -> Json:
        return cluster.objects("apps/v1", "deployments")[0]

    await until(web, complete)
    await until(web, lambda one: condition(one, "Available")["status"] == "False")
    assert condition(web(), "Progressing")["reason"] == "NewReplicaSetAvailable"


async def test_a_kill_restarts_and_a_probe_can_fail(cluster: SandboxCluster) -> None:
    """kill() costs one restart; set_ready() turns the Ready condition and its transition time."""
    cluster.create(deployment(replicas=1))
    await until(lambda: container(cluster), lambda one: one.get("ready"))
    cluster.kill(pod(cluster)["metadata"]["name"], reason="OOMKilled", exit_code=137)
    one = await until(lambda: container(cluster), lambda one: one["ready"] and one["restartCount"] == 1)
    assert one["lastState"]["terminated"]["reason"] == "OOMKilled"
    cluster.set_ready(pod(cluster)["metadata"]["name"], ready=False)
    await until(lambda: pod(cluster), lambda one: condition(one, "Ready")["status"] == "False")


async def test_hooks_come_in_pairs_and_before_ready(cluster: SandboxCluster) -> None:
    """`started` is awaited before the pod is ready, and each has its `stopped` by the end; addresses do not repeat."""
    calls: list[tuple[str, str]] = []

    async def started(one: Json) -> None:
        assert condition(one, "Ready")["status"] == "False"
        calls.append(("started", one["status"]["podIP"]))

    async def stopped(one: Json) -> None:
        calls.append(("stopped", one["status"]["podIP"]))

    cluster.hooks.started.append(started)
    cluster.hooks.stopped.append(stopped)
    cluster.create(deployment(replicas=3))
    await until(lambda: cluster.objects("apps/v1", "deployments")[0], complete)
    addresses = {one["status"]["podIP"] for one in cluster.objects("v1", "pods")}
    assert len(addresses) == 3
    assert all(address.startswith("127.41.") for address in addresses)
    assert sorted(calls) == sorted(("started", address) for address in addresses)
    await cluster_delete(cluster, "web")
    assert sorted(calls) == sorted((what, address) for what in ("started", "stopped") for address in addresses)


async def cluster_delete(cluster: SandboxCluster, name: str) -> None:
    async with aiohttp.ClientSession() as session:
        client = ClusterClient(session=session, url=cluster.url, namespace="default")
        assert (await client.ask("DELETE", client.path("deployments", name)))[0] == 200
    await until(lambda: cluster.objects("v1", "pods"), lambda pods: not pods)


async def test_written_durations_pass_faster_with_a_scale(cluster: SandboxCluster) -> None:
    """A progressDeadlineSeconds of 20 at scale 20 is over after a second."""
    cluster.create(deployment(image="shop:v1-unready", progressDeadlineSeconds=20))
    begun = time.monotonic()
    await until(
        lambda: cluster.objects("apps/v1", "deployments")[0],
        lambda one: condition(one, "Progressing").get("reason") == "ProgressDeadlineExceeded",
    )
    assert 0.9 < time.monotonic() - begun < 5


async def test_a_forbidden_image_is_refused_in_a_dry_run_too(cluster: SandboxCluster, client: ClusterClient) -> None:
    """Admission denies with 403 before anything is stored."""
    cluster.create(deployment())
    cluster.forbid_image("evil")
    path = client.path("deployments", "web")
    status, refused = await client.ask("PATCH", path, set_image("evil:1"), kind=STRATEGIC_PATCH, dryRun="All")
    assert (status, refused["reason"]) == (403, "Forbidden")
    with pytest.raises(ApiError):
        cluster.create(deployment("second", "evil:2"))


async def test_planned_failures_come_as_often_as_asked(cluster: SandboxCluster, client: ClusterClient) -> None:
    """429 with Retry-After, twice, only for the path named; then all is well; the log shows each try."""
    cluster.faults.fail(2, status=429, method="GET", path="/leases", retry_after=3)
    url = client.url + client.path("leases")
    for wanted in (429, 429, 200):
        async with client.session.get(url, headers={"User-Agent": "probe/2"}) as response:
            assert response.status == wanted
            assert response.headers.get("Retry-After") == ("3" if wanted == 429 else None)
    assert [one.status for one in cluster.faults.requests("GET", "/leases")] == [429, 429, 200]
    cluster.faults.fail(status=502, text="<html>bad gateway</html>")
    async with client.session.get(url) as response:
        assert (response.status, await response.text()) == (502, "<html>bad gateway</html>")


async def test_a_lost_answer_may_hide_a_done_write(cluster: SandboxCluster, client: ClusterClient) -> None:
    """drop(after=True): the connection breaks, but the patch is stored; drop(): it is not."""
    cluster.create(deployment(paused=True))
    path = client.path("deployments", "web")
    cluster.faults.drop(method="PATCH")
    with pytest.raises(aiohttp.ClientError):
        await client.ask("PATCH", path, set_image("shop:v2"), kind=STRATEGIC_PATCH)
    assert cluster.objects("apps/v1", "deployments")[0]["metadata"]["generation"] == 1
    cluster.faults.drop(method="PATCH", after=True)
    with pytest.raises(aiohttp.ClientError):
        await client.ask("PATCH", path, set_image("shop:v2"), kind=STRATEGIC_PATCH, fieldManager="me")
    assert cluster.objects("apps/v1", "deployments")[0]["metadata"]["generation"] == 2
    record = cluster.faults.requests("PATCH")[-1]
    assert (record.field_manager, record.dry_run, record.status) == ("me", False, None)
    assert record.body == set_image("shop:v2")


async def test_a_cluster_that_is_down_cuts_and_refuses(cluster: SandboxCluster, client: ClusterClient) -> None:
    """go_down breaks running watches and new connections; come_up serves the same objects."""
    cluster.create(deployment(paused=True))
    async with client.watch("deployments") as events:
        await gather_until(events, lambda event: event["type"] == "ADDED")
        cluster.go_down()
        with pytest.raises(aiohttp.ClientError):
            await anext(events)
    with pytest.raises(aiohttp.ClientError):
        await client.ask("GET", client.path("deployments"))
    cluster.come_up()
    assert len(await client.items("deployments")) == 1


async def test_a_watch_from_too_old_a_version_may_be_a_status(cluster: SandboxCluster, client: ClusterClient) -> None:
    """The protocol allows HTTP 410 as well, which no real control plane was seen to answer."""
    cluster.faults.gone_as_status = True
    _, listed = await client.ask("GET", client.path("configmaps"))
    cluster.create(deployment(paused=True))
    cluster.compact()
    old = listed["metadata"]["resourceVersion"]
    status, refused = await client.ask("GET", client.path("configmaps"), watch="1", resourceVersion=old)
    assert (status, refused["reason"]) == (410, "Expired")


async def test_a_hanging_watch_is_silent(cluster: SandboxCluster, client: ClusterClient) -> None:
    """hang_watches: accepted, but neither events nor bookmarks nor the time limit; cut_watches ends it."""
    cluster.faults.hang_watches = True
    async with client.watch("deployments", allowWatchBookmarks="true", timeoutSeconds="1") as events:
        cluster.create(deployment(paused=True))
        reading = asyncio.ensure_future(anext(events, None))
        done, _ = await asyncio.wait([reading], timeout=1.3)
        assert not done
        cluster.cut_watches()
        assert await asyncio.wait_for(reading, 5) is None


async def test_a_token_is_asked_for_and_written_to_the_kubeconfig(tmp_path: Path) -> None:
    """Without the bearer token 401; the kubeconfig holds it."""
    async with SandboxCluster(token="made-up") as cluster, aiohttp.ClientSession() as session:
        async with session.get(f"{cluster.url}/version") as response:
            assert response.status == 401
        async with session.get(f"{cluster.url}/version", headers={"Authorization": "Bearer made-up"}) as response:
            assert response.status == 200
        assert "made-up" in cluster.write_kubeconfig(tmp_path / "config").read_text()


async def test_the_same_seed_makes_the_same_names(cluster: SandboxCluster) -> None:
    """Names and uids of a run repeat, so that a failure can be told again."""

    def names(one: SandboxCluster) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in one.objects("v1", "pods"))

    async with SandboxCluster(timing=FAST, network=42) as other:
        for one in (cluster, other):
            one.create(deployment(replicas=3))
        for one in (cluster, other):
            await until(lambda one=one: names(one), lambda found: len(found) == 3)  # type: ignore[misc]
        assert names(cluster) == names(other)
