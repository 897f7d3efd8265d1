"""Workloads on a control plane, and an account that the chart's roles are bound to: what a test of rights needs."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from daemon.core.actions import RollBack
from daemon.core.model import ActionId, IncidentId, Workload
from handlers import revisions, workload_objects
from handlers.access_reviews import allowed, question
from handlers.kinds import KINDS
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.pods import is_ready
from handlers.rights import RIGHTS, TOOLS, Grant
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, path, until, until_available
from tests.handlers import blue_green_world, rollback_world, sets_world
from tests.handlers.rollback_world import image_op
from tests.packaging.chart import render
from tests.packaging.every_kind import BROKEN
from tests.packaging.symptoms import Triple

ALL = (
    "rbac.mode=act",
    "rbac.secretsMetadata=true",
    "rbac.deletePods=true",
    "rbac.switchServices=true",
    "rbac.gitops=true",
)
OPTED_IN = (Grant.SECRETS, Grant.PODS, Grant.SERVICES, Grant.GITOPS)
"""What the chart gives only where it is asked to, beside the right to act."""

NOT_ASKED = (Grant.EVERYBODY, Grant.LEASE)
"""What everybody has, and what is needed only where there is a Lease."""

RBAC = "/apis/rbac.authorization.k8s.io/v1"
WORKLOADS = {"Deployment": "web", "StatefulSet": "db", "DaemonSet": "agent", "Service": "shop"}
ROLE_KINDS = {"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"}


@dataclass
class Field:
    """A namespace with a workload of each kind that went from v1 to v2, and an account that roles are bound to.

    The Deployment and the DaemonSet run no pods; the StatefulSet waits for one that never becomes ready.
    """

    plane: ControlPlane
    namespace: str
    bound: list[str] = field(default_factory=list)

    @property
    def account(self) -> str:
        return f"system:serviceaccount:{self.namespace}:lastgood"

    def asks(self, method: str, where: str, body: object = None, kind: str = "application/json") -> Json:
        status, answer = self.plane.ask(method, where, body, kind=kind)
        assert status < 300, answer
        return answer

    def account_made(self) -> None:
        """The account, without any role."""
        self.asks("POST", f"/api/v1/namespaces/{self.namespace}/serviceaccounts", {"metadata": {"name": "lastgood"}})

    def furnish(self) -> None:
        """The account, and the workloads."""
        self.account_made()
        web = rollback_world.manifest("shop:v1")
        web["spec"]["replicas"] = 0
        agent = sets_world.manifest("DaemonSet", "shop:v1", "agent")
        agent["spec"]["template"]["spec"]["nodeSelector"] = {"there-is": "none"}
        for plural, body, history, image in (
            ("deployments", web, "replicasets", "shop:v2"),
            ("daemonsets", agent, "controllerrevisions", "shop:v2"),
            ("statefulsets", sets_world.manifest("StatefulSet", "shop:v1", replicas=1), "controllerrevisions", BROKEN),
        ):
            self.roll_out(plural, body, history, image)
        self.switch()

    def switch(self) -> None:
        """Two ready Deployments, and the blue/green Service that selects the second."""
        for name, image in (("blue", "shop:v1"), ("green", "shop:v2")):
            body = blue_green_world.colour(name, image, replicas=1)
            self.asks("POST", path(self.namespace, "deployments"), body)
        for name in ("shop-blue", "shop-green"):
            until_available(self.plane, self.namespace, name, 1)
        self.asks("POST", path(self.namespace, "services"), blue_green_world.front("green"))

    def roll_out(self, plural: str, body: Json, history: str, image: str) -> None:
        """Create it, then give it the image; the StatefulSet has its pod each time before this returns."""
        made = self.asks("POST", path(self.namespace, plural), body)
        name, uid = made["metadata"]["name"], made["metadata"]["uid"]

        def revised(times: int) -> bool:
            kept = self.asks("GET", path(self.namespace, history))["items"]
            mine = [each for each in kept if revisions.controller_uid(each) == uid]
            return len(mine) == times and (plural != "statefulsets" or self.runs(name, ready=times == 1))

        until(lambda: revised(1), bool)
        self.asks("PATCH", path(self.namespace, plural, name), image_op(image), "application/json-patch+json")
        until(lambda: revised(2), bool)

    def runs(self, name: str, *, ready: bool) -> bool:
        """The set's one pod is there, started, and ready or not."""
        status, pod = self.plane.ask("GET", f"/api/v1/namespaces/{self.namespace}/pods/{name}-0")
        started = status == 200 and pod.get("status", {}).get("phase") == "Running"
        broken = started and pod["spec"]["containers"][0]["image"] == BROKEN
        return started and broken is not ready and is_ready(pod) is ready

    def bind(self, objects: Iterable[Json], suffix: str = "") -> None:
        """Hand the roles out to the account, under names of this namespace's own."""
        own = f"-{self.namespace}{suffix}"
        for each in copy.deepcopy([each for each in objects if each["kind"] in ROLE_KINDS]):
            each["metadata"]["name"] += own
            if each["kind"] == "ClusterRoleBinding":
                each["roleRef"]["name"] += own
                each["subjects"] = [{"kind": "ServiceAccount", "name": "lastgood", "namespace": self.namespace}]
            collection = f"{RBAC}/{ROLE_KINDS[each['kind']]}"
            self.asks("POST", collection, each)
            self.bound.append(f"{collection}/{each['metadata']['name']}")

    def clear(self) -> None:
        for each in self.bound:
            self.asks("DELETE", each)

    def client(self, token: str) -> KubeClient:
        return KubeClient(from_url(self.plane.url, token=token, ca_file=self.plane.ca))

    def may(self, asked: Json) -> bool:
        """The authorizer's answer to the account."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": self.account,
                "groups": [
                    "system:serviceaccounts",
                    f"system:serviceaccounts:{self.namespace}",
                    "system:authenticated",
                ],
                "resourceAttributes": asked,
            },
        }
        answer = self.asks("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    @asynccontextmanager
    async def daemon(self, held: set[Triple]) -> AsyncIterator[KubeClient]:
        """A client with the account's credential, once the authorizer has seen its roles."""
        asked = [question(right) for right in RIGHTS if right.grant not in NOT_ASKED]
        async with self.client(self.plane.token(self.account)) as client:
            wanted = {each for each in asked if (each.verb, each.group, each.resource) in held}
            ends = datetime.now(UTC) + timedelta(seconds=30)
            while (seen := await allowed(client, asked)) != wanted:
                assert datetime.now(UTC) < ends, seen ^ wanted
            yield client

    async def rollbacks(self) -> list[RollBack]:
        """Each workload from v2 back to v1."""
        async with self.client(self.plane.token("admin")) as admin:
            return [await self.rollback(admin, kind, name) for kind, name in WORKLOADS.items()]

    async def rollback(self, admin: KubeClient, kind: str, name: str) -> RollBack:
        workload = Workload(namespace=self.namespace, kind=kind, name=name)
        fresh = await workload_objects.read(admin, workload)
        assert fresh is not None
        found = [revisions.revision_of(each) for each in fresh.history]
        second, first = sorted(found, key=lambda revision: revision.id != fresh.current)
        ends, incident = datetime.now(UTC) + timedelta(minutes=5), IncidentId("inc-1")
        return RollBack(
            id=ActionId("inc-1/roll_back"), deadline=ends, incident=incident, workload=workload, uid=fresh.uid,
            blamed=second, target=first, why="a test", delete_stuck=kind == "StatefulSet",
        )  # fmt: skip

    def images(self) -> list[str]:
        """The image of each workload's template."""
        named = [(kind, name) for kind, name in WORKLOADS.items() if kind != "Service"]
        found = [self.asks("GET", path(self.namespace, KINDS[kind].plural, name)) for kind, name in named]
        return [each["spec"]["template"]["spec"]["containers"][0]["image"] for each in found]


class Chart:
    """Renders roles, once for each choice of values."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], list[Json]] = {}

    def __call__(self, *values: str) -> list[Json]:
        """Roles and bindings."""
        if values not in self._known:
            self._known[values] = [each for each in render(*values) if each["kind"] in ROLE_KINDS]
        return self._known[values]


def all_but(*grants: Grant) -> set[Triple]:
    return {right.triple for right in RIGHTS if right.grant not in (*NOT_ASKED, *grants)}


def without_tools(objects: Iterable[Json]) -> list[Json]:
    """The same, as a Lastgood had them that knew neither Argo Rollouts nor Flagger."""
    found = copy.deepcopy(list(objects))
    for each in found:
        if each["kind"] == "ClusterRole":
            each["rules"] = [rule for rule in each["rules"] if TOOLS.keys().isdisjoint(rule["apiGroups"])]
    return found
