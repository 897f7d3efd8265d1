"""What the core concluded: the only thing that is journalled and the only input of `evolve`.

Facts are past tense and complete: folding them needs no clock, no policy and no second decision, so a new policy or a new
release cannot rewrite history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from daemon.core.actions import Action, Outcome
from daemon.core.events import AlertSource
from daemon.core.incidents import Decision, Incident, Phase, Suspicion, Trigger, Verdict, Word
from daemon.core.ledger import LedgerEntry
from daemon.core.measurement import Measurement, TargetCheck
from daemon.core.model import (
    ActionId,
    Alert,
    Declaration,
    IncidentId,
    LocatedAlert,
    Location,
    Revision,
    RevisionId,
    Rollout,
    Severity,
    Workload,
    WorkloadKey,
    WorkloadView,
)
from daemon.core.notices import Notice
from daemon.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStarted:
    """The daemon came up; `down_since` None at the very first start."""

    at: datetime
    down_since: datetime | None
    kind: Literal["daemon_started"] = "daemon_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRecorded:
    """A workload looks like this now."""

    at: datetime
    view: WorkloadView
    kind: Literal["workload_recorded"] = "workload_recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecorded:
    """A rollout began, or more became known of it (pods, start failure, completion): its present value."""

    at: datetime
    rollout: Rollout
    kind: Literal["rollout_recorded"] = "rollout_recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeTaken:
    """A pipeline told of a rollout, for the first time under this id."""

    at: datetime
    notice: Notice
    kind: Literal["notice_taken"] = "notice_taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeAttached:
    """A notice belongs to the workload's latest rollout, the one to `revision`."""

    at: datetime
    notice: Notice
    workload: WorkloadKey
    revision: RevisionId
    kind: Literal["notice_attached"] = "notice_attached"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNoted:
    """An alert is new or changed its status."""

    at: datetime
    source: AlertSource
    alert: Alert
    kind: Literal["alert_noted"] = "alert_noted"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPlaced:
    """To which workloads an alert belongs (none: `location.tried` says which labels were tried)."""

    at: datetime
    fingerprint: str
    location: Location
    kind: Literal["alert_placed"] = "alert_placed"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentOpened:
    """An investigation began."""

    at: datetime
    incident: Incident
    kind: Literal["incident_opened"] = "incident_opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertJoined:
    """An alert joined an incident, which is now of this severity."""

    at: datetime
    incident: IncidentId
    alert: LocatedAlert
    severity: Severity
    kind: Literal["alert_joined"] = "alert_joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentDeclared:
    """Somebody declared the anomaly of an incident that was open already."""

    at: datetime
    incident: IncidentId
    declaration: Declaration
    kind: Literal["incident_declared"] = "incident_declared"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureBegan:
    """A new attempt at measuring began; `final` where it is the fresh look before an action."""

    at: datetime
    incident: IncidentId
    attempt: int
    final: bool
    kind: Literal["measure_began"] = "measure_began"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementKept:
    """A measurement came in while the target check of the same attempt is still out."""

    at: datetime
    incident: IncidentId
    measurement: Measurement
    kind: Literal["measurement_kept"] = "measurement_kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChecked:
    """Whether the target could be deployed now."""

    at: datetime
    incident: IncidentId
    check: TargetCheck
    kind: Literal["target_checked"] = "target_checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A verdict was reached on this measurement. The leading suspicion, if any, comes first."""

    at: datetime
    incident: IncidentId
    measurement: Measurement
    suspicions: tuple[Suspicion, ...]
    verdict: Verdict
    next_measure_at: datetime | None
    kind: Literal["judged"] = "judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An incident is decided: what was done, or would have been without the mode. One per incident."""

    at: datetime
    incident: IncidentId
    decision: Decision
    kind: Literal["decided"] = "decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewGiven:
    """A person said whether a decision was right; the last word counts. `about` is the decision as it was before."""

    at: datetime
    incident: IncidentId
    about: Decision
    word: Word
    actor: str
    note: str = ""
    kind: Literal["review_given"] = "review_given"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryMeasured:
    """How the symptom does: good since then without a break (None: not good, or cannot tell)."""

    at: datetime
    incident: IncidentId
    measurement: Measurement
    good_since: datetime | None
    next_measure_at: datetime | None
    kind: Literal["recovery_measured"] = "recovery_measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A rollback of `blamed` to `target` is proposed: it runs by itself at `countdown_until`, or a person must confirm."""

    at: datetime
    incident: IncidentId
    workload: Workload
    blamed: Revision
    replaced: Revision | None
    target: Revision
    countdown_until: datetime | None
    shown: tuple[Reason, ...]
    kind: Literal["proposed"] = "proposed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGiven:
    """A person confirmed the proposal."""

    at: datetime
    incident: IncidentId
    actor: str
    kind: Literal["approval_given"] = "approval_given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An incident changed its phase. `actor` where a person did it, with their note; `merged_into` where it joined another."""

    at: datetime
    incident: IncidentId
    phase: Phase
    trigger: Trigger
    reason: Reason
    deadline: datetime | None
    next_measure_at: datetime | None
    actor: str | None = None
    note: str = ""
    merged_into: IncidentId | None = None
    kind: Literal["moved"] = "moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionOwed:
    """An action is owed: from here on it is carried out, or its outcome is found out, whatever happens to us."""

    at: datetime
    action: Action
    kind: Literal["action_owed"] = "action_owed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSettled:
    """What became of an action. Measurements are kept by the fact that used them, not here a second time."""

    at: datetime
    action_id: ActionId
    outcome: Outcome
    kind: Literal["action_settled"] = "action_settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerWritten:
    """A revision's ledger entry changed: `what` says how (serving, counted, verified, withdrawn, quarantined, released)."""

    at: datetime
    workload: WorkloadKey
    entry: LedgerEntry
    what: Literal["serving", "counted", "verified", "withdrawn", "quarantined", "released"]
    because: str = ""
    kind: Literal["ledger_written"] = "ledger_written"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseSet:
    """A person paused a scope: "" is everything, `namespace`, or `namespace/name`; `until` None is until resumed."""

    at: datetime
    scope: str
    until: datetime | None
    actor: str
    kind: Literal["pause_set"] = "pause_set"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseLifted:
    """A pause ended, by a person or by its own time."""

    at: datetime
    scope: str
    actor: str
    kind: Literal["pause_lifted"] = "pause_lifted"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDue:
    """When the rollout that is under way is measured next although nobody complains; None: not any more."""

    at: datetime
    workload: WorkloadKey
    due: datetime | None
    kind: Literal["watch_due"] = "watch_due"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessorDue:
    """When to look whether the symptom of an ended incident still fires after a newer rollout (None: not any more)."""

    at: datetime
    workload: WorkloadKey
    due: datetime | None
    predecessor: IncidentId | None
    kind: Literal["successor_due"] = "successor_due"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRefused:
    """A person's command could not be followed; kept so that the audit trail is whole."""

    at: datetime
    command: str
    actor: str
    why: str
    kind: Literal["command_refused"] = "command_refused"


Fact = (
    DaemonStarted
    | WorkloadRecorded
    | RolloutRecorded
    | NoticeTaken
    | NoticeAttached
    | AlertNoted
    | AlertPlaced
    | IncidentOpened
    | AlertJoined
    | IncidentDeclared
    | MeasureBegan
    | MeasurementKept
    | TargetChecked
    | Judged
    | Decided
    | ReviewGiven
    | RecoveryMeasured
    | Proposed
    | ApprovalGiven
    | Moved
    | ActionOwed
    | ActionSettled
    | LedgerWritten
    | PauseSet
    | PauseLifted
    | SuccessorDue
    | WatchDue
    | CommandRefused
)
