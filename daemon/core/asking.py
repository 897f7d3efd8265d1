"""A person asks for a rollback: whether the request can be followed at all, and the incident that carries it out."""

from __future__ import annotations

from daemon.core import intake
from daemon.core.draft import Draft
from daemon.core.events import RollbackAsked
from daemon.core.incidents import Ask, Phase
from daemon.core.model import Severity
from daemon.core.reasons import NEVER_OVERRIDDEN
from daemon.core.state import Tracked


def rollback_asked(draft: Draft, event: RollbackAsked) -> None:
    """Open the incident that carries out the request, or record why it cannot be followed."""
    tracked = draft.state.workloads.get(event.workload)
    why = f"no workload {event.workload} is known" if tracked is None else why_not(draft, tracked, event)
    if tracked is None or why is not None:
        draft.refuse("rollback", event.actor, why or "")
        return
    ask = Ask(
        actor=event.actor,
        current=event.current,
        target=event.target,
        overrides=event.overrides,
        note=event.note,
    )
    began = tracked.rollout.started_at if tracked.rollout else draft.now
    # who asks is watching: announced, but nobody is woken for what goes well
    intake.open_without_alert(draft, tracked.view.workload, began, severity=Severity.HIGH, asked=ask)


def why_not(draft: Draft, tracked: Tracked, event: RollbackAsked) -> str | None:
    """Why the request cannot even be looked into; None where it can."""
    view = tracked.view
    if view.current.id != event.current:
        return f"{view.workload} runs {view.current.label} now, not what was shown: look again"
    if event.target == event.current:
        return f"{view.workload} runs that revision already"
    if event.target not in {revision.id for revision in view.history}:
        return f"the history of {view.workload} has no revision {event.target[:8]} any more"
    never = sorted(reason for reason in event.overrides if reason in NEVER_OVERRIDDEN)
    if never:
        return f"{', '.join(never)} cannot be overridden"
    for incident in draft.state.open_incidents:
        if incident.suspect != view.workload:
            continue
        if incident.phase is Phase.ROLLING_BACK:
            return f"{incident.id} is rolling it back already"
        if incident.phase is Phase.PROPOSED and incident.target is not None and incident.target.id == event.target:
            return f"{incident.id} proposes this already: approve it"
        if incident.asked is not None and incident.phase is Phase.OPEN:
            return f"{incident.id} looks into the same request of {incident.asked.actor}"
    return None
