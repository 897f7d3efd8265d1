"""What people may do: approve, decline, close, judge, declare, pause, resume, release (a rollback: `asking`).

Every act keeps its actor; a refused one says why.
"""

from __future__ import annotations

from daemon.core import asking, intake, progress, reviewing, soaking
from daemon.core.draft import Draft
from daemon.core.events import (
    Approved,
    Closed,
    Command,
    Declared,
    Declined,
    PauseAsked,
    ReleaseAsked,
    ResumeAsked,
    Reviewed,
)
from daemon.core.facts import ApprovalGiven, PauseLifted, PauseSet
from daemon.core.incidents import Incident, Phase, Trigger
from daemon.core.measuring import begin_measure
from daemon.core.model import Declaration, IncidentId
from daemon.core.reasons import Reason
from daemon.core.telling import tell


def command(draft: Draft, event: Command) -> None:
    """Follow a person's command, or record why it could not be followed."""
    match event:
        case Approved():
            _approved(draft, event)
        case Declined():
            _declined(draft, event)
        case Closed():
            _closed(draft, event)
        case Reviewed():
            reviewing.reviewed(draft, event)
        case PauseAsked():
            _paused(draft, event)
        case ResumeAsked():
            _resumed(draft, event)
        case ReleaseAsked():
            _released(draft, event)
        case Declared():
            _declared(draft, event)
        case _:
            asking.rollback_asked(draft, event)


def _released(draft: Draft, event: ReleaseAsked) -> None:
    if soaking.release(draft, event.workload, event.revision, event.actor) == 0:
        draft.refuse("release", event.actor, f"nothing of {event.workload} is quarantined")


def _declared(draft: Draft, event: Declared) -> None:
    tracked = draft.state.workloads.get(event.workload)
    if tracked is None or tracked.rollout is None or tracked.rollout.replaced is None:
        draft.refuse("declare", event.actor, f"no rollout of {event.workload} is known that it could come from")
        return
    declaration = Declaration(cause=event.cause, actor=event.actor, at=draft.now, note=event.note)
    intake.declare(draft, tracked.view.workload, event.onset, declaration)


def _incident_in(draft: Draft, incident_id: IncidentId, phase: Phase, name: str, actor: str) -> Incident | None:
    incident = draft.state.incidents.get(incident_id)
    if incident is None:
        draft.refuse(name, actor, f"there is no incident {incident_id}")
        return None
    if incident.phase is not phase:
        draft.refuse(name, actor, f"incident {incident_id} is {incident.phase}, not {phase}")
        return None
    return incident


def _approved(draft: Draft, event: Approved) -> None:
    incident = _incident_in(draft, event.incident, Phase.PROPOSED, "approve", event.actor)
    if incident is None:
        return
    if incident.approved_by is not None:
        draft.refuse("approve", event.actor, f"{incident.approved_by} approved incident {incident.id} already")
    elif not _covered(event, incident):
        draft.refuse("approve", event.actor, f"the proposal of incident {incident.id} has changed since it was shown")
    else:
        draft.add(ApprovalGiven(at=draft.now, incident=incident.id, actor=event.actor))
        begin_measure(draft, incident.id, final=True)


def _covered(event: Approved, incident: Incident) -> bool:
    """Whether what was shown is what is proposed: this target, and no question that was not put."""
    same = event.target is None or (incident.target is not None and incident.target.id == event.target)
    return same and (event.questions is None or set(incident.shown) <= set(event.questions))


def _declined(draft: Draft, event: Declined) -> None:
    incident = _incident_in(draft, event.incident, Phase.PROPOSED, "decline", event.actor)
    if incident is not None:
        progress.escalate(draft, incident.id, Trigger.DECLINED, Reason.DECLINED, actor=event.actor)


def _closed(draft: Draft, event: Closed) -> None:
    incident = _incident_in(draft, event.incident, Phase.ESCALATED, "close", event.actor)
    if incident is not None:
        reason = Reason.CLOSED_BY_PERSON
        draft.move(incident.id, Trigger.CLOSED_BY_PERSON, reason, actor=event.actor, note=event.note)
        tell(draft, incident.id, f"Closed by {event.actor}. {event.note}".strip())


def _paused(draft: Draft, event: PauseAsked) -> None:
    until = None if event.lasts is None else draft.now + event.lasts
    draft.add(PauseSet(at=draft.now, scope=event.scope, until=until, actor=event.actor))
    stop_paused(draft)


def stop_paused(draft: Draft) -> None:
    """A pause ends every proposal it covers: nothing may run while a person holds the switch."""
    for incident in draft.state.open_incidents:
        if incident.phase is not Phase.PROPOSED or incident.suspect is None:
            continue
        if draft.state.paused_by(incident.suspect, draft.now) is not None:
            progress.escalate(draft, incident.id, Trigger.REFUSED, Reason.PAUSED)


def _resumed(draft: Draft, event: ResumeAsked) -> None:
    if event.scope not in draft.state.pauses:
        draft.refuse("resume", event.actor, f"{event.scope or 'everything'} is not paused")
        return
    draft.add(PauseLifted(at=draft.now, scope=event.scope, actor=event.actor))
