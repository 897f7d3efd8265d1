"""`decide(state, event, now, policy) -> facts`: the whole judgement, pure.

This file only says which part answers which event; the parts are `intake` (alerts), `rollouts` (cluster views),
`progress` (incidents), `soaking` (the ledger) and `people` (commands).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.core import (
    attaching,
    intake,
    people,
    progress,
    reverting,
    rollouts,
    soaking,
    suspending,
    watching,
    written_back,
)
from daemon.core.actions import (
    Action,
    Checked,
    CheckTarget,
    EndSuspension,
    Locate,
    Located,
    Measure,
    Measured,
    MeasurePurpose,
    Outcome,
    OutcomeKind,
    Page,
    ProveSoak,
    RevertCommit,
    RollBack,
    Soaked,
)
from daemon.core.draft import Draft
from daemon.core.events import (
    ActionFinished,
    AlertsReported,
    DeadlinePassed,
    Event,
    Noticed,
    Started,
    WorkloadSeen,
)
from daemon.core.facts import ActionSettled, DaemonStarted, Fact, PauseLifted, Proposed
from daemon.core.incidents import Incident, Phase
from daemon.core.measurement import Measurement
from daemon.core.model import Location, OnsetSource, Rung
from daemon.core.policy import Policy
from daemon.core.state import State
from daemon.core.telling import page_lost, tell


def decide(state: State, event: Event, *, now: datetime, policy: Policy) -> tuple[Fact, ...]:
    """What we hold true after this event. Deterministic: the same arguments give the same facts."""
    return conclude(state, event, now=now, policy=policy).facts


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The facts of one event, and the state that they lead to: what folding them gives, folded already."""

    facts: tuple[Fact, ...]
    state: State


def conclude(state: State, event: Event, *, now: datetime, policy: Policy) -> Conclusion:
    """`decide`, for whoever goes on from there: the facts need not be folded a second time."""
    draft = Draft(state=state, now=now, policy=policy)
    match event:
        case AlertsReported():
            intake.alerts_reported(draft, event)
        case Noticed():
            attaching.noticed(draft, event)
        case WorkloadSeen():
            rollouts.workload_seen(draft, event.view)
            people.stop_paused(draft)
        case ActionFinished():
            _finished(draft, event)
        case DeadlinePassed():
            _due(draft)
        case Started():
            _started(draft, event)
        case _:
            people.command(draft, event)
    return Conclusion(tuple(draft.facts), draft.state)


def _finished(draft: Draft, event: ActionFinished) -> None:
    action = draft.state.owed.get(event.action_id)
    if action is None:
        return  # settled before: a second outcome of the same action changes nothing
    kept = isinstance(action, RollBack) or event.outcome.result is None or not _is_measurement(action)
    outcome = event.outcome if kept else _bare(event.outcome)
    draft.add(ActionSettled(at=draft.now, action_id=event.action_id, outcome=outcome))
    _follow(draft, action, event.outcome)


def _is_measurement(action: Action) -> bool:
    """Its result is kept by the fact that uses it, not a second time with the outcome."""
    return isinstance(action, Measure | CheckTarget | ProveSoak | Locate)


def _bare(outcome: Outcome) -> Outcome:
    return Outcome(kind=outcome.kind, message=outcome.message, took=outcome.took, attempts=outcome.attempts)


def _follow(draft: Draft, action: Action, outcome: Outcome) -> None:
    result = outcome.result
    match action:
        case Locate():
            location = result.location if isinstance(result, Located) else _nowhere(draft, action, outcome)
            intake.located(draft, action.alert, location)
        case Measure():
            measurement = result.measurement if isinstance(result, Measured) else _failed(draft, outcome)
            if action.purpose is MeasurePurpose.WATCH:
                watching.watched(draft, action, measurement)
                return
            progress.measured(draft, action.incident, action.attempt, measurement)
        case CheckTarget():
            check = result.check if isinstance(result, Checked) else None
            progress.target_checked(draft, action.incident, action.attempt, check)
        case ProveSoak():
            soak = result.soak if isinstance(result, Soaked) else None
            lost = soaking.soaked(draft, action.workload, action.revision, soak)
            if lost and soak is not None and soak.regressed_at is not None:
                intake.open_for_regression(draft, action.workload, soak.regressed_at)
        case RollBack():
            progress.rolled_back(draft, action, outcome)
            suspending.due(draft)
            _look_again(draft, action)
        case EndSuspension():
            suspending.finished(draft, action, outcome)
        case RevertCommit():
            reverting.settled(draft, action, outcome)
        case Page() if outcome.kind is not OutcomeKind.DONE:
            page_lost(draft, action, outcome.message)
        case _:
            pass  # delivered pages and announcements: `evolve` keeps what is needed


def _look_again(draft: Draft, action: RollBack) -> None:
    """Whoever was faster than the answer to our patch has been seen already."""
    tracked = draft.state.workloads.get(action.workload.key)
    if tracked is not None:
        written_back.look(draft, tracked.view, began=False)


def _nowhere(draft: Draft, action: Locate, outcome: Outcome) -> Location:
    return Location(
        workloads=(),
        rung=Rung.NONE,
        tried=(f"could not be located: {outcome.message}",),
        onset=action.alert.starts_at - draft.policy.assumed_for,
        onset_source=OnsetSource.ASSUMED,
    )


def _failed(draft: Draft, outcome: Outcome) -> Measurement:
    return Measurement(at=draft.now, missing=(f"prometheus: {outcome.message or outcome.kind}",))


def _due(draft: Draft) -> None:
    for scope, pause in tuple(draft.state.pauses.items()):
        if pause.until is not None and pause.until <= draft.now:
            draft.add(PauseLifted(at=draft.now, scope=scope, actor="its own end"))
    suspending.due(draft)
    for tracked in draft.state.workloads_due(draft.now):
        soaking.due(draft, tracked)
        watching.due(draft, tracked)
        if tracked.successor_due is not None and tracked.successor_due <= draft.now:
            rollouts.successor_due(draft, tracked)
    for incident in draft.state.incidents_due(draft.now):
        progress.due(draft, draft.incident(incident.id))


def _started(draft: Draft, event: Started) -> None:
    draft.add(DaemonStarted(at=draft.now, down_since=event.down_since))
    for incident in draft.state.open_incidents:
        if incident.phase is Phase.PROPOSED and incident.countdown_until is not None:
            _countdown_anew(draft, incident)


def _countdown_anew(draft: Draft, incident: Incident) -> None:
    """A countdown that ran out while we were down is no consent: it starts anew (DESIGN)."""
    until, workload, blamed, target = incident.countdown_until, incident.suspect, incident.blamed, incident.target
    if until is None or until > draft.now or workload is None or blamed is None or target is None:
        return
    draft.add(
        Proposed(
            at=draft.now,
            incident=incident.id,
            workload=workload,
            blamed=blamed,
            replaced=incident.replaced,
            target=target,
            countdown_until=draft.now + max(draft.policy.countdown, timedelta(0)),
            shown=incident.shown,
        )
    )
    tell(draft, incident.id, "The countdown ran out while Lastgood was down: it starts anew.")
