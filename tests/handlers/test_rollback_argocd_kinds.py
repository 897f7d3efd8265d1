"""Past Argo CD, by kind of workload: what a kind needs beyond its template is done by its own runner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.actions import OutcomeKind, RolledBack
from daemon.core.policy import GitOps
from handlers import views
from handlers.outbound.rollback.argo_rollout import ArgoRollback
from handlers.outbound.rollback.argocd import ArgoCdRollback
from tests.handlers.argocd_world import GOOD, OWNER, UNTIL, Argo, add, application, argo_world
from tests.handlers.blue_green_world import switched
from tests.handlers.rollback_world import WallClock, image_op, world
from tests.packaging.canary import add_rollout

pytestmark = pytest.mark.real

AROUND: dict[str, Any] = {"way": GitOps.ARGOCD_ROLLBACK, "owner": OWNER, "suspend_until": UNTIL, "target_commit": GOOD}


class Carts(Argo):
    """The same for a Rollout, with its controller, which takes a template up at once."""

    async def applies(self, revision: str) -> None:
        path = "/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/cart"
        obj = await self.world.client.patch_json(
            path, image_op(self.images[revision]), field_manager="argocd-controller"
        )
        taken_up = [
            add("/status/observedGeneration", str(obj["metadata"]["generation"])),
            add("/status/currentPodHash", "hash-1"),
        ]
        await self.world.client.patch_json(f"{path}/status", taken_up, field_manager="rollouts-controller")


async def test_a_rollout_is_finished_by_its_own_runner() -> None:
    """Its mark says that an undo was begun, so that what is left (the full promotion) is done as after any undo."""
    async with world() as found:
        cart = await add_rollout(found.cluster, found.client)
        app = application(namespace="default")
        app["status"]["resources"] = [
            {"group": "argoproj.io", "kind": "Rollout", "namespace": "default", "name": "cart"}
        ]
        found.cluster.create(app, manager="argocd-controller")
        there = Carts(found, home="default")
        runner = ArgoCdRollback(there, WallClock(), ArgoRollback(there, WallClock()), look_seconds=0.001)
        action = replace(cart.action(), **AROUND)
        outcome = await runner.run(action)
        assert isinstance(outcome.result, RolledBack), outcome
        annotations = views.annotations_of(cart.obj())
        assert (annotations[views.ACTION], annotations[views.ROAD]) == (action.id, "undo")
        assert "abort" not in cart.obj()["status"]
        again = await runner.probe(action)
        assert again is not None
        assert isinstance(again.result, RolledBack)


async def test_a_service_is_not_switched() -> None:
    """Whether the other Deployment can serve is tested with the switch, which Argo CD would do: refused, nothing is written."""
    async with argo_world() as there:
        front = await switched(there.world.client, "default")
        outcome = await there.runner().run(replace(front.action(), **AROUND))
        assert outcome.kind is OutcomeKind.REFUSED
        assert "a Service of Argo CD is not switched" in outcome.message
        assert not there.marks()
