"""The role for the Lease: there where a lease is asked for, in one namespace, and just what the elector sends."""

from __future__ import annotations

import asyncio

import pytest

from daemon.core.policy import Policy
from daemon.runtime.clock import SystemClock, monotonic
from deploy.sandbox.kube import SandboxCluster
from deploy.sandbox.kube.access_reviews import Grants, ServiceAccount
from handlers import access_check
from handlers.access_check import Answer, AskedLease
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.lease_record import LeaseTimes
from handlers.outbound.lease import LeaseElector
from handlers.rights import Grant, triples
from tests.handlers.rollback_world import until
from tests.packaging.calls import call_of, granted
from tests.packaging.chart import Obj, render
from tests.packaging.symptoms import Triple, without

pytestmark = pytest.mark.real

ENABLED = "config.lease.enabled=true"
ACCOUNT = ServiceAccount(namespace="ops", name="lastgood")
LEASE = AskedLease(namespace="ops", name="lastgood")


def lease_objects(*values: str) -> list[Obj]:
    return [each for each in render(*values) if each["metadata"]["name"].endswith("-lease")]


def test_without_a_lease_there_is_no_right_to_one() -> None:
    """The default needs none and gets none."""
    assert lease_objects() == []


@pytest.mark.parametrize(
    ("values", "namespace", "name"),
    [(("config.lease.enabled=true",), "ops", "lastgood"),
     (("config.lease.enabled=true", "config.lease.namespace=locks", "config.lease.name=shop"), "locks", "shop")],
)  # fmt: skip
def test_the_role_is_for_one_lease(values: tuple[str, ...], namespace: str, name: str) -> None:
    """In the Lease's namespace only, for its name where that can be said; the binding names role and account."""
    role, binding = lease_objects(*values)
    assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"]
    assert role["rules"][0]["verbs"] == ["create"]
    assert role["rules"][1] == {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [name],
        "verbs": ["get", "update"],
    }
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"][0]["kind"] == "ServiceAccount"
    if namespace == "locks":
        assert role["metadata"]["namespace"] == "locks"


async def no_floor() -> int:
    return 0


def elector_of(client: KubeClient, namespace: str, faults: list[str]) -> LeaseElector:
    """One that waits 2 s for a new Lease, not 15; what it cannot do is told to `faults`."""
    return LeaseElector(
        client,
        namespace=namespace,
        name="lastgood",
        identity="a",
        clock=SystemClock(),
        times=LeaseTimes(),
        random=lambda: 0.5,
        monotonic=lambda: 8 * monotonic(),
        token_floor=no_floor,
        on_fault=faults.append,
    )


async def test_the_role_is_what_the_elector_asks_for() -> None:
    """Made, taken, renewed and given back: each request is one that the role allows, and each right is used."""
    async with SandboxCluster() as cluster, KubeClient(from_url(cluster.url)) as client:
        elector = elector_of(client, "default", [])
        running = asyncio.get_running_loop().create_task(elector.run())
        async with asyncio.timeout(20):
            await elector.elected.wait()
        running.cancel()
        await asyncio.wait([running])
        await elector.release()
        asked = {call_of(record) for record in cluster.faults.log}
    role, _ = lease_objects(ENABLED)
    assert asked == granted([role]) == triples(Grant.LEASE)


@pytest.mark.parametrize("triple", sorted(triples(Grant.LEASE)), ids="-".join)
async def test_without_this_right(triple: Triple) -> None:
    """With this one right taken out of the role, the elector says so and never leads, and check-access names it and no other."""
    objects, faults = render(ENABLED), list[str]()
    async with SandboxCluster() as cluster, KubeClient(from_url(cluster.url)) as client:
        await client.create("/api/v1/namespaces", {"metadata": {"name": "ops"}})
        grants = Grants(without(objects, triple), ACCOUNT)
        cluster.server.allow, cluster.faults.on_request = grants.allows, grants.check
        report = await access_check.check(client, Policy(cluster="test"), LEASE)
        elector = elector_of(client, "ops", faults)
        running = asyncio.get_running_loop().create_task(elector.run())
        await until(lambda: faults, lambda told: any(f"cannot {triple[0]} resource" in each for each in told))
        assert not elector.elected.is_set()
        running.cancel()
        await asyncio.wait([running])
    lacks = [each for each in report.findings if each.answer is Answer.NO]
    assert {(verb, each.group, each.resource) for each in lacks for verb in each.verbs} == {triple}


async def test_check_access_is_content_with_the_role() -> None:
    """Under the chart's roles with a lease all that is needed is there; under those for another name it is not."""
    async with SandboxCluster() as cluster, KubeClient(from_url(cluster.url)) as client:
        for values, enough in (((ENABLED,), True), ((ENABLED, "config.lease.name=shop"), False), ((), False)):
            cluster.server.allow = Grants(render(*values), ACCOUNT).allows
            assert (await access_check.check(client, Policy(cluster="test"), LEASE)).complete is enough


async def test_a_namespace_that_is_not_there() -> None:
    """A Lease that has no place is told, again and again: else nobody would lead and nobody would say why."""
    faults = list[str]()
    async with SandboxCluster() as cluster, KubeClient(from_url(cluster.url)) as client:
        running = asyncio.get_running_loop().create_task(elector_of(client, "nowhere", faults).run())
        await until(lambda: len(faults), lambda told: told >= 2)
        running.cancel()
        await asyncio.wait([running])
    assert '"nowhere" not found' in faults[0]
    assert "correct lease.namespace" in faults[0]
