"""What moves an incident on: measurements, outcomes, convergence, deadlines. Every move goes through the phase table."""

from __future__ import annotations

from datetime import timedelta

from daemon.core import changes, measuring, reverting, verdicts, ways, would
from daemon.core.actions import Action, CheckTarget, Measure, Outcome, OutcomeKind, RollBack, Superseded
from daemon.core.draft import Draft
from daemon.core.facts import (
    AlertJoined,
    ApprovalGiven,
    Judged,
    MeasurementKept,
    Proposed,
    RecoveryMeasured,
    TargetChecked,
)
from daemon.core.incidents import Ask, Incident, Phase, Tier, Trigger, Verdict, VerdictKind
from daemon.core.measurement import Health, Measurement, TargetCheck
from daemon.core.measuring import begin_measure
from daemon.core.model import ActionId, Exchange, IncidentId, WorkloadView
from daemon.core.policy import GitOps
from daemon.core.reasons import Consequence, Reason
from daemon.core.recovery import symptom
from daemon.core.soaking import clear, quarantine, trust_again, usual
from daemon.core.table import table
from daemon.core.telling import follow_ups, learned_late, tell


def dismiss_without_candidate(draft: Draft, incident_id: IncidentId) -> None:
    """No rollout in question: this is not ours to page about."""
    incident = draft.incident(incident_id)
    older = verdicts.older_than_all(incident, draft.state, draft.policy)
    _end(draft, incident_id, Trigger.NO_CANDIDATE, Reason.SYMPTOM_OLDER if older else Reason.NO_CANDIDATE)


def _end(draft: Draft, incident_id: IncidentId, trigger: Trigger, reason: Reason, actor: str | None = None) -> None:
    draft.move(incident_id, trigger, reason, actor=actor)
    tell(draft, incident_id, reason.sentence)


def escalate(draft: Draft, incident_id: IncidentId, trigger: Trigger, reason: Reason, actor: str | None = None) -> None:
    """Hand the incident over to a person, and go on watching whether the symptom goes away."""
    draft.move(incident_id, trigger, reason, actor=actor, measure_in=watch_interval(draft))
    tell(draft, incident_id, f"{reason.sentence} {reverting.begin(draft, incident_id)}".rstrip())


def watch_interval(draft: Draft) -> timedelta:
    """How often an escalated incident is looked at: twice per hold, so that "held" rests on more than one look."""
    return max(draft.policy.sample_interval, draft.policy.hold / 2)


def measured(draft: Draft, incident_id: IncidentId, attempt: int, measurement: Measurement) -> None:
    """A measurement came in; it is judged once the target check of the same attempt is there too."""
    incident = draft.state.incidents.get(incident_id)
    if incident is None or incident.attempt != attempt:
        return
    if incident.phase in (Phase.VERIFYING, Phase.ESCALATED):
        _recovery(draft, incident, measurement)
    elif incident.phase in (Phase.OPEN, Phase.PROPOSED):
        draft.add(MeasurementKept(at=draft.now, incident=incident_id, measurement=measurement))
        _judge_when_complete(draft, incident_id)


def target_checked(draft: Draft, incident_id: IncidentId, attempt: int, check: TargetCheck | None) -> None:
    """A target check came in, or failed for good (None: the guard then holds for want of it)."""
    incident = draft.state.incidents.get(incident_id)
    if incident is None or incident.attempt != attempt or incident.phase not in (Phase.OPEN, Phase.PROPOSED):
        return
    if check is not None:
        draft.add(TargetChecked(at=draft.now, incident=incident_id, check=check))
    _judge_when_complete(draft, incident_id)


def _judge_when_complete(draft: Draft, incident_id: IncidentId) -> None:
    incident = draft.incident(incident_id)
    waiting = table(draft.state.owed).first_having(_looked_at, (incident_id, incident.attempt))
    if incident.measurement is not None and waiting is None:
        _judge(draft, incident, incident.measurement)


def _looked_at(action: Action) -> tuple[tuple[IncidentId, int], ...]:
    return ((action.incident, action.attempt),) if isinstance(action, Measure | CheckTarget) else ()


def _judge(draft: Draft, incident: Incident, measurement: Measurement) -> None:
    judgement = verdicts.judge(incident, measurement, draft.state, draft.policy, draft.now)
    draft.add(
        Judged(
            at=draft.now,
            incident=incident.id,
            measurement=measurement,
            suspicions=judgement.suspicions,
            verdict=judgement.verdict,
            next_measure_at=measuring.next_sample(draft.now, draft.policy),
        )
    )
    seen = symptom(incident, measurement, draft.policy, usual(draft, incident))
    if seen is Health.HEALTHY and not verdicts.is_convicted(judgement, measurement, draft.policy):
        _end(draft, incident.id, Trigger.SYMPTOM_GONE, Reason.SYMPTOM_GONE)
    elif incident.phase is Phase.OPEN:
        _follow_open(draft, incident.id, judgement.verdict)
    else:
        _follow_proposed(draft, incident, judgement.verdict)


def _follow_open(draft: Draft, incident_id: IncidentId, verdict: Verdict) -> None:
    incident = draft.incident(incident_id)
    if incident.asked is not None:
        _follow_asked(draft, incident.asked, incident_id, verdict)
        return
    if _merge(draft, incident_id, verdict):
        return
    would.decided(draft, incident_id, verdict)
    match verdict.kind:
        case VerdictKind.DISMISS:
            _end(draft, incident_id, Trigger.NO_CANDIDATE, verdict.reason)
        case VerdictKind.ESCALATE if incident.regression and verdict.reason is Reason.COMMON_CAUSE:
            # an outage makes many fresh revisions look bad at once; without an alert that is nobody's page
            _end(draft, incident_id, Trigger.NO_CANDIDATE, verdict.reason)
        case VerdictKind.ESCALATE if would.waits(verdict, incident.suspicions):
            pass
        case VerdictKind.ESCALATE:
            escalate(draft, incident_id, Trigger.REFUSED, verdict.reason)
        case VerdictKind.ROLL_BACK:
            _propose(draft, incident_id, verdict, Trigger.BLAMED)
        case VerdictKind.PROPOSE:
            _propose(draft, incident_id, verdict, Trigger.PROPOSABLE)
        case _:
            pass  # HOLD: it waits for data


def _follow_asked(draft: Draft, ask: Ask, incident_id: IncidentId, verdict: Verdict) -> None:
    """A person asked: refused, it is no incident of anybody else's; else the measurement just taken was the last look."""
    if verdict.kind is VerdictKind.ESCALATE:
        _end(draft, incident_id, Trigger.ASK_REFUSED, verdict.reason)
    elif verdict.kind is VerdictKind.ROLL_BACK:
        _propose(draft, incident_id, verdict, Trigger.PROPOSABLE)
        draft.add(ApprovalGiven(at=draft.now, incident=incident_id, actor=ask.actor))
        _go(draft, incident_id)


def _merge(draft: Draft, incident_id: IncidentId, verdict: Verdict) -> bool:
    """Incidents whose best candidate, blamed or refused for good, is the same revision become one: the oldest.

    Of those that have made up their mind: an older one that held until now must not propose the same rollback a second time.
    """
    incident = draft.incident(incident_id)
    if not (verdict.blames or verdict.kind is VerdictKind.ESCALATE) or not incident.suspicions:
        return False
    leader = incident.suspicions[0]
    for other in draft.state.open_incidents:
        same = other.suspicions and (other.suspicions[0].workload, other.suspicions[0].revision.id) == (
            leader.workload,
            leader.revision.id,
        )
        if other.id != incident_id and same and _settled_on(other, verdict):
            for found in incident.alerts:
                severity = other.severity.or_louder(incident.severity)
                draft.add(AlertJoined(at=draft.now, incident=other.id, alert=found, severity=severity))
            draft.move(incident_id, Trigger.MERGED, Reason.MERGED, merged_into=other.id)
            tell(draft, incident_id, Reason.MERGED.sentence)
            return True
    return False


def _settled_on(other: Incident, verdict: Verdict) -> bool:
    """It has made up its mind about its leading candidate.

    Not so where it was handed over with nobody asked, for want of what convicts now: joining it would bury that.
    """
    gave_up = other.phase is Phase.ESCALATED and other.target is None
    return other.phase is not Phase.OPEN and not (gave_up and verdict.kind is VerdictKind.ROLL_BACK)


def _propose(draft: Draft, incident_id: IncidentId, verdict: Verdict, trigger: Trigger | None) -> None:
    """Propose a rollback; `trigger` None where it is proposed anew within PROPOSED."""
    incident = draft.incident(incident_id)
    leader, target = incident.suspicions[0], verdict.target
    if target is None:  # pragma: no cover  an invariant of the guards, not a case
        raise AssertionError("the guard TARGET_NOT_VERIFIED lets no verdict through without a target")
    alone = verdict.kind is VerdictKind.ROLL_BACK and incident.asked is None
    countdown = timedelta(0) if leader.tier is Tier.START_FAILURE else draft.policy.countdown
    draft.add(
        Proposed(
            at=draft.now,
            incident=incident_id,
            workload=leader.workload,
            blamed=leader.revision,
            replaced=leader.replaced,
            target=target,
            countdown_until=draft.now + countdown if alone else None,
            shown=tuple(r.reason for r in verdict.refusals if r.consequence is Consequence.PROPOSE),
        )
    )
    if trigger is not None:
        step = draft.policy.sample_interval
        draft.move(incident_id, trigger, verdict.reason, lasts=draft.policy.approve_deadline, measure_in=step)
    if incident.asked is not None:
        return  # it runs in the same breath, and that is told
    besides = ways.told(draft.policy, draft.state.workloads[leader.workload.key].view, target)
    tell(draft, incident_id, f"{verdict.reason.sentence} {besides}".rstrip())
    if alone and countdown == timedelta(0):
        _go(draft, incident_id)  # no time has passed since everything was measured and checked: this was the last look


def _follow_proposed(draft: Draft, before: Incident, verdict: Verdict) -> None:
    """`before` is the incident as it was when measured: `final` there means that this was the fresh look before acting."""
    shown = set(before.shown)
    open_questions = [
        refusal
        for refusal in verdict.refusals
        if refusal.consequence is Consequence.PROPOSE and refusal.reason not in shown
    ]
    match verdict.kind:
        case VerdictKind.ESCALATE | VerdictKind.DISMISS:
            escalate(draft, before.id, Trigger.REFUSED, verdict.reason)
        case VerdictKind.HOLD:
            pass  # it waits for data; the approval, if any, stands until its deadline
        case _ if open_questions or not _same_proposal(draft.incident(before.id), verdict):
            _propose(draft, before.id, verdict, None)
        case VerdictKind.ROLL_BACK if before.shown and before.approved_by is None:
            _propose(draft, before.id, verdict, None)  # what a person had to confirm is settled by what is known now
        case _ if before.final:
            _go(draft, before.id)


def _same_proposal(incident: Incident, verdict: Verdict) -> bool:
    """The verdict is still about what was proposed: this workload, from this revision, to this target."""
    leader = incident.suspicions[0]
    proposed = (incident.suspect, incident.blamed and incident.blamed.id, incident.target and incident.target.id)
    return proposed == (leader.workload, leader.revision.id, verdict.target and verdict.target.id)


def _go(draft: Draft, incident_id: IncidentId) -> None:
    incident = draft.incident(incident_id)
    workload, blamed, target = incident.suspect, incident.blamed, incident.target
    if workload is None or blamed is None or target is None:  # pragma: no cover  an invariant, not a case
        raise AssertionError("a proposal names workload, blamed revision and target")
    reason = Reason.APPROVED if incident.approved_by else Reason.COUNTDOWN_OVER
    tracked = draft.state.workloads[workload.key]
    view = tracked.view
    draft.move(incident_id, Trigger.GO, reason, lasts=draft.policy.converge_deadline, actor=incident.approved_by)
    draft.owe(
        RollBack(
            id=ActionId(f"{incident_id}/roll_back"),
            deadline=draft.now + draft.policy.converge_deadline,
            incident=incident_id,
            workload=workload,
            uid=view.uid,
            blamed=blamed,
            target=target,
            why=f"{incident_id}: {incident.suspicions[0].terms[0].sentence if incident.suspicions else ''}",
            delete_stuck=draft.policy.delete_stuck_pods and view.exchange is Exchange.ORDERED,
            **ways.carried(draft.policy, tracked, target, draft.now),
        )
    )
    tell(draft, incident_id, f"{reason.sentence} Rolling back to {target.label}.")


def rolled_back(draft: Draft, action: RollBack, outcome: Outcome) -> None:
    """What became of the rollback. An executed one quarantines the revision, whatever comes next."""
    if outcome.kind is OutcomeKind.DONE:
        quarantine(draft, action)
        changes.rolled_back(draft, action)
    incident = draft.state.incidents.get(action.incident)
    if incident is None:
        return
    if incident.phase is Phase.ESCALATED:
        learned_late(draft, action, outcome)
    if incident.phase is not Phase.ROLLING_BACK:
        return
    if outcome.kind is OutcomeKind.DONE:
        follow_ups(draft, incident.id, outcome)
        tracked = draft.state.workloads.get(action.workload.key)
        if tracked is not None:
            converged(draft, tracked.view)
            if tracked.view.current.id not in (action.blamed.id, action.target.id):
                superseded(draft, tracked.view)  # it was seen before the outcome, and had to wait for it
    elif isinstance(outcome.result, Superseded):
        _end(draft, incident.id, Trigger.NEWER_ROLLOUT, Reason.SUPERSEDED)
    else:
        paused = outcome.kind is OutcomeKind.REFUSED and draft.state.paused_by(action.workload, draft.now) is not None
        reason = Reason.PAUSED if paused else Reason.ROLLBACK_FAILED
        draft.move(incident.id, Trigger.FAILED, reason, measure_in=watch_interval(draft))
        tell(draft, incident.id, f"{reason.sentence} {outcome.message}")


def converged(draft: Draft, view: WorkloadView) -> None:
    """The workload runs the target as `kubectl rollout status` means it: now the symptom is watched."""
    for incident in draft.state.open_incidents:
        patched = incident.patched_generation
        if incident.phase is not Phase.ROLLING_BACK or incident.suspect != view.workload or patched is None:
            continue
        there = incident.target is not None and view.current.id == incident.target.id
        if there and view.converged and view.generation >= patched:
            draft.move(incident.id, Trigger.CONVERGED, Reason.CONVERGED, lasts=draft.policy.verify_deadline)
            tell(draft, incident.id, Reason.CONVERGED.sentence)
            begin_measure(draft, incident.id)


def superseded(draft: Draft, view: WorkloadView) -> None:
    """A newer rollout of the suspected workload that is not ours wins; an escalated incident stays (a successor judges)."""
    for incident in draft.state.open_incidents:
        if incident.suspect != view.workload or incident.phase is Phase.ESCALATED:
            continue
        if incident.roll_back is not None and view.action_id == incident.roll_back:
            continue
        acted = incident.phase in (Phase.ROLLING_BACK, Phase.VERIFYING)
        if acted and incident.target is not None and view.current.id == incident.target.id:
            continue  # somebody went back by hand at the same moment: what we wanted
        if _is_undecided(draft, incident, view):
            continue
        _end(draft, incident.id, Trigger.NEWER_ROLLOUT, Reason.SUPERSEDED)


def _is_undecided(draft: Draft, incident: Incident, view: WorkloadView) -> bool:
    """It is not known yet what became of the rollback, and its outcome tells which came first.

    So where the blamed revision is there again, and where Argo CD writes the template: it may have come out as another.
    """
    if incident.phase is not Phase.ROLLING_BACK or incident.patched_generation is not None:
        return False
    owed = draft.state.owed.get(incident.roll_back) if incident.roll_back is not None else None
    by_owner = isinstance(owed, RollBack) and owed.way is GitOps.ARGOCD_ROLLBACK
    return by_owner or (incident.blamed is not None and view.current.id == incident.blamed.id)


def _recovery(draft: Draft, incident: Incident, measurement: Measurement) -> None:
    seen = symptom(incident, measurement, draft.policy)
    good = seen is Health.HEALTHY and not _is_returning(draft, incident)
    good_since = (incident.good_since or draft.now) if good else None
    again = watch_interval(draft) if incident.phase is Phase.ESCALATED else draft.policy.sample_interval
    draft.add(
        RecoveryMeasured(
            at=draft.now,
            incident=incident.id,
            measurement=measurement,
            good_since=good_since,
            next_measure_at=draft.now + again,
        )
    )
    if good_since is None or draft.now - good_since < draft.policy.hold:
        return
    if incident.phase is Phase.VERIFYING:
        trust_again(draft, incident)
        _end(draft, incident.id, Trigger.SYMPTOM_GONE, Reason.RECOVERED)
    else:
        _end(draft, incident.id, Trigger.SYMPTOM_GONE, Reason.SYMPTOM_GONE)


def _is_returning(draft: Draft, incident: Incident) -> bool:
    """What was written back is still being rolled out: that the old pods are well says nothing yet."""
    tracked = draft.state.workloads.get(incident.subject.key)
    return incident.reason is Reason.REVERTED and tracked is not None and not tracked.view.converged


def due(draft: Draft, incident: Incident) -> None:
    """The moments of an incident that have come: its deadline first, then the countdown, then the next measurement."""
    if incident.deadline is not None and incident.deadline <= draft.now:
        _deadline(draft, incident)
    elif incident.countdown_until is not None and incident.countdown_until <= draft.now:
        begin_measure(draft, incident.id, final=True)
    elif incident.next_measure_at is not None and incident.next_measure_at <= draft.now:
        begin_measure(draft, incident.id, final=incident.phase is Phase.PROPOSED and _consented(incident))


def _consented(incident: Incident) -> bool:
    """A person approved, or nobody has to and the countdown has run out."""
    return incident.approved_by is not None or (not incident.shown and incident.countdown_until is None)


def _deadline(draft: Draft, incident: Incident) -> None:
    match incident.phase:
        case Phase.OPEN if incident.asked is not None:
            _end(draft, incident.id, Trigger.ASK_REFUSED, Reason.DECIDE_DEADLINE)
        case Phase.OPEN if incident.regression:
            _end(draft, incident.id, Trigger.NO_CANDIDATE, Reason.DECIDE_DEADLINE)
        case Phase.OPEN:
            would.undecided(draft, incident.id)
            escalate(draft, incident.id, Trigger.DEADLINE, Reason.DECIDE_DEADLINE)
        case Phase.PROPOSED:
            escalate(draft, incident.id, Trigger.DEADLINE, Reason.APPROVE_DEADLINE)
        case Phase.ROLLING_BACK:
            escalate(draft, incident.id, Trigger.DEADLINE, Reason.CONVERGE_DEADLINE)
        case Phase.VERIFYING:
            _not_verified(draft, incident)
        case _:  # pragma: no cover  an invariant: `move` gives no other phase a deadline
            raise AssertionError(f"phase {incident.phase} has no deadline")


def _not_verified(draft: Draft, incident: Incident) -> None:
    """Still there: the rollout is cleared of blame. Cannot tell: blame is kept."""
    seen = measuring.last_look(incident, draft.policy, draft.now)
    if seen is Health.UNHEALTHY:
        clear(draft, incident)
        escalate(draft, incident.id, Trigger.NOT_RECOVERED, Reason.NOT_RECOVERED)
    else:
        escalate(draft, incident.id, Trigger.INCONCLUSIVE, Reason.VERIFY_INCONCLUSIVE)
