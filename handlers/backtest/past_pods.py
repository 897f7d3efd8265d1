"""What the pods of a workload did within a window, from what kube-state-metrics said of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from handlers.backtest.past_rollouts import Key, moment, name_of, revision_of, tagged
from handlers.backtest.reading import Reader
from handlers.backtest.recording import PodSeen, RolloutSeen
from handlers.prometheus import Matrix, escape_label, pods_regex

CRASH_LOOP, OUT_OF_MEMORY = "CrashLoopBackOff", "OOMKilled"
NO_REASON = frozenset({"Completed", "ContainerCreating", "PodInitializing"})
"""What every pod goes through."""


@dataclass(slots=True, kw_only=True)
class Lives:
    """The pods of one workload in one window: whose ReplicaSet's each is, and what was said at which moment."""

    owners: dict[str, str] = field(default_factory=dict)
    alive: dict[datetime, set[str]] = field(default_factory=lambda: defaultdict(set))
    ready: dict[tuple[datetime, str], bool] = field(default_factory=dict)
    restarts: dict[tuple[datetime, str], int] = field(default_factory=dict)
    reasons: dict[tuple[datetime, str], str] = field(default_factory=dict)
    created: dict[tuple[datetime, str], datetime] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Every pod that was there at any moment."""
        return sorted(self.owners)


async def read(
    reader: Reader, workload: Key, owners: Sequence[str], start: datetime, end: datetime, step: timedelta
) -> Lives:
    """The pods that these ReplicaSets (or the set itself) had in the window. Raises Transient or Permanent."""
    lives = Lives()
    for labels, samples in await reader.matrix(_owned(workload, owners), start, end, step):
        pod = labels.get("pod", "")
        if pod and labels.get("owner_name"):
            lives.owners[pod] = labels["owner_name"]
            for at, _ in samples:
                lives.alive[at].add(pod)
    if lives.owners:
        _note(await reader.matrix(_states(workload[0], lives.names), start, end, step), lives)
    return lives


def _owned(workload: Key, owners: Sequence[str]) -> str:
    kind = workload[1] if workload[1] in ("StatefulSet", "DaemonSet") else "ReplicaSet"
    names = escape_label(pods_regex(owners))
    chosen = f'namespace="{escape_label(workload[0])}",owner_kind="{kind}",owner_name=~"{names}"'
    return f"max by (pod, owner_name) (kube_pod_owner{{{chosen}}})"


def _states(namespace: str, pods: Sequence[str]) -> str:
    chosen = f'namespace="{escape_label(namespace)}",pod=~"{escape_label(pods_regex(pods))}"'
    return tagged(
        {
            "ready": f'max by (pod) (kube_pod_status_ready{{{chosen},condition="true"}})',
            "restarts": f"sum by (pod) (kube_pod_container_status_restarts_total{{{chosen}}})",
            "waiting": f"max by (pod, reason) (kube_pod_container_status_waiting_reason{{{chosen}}}) > 0",
            "terminated": f"max by (pod, reason) (kube_pod_container_status_terminated_reason{{{chosen}}}) > 0",
            "killed": "max by (pod) (kube_pod_container_status_last_terminated_reason"
            f'{{{chosen},reason="{OUT_OF_MEMORY}"}}) > 0',
            "created": f"max by (pod) (kube_pod_created{{{chosen}}})",
        }
    )


def _note(matrix: Matrix, lives: Lives) -> None:
    waiting: dict[tuple[datetime, str], str] = {}
    killed: set[tuple[datetime, str]] = set()
    for labels, samples in matrix:
        pod, reason = labels.get("pod", ""), labels.get("reason", "")
        for at, value in samples:
            place = (at, pod)
            match labels.get("what"):
                case "ready":
                    lives.ready[place] = value > 0
                case "restarts":
                    lives.restarts[place] = int(value)
                case "created" if (born := moment(value)) is not None:
                    lives.created[place] = born
                case "waiting" if reason not in NO_REASON:
                    waiting[place] = reason
                case "terminated" if reason not in NO_REASON:
                    lives.reasons.setdefault(place, reason)
                case "killed":
                    killed.add(place)
                case _:
                    pass
    for place, reason in waiting.items():
        # Why it is in the loop says more than that it is.
        lives.reasons[place] = OUT_OF_MEMORY if reason == CRASH_LOOP and place in killed else reason


class Teller:
    """Makes records of what pods did, window by window in time order: one for each change, none for what stays."""

    def __init__(self, workload: Key, rollouts: Sequence[RolloutSeen], at_rest: str) -> None:
        """`rollouts` are those of the workload, in time order; `at_rest` is what it ran where there were none."""
        self._workload = workload
        self._at_rest = at_rest
        self._begun = [each for each in rollouts if each.phase == "started"]
        self._last: dict[str, PodSeen] = {}

    def records(self, lives: Lives, step: timedelta) -> list[PodSeen]:
        """The changes within one window, and what has changed since the one before."""
        found: list[PodSeen] = []
        for at, alive in sorted(lives.alive.items()):
            found += self._gone(at, alive)
            for pod in sorted(alive):
                record = self._record(at, pod, lives, step)
                before = self._last.get(pod)
                if before is None or _changed(before, record):
                    found.append(record)
                    self._last[pod] = record
        return found

    def _gone(self, at: datetime, alive: Iterable[str]) -> list[PodSeen]:
        """Pods that are no more, at a moment that does show others: a moment that shows none is one without data."""
        gone = [self._last.pop(pod) for pod in sorted(set(self._last) - set(alive))]
        return [_as_deleted(each, at) for each in gone]

    def _record(self, at: datetime, pod: str, lives: Lives, step: timedelta) -> PodSeen:
        place = (at, pod)
        return PodSeen(
            at=at,
            pod=pod,
            workload=name_of(self._workload),
            revision=self._revision(pod, lives, place, step),
            ready=lives.ready.get(place, False),
            restarts=lives.restarts.get(place, 0),
            reason=lives.reasons.get(place),
        )

    def _revision(self, pod: str, lives: Lives, place: tuple[datetime, str], step: timedelta) -> str:
        """By its ReplicaSet; where there is none by what was being rolled out when the pod was made."""
        owner = lives.owners[pod]
        if self._workload[1] not in ("StatefulSet", "DaemonSet"):
            return revision_of(self._workload, owner)
        born = lives.created.get(place)
        if not self._begun or born is None:
            return self._at_rest
        # A rollout is seen up to one step after it began.
        place_of = bisect_right(self._begun, born + step, key=lambda each: each.at) - 1
        return self._begun[place_of].revision if place_of >= 0 else self._begun[0].replaces or self._at_rest


def _changed(before: PodSeen, now: PodSeen) -> bool:
    return (before.revision, before.ready, before.restarts, before.reason) != (
        now.revision,
        now.ready,
        now.restarts,
        now.reason,
    )


def _as_deleted(last: PodSeen, at: datetime) -> PodSeen:
    return PodSeen(
        at=at,
        pod=last.pod,
        workload=last.workload,
        revision=last.revision,
        ready=False,
        restarts=last.restarts,
        reason=last.reason,
        deleted=True,
    )


def by_workload(rollouts: Iterable[RolloutSeen]) -> Mapping[str, list[RolloutSeen]]:
    """The rollouts of each workload."""
    found: dict[str, list[RolloutSeen]] = defaultdict(list)
    for each in rollouts:
        found[each.workload].append(each)
    return found
