"""A workload of each kind that is watched, each with a bad v2 to be rolled back; one of them waits for a broken pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from daemon.core.actions import RollBack
from deploy.sandbox.kube import SandboxCluster
from handlers.kube import KubeClient
from tests.handlers.blue_green_world import BlueGreen, switched
from tests.handlers.rollback_world import World, until, world
from tests.handlers.sets_world import SetWorld, add_set
from tests.packaging.canary import CanaryWorld, add_rollout
from tests.packaging.owned import Owned, add_owned

BROKEN = "shop:v2-unready"
"""An image whose pods never become ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EveryKind:
    """They share one cluster, and one client. `db` is a StatefulSet, `agent` a DaemonSet, `cart` a Rollout, `front` a blue/green
    Service, and `owned` are Deployments of Argo CD and Flux.
    """

    web: World
    db: SetWorld
    agent: SetWorld
    cart: CanaryWorld
    front: BlueGreen
    owned: Owned

    @property
    def cluster(self) -> SandboxCluster:
        """Where they are."""
        return self.web.cluster

    @property
    def client(self) -> KubeClient:
        """Who asks."""
        return self.web.client

    def actions(self) -> list[RollBack]:
        """Each of them back to v1, and `db` freed from its broken pod."""
        freed = self.db.action(delete_stuck=True)
        mine = [self.web.action(), freed, self.agent.action(), self.cart.action(), self.front.action()]
        return [*mine, *self.owned.actions()]


@asynccontextmanager
async def every_kind() -> AsyncIterator[EveryKind]:
    """All of them given v2, and the pod that never becomes ready is there."""
    async with world() as web:
        db = await add_set(web.cluster, web.client, "StatefulSet", v2=BROKEN)
        agent = await add_set(web.cluster, web.client, "DaemonSet", v2="shop:v2", name="agent")
        await until(db.pods, lambda pods: pods.get("db-2") == BROKEN)
        await until(lambda: db.is_running("db-2"), bool)
        cart = await add_rollout(web.cluster, web.client)
        front = await switched(web.client, "default")
        owned = await add_owned(web.cluster, web.client)
        yield EveryKind(web=web, db=db, agent=agent, cart=cart, front=front, owned=owned)
