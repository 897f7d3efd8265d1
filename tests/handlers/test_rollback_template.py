"""Rolling a Deployment back on the sandbox's API server: once, guarded, and tellable after any cut."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from daemon.core.actions import Outcome, OutcomeKind, RolledBack, Superseded
from daemon.core.model import RevisionId
from daemon.ports import Runner
from deploy.sandbox.kube.faults import RequestRecord
from deploy.sandbox.kube.registry import Write
from deploy.sandbox.kube.resources import DEPLOYMENTS
from handlers import revisions, views, workload_objects
from handlers.faults import FaultKind, Permanent, Transient
from handlers.outbound.rollback import outcomes
from handlers.outbound.rollback.template import TemplateRollback
from tests.handlers.rollback_world import PATH, Json, WallClock, World, manifest, until, world

pytestmark = pytest.mark.real

DONE, REFUSED, FAILED = OutcomeKind.DONE, OutcomeKind.REFUSED, OutcomeKind.FAILED


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as there:
        yield there


def runner(there: World) -> TemplateRollback:
    return TemplateRollback(there.client, WallClock())


def before_patch(there: World, act: Callable[[], Any], *, dry_run: bool) -> None:
    """Let the world do something between our reading and our patch (or its dry run)."""
    done = False

    def hook(record: RequestRecord) -> None:
        nonlocal done
        if not done and record.method == "PATCH" and record.field_manager == "lastgood" and record.dry_run is dry_run:
            done = True
            act()

    there.cluster.faults.on_request = hook


def write(there: World, change: Callable[[Json], None], manager: str = "kubectl") -> None:
    """Somebody else writes the Deployment at this very moment."""
    obj = there.cluster.registry.copy(DEPLOYMENTS, "default", "web")
    change(obj)
    there.cluster.registry.update(DEPLOYMENTS, "default", "web", obj, Write(manager=manager))


def set_image(image: str) -> Callable[[Json], None]:
    return lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(image=image)


def superseded_by(outcome: Outcome | None) -> RevisionId:
    assert outcome is not None
    assert outcome.kind is REFUSED
    assert isinstance(outcome.result, Superseded), outcome
    return outcome.result.revision


async def test_writes_the_template_and_four_annotations(there: World) -> None:
    """Only the template and our provenance change; numbers, labels and other people's annotations stay."""
    write(there, lambda obj: obj["metadata"]["annotations"].update({"team.example/on-call": "shop"}), "notes")
    before = there.web()
    outcome = await runner(there).run(there.action())
    after = there.web()
    assert outcome.kind is DONE
    assert isinstance(outcome.result, RolledBack)
    assert outcome.result.generation == before["metadata"]["generation"] + 1
    assert revisions.template_hash(after["spec"]["template"]) == there.v1.id
    assert {**after["spec"], "template": 0} == {**before["spec"], "template": 0}
    added = {k: v for k, v in after["metadata"]["annotations"].items() if before["metadata"]["annotations"].get(k) != v}
    added.pop(revisions.REVISION_NUMBER, None)  # the controller's
    assert set(added) == {views.ACTION, views.ROLLED_BACK_TO, views.INCIDENT, revisions.CHANGE_CAUSE}
    assert set(before["metadata"]["annotations"]) <= set(after["metadata"]["annotations"])
    assert revisions.changed_by(after) == "lastgood"
    assert views.action_on(after) == "inc-1/roll_back"
    assert isinstance(runner(there), Runner)


async def test_the_dry_run_comes_first_and_is_the_same(there: World) -> None:
    """What was tried is what is sent."""
    await runner(there).run(there.action())
    sent = [r for r in there.cluster.faults.log if r.method == "PATCH" and r.field_manager == "lastgood"]
    assert [r.dry_run for r in sent] == [True, False]
    assert sent[0].body == sent[1].body
    assert [op["op"] for op in sent[1].body[:3]] == ["test", "test", "replace"]


async def test_fields_that_no_client_knows_survive(there: World) -> None:
    """A template field from a future API version is rolled back to, not dropped."""
    future = {"addedIn": "2030", "list": [1, {"deep": None}]}
    write(there, lambda obj: obj["spec"]["template"]["spec"].update(futureField=future))
    await there.settled()
    mine = revisions.revision_of(there.web())
    await there.deploy("shop:v4")
    await there.settled()
    bad = revisions.revision_of(there.web())
    assert (await runner(there).run(there.action(blamed=bad, target=mine))).kind is DONE
    assert there.web()["spec"]["template"]["spec"]["futureField"] == future


async def test_a_second_run_and_a_probe_see_the_first(there: World) -> None:
    """The id on the object makes a second execution impossible, our disk lost or not."""
    first = await runner(there).run(there.action())
    assert (await runner(there).run(there.action())).kind is DONE
    again = await runner(there).probe(there.action())
    assert again is not None
    assert isinstance(first.result, RolledBack)
    assert isinstance(again.result, RolledBack)
    assert again.result.generation == first.result.generation
    assert len(there.writes()) == 1


async def test_one_that_was_written_back_is_older_than_what_is_there(there: World) -> None:
    """The probe finds the bad template again: it happened, at an older generation than the present one."""
    action = there.action()
    await runner(there).run(action)
    await there.settled()
    await there.deploy("shop:v2")
    await there.settled()
    found = await runner(there).probe(action)
    assert found is not None
    assert isinstance(found.result, RolledBack)
    assert found.result.generation == there.web()["metadata"]["generation"] - 1
    assert outcomes.REPLACED in found.result.warnings


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("answered", [True, False])
async def test_cut_at_every_step_and_resumed(there: World, dry_run: bool, answered: bool) -> None:
    """Cut before or after the server heard the dry run or the patch: the probe tells, one patch is written in all."""
    original = runner(there)

    class CutError(Exception):
        pass

    class Cutting:
        """The client, which dies around one patch."""

        def __getattr__(self, name: str) -> Any:
            return getattr(there.client, name)

        async def patch_json(self, path: str, ops: Any, **options: Any) -> Json:
            if options["dry_run"] is dry_run and not answered:
                raise CutError
            result: Json = await there.client.patch_json(path, ops, **options)
            if options["dry_run"] is dry_run:
                raise CutError
            return result

    with pytest.raises(CutError):
        await TemplateRollback(Cutting(), WallClock()).run(there.action())
    happened = answered and not dry_run
    probed = await original.probe(there.action())
    assert (probed is not None) is happened
    if probed is None:
        assert (await original.run(there.action())).kind is DONE
    else:
        assert probed.kind is DONE
    assert there.images() == ["shop:v1"]
    assert len(there.writes()) == 1


async def test_an_answer_that_was_lost_is_looked_for(there: World) -> None:
    """The connection breaks after the patch was applied: the same run finds out that it happened."""
    before_patch(there, lambda: there.cluster.faults.drop(1, method="PATCH", path=PATH, after=True), dry_run=False)
    assert (await runner(there).run(there.action())).kind is DONE
    assert len(there.writes()) == 1


async def test_a_patch_that_was_never_heard_may_be_run_again(there: World) -> None:
    """The connection breaks unheard: transient, and the next run rolls back."""
    before_patch(there, lambda: there.cluster.faults.drop(1, method="PATCH", path=PATH), dry_run=False)
    with pytest.raises(Transient):
        await runner(there).run(there.action())
    assert there.images() == ["shop:v2"]
    assert (await runner(there).run(there.action())).kind is DONE


async def test_a_server_that_is_down_is_no_answer(there: World) -> None:
    """Nothing is concluded from silence, by run or probe."""
    there.cluster.go_down()
    with pytest.raises(Transient):
        await runner(there).run(there.action())
    with pytest.raises(Transient):
        await runner(there).probe(there.action())


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_newer_rollout_wins_the_race(there: World, dry_run: bool) -> None:
    """A deploy between our reading and our patch is never overwritten, and it is named."""
    before_patch(there, lambda: write(there, set_image("shop:v3")), dry_run=dry_run)
    outcome = await runner(there).run(there.action())
    assert superseded_by(outcome) == revisions.template_hash(there.web()["spec"]["template"])
    assert there.images() == ["shop:v3"]
    assert views.ACTION not in there.web()["metadata"]["annotations"]


@pytest.mark.parametrize(
    "change",
    [
        lambda obj: obj["spec"].update(replicas=5),
        lambda obj: obj["metadata"]["annotations"].update(note="x"),
        lambda obj: obj["metadata"].setdefault("labels", {}).update(note="x"),
    ],
)
async def test_a_write_that_is_no_rollout_does_not_stop_us(there: World, change: Callable[[Json], None]) -> None:
    """An autoscaler or a note in the race is neither undone nor mistaken for a rollout."""
    before_patch(there, lambda: write(there, change), dry_run=False)
    assert (await runner(there).run(there.action())).kind is DONE
    after = there.web()
    expected = copy.deepcopy(after)
    change(expected)
    assert after == expected
    assert there.images() == ["shop:v1"]


async def test_another_object_of_the_same_name_is_not_touched(there: World) -> None:
    """Deleted and made anew with the very same template: not what was judged."""
    await there.client.delete(PATH)
    await until(lambda: there.cluster.object("apps/v1", "deployments", "web"), lambda o: o is None)
    assert (await runner(there).run(there.action())).kind is REFUSED
    there.cluster.create(manifest("shop:v2"))
    outcome = await runner(there).run(there.action())
    assert (outcome.kind, outcome.result) == (REFUSED, None)
    assert there.images() == ["shop:v2"]


async def test_recreated_between_reading_and_patch(there: World) -> None:
    """The uid is tested by the server, too."""

    def anew() -> None:
        write(there, lambda obj: obj["metadata"].update(finalizers=[]))
        store, stored = there.cluster.store, there.web()
        store.remove(DEPLOYMENTS, "default", "web")
        body = {k: stored[k] for k in ("apiVersion", "kind", "spec")}
        # Annotated, so that no other part of the patch fails for want of a map.
        there.cluster.create({**body, "metadata": {"name": "web", "annotations": {"note": "x"}}})

    before_patch(there, anew, dry_run=False)
    assert (await runner(there).run(there.action())).kind is REFUSED
    assert there.images() == ["shop:v2"]


async def test_what_is_refused_before_anything_is_sent(there: World) -> None:
    """Paused, another uid, a target that the history has lost, a revision that is no longer current."""
    other = revisions.revision_of(manifest("shop:v9"))
    assert "no longer in the history" in (await runner(there).run(there.action(target=other))).message
    assert "another object" in (await runner(there).run(there.action(uid="other"))).message
    assert superseded_by(await runner(there).run(there.action(blamed=other))) == there.v2.id
    write(there, lambda obj: obj["spec"].update(paused=True))
    assert "paused" in (await runner(there).run(there.action())).message
    assert there.writes() == []


async def test_somebody_else_was_faster(there: World) -> None:
    """The target is current without our id: a person's rollback, not ours."""
    write(there, set_image("shop:v1"))
    assert superseded_by(await runner(there).run(there.action())) == there.v1.id


async def test_an_object_that_is_not_valid_is_no_newer_rollout(there: World) -> None:
    """422 for a bad object and 403 of an admission policy fail with the server's words; nobody is blamed for racing."""
    there.cluster.faults.fail(1, status=422, method="PATCH", path=PATH)
    outcome = await runner(there).run(there.action())
    assert (outcome.kind, outcome.result) == (FAILED, None)
    there.cluster.forbid_image("shop:v1")
    outcome = await runner(there).run(there.action())
    assert outcome.kind is FAILED
    assert "is forbidden" in outcome.message
    assert there.writes() == []


async def test_a_conflict_without_a_rollout_is_tried_again(there: World) -> None:
    """409 says that somebody wrote at the same time; the object says that it was no rollout."""
    there.cluster.faults.fail(1, status=409, method="PATCH", path=PATH)
    with pytest.raises(Transient) as caught:
        await runner(there).run(there.action())
    assert caught.value.kind is FaultKind.CONFLICT
    assert (await runner(there).run(there.action())).kind is DONE


async def test_a_rollback_that_was_replaced_did_happen(there: World) -> None:
    """After a crash: a fix on top of our rollback, even by kubectl's undo that wipes annotations, hides it not."""
    await runner(there).run(there.action())
    await there.settled()
    await there.deploy("shop:v3")
    await there.settled()
    for step in ("inherited", "wiped"):
        found = await runner(there).probe(there.action())
        assert found is not None, step
        assert found.kind is DONE
        assert isinstance(found.result, RolledBack)
        assert "replaced" in found.result.warnings[0]
        write(there, lambda obj: obj["metadata"]["annotations"].pop(views.ACTION, None))


async def test_an_inherited_annotation_is_not_ours(there: World) -> None:
    """A deploy after our rollback inherits the annotations; the view must not take it for our work."""
    await runner(there).run(there.action())
    await there.deploy("shop:v3")
    assert there.web()["metadata"]["annotations"][views.ACTION] == "inc-1/roll_back"
    assert views.action_on(there.web()) is None


async def test_drift_is_announced_with_the_command() -> None:
    """Helm and kubectl apply still believe in the bad revision: people are told what to run."""
    annotations = {
        "meta.helm.sh/release-name": "store",
        "meta.helm.sh/release-namespace": "default",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    async with world(metadata={"annotations": annotations}) as there:
        outcome = await runner(there).run(there.action())
        assert isinstance(outcome.result, RolledBack)
        helm, apply = outcome.result.warnings
        assert "`helm rollback store --namespace default`" in helm
        assert "`helm history store --namespace default`" in helm
        assert "last-applied-configuration" in apply
        assert "`kubectl apply --namespace default -f FILE`" in apply


async def test_the_drift_of_gitops_is_announced() -> None:
    """Argo CD and Flux have their own way to be told; the advice for kubectl and Helm would lead nowhere."""
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    marks = [
        ({"annotations": applied, "labels": {"argocd.argoproj.io/instance": "store"}}, "argocd app history store"),
        (
            {
                "annotations": {"meta.helm.sh/release-name": "store", **applied},
                "labels": {"helm.toolkit.fluxcd.io/name": "store", "helm.toolkit.fluxcd.io/namespace": "default"},
            },
            "flux reconcile helmrelease store --namespace default --with-source",
        ),
    ]
    for metadata, told in marks:
        async with world(metadata=metadata) as there:
            outcome = await runner(there).run(there.action())
            assert isinstance(outcome.result, RolledBack)
            (warning,) = outcome.result.warnings
            assert told in warning


async def test_an_absent_map_of_annotations_is_made_once(there: World) -> None:
    """The map is added where the object has none; one that appears in the race is not replaced, and not taken for a
    newer rollout either.
    """

    class Stale:
        """The client, whose first reading shows the object as it was before the controller annotated it."""

        first = True

        def __getattr__(self, name: str) -> Any:
            return getattr(there.client, name)

        async def get(self, path: str, **query: Any) -> Json:
            fresh = await there.client.get(path, **query)
            if self.first:
                self.first = False
                del fresh["metadata"]["annotations"]
                fresh["metadata"]["resourceVersion"] = "1"
            return fresh

    with pytest.raises(Transient):
        await TemplateRollback(Stale(), WallClock()).run(there.action())
    fresh = workload_objects.Fresh(workload=there.web(), history=())
    del fresh.workload["metadata"]["annotations"]
    ops = workload_objects.guarded_patch(fresh, manifest("shop:v1"), {"a/b~c": "d"})
    assert [op["path"] for op in ops if op["op"] == "test"][1] == "/metadata/resourceVersion"
    assert ops[-2:] == [
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/a~1b~0c", "value": "d"},
    ]
    assert (await runner(there).run(there.action())).kind is DONE


async def test_a_forbidden_read_is_permanent(there: World) -> None:
    """A role that lacks a verb is told as such, not tried for ever."""
    there.cluster.faults.fail(1, status=403, method="GET", path=PATH)
    with pytest.raises(Permanent):
        await runner(there).run(there.action())
