"""What the reflectors hold, asked in Lastgood's own words: which pods run a revision, to which workload a pod belongs.

Pods do not enter the core (DESIGN); whoever needs them asks here. Answers are as fresh as the watch: see `freshness`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from daemon.core.model import RevisionId, StartFailure, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """One pod as the watch shows it. `ready_since` is None while it is not ready; `restarts` adds up its containers.

    `last_restart_at` is the newest `lastState.terminated.finishedAt`; `crash_looping`/`oom_killed` are read from
    containers and init containers alike (protocols §3).
    """

    namespace: str
    name: str
    revision: RevisionId
    node: str | None
    created_at: datetime
    started_at: datetime | None
    ready_since: datetime | None
    restarts: int
    last_restart_at: datetime | None
    crash_looping: bool
    oom_killed: bool
    terminating: bool

    @property
    def ready(self) -> bool:
        """Ready and not on its way out."""
        return self.ready_since is not None and not self.terminating


class ClusterCache(Protocol):
    """Lookups over the reflectors' stores. All synchronous, none does I/O; unknown things are empty, never an error."""

    def workload(self, namespace: str, kind: str, name: str) -> Workload | None:
        """The workload of that name (kind None-insensitive spelling `Deployment`), None where there is none."""
        ...

    def workload_of_pod(self, namespace: str, pod: str) -> Workload | None:
        """The workload that owns the pod through its ReplicaSet; also for a vanished pod whose name tells its ReplicaSet."""
        ...

    def workloads_of_service(self, namespace: str, service: str) -> Sequence[Workload]:
        """The workloads whose pod template the Service's selector matches."""
        ...

    def switches_of(self, workload: Workload) -> Sequence[Workload]:
        """The blue/green Services whose selector is switched to this workload now."""
        ...

    def workloads_by_label(self, namespace: str | None, label: str, value: str) -> Sequence[Workload]:
        """The workloads whose own or template labels hold label=value; in all namespaces where None."""
        ...

    def workloads_named(self, name: str) -> Sequence[Workload]:
        """The workloads of that name, of all kinds and in all namespaces."""
        ...

    def workloads_in(self, namespace: str) -> Sequence[Workload]:
        """All workloads of a namespace."""
        ...

    def pods_of(self, workload: Workload, revision: RevisionId | None = None) -> Sequence[PodSeen]:
        """The pods of a workload, of one revision where given, terminating ones included."""
        ...

    def start_failure(self, workload: Workload, revision: RevisionId) -> StartFailure | None:
        """How the revision's pods fail to start, None where they do not (infrastructure failures never count)."""
        ...

    def available_since(self, workload: Workload) -> datetime | None:
        """Since when desired - maxUnavailable pods of the current revision are ready without a break; None if not now."""
        ...

    def freshness(self, now: datetime) -> float:
        """Seconds since the oldest of the watches last heard from the API server (inf before the first sync)."""
        ...
