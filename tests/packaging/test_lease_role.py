"""The role for the Lease: there where a lease is asked for, in one namespace, and just what the elector sends."""

from __future__ import annotations

import asyncio

import pytest

from daemon.runtime.clock import SystemClock, monotonic
from deploy.sandbox.kube import SandboxCluster
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.lease_record import LeaseTimes
from handlers.outbound.lease import LeaseElector
from tests.packaging.calls import Call, call_of
from tests.packaging.chart import Obj, render

pytestmark = pytest.mark.real


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


async def test_the_role_is_what_the_elector_asks_for() -> None:
    """Made, taken, renewed and given back: each request is one that the role allows, and each right is used."""

    async def no_floor() -> int:
        return 0

    async with SandboxCluster() as cluster, KubeClient(from_url(cluster.url)) as client:
        elector = LeaseElector(
            client,
            namespace="default",
            name="lastgood",
            identity="a",
            clock=SystemClock(),
            times=LeaseTimes(),
            random=lambda: 0.5,
            monotonic=lambda: 8 * monotonic(),  # the new Lease is waited for: 15 s
            token_floor=no_floor,
        )
        running = asyncio.get_running_loop().create_task(elector.run())
        async with asyncio.timeout(20):
            await elector.elected.wait()
        running.cancel()
        await asyncio.wait([running])
        await elector.release()
        asked = {call_of(record) for record in cluster.faults.log}
    role, _ = lease_objects("config.lease.enabled=true")
    allowed = {Call(verb, "coordination.k8s.io", "leases") for rule in role["rules"] for verb in rule["verbs"]}
    assert asked == allowed
