"""Least privilege, by the real authorizer: the chart's roles are enough, and without any one right something says so."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.cli import commands
from daemon.cli.exits import Exit
from daemon.core.actions import RollBack
from daemon.core.model import ActionId, IncidentId, Mode, Workload
from daemon.core.policy import Policy
from handlers import access_check, revisions, workload_objects
from handlers.access_check import Answer
from handlers.access_reviews import allowed, question
from handlers.kinds import KINDS
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.pods import is_ready
from handlers.rights import RIGHTS, Grant, triples
from tests.contract import access_rules
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, path, until
from tests.handlers import rollback_world, sets_world
from tests.handlers.rollback_world import image_op
from tests.packaging.chart import render
from tests.packaging.every_kind import BROKEN
from tests.packaging.symptoms import EACH_RIGHT, Triple, expected, symptoms, without

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ALL = ("rbac.mode=act", "rbac.secretsMetadata=true", "rbac.deletePods=true")
ARMED = Policy(cluster="test", default_mode=Mode.APPROVE, delete_stuck_pods=True)
RBAC = "/apis/rbac.authorization.k8s.io/v1"
WORKLOADS = {"Deployment": "web", "StatefulSet": "db", "DaemonSet": "agent"}
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

    def furnish(self) -> None:
        self.asks("POST", f"/api/v1/namespaces/{self.namespace}/serviceaccounts", {"metadata": {"name": "lastgood"}})
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

    def bind(self, objects: Iterable[Json]) -> None:
        """Hand the roles out to the account, under names of this namespace's own."""
        for each in copy.deepcopy([each for each in objects if each["kind"] in ROLE_KINDS]):
            each["metadata"]["name"] += f"-{self.namespace}"
            if each["kind"] == "ClusterRoleBinding":
                each["roleRef"]["name"] += f"-{self.namespace}"
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
        asked = [question(right) for right in RIGHTS if right.grant is not Grant.EVERYBODY]
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
        second, first = (revisions.revision_of(each) for each in fresh.history)
        ends, incident = datetime.now(UTC) + timedelta(minutes=5), IncidentId("inc-1")
        return RollBack(
            id=ActionId("inc-1/roll_back"), deadline=ends, incident=incident, workload=workload, uid=fresh.uid,
            blamed=second, target=first, why="a test", delete_stuck=kind == "StatefulSet",
        )  # fmt: skip

    def images(self) -> list[str]:
        """The image of each workload's template."""
        found = [self.asks("GET", path(self.namespace, KINDS[kind].plural, name)) for kind, name in WORKLOADS.items()]
        return [each["spec"]["template"]["spec"]["containers"][0]["image"] for each in found]


@pytest.fixture
def there(control_plane: ControlPlane, namespace: str) -> Iterator[Field]:
    found = Field(control_plane, namespace)
    found.furnish()
    yield found
    found.clear()


@pytest.fixture(scope="module")
def chart() -> Callable[..., list[Json]]:
    """Renders roles, once for each choice of values."""
    known: dict[tuple[str, ...], list[Json]] = {}

    def roles(*values: str) -> list[Json]:
        if values not in known:
            known[values] = [each for each in render(*values) if each["kind"] in ROLE_KINDS]
        return known[values]

    return roles


def all_but(*grants: Grant) -> set[Triple]:
    return {right.triple for right in RIGHTS if right.grant not in (Grant.EVERYBODY, *grants)}


async def test_with_all_rights_nothing_is_wanting(there: Field, chart: Callable[..., list[Json]]) -> None:
    """Under the full roles the daemon watches, checks everything and rolls back, and check-access has nothing to say."""
    there.bind(chart(*ALL))
    async with there.daemon(all_but()) as client:
        assert await symptoms(client, await there.rollbacks()) == set()
        report = await access_check.check(client, ARMED)
    assert {each.answer for each in report.findings} == {Answer.YES}
    assert report.asked_as == (there.account if there.plane.release >= (1, 28) else None)


@pytest.mark.parametrize("triple", EACH_RIGHT)
async def test_without_this_right(there: Field, chart: Callable[..., list[Json]], triple: Triple) -> None:
    """With this one right taken out of the roles, whatever needs it says so, and check-access names it and no other."""
    there.bind(without(chart(*ALL), triple))
    async with there.daemon(all_but() - {triple}) as client:
        report = await access_check.check(client, ARMED)
        found = await symptoms(client, await there.rollbacks())
    lacks = [each for each in report.findings if each.answer is not Answer.YES]
    assert {(verb, each.group, each.resource) for each in lacks for verb in each.verbs} == {triple}
    assert expected(triple, found), found


async def test_observe_watches_all_and_changes_nothing(there: Field, chart: Callable[..., list[Json]]) -> None:
    """Under the observe role every watch opens, and the rollback is refused: the template stays."""
    there.bind(chart())
    async with there.daemon(all_but(Grant.ACT, Grant.PODS, Grant.SECRETS)) as client:
        found = await symptoms(client, await there.rollbacks())
        assert (await access_check.check(client, Policy(cluster="test"))).complete
    assert found == {
        "check Deployment: unchecked Secret token",
        *(f"check {kind}: may not patch" for kind in WORKLOADS),
        *(f"roll back {kind}" for kind in WORKLOADS),
    }
    assert there.images() == ["shop:v2", BROKEN, "shop:v2"]


async def test_more_than_needed_is_named(there: Field, chart: Callable[..., list[Json]]) -> None:
    """The act role under a policy that only observes is named as too much."""
    there.bind(chart("rbac.mode=act"))
    async with there.daemon(all_but(Grant.SECRETS, Grant.PODS)) as client:
        report = await access_check.check(client, Policy(cluster="test"))
    more = [each for each in report.findings if each.answer is Answer.MORE]
    assert {(verb, each.group, each.resource) for each in more for verb in each.verbs} == triples(Grant.ACT)
    assert {each.namespaces for each in more} == {()}


async def test_the_command_with_a_kubeconfig(
    there: Field, chart: Callable[..., list[Json]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lastgood check-access` from outside, over TLS with the account's token: 1, the namespace that lacks the right named."""
    there.bind(chart())
    async with there.daemon(all_but(Grant.ACT, Grant.PODS, Grant.SECRETS)):
        config = tmp_path / "lastgood.yaml"
        modes = f"{{modes: [{{namespaces: [{there.namespace}], mode: approve}}]}}"
        kubeconfig = there.plane.kubeconfig(there.account)
        config.write_text(f"cluster: test\nkubernetes: {{kubeconfig: {kubeconfig}}}\npolicy: {modes}\n")
        code = await asyncio.to_thread(commands.main, ("check-access", "--config", str(config)))
    out, err = capsys.readouterr()
    assert (code, err) == (Exit.REFUSED, "")
    assert f"no: patch deployments.apps ({there.namespace})" in out
    if there.plane.release >= (1, 28):
        assert f"--serviceaccount={there.namespace}:lastgood" in out


def test_the_sandbox_answers_as_the_authorizer_does(there: Field) -> None:
    """To the same questions about the same roles, which tests/contract asks the sandbox."""
    for each in access_rules.objects(there.namespace, "default", "lastgood"):
        where = each["metadata"].get("namespace")
        collection = f"{RBAC}/{f'namespaces/{where}/' if where else ''}{each['kind'].lower()}s"
        there.asks("POST", collection, each)
        there.bound.append(f"{collection}/{each['metadata']['name']}")
    asked = access_rules.questions(there.namespace, "default")
    until(lambda: [there.may(each) for each, _ in asked], lambda seen: seen == [answer for _, answer in asked])


async def test_an_administrator_is_recognised(there: Field) -> None:
    """A member of system:masters is told in one row that these are not the daemon's rights."""
    async with there.client(there.plane.token("admin")) as client:
        report = await access_check.check(client, ARMED)
    assert report.complete
    assert [each.resource for each in report.findings if each.answer is Answer.MORE] == ["*"]
