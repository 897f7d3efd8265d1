"""Right after its start an API server refuses those who may: a rollback and a watch that are there then outlast it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from daemon import assembly
from daemon.core.actions import Outcome, OutcomeKind
from handlers.faults import Transient
from handlers.inbound.cluster import ClusterWatch
from handlers.kube import KubeClient
from tests.controlplane.plane import APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES, ControlPlane
from tests.controlplane.rollouts import Rollout, client_of, image, rolled_out
from tests.controlplane.workloads import path, until
from tests.handlers.rollback_world import WallClock
from tests.handlers.test_cluster_watch import Views

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SECONDS = 120.0
USER, ROLE = "lastgood", "tests:just-started"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def allowed(control_plane: ControlPlane, namespace: str) -> Iterator[str]:
    """A user who may everything by a role; what belongs to `system:masters` is never refused."""
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    body = {"metadata": {"name": ROLE}, "roleRef": ref, "subjects": [subject]}
    assert control_plane.ask("POST", f"{RBAC}/clusterrolebindings", body)[0] == 201
    until(lambda: control_plane.ask("GET", path(namespace, "pods"), user=USER)[0], lambda status: status == 200)
    yield USER
    control_plane.ask("DELETE", f"{RBAC}/clusterrolebindings/{ROLE}")


async def test_a_rollback_outlasts_it(control_plane: ControlPlane, namespace: str, allowed: str) -> None:
    """Sent again and again from before the start on, as the dispatcher would: it is done, and never refused for good."""
    async with rolled_out(control_plane, namespace) as there, client_of(control_plane, allowed) as client:
        await asyncio.to_thread(control_plane.kill, APISERVER)
        asked = asyncio.create_task(_refusals(control_plane, allowed, namespace))
        rolled_back = asyncio.create_task(_rolled_back(there, client))
        control_plane.start(APISERVER)
        outcome = await rolled_back
        await asyncio.to_thread(_whole, control_plane)
        assert outcome.kind is OutcomeKind.DONE, (outcome, await asked)
        assert set(await asked) <= {0, 403, 429, 500, 503}
        assert image(there.web()) == "shop:v1"


async def test_a_watch_outlasts_it(control_plane: ControlPlane, allowed: str) -> None:
    """A daemon that starts with the API server believes of no collection that it may not read it."""
    await asyncio.to_thread(control_plane.kill, APISERVER)
    async with client_of(control_plane, allowed) as client:
        watch = ClusterWatch(client, Views(), WallClock(), flagger=True)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(), name=name) for name, run in watch.tasks().items()]
            control_plane.start(APISERVER)
            async with asyncio.timeout(SECONDS):
                await watch.synced.wait()
            await asyncio.to_thread(_whole, control_plane)
            assert [name for name, one in watch.reflectors.items() if one.forbidden] == []
            for task in tasks:
                task.cancel()


async def _rolled_back(there: Rollout, client: KubeClient) -> Outcome:
    """As the dispatcher runs it: what may pass is tried again, everything else is the answer."""
    runner = assembly.rollbacks(client, WallClock())
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await runner.run(there.action())
            except Transient:
                await asyncio.sleep(0.02)


async def _refusals(plane: ControlPlane, user: str, namespace: str) -> list[int]:
    """What somebody without patience was answered until it was 200; 0 for no answer."""
    told: list[int] = []
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        try:
            status = (await asyncio.to_thread(plane.ask, "GET", path(namespace, "pods"), user=user))[0]
        except OSError:
            status = 0
        if status == 200:
            break
        told.append(status)
        await asyncio.sleep(0.02)
    return told


def _whole(plane: ControlPlane) -> None:
    """The API server is ready, for whoever uses the control plane next."""
    for part in (APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES):
        plane.wait_ready(part)
