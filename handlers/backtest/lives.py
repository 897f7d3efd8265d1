"""What a recording has told of one workload: its revisions and its pods."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from daemon.core.model import StartFailureKind, Workload

CRASHES = frozenset(
    {"CrashLoopBackOff", "RunContainerError", "CreateContainerError", "StartError", "ContainerCannotRun"}
)
EXITED = "Error"
"""It ended by itself: the first time, of one that had been ready, that is no failure to start."""

OUT_OF_MEMORY = "OOMKilled"
ENDS = frozenset({*CRASHES, EXITED, OUT_OF_MEMORY})
"""The pod's own doing."""

INFRASTRUCTURE = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ImageInspectError",
        "Unschedulable",
        "Evicted",
        "NodeLost",
        "NodeNotReady",
        "Preempted",
    }
)
"""Never a start failure: nobody's rollout is to blame for it (DESIGN)."""

NEVER_READY_AFTER = timedelta(minutes=2)
"""As in the daemon (handlers.pods)."""

RESTARTS_OF_A_CRASH = 2
"""Of a pod that is not ready: one restart may be anything."""


@dataclass(slots=True)
class Pod:
    """One pod, as far as records tell of it. `heard_at` of one that only samples tell of: when the last one came."""

    name: str
    revision: str
    since: datetime
    ready: bool = False
    ready_since: datetime | None = None
    was_ready: bool = False
    first_ready: datetime | None = None
    restarts: int = 0
    restarts_before: int = 0
    reason: str | None = None
    restarted_at: datetime | None = None
    out_of_memory: bool = False
    killed_at: datetime | None = None
    lost_at: datetime | None = None
    heard_at: datetime | None = None
    deleted_at: datetime | None = None

    def restarts_again(self, at: datetime, reason: str | None) -> None:
        """It restarted; for some reasons that was its own doing."""
        self.restarted_at, self.out_of_memory = at, reason == OUT_OF_MEMORY
        if reason in ENDS:
            self.killed_at = at

    def fails(self, now: datetime) -> StartFailureKind | None:
        """How it fails to start; None where it does not, or where its node is at fault."""
        if self.reason in INFRASTRUCTURE:
            return None
        if self.reason == OUT_OF_MEMORY:
            return StartFailureKind.OOM
        if self.ready:
            return None
        crashed = self.reason in CRASHES or (self.reason == EXITED and not self.was_ready)
        if crashed or self.restarts >= RESTARTS_OF_A_CRASH:
            return StartFailureKind.CRASH
        if not self.was_ready and now - self.since >= NEVER_READY_AFTER:
            return StartFailureKind.NEVER_READY
        return None

    def is_back(self, heard_at: datetime) -> bool:
        """A sample of it; true where it was taken for gone: nobody could be heard for a while."""
        if self.heard_at is None:
            return False
        self.heard_at, was_gone = heard_at, self.deleted_at is not None
        if was_gone:
            self.deleted_at, self.ready, self.ready_since = None, True, heard_at
        return was_gone


@dataclass(slots=True)
class Life:
    """One workload."""

    workload: Workload
    revision: str
    started_at: datetime
    replaces: str | None = None
    completed: bool = True
    desired: int = 0
    rollouts: int = 1
    revisions: list[str] = field(default_factory=list)
    pods: dict[str, Pod] = field(default_factory=dict)
    stints: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)

    strangers: set[str] = field(default_factory=set)
    """Pods of samples of which nothing is known."""

    def was(self, revision: str) -> None:
        """What ran here until now is told for the first time."""
        self.revision, self.revisions[0] = revision, revision
        for pod in self.pods.values():
            pod.revision = revision
        self.stints = {name: [(since, revision) for since, _ in spans] for name, spans in self.stints.items()}

    def begins(self) -> None:
        """A rollout begins: from here on restarts are counted."""
        for pod in self.pods.values():
            pod.restarts_before = pod.restarts

    @property
    def progressed_at(self) -> datetime:
        """When the rollout last came a step further, as Kubernetes counts it: a new pod ready, or an old one gone."""
        steps = (pod.first_ready if pod.revision == self.revision else pod.deleted_at for pod in self.pods.values())
        return max([self.started_at, *(step for step in steps if step is not None)])

    def alive(self, revision: str | None = None) -> list[Pod]:
        """Its pods that are not deleted."""
        return [pod for pod in self.pods.values() if pod.deleted_at is None and revision in (None, pod.revision)]

    def ready_since(self, revision: str) -> tuple[datetime, ...]:
        """Since when each pod of the revision that is ready has been, the first one first."""
        return tuple(
            sorted(pod.ready_since for pod in self.alive(revision) if pod.ready and pod.ready_since is not None)
        )

    def restarted_at(self, revision: str) -> datetime | None:
        """When a pod of the revision restarted last; None where none did while it was watched."""
        moments = (pod.restarted_at for pod in self.alive(revision))
        return max((moment for moment in moments if moment is not None), default=None)

    def killed(self, revision: str) -> int:
        """How many pods of the revision ended last for lack of memory."""
        return sum(pod.out_of_memory for pod in self.alive(revision))

    @property
    def has_gone_over(self) -> bool:
        """Only the present revision is left, and all of it is ready; or it was said to be complete."""
        mine = [pod.ready for pod in self.alive(self.revision)]
        alone = len(mine) == len(self.alive())
        return self.completed or (any(mine) and alone and sum(mine) >= self.desired)

    def rolled_out_since(self, since: datetime) -> bool:
        """A rollout that was told of began after that, or goes on."""
        return self.rollouts > 1 and (self.started_at >= since or not self.has_gone_over)

    def kept(self, pod: str, since: datetime) -> bool:
        """The pod runs what it ran then, as far as is known."""
        known = self.pods.get(pod)
        return known is None or known.revision != self.revision or not self.rolled_out_since(since)


def workload_named(name: str) -> Workload:
    """From `namespace/Kind/name`."""
    namespace, kind, short = name.split("/", 2)
    return Workload(namespace=namespace, kind=kind, name=short)
