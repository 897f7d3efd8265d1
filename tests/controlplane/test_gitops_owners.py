"""Argo CD and Flux as the real API server shows them: the views follow their objects, and who writes a rollback back is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from daemon.core.actions import Page, RolledBack
from daemon.core.decide import decide
from daemon.core.events import WorkloadSeen
from daemon.core.evolution import replay
from daemon.core.facts import ActionOwed, Fact, IncidentOpened, LedgerWritten, WorkloadRecorded
from daemon.core.incidents import Incident, Phase
from daemon.core.ledger import LedgerEntry
from daemon.core.model import IncidentId, Mode, OnsetSource, OwnerKind, Rung, Severity, WorkloadView
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from daemon.core.state import State
from handlers import reflector
from handlers.inbound.cluster import ClusterWatch
from handlers.kinds import DEPLOYMENT
from handlers.outbound.rollback.template import TemplateRollback
from tests.controlplane import definitions
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import Rollout, rolled_out
from tests.controlplane.workloads import Json, path
from tests.handlers.rollback_world import WallClock
from tests.handlers.test_cluster_watch import Views

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = definitions.SINCE
SECONDS = 60.0
MERGE = "application/merge-patch+json"
OBJECTS = {
    "applications": "/apis/argoproj.io/v1alpha1",
    "kustomizations": "/apis/kustomize.toolkit.fluxcd.io/v1",
    "helmreleases": "/apis/helm.toolkit.fluxcd.io/v2",
}


@pytest.fixture
def plane(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    """All three kinds are defined."""
    monkeypatch.setattr(reflector, "ABSENT_SECONDS", (0.1, 0.2))
    for name in OBJECTS:
        definitions.define(control_plane, definitions.CRDS / f"{name}.yaml")
    return control_plane


@asynccontextmanager
async def watching(there: Rollout) -> AsyncIterator[Views]:
    inbox = Views()
    watch = ClusterWatch(there.client, inbox, WallClock(), kinds=(DEPLOYMENT,), gitops=True)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(), name=name) for name, run in watch.tasks().items()]
        async with asyncio.timeout(SECONDS):
            await watch.synced.wait()
        yield inbox
        for task in tasks:
            task.cancel()


async def last(inbox: Views, there: Rollout, good: Callable[[WorkloadView], bool]) -> WorkloadView:
    """The newest view of the Deployment once it is good."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = [view for view in inbox.all if view.workload == there.workload]
            if found and good(found[-1]):
                return found[-1]
            await asyncio.sleep(0.02)


def ask(there: Rollout, method: str, where: str, body: object = None, kind: str = "application/json") -> Json:
    status, answer = there.plane.ask(method, where, body, kind=kind)
    assert status < 300, answer
    return answer


def collection(there: Rollout, plural: str) -> str:
    return f"{OBJECTS[plural]}/namespaces/{there.namespace}/{plural}"


def mark(there: Rollout, **metadata: Json) -> None:
    """Gives the Deployment an owner's marks."""
    ask(there, "PATCH", path(there.namespace, "deployments", "web"), {"metadata": metadata}, MERGE)


def declare(there: Rollout, plural: str, kind: str, spec: Json, **more: Json) -> str:
    """Makes the owner's object `shop`; its address."""
    version = OBJECTS[plural].removeprefix("/apis/")
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": "shop"}, "spec": spec, **more}
    ask(there, "POST", collection(there, plural), body)
    return f"{collection(there, plural)}/shop"


def application(there: Rollout) -> str:
    """The Application `shop`, with self-heal, which lists the Deployment and tracks it."""
    listed = {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": there.namespace, "name": "web"}
    spec = {
        "destination": {"server": "https://kubernetes.default.svc", "namespace": there.namespace},
        "syncPolicy": {"automated": {"selfHeal": True}},
    }
    tracking = {"argocd.argoproj.io/tracking-id": f"shop:apps/Deployment:{there.namespace}/web"}
    mark(there, annotations=tracking)
    return declare(there, "applications", "Application", spec, status={"resources": [listed]})


async def test_the_view_follows_the_application(plane: ControlPlane, namespace: str) -> None:
    """With self-heal it does not yield, without it does, from the moment the Application says so; gone, it is not found."""
    async with rolled_out(plane, namespace) as there, watching(there) as inbox:
        await last(inbox, there, lambda view: view.owner is None)
        where = await asyncio.to_thread(application, there)
        view = await last(inbox, there, lambda view: "self-heal is on" in view.owner_note)
        assert view.owner is not None
        assert (view.owner.kind, view.owner.name, view.owner_yields) == (OwnerKind.ARGO_CD, "shop", False)
        off = {"spec": {"syncPolicy": {"automated": {"selfHeal": False}}}}
        await asyncio.to_thread(ask, there, "PATCH", where, off, MERGE)
        await last(inbox, there, lambda view: view.owner_yields and "self-heal is off" in view.owner_note)
        await asyncio.to_thread(ask, there, "DELETE", where)
        await last(inbox, there, lambda view: not view.owner_yields and "no Application" in view.owner_note)


@pytest.mark.parametrize(
    ("plural", "kind", "prefix", "spec", "before", "change", "after"),
    [
        (
            "kustomizations", "Kustomization", "kustomize", {"interval": "5m"},
            (False, "at every interval"), {"suspend": True}, (True, "is suspended"),
        ),
        (
            "helmreleases", "HelmRelease", "helm", {"interval": "5m"},
            (True, "drift detection is off"), {"driftDetection": {"mode": "enabled"}}, (False, "is enabled"),
        ),
    ],
)  # fmt: skip
async def test_the_view_follows_flux(
    plane: ControlPlane,
    namespace: str,
    plural: str,
    kind: str,
    prefix: str,
    spec: Json,
    before: tuple[bool, str],
    change: Json,
    after: tuple[bool, str],
) -> None:
    """A Kustomization yields while it is suspended, a HelmRelease until drift detection is on."""
    labels = {f"{prefix}.toolkit.fluxcd.io/name": "shop", f"{prefix}.toolkit.fluxcd.io/namespace": namespace}
    async with rolled_out(plane, namespace) as there, watching(there) as inbox:
        await asyncio.to_thread(mark, there, labels=labels)
        await last(inbox, there, lambda view: f"there is no {kind}" in view.owner_note)
        where = await asyncio.to_thread(declare, there, plural, kind, spec)
        await last(inbox, there, lambda view: view.owner_yields is before[0] and before[1] in view.owner_note)
        await asyncio.to_thread(ask, there, "PATCH", where, {"spec": change}, MERGE)
        await last(inbox, there, lambda view: view.owner_yields is after[0] and after[1] in view.owner_note)


async def test_a_controller_that_writes_it_back_is_told_and_not_fought(plane: ControlPlane, namespace: str) -> None:
    """The bad template comes back after our patch, as by self-heal: the incident goes to a person, with who wrote it."""
    async with rolled_out(plane, namespace) as there, watching(there) as inbox:
        await asyncio.to_thread(application, there)
        bad = ask(there, "GET", path(namespace, "deployments", "web"))["spec"]["template"]
        await last(inbox, there, lambda view: "self-heal is on" in view.owner_note)
        done = await TemplateRollback(there.client, WallClock()).run(there.action())
        assert isinstance(done.result, RolledBack)
        assert any("argocd app history shop" in warning for warning in done.result.warnings)
        rolled_back = await last(inbox, there, lambda view: view.current.id == there.first.id)
        state = _verifying(there, rolled_back, done.result)
        await _next_second(done.result.patched_at)
        heal = f"{path(namespace, 'deployments', 'web')}?fieldManager=argocd-controller"
        await asyncio.to_thread(ask, there, "PATCH", heal, {"spec": {"template": bad}}, MERGE)
        view = await last(inbox, there, lambda view: view.current.id == there.second.id)
        facts = decide(state, WorkloadSeen(at=WallClock().now(), view=view), now=WallClock().now(), policy=POLICY)
    (incident,) = replay(facts, state).incidents.values()
    assert (incident.phase, incident.reason) == (Phase.ESCALATED, Reason.REVERTED)
    owed = [fact.action for fact in facts if isinstance(fact, ActionOwed)]
    (page,) = [action for action in owed if isinstance(action, Page)]
    assert "field manager argocd-controller (Argo CD application shop)" in page.brief.update
    assert not any(action.kind == "roll_back" for action in owed)
    assert not any(action.id.startswith("came_back/") for action in owed)


POLICY = Policy(cluster="test", default_mode=Mode.AUTO)


async def _next_second(after: datetime) -> None:
    """Field managers are dated in whole seconds: of two writers in one nobody can tell the later."""
    while WallClock().now() < after + timedelta(seconds=1.1):
        await asyncio.sleep(0.02)


def _verifying(there: Rollout, view: WorkloadView, done: RolledBack) -> State:
    """An incident whose rollback was carried out and is being verified."""
    now = done.patched_at
    incident = Incident(
        id=IncidentId("inc-1"),
        symptom=there.workload,
        scope=(there.workload,),
        rung=Rung.EXPLICIT,
        opened_at=now,
        onset=now - timedelta(minutes=1),
        onset_source=OnsetSource.RULE,
        severity=Severity.CRITICAL,
        alerts=(),
        phase=Phase.VERIFYING,
        phase_since=now,
        suspect=there.workload,
        blamed=there.second,
        replaced=there.first,
        target=there.first,
        patched_at=now,
        patched_generation=done.generation,
    )
    entry = LedgerEntry(revision=there.second, quarantined_by="inc-1")
    facts: list[Fact] = [
        WorkloadRecorded(at=now, view=replace(view, converged=True)),
        IncidentOpened(at=now, incident=incident),
        LedgerWritten(at=now, workload=there.workload.key, entry=entry, what="quarantined", because="a test"),
    ]
    return replay(facts, State())
