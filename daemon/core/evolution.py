"""`evolve`: how each fact changes the state. One small function per fact, one table, nothing else may change state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from daemon.core import action_evolution, notice_evolution, score_evolution
from daemon.core import facts as f
from daemon.core.incidents import Phase, Trigger
from daemon.core.model import AlertStatus, Neighbour, OnsetSource, Rung, Workload
from daemon.core.state import NotedAlert, Pause, State, Tracked, with_key, without_key
from daemon.core.table import table

ENDED_KEPT_MAX = 300
"""Ended incidents kept in memory for `incidents` and `explain`; older ones are in the journal only."""

ALERTS_KEPT_MAX = 20_000
"""Alerts remembered; beyond it the longest gone are forgotten (a storm of unique labels must not grow memory for ever)."""

LEDGER_KEPT_MAX = 50
"""Ledger entries per workload; Kubernetes itself keeps 10 revisions by default."""

Value = TypeVar("Value")


def evolve(state: State, fact: f.Fact) -> State:
    """The state after one more fact. Pure: no policy, no clock; an unknown fact is a KeyError (our bug)."""
    return _STEPS[type(fact)](state, fact)


def replay(facts: Iterable[f.Fact], state: State | None = None) -> State:
    """Fold facts onto a state (an empty one by default)."""
    folded = state or State()
    for fact in facts:
        folded = evolve(folded, fact)
    return folded


def _started(state: State, fact: f.DaemonStarted) -> State:
    return replace(state, started_at=fact.at)


def _workload(state: State, fact: f.WorkloadRecorded) -> State:
    key = fact.view.workload.key
    if fact.view.gone:
        return replace(state, workloads=without_key(state.workloads, key))
    known = state.workloads.get(key)
    tracked = Tracked(view=fact.view) if known is None else replace(known, view=fact.view)
    return replace(state, workloads=with_key(state.workloads, key, tracked))


def _alert_noted(state: State, fact: f.AlertNoted) -> State:
    alert = fact.alert
    known = state.alerts.get(alert.fingerprint)
    same = known is not None and known.alert.starts_at == alert.starts_at
    location = known.location if known is not None and same else None
    gone_since = fact.at if alert.status is AlertStatus.RESOLVED else None
    noted = NotedAlert(alert=alert, noted_at=fact.at, location=location, gone_since=gone_since)
    alerts = with_key(state.alerts, alert.fingerprint, noted)
    while len(alerts) > ALERTS_KEPT_MAX and (gone := table(alerts).first_having(_goneness, True)) is not None:
        alerts = without_key(alerts, gone[0])
    if known is None and len(state.alerts) < ALERTS_KEPT_MAX:
        return replace(state, alerts=alerts)  # none was ever forgotten, so no incident has this one
    return replace(_gone_in_incidents(state, fact), alerts=alerts)


def _goneness(noted: NotedAlert) -> tuple[bool]:
    return (noted.gone_since is not None,)


def _gone_in_incidents(state: State, fact: f.AlertNoted) -> State:
    gone_since = fact.at if fact.alert.status is AlertStatus.RESOLVED else None
    for incident in state.incidents_of(fact.alert.fingerprint):
        alerts = tuple(
            replace(located, alert=fact.alert, gone_since=gone_since)
            if located.alert.fingerprint == fact.alert.fingerprint
            else located
            for located in incident.alerts
        )
        state = state.with_incident(incident.id, alerts=alerts)
    return state


def _alert_placed(state: State, fact: f.AlertPlaced) -> State:
    noted = replace(state.alerts[fact.fingerprint], location=fact.location)
    return replace(state, alerts=with_key(state.alerts, fact.fingerprint, noted))


def _opened(state: State, fact: f.IncidentOpened) -> State:
    incidents = with_key(state.incidents, fact.incident.id, fact.incident)
    return replace(state, incidents=incidents, incident_count=state.incident_count + 1)


def _joined(state: State, fact: f.AlertJoined) -> State:
    incident = state.incidents[fact.incident]
    others = tuple(a for a in incident.alerts if a.alert.fingerprint != fact.alert.alert.fingerprint)
    state = state.with_incident(fact.incident, alerts=(*others, fact.alert), severity=fact.severity)
    return _placed_anew(state, fact.incident) if incident.phase is Phase.OPEN and incident.alerts else state


def _placed_anew(state: State, incident_id: str) -> State:
    """Place, surroundings and onset of an undecided incident follow from all of its alerts, whichever came first.

    The earliest onset counts, a known one before an assumed one; the rung is the most exact one.
    """
    places = [located.location for located in state.incidents[incident_id].alerts]
    first = min(places, key=lambda place: (place.onset_source is OnsetSource.ASSUMED, place.onset))
    return state.with_incident(
        incident_id,
        onset=first.onset,
        onset_source=first.onset_source,
        rung=min((place.rung for place in places), key=list(Rung).index),
        scope=tuple(dict.fromkeys(workload for place in places for workload in place.workloads)),
        neighbours=_nearest(place.neighbours for place in places),
        kin=tuple(dict.fromkeys(workload for place in places for workload in place.kin)),
    )


def _nearest(places: Iterable[Iterable[Neighbour]]) -> tuple[Neighbour, ...]:
    """The neighbours of all places in the order of one place's: each once, by its shortest way from any of them."""
    order = sorted(
        (each for place in places for each in place), key=lambda each: (each.hops, not each.called, each.workload.key)
    )
    found: dict[Workload, Neighbour] = {}
    for each in order:
        found.setdefault(each.workload, each)
    return tuple(found.values())


def _measure_began(state: State, fact: f.MeasureBegan) -> State:
    return state.with_incident(
        fact.incident,
        attempt=fact.attempt,
        final=fact.final,
        check=None,
        next_measure_at=None,
        countdown_until=None if fact.final else state.incidents[fact.incident].countdown_until,
    )


def _target_checked(state: State, fact: f.TargetChecked) -> State:
    return state.with_incident(fact.incident, check=fact.check)


def _measured(state: State, fact: f.MeasurementKept) -> State:
    return state.with_incident(fact.incident, measurement=fact.measurement)


def _judged(state: State, fact: f.Judged) -> State:
    incident = state.incidents[fact.incident]
    state = state.with_incident(
        fact.incident,
        measurement=fact.measurement,
        suspicions=fact.suspicions,
        verdict=fact.verdict,
        verdict_at=fact.at,
        next_measure_at=fact.next_measure_at,
        final=False,
    )
    if incident.phase is not Phase.OPEN or not fact.suspicions:
        return state  # a proposal stays about what it proposes until another one is made
    leader = fact.suspicions[0]
    if not fact.verdict.blames:
        none: dict[str, Any] = {"blamed": None, "replaced": None, "rollout_started_at": None, "notices": ()}
        return state.with_incident(fact.incident, suspect=leader.workload, **none)
    return state.with_incident(
        fact.incident,
        suspect=leader.workload,
        blamed=leader.revision,
        replaced=leader.replaced,
        **_rollout_of(state, leader.workload),
    )


def _rollout_of(state: State, workload: Workload) -> dict[str, Any]:
    """What is known of the workload's latest rollout: kept, because a rollback will be the latest soon."""
    tracked = state.workloads.get(workload.key)
    rollout = tracked.rollout if tracked else None
    return {
        "rollout_started_at": rollout.started_at if rollout else None,
        "rolled_out_by": rollout.changed_by if rollout else None,
        "notices": tracked.notices if tracked else (),
    }


def _recovery(state: State, fact: f.RecoveryMeasured) -> State:
    return state.with_incident(
        fact.incident,
        measurement=fact.measurement,
        good_since=fact.good_since,
        next_measure_at=fact.next_measure_at,
    )


def _proposed(state: State, fact: f.Proposed) -> State:
    return state.with_incident(
        fact.incident,
        suspect=fact.workload,
        blamed=fact.blamed,
        replaced=fact.replaced,
        **_rollout_of(state, fact.workload),
        target=fact.target,
        countdown_until=fact.countdown_until,
        shown=fact.shown,
        approved_by=None,
    )


def _approval(state: State, fact: f.ApprovalGiven) -> State:
    return state.with_incident(fact.incident, approved_by=fact.actor)


def _moved(state: State, fact: f.Moved) -> State:
    incident = state.incidents[fact.incident]
    converged = fact.trigger is Trigger.CONVERGED
    state = state.with_incident(
        fact.incident,
        phase=fact.phase,
        phase_since=fact.at,
        reason=fact.reason,
        deadline=fact.deadline,
        next_measure_at=fact.next_measure_at,
        countdown_until=incident.countdown_until if fact.phase is Phase.PROPOSED else None,
        converged_at=fact.at if converged else incident.converged_at,
        recovered_at=fact.at if fact.phase is Phase.RECOVERED else incident.recovered_at,
        good_since=None,
        final=False,
        ended_by=fact.actor or incident.ended_by,
        merged_into=fact.merged_into,
    )
    return _forget_ended(state) if fact.phase.ended else state


def _forget_ended(state: State) -> State:
    oldest = state.ended_beyond(ENDED_KEPT_MAX)
    return state if oldest is None else replace(state, incidents=without_key(state.incidents, oldest))


def _ledger(state: State, fact: f.LedgerWritten) -> State:
    tracked = state.workloads.get(fact.workload)
    if tracked is None:
        return state
    ledger = {**tracked.ledger, fact.entry.revision.id: fact.entry}
    if len(ledger) > LEDGER_KEPT_MAX:
        kept = {revision.id for revision in tracked.view.history} | {fact.entry.revision.id}
        spare = [key for key in ledger if key not in kept]
        for key in spare[: len(ledger) - LEDGER_KEPT_MAX]:
            del ledger[key]
    again = {"rolled_back_at": None, "rolled_back_to": None} if _ends_cooling_down(tracked, fact) else {}
    return score_evolution.verified(state, fact, tracked).with_tracked(fact.workload, ledger=ledger, **again)


def _ends_cooling_down(tracked: Tracked, fact: f.LedgerWritten) -> bool:
    """A later revision than the one we went back to was verified."""
    later = tracked.rolled_back_to is not None and fact.entry.revision.id != tracked.rolled_back_to
    return fact.what == "verified" and later


def _pause(state: State, fact: f.PauseSet) -> State:
    pause = Pause(until=fact.until, actor=fact.actor, since=fact.at)
    return replace(state, pauses=with_key(state.pauses, fact.scope, pause))


def _lifted(state: State, fact: f.PauseLifted) -> State:
    return replace(state, pauses=without_key(state.pauses, fact.scope))


def _watch(state: State, fact: f.WatchDue) -> State:
    return state.with_tracked(fact.workload, watch_due=fact.due)


def _successor(state: State, fact: f.SuccessorDue) -> State:
    return state.with_tracked(fact.workload, successor_due=fact.due, predecessor=fact.predecessor)


def _nothing(state: State, _fact: f.CommandRefused) -> State:
    return state


_STEPS: dict[type[f.Fact], Callable[[State, Any], State]] = {
    f.DaemonStarted: _started,
    f.WorkloadRecorded: _workload,
    f.RolloutRecorded: notice_evolution.rollout_recorded,
    f.NoticeTaken: notice_evolution.taken,
    f.NoticeAttached: notice_evolution.attached,
    f.AlertNoted: _alert_noted,
    f.AlertPlaced: _alert_placed,
    f.IncidentOpened: _opened,
    f.AlertJoined: _joined,
    f.IncidentDeclared: notice_evolution.declared,
    f.MeasureBegan: _measure_began,
    f.MeasurementKept: _measured,
    f.TargetChecked: _target_checked,
    f.Judged: _judged,
    f.Decided: score_evolution.decided,
    f.ReviewGiven: score_evolution.reviewed,
    f.RecoveryMeasured: _recovery,
    f.Proposed: _proposed,
    f.ApprovalGiven: _approval,
    f.Moved: _moved,
    f.ActionOwed: action_evolution.owed,
    f.ActionSettled: action_evolution.settled,
    f.LedgerWritten: _ledger,
    f.PauseSet: _pause,
    f.PauseLifted: _lifted,
    f.SuccessorDue: _successor,
    f.WatchDue: _watch,
    f.CommandRefused: _nothing,
}
