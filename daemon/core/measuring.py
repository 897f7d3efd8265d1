"""Which measurement an incident needs next, and owing it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from daemon.core import verdicts
from daemon.core.actions import CheckTarget, Measure, MeasurePurpose
from daemon.core.draft import Draft
from daemon.core.facts import MeasureBegan
from daemon.core.incidents import Incident, Phase
from daemon.core.measurement import Health
from daemon.core.model import ActionId, IncidentId, Revision, Rollout, Stint, Workload
from daemon.core.policy import Policy
from daemon.core.recovery import symptom
from daemon.core.state import Tracked

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MEASURE_FOR = timedelta(seconds=30)
"""Time a measurement may take: beyond it the answer would be about another moment. The next attempt asks again."""

CANDIDATES_MAX = 20
"""Of whose calls is asked, at most: those where it hurts come first, then the nearest."""

PEERS_MAX = 6
"""Unrelated workloads measured beside the suspect: four queries each, and a common cause shows in more than one."""


def begin_measure(draft: Draft, incident_id: IncidentId, *, final: bool = False) -> None:
    """Begin the next attempt: measure, and before a decision also check the target."""
    incident = draft.incident(incident_id)
    attempt = incident.attempt + 1
    draft.add(MeasureBegan(at=draft.now, incident=incident_id, attempt=attempt, final=final))
    deciding = incident.phase in (Phase.OPEN, Phase.PROPOSED)
    draft.owe(_measure(draft, incident, attempt, deciding=deciding))
    if deciding:
        _check_target(draft, incident, attempt)


def _measure(draft: Draft, incident: Incident, attempt: int, *, deciding: bool) -> Measure:
    workload = incident.subject
    tracked = draft.state.workloads.get(workload.key)
    rollout = tracked.rollout if tracked else None
    new, old = _sides(incident, tracked, rollout, deciding=deciding)
    since = rollout.started_at if rollout is not None and deciding else (incident.converged_at or incident.phase_since)
    return Measure(
        id=ActionId(f"{incident.id}/measure/{attempt}"),
        deadline=draft.now + MEASURE_FOR,
        incident=incident.id,
        attempt=attempt,
        purpose=MeasurePurpose.BLAME if deciding else MeasurePurpose.RECOVERY,
        workload=workload,
        new=new,
        new_pods=_pods(rollout, new),
        new_stints=_stints(rollout, new),
        old=old,
        old_pods=_pods(rollout, old),
        old_stints=_stints(rollout, old),
        since=since,
        rollout_started_at=incident.rollout_started_at or (rollout.started_at if rollout else since),
        onset=incident.onset,
        alerts=tuple(located.alert for located in incident.alerts),
        peers=_peers(draft, incident, workload) if deciding else (),
        candidates=_candidates(draft, incident) if deciding else (),
    )


def _candidates(draft: Draft, incident: Incident) -> tuple[tuple[Workload, datetime], ...]:
    found = verdicts.candidates(incident, draft.state, draft.policy)
    return tuple((rollout.workload, rollout.started_at) for rollout in found[:CANDIDATES_MAX])


def of_rollout(draft: Draft, rollout: Rollout, action_id: ActionId) -> Measure:
    """The measurement of a rollout that no incident is about."""
    new, old = rollout.revision, rollout.replaced
    return Measure(
        id=action_id,
        deadline=draft.now + MEASURE_FOR,
        incident=IncidentId(""),
        attempt=0,
        purpose=MeasurePurpose.WATCH,
        workload=rollout.workload,
        new=new,
        new_pods=_pods(rollout, new),
        new_stints=_stints(rollout, new),
        old=old,
        old_pods=_pods(rollout, old),
        old_stints=_stints(rollout, old),
        since=rollout.started_at,
        rollout_started_at=rollout.started_at,
        onset=rollout.started_at,
        alerts=(),
        peers=(),
    )


def _peers(draft: Draft, incident: Incident, workload: Workload) -> tuple[Workload, ...]:
    """Other workloads without a rollout in the window, those of the same namespace first: the common-cause control.

    Not those near to where it hurts in the call graph: they suffer with it, whatever the cause.
    """
    window = incident.onset - draft.policy.blame_window
    others = [
        tracked.view.workload
        for tracked in draft.state.workloads.values()
        if tracked.view.workload not in (workload, *incident.scope, *incident.kin)
        and not _same_pods(tracked, draft.state.workloads.get(workload.key))
        and (tracked.rollout is None or tracked.rollout.replaced is None or tracked.rollout.started_at < window)
    ]
    others.sort(key=lambda other: (other.namespace != workload.namespace, other.key))
    return tuple(others[:PEERS_MAX])


def _same_pods(other: Tracked, subject: Tracked | None) -> bool:
    """A blue/green Service is no second witness beside the Deployment that it has selected, nor that one beside it."""
    pods = subject.view.current.uid if subject is not None else None
    return other.view.current.colour is not None or (pods is not None and other.view.current.uid == pods)


def _sides(
    incident: Incident, tracked: Tracked | None, rollout: Rollout | None, *, deciding: bool
) -> tuple[Revision | None, Revision | None]:
    """Whom to compare: accused and replaced before a decision; afterwards what serves now, with the replaced as baseline."""
    if deciding and rollout is not None:
        return rollout.revision, rollout.replaced
    now = tracked.view.current if tracked else None
    return now, incident.replaced


def _pods(rollout: Rollout | None, revision: Revision | None) -> tuple[str, ...]:
    return rollout.names_of(revision.id) if rollout is not None and revision is not None else ()


def _stints(rollout: Rollout | None, revision: Revision | None) -> tuple[Stint, ...]:
    return rollout.stints_of(revision.id) if rollout is not None and revision is not None else ()


def _check_target(draft: Draft, incident: Incident, attempt: int) -> None:
    tracked = draft.state.workloads.get(incident.subject.key)
    if tracked is None or tracked.rollout is None:
        return
    choice = verdicts.target_of(tracked, tracked.rollout, draft.policy, incident.asked)
    if choice.target is None:
        return
    draft.owe(
        CheckTarget(
            id=ActionId(f"{incident.id}/check/{attempt}"),
            deadline=draft.now + MEASURE_FOR,
            incident=incident.id,
            attempt=attempt,
            workload=tracked.view.workload,
            uid=tracked.view.uid,
            blamed=tracked.rollout.revision,
            target=choice.target.revision,
        )
    )


def next_sample(now: datetime, policy: Policy) -> datetime:
    """When there will be one sample more: looked at any time in between, the same ones would be seen again.

    Samples lie at whole multiples of the interval since the epoch (handlers.prometheus), and are taken once they have settled.
    """
    step = timedelta(seconds=max(1, math.ceil(policy.sample_interval.total_seconds())))
    first = EPOCH + policy.sample_phase + policy.settling
    return first + ((now - first) // step + 1) * step


def last_look(incident: Incident, policy: Policy, now: datetime) -> Health:
    """What the newest measurement says about the symptom; no data where it is of another phase, or not of about now.

    A look that is due comes within its time and one interval; one more is granted. What is older tells how it was before
    Prometheus went, or before we did: it neither clears nor convicts.
    """
    seen = incident.measurement
    if seen is None or seen.at < max(incident.phase_since, now - MEASURE_FOR - 2 * policy.sample_interval):
        return Health.NO_DATA
    return symptom(incident, seen, policy)
