"""An incident, and the one table that says which phase may follow which.

Everything that moves an incident is in PHASES; a pair that is not in it raises IllegalMoveError (our bug, never an
operating error) and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from daemon.core.actions import PageKind
from daemon.core.measurement import Measurement, TargetCheck
from daemon.core.model import (
    ActionId,
    Declaration,
    IncidentId,
    LocatedAlert,
    Mode,
    Neighbour,
    OnsetSource,
    Revision,
    RevisionId,
    Rung,
    Severity,
    Workload,
)
from daemon.core.notices import Notice
from daemon.core.reasons import Reason, Refusal


class Phase(StrEnum):
    """Where an incident is on its road."""

    OPEN = "open"
    PROPOSED = "proposed"
    ROLLING_BACK = "rolling_back"
    VERIFYING = "verifying"
    ESCALATED = "escalated"
    RECOVERED = "recovered"
    DISMISSED = "dismissed"
    SUPERSEDED = "superseded"
    CLOSED = "closed"

    @property
    def ended(self) -> bool:
        """No phase follows this one."""
        return self in _ENDS


_ENDS = frozenset({Phase.RECOVERED, Phase.DISMISSED, Phase.SUPERSEDED, Phase.CLOSED})


class Trigger(StrEnum):
    """What moves an incident from one phase to the next."""

    NO_CANDIDATE = "no_candidate"
    SYMPTOM_GONE = "symptom_gone"
    BLAMED = "blamed"
    PROPOSABLE = "proposable"
    REFUSED = "refused"
    DEADLINE = "deadline"
    NEWER_ROLLOUT = "newer_rollout"
    MERGED = "merged"
    GO = "go"
    DECLINED = "declined"
    CONVERGED = "converged"
    FAILED = "failed"
    NOT_RECOVERED = "not_recovered"
    INCONCLUSIVE = "inconclusive"
    CLOSED_BY_PERSON = "closed_by_person"
    ASK_REFUSED = "ask_refused"
    REVERTED = "reverted"


PHASES: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.OPEN, Trigger.NO_CANDIDATE): Phase.DISMISSED,
    (Phase.OPEN, Trigger.SYMPTOM_GONE): Phase.DISMISSED,
    (Phase.OPEN, Trigger.MERGED): Phase.DISMISSED,
    (Phase.OPEN, Trigger.BLAMED): Phase.PROPOSED,
    (Phase.OPEN, Trigger.PROPOSABLE): Phase.PROPOSED,
    (Phase.OPEN, Trigger.REFUSED): Phase.ESCALATED,
    (Phase.OPEN, Trigger.DEADLINE): Phase.ESCALATED,
    (Phase.OPEN, Trigger.NEWER_ROLLOUT): Phase.SUPERSEDED,
    (Phase.OPEN, Trigger.ASK_REFUSED): Phase.DISMISSED,
    (Phase.OPEN, Trigger.REVERTED): Phase.ESCALATED,
    (Phase.PROPOSED, Trigger.GO): Phase.ROLLING_BACK,
    (Phase.PROPOSED, Trigger.DECLINED): Phase.ESCALATED,
    (Phase.PROPOSED, Trigger.DEADLINE): Phase.ESCALATED,
    (Phase.PROPOSED, Trigger.REFUSED): Phase.ESCALATED,
    (Phase.PROPOSED, Trigger.SYMPTOM_GONE): Phase.DISMISSED,
    (Phase.PROPOSED, Trigger.NEWER_ROLLOUT): Phase.SUPERSEDED,
    (Phase.ROLLING_BACK, Trigger.CONVERGED): Phase.VERIFYING,
    (Phase.ROLLING_BACK, Trigger.NEWER_ROLLOUT): Phase.SUPERSEDED,
    (Phase.ROLLING_BACK, Trigger.FAILED): Phase.ESCALATED,
    (Phase.ROLLING_BACK, Trigger.DEADLINE): Phase.ESCALATED,
    (Phase.ROLLING_BACK, Trigger.REVERTED): Phase.ESCALATED,
    (Phase.VERIFYING, Trigger.SYMPTOM_GONE): Phase.RECOVERED,
    (Phase.VERIFYING, Trigger.NOT_RECOVERED): Phase.ESCALATED,
    (Phase.VERIFYING, Trigger.INCONCLUSIVE): Phase.ESCALATED,
    (Phase.VERIFYING, Trigger.NEWER_ROLLOUT): Phase.SUPERSEDED,
    (Phase.VERIFYING, Trigger.REVERTED): Phase.ESCALATED,
    (Phase.ESCALATED, Trigger.SYMPTOM_GONE): Phase.CLOSED,
    (Phase.ESCALATED, Trigger.CLOSED_BY_PERSON): Phase.CLOSED,
}


class IllegalMoveError(Exception):
    """A trigger that its phase does not know: a bug in `decide`, never an operating error."""


def after(phase: Phase, trigger: Trigger) -> Phase:
    """The phase that follows. Raises IllegalMoveError for a pair that is not in the table."""
    try:
        return PHASES[phase, trigger]
    except KeyError:
        raise IllegalMoveError(f"{trigger} does not move an incident in phase {phase}") from None


class VerdictKind(StrEnum):
    """The five answers."""

    ROLL_BACK = "roll_back"
    PROPOSE = "propose"
    HOLD = "hold"
    ESCALATE = "escalate"
    DISMISS = "dismiss"


class Tier(StrEnum):
    """The strength of evidence: what it allows is DESIGN's table."""

    START_FAILURE = "start_failure"
    CONTRAST = "contrast"
    BEFORE_AFTER = "before_after"
    TIMING = "timing"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One piece of evidence: its number, the threshold beside it, its weight in the score, and a sentence."""

    name: str
    value: float
    threshold: float
    weight: float
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """How strongly one rollout is blamed: the terms, their sum, the strongest tier, and the vetoes that speak against it."""

    workload: Workload
    revision: Revision
    replaced: Revision | None
    score: float
    tier: Tier
    terms: tuple[Term, ...]
    vetoes: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The pure answer; all refusals are kept, not only the strongest.

    `blames`: the leading suspicion clears the threshold and nothing exculpates it. `target` is the revision that would be
    rolled back to, `rejected` why each other candidate is none.
    """

    kind: VerdictKind
    reason: Reason
    refusals: tuple[Refusal, ...] = ()
    blames: bool = False
    target: Revision | None = None
    rejected: tuple[str, ...] = ()


class Word(StrEnum):
    """What a person said of a decision, looking back."""

    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How an incident was decided: by the verdict that moved it on, as it would have been without the mode (`would`).

    `made` is ROLL_BACK, PROPOSE or ESCALATE, `mode` the one it was made in, `refusals` what spoke against acting besides the
    mode. `revision` is the one that is blamed, `label` how people know it; None where it names none. `word` is what people
    said of it since, the last one.
    """

    incident: IncidentId
    at: datetime
    made: VerdictKind
    mode: Mode
    tier: Tier
    workload: Workload
    revision: RevisionId | None = None
    label: str = ""
    refusals: tuple[Reason, ...] = ()
    word: Word | None = None
    judged_by: str | None = None
    judged_at: datetime | None = None
    note: str = ""

    @property
    def blames(self) -> bool:
        """It names a culprit: rolled back, or proposed."""
        return self.made in (VerdictKind.ROLL_BACK, VerdictKind.PROPOSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageState:
    """What PagerDuty was told: the key is fixed at the first page; `open` until a resolve is owed."""

    key: str
    urgent: bool
    open: bool
    count: int
    last: PageKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadState:
    """Where the announcements of an incident stand."""

    channel: str | None = None
    thread: str | None = None
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A rollback that a person asked for: from which revision to which, and whose refusals they take upon themselves."""

    actor: str
    current: RevisionId
    target: RevisionId
    overrides: tuple[Reason, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Anomalies of one symptom workload under one investigation; the unit of paging.

    `symptom` is where it hurts, `scope` the workloads whose rollouts may be the cause, `suspect`/`blamed` the leading
    candidate, `rollout_started_at` and `rolled_out_by` of its rollout. `attempt` numbers measurements; `measurement` and
    `check` are the latest ones. `final` marks the fresh look that precedes an action. `shown` are the refusals a person was asked
    about. A `regression` was opened by the watch after the soak, not by an alert: it may only propose, whatever the age of
    the rollout. `declared` where somebody said so (then good signals alone do not end it), `asked` where a person wants this
    very rollback; `notices` is what pipelines said of the rollout in question. `revert` is the pull request that was owed,
    `revert_url` where it is. `decision` is how it was decided, with what people said of that. The moments
    after `onset` feed the histograms (alert to verdict to patch to converged to recovered).
    """

    id: IncidentId
    symptom: Workload
    scope: tuple[Workload, ...]
    rung: Rung
    opened_at: datetime
    onset: datetime
    onset_source: OnsetSource
    severity: Severity
    alerts: tuple[LocatedAlert, ...]
    phase: Phase
    phase_since: datetime
    reason: Reason | None = None
    deadline: datetime | None = None
    next_measure_at: datetime | None = None
    attempt: int = 0
    measurement: Measurement | None = None
    check: TargetCheck | None = None
    final: bool = False
    suspicions: tuple[Suspicion, ...] = ()
    verdict: Verdict | None = None
    verdict_at: datetime | None = None
    suspect: Workload | None = None
    blamed: Revision | None = None
    replaced: Revision | None = None
    target: Revision | None = None
    rollout_started_at: datetime | None = None
    rolled_out_by: str | None = None
    countdown_until: datetime | None = None
    shown: tuple[Reason, ...] = ()
    approved_by: str | None = None
    roll_back: ActionId | None = None
    patched_at: datetime | None = None
    patched_generation: int | None = None
    converged_at: datetime | None = None
    good_since: datetime | None = None
    recovered_at: datetime | None = None
    ended_by: str | None = None
    regression: bool = False
    declared: Declaration | None = None
    asked: Ask | None = None
    notices: tuple[Notice, ...] = ()
    predecessor: IncidentId | None = None
    chain_started_at: datetime | None = None
    merged_into: IncidentId | None = None
    page: PageState | None = None
    thread: ThreadState = ThreadState()
    neighbours: tuple[Neighbour, ...] = ()
    kin: tuple[Workload, ...] = ()
    revert: ActionId | None = None
    revert_url: str | None = None
    decision: Decision | None = None

    @property
    def subject(self) -> Workload:
        """The workload that is measured: before a decision the one that leads, after it the suspect; else where it hurts."""
        undecided = self.phase in (Phase.OPEN, Phase.PROPOSED) and self.asked is None
        if undecided and self.approved_by is None and self.suspicions:
            return self.suspicions[0].workload
        return self.suspect or self.symptom

    @property
    def felt_at(self) -> datetime:
        """Since when it is felt where it hurts; the onset, where nothing tells of earlier."""
        known = (located.location.felt_at for located in self.alerts)
        return min((felt for felt in known if felt is not None and felt < self.onset), default=self.onset)

    @property
    def judged_wrong(self) -> bool:
        """A person said that the rollout is innocent."""
        return self.decision is not None and self.decision.word is Word.WRONG
