"""Whether a revision could be rolled back to: what exists, is missing, may not be read. Nothing is changed by asking."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from daemon.core.actions import Checked, OutcomeKind
from daemon.core.measurement import TargetCheck
from daemon.ports import Runner
from handlers import revisions
from handlers.faults import Transient
from handlers.outbound.targets import TargetChecker, changed_at
from handlers.references import references_of
from tests.handlers.kube_objects import Json, at, stamp, template
from tests.handlers.rollback_world import PATH, World, manifest, world

REAL = pytest.mark.real


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as there:
        for kind, name in (("ConfigMap", "colours"), ("Secret", "token"), ("PersistentVolumeClaim", "data")):
            there.cluster.create(
                {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"main": "eA=="}}
            )
        yield there


async def checked(there: World, **changes: Any) -> TargetCheck:
    outcome = await TargetChecker(there.client).run(there.check(**changes))
    assert outcome.kind is OutcomeKind.DONE
    assert isinstance(outcome.result, Checked)
    return outcome.result.check


@REAL
async def test_a_sound_target(there: World) -> None:
    """Everything that v1 names is there, the server would take it, and nothing was changed by asking."""
    before, log = there.web(), there.cluster.faults.log
    log.clear()
    check = await checked(there)
    assert (check.exists, check.missing, check.unchecked, check.dry_run_error) == (True, (), (), None)
    assert [config.name for config in check.configs] == ["colours"]
    assert there.web() == before
    assert all(r.dry_run for r in log if r.method != "GET")
    assert [r.method for r in log].count("PATCH") == 1
    assert await TargetChecker(there.client).probe(there.check()) is None
    assert isinstance(TargetChecker(there.client), Runner)


@REAL
@pytest.mark.parametrize(
    ("plural", "name", "told"),
    [
        ("configmaps", "colours", "ConfigMap colours"),
        ("secrets", "token", "Secret token"),
        ("persistentvolumeclaims", "data", "PersistentVolumeClaim data"),
        ("serviceaccounts", "default", "ServiceAccount default"),
    ],
)
async def test_missing_and_unreadable(there: World, plural: str, name: str, told: str) -> None:
    """What is gone is missing, what we may not read is unchecked; neither passes for the other."""
    path = f"/api/v1/namespaces/default/{plural}/{name}"
    assert ((await checked(there)).missing, (await checked(there)).unchecked) == ((), ())
    there.cluster.faults.fail(1, status=403, method="GET", path=path)
    assert (await checked(there)).unchecked == (told,)
    await there.client.delete(path)
    check = await checked(there)
    assert (check.missing, check.unchecked) == ((told,), ())


@REAL
async def test_an_optional_config_map_shows_its_changes_only(there: World) -> None:
    """Pods start without it, but its content may still be the cause."""
    there.cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "maybe"}, "data": {"a": "b"}})
    check = await checked(there)
    assert [config.name for config in check.configs] == ["colours", "maybe"]


@REAL
async def test_no_data_of_a_secret_is_asked_for(there: World) -> None:
    """Only metadata is read: a secret's content must not even pass through our memory."""
    asked = []
    real = there.client.get

    class Watching:
        def __getattr__(self, name: str) -> Any:
            return getattr(there.client, name)

        async def get(self, path: str, **options: Any) -> Any:
            if path.startswith("/api/v1/"):
                asked.append(options.get("metadata_only"))
            return await real(path, **options)

    await TargetChecker(Watching()).run(there.check())
    assert asked == [True] * 5


@REAL
async def test_looked_up_and_tried_at_once(there: World) -> None:
    """The dry run is sent before any reference has answered: neither needs the other, and errors are served meanwhile."""
    tried = asyncio.Event()

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(there.client, name)

        async def get(self, path: str, **options: Any) -> Any:
            if path.startswith("/api/v1/"):
                await tried.wait()
            return await there.client.get(path, **options)

        async def patch_json(self, path: str, ops: Any, **options: Any) -> Any:
            tried.set()
            return await there.client.patch_json(path, ops, **options)

    async with asyncio.timeout(10):
        outcome = await TargetChecker(Slow()).run(there.check())
    assert isinstance(outcome.result, Checked)


@REAL
async def test_a_target_that_is_gone(there: World) -> None:
    """Collected from the history, or the whole object gone or made anew: it does not exist."""
    other = revisions.revision_of(manifest("shop:v9"))
    assert not (await checked(there, target=other)).exists
    assert not (await checked(there, uid="other")).exists
    await there.client.delete("/apis/apps/v1/namespaces/default/deployments/web")
    assert not (await checked(there)).exists


@REAL
async def test_a_role_without_patch_is_no_fault_of_the_target(there: World) -> None:
    """The role for mode observe has no patch verb: that is told apart from an admission policy that denies the target."""
    said = 'deployments.apps "web" is forbidden: User "x" cannot patch resource "deployments" in API group "apps"'
    status = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": said}
    there.cluster.faults.fail(1, status=403, method="PATCH", path=PATH, text=json.dumps(status))
    check = await checked(there)
    assert (check.exists, check.dry_run_error, check.may_patch) == (True, None, False)


@REAL
async def test_what_the_server_would_not_take(there: World) -> None:
    """An admission policy's sentence is told; a newer rollout is named instead of tried over."""
    there.cluster.forbid_image("shop:v1")
    error = (await checked(there)).dry_run_error
    assert error is not None
    assert "is forbidden" in error
    await there.deploy("shop:v3")
    error = (await checked(there)).dry_run_error
    assert error is not None
    assert "no longer the blamed" in error


@REAL
async def test_silence_is_no_answer(there: World) -> None:
    """With the API server down nothing is concluded."""
    there.cluster.go_down()
    with pytest.raises(Transient):
        await TargetChecker(there.client).run(there.check())


def test_every_kind_of_reference_is_found() -> None:
    """env, envFrom, volumes and projected volumes, of init containers too; required wins over optional."""
    body = template(
        serviceAccountName="robot",
        initContainers=[{"name": "i", "envFrom": [{"secretRef": {"name": "s1"}}, {"configMapRef": {"name": "c1"}}]}],
        volumes=[
            {"configMap": {"name": "c2", "optional": True}},
            {"secret": {"secretName": "s2"}},
            {"persistentVolumeClaim": {"claimName": "p1"}},
            {
                "projected": {
                    "sources": [{"configMap": {"name": "c3"}}, {"secret": {"name": "s3", "optional": True}}, {}]
                }
            },
            {"emptyDir": {}},
        ],
    )
    body["spec"]["containers"][0]["env"] = [
        {"name": "PLAIN", "value": "1"},
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "k", "optional": True}}},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    assert [(str(r), r.optional) for r in references_of(body)] == [
        ("ConfigMap c1", False),
        ("ConfigMap c2", False),
        ("ConfigMap c3", False),
        ("PersistentVolumeClaim p1", False),
        ("Secret s1", False),
        ("Secret s2", False),
        ("Secret s3", True),
        ("ServiceAccount robot", False),
    ]
    assert [str(r) for r in references_of(template())] == ["ServiceAccount default"]


def test_a_config_map_changed_when_its_data_did() -> None:
    """A label written later is no change of configuration; without managedFields its creation counts."""
    config: Json = {"metadata": {"creationTimestamp": stamp(0)}}
    assert changed_at(config) == at(0)
    config["metadata"]["managedFields"] = [
        {"time": stamp(10), "fieldsV1": {"f:data": {"f:a": {}}}},
        {"time": stamp(99), "fieldsV1": {"f:metadata": {"f:labels": {}}}},
    ]
    assert changed_at(config) == at(10)
    binary = copy.deepcopy(config)
    binary["metadata"]["managedFields"][1]["fieldsV1"] = {"f:binaryData": {}}
    assert changed_at(binary) == at(99)
