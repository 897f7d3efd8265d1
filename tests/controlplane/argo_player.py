"""A Rollout on a real API server, its controller played by the test: it writes what Argo Rollouts writes, when told to.

Its ReplicaSets have no pods; the real controller's have (test_argo_controller.py).
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.core.actions import CheckTarget, RollBack
from daemon.core.model import ActionId, IncidentId, Revision, Workload
from handlers import revisions
from handlers.argo_templates import HASH_LABEL, REVISION_NUMBER
from handlers.kinds import rollout
from handlers.kube import KubeClient, Page, Timeouts
from handlers.kube_access import from_url
from handlers.kube_json import Obj
from handlers.workload_objects import FIELD_MANAGER
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, path

MERGE = "application/merge-patch+json"
STEPS = [{"setWeight": 25}, {"pause": {}}]
V1, V2, V3 = "shop:v1", "shop:v2", "shop:v3"
SHOP = Workload(namespace="shop", kind="Rollout", name="shop")


def manifest(image: str, **spec: Any) -> Json:
    """A Rollout with a canary that waits for a person after its first step."""
    labels = {"app": "shop"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    body = {
        "replicas": 4,
        "selector": {"matchLabels": labels},
        "template": template,
        "strategy": {"canary": {"steps": STEPS}},
        **spec,
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "shop"},
        "spec": {key: value for key, value in body.items() if value is not None},
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """The Rollout `shop` in a namespace of its own."""

    plane: ControlPlane
    namespace: str

    @property
    def workload(self) -> Workload:
        return replace(SHOP, namespace=self.namespace)

    def client(self) -> KubeClient:
        configuration = from_url(self.plane.url, token=self.plane.token("admin"), ca_file=self.plane.ca)
        return KubeClient(configuration, timeouts=Timeouts(connect=5, read=20, total=30))

    def ask(self, method: str, where: str, body: object = None, kind: str = "application/json") -> Json:
        status, answer = self.plane.ask(method, where, body, kind=kind)
        assert status < 300, answer
        return answer

    @property
    def path(self) -> str:
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}/rollouts/shop"

    def get(self) -> Json:
        return self.ask("GET", self.path)

    def create(self, body: Json) -> Json:
        return self.ask("POST", self.path.rpartition("/")[0], body)

    def deploy(self, image: str) -> None:
        """Another image, as a pipeline would write it."""
        op = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}
        self.ask("PATCH", self.path, [op], "application/json-patch+json")

    def merge(self, body: Json) -> None:
        """Changes the Rollout as a person would."""
        self.ask("PATCH", self.path, body, MERGE)

    def status(self, **fields: Any) -> Json:
        """Changes the status, as controller and plugin do."""
        return self.ask("PATCH", f"{self.path}/status", {"status": fields}, MERGE)

    def history(self) -> list[Json]:
        """The Rollout's ReplicaSets, the newest number first."""
        found = self.ask("GET", path(self.namespace, "replicasets"))["items"]
        return [dict(each) for each in revisions.owned_by(self.get()["metadata"]["uid"], found)]

    def revision(self, image: str) -> Revision:
        """The revision of an image."""
        return next(r for r in map(revisions.revision_of, self.history()) if r.images == (image,))

    # -- the controller ------------------------------------------------------------------------------------------

    def take_up(self, template: Json | None = None) -> str:
        """The ReplicaSet for the present template (the one given, with workloadRef), and the status says so; its hash."""
        obj = self.get()
        wanted = template or obj["spec"]["template"]
        image = wanted["spec"]["containers"][0]["image"]
        known = [rs for rs in self.history() if revisions.images_of(rs["spec"]["template"]) == (image,)]
        number = max((revisions.number_of(rs) or 0 for rs in self.history()), default=0) + 1
        pod_hash = rollout.hash_of(known[0]) if known else self._make(obj, wanted, number)
        if known and revisions.number_of(known[0]) != number - 1:
            annotation = {"metadata": {"annotations": {REVISION_NUMBER: str(number)}}}
            self.ask("PATCH", path(self.namespace, "replicasets", known[0]["metadata"]["name"]), annotation, MERGE)
        changed = obj.get("status", {}).get("currentPodHash") != pod_hash
        more: Json = {"abort": None, "abortedAt": None, "promoteFull": None} if changed else {}
        self.status(observedGeneration=str(obj["metadata"]["generation"]), currentPodHash=pod_hash, **more)
        return pod_hash

    def _make(self, obj: Json, template: Json, number: int) -> str:
        made = copy.deepcopy(template)
        pod_hash = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:10]
        labels = {**made["metadata"]["labels"], HASH_LABEL: pod_hash}
        made["metadata"]["labels"] = labels
        owner = {key: obj[key] for key in ("apiVersion", "kind")} | {
            "name": "shop", "uid": obj["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
        }  # fmt: skip
        metadata = {"name": f"shop-{pod_hash}", "labels": labels, "ownerReferences": [owner]}
        metadata["annotations"] = {REVISION_NUMBER: str(number)}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": made}
        self.ask("POST", path(self.namespace, "replicasets"), {"metadata": metadata, "spec": spec})
        return pod_hash

    def promote(self) -> None:
        """Fully promoted: the newest ReplicaSet is the stable one."""
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 4)
        self.status(stableRS=self.get()["status"]["currentPodHash"], phase="Healthy", promoteFull=None, **counts)

    def act(self) -> None:
        """One turn of the controller: takes up a template, goes back after an abort, promotes when asked to."""
        obj = self.get()
        self.take_up()
        status = self.get()["status"]
        if status.get("promoteFull") and status["stableRS"] != status["currentPodHash"]:
            self.promote()
        elif status.get("abort") and obj["status"].get("abort"):
            self.status(
                phase="Degraded", abortedAt="2026-01-05T12:00:00Z", updatedReplicas=0, replicas=4, availableReplicas=4
            )

    # -- what the daemon is asked to do --------------------------------------------------------------------------

    def action(self, target: Revision, blamed: Revision, name: str = "inc-1/roll_back") -> RollBack:
        """Roll back from one revision to the other."""
        return RollBack(
            id=ActionId(name),
            deadline=datetime.now(UTC) + timedelta(minutes=5),
            incident=IncidentId("inc-1"),
            workload=self.workload,
            uid=self.get()["metadata"]["uid"],
            blamed=blamed,
            target=target,
            why="errors of v2 0.3 against 0.0",
        )

    def check(self, target: Revision, blamed: Revision) -> CheckTarget:
        """Find out whether that could be done."""
        action = self.action(target, blamed)
        return CheckTarget(
            id=ActionId("inc-1/check/1"), deadline=action.deadline, incident=action.incident, attempt=1,
            workload=action.workload, uid=action.uid, blamed=blamed, target=target,
        )  # fmt: skip


def in_flight(shop: Shop) -> tuple[Revision, Revision]:
    """v2 has its first canaries; (v1, v2)."""
    shop.deploy(V2)
    shop.take_up()
    shop.status(phase="Paused", pauseConditions=[{"reason": "CanaryPauseStep"}], updatedReplicas=1, replicas=5)
    return shop.revision(V1), shop.revision(V2)


def promoted(shop: Shop) -> tuple[Revision, Revision]:
    """v2 is fully promoted; (v1, v2)."""
    revisions = in_flight(shop)
    shop.status(pauseConditions=None)
    shop.promote()
    return revisions


class Recorder:
    """The API as our runner uses it: notes each step that is meant (not what it gives back); `before` and `after` it something
    happens to the world (the controller, a pipeline, our crash).
    """

    def __init__(
        self,
        client: KubeClient,
        after: Callable[[int], None] = lambda _count: None,
        before: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._client = client
        self._after = after
        self._before = before
        self.patches: list[tuple[str, Sequence[Obj]]] = []

    async def get(self, path: str, **query: Any) -> Obj:
        return await self._client.get(path, **query)

    def list_pages(self, path: str, **options: Any) -> Any:
        return self._pages(path, options)

    async def _pages(self, path: str, options: Json) -> Any:
        page: Page
        async for page in self._client.list_pages(path, **options):
            yield page

    async def patch_json(
        self, path: str, ops: Sequence[Obj], *, dry_run: bool = False, field_manager: str = "lastgood"
    ) -> Obj:
        counts = not dry_run and field_manager == FIELD_MANAGER
        if counts:
            await asyncio.to_thread(self._before, len(self.patches) + 1)
        done = await self._client.patch_json(path, ops, dry_run=dry_run, field_manager=field_manager)
        if counts:
            self.patches.append((path.rpartition("/")[2], ops))
            await asyncio.to_thread(self._after, len(self.patches))
        return done
