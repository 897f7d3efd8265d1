"""What may happen: unjudged input to `decide`. Every event says when (`at`, aware) and from where.

Only what somebody outside was promised (webhooks, people's commands) passes the intake table first; views, outcomes and
deadlines can be had again by looking, so they enter the inbox directly and their facts are journalled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from daemon.core.actions import Outcome
from daemon.core.incidents import Word
from daemon.core.model import (
    ActionId,
    Alert,
    DeclaredCause,
    IncidentId,
    RevisionId,
    WorkloadKey,
    WorkloadView,
)
from daemon.core.notices import Notice
from daemon.core.reasons import Reason


class AlertSource(StrEnum):
    """How an alert reached us: pushed, read from Alertmanager's API, or found in Prometheus' history of our down time."""

    WEBHOOK = "webhook"
    POLL = "poll"
    HISTORY = "history"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsReported:
    """Alerts that some source reported. With `complete`, they are all that exist: an open one not listed is gone."""

    at: datetime
    source: AlertSource
    alerts: tuple[Alert, ...]
    complete: bool = False
    kind: Literal["alerts_reported"] = "alerts_reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """A pipeline told of a rollout."""

    at: datetime
    notice: Notice
    kind: Literal["noticed"] = "noticed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSeen:
    """The cluster shows a workload in a new way."""

    at: datetime
    view: WorkloadView
    kind: Literal["workload_seen"] = "workload_seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFinished:
    """An action came to its outcome."""

    at: datetime
    action_id: ActionId
    outcome: Outcome
    kind: Literal["action_finished"] = "action_finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """Something in the state is due (`State.next_deadline`)."""

    at: datetime
    kind: Literal["deadline_passed"] = "deadline_passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The daemon runs (again); `down_since` is the last sign of life in the journal, None at the very first start."""

    at: datetime
    down_since: datetime | None
    kind: Literal["started"] = "started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A person confirms the proposed rollback of an incident.

    From a message, which may be older than the proposal, it says what was shown: the target and the questions. None where
    the person looked for themselves.
    """

    at: datetime
    incident: IncidentId
    actor: str
    target: RevisionId | None = None
    questions: tuple[Reason, ...] | None = None
    kind: Literal["approved"] = "approved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """A person declines the proposed rollback of an incident."""

    at: datetime
    incident: IncidentId
    actor: str
    kind: Literal["declined"] = "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A person closes an escalated incident."""

    at: datetime
    incident: IncidentId
    actor: str
    note: str = ""
    kind: Literal["closed"] = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A person says whether the decision on an incident, open or ended, was right."""

    at: datetime
    incident: IncidentId
    word: Word
    actor: str
    note: str = ""
    kind: Literal["reviewed"] = "reviewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseAsked:
    """A person pauses everything (scope ""), a namespace, or namespace/name; for ever or for a while."""

    at: datetime
    scope: str
    actor: str
    lasts: timedelta | None = None
    kind: Literal["pause_asked"] = "pause_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeAsked:
    """A person ends the pause of exactly this scope."""

    at: datetime
    scope: str
    actor: str
    kind: Literal["resume_asked"] = "resume_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAsked:
    """A person lifts the quarantine of a workload's revision (all of its revisions where None)."""

    at: datetime
    workload: WorkloadKey
    revision: RevisionId | None
    actor: str
    kind: Literal["release_asked"] = "release_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A person declares that a workload's latest rollout does harm, whatever the alerts say; it began at `onset`."""

    at: datetime
    workload: WorkloadKey
    cause: DeclaredCause
    onset: datetime
    actor: str
    note: str = ""
    kind: Literal["declared"] = "declared"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackAsked:
    """A person asks for a rollback, having been shown the step from revision `current` to `target`.

    `overrides` are the reasons of refusals that the person takes upon themselves (only where a guard allows it).
    """

    at: datetime
    workload: WorkloadKey
    current: RevisionId
    target: RevisionId
    actor: str
    overrides: tuple[Reason, ...] = ()
    note: str = ""
    kind: Literal["rollback_asked"] = "rollback_asked"


Command = Approved | Declined | Closed | Reviewed | PauseAsked | ResumeAsked | ReleaseAsked | Declared | RollbackAsked
Event = AlertsReported | Noticed | WorkloadSeen | ActionFinished | DeadlinePassed | Started | Command
