"""The whole road with the real controller of Argo Rollouts: what it does with our abort, our undo and our promotion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.core.actions import Outcome, OutcomeKind
from daemon.core.model import Owner, OwnerKind, RevisionId, WorkloadView
from handlers.outbound.rollback.argo_rollout import ArgoRollback
from tests.controlplane import definitions
from tests.controlplane.argo_controller import argo_defined, argo_running
from tests.controlplane.argo_player import STEPS, Recorder, Shop, manifest
from tests.controlplane.argo_watch import SECONDS, seen, watching
from tests.controlplane.argo_watch import until as until_told
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, make, path, until, workload
from tests.handlers.rollback_world import WallClock

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = definitions.SINCE
V1, V2, BAD = "shop:v1", "shop:v2", "shop:v2-crash"


@pytest.fixture(scope="module")
def defined(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane with the real definitions, for as long as the tests of this file take."""
    with argo_defined(control_plane) as plane:
        yield plane


@pytest.fixture
def shop(defined: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Shop]:
    """A namespace with a controller of its own."""
    with argo_running(defined, namespace, tmp_path) as running:
        yield running


def runs(image: str) -> Callable[[WorkloadView], bool]:
    return lambda view: view.current.images == (image,) and view.converged


async def roll_back(shop: Shop, target: WorkloadView, blamed: WorkloadView) -> Outcome:
    async with shop.client() as client:
        action = shop.action(target.current, blamed.current)
        return await asyncio.wait_for(ArgoRollback(client, WallClock()).run(action), SECONDS)


def images(shop: Shop) -> set[str]:
    """What pods run that are not going."""
    pods = shop.ask("GET", path(shop.namespace, "pods"))["items"]
    return {pod["spec"]["containers"][0]["image"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def promote_by_hand(shop: Shop) -> None:
    """As `kubectl argo rollouts promote --full` does, once the update is seen to wait."""
    until(shop.get, lambda obj: obj["status"].get("phase") == "Paused")
    shop.status(promoteFull=True)


async def test_a_bad_canary_is_aborted(shop: Shop) -> None:
    """One canary pod crashes: blamed by its start, aborted, and every pod is the stable revision's again."""
    async with watching(shop) as (_, inbox):
        shop.create(manifest(V1))
        good = await seen(inbox, shop, runs(V1))
        shop.deploy(BAD)
        bad = await seen(inbox, shop, lambda view: view.current.images == (BAD,) and view.start_failure)
        assert not bad.converged
        assert (good.abort_to, bad.abort_to) == (None, good.current.id)
        assert {pods.revision for pods in bad.pods} == {good.current.id, bad.current.id}
        outcome = await roll_back(shop, good, bad)
        assert outcome.kind is OutcomeKind.DONE, outcome
        back = await seen(inbox, shop, lambda view: view.action_id and view.converged)
    assert back.current.id == good.current.id
    assert back.started_at >= bad.started_at
    assert images(shop) == {V1}
    obj = shop.get()
    assert (obj["status"]["phase"], obj["status"]["abort"]) == ("Degraded", True)
    assert obj["spec"]["template"]["spec"]["containers"][0]["image"] == BAD
    assert all(view.action_id for view in inbox.all if view.current.id == back.current.id and view is not good
               and view.started_at >= back.started_at)  # fmt: skip


async def test_undo_after_full_promotion_does_not_crawl(shop: Shop) -> None:
    """Steps with a pause without end: after our undo everything runs the target, promoted, without a person."""
    async with watching(shop) as (_, inbox):
        shop.create(manifest(V1))
        good = await seen(inbox, shop, runs(V1))
        shop.deploy(V2)
        await asyncio.to_thread(promote_by_hand, shop)
        bad = await seen(inbox, shop, runs(V2))
        outcome = await roll_back(shop, good, bad)
        assert outcome.kind is OutcomeKind.DONE, outcome
        back = await seen(inbox, shop, lambda view: view.action_id and view.converged)
    assert back.current.id == good.current.id
    status = shop.get()["status"]
    assert (status["phase"], status["stableRS"]) == ("Healthy", status["currentPodHash"])
    await asyncio.to_thread(until, lambda: images(shop), lambda found: found == {V1})
    known = {view.current.id for view in inbox.all if view.workload == shop.workload}
    assert known == {good.current.id, bad.current.id}, "the template that is put back is the revision that was proven"
    newest = shop.history()[0]
    assert newest["metadata"]["name"] == good.current.replica_set, "the old ReplicaSet is taken up again"


async def test_cut_after_the_undo_and_resumed(shop: Shop) -> None:
    """A crash between undo and promotion, and the controller at work in between: the next run finishes it."""

    def crash(_count: int) -> None:
        raise ConnectionResetError

    async with watching(shop) as (_, inbox):
        shop.create(manifest(V1))
        good = await seen(inbox, shop, runs(V1))
        shop.deploy(V2)
        await asyncio.to_thread(promote_by_hand, shop)
        bad = await seen(inbox, shop, runs(V2))
        action = shop.action(good.current, bad.current)
        async with shop.client() as client:
            with pytest.raises(ConnectionResetError):
                await ArgoRollback(Recorder(client, crash), WallClock()).run(action)
            await asyncio.to_thread(until, shop.get, lambda obj: obj["status"].get("phase") == "Paused")
            assert await ArgoRollback(client, WallClock()).probe(action) is None
            outcome = await ArgoRollback(client, WallClock()).run(action)
        assert outcome.kind is OutcomeKind.DONE, outcome
        back = await seen(inbox, shop, lambda view: view.action_id and view.converged)
    assert back.current.id == good.current.id


async def test_blue_and_green(shop: Shop) -> None:
    """Before the switch the abort is the road; after it the undo, and the active Service points back."""
    ports = [{"port": 80}]
    for name in ("active", "preview"):
        body = {"metadata": {"name": name}, "spec": {"selector": {"app": "shop"}, "ports": ports}}
        make(shop.plane, shop.namespace, "services", body)
    strategy = {"activeService": "active", "previewService": "preview", "autoPromotionEnabled": False}
    async with watching(shop) as (watch, inbox):
        shop.create(manifest(V1, strategy={"blueGreen": {**strategy, "scaleDownDelaySeconds": 1}}))
        good = await seen(inbox, shop, runs(V1))
        assert list(watch.cache.workloads_of_service(shop.namespace, "active")) == [shop.workload]
        shop.deploy(V2)
        await asyncio.to_thread(until, shop.get, lambda obj: obj["status"].get("phase") == "Paused")
        bad = await seen(inbox, shop, lambda view: view.current.images == (V2,))
        outcome = await roll_back(shop, good, bad)
        assert outcome.kind is OutcomeKind.DONE, outcome
        await seen(inbox, shop, lambda view: view.action_id and view.converged)
        assert _active(shop) == shop.get()["status"]["stableRS"]


async def test_behind_a_rollout(shop: Shop) -> None:
    """With workloadRef: the Deployment has the Rollout for an owner and is never written; abort works, undo is refused."""
    deployment = workload("Deployment", "shop", V1, replicas=0)
    make(shop.plane, shop.namespace, "deployments", deployment)
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    where = path(shop.namespace, "deployments", "shop")

    def deploy(image: str) -> Json:
        op = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}
        written: Json = shop.ask("PATCH", where, [op], "application/json-patch+json")["spec"]
        return written

    async with watching(shop) as (_, inbox):
        shop.create(manifest(V1, template=None, workloadRef=ref))
        good = await seen(inbox, shop, runs(V1))
        behind = replace(shop.workload, kind="Deployment")
        await until_told(lambda: any(v.workload == behind and v.owner == _owner() for v in inbox.all))
        written = await asyncio.to_thread(deploy, BAD)
        bad = await seen(inbox, shop, lambda view: view.current.images == (BAD,) and view.start_failure)
        outcome = await roll_back(shop, good, bad)
        assert outcome.kind is OutcomeKind.DONE, outcome
        back = await seen(inbox, shop, lambda view: view.action_id and view.converged)
        assert back.current.id == good.current.id
        assert shop.ask("GET", where)["spec"] == written
        await asyncio.to_thread(deploy, V2)
        await asyncio.to_thread(promote_by_hand, shop)
        later = await seen(inbox, shop, runs(V2))
        async with shop.client() as client:
            action = shop.action(good.current, later.current, "inc-2/roll_back")
            refused = await ArgoRollback(client, WallClock()).run(action)
    assert (refused.kind, "workloadRef" in refused.message) == (OutcomeKind.REFUSED, True)


async def test_a_retry_is_a_rollout_of_its_own(shop: Shop) -> None:
    """Whoever retries the aborted update rolls the bad revision out again, and the view says so."""
    async with watching(shop) as (_, inbox):
        shop.create(manifest(V1, strategy={"canary": {"steps": [*STEPS]}}))
        good = await seen(inbox, shop, runs(V1))
        shop.deploy(V2)
        bad = await seen(inbox, shop, lambda view: view.current.images == (V2,))
        await roll_back(shop, good, bad)
        await seen(inbox, shop, lambda view: view.action_id and view.converged)
        count = len(inbox.all)
        shop.status(abort=False)
        again = [bad.workload, bad.current.id]
        await until_told(lambda: any([v.workload, v.current.id] == again for v in inbox.all[count:]))
        assert not next(v for v in inbox.all[count:] if [v.workload, v.current.id] == again).action_id


def _active(shop: Shop) -> str:
    found = shop.ask("GET", path(shop.namespace, "services", "active"))["spec"]["selector"]
    return str(RevisionId(found["rollouts-pod-template-hash"]))


def _owner() -> Owner:
    return Owner(kind=OwnerKind.OPERATOR, name="Rollout/shop", drives=True)
