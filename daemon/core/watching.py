"""A rollout under way is measured on a schedule, so that a silent regression opens an incident by itself (issue 5).

Alerts are made for what users notice; a canary that fails for a twentieth of them is below most thresholds. What is looked for
is what may act by itself: pods that cannot start, and new pods that are bad while old ones are good.
"""

from __future__ import annotations

from datetime import datetime

from daemon.core import intake, measuring, verdicts
from daemon.core.actions import Measure
from daemon.core.draft import Draft
from daemon.core.facts import WatchDue
from daemon.core.incidents import Incident, Phase, Tier
from daemon.core.measurement import Measurement
from daemon.core.model import ActionId, Rollout, StartFailureKind
from daemon.core.state import Tracked


def began(draft: Draft, rollout: Rollout) -> None:
    """A rollout began, or is under way when it is first seen: look at it with every sample. Ours is watched by its incident."""
    watched = rollout.ours is None and rollout.replaced is not None and draft.now < _ends(draft, rollout)
    _schedule(draft, rollout, measuring.next_sample(draft.now, draft.policy) if watched else None)


def _ends(draft: Draft, rollout: Rollout) -> datetime:
    """When it is old enough that what goes wrong is not its doing; one that is never complete comes to an end as well."""
    complete = rollout.completed_at or draft.now
    return min(complete + draft.policy.blame_window, rollout.started_at + draft.policy.too_old)


def _schedule(draft: Draft, rollout: Rollout, due: datetime | None) -> None:
    tracked = draft.state.workloads[rollout.workload.key]
    if tracked.watch_due != due:
        draft.add(WatchDue(at=draft.now, workload=rollout.workload.key, due=due))


def due(draft: Draft, tracked: Tracked) -> None:
    """Measure the rollout, and say when it is measured next."""
    rollout = tracked.rollout
    if tracked.watch_due is None or tracked.watch_due > draft.now or rollout is None:
        return
    key = rollout.workload.key
    again = draft.now < _ends(draft, rollout)
    _schedule(draft, rollout, measuring.next_sample(draft.now, draft.policy) if again else None)
    if not _in_question(draft, rollout):
        action_id = ActionId(f"watch/{key}/{rollout.revision.id}/{draft.now:%Y%m%dT%H%M%S%f}")
        draft.owe(measuring.of_rollout(draft, rollout, action_id))


def _in_question(draft: Draft, rollout: Rollout) -> bool:
    """An incident measures it already, or has come to a conclusion about it: nobody is told the same twice."""
    return any(
        incident.suspect == rollout.workload and _answers(incident, rollout, draft)
        for incident in draft.state.incidents.values()
        if incident.opened_at >= rollout.started_at
    )


def _answers(incident: Incident, rollout: Rollout, draft: Draft) -> bool:
    """An alert's incident that was handed over without blame leaves the question open: pods may still fail to start."""
    if incident.blamed is not None and incident.blamed.id == rollout.revision.id:
        return True
    if incident.phase.ended:
        return draft.now - incident.phase_since < draft.policy.decide_deadline
    return incident.phase is not Phase.ESCALATED or not incident.alerts


def watched(draft: Draft, action: Measure, measurement: Measurement) -> None:
    """What the look at a rollout has shown: an incident where it shows a culprit that may be acted upon."""
    tracked = draft.state.workloads.get(action.workload.key)
    rollout = tracked.rollout if tracked is not None else None
    if tracked is None or rollout is None or action.new is None or rollout.revision.id != action.new.id:
        return
    if _in_question(draft, rollout):
        return
    if _is_slow_to_start(tracked, measurement):
        return
    suspicion = verdicts.seen_by_itself(tracked, rollout, measurement, draft.state, draft.policy, draft.now)
    if suspicion.tier in (Tier.START_FAILURE, Tier.CONTRAST) and suspicion.score >= draft.policy.blame_threshold:
        intake.open_without_alert(draft, action.workload, rollout.started_at)


def _is_slow_to_start(tracked: Tracked, measurement: Measurement) -> bool:
    """Not ready yet, and nobody complains: some take minutes to start, and the progress deadline says when it is too long."""
    failure = measurement.start_failure
    return failure is not None and failure.kind is StartFailureKind.NEVER_READY and not tracked.view.stuck
