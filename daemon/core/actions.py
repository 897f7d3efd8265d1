"""What may be done to the world, and what became of it.

An Action carries everything its handler needs, an id that is derived (never random, so a replay owes the same action) and a
deadline. Handlers answer with an Outcome; they do not raise across the seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from daemon.core.brief import Brief
from daemon.core.measurement import Measurement, SoakMeasurement, TargetCheck
from daemon.core.model import (
    ActionId,
    Alert,
    IncidentId,
    Location,
    Owner,
    Revision,
    RevisionId,
    Stint,
    Workload,
)
from daemon.core.notices import Origin
from daemon.core.policy import GitOps


@dataclass(frozen=True, slots=True, kw_only=True)
class Locate:
    """Find the workloads an alert belongs to and the onset of its anomaly."""

    id: ActionId
    deadline: datetime
    alert: Alert
    kind: Literal["locate"] = "locate"


class MeasurePurpose(StrEnum):
    """Why a measurement is taken: to blame a rollout, to see whether the symptom is gone, or because a rollout is under way.

    WATCH has no incident: it opens one where the new revision is the worse.
    """

    BLAME = "blame"
    RECOVERY = "recovery"
    WATCH = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Measure a workload's revisions since `since`, its peers, and the states of the incident's alerts.

    For BLAME `new` is the revision under suspicion and `old` the one it replaced; for RECOVERY `new` is what serves now and
    `old` only gives the baseline of the time before `rollout_started_at` (Measurement.before). Pod names known from the
    journal are given; the handler adds those it sees now. `peers` had no rollout of late: they show a common cause.
    `candidates` are all that may be to blame, with the start of their rollouts: whether they ask more than before.
    Where names are given again (StatefulSets) only `new_stints` and `old_stints` tell the revisions' pods apart.
    """

    id: ActionId
    deadline: datetime
    incident: IncidentId
    attempt: int
    purpose: MeasurePurpose
    workload: Workload
    new: Revision | None
    new_pods: tuple[str, ...]
    old: Revision | None
    old_pods: tuple[str, ...]
    since: datetime
    rollout_started_at: datetime
    onset: datetime
    alerts: tuple[Alert, ...]
    peers: tuple[Workload, ...] = ()
    candidates: tuple[tuple[Workload, datetime], ...] = ()
    new_stints: tuple[Stint, ...] = ()
    old_stints: tuple[Stint, ...] = ()
    kind: Literal["measure"] = "measure"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTarget:
    """Find out whether `target` could be rolled back to right now; changes nothing (server-side dry run)."""

    id: ActionId
    deadline: datetime
    incident: IncidentId
    attempt: int
    workload: Workload
    uid: str
    blamed: Revision
    target: Revision
    kind: Literal["check_target"] = "check_target"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProveSoak:
    """Measure the health of the only serving revision since `since`, up to `until` (now where None).

    `baseline` are typical signal values of the revision verified before, by signal name; empty where there is none.
    """

    id: ActionId
    deadline: datetime
    workload: Workload
    revision: Revision
    since: datetime
    until: datetime | None
    baseline: tuple[tuple[str, float], ...]
    kind: Literal["prove_soak"] = "prove_soak"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """Roll the workload back: replace `blamed`'s template by `target`'s, guarded by uid and template.

    The id is written to the object in the same patch, so that a second execution is impossible even without our disk.
    `delete_stuck` lets it delete pods of `blamed` that are not ready where they would block the exchange (Exchange.ORDERED).
    `only_abort` lets it give up the update in flight and change nothing else, because its owner would revert the rest.
    `way` is how it gets around `owner`, which is suspended until `suspend_until`; all None where nobody is in the way.
    `target_commit` and `target_since` are what the journal knows of the rollout that brought the target, by which a
    controller's own history tells it; None where it is not known or not needed.
    """

    id: ActionId
    deadline: datetime
    incident: IncidentId
    workload: Workload
    uid: str
    blamed: Revision
    target: Revision
    why: str
    delete_stuck: bool = False
    only_abort: bool = False
    way: GitOps | None = None
    owner: Owner | None = None
    suspend_until: datetime | None = None
    target_commit: str | None = None
    target_since: datetime | None = None
    kind: Literal["roll_back"] = "roll_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSuspension:
    """Let the controller go on that a rollback suspended, if it is still as that rollback left it.

    A message with its outcome is for people; none where there was nothing to end.
    """

    id: ActionId
    deadline: datetime
    incident: IncidentId
    workload: Workload
    owner: Owner
    way: GitOps
    kind: Literal["end_suspension"] = "end_suspension"


class PageKind(StrEnum):
    """What a page does to the PagerDuty incident with its key."""

    TRIGGER = "trigger"
    UPDATE = "update"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Page a person, tell the open page more, or resolve it; `urgent` is high urgency."""

    id: ActionId
    deadline: datetime
    incident: IncidentId
    key: str
    page: PageKind
    urgent: bool
    brief: Brief
    kind: Literal["page"] = "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Tell the chat: the first of an incident starts its thread, later ones update the parent and reply to it."""

    id: ActionId
    deadline: datetime
    incident: IncidentId
    thread: str | None
    channel: str | None
    brief: Brief
    kind: Literal["announce"] = "announce"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPipeline:
    """Tell the pipeline that its deployment failed: it was rolled back by this incident.

    `source` is the sender's name in the configuration (it holds the credential), `commit` the full hash where known.
    `summary` is one line of plain text.
    """

    id: ActionId
    deadline: datetime
    incident: IncidentId
    source: str
    origin: Origin
    commit: str | None
    environment: str | None
    summary: str
    kind: Literal["answer_pipeline"] = "answer_pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCommit:
    """A full commit hash, as the sender `source` named it; `origin` where it also said in which project."""

    source: str
    commit: str
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertCommit:
    """Open a pull request that reverts the first of `commits` that a configured repository takes from its sender.

    There is one pull request per commit, however many incidents ask for it. `summary` and `details` (name, value) are plain
    text for its title and description.
    """

    id: ActionId
    deadline: datetime
    incident: IncidentId
    workload: Workload
    commits: tuple[NamedCommit, ...]
    summary: str
    details: tuple[tuple[str, str], ...] = ()
    kind: Literal["revert_commit"] = "revert_commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteChange:
    """Leave a mark on the on-call's timeline (a PagerDuty change event): something was rolled out or rolled back.

    It notifies nobody. `happened_at` is the moment of the change; `details` and `links` are (name, value) and (text, URL).
    """

    id: ActionId
    deadline: datetime
    workload: Workload
    summary: str
    happened_at: datetime
    details: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    kind: Literal["note_change"] = "note_change"


Action = (
    Locate
    | Measure
    | CheckTarget
    | ProveSoak
    | RollBack
    | EndSuspension
    | Page
    | Announce
    | AnswerPipeline
    | RevertCommit
    | NoteChange
)


class OutcomeKind(StrEnum):
    """What became of an action. REFUSED: a precondition no longer held; UNKNOWN: ask the world before going on."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """The patch was accepted; `generation` is the object's generation after it."""

    generation: int
    patched_at: datetime
    warnings: tuple[str, ...] = ()
    kind: Literal["rolled_back"] = "rolled_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """A newer rollout is on the object, ours was not written (or is already replaced)."""

    revision: RevisionId
    kind: Literal["superseded"] = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaysSuspended:
    """The rollback failed after it had changed something: its controller stays suspended, or it would change even more."""

    kind: Literal["stays_suspended"] = "stays_suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Result of Locate."""

    location: Location
    kind: Literal["located"] = "located"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Result of Measure."""

    measurement: Measurement
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Result of CheckTarget."""

    check: TargetCheck
    kind: Literal["checked"] = "checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """Result of ProveSoak."""

    soak: SoakMeasurement
    kind: Literal["soaked"] = "soaked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Where the announcement stands: channel and thread id (None from an incoming webhook, which returns neither)."""

    channel: str | None
    thread: str | None
    kind: Literal["announced"] = "announced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paged:
    """PagerDuty accepted the event."""

    key: str
    kind: Literal["paged"] = "paged"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertOpened:
    """The pull request that reverts is there: where it can be read and merged."""

    url: str
    kind: Literal["revert_opened"] = "revert_opened"


Result = (
    RolledBack | Superseded | StaysSuspended | Located | Measured | Checked | Soaked | Announced | Paged | RevertOpened
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an action: kind, the typed result where there is one, a sentence, and how long it took."""

    kind: OutcomeKind
    result: Result | None = None
    message: str = ""
    took: timedelta = timedelta(0)
    attempts: int = 1
