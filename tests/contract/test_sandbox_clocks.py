"""The sandbox on virtual time, and under the client library that the daemon uses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import kubernetes_asyncio
import pytest

from deploy.sandbox.kube import SandboxCluster, Timing
from tests.contract.cluster_client import (
    STRATEGIC_PATCH,
    ClusterClient,
    complete,
    condition,
    deployment,
    set_image,
)


async def test_a_rollout_of_real_length_passes_on_virtual_time() -> None:
    """Slow pods, a ten-minute progress deadline and back-offs of minutes cost a test no time."""
    timing = Timing(start=5, termination=2, backoff=10, backoff_max=300)
    async with SandboxCluster(timing=timing) as cluster, aiohttp.ClientSession() as session:
        client = ClusterClient(session=session, url=cluster.url, namespace="default")
        cluster.create(deployment(replicas=3))
        await asyncio.sleep(60)
        assert complete(await client.read("deployments", "web"))
        await client.patch("deployments", "web", set_image("shop:v2-unready"), kind=STRATEGIC_PATCH)
        await asyncio.sleep(590)
        assert condition(await client.read("deployments", "web"), "Progressing")["status"] == "True"
        await asyncio.sleep(30)
        stuck = await client.read("deployments", "web")
        assert condition(stuck, "Progressing")["reason"] == "ProgressDeadlineExceeded"
        await client.patch("deployments", "web", set_image("shop:v3-crash"), kind=STRATEGIC_PATCH)
        await asyncio.sleep(300)
        counts = [one["status"]["containerStatuses"][0]["restartCount"] for one in await client.items("pods")]
        assert sorted(counts) == [0, 0, 0, 5]  # back-offs of 0, 10, 20, 40 and 80 s; the next takes 160


@pytest.mark.real
async def test_kubernetes_asyncio_reads_watches_and_is_refused(tmp_path: Path) -> None:
    """Its typed models decode what the sandbox serves, its watch ends in time, a failed `test` is 422 for it."""
    async with SandboxCluster(timing=Timing(start=0.05)) as cluster:
        await kubernetes_asyncio.config.load_kube_config(config_file=str(cluster.write_kubeconfig(tmp_path / "config")))
        cluster.create(deployment())
        async with kubernetes_asyncio.client.ApiClient() as api:
            apps, core = kubernetes_asyncio.client.AppsV1Api(api), kubernetes_asyncio.client.CoreV1Api(api)
            watch = kubernetes_asyncio.watch.Watch()
            seen = []
            async for event in watch.stream(core.list_namespaced_pod, "default", timeout_seconds=1):
                seen.append((event["type"], event["object"].status.phase))
            await watch.close()
            assert {("ADDED", "Pending"), ("MODIFIED", "Running")} <= set(seen)
            found = await apps.read_namespaced_deployment("web", "default")
            assert found.status.ready_replicas == 2
            patch = [{"op": "test", "path": "/metadata/uid", "value": "another"}]
            with pytest.raises(kubernetes_asyncio.client.ApiException) as refused:
                await apps.patch_namespaced_deployment("web", "default", patch, dry_run="All", field_manager="me")
            assert refused.value.status == 422
