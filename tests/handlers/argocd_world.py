"""A Deployment that Argo CD deployed twice, its Application in the sandbox, and Argo CD's controller, played turn by turn."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.core.actions import EndSuspension, Outcome, RollBack
from daemon.core.model import ActionId, IncidentId, Owner, OwnerKind
from daemon.core.policy import GitOps
from handlers import applications
from handlers.outbound.rollback.argocd import ArgoCdRollback
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.suspension import SuspensionEnd
from tests.handlers.rollback_world import PATH, WEB, WallClock, World, image_op, world

Json = dict[str, Any]

OWNER = Owner(kind=OwnerKind.ARGO_CD, name="shop")
APP = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop"
UNTIL = datetime(2026, 3, 2, 16, 5, tzinfo=UTC)
GOOD, BAD = "1111111aaaa", "2222222bbbb"
AUTOMATED = {"prune": True, "selfHeal": True}
THEN = datetime(2026, 3, 2, 11, 0, tzinfo=UTC)
"""When the entry of the good commit was deployed; the bad one an hour later."""


class CutError(Exception):
    """The daemon died."""


def entry(number: int, revision: str, at: datetime) -> Json:
    """One entry of the history; its sync took twenty seconds."""
    return {
        "id": number, "revision": revision, "source": {"repoURL": "https://git.example/shop", "path": "deploy"},
        "deployStartedAt": at.isoformat(), "deployedAt": (at + timedelta(seconds=20)).isoformat(),
    }  # fmt: skip


def application(**metadata: Any) -> Json:
    """Syncs by itself, with self-heal, and lists the workload."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "shop", "namespace": "argocd", **metadata},
        "spec": {
            "source": {"repoURL": "https://git.example/shop", "path": "deploy", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
            "syncPolicy": {"automated": dict(AUTOMATED), "syncOptions": ["ServerSideApply=true"]},
        },
        "status": {
            "resources": [{"group": "apps", "kind": "Deployment", "namespace": "default", "name": "web"}],
            "history": [entry(1, GOOD, THEN), entry(2, BAD, THEN + timedelta(hours=1))],
            "operationState": {"phase": "Succeeded", "operation": {"sync": {"revision": BAD}}},
        },
    }


@dataclass(slots=True)
class Argo:
    """The client of the sandbox; at each reading of the Application its controller has a turn first.

    `home` is its namespace, `images` says what a commit holds. `before` happens before each request of ours, `keeps` is whether
    the Application's schema has `automated.enabled`, `idle` keeps the controller from working, `fails` ends its operations so.
    """

    world: World
    home: str = "argocd"
    images: Json = field(default_factory=lambda: {GOOD: "shop:v1", BAD: "shop:v2"})
    before: Callable[[str, str], None] = lambda verb, path: None
    keeps: bool = True
    idle: bool = False
    fails: str = ""
    dies_after: int = 0
    operations: list[Json] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world.client, name)

    # -- what the runner asks

    async def get(self, path: str, **query: Any) -> Json:
        self.before("get", path)
        if path == self.path:
            await self.turn()
        return await self.world.client.get(path, **query)

    async def list_pages(self, path: str, **options: Any) -> AsyncIterator[Any]:
        self.before("list", path)
        if path.endswith("/applications") and self.world.cluster.objects("argoproj.io/v1alpha1", "applications"):
            await self.turn()
        async for page in self.world.client.list_pages(path, **options):
            yield page

    async def patch_json(self, path: str, ops: Sequence[Json], **options: Any) -> Json:
        self.before("dry run" if options.get("dry_run") else "patch", path)
        answer: Json = await self.world.client.patch_json(path, self._pruned(ops), **options)
        if self.dies_after and not options.get("dry_run"):
            self.dies_after -= 1
            if not self.dies_after:
                raise CutError
        return answer

    def _pruned(self, ops: Sequence[Json]) -> list[Json]:
        """A schema without the field drops it in silence."""
        return [op for op in ops if self.keeps or not op["path"].endswith("/automated/enabled")]

    # -- Argo CD

    async def turn(self) -> None:
        """What the controller does next: begin the operation, or apply it and end it."""
        app = self.app()
        operation = app.get("operation")
        if operation is None or self.idle:
            return
        state = (app.get("status") or {}).get("operationState")
        if state is None:
            self.operations.append(copy.deepcopy(operation))
            await self.writes([add("/status/operationState", {"phase": "Running", "operation": operation})])
            return
        if not self.fails:
            await self.applies(operation["sync"]["revision"])
        phase = "Failed" if self.fails else "Succeeded"
        ended = {**state, "phase": phase, "message": self.fails or "successfully synced"}
        await self.writes([add("/status/operationState", ended), {"op": "remove", "path": "/operation"}])

    async def applies(self, revision: str) -> None:
        """The template that a commit holds, onto the workload."""
        await self.world.client.patch_json(PATH, image_op(self.images[revision]), field_manager="argocd-controller")

    async def writes(self, ops: Sequence[Json], manager: str = "argocd-controller") -> None:
        """A write of somebody else's to the Application."""
        await self.world.client.patch_json(self.path, ops, field_manager=manager)

    async def person(self, *, automated: Json | None) -> None:
        """`argocd app set`: auto-sync as a person wants it."""
        ops = [add("/spec/syncPolicy", {} if automated is None else {"automated": automated})]
        await self.writes(ops, manager="argocd-server")

    # -- what there is to see

    @property
    def path(self) -> str:
        return APP.replace("/argocd/", f"/{self.home}/")

    def app(self) -> Json:
        found = self.world.cluster.object("argoproj.io/v1alpha1", "applications", "shop", self.home)
        assert found is not None
        return found

    def automated(self) -> Json | None:
        found: Json | None = (self.app()["spec"].get("syncPolicy") or {}).get("automated")
        return found

    def marks(self) -> Json:
        annotations = self.app()["metadata"].get("annotations") or {}
        return {key: value for key, value in annotations.items() if key in applications.MARKS}

    def runner(self) -> ArgoCdRollback:
        return ArgoCdRollback(self, WallClock(), TemplateRollback(self, WallClock()), look_seconds=0.001)

    def action(self, **changes: Any) -> RollBack:
        values: Json = {"way": GitOps.ARGOCD_ROLLBACK, "owner": OWNER, "suspend_until": UNTIL, "target_commit": GOOD}
        return self.world.action(**(values | changes))

    async def run(self, **changes: Any) -> Outcome:
        return await self.runner().run(self.action(**changes))

    async def ends(self, owner: Owner = OWNER) -> Outcome:
        return await SuspensionEnd(self).run(
            EndSuspension(
                id=ActionId("inc-1/end_suspension/1"), deadline=UNTIL, incident=IncidentId("inc-1"), workload=WEB, owner=owner,
                way=GitOps.ARGOCD_ROLLBACK,
            )
        )  # fmt: skip


def add(path: str, value: object) -> Json:
    """One operation of a JSON Patch."""
    return {"op": "add", "path": path, "value": value}


@asynccontextmanager
async def argo_world() -> AsyncIterator[Argo]:
    """The Deployment runs v2, which the Application's newest entry brought."""
    async with world() as found:
        found.cluster.define("argoproj.io/v1alpha1", "applications")
        found.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}})
        found.cluster.create(application(), manager="argocd-controller")
        yield Argo(found)
