"""A Rollout of Argo on the real API server, its controller played: both roads back, cut after each step, and every no."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from daemon.core.actions import Checked, Outcome, OutcomeKind, RollBack, RolledBack, Superseded
from daemon.core.model import Revision
from handlers import revisions, views
from handlers.faults import FaultKind, Transient
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.outbound.rollback import argo_rollout
from handlers.outbound.rollback.argo_rollout import ArgoRollback
from handlers.outbound.rollback.by_kind import RollbackByKind
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.targets import TargetChecker
from tests.controlplane import definitions
from tests.controlplane.argo_player import V1, V2, V3, Recorder, Shop, in_flight, manifest, promoted
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, make, path, until, workload
from tests.handlers.rollback_world import WallClock

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = definitions.SINCE


@pytest.fixture
def shop(control_plane: ControlPlane, namespace: str) -> Shop:
    """v1 is fully promoted."""
    definitions.define(control_plane, definitions.CRDS / "rollouts.yaml")
    there = Shop(plane=control_plane, namespace=namespace)
    there.create(manifest(V1))
    there.take_up()
    there.promote()
    return there


async def roll_back(shop: Shop, action: RollBack, after: Callable[[int], None] = lambda _count: None) -> Outcome:
    """Runs the action; `after` each patch that is stored."""
    async with shop.client() as client:
        return await ArgoRollback(Recorder(client, after), WallClock(), look_seconds=0.01).run(action)


async def probe(shop: Shop, action: RollBack) -> Outcome | None:
    async with shop.client() as client:
        return await ArgoRollback(client, WallClock()).probe(action)


async def test_abort_in_flight(shop: Shop) -> None:
    """The status says abort, the template stays, the annotations tell whose it is; a second run does nothing more."""
    v1, v2 = in_flight(shop)
    before = shop.get()
    action = shop.action(v1, v2)
    outcome = await roll_back(shop, action)
    now = shop.get()
    assert outcome.kind is OutcomeKind.DONE, outcome
    assert isinstance(outcome.result, RolledBack)
    assert outcome.result.generation == before["metadata"]["generation"] == now["metadata"]["generation"]
    assert "kubectl argo rollouts undo shop" in outcome.result.warnings[0]
    assert now["status"]["abort"] is True
    assert now["spec"] == before["spec"]
    noted = now["metadata"]["annotations"]
    assert (noted[views.ACTION], noted[views.ROLLED_BACK_TO], noted[views.ROAD]) == (action.id, v1.id, "abort")
    assert revisions.CHANGE_CAUSE not in noted
    assert (await roll_back(shop, action)).kind is OutcomeKind.DONE
    assert shop.get()["metadata"]["resourceVersion"] == now["metadata"]["resourceVersion"]


async def test_undo_after_promotion(shop: Shop) -> None:
    """The template is put back without the hash label, and promoted fully once the controller has taken it up."""
    v1, v2 = promoted(shop)
    action = shop.action(v1, v2)
    seen: list[Any] = []

    def turn(count: int) -> None:
        seen.append(shop.get()["status"].get("promoteFull"))
        shop.act()

    outcome = await roll_back(shop, action, turn)
    now = shop.get()
    assert outcome.kind is OutcomeKind.DONE, outcome
    assert seen == [None, True]
    assert now["status"]["stableRS"] == now["status"]["currentPodHash"]
    assert now["spec"]["template"]["spec"]["containers"][0]["image"] == V1
    assert now["spec"]["template"]["metadata"]["labels"] == {"app": "shop"}
    assert now["metadata"]["annotations"][views.ROAD] == "undo"
    assert now["metadata"]["annotations"][revisions.CHANGE_CAUSE].startswith("Lastgood rolled back to")
    assert (await roll_back(shop, action)).kind is OutcomeKind.DONE
    assert shop.get()["metadata"]["resourceVersion"] == now["metadata"]["resourceVersion"]


@pytest.mark.parametrize("stage", [in_flight, promoted])
@pytest.mark.parametrize("cut", [1, 2])
async def test_cut_after_each_step_and_resumed(
    shop: Shop, stage: Callable[[Shop], tuple[Revision, Revision]], cut: int
) -> None:
    """A crash after any step: the probe says what is true, and the next run finishes with each step once."""
    v1, v2 = stage(shop)
    action = shop.action(v1, v2)

    def crash(count: int) -> None:
        shop.act()
        if count == cut:
            raise ConnectionResetError

    with suppress(ConnectionResetError):
        await roll_back(shop, action, crash)
    found = await probe(shop, action)
    assert (found is None) == (cut == 1), found
    async with shop.client() as client:
        api = Recorder(client, lambda _count: shop.act())
        outcome = await ArgoRollback(api, WallClock(), look_seconds=0.01).run(action)
    assert outcome.kind is OutcomeKind.DONE, outcome
    assert [where for where, _ in api.patches] == ["status"] * (2 - cut)
    status = shop.get()["status"]
    assert status.get("abort") is True if stage is in_flight else status["stableRS"] == status["currentPodHash"]


async def test_a_newer_rollout_wins(shop: Shop) -> None:
    """Another template on the object, taken up or not, is never overwritten, and nothing is written."""
    v1, v2 = promoted(shop)
    action = shop.action(v1, v2)
    shop.deploy(V3)
    before = shop.get()["metadata"]["resourceVersion"]
    with pytest.raises(Transient) as raised:
        await roll_back(shop, action)
    assert raised.value.kind is FaultKind.TIMEOUT
    assert shop.get()["metadata"]["resourceVersion"] == before
    shop.take_up()
    outcome = await roll_back(shop, action)
    assert isinstance(outcome.result, Superseded)
    assert outcome.result.revision == shop.revision(V3).id
    assert views.ACTION not in views.annotations_of(shop.get())


async def test_a_newer_rollout_between_the_steps_wins(shop: Shop) -> None:
    """A template that arrives after our mark: the abort is not sent, and nothing says it was."""
    v1, v2 = in_flight(shop)

    def newer(_count: int) -> None:
        shop.deploy(V3)
        shop.take_up()

    outcome = await roll_back(shop, shop.action(v1, v2), newer)
    assert isinstance(outcome.result, Superseded)
    assert shop.get()["status"].get("abort") is None


@pytest.mark.parametrize(("stage", "step"), [(in_flight, 1), (in_flight, 2), (promoted, 1)])
async def test_a_newer_rollout_in_the_same_moment_wins(
    shop: Shop, stage: Callable[[Shop], tuple[Revision, Revision]], step: int
) -> None:
    """Between our look and our write the `test`s of the patch stand guard: it is refused, and the next run sees why."""
    v1, v2 = stage(shop)
    action = shop.action(v1, v2)

    def newer(count: int) -> None:
        if count == step:
            shop.deploy(V3)
            shop.take_up()

    async with shop.client() as client:
        api = Recorder(client, before=newer)
        outcome = await ArgoRollback(api, WallClock(), look_seconds=0.01).run(action)
    assert isinstance(outcome.result, Superseded), outcome
    assert len(api.patches) == step - 1
    now = shop.get()
    assert now["status"].get("abort") is None
    assert now["spec"]["template"]["spec"]["containers"][0]["image"] == V3


async def test_a_write_in_the_same_moment_is_another_try(shop: Shop) -> None:
    """A newer template that nobody has taken up yet: no verdict, nothing written; the dispatcher comes again."""
    v1, v2 = promoted(shop)
    async with shop.client() as client:
        api = Recorder(client, before=lambda _count: shop.deploy(V3))
        with pytest.raises(Transient) as raised:
            await ArgoRollback(api, WallClock(), look_seconds=0.01).run(shop.action(v1, v2))
    assert (raised.value.kind, api.patches) == (FaultKind.CONFLICT, [])


RIGHTS = [
    {"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": ["argoproj.io"], "resources": ["rollouts/status"], "verbs": ["patch"]},
    {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list"]},
]


@pytest.mark.parametrize("stage", [in_flight, promoted])
@pytest.mark.parametrize("lacking", [None, "rollouts/status", "patch"])
async def test_the_rights_that_it_takes(
    shop: Shop, stage: Callable[[Shop], tuple[Revision, Revision]], lacking: str | None
) -> None:
    """Exactly these, by the real authorizer; with one less the check says so, and not even the mark is written."""
    v1, v2 = stage(shop)
    rules = [
        rule | {"verbs": [v for v in rule["verbs"] if v != lacking]}
        for rule in RIGHTS
        if rule["resources"] != [lacking]
    ]
    _bind(shop, [rule for rule in rules if rule["verbs"]])
    configuration = from_url(shop.plane.url, token=shop.plane.token("lastgood"), ca_file=shop.plane.ca)
    async with KubeClient(configuration) as client:
        checked = await TargetChecker(client).run(shop.check(v1, v2))
        outcome = await ArgoRollback(Recorder(client, lambda _count: shop.act()), WallClock()).run(shop.action(v1, v2))
    assert isinstance(checked.result, Checked)
    assert checked.result.check.may_patch is (lacking is None)
    assert outcome.kind is (OutcomeKind.DONE if lacking is None else OutcomeKind.FAILED), outcome
    assert (views.ACTION in views.annotations_of(shop.get())) is (lacking is None)


def _bind(shop: Shop, rules: list[Json]) -> None:
    """Gives the user `lastgood` these rights in the namespace, and waits until they hold."""
    where = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{shop.namespace}"
    shop.ask("POST", f"{where}/roles", {"metadata": {"name": "argo"}, "rules": rules})
    binding = {
        "metadata": {"name": "argo"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "argo"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "lastgood"}],
    }
    shop.ask("POST", f"{where}/rolebindings", binding)
    until(lambda: shop.plane.ask("GET", shop.path, user="lastgood")[0], lambda code: code == 200)


async def test_an_undo_that_was_replaced_still_happened(shop: Shop) -> None:
    """A newer rollout after our undo: done, with a warning, and its steps are its own."""
    v1, v2 = promoted(shop)

    def newer(_count: int) -> None:
        shop.deploy(V3)
        shop.take_up()

    outcome = await roll_back(shop, shop.action(v1, v2), newer)
    assert outcome.kind is OutcomeKind.DONE
    assert isinstance(outcome.result, RolledBack)
    assert "A newer rollout has replaced" in outcome.result.warnings[0]
    assert shop.get()["status"].get("promoteFull") is None


async def test_abort_only_to_the_target(shop: Shop) -> None:
    """In flight from a stable revision that is not the target: refused, with the commands; so says the check before."""
    v1, v2 = promoted(shop)
    shop.deploy(V3)
    shop.take_up()
    outcome = await roll_back(shop, shop.action(v1, shop.revision(V3)))
    assert outcome.kind is OutcomeKind.REFUSED
    assert f"`kubectl argo rollouts undo shop --namespace {shop.namespace} --to-revision=1`" in outcome.message
    async with shop.client() as client:
        checked = await TargetChecker(client).run(shop.check(v1, shop.revision(V3)))
    assert isinstance(checked.result, Checked)
    assert (checked.result.check.no_way, checked.result.check.dry_run_error) == (outcome.message, None)
    assert v2.id != v1.id


@pytest.mark.parametrize("stage", [in_flight, promoted])
async def test_the_check_tries_every_step(shop: Shop, stage: Callable[[Shop], tuple[Revision, Revision]]) -> None:
    """Both roads pass the check beforehand, which changes nothing."""
    v1, v2 = stage(shop)
    before = shop.get()
    async with shop.client() as client:
        checked = await TargetChecker(client).run(shop.check(v1, v2))
    assert isinstance(checked.result, Checked)
    check = checked.result.check
    assert (check.exists, check.missing, check.dry_run_error, check.may_patch) == (True, (), None, True)
    assert shop.get() == before


async def test_paused_by_a_person(shop: Shop) -> None:
    """spec.paused is a person's hand on it: refused. A step's own pause is not."""
    v1, v2 = in_flight(shop)
    shop.merge({"spec": {"paused": True}})
    shop.take_up()
    outcome = await roll_back(shop, shop.action(v1, v2))
    assert (outcome.kind, "paused" in outcome.message) == (OutcomeKind.REFUSED, True)


async def test_gone_and_made_anew(shop: Shop) -> None:
    """Another object of that name is never touched; one that is gone ends it."""
    v1, v2 = in_flight(shop)
    action = shop.action(v1, v2)
    shop.ask("DELETE", shop.path)
    assert (await roll_back(shop, action)).kind is OutcomeKind.REFUSED
    shop.create(manifest(V3))
    shop.take_up()
    outcome = await roll_back(shop, action)
    assert (outcome.kind, "made anew" in outcome.message) == (OutcomeKind.REFUSED, True)


async def test_a_target_that_is_gone(shop: Shop) -> None:
    """Without the ReplicaSet in the history there is nothing to go back to."""
    v1, v2 = promoted(shop)
    shop.ask("DELETE", path(shop.namespace, "replicasets", str(v1.replica_set)))
    outcome = await roll_back(shop, shop.action(v1, v2))
    assert (outcome.kind, "no longer in the history" in outcome.message) == (OutcomeKind.REFUSED, True)


@pytest.mark.parametrize("stage", [in_flight, promoted])
async def test_only_an_abort_is_past_its_owner(shop: Shop, stage: Callable[[Shop], tuple[Revision, Revision]]) -> None:
    """Decided while the update was in flight: the abort is done, and once it is promoted nothing is written."""
    v1, v2 = stage(shop)
    before = shop.get()
    outcome = await roll_back(shop, replace(shop.action(v1, v2), only_abort=True))
    if stage is in_flight:
        assert outcome.kind is OutcomeKind.DONE, outcome
        assert shop.get()["spec"] == before["spec"]
    else:
        assert (outcome.kind, "is promoted" in outcome.message) == (OutcomeKind.REFUSED, True)
        assert shop.get() == before


@pytest.mark.parametrize("stage", [in_flight, promoted])
async def test_the_next_apply_meets_no_conflict(shop: Shop, stage: Callable[[Shop], tuple[Revision, Revision]]) -> None:
    """After either road we own our annotations and nothing else; the apply of a fixed template has no conflict with us."""
    v1, v2 = stage(shop)
    outcome = await roll_back(shop, shop.action(v1, v2), lambda _count: shop.act())
    assert isinstance(outcome.result, RolledBack)
    assert not any("still owns" in warning for warning in outcome.result.warnings)
    (own,) = [
        entry for entry in shop.get()["metadata"]["managedFields"]
        if entry["manager"] == "lastgood" and not entry.get("subresource")
    ]  # fmt: skip
    kept = {f"f:{name}" for name in (views.ACTION, views.INCIDENT, views.ROLLED_BACK_TO, views.ROAD)}
    assert set(own["fieldsV1"]) == {"f:metadata"}
    assert set(own["fieldsV1"]["f:metadata"]["f:annotations"]) == kept
    fixed = manifest(V3)
    fixed["metadata"]["annotations"] = {revisions.CHANGE_CAUSE: "a fix"}
    where = f"{shop.path}?fieldManager=helm"
    _, answer = shop.plane.ask("PATCH", where, fixed, kind="application/apply-patch+yaml")
    assert 'with "lastgood"' not in str(answer.get("message")), "there may be conflicts with whoever created it"


async def test_the_template_of_another(shop: Shop) -> None:
    """With workloadRef: abort as ever; after promotion refused with the command; the Deployment is never written."""
    plane, namespace = shop.plane, shop.namespace
    template = make(plane, namespace, "deployments", workload("Deployment", "shop", V2, replicas=0))["spec"]["template"]
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    shop.merge({"spec": {"template": None, "workloadRef": ref}})
    shop.take_up(template)
    untouched = shop.ask("GET", path(namespace, "deployments", "shop"))["spec"]
    v1, v2 = shop.revision(V1), shop.revision(V2)
    shop.promote()
    outcome = await roll_back(shop, shop.action(v1, v2))
    assert outcome.kind is OutcomeKind.REFUSED
    assert "Deployment/shop (workloadRef), which Lastgood never touches: `kubectl argo rollouts undo" in outcome.message
    shop.status(stableRS=next(h for h in map(_hash, shop.history()) if h != shop.get()["status"]["currentPodHash"]))
    outcome = await roll_back(shop, shop.action(v1, v2))
    assert outcome.kind is OutcomeKind.DONE, outcome
    assert shop.get()["status"]["abort"] is True
    assert shop.ask("GET", path(namespace, "deployments", "shop"))["spec"] == untouched


async def test_nobody_takes_it_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that stands still: undo is written once, the run says what it waits for and goes on when it is back."""
    monkeypatch.setattr(argo_rollout, "LOOKS_MAX", 3)
    v1, v2 = promoted(shop)
    action = shop.action(v1, v2)
    with pytest.raises(Transient, match="has not taken up"):
        await roll_back(shop, action)
    assert await probe(shop, action) is None
    shop.take_up()
    outcome = await roll_back(shop, action, lambda _count: shop.act())
    assert outcome.kind is OutcomeKind.DONE
    assert shop.get()["status"]["phase"] == "Healthy"


async def test_each_kind_has_its_runner(shop: Shop) -> None:
    """A Rollout goes to its own runner, everything else to the other one."""
    v1, v2 = in_flight(shop)
    async with shop.client() as client:
        clock = WallClock()
        runner = RollbackByKind(TemplateRollback(client, clock), {"Rollout": ArgoRollback(client, clock)})
        assert await runner.probe(shop.action(v1, v2)) is None
        outcome = await runner.run(shop.action(v1, v2))
    assert outcome.kind is OutcomeKind.DONE
    assert shop.get()["status"]["abort"] is True


def _hash(replica_set: Json) -> str:
    return str(replica_set["metadata"]["labels"]["rollouts-pod-template-hash"])
