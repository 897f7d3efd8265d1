"""What a verdict would have been without the mode: what `observe` would have done. Kept as the incident's Decision.

Definition: the verdict on the same evidence at the same moment, with MODE_OBSERVE and MODE_APPROVE left out of the leader's
refusals and DESIGN's precedence ("Guards") applied to what is left. So in `auto` it is the verdict itself. It is taken once per
incident, from the verdict that moves it out of OPEN. What a last look before acting would have said is not played, and the right
to patch is taken as given: it comes with arming.
"""

from __future__ import annotations

from dataclasses import replace

from daemon.core.draft import Draft
from daemon.core.facts import Decided
from daemon.core.incidents import Decision, Incident, Suspicion, Tier, Verdict, VerdictKind
from daemon.core.mode import mode_of
from daemon.core.model import IncidentId, Workload
from daemon.core.reasons import Consequence, Reason, Refusal

MODES = frozenset({Reason.MODE_OBSERVE, Reason.MODE_APPROVE})

_INNOCENT = frozenset({Reason.COMMON_CAUSE, Reason.RESTART_ONLY})
"""Refusals that take the blame away from a candidate, so that `Verdict.blames` does not tell whether it was blamed."""


def would(verdict: Verdict, suspicions: tuple[Suspicion, ...]) -> VerdictKind:
    """The kind of verdict that would have stood in `auto`; `suspicions` are those of the same verdict, with their vetoes.

    One case cannot be told from a verdict: a leader below the threshold that COMMON_CAUSE or RESTART_ONLY speaks for. It counts
    as ESCALATE; neither that nor HOLD accuses anybody.
    """
    left = without_mode(verdict.refusals)
    if len(left) == len(verdict.refusals) or verdict.kind in (VerdictKind.HOLD, VerdictKind.DISMISS):
        return verdict.kind
    consequences = {refusal.consequence for refusal in left}
    blamed = verdict.blames or not _INNOCENT.isdisjoint(refusal.reason for refusal in left)
    if Consequence.ESCALATE in consequences and (blamed or all(_hopeless(each) for each in suspicions)):
        return VerdictKind.ESCALATE
    unaccused = verdict.kind is VerdictKind.ESCALATE and not blamed
    if unaccused or Consequence.HOLD in consequences or Consequence.ESCALATE in consequences:
        return VerdictKind.HOLD
    return VerdictKind.PROPOSE if Consequence.PROPOSE in consequences else VerdictKind.ROLL_BACK


def without_mode(refusals: tuple[Refusal, ...]) -> tuple[Refusal, ...]:
    """What speaks against acting besides the mode."""
    return tuple(refusal for refusal in refusals if refusal.reason not in MODES)


def _hopeless(suspicion: Suspicion) -> bool:
    return any(refusal.consequence is Consequence.ESCALATE for refusal in without_mode(suspicion.vetoes))


def waits(verdict: Verdict, suspicions: tuple[Suspicion, ...]) -> bool:
    """Only the mode ends it now: in `auto` it would wait for data. So `observe` waits too, or it would show another product."""
    return verdict.kind is VerdictKind.ESCALATE and would(verdict, suspicions) is VerdictKind.HOLD


def decided(draft: Draft, incident_id: IncidentId, verdict: Verdict) -> None:
    """Keep the decision that this verdict is, where it is one: HOLD and DISMISS decide nothing about a rollout."""
    incident = draft.incident(incident_id)
    made = would(verdict, incident.suspicions)
    if made in (VerdictKind.HOLD, VerdictKind.DISMISS) or (
        made is VerdictKind.ESCALATE and _is_outage(incident, verdict)
    ):
        return
    _keep(draft, incident, made)


def _is_outage(incident: Incident, verdict: Verdict) -> bool:
    """Many fresh revisions look bad at once, and no alert fires: in `auto` that is dismissed."""
    strongest = [each for each in without_mode(verdict.refusals) if each.consequence is Consequence.ESCALATE]
    return incident.regression and bool(strongest) and strongest[0].reason is Reason.COMMON_CAUSE


def undecided(draft: Draft, incident_id: IncidentId) -> None:
    """The deadline came before a decision: it is handed over, whatever the mode."""
    _keep(draft, draft.incident(incident_id), VerdictKind.ESCALATE)


def _keep(draft: Draft, incident: Incident, made: VerdictKind) -> None:
    leader = incident.suspicions[0] if incident.suspicions else None
    workload = _workload(incident, leader)
    tracked = draft.state.workloads.get(workload.key)
    decision = Decision(
        incident=incident.id,
        at=draft.now,
        made=made,
        mode=draft.policy.default_mode if tracked is None else mode_of(draft.policy, tracked),
        tier=leader.tier if leader is not None else Tier.NONE,
        workload=workload,
        refusals=tuple(each.reason for each in without_mode(incident.verdict.refusals)) if incident.verdict else (),
    )
    accuses = decision.blames or (incident.verdict is not None and incident.verdict.blames)
    if leader is not None and accuses:
        decision = replace(decision, revision=leader.revision.id, label=leader.revision.label)
    draft.add(Decided(at=draft.now, incident=incident.id, decision=decision))


def _workload(incident: Incident, leader: Suspicion | None) -> Workload:
    return leader.workload if leader is not None else incident.suspect or incident.symptom
