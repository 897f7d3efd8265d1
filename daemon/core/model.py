"""The things Lastgood talks about: workloads, revisions, rollouts, alerts.

All are frozen values. A Revision is identified by the hash of its raw pod template, never by its number: numbers move on
every undo (protocols: the deployment controller bumps the annotation of a reused ReplicaSet to max+1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

RevisionId = NewType("RevisionId", str)
IncidentId = NewType("IncidentId", str)
ActionId = NewType("ActionId", str)
WorkloadKey = NewType("WorkloadKey", str)


class Mode(StrEnum):
    """What Lastgood may do for a workload; ordered from the most careful to the boldest."""

    OBSERVE = "observe"
    APPROVE = "approve"
    AUTO = "auto"

    def capped_by(self, other: Mode | None) -> Mode:
        """The more careful of the two: an annotation may lower a mode, never raise it (DESIGN)."""
        order = list(Mode)
        return self if other is None or order.index(self) <= order.index(other) else other


class Severity(StrEnum):
    """How loud an incident may be; the route of each is configured."""

    CRITICAL = "critical"
    HIGH = "high"
    LOW = "low"

    def or_louder(self, other: Severity) -> Severity:
        """The louder of the two."""
        return min(self, other, key=list(Severity).index)


class AlertStatus(StrEnum):
    """What is known of an alert. Suppressed (silenced, inhibited) counts as neither firing nor gone."""

    FIRING = "firing"
    RESOLVED = "resolved"
    SUPPRESSED = "suppressed"


class DeclaredCause(StrEnum):
    """Why somebody declares a rollout harmful; `sentence` is for people."""

    CUSTOMER_REPORTS = "customer_reports"
    FAILED_MIGRATION = "failed_migration"
    DATA_CORRUPTION = "data_corruption"
    VULNERABILITY = "vulnerability"
    PIPELINE_FAILED = "pipeline_failed"

    @property
    def sentence(self) -> str:
        """What it means, as a clause."""
        return _CAUSES[self]

    @property
    def risks_data(self) -> bool:
        """An older template meets data that it may not understand: never acted upon without a person."""
        return self in (DeclaredCause.FAILED_MIGRATION, DeclaredCause.DATA_CORRUPTION)


_CAUSES = {
    DeclaredCause.CUSTOMER_REPORTS: "customers report a fault",
    DeclaredCause.FAILED_MIGRATION: "a migration failed",
    DeclaredCause.DATA_CORRUPTION: "data is being corrupted",
    DeclaredCause.VULNERABILITY: "the release is vulnerable",
    DeclaredCause.PIPELINE_FAILED: "the pipeline reports a failed deployment",
}

DECLARABLE = tuple(cause for cause in DeclaredCause if cause is not DeclaredCause.PIPELINE_FAILED)
"""What a person may declare. A failed pipeline is a pipeline's to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """Who declared an anomaly, why, and in which words."""

    cause: DeclaredCause
    actor: str
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What can be rolled back: namespace, kind and name of a Kubernetes object."""

    namespace: str
    kind: str
    name: str

    @property
    def key(self) -> WorkloadKey:
        """`namespace/Kind/name`, the key used in state, journal and messages."""
        return WorkloadKey(f"{self.namespace}/{self.kind}/{self.name}")

    @property
    def short(self) -> str:
        """`namespace/name`, what people type on the command line."""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One pod template of a workload.

    `id` is the hash of the raw template without `pod-template-hash`; `content` is the same hash also without restart
    annotations, so that a plain restart can be told from a change. The rest are attributes that may move or be unknown.
    `colour` is the value by which a blue/green Service selects it.
    """

    id: RevisionId
    content: str
    number: int | None = None
    replica_set: str | None = None
    uid: str | None = None
    images: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    created_at: datetime | None = None
    change_cause: str | None = None
    colour: str | None = None

    @property
    def label(self) -> str:
        """How people are told of it: its colour, and the images' last parts, or the start of the hash."""
        tags = ", ".join(image.rsplit("/", 1)[-1] for image in self.images)
        told = f"{tags} ({self.id[:8]})" if tags else self.id[:8]
        return f"{self.colour}: {told}" if self.colour else told


class OwnerKind(StrEnum):
    """Who else writes the object and would overwrite a rollback, or be surprised by it."""

    ARGO_CD = "argocd"
    FLUX = "flux"
    HELM = "helm"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The manager of a workload, found from labels, annotations, managedFields and ownerReferences (protocols §2.7).

    `drives`: it is a tool that rolls the workload out itself, in steps of its own (a Rollout of Argo, a Canary of Flagger). A
    write behind its back is a rollout that it takes up, so no person's word makes it right.
    """

    kind: OwnerKind
    name: str
    drives: bool = False


class Exchange(StrEnum):
    """Who takes the old pods away once a workload has a new template.

    ORDERED is a StatefulSet that waits for every pod before it goes on, also for one that cannot start: a better template
    alone does not free it (kubernetes#67250). ON_DELETE: nobody but people.
    """

    ROLLING = "rolling"
    ORDERED = "ordered"
    ON_DELETE = "on_delete"


class StartFailureKind(StrEnum):
    """How pods fail to start. Image pulls, quota and scheduling are infrastructure and never listed here (DESIGN)."""

    CRASH = "crash"
    OOM = "oom"
    NEVER_READY = "never_ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailure:
    """The pods of the new revision cannot start. `since` is when the first of them was seen to fail."""

    kind: StartFailureKind
    pods: tuple[str, ...]
    restarts: int
    since: datetime
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stint:
    """From when until when (None: still) pods of one name ran one revision: the life of one pod."""

    name: str
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionPods:
    """Names of the pods that ran a revision, and how many of them are ready now.

    `stints` tell when, where a name is given again to the pod that follows (StatefulSets); empty where each pod has a
    name of its own.
    """

    revision: RevisionId
    names: tuple[str, ...]
    ready: int
    stints: tuple[Stint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadView:
    """What the cluster shows of one workload at one moment; sent whenever something in it changes.

    Level-triggered on purpose: after a relist or a restart one view per workload says everything, no delta can be lost.
    `started_at` is when the current template became current; `available_since` since when at least
    desired - maxUnavailable of the current revision's pods have been ready without a break (None: not now).
    `converged` is `kubectl rollout status`' "successfully rolled out" (protocols §2.3). `owner_yields`: the owner is known not to
    put its own version back before its source changes (an Argo CD Application without self-heal); what is not known is not.
    `owner_note` tells people why it is thought so.
    `abort_to`: the revision that serves again once the update in flight is given up, which changes nothing that anybody but
    the controller of updates writes; None where no update is in flight, or this kind cannot be aborted.
    """

    workload: Workload
    uid: str
    generation: int
    current: Revision
    history: tuple[Revision, ...]
    pods: tuple[RevisionPods, ...]
    desired: int
    converged: bool
    started_at: datetime
    available_since: datetime | None = None
    stuck: bool = False
    paused: bool = False
    start_failure: StartFailure | None = None
    labels: tuple[tuple[str, str], ...] = ()
    mode: Mode | None = None
    mode_invalid: str | None = None
    namespace_paused: bool = False
    owner: Owner | None = None
    owner_yields: bool = False
    owner_note: str = ""
    changed_by: str | None = None
    action_id: ActionId | None = None
    irreversible: bool = False
    gone: bool = False
    exchange: Exchange = Exchange.ROLLING
    abort_to: RevisionId | None = None

    @property
    def serving(self) -> tuple[RevisionId, ...]:
        """The revisions that have at least one ready pod."""
        return tuple(pods.revision for pods in self.pods if pods.ready > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The move of a workload from one revision to another.

    `ours` is the action that caused it when we did; `pods` are the names seen per revision, kept so that the overlap of
    both revisions can be read back from Prometheus after the old pods are gone. `steps`: when more new pods than before were
    seen to be ready, the newest ones; its start for those that were when it was seen first.
    """

    workload: Workload
    replaced: Revision | None
    revision: Revision
    started_at: datetime
    seen_at: datetime
    completed_at: datetime | None = None
    ours: ActionId | None = None
    changed_by: str | None = None
    irreversible: bool = False
    start_failure: StartFailure | None = None
    pods: tuple[RevisionPods, ...] = ()
    steps: tuple[datetime, ...] = ()

    @property
    def restart_only(self) -> bool:
        """True when nothing but a restart annotation changed and no other image is running because of it."""
        old = self.replaced
        if old is None or old.content != self.revision.content:
            return False
        return not old.digests or not self.revision.digests or set(old.digests) == set(self.revision.digests)

    @property
    def in_place(self) -> bool:
        """A blue/green Service did not switch: the Deployment that it has selected was deployed anew. That is a rollout of
        that Deployment, and counts there.
        """
        return self.replaced is not None and None is not self.replaced.colour == self.revision.colour

    @property
    def returns(self) -> bool:
        """It went to a revision that had been created before the one it replaced: an undo, by whomever."""
        old, new = self.replaced, self.revision
        if old is None or old.created_at is None or new.created_at is None:
            return False
        return new.created_at < old.created_at

    def names_of(self, revision: RevisionId) -> tuple[str, ...]:
        """The pods seen to run `revision` during this rollout."""
        return next((pods.names for pods in self.pods if pods.revision == revision), ())

    def stints_of(self, revision: RevisionId) -> tuple[Stint, ...]:
        """When each of these names ran `revision`, where names are given again."""
        return next((pods.stints for pods in self.pods if pods.revision == revision), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert as Alertmanager knows it.

    `fingerprint` hashes the labels only; `starts_at` is when it began to *fire*, after the rule's `for` (protocols §1.1).
    """

    fingerprint: str
    status: AlertStatus
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...] = ()
    starts_at: datetime
    generator_url: str = ""

    def label(self, name: str) -> str | None:
        """The value of a label, None where the alert has none of that name."""
        return next((value for key, value in self.labels if key == name), None)

    @property
    def name(self) -> str:
        """The `alertname`, or the fingerprint of an alert without one."""
        return self.label("alertname") or self.fingerprint


class Rung(StrEnum):
    """By which rung of DESIGN's ladder an alert was mapped to workloads."""

    EXPLICIT = "explicit"
    POD = "pod"
    CONTROLLER = "controller"
    SERVICE = "service"
    LABEL = "label"
    NAMESPACE = "namespace"
    NONE = "none"


class OnsetSource(StrEnum):
    """Where the onset of an anomaly comes from; only the first two are known, an assumed one holds rather than decides."""

    FOR_STATE = "alerts_for_state"
    RULE = "rule_duration"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A workload near to where it hurts: `called` by it, through `hops` calls, or calling it; 0 where no graph is known."""

    workload: Workload
    hops: int
    called: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """To which workloads an alert belongs, by which rung, and when its anomaly began.

    `neighbours` are those in the call graph, nearest first; `kin` all that a few calls join to it, whoever calls whom: what fails
    there fails with it. Both are empty where no graph is known. `felt_at`: since when it is worse than usual there, if known.
    """

    workloads: tuple[Workload, ...]
    rung: Rung
    tried: tuple[str, ...]
    onset: datetime
    onset_source: OnsetSource
    neighbours: tuple[Neighbour, ...] = ()
    kin: tuple[Workload, ...] = ()
    felt_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedAlert:
    """An alert with the place and time of its anomaly."""

    alert: Alert
    location: Location
    gone_since: datetime | None = None
