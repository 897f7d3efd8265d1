"""The rights to what owns workloads: each is needed for the way around that owner, and named where the policy has it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from daemon.core.actions import RollBack
from daemon.core.model import Mode, Workload
from daemon.core.policy import GitOps, GitOpsRule, Policy
from handlers import access_check
from handlers.access_check import Answer
from handlers.kube import resource_path
from tests.controlplane import definitions
from tests.controlplane.argo_cd import MERGE, TURN_SECONDS
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rights_field import ALL, Chart, Field, all_but
from tests.controlplane.workloads import Json, path, until
from tests.handlers import argocd_world
from tests.handlers.rollback_world import image_op
from tests.packaging.owned import OWNED, body_of, deployed
from tests.packaging.symptoms import OF_WAYS, Triple, expected, symptoms, without

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = definitions.SINCE
WAYS = (GitOpsRule(do=GitOps.ARGOCD_ROLLBACK), GitOpsRule(do=GitOps.FLUX_SUSPEND))
ARMED = Policy(cluster="test", default_mode=Mode.APPROVE, delete_stuck_pods=True, gitops=WAYS)
KINDS = {
    "kustomizations": ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
    "helmreleases": ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    "applications": ("argoproj.io/v1alpha1", "Application"),
}


@pytest.fixture
def there(control_plane: ControlPlane, namespace: str) -> Iterator[Field]:
    """The three kinds are defined, a Deployment of each went from v1 to v2; the account has no roles yet."""
    for plural in KINDS:
        definitions.define(control_plane, definitions.CRDS / f"{plural}.yaml")
    found = Field(control_plane, namespace)
    found.account_made()
    for name in OWNED:
        found.roll_out("deployments", body_of(name), "replicasets", "shop:v2")
    for plural, (api_version, kind) in KINDS.items():
        body: Json = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "shop"}, "spec": {"interval": "1m"}}
        if plural == "applications":
            body = argocd_world.application(namespace=namespace)
            body["status"]["resources"][0] |= {"namespace": namespace, "name": "argo"}
        found.asks("POST", resource_path(api_version, plural, namespace=namespace), body)
    yield found
    found.clear()


@pytest.fixture(scope="module")
def chart() -> Chart:
    return Chart()


def synced(there: Field) -> None:
    """What Argo CD's controller does with an operation, if there is one."""
    where = resource_path("argoproj.io/v1alpha1", "applications", namespace=there.namespace, name="shop")
    operation = there.asks("GET", where).get("operation")
    if operation is None:
        return
    web = path(there.namespace, "deployments", "argo")
    there.asks("PATCH", web, image_op("shop:v1"), "application/json-patch+json")
    ended = {"operation": None, "status": {"operationState": {"phase": "Succeeded", "operation": operation}}}
    there.asks("PATCH", where, ended, MERGE)


@asynccontextmanager
async def argo_cd(there: Field) -> AsyncIterator[None]:
    """Its controller runs."""

    async def run() -> None:
        while True:
            await asyncio.to_thread(synced, there)
            await asyncio.sleep(TURN_SECONDS)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def back(there: Field) -> list[RollBack]:
    """Each of them back to v1."""
    async with there.client(there.plane.token("admin")) as admin:
        workloads = [Workload(namespace=there.namespace, kind="Deployment", name=name) for name in OWNED]
        return [(await deployed(admin, workload)).action() for workload in workloads]


def images(there: Field) -> list[str]:
    found = [there.asks("GET", path(there.namespace, "deployments", name)) for name in OWNED]
    return [each["spec"]["template"]["spec"]["containers"][0]["image"] for each in found]


async def test_with_all_rights_nothing_is_wanting(there: Field, chart: Chart) -> None:
    """Under the full roles all three are suspended and rolled back."""
    there.bind(chart(*ALL))
    actions = await back(there)
    async with there.daemon(all_but()) as client, argo_cd(there):
        assert not [each for each in await symptoms(client, actions) if each.startswith("roll back")]
    await asyncio.to_thread(until, lambda: images(there), lambda found: found == ["shop:v1"] * 3)


@pytest.mark.parametrize("triple", OF_WAYS)
async def test_without_this_right(there: Field, chart: Chart, triple: Triple) -> None:
    """With this one right taken out of the roles its way is not gone, and check-access names it and fails."""
    there.bind(without(chart(*ALL), triple))
    actions = await back(there)
    async with there.daemon(all_but() - {triple}) as client, argo_cd(there):
        report = await access_check.check(client, ARMED)
        found = await symptoms(client, actions)
    lacks = [each for each in report.findings if each.answer is not Answer.YES]
    assert {(verb, each.group, each.resource) for each in lacks for verb in each.verbs} == {triple}
    assert ({each.answer for each in lacks}, report.complete) == ({Answer.NO}, False)
    assert expected(triple, found), found
