"""The watcher on the sandbox: first views, rollouts, deletion, recreation, and silence where nothing matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.core.events import Event, WorkloadSeen
from daemon.core.model import StartFailureKind, WorkloadView
from handlers import revisions, views
from handlers.inbound.cluster import ClusterWatch
from handlers.outbound.rollback.template import TemplateRollback
from tests.handlers.rollback_world import PATH, WEB, WallClock, World, manifest, until, world

pytestmark = pytest.mark.real


class Views:
    """An inbox that keeps every view."""

    def __init__(self) -> None:
        self.all: list[WorkloadView] = []

    def put(self, event: Event) -> None:
        assert isinstance(event, WorkloadSeen)
        self.all.append(event.view)

    @property
    def last(self) -> WorkloadView:
        return self.all[-1]


@asynccontextmanager
async def watching(there: World, **options: Any) -> AsyncIterator[tuple[ClusterWatch, Views]]:
    inbox = Views()
    watch = ClusterWatch(there.client, inbox, WallClock(), **options)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(), name=name) for name, run in watch.tasks().items()]
        async with asyncio.timeout(15):
            await watch.synced.wait()
        yield watch, inbox
        assert not any(task.done() for task in tasks), "a watch that ends is a fault"
        for task in tasks:
            task.cancel()


async def seen(inbox: Views, good: Callable[[WorkloadView], Any]) -> WorkloadView:
    return await until(lambda: next((v for v in inbox.all if good(v)), None), lambda v: v) or inbox.last


async def test_first_one_view_each_then_what_matters() -> None:
    """One view after the sync; then a rollout is told from its first moment to its end, with both revisions' pods."""
    async with world() as there, watching(there) as (watch, inbox):
        assert len(inbox.all) == 1
        first = inbox.last
        assert (first.workload, first.current.id, first.converged) == (WEB, there.v2.id, True)
        assert {r.id for r in first.history} == {there.v1.id, there.v2.id}
        assert first.changed_by == "kubectl-set"
        assert first.available_since is not None
        await there.deploy("shop:v3", "pipeline")
        done = await seen(inbox, lambda v: v.converged and v.current.images == ("shop:v3",) and v.current.number == 3)
        assert done.changed_by == "pipeline"
        assert {p.revision for p in done.pods} == {there.v2.id, done.current.id}
        assert done.current.digests
        assert inbox.all[1].current.id == done.current.id
        assert len({v.started_at for v in inbox.all if v.current.id == done.current.id}) == 1
        assert watch.age() < 5


async def test_a_quiet_workload_sends_nothing() -> None:
    """A pod that is replaced or a label on a pod is not the daemon's business while enough others serve."""
    async with world() as there, watching(there) as (_, inbox):
        pods = there.cluster.objects("v1", "pods")
        path = f"/api/v1/namespaces/default/pods/{pods[0]['metadata']['name']}"
        await there.client.patch_merge(path, {"metadata": {"labels": {"note": "x"}}})
        await there.client.patch_merge(PATH, {"metadata": {"labels": {"note": "x"}}})
        await seen(inbox, lambda v: ("note", "x") in v.labels)
        assert len(inbox.all) == 2


async def test_a_rollback_of_ours_is_recognised() -> None:
    """The view that follows our patch carries the action's id; it starts later than the ReplicaSet it took up again."""
    async with world() as there, watching(there) as (_, inbox):
        await TemplateRollback(there.client, WallClock()).run(there.action())
        view = await seen(inbox, lambda v: v.converged and v.current.id == there.v1.id)
        assert view.action_id == "inc-1/roll_back"
        assert view.changed_by == "lastgood"
        born = there.v1.created_at
        assert born is not None
        assert view.started_at >= born
        assert all(v.action_id for v in inbox.all if v.current.id == there.v1.id)


async def test_gone_and_made_anew() -> None:
    """Deleted: one view says so. Made anew under the same name: another uid, a view of its own."""
    async with world() as there, watching(there) as (_, inbox):
        await there.client.delete(PATH)
        gone = await seen(inbox, lambda v: v.gone)
        assert gone.uid == there.uid
        there.cluster.create(manifest("shop:v1"))
        anew = await seen(inbox, lambda v: v.uid != there.uid and v.converged)
        assert not anew.gone
        assert anew.current.id == there.v1.id


async def test_what_vanished_while_nobody_watched_is_reported() -> None:
    """A workload that the journal knows and the cluster does not is gone."""
    async with world() as there, watching(there) as (_, inbox):
        known = replace(inbox.last, workload=replace(WEB, name="former"))
        async with watching(there, known=[known, inbox.last]) as (_, second):
            assert [v.workload.name for v in second.all if v.gone] == ["former"]
            assert len(second.all) == 2


async def test_never_ready_is_told_without_an_event() -> None:
    """Nothing happens in the cluster when a pod's limit passes; the view comes all the same."""
    limit = timedelta(seconds=1)
    async with world() as there, watching(there, never_ready=limit) as (_, inbox):
        await there.deploy("shop:v3-unready")
        view = await seen(inbox, lambda v: v.start_failure)
        assert view.start_failure is not None
        assert view.start_failure.kind is StartFailureKind.NEVER_READY


async def test_crashes_are_told() -> None:
    """A crash loop of the new revision is a start failure of it while the old one still serves."""
    async with world() as there, watching(there) as (watch, inbox):
        await there.deploy("shop:v3-crash")
        view = await seen(inbox, lambda v: v.start_failure)
        assert view.start_failure is not None
        assert view.start_failure.kind is StartFailureKind.CRASH
        assert there.v2.id in view.serving
        assert watch.cache.start_failure(WEB, view.current.id) is not None
        assert watch.cache.start_failure(WEB, there.v2.id) is None


async def test_a_paused_namespace_is_told() -> None:
    """The annotation of the namespace reaches every workload in it."""
    async with world() as there, watching(there) as (_, inbox):
        path = "/api/v1/namespaces/default"
        await there.client.patch_merge(path, {"metadata": {"annotations": {views.PAUSED: "true"}}})
        assert (await seen(inbox, lambda v: v.namespace_paused)).workload == WEB
        await there.client.patch_merge(path, {"metadata": {"annotations": {views.PAUSED: None}}})
        await until(lambda: inbox.last.namespace_paused, lambda paused: not paused)


async def test_cut_watches_lose_nothing() -> None:
    """A rollout that happens while the watches are cut and history is forgotten is seen after all."""
    async with world() as there, watching(there) as (_, inbox):
        there.cluster.go_down()
        there.cluster.faults.down = False
        await there.deploy("shop:v3")
        there.cluster.compact()
        view = await seen(inbox, lambda v: v.converged and v.current.images == ("shop:v3",))
        assert view.current.id == revisions.template_hash(there.web()["spec"]["template"])
