"""Kinds that a cluster may not know: the watch is ready without them, finds them later, and knows whom they drive."""

from __future__ import annotations

import asyncio

import pytest

from daemon.core.model import OwnerKind
from handlers import reflector
from handlers.inbound.cluster import ClusterWatch
from tests.controlplane import definitions
from tests.controlplane.argo_player import Shop, manifest
from tests.controlplane.argo_watch import SECONDS, last, until, watching
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import make, path, until_available, workload

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = definitions.SINCE


@pytest.fixture
def shop(control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Neither Argo Rollouts nor Flagger is installed; a Deployment runs."""
    monkeypatch.setattr(reflector, "ABSENT_SECONDS", (0.1, 0.2))
    for name in ("rollouts.argoproj.io", "canaries.flagger.app"):
        definitions.remove(control_plane, name)
    make(control_plane, namespace, "deployments", workload("Deployment", "web", "shop:v1"))
    until_available(control_plane, namespace, "web", 1)
    return Shop(plane=control_plane, namespace=namespace)


async def test_installed_and_removed_while_we_run(shop: Shop) -> None:
    """Ready without the definition; a Rollout of one that is installed later is seen; with the definition it is gone."""
    async with watching(shop) as (watch, inbox):
        await _absent(watch)
        assert watch.age() < SECONDS
        await last(inbox, shop, "web", lambda view: view.converged)
        await asyncio.to_thread(definitions.define, shop.plane, definitions.CRDS / "rollouts.yaml")
        await asyncio.to_thread(_promoted, shop)
        view = await last(inbox, shop, "shop", lambda view: view.converged)
        assert (view.workload, view.current.images) == (shop.workload, ("shop:v1",))
        await asyncio.to_thread(definitions.remove, shop.plane, "rollouts.argoproj.io")
        await last(inbox, shop, "shop", lambda view: view.gone)
        await _absent(watch)


async def test_flagger_drives_target_and_primary(shop: Shop) -> None:
    """Both Deployments of a Canary have Flagger for an owner, from the moment the Canary is there until it is not."""
    make(shop.plane, shop.namespace, "deployments", workload("Deployment", "web-primary", "shop:v1"))
    canary = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "web"},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
    }
    collection = f"/apis/flagger.app/v1beta1/namespaces/{shop.namespace}/canaries"
    async with watching(shop) as (_, inbox):
        await last(inbox, shop, "web", lambda view: view.owner is None)
        await asyncio.to_thread(definitions.define, shop.plane, definitions.CRDS / "canaries.yaml")
        await asyncio.to_thread(shop.ask, "POST", collection, canary)
        for name in ("web", "web-primary"):
            view = await last(inbox, shop, name, lambda view: view.owner is not None)
            assert view.owner is not None
            assert (view.owner.kind, view.owner.name) == (OwnerKind.OPERATOR, "Flagger Canary/web")
        await asyncio.to_thread(shop.ask, "DELETE", f"{collection}/web")
        for name in ("web", "web-primary"):
            await last(inbox, shop, name, lambda view: view.owner is None)


async def test_a_rollout_that_comes_takes_the_deployment_behind_it(shop: Shop) -> None:
    """A Rollout with workloadRef is its Deployment's owner, also where the Deployment was there and seen before."""
    definitions.define(shop.plane, definitions.CRDS / "rollouts.yaml")
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    async with watching(shop) as (_, inbox):
        await last(inbox, shop, "web", lambda view: view.owner is None)
        await asyncio.to_thread(shop.create, manifest("", template=None, workloadRef=ref))
        view = await last(inbox, shop, "web", lambda view: view.owner is not None)
        assert view.owner is not None
        assert (view.owner.kind, view.owner.name) == (OwnerKind.OPERATOR, "Rollout/shop")
        await asyncio.to_thread(shop.ask, "DELETE", shop.path)
        await last(inbox, shop, "web", lambda view: view.owner is None)
    assert shop.ask("GET", path(shop.namespace, "deployments", "web"))


async def _absent(watch: ClusterWatch) -> None:
    """Until the watch knows that there are no Rollouts here."""
    await until(lambda: watch.reflectors["rollouts"].absent)


def _promoted(shop: Shop) -> None:
    shop.create(manifest("shop:v1", replicas=0))
    shop.take_up()
    shop.promote()
