"""Watches the cluster and tells the daemon how each workload looks, once at the start and whenever something matters.

Level-triggered: a view says everything of a workload, so no delta can be lost by a restart, a relist or a cut watch.
Many events of one workload within DEBOUNCE_SECONDS become one view, and a view like the last one is not sent at all: a
cluster with 5,000 workloads has thousands of pod events a minute, of which a quiet hour needs none.
"""

from __future__ import annotations

import asyncio
import random as chance
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import inf
from typing import Any, NoReturn

import structlog

from daemon.core.events import WorkloadSeen
from daemon.core.model import Owner, OwnerKind, Workload, WorkloadKey, WorkloadView
from daemon.ports import Clock, Inbox
from handlers import gitops_owners, store, views
from handlers import pods as pod_rules
from handlers.cluster_cache import ReflectedCluster
from handlers.cluster_stores import NOTHING, Stores, driven_by
from handlers.faults import Fault, Permanent
from handlers.gitops_owners import Source, Sources
from handlers.kinds import KINDS, SERVICE, WATCHED, History, Kind
from handlers.kinds.rollout import workload_ref
from handlers.kinds.service import is_switched, label_of, why_not
from handlers.kube import resource_path
from handlers.ownership import owner_of
from handlers.reflector import ListWatch, Reflector
from handlers.store import Change, Obj

DEBOUNCE_SECONDS = 0.02
"""How long events of one workload are collected: a rollout's step writes Deployment, ReplicaSet and pods at once."""

BATCH = 10
"""Views built before others get a turn: about 10 ms with ten revisions each, much less than any time limit of ours."""

_log = structlog.get_logger(__name__)

_Project = Callable[[Obj], Obj]


@dataclass(frozen=True, slots=True)
class _Sent:
    """The view sent last, and what of it was significant."""

    view: WorkloadView
    significant: WorkloadView


class ClusterWatch:
    """Runs the reflectors and sends views. `tasks` go to the supervisor; `cache` answers everybody else.

    `known` are the views that the journal holds: a workload of theirs that is not there after the first sync is
    reported gone. `random` gives [0, 1) and spreads the watches. `on_fault(collection, fault)` hears every failure.
    Optional `kinds` may be unknown to the cluster. With `flagger` its Canaries are read, too, where there are any: they
    tell which workloads are driven by them; with `gitops` the objects of Argo CD and Flux (`handlers.gitops_owners`).
    """

    def __init__(
        self,
        client: ListWatch,
        inbox: Inbox,
        clock: Clock,
        *,
        known: Iterable[WorkloadView] = (),
        random: Callable[[], float] = chance.random,
        on_fault: Callable[[str, Fault], None] = lambda _collection, _fault: None,
        never_ready: timedelta = pod_rules.NEVER_READY_AFTER,
        debounce_seconds: float = DEBOUNCE_SECONDS,
        kinds: Sequence[Kind] = WATCHED,
        flagger: bool = False,
        gitops: bool = False,
    ) -> None:
        self._inbox = inbox
        self._clock = clock
        self._debounce = debounce_seconds
        self._sent: dict[WorkloadKey, _Sent] = {}
        self._known = {view.workload.key: view for view in known if not view.gone}
        self._dirty: dict[WorkloadKey, Workload] = {}
        self._wakes: dict[WorkloadKey, tuple[datetime, Workload]] = {}
        self._ring = asyncio.Event()
        self.synced = asyncio.Event()
        """Set once every collection was read and the first views of all workloads are in the inbox."""
        make = partial(_reflector, client=client, random=random, on_fault=on_fault)
        kept = dict.fromkeys(kind.history for kind in kinds)
        workloads = {
            kind: make(kind.api_version, kind.plural, self._workload_changed, _of(kind), optional=kind.optional)
            for kind in kinds
        }
        history = {each: make("apps/v1", each.value, self._history_changed, _without_managers) for each in kept}
        self.reflectors: dict[str, Reflector] = {
            **{kind.plural: reflector for kind, reflector in workloads.items()},
            **{each.value: reflector for each, reflector in history.items()},
            "pods": make("v1", "pods", self._pod_changed, store.pod),
            "services": make("v1", "services", self._service_changed, _service),
            "configmaps": make("v1", "configmaps", _ignore, store.metadata_only, metadata_only=True),
            "namespaces": make("v1", "namespaces", self._namespace_changed, store.metadata_only, metadata_only=True),
        }
        if flagger:
            self.reflectors["canaries"] = make(
                "flagger.app/v1beta1", "canaries", self._canary_changed, _without_managers, optional=True
            )
        for plural, version in (gitops_owners.API_VERSIONS if gitops else {}).items():
            changed = partial(self._declared_changed, plural)
            self.reflectors[plural] = make(version, plural, changed, _declared(plural), optional=True)
        self.cache = ReflectedCluster(
            self._stores(kinds),
            clock_now=clock.now,
            age=self.age,
            never_ready=never_ready,
        )

    def _stores(self, kinds: Sequence[Kind]) -> Stores:
        """What the reflectors hold; nothing of what is not watched."""
        held = {plural: reflector.store for plural, reflector in self.reflectors.items()}
        return Stores(
            workloads=dict.fromkeys(KINDS, NOTHING)
            | {kind.name: held[kind.plural] for kind in kinds}
            | {SERVICE.name: store.Store()},
            history={each: held.get(each.value, NOTHING) for each in History},
            pods=held["pods"],
            services=held["services"],
            configs=held["configmaps"],
            namespaces=held["namespaces"],
            canaries=held.get("canaries", NOTHING),
            gitops=Sources(
                by_plural={
                    plural: _source(self.reflectors[plural])
                    for plural in gitops_owners.API_VERSIONS
                    if plural in self.reflectors
                }
            ),
        )

    def tasks(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What must run for ever, by name: a reflector per collection, and the sender of views."""
        reflectors = {f"reflector {name}": reflector.run for name, reflector in self.reflectors.items()}
        return {**reflectors, "cluster views": self.run}

    def age(self) -> float:
        """Seconds since the oldest of the watches heard from the API server; inf before the first sync of all."""
        return max((reflector.freshness() for reflector in self.reflectors.values()), default=inf)

    async def run(self) -> NoReturn:
        """Send views for ever."""
        for reflector in self.reflectors.values():
            await reflector.synced.wait()
        for each in self.cache.stores.all_workloads():
            self._touch(each)
        self._report_lost()
        await self._flush()
        self.synced.set()
        while True:
            await self._wait()
            await self._flush()

    async def _wait(self) -> None:
        """Until something changed (and a moment more, for what comes with it), or a pod's never-ready limit passed."""
        seconds = None
        if self._wakes:
            first = min(at for at, _ in self._wakes.values())
            seconds = max(0.0, (first - self._clock.now()).total_seconds())
        try:
            async with asyncio.timeout(seconds):
                await self._ring.wait()
        except TimeoutError:
            now = self._clock.now()
            self._dirty.update((key, workload) for key, (at, workload) in self._wakes.items() if at <= now)
        else:
            await asyncio.sleep(self._debounce)
        self._ring.clear()

    async def _flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for number, workload in enumerate(dirty.values(), start=1):
            self._look(workload)
            if number % BATCH == 0:
                await asyncio.sleep(0)

    def _look(self, workload: Workload) -> None:
        """Compare a workload with what was sent of it, and send what is new."""
        key = workload.key
        obj = self.cache.stores.workloads[workload.kind].get(workload.namespace, workload.name)
        before = self._sent.get(key)
        self._wakes.pop(key, None)
        if before is not None and (obj is None or before.view.uid != obj["metadata"]["uid"]):
            del self._sent[key]
            self._send_gone(before.view)
            before = None
        if obj is None or not self.cache.can_tell(obj):
            return
        view = self.cache.view(obj)
        wake = self.cache.next_change(obj)
        if wake is not None:
            self._wakes[key] = (wake, workload)
        significant = views.significant(view, moving=not view.converged)
        if before is None or before.significant != significant:
            self._sent[key] = _Sent(view, significant)
            self._inbox.put(WorkloadSeen(at=self._clock.now(), view=view))

    def compare(self, known: Iterable[WorkloadView]) -> None:
        """Report as gone what is in `known` and not in the cluster: for who takes over another's journal, once synced."""
        self._known = {view.workload.key: view for view in known if not view.gone}
        self._report_lost()

    def _report_lost(self) -> None:
        """Workloads that were deleted while nobody watched."""
        present = {views.workload_of(each).key for each in self.cache.stores.all_workloads()}
        unread = {name for name, kind in KINDS.items() if self._is_forbidden(kind.plural)}
        for key, view in self._known.items():
            if key not in present and view.workload.kind not in unread:
                self._send_gone(view)
        self._known = {}

    def _is_forbidden(self, plural: str) -> bool:
        return plural in self.reflectors and self.reflectors[plural].forbidden

    def _send_gone(self, view: WorkloadView) -> None:
        self._inbox.put(WorkloadSeen(at=self._clock.now(), view=replace(view, gone=True)))

    def _touch(self, obj: Obj | None) -> None:
        if obj is not None:
            workload = views.workload_of(obj)
            self._dirty[workload.key] = workload
            self._ring.set()
            for service in self.cache.stores.switched_to(obj):
                self._touch(service)

    def _workload_changed(self, change: Change, old: Obj | None, new: Obj | None) -> None:
        if change is Change.DELETED and old is not None:
            self.cache.forget(old["metadata"]["uid"])
        for each in (old, new):  # what it was a colour of is told by its labels then and now
            self._touch(each)
        for each in (old, new):
            if each is not None and (ref := workload_ref(each)) is not None:
                self._touch_named(each, str(ref.get("kind")), str(ref["name"]))

    def _service_changed(self, _change: Change, old: Obj | None, new: Obj | None) -> None:
        """Those that are switched between colours are workloads, for as long as they say so."""
        switched = self.cache.stores.workloads[SERVICE.name]
        if new is not None and is_switched(new):
            switched.put(new)
            self._touch(new)
            return
        if new is not None and label_of(new) is not None and (old is None or why_not(old) != why_not(new)):
            name = f"{new['metadata']['namespace']}/{new['metadata']['name']}"
            _log.warning("blue_green_ignored", service=name, because=why_not(new))
        if (gone := new or old) is not None and (known := switched.by_uid(store.uid_of(gone))) is not None:
            switched.remove(known)
            self.cache.forget(store.uid_of(known))
            self._touch(known)

    def _canary_changed(self, _change: Change, old: Obj | None, new: Obj | None) -> None:
        for each in (old, new):
            if each is not None:
                for kind, name in driven_by(each):
                    self._touch_named(each, kind, name)

    def _declared_changed(self, plural: str, _change: Change, old: Obj | None, new: Obj | None) -> None:
        """What Argo CD or Flux does about drift may have changed, for the workloads that the object writes."""
        if gitops_owners.is_same(old, new):
            return
        for each in (old, new):
            if each is None:
                continue
            if plural == gitops_owners.APPLICATIONS:
                for kind, namespace, name in gitops_owners.workloads_of(each):
                    self._touch(self.cache.stores.workloads[kind].get(namespace, name))
            else:
                owner = Owner(kind=OwnerKind.FLUX, name=gitops_owners.flux_name(plural, each))
                for workload in self.cache.stores.all_workloads():
                    if owner_of(workload) == owner:
                        self._touch(workload)

    def _touch_named(self, beside: Obj, kind: str, name: str) -> None:
        """A workload that another object drives, in the namespace of that one."""
        held = self.cache.stores.workloads.get(kind)
        if held is not None:
            self._touch(held.get(beside["metadata"]["namespace"], name))

    def _history_changed(self, change: Change, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        if obj is None:
            return
        if change is Change.DELETED:
            self.cache.forget(obj["metadata"]["uid"])
        self._touch(self.cache.stores.controller_of(obj))

    def _pod_changed(self, change: Change, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        if obj is None:
            return
        if change is Change.DELETED:
            self.cache.note_vanished(obj)
        self._touch(self.cache.stores.workload_of_pod(obj))

    def _namespace_changed(self, _change: Change, old: Obj | None, new: Obj | None) -> None:
        if views.is_namespace_paused(old) == views.is_namespace_paused(new):
            return
        name = (new or old or {})["metadata"]["name"]
        for each in self.cache.stores.workloads_in(name):
            self._touch(each)


def _of(kind: Kind) -> _Project:
    """Items of a list do not say their kind; a workload in the store always does."""

    def project(obj: Obj) -> Obj:
        return store.whole({**obj, "kind": kind.name})

    return project


def _reflector(
    api_version: str,
    plural: str,
    on_change: Callable[[Change, Obj | None, Obj | None], None],
    project: _Project,
    *,
    client: ListWatch,
    random: Callable[[], float],
    on_fault: Callable[[str, Fault], None],
    metadata_only: bool = False,
    optional: bool = False,
) -> Reflector:
    return Reflector(
        client,
        resource_path(api_version, plural),
        on_change=on_change,
        random=random,
        project=project,
        metadata_only=metadata_only,
        optional=optional,
        on_fault=partial(on_fault, plural),
    )


def _service(obj: Obj) -> Obj:
    """Items of a list do not say their kind."""
    return store.whole({**obj, "kind": SERVICE.name}, keep=store.SELECTOR_FIELDS)


def _declared(plural: str) -> _Project:
    return gitops_owners.application if plural == gitops_owners.APPLICATIONS else gitops_owners.flux_object


def _source(reflector: Reflector) -> Source:
    """Whether it may be read is asked anew each time: rights come and go."""
    return Source(
        store=reflector.store,
        readable=lambda: not reflector.forbidden and not isinstance(reflector.last_fault, Permanent),
    )


def _without_managers(obj: Obj) -> Obj:
    return store.whole(obj, keep=None)


def _ignore(_change: Change, _old: Obj | None, _new: Obj | None) -> None:
    """ConfigMaps are looked up when asked for; nobody waits for their changes."""
