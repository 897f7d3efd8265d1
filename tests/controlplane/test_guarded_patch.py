"""The guarded patch on a real API server: what it answers where it does not apply, and what our rollback makes of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from daemon.core.actions import Checked, Outcome, OutcomeKind, RolledBack, Superseded
from daemon.core.measurement import TargetCheck
from handlers import revisions, views, workload_objects
from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.targets import RBAC_SAYS, TargetChecker
from handlers.rollback_steps import Step, would_fail
from tests.controlplane.admission import denies
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import (
    Between,
    Rollout,
    client_of,
    deployment,
    image,
    patch,
    rolled_out,
    set_image,
)
from tests.controlplane.workloads import Json, make, path, until, until_available, workload
from tests.handlers.rollback_world import WallClock

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

UID = {"op": "test", "path": "/metadata/uid", "value": "another"}
TEMPLATE = {"op": "test", "path": "/spec/template", "value": {}}
ABSENT = {"op": "test", "path": "/metadata/annotations/none", "value": "x"}
VERSION_TESTED = {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}
VERSION_WRITTEN = {"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}
NO_IMAGE = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": ""}
NOTE = {"op": "add", "path": "/metadata/labels", "value": {"note": "x"}}


@pytest.fixture
async def there(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Rollout]:
    async with rolled_out(control_plane, namespace) as found:
        yield found


def runner(api: Any) -> TemplateRollback:
    return TemplateRollback(api, WallClock())


def superseded_by(outcome: Outcome) -> str:
    assert outcome.kind is OutcomeKind.REFUSED
    assert isinstance(outcome.result, Superseded), outcome
    return outcome.result.revision


async def checked(api: Any, there: Rollout) -> TargetCheck:
    outcome = await TargetChecker(api).run(there.check())
    assert isinstance(outcome.result, Checked)
    return outcome.result.check


@pytest.mark.parametrize(
    ("op", "status", "kind"),
    [
        pytest.param(UID, 422, FaultKind.INVALID, id="uid"),
        pytest.param(TEMPLATE, 422, FaultKind.INVALID, id="template"),
        pytest.param(ABSENT, 422, FaultKind.INVALID, id="absent"),
        pytest.param(VERSION_TESTED, 422, FaultKind.INVALID, id="version-tested"),
        pytest.param(VERSION_WRITTEN, 409, FaultKind.CONFLICT, id="version-written"),
        pytest.param(NO_IMAGE, 422, FaultKind.INVALID, id="not-valid"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
async def test_what_it_answers(
    control_plane: ControlPlane, namespace: str, op: Json, status: int, kind: FaultKind, dry_run: bool
) -> None:
    """A `test` that fails, and an object that is not valid: 422. A stale resourceVersion that is written: 409. Nothing is
    stored, whatever else the patch holds, and a dry run answers the same.
    """
    make(control_plane, namespace, "deployments", deployment("v1"))
    where = path(namespace, "deployments", "web")
    async with client_of(control_plane) as client:
        with pytest.raises(Permanent) as caught:
            await client.patch_json(where, [NOTE, op], dry_run=dry_run)
        assert (caught.value.status, caught.value.kind) == (status, kind)
        assert "labels" not in (await client.get(where))["metadata"]
    # Nothing but the object itself tells a `test` that failed from an object that is not valid.
    assert bool(caught.value.causes) is (op is NO_IMAGE)


async def test_the_whole_road(there: Rollout) -> None:
    """Checked, rolled back, converged under the real controller: the old ReplicaSet again, with our marks, and told the same
    by a second run and a probe.
    """
    check = await checked(there.client, there)
    assert (check.exists, check.may_patch, check.dry_run_error) == (True, True, None)
    outcome = await runner(there.client).run(there.action())
    assert outcome.kind is OutcomeKind.DONE
    assert isinstance(outcome.result, RolledBack)
    after = await asyncio.to_thread(until_available, there.plane, there.namespace, "web", 1)
    assert image(after) == "shop:v1"
    assert after["metadata"]["generation"] == outcome.result.generation
    assert views.action_on(after) == there.action().id
    assert outcome.result.warnings == ()
    fresh = await workload_objects.read(there.client, there.workload)
    assert fresh is not None
    kept = fresh.find(there.first.id)
    assert kept is not None
    assert kept["metadata"]["annotations"][views.ACTION] == there.action().id
    assert kept["metadata"]["annotations"][revisions.REVISION_HISTORY] == "1"
    for again in (await runner(there.client).run(there.action()), await runner(there.client).probe(there.action())):
        assert again is not None
        assert again.result == outcome.result
    assert there.web()["metadata"]["generation"] == outcome.result.generation


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_newer_rollout_wins_the_race(there: Rollout, dry_run: bool) -> None:
    """A deploy between our reading and our patch (or its dry run) stays, and is named."""
    act = lambda: set_image(there.plane, there.namespace, "shop:v3")  # noqa: E731
    outcome = await runner(Between(there.client, act, dry_run=dry_run)).run(there.action())
    assert superseded_by(outcome) == revisions.template_hash(there.web()["spec"]["template"])
    assert image(there.web()) == "shop:v3"
    assert views.ACTION not in there.web()["metadata"]["annotations"]


@pytest.mark.parametrize(
    "op",
    [
        {"op": "replace", "path": "/spec/replicas", "value": 2},
        {"op": "add", "path": "/metadata/annotations/note", "value": "x"},
    ],
)
async def test_a_write_that_is_no_rollout_does_not_stop_us(there: Rollout, op: Json) -> None:
    """An autoscaler or a note in between is kept, and the rollback goes on."""
    act = lambda: patch(there.plane, there.namespace, [op])  # noqa: E731
    outcome = await runner(Between(there.client, act, dry_run=False)).run(there.action())
    assert outcome.kind is OutcomeKind.DONE
    after = there.web()
    assert image(after) == "shop:v1"
    assert op["value"] in (after["spec"]["replicas"], after["metadata"]["annotations"].get("note"))


@pytest.mark.parametrize("dry_run", [True, False])
async def test_deleted_and_made_anew(there: Rollout, dry_run: bool) -> None:
    """Another object of that name, with the very template that was blamed, is not touched."""

    def anew() -> None:
        where = path(there.namespace, "deployments", "web")
        assert there.plane.ask("DELETE", f"{where}?propagationPolicy=Orphan")[0] == 200
        until(lambda: there.plane.ask("GET", where)[0], lambda status: status == 404)
        make(there.plane, there.namespace, "deployments", deployment("v2"))

    outcome = await runner(Between(there.client, anew, dry_run=dry_run)).run(there.action())
    assert (outcome.kind, outcome.result) == (OutcomeKind.REFUSED, None)
    assert "made anew" in outcome.message
    assert image(there.web()) == "shop:v2"


async def test_gone_in_between(there: Rollout) -> None:
    """Deleted between our reading and our patch: 404, refused, and nothing is made."""

    def gone() -> None:
        where = path(there.namespace, "deployments", "web")
        assert there.plane.ask("DELETE", where)[0] == 200
        until(lambda: there.plane.ask("GET", where)[0], lambda status: status == 404)

    outcome = await runner(Between(there.client, gone, dry_run=False)).run(there.action())
    assert (outcome.kind, outcome.message) == (OutcomeKind.REFUSED, f"{there.workload.short} is gone")


async def test_an_object_without_annotations(control_plane: ControlPlane, namespace: str) -> None:
    """A StatefulSet has none: the map is made, guarded by the version; a map that appears in the race is kept, and that is
    worth another run.
    """
    where = path(namespace, "statefulsets", "web")
    image_path = "/spec/template/spec/containers/0/image"

    def ask(method: str, at: str, body: object = None) -> Json:
        status, answer = control_plane.ask(method, at, body, kind="application/json-patch+json" if body else "")
        assert status == 200, answer
        return answer

    made = make(control_plane, namespace, "statefulsets", workload("StatefulSet", "web", "shop:v1"))
    assert "annotations" not in made["metadata"]
    history = path(namespace, "controllerrevisions")
    await asyncio.to_thread(until, lambda: len(ask("GET", history)["items"]), lambda count: count == 1)
    ask("PATCH", where, [{"op": "replace", "path": image_path, "value": "shop:v2"}])
    await asyncio.to_thread(until, lambda: len(ask("GET", history)["items"]), lambda count: count == 2)
    target = next(one for one in ask("GET", history)["items"] if one["revision"] == 1)
    async with client_of(control_plane) as client:
        first = workload_objects.Fresh(workload=ask("GET", where), history=())
        marks = {views.ACTION: "inc-1/roll_back"}
        ops = workload_objects.guarded_patch(first, {**target, "kind": "ControllerRevision"}, marks)
        ask("PATCH", where, [{"op": "add", "path": "/metadata/annotations", "value": {"note": "x"}}])
        with pytest.raises(Permanent) as caught:
            await client.patch_json(where, ops)
        assert (caught.value.status, caught.value.kind) == (422, FaultKind.INVALID)
        now = workload_objects.Fresh(workload=ask("GET", where), history=())
        assert would_fail(Step(what="the patch", path=where, ops=ops), now.workload)
        assert image(now.workload) == "shop:v2"
        ask("PATCH", where, [{"op": "remove", "path": "/metadata/annotations"}])
        again = workload_objects.Fresh(workload=ask("GET", where), history=())
        ops = workload_objects.guarded_patch(again, {**target, "kind": "ControllerRevision"}, marks)
        # The controller writes the status at any time, and the version moves with it: as often as the product would.
        for _ in range(20):
            try:
                done = await client.patch_json(where, ops)
                break
            except Permanent:
                again = workload_objects.Fresh(workload=ask("GET", where), history=())
                ops = workload_objects.guarded_patch(again, {**target, "kind": "ControllerRevision"}, marks)
        else:
            pytest.fail("the StatefulSet never came to rest")
    assert image(done) == "shop:v1"
    assert done["metadata"]["annotations"] == marks


async def test_a_rollback_whose_answer_is_lost(there: Rollout) -> None:
    """The patch was stored and no answer came: the same run looks, finds our id, and writes nothing again."""
    written: list[int] = []

    class Losing:
        def __getattr__(self, name: str) -> Any:
            return getattr(there.client, name)

        async def patch_json(self, where: str, ops: Any, **options: Any) -> Json:
            answer = await there.client.patch_json(where, ops, **options)
            if not options.get("dry_run") and options["field_manager"] == "lastgood":
                written.append(answer["metadata"]["generation"])
                raise Transient(None, "the answer is lost", FaultKind.NETWORK)
            return answer

    outcome = await runner(Losing()).run(there.action())
    assert outcome.kind is OutcomeKind.DONE
    assert isinstance(outcome.result, RolledBack)
    assert written == [outcome.result.generation]
    assert image(there.web()) == "shop:v1"


async def test_a_rollback_that_was_replaced_did_happen(there: Rollout) -> None:
    """After our rollback a fix is rolled out: the real controller's copies of our marks still tell, also when the Deployment's
    are wiped.
    """
    await runner(there.client).run(there.action())
    await asyncio.to_thread(until_available, there.plane, there.namespace, "web", 1)
    set_image(there.plane, there.namespace, "shop:v3")
    await asyncio.to_thread(until_available, there.plane, there.namespace, "web", 1)
    assert views.action_on(there.web()) is None
    for step in ("inherited", "wiped"):
        found = await runner(there.client).probe(there.action())
        assert found is not None, step
        assert isinstance(found.result, RolledBack)
        assert "replaced" in found.result.warnings[0]
        if step == "inherited":
            key = workload_objects.annotation_path(views.ACTION)
            patch(there.plane, there.namespace, [{"op": "remove", "path": key}])


READER: Callable[[str], tuple[Json, Json]] = lambda user: (  # noqa: E731
    {
        "metadata": {"name": "reader"},
        "rules": [
            {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list"]},
        ],
    },
    {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    },
)


async def test_a_role_without_patch_is_told_from_a_refused_target(there: Rollout) -> None:
    """The authorizer's sentence is the one that the check looks for: the role lacks a verb, the target is not to blame."""
    role, binding = READER("developer")
    for plural, body in (("roles", role), ("rolebindings", binding)):
        where = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{there.namespace}/{plural}"
        status, answer = there.plane.ask("POST", where, body)
        assert status == 201, answer
    await asyncio.to_thread(
        until,
        lambda: there.plane.ask("GET", path(there.namespace, "deployments", "web"), user="developer")[0],
        lambda status: status == 200,
    )
    async with there.other("developer") as client:
        with pytest.raises(Fault, match=RBAC_SAYS) as caught:
            await client.patch_json(path(there.namespace, "deployments", "web"), [NOTE], dry_run=True)
        assert (caught.value.status, caught.value.kind) == (403, FaultKind.AUTH)
        check = await checked(client, there)
        outcome = await runner(client).run(there.action())
    assert (check.may_patch, check.dry_run_error) == (False, None)
    assert outcome.kind is OutcomeKind.FAILED
    assert RBAC_SAYS in outcome.message
    assert image(there.web()) == "shop:v2"


async def test_an_admission_refusal_is_about_the_target(there: Rollout) -> None:
    """A webhook that refuses the good image refuses the dry run too: its words are told, our role is not blamed."""
    async with denies(there.plane, there.namespace, "shop:v1", "no v1 on Fridays"):
        check = await checked(there.client, there)
        outcome = await runner(there.client).run(there.action())
    assert check.may_patch
    assert check.dry_run_error is not None
    assert "no v1 on Fridays" in check.dry_run_error
    assert outcome.kind is OutcomeKind.FAILED
    assert "the dry run was refused" in outcome.message
    assert "no v1 on Fridays" in outcome.message
    assert image(there.web()) == "shop:v2"
