"""The reflectors' stores in Lastgood's own words: implements handlers.cache.ClusterCache and builds WorkloadViews.

Raw objects stay in the stores; here is only what they do not tell any more: when a template became current, how pods
that have vanished were called, since when a pod fails. This memory is bounded per workload, lost on restart (the
journal has what matters of it) and changes only in `note`, which the watcher calls, and in `view`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from daemon.core import stints
from daemon.core.model import (
    Revision,
    RevisionId,
    RevisionPods,
    StartFailure,
    Stint,
    Workload,
    WorkloadView,
)
from handlers import gitops_owners, revisions, views
from handlers import pods as pod_rules
from handlers.cache import PodSeen
from handlers.cluster_stores import Stores
from handlers.kinds import History, Kind, Present, Standing, kind_named, kind_of
from handlers.ownership import owner_of
from handlers.store import Obj

NAMES_MAX = 200
"""Pod names per revision in a view: enough for any query that tells revisions apart, and a fact stays below 20 kB."""

HISTORY_MAX = 50
"""History objects per workload in a view; `revisionHistoryLimit` is 10 by default and rarely above 20."""

DIGESTS_MAX = 50
"""Revisions per workload whose image digests are remembered after their pods are gone."""


@dataclass(slots=True)
class _Memory:
    """What is remembered of one workload, by uid."""

    current: RevisionId | None = None
    started_at: datetime | None = None
    vanished: dict[RevisionId, dict[str, None]] = field(default_factory=dict)
    ended: dict[RevisionId, deque[Stint]] = field(default_factory=dict)
    digests: dict[RevisionId, tuple[str, ...]] = field(default_factory=dict)
    failing: dict[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Hashed:
    """A template, and what was computed of it: hashing costs more than comparing."""

    template: revisions.Json
    id: RevisionId
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A workload with its history (newest number first) and the pods of each revision, looked up once."""

    workload: Obj
    standing: Standing
    present: Present | None
    current: RevisionId
    history: Sequence[Obj]
    pods: Mapping[RevisionId, Sequence[Obj]]

    def of(self, revision: RevisionId) -> Sequence[Obj]:
        """The pods of one revision."""
        return self.pods.get(revision, ())


class ReflectedCluster:
    """The cluster as the watches show it. `clock_now` gives the present in UTC, `age` the seconds since the oldest of
    the watches heard from the API server; `never_ready` is the limit of handlers.pods.start_limits.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        clock_now: Callable[[], datetime],
        age: Callable[[], float],
        never_ready: timedelta = pod_rules.NEVER_READY_AFTER,
    ) -> None:
        self.stores = stores
        self._now = clock_now
        self._age = age
        self._never_ready = never_ready
        self._memories: dict[str, _Memory] = {}
        self._hashes: dict[str, _Hashed] = {}

    # -- ClusterCache ------------------------------------------------------------------------------------------------

    def workload(self, namespace: str, kind: str, name: str) -> Workload | None:
        """The workload of that name; the kind in any case, `deployment` as in labels included."""
        found = kind_named(kind)
        obj = None if found is None else self.stores.workloads[found.name].get(namespace, name)
        return None if obj is None else views.workload_of(obj)

    def workload_of_pod(self, namespace: str, pod: str) -> Workload | None:
        """The workload of a pod, by owner references; of one that vanished, as its name tells."""
        seen = self.stores.pods.get(namespace, pod)
        found = self.stores.workload_of_vanished(namespace, pod) if seen is None else self.stores.workload_of_pod(seen)
        return None if found is None else views.workload_of(found)

    def workloads_of_service(self, namespace: str, service: str) -> Sequence[Workload]:
        """The workloads whose template's labels the Service's selector matches; none for one without a selector."""
        selector = self.stores.selector_of(namespace, service)
        if not selector:
            return ()
        return [
            views.workload_of(each)
            for each in self.stores.workloads_in(namespace)
            if selector.items() <= self._template_labels(each).items()
        ]

    def switches_of(self, workload: Workload) -> Sequence[Workload]:
        """The blue/green Services that have selected this workload."""
        found = self._find(workload)
        services = () if found is None else self.stores.switches_of(found)
        return [views.workload_of(each) for each in services]

    def workloads_by_label(self, namespace: str | None, label: str, value: str) -> Sequence[Workload]:
        """The workloads whose own or template labels hold label=value."""
        stores = self.stores
        held = stores.may_be_labelled(label, value) if namespace is None else stores.workloads_in(namespace)
        named = (each for each in held if value in (_labels(each).get(label), self._template_labels(each).get(label)))
        return list(dict.fromkeys(views.workload_of(each) for each in named))

    def workloads_named(self, name: str) -> Sequence[Workload]:
        """The workloads of that name in all namespaces."""
        return [views.workload_of(each) for each in self.stores.workloads_named(name)]

    def workloads_in(self, namespace: str) -> Sequence[Workload]:
        """All workloads of a namespace."""
        return [views.workload_of(each) for each in self.stores.workloads_in(namespace)]

    def pods_of(self, workload: Workload, revision: RevisionId | None = None) -> Sequence[PodSeen]:
        """The pods of a workload, terminating ones included."""
        found = self._find(workload)
        if found is None:
            return ()
        seen = self._see(found)
        chosen = seen.pods.items() if revision is None else [(revision, seen.of(revision))]
        return [pod_rules.pod_seen(pod, rev) for rev, pods in chosen for pod in pods]

    def start_failure(self, workload: Workload, revision: RevisionId) -> StartFailure | None:
        """How the revision's pods fail to start, None where they do not."""
        found = self._find(workload)
        return None if found is None else self._start_failure(self._see(found), revision)

    def available_since(self, workload: Workload) -> datetime | None:
        """Since when enough pods of the current revision are ready, None if they are not now."""
        found = self._find(workload)
        return None if found is None else _available_since(self._see(found))

    def freshness(self, now: datetime) -> float:
        """Seconds since the oldest watch heard from the API server. Watches count on the loop's clock, not on `now`."""
        return self._age()

    # -- what the watcher needs --------------------------------------------------------------------------------------

    def note_vanished(self, pod: Obj) -> None:
        """A pod is gone: keep its name while its rollout is the latest, and when it was where the name is given again.

        Also of a pod that was replaced under its name before anybody told us that it went (Store.put).
        """
        found = self.stores.workload_of_pod(pod)
        if found is None:
            return
        memory, name = self._memory(found), pod["metadata"]["name"]
        memory.failing.pop(name, None)
        kept = self.stores.history_of_pod(pod)
        if kept is None:
            return
        revision = self._hash(kept).id
        names = memory.vanished.setdefault(revision, {})
        names[name] = None
        if len(names) > NAMES_MAX:
            del names[next(iter(names))]
        if not kind_of(found).generates:
            stint = pod_rules.stint_of(pod_rules.pod_seen(pod, revision), until=self._now())
            memory.ended.setdefault(revision, deque(maxlen=stints.STINTS_MAX)).append(stint)

    def forget(self, uid: str) -> None:
        """An object is gone: drop what was remembered of it."""
        self._memories.pop(uid, None)
        self._hashes.pop(uid, None)

    def can_tell(self, workload: Obj) -> bool:
        """Whether it is known which template is the present one; of some kinds the controller has to say first."""
        return self._see(workload).present is not None

    def view(self, workload: Obj) -> WorkloadView:
        """The whole view of a workload that is in the store; only where `can_tell`."""
        metadata = workload["metadata"]
        seen = self._see(workload)
        memory = self._advance(seen)
        mode, mode_invalid = views.mode_of(workload)
        history = self._history(memory, seen.history)
        back = kind_of(workload).abort_to(workload, seen.history)
        owner = owner_of(workload, self.stores.master_of(workload))
        gitops = gitops_owners.answer(self.stores.gitops, workload, owner)
        return WorkloadView(
            workload=views.workload_of(workload),
            uid=metadata["uid"],
            generation=int(metadata.get("generation") or 0),
            current=next((r for r in history if r.id == seen.current), None) or self._revision(memory, workload),
            history=history,
            pods=_revision_pods(memory, seen),
            desired=seen.standing.desired,
            converged=seen.standing.converged and _all_seen(seen),
            started_at=memory.started_at or self._now(),
            available_since=_available_since(seen),
            stuck=seen.standing.stuck,
            paused=seen.standing.paused,
            start_failure=self._start_failure(seen, seen.current),
            labels=tuple(sorted(_labels(workload).items())),
            mode=mode,
            mode_invalid=mode_invalid,
            namespace_paused=views.is_namespace_paused(self.stores.namespaces.get("", metadata["namespace"])),
            owner=owner,
            owner_yields=gitops.yields,
            owner_note=gitops.note,
            changed_by=revisions.changed_by(workload),
            action_id=views.action_on(workload, seen.current),
            irreversible=views.is_irreversible(workload),
            exchange=seen.standing.exchange,
            abort_to=None if back is None else self._hash(back).id,
        )

    def next_change(self, workload: Obj) -> datetime | None:
        """When the view will change without any event: the next pod that passes its never-ready limit."""
        seen, now = self._see(workload), self._now()
        limits = self._limits(seen, seen.current)
        times = (pod_rules.never_ready_at(pod, limits) for pod in seen.of(seen.current))
        return min((at for at in times if at is not None and at > now), default=None)

    # -- parts -------------------------------------------------------------------------------------------------------

    def _find(self, workload: Workload) -> Obj | None:
        store = self.stores.workloads.get(workload.kind)
        return None if store is None else store.get(workload.namespace, workload.name)

    def _template_labels(self, workload: Obj) -> dict[str, str]:
        template = revisions.template_of(workload)
        if not template and (present := self._see(workload).present) is not None:
            template = revisions.template_of(present.obj)
        return (template.get("metadata") or {}).get("labels") or {}

    def _memory(self, workload: Obj) -> _Memory:
        return self._memories.setdefault(workload["metadata"]["uid"], _Memory())

    def _hash(self, obj: revisions.Json) -> _Hashed:
        """Id and content hash of the object's template, computed anew only when the template changed."""
        uid, template = obj["metadata"]["uid"], revisions.template_of(obj)
        known = self._hashes.get(uid)
        if known is None or known.template != template:
            known = _Hashed(template, revisions.template_hash(template), revisions.content_hash(template))
            self._hashes[uid] = known
        return known

    def _see(self, workload: Obj) -> _Seen:
        """What the stores hold of a workload; the pods of a revision in the order of their names."""
        kind = kind_of(workload)
        history = self.stores.history_of(kind, workload)[:HISTORY_MAX]
        present = kind.present(workload, history)
        found: dict[RevisionId, list[Obj]] = {}
        for each, mine in self.stores.pods_by_history(workload, history):
            found.setdefault(self._hash(each).id, []).extend(mine)
        return _Seen(
            workload=workload,
            standing=(present and present.standing) or kind.standing(workload),
            present=present,
            current=self._hash(workload if present is None else present.obj).id,
            history=history,
            pods={rev: sorted(pods, key=lambda p: str(p["metadata"]["name"])) for rev, pods in found.items()},
        )

    def _advance(self, seen: _Seen) -> _Memory:
        """Bring the memory up to date with what the stores show now."""
        memory = self._memory(seen.workload)
        if memory.current != seen.current:
            _forget_vanished(memory, kind_of(seen.workload))
            memory.failing = {}
            memory.current = seen.current
            memory.started_at = self._started_at(seen, memory.started_at)
        for each in seen.history:
            rev = self._hash(each).id
            digests = revisions.digests_of(revisions.template_of(each), seen.of(rev))
            if digests:
                memory.digests.pop(rev, None)
                memory.digests[rev] = digests
        while len(memory.digests) > DIGESTS_MAX:
            del memory.digests[next(iter(memory.digests))]
        return memory

    def _started_at(self, seen: _Seen, before: datetime | None) -> datetime:
        """When the present template became current; never `before` the one that we saw before it."""
        if seen.present is not None and seen.present.returned:
            since = revisions.parse_time(seen.present.since)
            return since if since is not None and (before is None or since > before) else self._now()
        return revisions.started_at(seen.workload, seen.history, self._now(), seen.current)

    def _history(self, memory: _Memory, history: Sequence[Obj]) -> tuple[Revision, ...]:
        """One Revision per template, newest number first."""
        found: dict[RevisionId, Revision] = {}
        for each in history:
            if "deletionTimestamp" not in each["metadata"]:
                revision = self._revision(memory, each)
                found.setdefault(revision.id, revision)
        return tuple(found.values())

    def _revision(self, memory: _Memory, obj: Obj) -> Revision:
        hashed = self._hash(obj)
        return revisions.revision_of(obj, digests=memory.digests.get(hashed.id, ()), hashed=(hashed.id, hashed.content))

    def _limits(self, seen: _Seen, revision: RevisionId) -> pod_rules.StartLimits:
        kept = next((each for each in seen.history if self._hash(each).id == revision), seen.workload)
        deadline = (seen.workload.get("spec") or {}).get("progressDeadlineSeconds")
        seconds = pod_rules.PROGRESS_DEADLINE_SECONDS if deadline is None else int(deadline)
        return pod_rules.start_limits(revisions.template_of(kept), seconds, self._never_ready)

    def _start_failure(self, seen: _Seen, revision: RevisionId) -> StartFailure | None:
        """The failure with `since` of the first time it was seen: of a crash loop, pods tell only the latest crash."""
        memory, limits, now = self._memory(seen.workload), self._limits(seen, revision), self._now()
        able = [pod for pod in seen.of(revision) if pod_rules.is_able(pod)]
        failures = []
        for pod in able:
            failure = pod_rules.pod_failure(pod, limits, now)
            if failure is None:
                memory.failing.pop(pod["metadata"]["name"], None)
            else:
                since = min(memory.failing.get(failure.pod, failure.since), failure.since)
                memory.failing[failure.pod] = since
                failures.append(replace(failure, since=since))
        return pod_rules.summary(failures, len(able))


def _all_seen(seen: _Seen) -> bool:
    """Whether the watch of pods has caught up with the set's status: what is journalled at the end of a rollout must name every
    pod, because by names that are given again nobody can tell it later.
    """
    shown = sum(len(pods) for pods in seen.pods.values())
    return kind_of(seen.workload).generates or shown >= seen.standing.desired


def _forget_vanished(memory: _Memory, kind: Kind) -> None:
    """What vanished in the rollout before this one is in the journal.

    Not what ran the revision that was current until now: the first of its pods may be gone before anybody looked, and where no
    ReplicaSet's name finds them their names and times are all there is.
    """
    kept = memory.current if kind.history is History.CONTROLLER_REVISIONS else None
    memory.vanished = {revision: names for revision, names in memory.vanished.items() if revision == kept}
    memory.ended = {revision: ended for revision, ended in memory.ended.items() if revision == kept}


def _revision_pods(memory: _Memory, seen: _Seen) -> tuple[RevisionPods, ...]:
    """Names and ready counts per revision, the current one first, vanished pods of this rollout included."""
    found, lives = [], _stints(memory, seen)
    for rev in dict.fromkeys([seen.current, *seen.pods, *memory.vanished]):
        pods = [pod_rules.pod_seen(pod, rev) for pod in seen.of(rev)]
        names = [p.name for p in pods if p.ready] + [p.name for p in pods if not p.ready]
        # Of those that vanished the latest first: with too many, the ones that served longest ago are left out.
        names += list(reversed(memory.vanished.get(rev, {})))
        if names:
            kept = tuple(sorted(dict.fromkeys(names[:NAMES_MAX])))
            ready = sum(p.ready for p in pods) if rev == seen.current or not kind_of(seen.workload).selects else 0
            found.append(RevisionPods(revision=rev, names=kept, ready=ready, stints=lives.get(rev, ())))
    return tuple(found)


def _stints(memory: _Memory, seen: _Seen) -> Mapping[RevisionId, tuple[Stint, ...]]:
    """When each name ran each revision; nothing where every pod has a name of its own."""
    if kind_of(seen.workload).generates:
        return {}
    lives: dict[RevisionId, list[Stint]] = {rev: list(ended) for rev, ended in memory.ended.items()}
    for rev, pods in seen.pods.items():
        lives.setdefault(rev, []).extend(pod_rules.stint_of(pod_rules.pod_seen(pod, rev)) for pod in pods)
    return {rev: stints.newest(found) for rev, found in stints.settled(lives).items()}


def _available_since(seen: _Seen) -> datetime | None:
    pods = [pod_rules.pod_seen(pod, seen.current) for pod in seen.of(seen.current)]
    return pod_rules.available_since(pods, seen.standing.desired, seen.standing.max_unavailable)


def _labels(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}
