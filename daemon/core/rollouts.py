"""From what the cluster shows to rollouts: began, learned more, completed; and what that means for incidents and the ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from daemon.core import attaching, changes, intake, progress, rollout_news, soaking, stints, watching, written_back
from daemon.core.draft import Draft
from daemon.core.facts import RolloutRecorded, SuccessorDue, WorkloadRecorded
from daemon.core.incidents import Incident, Phase
from daemon.core.model import (
    AlertStatus,
    LocatedAlert,
    Revision,
    RevisionPods,
    Rollout,
    Workload,
    WorkloadView,
)
from daemon.core.state import Tracked

PODS_PER_REVISION_MAX = 200
"""Pod names kept per revision of a rollout: enough to compare two revisions, small enough to journal."""

STEPS_MAX = 50
"""Steps kept per rollout: what began after an anomaly is not asked for, so the newest ones tell."""


def workload_seen(draft: Draft, view: WorkloadView) -> None:
    """The cluster shows a workload in a new way."""
    known = draft.state.workloads.get(view.workload.key)
    if known is not None and known.view == view:
        return
    if known is not None and known.view.uid != view.uid and not view.gone:
        # deleted and made anew under the same name: nothing that was proven of the old object holds for this one
        draft.add(WorkloadRecorded(at=draft.now, view=replace(known.view, gone=True)))
        known = None
    draft.add(WorkloadRecorded(at=draft.now, view=view))
    if view.gone:
        return
    if known is None or known.rollout is None or known.view.current.id != view.current.id:
        _began(draft, known, view)
    else:
        _learned(draft, known.rollout, view)
        written_back.look(draft, view, began=False)
    progress.converged(draft, view)
    soaking.serving(draft, view)
    _stuck(draft, view)


def _began(draft: Draft, known: Tracked | None, view: WorkloadView) -> None:
    replaced = known.view.current if known is not None else _predecessor(view)
    rollout = Rollout(
        workload=view.workload,
        replaced=replaced,
        revision=view.current,
        started_at=view.started_at,
        seen_at=draft.now,
        completed_at=_completed(draft, view),
        ours=view.action_id,
        changed_by=view.changed_by,
        irreversible=view.irreversible,
        start_failure=view.start_failure,
        pods=_merged(_carried(known, (view.current, replaced)), view.pods),
        steps=(view.started_at,) if _ready(view.pods, view.current) else (),
    )
    draft.add(RolloutRecorded(at=draft.now, rollout=rollout))
    attaching.rollout_seen(draft, view.workload.key)
    if known is not None:
        soaking.last_check(draft, known, rollout)
        soaking.undone(draft, rollout)
        changes.rollout_began(draft, rollout)
        written_back.look(draft, view, began=True)  # before the news: what is escalated is not announced as well
        rollout_news.began(draft, rollout)
    watching.began(draft, rollout)
    progress.superseded(draft, view)  # an object made anew under the same name is a newer rollout too
    if rollout.completed_at is not None:
        _look_for_successor(draft, view)


def _carried(known: Tracked | None, revisions: tuple[Revision | None, ...]) -> tuple[RevisionPods, ...]:
    """When pods ran these revisions before this rollout, as the one before it recorded.

    By their names alone nobody can tell it later: not of a revision that is rolled back to, nor of one whose pods were
    exchanged while we were down.
    """
    if known is None or known.rollout is None:
        return ()
    wanted = [revision.id for revision in revisions if revision is not None]
    return tuple(
        replace(pods, names=(), ready=0) for pods in known.rollout.pods if pods.stints and pods.revision in wanted
    )


def _predecessor(view: WorkloadView) -> Revision | None:
    """At first sight: the revision with the next lower number is the one that was replaced."""
    number = view.current.number or 0
    older = [r for r in view.history if r.id != view.current.id and (r.number or 0) < number]
    return max(older, key=lambda revision: revision.number or 0, default=None)


def _completed(draft: Draft, view: WorkloadView) -> datetime | None:
    if not view.converged:
        return None
    return max(view.started_at, min(view.available_since or draft.now, draft.now))


def _learned(draft: Draft, rollout: Rollout, view: WorkloadView) -> None:
    """More became known of the rollout in progress."""
    completed = rollout.completed_at or (draft.now if view.converged else None)
    pods = rollout.pods if rollout.completed_at else _merged(rollout.pods, view.pods)
    after = replace(
        rollout,
        revision=view.current,
        completed_at=completed,
        pods=pods,
        steps=_steps(rollout, pods, draft.now),
        start_failure=view.start_failure or rollout.start_failure,
        ours=rollout.ours or view.action_id,
        irreversible=rollout.irreversible or view.irreversible,
    )
    if after != rollout:
        draft.add(RolloutRecorded(at=draft.now, rollout=after))
        attaching.rollout_seen(draft, view.workload.key)
        rollout_news.learned(draft, after)
    if completed is not None and rollout.completed_at is None:
        _look_for_successor(draft, view)


def _steps(rollout: Rollout, pods: tuple[RevisionPods, ...], now: datetime) -> tuple[datetime, ...]:
    """One more where more of the new pods are ready than were: only then they can do more harm."""
    before, after = (_ready(each, rollout.revision) for each in (rollout.pods, pods))
    return (*rollout.steps, now)[-STEPS_MAX:] if after > before else rollout.steps


def _ready(pods: tuple[RevisionPods, ...], revision: Revision) -> int:
    return sum(each.ready for each in pods if each.revision == revision.id)


def _merged(known: tuple[RevisionPods, ...], seen: tuple[RevisionPods, ...]) -> tuple[RevisionPods, ...]:
    """All pod names and stints ever seen per revision, the newest ones where there are too many."""
    merged = {pods.revision: pods for pods in known}
    lives = {pods.revision: pods.stints for pods in known}
    for pods in seen:
        before = merged[pods.revision].names if pods.revision in merged else ()
        union = tuple(dict.fromkeys((*before, *pods.names)))[-PODS_PER_REVISION_MAX:]
        merged[pods.revision] = replace(pods, names=union)
        lives[pods.revision] = (*lives.get(pods.revision, ()), *pods.stints)
    settled = stints.settled(lives)
    return tuple(replace(pods, stints=stints.newest(settled[pods.revision])) for pods in merged.values())


def _stuck(draft: Draft, view: WorkloadView) -> None:
    """A rollout that gave up because its pods cannot start is an anomaly of its own."""
    if not view.stuck or view.start_failure is None:
        return
    tracked = draft.state.workloads[view.workload.key]
    if tracked.rollout is None or tracked.rollout.replaced is None or _is_past(draft, tracked.rollout):
        return
    for incident in draft.state.incidents.values():
        about = view.workload in (incident.suspect, incident.symptom)
        undecided = not incident.phase.ended and incident.phase is not Phase.ESCALATED
        if about and (undecided or incident.opened_at >= tracked.rollout.started_at):
            return
    intake.open_for_stuck_rollout(draft, view.workload)


def _is_past(draft: Draft, rollout: Rollout) -> bool:
    """It was complete so long ago that pods which fail now are not stuck in it: the watch after the soak sees them."""
    return rollout.completed_at is not None and draft.now > rollout.completed_at + draft.policy.blame_window


def _look_for_successor(draft: Draft, view: WorkloadView) -> None:
    """A rollout completed: if an earlier incident's symptom still fires after `hold`, a successor is to judge it.

    Our own rollback needs none: the incident that asked for it goes on watching.
    """
    workload = view.workload
    before = predecessor_of(draft, workload)
    if before is not None and before.roll_back is not None and before.roll_back == view.action_id:
        return
    if before is not None and firing(draft, before):
        due = draft.now + draft.policy.hold
        draft.add(SuccessorDue(at=draft.now, workload=workload.key, due=due, predecessor=before.id))


def predecessor_of(draft: Draft, workload: Workload) -> Incident | None:
    """The latest incident about the workload that has ended or was handed to a person."""
    about = [
        incident
        for incident in draft.state.incidents.values()
        if workload in (incident.suspect, incident.symptom)
        and (incident.phase.ended or incident.phase is Phase.ESCALATED)
        and incident.merged_into is None
    ]
    return max(about, key=lambda incident: incident.opened_at, default=None)


def firing(draft: Draft, incident: Incident) -> tuple[LocatedAlert, ...]:
    """The incident's alerts that still fire."""
    found = []
    for located in incident.alerts:
        noted = draft.state.alerts.get(located.alert.fingerprint)
        if noted is not None and noted.alert.status is AlertStatus.FIRING:
            found.append(replace(located, alert=noted.alert, gone_since=None))
    return tuple(found)


def successor_due(draft: Draft, tracked: Tracked) -> None:
    """The hold after a completed rollout is over: open the linked successor if the symptom still fires."""
    workload, predecessor = tracked.view.workload, tracked.predecessor
    draft.add(SuccessorDue(at=draft.now, workload=workload.key, due=None, predecessor=None))
    before = draft.state.incidents.get(predecessor) if predecessor else None
    if before is None:
        return
    busy = any(
        incident.phase is not Phase.ESCALATED and workload in (incident.suspect, incident.symptom)
        for incident in draft.state.open_incidents
    )
    alerts = firing(draft, before)
    if alerts and not busy:
        intake.open_incident(draft, alerts, predecessor=before)
