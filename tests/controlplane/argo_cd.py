"""Argo CD, played on a real API server: it syncs its source again and again unless switched off, and does operations."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.core.actions import EndSuspension, Outcome, RollBack
from daemon.core.model import ActionId, IncidentId, Owner, OwnerKind
from daemon.core.policy import GitOps
from handlers import applications
from handlers.outbound.rollback.argocd import ArgoCdRollback
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.suspension import SuspensionEnd
from tests.controlplane import definitions
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import Rollout, deployment, image, rolled_out
from tests.controlplane.workloads import Json, path
from tests.handlers import argocd_world
from tests.handlers.argocd_world import BAD, GOOD
from tests.handlers.rollback_world import WallClock

SECONDS = 60.0
TURN_SECONDS = 0.1
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
VERSIONS = {GOOD: "v1", BAD: "v2"}
OWNER = Owner(kind=OwnerKind.ARGO_CD, name="shop")


@dataclass(slots=True)
class ArgoCd:
    """An Application with self-heal that owns the Deployment `web`; `source` is the commit at its head.

    `turns` counts the controller's looks, `begun` the operations that it has taken up.
    """

    there: Rollout
    source: str = BAD
    turns: int = 0
    begun: int = 0

    @property
    def path(self) -> str:
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.there.namespace}/applications/shop"

    def ask(self, method: str, where: str, body: object = None, kind: str = "application/json") -> Json:
        status, answer = self.there.plane.ask(method, where, body, kind=kind)
        assert status in {200, 201}, answer
        return answer

    def make(self) -> None:
        definitions.define(self.there.plane, definitions.CRDS / "applications.yaml")
        body = argocd_world.application(namespace=self.there.namespace)
        body["status"]["resources"][0]["namespace"] = self.there.namespace
        self.ask("POST", f"{self.path.rpartition('/')[0]}?fieldManager=argocd-controller", body)

    def turn(self) -> None:
        """One reconciliation: an operation goes on, or self-heal corrects drift."""
        app = self.app()
        operation, state = app.get("operation"), (app.get("status") or {}).get("operationState")
        if operation is None:
            if applications.auto_syncs(app):
                self.sync(self.source)
        elif state is None:
            self.begun += 1
            self.writes({"status": {"operationState": {"phase": "Running", "operation": operation}}})
        else:
            self.sync(operation["sync"]["revision"])
            ended = {**state, "phase": "Succeeded", "message": "successfully synced"}
            self.writes({"operation": None, "status": {"operationState": ended}})
        self.turns += 1

    def sync(self, revision: str) -> None:
        """Server-side, with forced ownership (ServerSideApply=true)."""
        body, namespace = deployment(VERSIONS[revision]), self.there.namespace
        tracking = f"shop:apps/Deployment:{namespace}/web"
        body["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": tracking}
        where = path(namespace, "deployments", "web")
        self.ask("PATCH", f"{where}?fieldManager=argocd-controller&force=true", body, kind=APPLY)

    def writes(self, body: Json, manager: str = "argocd-controller") -> None:
        self.ask("PATCH", f"{self.path}?fieldManager={manager}", body, kind=MERGE)

    def person(self, *, enabled: bool) -> None:
        """Somebody switches auto-sync by hand."""
        self.writes({"spec": {"syncPolicy": {"automated": {"enabled": enabled}}}}, manager="argocd-server")

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.turn)
            await asyncio.sleep(TURN_SECONDS)

    async def turned(self, turns: int) -> None:
        """Let the controller look so often."""
        wanted = self.turns + turns
        async with asyncio.timeout(SECONDS):
            while self.turns < wanted:
                await asyncio.sleep(TURN_SECONDS)

    async def until_image(self, wanted: str) -> None:
        async with asyncio.timeout(SECONDS):
            while image(await asyncio.to_thread(self.there.web)) != wanted:
                await asyncio.sleep(TURN_SECONDS)

    def app(self) -> Json:
        return self.ask("GET", self.path)

    def automated(self) -> object:
        return self.app()["spec"]["syncPolicy"].get("automated")

    def marks(self) -> set[str]:
        return set(applications.MARKS) & set(self.app()["metadata"].get("annotations") or {})

    def action(self) -> RollBack:
        """Its id is of this namespace alone: the tests share a cluster, and a journal gives each id once."""
        until, incident = datetime.now(UTC) + timedelta(hours=4), IncidentId(f"inc-{self.there.namespace}")
        return replace(
            self.there.action(), id=ActionId(f"{incident}/roll_back"), incident=incident,
            way=GitOps.ARGOCD_ROLLBACK, owner=OWNER, suspend_until=until, target_commit=GOOD,
        )  # fmt: skip

    def runner(self, api: Any = None) -> ArgoCdRollback:
        api = api or self.there.client
        return ArgoCdRollback(api, WallClock(), TemplateRollback(api, WallClock()))

    async def ends(self) -> Outcome:
        action = self.action()
        return await SuspensionEnd(self.there.client).run(
            EndSuspension(
                id=ActionId(f"{action.incident}/end_suspension/1"), deadline=action.deadline, incident=action.incident,
                workload=action.workload, owner=OWNER, way=GitOps.ARGOCD_ROLLBACK,
            )
        )  # fmt: skip


@asynccontextmanager
async def syncing(control_plane: ControlPlane, namespace: str) -> AsyncIterator[ArgoCd]:
    """Its controller runs, and has made the Deployment its own."""
    async with rolled_out(control_plane, namespace) as there:
        found = ArgoCd(there)
        await asyncio.to_thread(found.make)
        task = asyncio.create_task(found.run())
        try:
            await found.turned(2)
            yield found
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
