"""The cluster as a recording has shown it so far: workloads, their revisions and pods. Answers like the daemon's watch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from daemon.core.model import (
    Revision,
    RevisionId,
    RevisionPods,
    StartFailure,
    StartFailureKind,
    Stint,
    Workload,
    WorkloadView,
)
from handlers.backtest.lives import ENDS, Life, Pod, workload_named
from handlers.backtest.recording import EARLIEST, PodSeen, RolloutSeen

PROGRESS_DEADLINE = timedelta(minutes=10)
"""Kubernetes' default; a recording does not tell it."""

LOST_TOGETHER = 2
"""Other workloads that lost a pod: two at the same moment are no chance, and no rollout of a third one either."""

LOST_WITHIN = timedelta(minutes=1)
"""Of each other: the node controller marks the pods of a lost node within seconds."""

AT_ONCE = timedelta(seconds=1)
"""Of each other: then one other workload is enough, for what a rollout takes away is gone half a minute later."""

BEFORE_THE_RECORDING = timedelta(days=1)
"""How long what a recording finds in place is taken to have been there."""

_HISTORY_MAX = 10


class RecordedCluster:
    """Fed in time order. Everything is as of the last record that was fed."""

    def __init__(self) -> None:
        self._lives: dict[str, Life] = {}
        self._changed: set[str] = set()
        self._exchanging: set[str] = set()
        self._by_samples: set[str] = set()

    # -- what happens

    def rollout(self, record: RolloutSeen) -> bool:
        """A rollout goes on; whether this is the first that is heard of it, in whatever phase that is."""
        life = self._lives.get(record.workload)
        if life is None:
            life = self._life(record.workload, record.replaces or record.revision, record.at - BEFORE_THE_RECORDING)
        if not life.revision:
            life.was(record.replaces or record.revision)
        self._changed.add(record.workload)
        if record.phase == "completed":
            life.completed = life.completed or record.revision == life.revision
        if record.revision == life.revision and not _was_under_way(life, record):
            return False
        life.desired = max(len(life.alive(life.revision)), 1) if life.completed else life.desired
        life.replaces, life.revision = record.replaces or life.revision, record.revision
        life.started_at, life.completed = _begun(life, record), record.phase == "completed"
        life.begins()
        life.rollouts += 1
        life.revisions.append(record.revision)
        return True

    def pod(self, record: PodSeen) -> None:
        """A pod changed."""
        life = self._lives.get(record.workload)
        if life is None:
            life = self._life(record.workload, record.revision, record.at - BEFORE_THE_RECORDING)
        if not life.revision:
            life.was(record.revision)
        self._changed.add(record.workload)
        pod = life.pods.get(record.pod)
        made_before = life.completed or record.revision != life.revision  # nobody knows when it restarted, if it did
        if pod is None or pod.revision != record.revision or pod.deleted_at is not None:
            pod = life.pods[record.pod] = Pod(
                name=record.pod,
                revision=record.revision,
                since=record.at,
                restarts_before=record.restarts if made_before else 0,
            )
            life.stints.setdefault(record.pod, []).append((record.at, record.revision))
        elif pod.heard_at is not None and record.revision != life.revision:
            pod.restarts_before = record.restarts
        elif record.restarts > pod.restarts:
            pod.restarts_again(record.at, record.reason)
        if pod.ready and not record.ready and record.restarts == pod.restarts and record.reason not in ENDS:
            pod.lost_at = record.at
        pod.ready_since = (pod.ready_since or record.at) if record.ready else None
        pod.ready, pod.restarts, pod.reason = record.ready, record.restarts, record.reason
        pod.was_ready = pod.was_ready or record.ready
        if record.ready and pod.first_ready is None and not life.completed:
            pod.first_ready = record.at
        if record.deleted:
            pod.deleted_at, pod.ready, pod.ready_since = record.at, False, None
        pod.heard_at = None
        if life.completed:
            life.desired = max(life.desired, len(life.alive(life.revision)))

    def heard(self, workload: str, name: str, at: datetime) -> bool:
        """A sample of a pod. Of one that no record tells of: it runs what was current when it was heard first.

        Not during a rollout whose pods are told of: then it may be of either revision. True where one was taken in, or is back.
        """
        life = self._lives.get(workload) or self._life(workload, "", at - BEFORE_THE_RECORDING)
        pod = life.pods.get(name)
        if pod is not None:
            back = pod.is_back(at)
            self._changed.update({workload} if back else ())
            return back
        if name in life.strangers:
            return False
        if not life.completed and any(each.heard_at is None for each in life.alive(life.revision)):
            life.strangers.add(name)
            return False
        since = at if life.rollouts > 1 else life.started_at
        life.pods[name] = Pod(
            name=name, revision=life.revision, since=since, ready=True, ready_since=since, was_ready=True,
            first_ready=None if life.completed else at, heard_at=at,
        )  # fmt: skip
        life.stints.setdefault(name, []).append((since, life.revision))
        self._changed.add(workload)
        self._by_samples.add(workload)
        return True

    def is_rolled_out(self, workload: str) -> bool:
        """A rollout of it was told of."""
        return self._lives[workload].rollouts > 1

    def fallen_silent(self, before: datetime) -> Sequence[str]:
        """The workloads with pods that only samples told of, and no more since that moment: these are gone."""
        found = []
        for name in sorted(self._by_samples):
            life = self._lives[name]
            gone = [pod for pod in life.alive() if pod.heard_at is not None and pod.heard_at < before]
            if life.completed or not gone:
                continue
            for pod in gone:
                pod.deleted_at, pod.ready, pod.ready_since = pod.heard_at, False, None
            self._changed.add(name)
            found.append(name)
        return found

    def mentioned(self, workload: str, at: datetime) -> None:
        """Somebody speaks of a workload."""
        if workload not in self._lives:
            self._life(workload, "", at - BEFORE_THE_RECORDING)

    def _life(self, workload: str, revision: str, since: datetime) -> Life:
        life = Life(workload=workload_named(workload), revision=revision, started_at=since, revisions=[revision])
        self._lives[workload] = life
        return life

    # -- what there is to see

    def known(self, workload: str) -> bool:
        """Whether anything was ever said of it."""
        return workload in self._lives

    def exchanging(self) -> Sequence[str]:
        """The workloads whose rollout has pods that are not ready: time alone changes how they stand."""
        # Asked with every sample of a month, so only those are looked at of which something was told since.
        for name in self._changed:
            life = self._lives[name]
            if life.rollouts > 1 and not all(pod.ready for pod in life.alive(life.revision)):
                self._exchanging.add(name)
            else:
                self._exchanging.discard(name)
        self._changed.clear()
        return [name for name in self._lives if name in self._exchanging] if self._exchanging else ()

    def ran(self, workload: str, pod: str, revision: str, at: datetime) -> bool:
        """Whether that pod ran that revision at that moment; what is known of it later counts for before, too."""
        life = self._lives.get(workload)
        spans = life.stints.get(pod, ()) if life is not None else ()
        found = None
        for since, name in spans:
            if found is None or since <= at:
                found = name
        return found == revision

    def life(self, workload: str) -> Life:
        """All that was told of it: of one that is not known, nothing."""
        return self._lives.get(workload) or Life(workload_named(workload), "", EARLIEST)

    def was_there_before(self, workload: str, revision: str) -> bool:
        """The recording found it in place: nothing is known of how it got there."""
        life = self._lives.get(workload)
        return life is not None and life.revisions[0] == revision

    def is_warm(self, workload: str, pod: str, at: datetime, after: timedelta) -> bool:
        """Whether the pod had been ready for so long."""
        life = self._lives.get(workload)
        known = life.pods.get(pod) if life is not None else None
        return known is None or known.first_ready is None or at - known.first_ready >= after

    def lost_with_others(self, workload: str, revision: str) -> bool:
        """Pods of the revision ceased to be ready just as pods of several others did: a node went, whichever it was."""
        lost = [
            pod.lost_at for pod in self._lives[workload].alive(revision) if pod.lost_at is not None and not pod.ready
        ]
        return any(
            self._lost_around(at, workload, LOST_WITHIN) >= LOST_TOGETHER
            or self._lost_around(at, workload, AT_ONCE, left=True) > 0
            for at in lost
        )

    def _lost_around(self, at: datetime, besides: str, within: timedelta, *, left: bool = False) -> int:
        """How many other workloads lost a pod so near to that moment; with `left` one that was not replaced since."""
        return sum(
            any(
                pod.lost_at is not None and abs(pod.lost_at - at) <= within and not (left and pod.deleted_at)
                for pod in life.pods.values()
            )
            for name, life in self._lives.items()
            if name != besides
        )

    def started_at(self, workload: str) -> datetime:
        """When its present revision became current."""
        return self._lives[workload].started_at

    def replaces(self, workload: str) -> str | None:
        """What its present revision replaced."""
        return self._lives[workload].replaces

    def old_view(self, workload: str, at: datetime) -> WorkloadView:
        """Before the rollout that has just begun: the replaced revision served alone, for as long as anybody knows."""
        life = self._lives[workload]
        old, since = life.replaces or life.revision, at - BEFORE_THE_RECORDING
        return self._view(life, old, since, available_since=since, converged=True, only=old)

    def view(self, workload: str, now: datetime) -> WorkloadView:
        """As the watch would show it now."""
        life = self._lives[workload]
        mine, available = life.alive(life.revision), None
        ready = [pod for pod in mine if pod.ready]
        if not mine or len(ready) >= max(1, life.desired):
            available = max((pod.ready_since or life.started_at for pod in ready), default=life.started_at)
        return self._view(
            life, life.revision, life.started_at, available_since=available, converged=life.has_gone_over, now=now
        )

    def _view(
        self,
        life: Life,
        current: str,
        started_at: datetime,
        *,
        available_since: datetime | None,
        converged: bool,
        now: datetime | None = None,
        only: str | None = None,
    ) -> WorkloadView:
        named = [life.replaces, current] if only is None else [only]
        kept = list(dict.fromkeys([*life.revisions, *(name for name in named if name is not None)]))[-_HISTORY_MAX:]
        history = [_revision(life, name) for name in kept if only is None or name == only]
        failure = None if now is None else self._start_failure(life, now)
        return WorkloadView(
            workload=life.workload,
            uid=life.workload.key,
            generation=life.rollouts,
            current=_revision(life, current),
            history=tuple(reversed(history)),
            pods=tuple(
                self._pods(life, name, alone=only is not None) for name in dict.fromkeys(named) if name is not None
            ),
            desired=max(life.desired, 1),
            converged=converged,
            started_at=started_at,
            available_since=available_since,
            start_failure=failure,
            stuck=failure is not None and now is not None and now - life.progressed_at >= PROGRESS_DEADLINE,
        )

    def _pods(self, life: Life, revision: str, *, alone: bool) -> RevisionPods:
        names = [pod.name for pod in life.pods.values() if pod.revision == revision]
        ready = sum(pod.ready for pod in life.alive(revision))
        if not life.pods:
            ready = 1 if revision == life.revision or not life.completed else 0
        return RevisionPods(
            revision=RevisionId(revision), names=tuple(names), ready=max(ready, 1) if alone else ready, stints=()
        )

    def start_failure(self, workload: str, revision: str, now: datetime) -> StartFailure | None:
        """How the present revision's pods fail to start."""
        life = self._lives[workload]
        return self._start_failure(life, now) if life.revision == revision else None

    def _start_failure(self, life: Life, now: datetime) -> StartFailure | None:
        found = [(pod, kind) for pod in life.alive(life.revision) if (kind := pod.fails(now)) is not None]
        if not found:
            return None
        order = list(StartFailureKind)
        kind = min((each for _, each in found), key=order.index)
        restarts = max(pod.restarts for pod, _ in found)
        said = next((pod.reason for pod, _ in found if pod.reason), "never ready")
        return StartFailure(
            kind=kind,
            pods=tuple(pod.name for pod, _ in found),
            restarts=restarts,
            since=min(pod.since for pod, _ in found),
            message=f"{said}, {restarts} restart(s)",
        )

    def broken(self, workload: str, revision: str, now: datetime) -> tuple[datetime, str] | None:
        """When a pod of it was last seen to crash or to be killed for its memory, and how; None where none was."""
        found = []
        for pod in self._lives[workload].alive(revision):
            fails = not pod.ready and pod.fails(now) in (StartFailureKind.CRASH, StartFailureKind.OOM)
            at = now if fails else pod.killed_at
            if at is not None:
                found.append((at, f"{pod.name}: {pod.reason or 'killed'}, {pod.restarts} restart(s)"))
        return max(found, default=None)

    def counts(self, workload: str, revision: str) -> tuple[int, int, int]:
        """Pods of a revision: how many there are and are ready, and how often any restarted since the rollout began."""
        life = self._lives[workload]
        pods = life.alive(revision)
        ever = [pod for pod in life.pods.values() if pod.revision == revision]
        return len(pods), sum(pod.ready for pod in pods), sum(pod.restarts - pod.restarts_before for pod in ever)

    def stints(self, workload: str, revision: str) -> tuple[Stint, ...]:
        """When which pod ran a revision."""
        pods = [pod for pod in self._lives[workload].pods.values() if pod.revision == revision]
        return tuple(Stint(name=pod.name, since=pod.since, until=pod.deleted_at) for pod in pods)

    # -- the places an alert may name (handlers.ladder asks)

    def workload(self, namespace: str, kind: str, name: str) -> Workload | None:
        """The workload of that name."""
        life = self._lives.get(f"{namespace}/{kind}/{name}")
        return life.workload if life is not None else None

    def workload_of_pod(self, namespace: str, pod: str) -> Workload | None:
        """Whose pod it is or was."""
        return next(
            (
                life.workload
                for life in self._lives.values()
                if life.workload.namespace == namespace and pod in life.stints
            ),
            None,
        )

    def workloads_of_service(self, namespace: str, service: str) -> Sequence[Workload]:
        """The workloads of the Service's name: a recording knows no selectors."""
        return self.workloads_by_label(namespace, "app", service)

    def switches_of(self, workload: Workload) -> Sequence[Workload]:
        """A recording knows no blue/green Services."""
        return ()

    def workloads_by_label(self, namespace: str | None, label: str, value: str) -> Sequence[Workload]:
        """The workloads of that name."""
        return [each for each in self.workloads_named(value) if namespace in (None, each.namespace)]

    def workloads_named(self, name: str) -> Sequence[Workload]:
        """The workloads of that name."""
        return [life.workload for life in self._lives.values() if life.workload.name == name]

    def workloads_in(self, namespace: str) -> Sequence[Workload]:
        """All of a namespace."""
        return [life.workload for life in self._lives.values() if life.workload.namespace == namespace]


def _was_under_way(life: Life, record: RolloutSeen) -> bool:
    """The recording begins in the middle of this rollout: one of its pods was seen first, and taken for what was there before."""
    if life.rollouts > 1 or record.replaces in (None, record.revision):
        return False
    life.revision, life.revisions = record.replaces, [record.replaces]
    return True


def _begun(life: Life, record: RolloutSeen) -> datetime:
    """When the rollout began: as its first record says, or its first pod shows, where that record is of a later phase."""
    pods = [] if record.phase == "started" else [pod.since for pod in life.alive(record.revision)]
    return min([record.at, *pods])


def _revision(life: Life, name: str) -> Revision:
    number = life.revisions.index(name) + 1 if name in life.revisions else 0
    return Revision(id=RevisionId(name), content=name, number=number, images=(f"{life.workload.name}:{name}",))
