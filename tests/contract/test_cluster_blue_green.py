"""A blue/green Service is switched back by us, in the sandbox and on a real control plane alike: watched, tried, raced, cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from daemon.core.actions import Checked, Outcome, OutcomeKind, RolledBack, Superseded
from daemon.core.events import Event, WorkloadSeen
from daemon.core.measurement import TargetCheck
from daemon.core.model import WorkloadView
from deploy.sandbox.kube import SandboxCluster
from handlers import views
from handlers.faults import FaultKind, Permanent
from handlers.inbound.cluster import ClusterWatch
from handlers.kinds.service import ARGO_MANAGED, BLUE_GREEN
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.targets import TargetChecker
from tests.controlplane.plane import FAST, ControlPlane
from tests.handlers.blue_green_world import LABEL, BlueGreen, colour, deployments, switched, until
from tests.handlers.rollback_world import Json, WallClock, check_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

DONE, REFUSED, FAILED = OutcomeKind.DONE, OutcomeKind.REFUSED, OutcomeKind.FAILED


@pytest.fixture
async def there(other_cluster: ControlPlane | None) -> AsyncIterator[BlueGreen]:
    async with AsyncExitStack() as stack:
        if other_cluster is None:
            cluster = await stack.enter_async_context(SandboxCluster(timing=FAST, bookmark_seconds=0.3, network=45))
            client = await stack.enter_async_context(KubeClient(from_url(cluster.url)))
        else:
            access = from_url(other_cluster.url, token=other_cluster.token("admin"), ca_file=other_cluster.ca)
            client = await stack.enter_async_context(KubeClient(access))
        namespace = f"switch-{uuid4().hex[:8]}"
        await client.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        yield await switched(client, namespace)
        await client.delete(f"/api/v1/namespaces/{namespace}")


def runner(api: Any) -> TemplateRollback:
    return TemplateRollback(api, WallClock())


async def checked(there: BlueGreen) -> TargetCheck:
    outcome = await TargetChecker(there.client).run(check_of(there.action()))
    assert isinstance(outcome.result, Checked)
    return outcome.result.check


class Patches:
    """The client, which lets something happen before or after one of its patches; `sent` are those that were meant."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self.before: dict[bool, Callable[[], Awaitable[object]]] = {}
        self.after: dict[bool, Callable[[], Awaitable[object]]] = {}
        self.sent: list[Sequence[Json]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def patch_json(self, path: str, ops: Sequence[Json], *, dry_run: bool = False, **options: Any) -> Json:
        """The same patch; what is to happen happens once."""
        ours = options["field_manager"] == "lastgood"
        if ours and (act := self.before.pop(dry_run, None)) is not None:
            await act()
        result = await self._client.patch_json(path, ops, dry_run=dry_run, **options)
        if ours and not dry_run:
            self.sent.append(ops)
        if ours and (act := self.after.pop(dry_run, None)) is not None:
            await act()
        return result


class CutError(Exception):
    """The daemon dies here."""


async def dies() -> None:
    raise CutError


async def test_the_switch_back(there: BlueGreen) -> None:
    """Checked, tried, switched: the selector's one label and our marks, and nothing else; told again by any later look."""
    before, patches = await there.service(), Patches(there.client)
    check = await checked(there)
    assert (check.exists, check.may_patch, check.dry_run_error, check.no_way) == (True, True, None, None)
    outcome = await runner(patches).run(there.action())
    assert outcome.kind is DONE
    assert isinstance(outcome.result, RolledBack)
    assert (outcome.result.generation, outcome.result.warnings) == (0, ())
    after = await there.service()
    assert after["spec"] == {**before["spec"], "selector": {"app": "shop", LABEL: "blue"}}
    marks = after["metadata"]["annotations"]
    assert marks[BLUE_GREEN] == LABEL
    assert (marks[views.ACTION], marks[views.ROLLED_BACK_TO]) == ("inc-1/roll_back", there.blue.id)
    for again in (await runner(patches).run(there.action()), await runner(patches).probe(there.action())):
        assert again is not None
        assert again.result == outcome.result
    assert len(patches.sent) == 1


async def test_our_field_is_handed_back(there: BlueGreen) -> None:
    """A later server-side apply of the selector by its owner meets no conflict with us."""
    await runner(there.client).run(there.action())
    (entry,) = [each for each in (await there.service())["metadata"]["managedFields"] if each["manager"] == "lastgood"]
    assert set(entry["fieldsV1"]) == {"f:metadata"}


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_persons_switch_in_between_wins(there: BlueGreen, dry_run: bool) -> None:
    """Switched by hand between our reading and our patch: nothing of ours is written, and what is there now is named."""
    patches = Patches(there.client)
    patches.before[dry_run] = lambda: there.switch("blue")
    outcome = await runner(patches).run(there.action())
    assert outcome.kind is REFUSED
    assert outcome.result == Superseded(revision=there.blue.id)
    assert views.ACTION not in (await there.service())["metadata"]["annotations"]
    assert patches.sent == []


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_deploy_of_the_selected_colour_in_between(there: BlueGreen, dry_run: bool) -> None:
    """The bad colour is being fixed in place while we switch: the patch tests the selector, not another object. Seen before
    the first look it is a newer rollout; later the switch back stands, and is told.
    """
    patches = Patches(there.client)
    patches.before[dry_run] = lambda: there.deploy("green", "shop:v3")
    assert (await runner(patches).run(there.action())).kind is DONE
    assert await there.selector() == {"app": "shop", LABEL: "blue"}


async def test_a_deploy_of_the_selected_colour_before(there: BlueGreen) -> None:
    """Then the blamed revision is not current any more."""
    await there.deploy("green", "shop:v3")
    outcome = await runner(there.client).run(there.action())
    assert outcome.kind is REFUSED
    assert isinstance(outcome.result, Superseded)
    assert await there.selector() == {"app": "shop", LABEL: "green"}


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("answered", [True, False])
async def test_cut_at_every_step_and_resumed(there: BlueGreen, dry_run: bool, answered: bool) -> None:
    """Cut before or after the server heard the dry run or the patch: the probe tells, and one patch is written in all."""
    patches = Patches(there.client)
    (patches.after if answered else patches.before)[dry_run] = dies
    with pytest.raises(CutError):
        await runner(patches).run(there.action())
    probed = await runner(patches).probe(there.action())
    assert (probed is not None) is (answered and not dry_run)
    outcome = probed or await runner(patches).run(there.action())
    assert outcome.kind is DONE
    assert await there.selector() == {"app": "shop", LABEL: "blue"}
    assert len(patches.sent) == 1


async def test_switched_forward_again_it_still_happened(there: BlueGreen) -> None:
    """A second run after a person went to green again does nothing, and says that ours was replaced."""
    patches = Patches(there.client)
    await runner(patches).run(there.action())
    await there.switch("green")
    outcome = await runner(patches).run(there.action())
    assert outcome.kind is DONE
    assert "newer rollout" in outcome.message
    assert await there.selector() == {"app": "shop", LABEL: "green"}
    assert len(patches.sent) == 1


async def refused(there: BlueGreen, says: str) -> None:
    """The check and the rollback both say why, and nothing is written."""
    check, outcome = await checked(there), await runner(there.client).run(there.action())
    assert outcome.kind is REFUSED
    assert outcome.result is None
    assert says in outcome.message
    told = check.no_way or check.dry_run_error or ""
    assert not check.exists or says in told or "not tried: it cannot be told" in told
    assert views.ACTION not in (await there.service())["metadata"]["annotations"]


async def test_a_target_that_is_scaled_down_cannot_serve(there: BlueGreen) -> None:
    """None, or fewer pods than the bad colour is to have: refused, with the command."""
    await there.scale("blue", 0)
    await refused(
        there, "Deployment/shop-blue has 0 ready pod(s), and Deployment/shop-green serves with 2: `kubectl scale"
    )
    await there.scale("blue", 1)
    await refused(there, "has 1 ready pod(s)")
    await there.scale("blue", 2)
    assert (await runner(there.client).run(there.action())).kind is DONE


async def test_a_target_that_was_deployed_anew_is_none(there: BlueGreen) -> None:
    """Verified was another template."""
    await there.deploy("blue", "shop:v9-unready")
    await refused(there, "is no longer in the history")


async def test_a_target_that_is_gone_or_not_alone(there: BlueGreen) -> None:
    """A second Deployment of that colour would be selected as well; without any there is none to go back to."""
    twin = colour("blue", "shop:v7")
    twin["metadata"]["name"] = "twin"
    await there.client.create(deployments(there.namespace), twin)
    await refused(there, "would select several Deployments")
    await there.client.delete(f"{deployments(there.namespace)}/twin")
    await there.client.delete(f"{deployments(there.namespace)}/shop-blue")
    await refused(there, "is no longer in the history")


async def test_what_selects_nothing_is_left_alone(there: BlueGreen) -> None:
    """The bad colour is gone, or was switched to something that is none: no newer rollout is claimed."""
    await there.switch("red")
    await refused(there, "selects no Deployment, or several")


@pytest.mark.parametrize(
    ("op", "says"),
    [
        (
            {"op": "add", "path": "/metadata/annotations/argo-rollouts.argoproj.io~1managed-by-rollouts", "value": "x"},
            "Argo",
        ),
        ({"op": "replace", "path": "/metadata/annotations/lastgood.dev~1blue-green", "value": "track"}, "selects no"),
    ],
)
async def test_a_service_that_is_not_ours_to_switch(there: BlueGreen, op: Json, says: str) -> None:
    """A controller that switches it has taken over since, or the opt-in was changed."""
    assert ARGO_MANAGED in op["path"].replace("~1", "/") or BLUE_GREEN in op["path"].replace("~1", "/")
    path = f"/api/v1/namespaces/{there.namespace}/services/shop"
    await there.client.patch_json(path, [op], field_manager="ann")
    await refused(there, says)


async def test_who_would_switch_forward_again_is_told(there: BlueGreen) -> None:
    """`kubectl apply` keeps its own copy of the selector, and so does a Helm release."""
    path = f"/api/v1/namespaces/{there.namespace}/services/shop"
    notes = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "meta.helm.sh/release-name": "front"}
    await there.client.patch_merge(path, {"metadata": {"annotations": notes}})
    outcome = await runner(there.client).run(there.action())
    assert isinstance(outcome.result, RolledBack)
    (warning,) = outcome.result.warnings
    assert warning == (
        "The selector is not only here: release front of Helm, kubectl apply wrote it, and with the same values will switch to "
        "the bad colour again. Put version: blue there too."
    )


class Inbox:
    """Keeps the views of one workload."""

    def __init__(self, there: BlueGreen) -> None:
        self._there = there
        self.views: list[WorkloadView] = []

    def put(self, event: Event) -> None:
        assert isinstance(event, WorkloadSeen)
        if event.view.workload == self._there.workload:
            self.views.append(event.view)

    async def see(self, good: Callable[[WorkloadView], Any]) -> WorkloadView:
        """The first view from now on, or the last one, that is good."""

        async def last() -> WorkloadView | None:
            return self.views[-1] if self.views else None

        found = await until(last, lambda view: view is not None and good(view))
        assert found is not None
        return found


@asynccontextmanager
async def watching(there: BlueGreen) -> AsyncIterator[Inbox]:
    inbox = Inbox(there)
    watch = ClusterWatch(there.client, inbox, WallClock())
    tasks = [asyncio.create_task(run()) for run in watch.tasks().values()]
    try:
        await watch.synced.wait()
        yield inbox
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_the_watch_tells(there: BlueGreen) -> None:
    """Green serves alone; our switch back is ours and has arrived; a deploy in place keeps its colour; opted out: gone."""
    async with watching(there) as inbox:
        first = await inbox.see(lambda view: view.converged)
        assert (first.current.id, first.serving) == (there.green.id, (there.green.id,))
        assert (first.changed_by, first.generation, first.desired) == ("kubectl-patch", 0, 2)
        assert {each.id for each in first.history} == {there.blue.id, there.green.id}
        assert first.current.digests != ()
        await runner(there.client).run(there.action())
        back = await inbox.see(lambda view: view.current.id == there.blue.id and view.converged)
        assert (back.action_id, back.changed_by, back.serving) == ("inc-1/roll_back", "lastgood", (there.blue.id,))
        assert back.started_at >= first.started_at
        await there.deploy("blue", "shop:v5")
        anew = await inbox.see(lambda view: view.converged and view.current.images == ("shop:v5",))
        assert (anew.current.colour, anew.action_id) == ("blue", None)
        await there.deploy("green", "shop:v6")
        await inbox.see(lambda view: any(each.images == ("shop:v6",) for each in view.history))
        path = f"/api/v1/namespaces/{there.namespace}/services/shop"
        await there.client.patch_merge(path, {"metadata": {"annotations": {BLUE_GREEN: None}}})
        await inbox.see(lambda view: view.gone)
        await there.client.patch_merge(path, {"metadata": {"annotations": {BLUE_GREEN: LABEL}}})
        await inbox.see(lambda view: not view.gone)


async def test_an_annotation_that_cannot_be_followed_is_logged(there: BlueGreen) -> None:
    """Opted in with a label that the selector has not: gone from the workloads, and the log says why, once."""
    path = f"/api/v1/namespaces/{there.namespace}/services/shop"
    with capture_logs() as logs:
        async with watching(there) as inbox:
            await inbox.see(lambda view: view.converged)
            await there.client.patch_merge(path, {"metadata": {"annotations": {BLUE_GREEN: "track"}}})
            await inbox.see(lambda view: view.gone)
            await there.client.patch_merge(path, {"metadata": {"annotations": {"note": "x"}}})
            await there.client.patch_merge(path, {"metadata": {"annotations": {BLUE_GREEN: LABEL}}})
            await inbox.see(lambda view: not view.gone)
    # A shared cluster has other Services of that kind.
    said = [entry["because"] for entry in logs if entry.get("service") == there.workload.short]
    assert said == [f"its selector has no label track (annotation {BLUE_GREEN})"]


async def test_a_forbidden_switch_is_named(there: BlueGreen) -> None:
    """What the API server forbids is FAILED at once; the check says that the role is short of it."""

    class Forbidden(Patches):
        async def patch_json(self, path: str, ops: Sequence[Json], *, dry_run: bool = False, **options: Any) -> Json:
            reason = 'User "x" cannot patch resource "services"'
            raise Permanent(reason, FaultKind.AUTH, status=403)

    outcome: Outcome = await runner(Forbidden(there.client)).run(there.action())
    assert (outcome.kind, "cannot patch" in outcome.message) == (FAILED, True)
    found = await TargetChecker(Forbidden(there.client)).run(check_of(there.action()))
    assert isinstance(found.result, Checked)
    assert not found.result.check.may_patch
