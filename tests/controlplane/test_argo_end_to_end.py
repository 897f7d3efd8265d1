"""The daemon as a process beside the real Argo Rollouts: from the alert to traffic on the stable revision, and by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.cli.exits import Exit
from tests.controlplane import definitions
from tests.controlplane.argo_controller import argo_defined, argo_running
from tests.controlplane.argo_player import V1, V2, Shop, manifest
from tests.controlplane.argo_world import ArgoWorld, argo_world
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rights_field import without_tools
from tests.controlplane.workloads import Json, make, path, until, workload
from tests.packaging.chart import build

pytestmark = [pytest.mark.real, pytest.mark.timeout(480)]

SINCE = definitions.SINCE
BAD = "shop:v2-crash"


@pytest.fixture(scope="module")
def defined(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    with argo_defined(control_plane) as plane:
        yield plane


@pytest.fixture
def shop(defined: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Shop]:
    with argo_running(defined, namespace, tmp_path) as running:
        yield running


def phase(shop: Shop) -> str:
    return str(shop.get()["status"].get("phase"))


async def proven(world: ArgoWorld) -> None:
    """v1 serves alone, and is verified."""
    await world.waits("v1 is verified", lambda: V1 in world.verified)


async def test_a_bad_canary_in_flight(shop: Shop, tmp_path: Path) -> None:
    """A canary that answers with errors: an alert, an abort by ourselves, all traffic on the stable pods, recovered."""
    async with argo_world(shop, tmp_path) as world:
        world.services.fault(image=V2, error_ratio=0.4)
        await asyncio.to_thread(shop.create, manifest(V1))
        await proven(world)
        await asyncio.to_thread(shop.deploy, V2)
        await world.waits("recovered", lambda: "recovered" in world.phases)
        obj = shop.get()
        assert (obj["status"]["abort"], obj["status"]["phase"]) == (True, "Degraded")
        assert obj["spec"]["template"]["spec"]["containers"][0]["image"] == V2
        await world.waits("only v1 runs", lambda: world.images() == {V1})
        assert {pod.image for pod in world.services.pods() if pod.ready} == {V1}
        assert len(world.pagerduty.incidents) == 1


async def test_a_person_goes_back_after_full_promotion(shop: Shop, tmp_path: Path) -> None:
    """The canary's first step pauses for ever: the undo is promoted past it, and `lastgood rollback` ends with recovered."""
    async with argo_world(shop, tmp_path) as world:
        await asyncio.to_thread(shop.create, manifest(V1))
        await proven(world)
        await asyncio.to_thread(shop.deploy, V2)
        await asyncio.to_thread(until, lambda: phase(shop), lambda found: found == "Paused")
        await asyncio.to_thread(lambda: shop.status(promoteFull=True))
        await world.waits("v2 is promoted", lambda: phase(shop) == "Healthy" and world.images() == {V2})
        code, out = await world.types("rollback", f"{shop.namespace}/Rollout/shop", "--yes", "--note", "wrong prices")
        assert code == 0, f"{out}\n{world.daemon.log_end(20)}"
        status = shop.get()["status"]
        assert (status["phase"], status["stableRS"]) == ("Healthy", status["currentPodHash"])
        assert shop.get()["spec"]["template"]["spec"]["containers"][0]["image"] == V1
        await world.waits("only v1 runs", lambda: world.images() == {V1})


async def test_the_deployment_behind_is_left_alone(shop: Shop, tmp_path: Path) -> None:
    """With workloadRef a canary that crashes is aborted; nothing is written to the Deployment, and no person may."""
    where = path(shop.namespace, "deployments", "shop")
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}

    def deploy(image: str) -> Json:
        op = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}
        return shop.ask("PATCH", where, [op], "application/json-patch+json")

    make(shop.plane, shop.namespace, "deployments", workload("Deployment", "shop", V1, replicas=0))
    async with argo_world(shop, tmp_path) as world:
        await asyncio.to_thread(shop.create, manifest(V1, template=None, workloadRef=ref))
        await proven(world)
        written = await asyncio.to_thread(deploy, BAD)
        await world.waits("recovered", lambda: "recovered" in world.phases)
        assert shop.get()["status"]["abort"] is True
        await world.waits("only v1 runs", lambda: world.images() == {V1})
        code, out = await world.types(
            "rollback", f"{shop.namespace}/Deployment/shop", "--yes", "--override", "OWNED_BY_OPERATOR", "--note", "try"
        )
        assert (code, "OWNED_BY_OPERATOR" in out) == (Exit.REFUSED, True), out
        now = shop.ask("GET", where)
        assert now["spec"] == written["spec"]
        managers = {entry["manager"] for entry in now["metadata"]["managedFields"]}
        assert not any(name.startswith("lastgood") for name in managers), managers


async def test_the_roles_of_before(shop: Shop, tmp_path: Path) -> None:
    """Upgraded without new roles: ready, the log says once what is not watched, and check-access is content and names it."""
    async with argo_world(shop, tmp_path, without_tools(build("act"))) as world:
        await asyncio.to_thread(shop.create, manifest(V1))
        assert "collection_forbidden" in world.events
        code, out = await world.types("check-access")
        assert code == 0, out
        assert "no (optional): list, watch, get rollouts.argoproj.io (cluster)" in out
        assert "fine where Argo Rollouts is not installed; where it is" in out
