"""From an alert to an incident: note it, locate it, join or open. (Deciding what becomes of it is `progress`.)"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from daemon.core import progress, switches, verdicts
from daemon.core.actions import Locate
from daemon.core.draft import Draft
from daemon.core.events import AlertSource, AlertsReported
from daemon.core.facts import AlertJoined, AlertNoted, AlertPlaced, IncidentDeclared, IncidentOpened
from daemon.core.incidents import Ask, Incident, Phase
from daemon.core.measuring import begin_measure
from daemon.core.model import (
    ActionId,
    Alert,
    AlertStatus,
    Declaration,
    IncidentId,
    LocatedAlert,
    Location,
    OnsetSource,
    Rung,
    Severity,
    Workload,
)
from daemon.core.policy import Paging
from daemon.core.telling import alerts_gone, tell

LOCATE_FOR = timedelta(hours=1)
"""How long locating is retried: the alert is accepted, so it must not be dropped because a source is down for a while."""

ALERTS_PER_INCIDENT_MAX = 200
"""Alerts one incident carries; more add nothing that a person would read."""


def alerts_reported(draft: Draft, event: AlertsReported) -> None:
    """Note what changed; locate what began to fire. A complete list also tells what is gone."""
    for alert in event.alerts:
        _alert(draft, alert, event.source)
    if event.complete:
        listed = {alert.fingerprint for alert in event.alerts}
        for noted in tuple(draft.state.alerts.values()):
            if noted.gone_since is None and noted.alert.fingerprint not in listed:
                gone = replace(noted.alert, status=AlertStatus.RESOLVED)
                draft.add(AlertNoted(at=draft.now, source=event.source, alert=gone))
    alerts_gone(draft)


def _alert(draft: Draft, alert: Alert, source: AlertSource) -> None:
    known = draft.state.alerts.get(alert.fingerprint)
    if known is None and alert.status is AlertStatus.RESOLVED:
        return
    same = known is not None and known.alert.starts_at == alert.starts_at
    if known is not None and same and known.alert.status is alert.status:
        return
    if known is not None and alert.starts_at < known.alert.starts_at:
        return  # an older turn of the same alert, delivered late
    draft.add(AlertNoted(at=draft.now, source=source, alert=alert))
    if alert.status is AlertStatus.FIRING:
        _locate(draft, alert)


def _locate(draft: Draft, alert: Alert) -> None:
    action_id = ActionId(f"locate/{alert.fingerprint}/{alert.starts_at:%Y%m%dT%H%M%S%f}")
    draft.owe(Locate(id=action_id, deadline=draft.now + LOCATE_FOR, alert=alert))


def located(draft: Draft, alert: Alert, location: Location) -> None:
    """An alert's place is known: it joins the incident there, or opens one."""
    noted = draft.state.alerts.get(alert.fingerprint)
    if noted is None or noted.alert.starts_at != alert.starts_at:
        return  # forgotten, or it began anew meanwhile and is being located again
    draft.add(AlertPlaced(at=draft.now, fingerprint=alert.fingerprint, location=location))
    if noted.alert.status is AlertStatus.SUPPRESSED:
        return
    found = LocatedAlert(alert=noted.alert, location=location, gone_since=noted.gone_since)
    if not location.workloads:
        _unmapped(draft, found)
        return
    incident = _open_incident_for(draft, location)
    if incident is not None:
        join(draft, incident, found)
    else:
        open_incident(draft, (found,), predecessor=_superseded_unnoticed(draft, location))


def _superseded_unnoticed(draft: Draft, location: Location) -> Incident | None:
    """What the watch blamed and a newer rollout superseded before any alert came: this one is about it, and judges the newer.

    Else its symptom would be older than the only rollout in question, and two bad ones in a row nobody's.
    """
    places = {workload.key for workload in location.workloads}
    onset = location.onset
    if location.onset_source is OnsetSource.ASSUMED:
        onset += draft.policy.assumed_for
    for incident in reversed(tuple(draft.state.incidents.values())):
        unnoticed = incident.phase is Phase.SUPERSEDED and incident.blamed is not None and not incident.alerts
        if (
            unnoticed
            and incident.symptom.key in places
            and draft.now - incident.phase_since <= draft.policy.blame_window
        ):
            began = incident.rollout_started_at or incident.opened_at
            return incident if onset >= began - draft.policy.sample_interval else None
    return None


def _unmapped(draft: Draft, found: LocatedAlert) -> None:
    """An alert about nothing we know is none of ours, unless we page instead of others: then a critical one pages."""
    if draft.policy.paging is not Paging.INSTEAD or severity_of(draft, found.alert) is not Severity.CRITICAL:
        return
    namespace = found.alert.label("namespace") or "-"
    symptom = Workload(namespace=namespace, kind="Alert", name=found.alert.name)
    open_incident(draft, (replace(found, location=replace(found.location, workloads=(symptom,))),))


def _open_incident_for(draft: Draft, location: Location) -> Incident | None:
    """The oldest open incident whose symptom is there, or which blames the revision that runs there."""
    places = {workload.key for workload in location.workloads}
    symptom = symptom_of(location)
    for incident in draft.state.open_incidents:
        blames = incident.blamed is not None and incident.suspect is not None and incident.suspect.key in places
        if (blames or incident.symptom == symptom) and _belongs(draft, incident, location):
            return incident
    return None


def _belongs(draft: Draft, incident: Incident, location: Location) -> bool:
    """The alert is part of this anomaly: it began with the incident's rollout, neither before it nor with a newer one.

    An alert that has been firing since before the rollout must neither make the anomaly look older than it is nor keep it
    from ever being over; one that began after a newer rollout asks for a judgement of that one. Both are their own incident.
    """
    if incident.blamed is None and incident.phase is Phase.OPEN:
        alone = replace(incident, onset=location.onset, onset_source=location.onset_source)
        return bool(verdicts.candidates(alone, draft.state, draft.policy))
    tracked = draft.state.workloads.get((incident.suspect or incident.symptom).key)
    rollout = tracked.rollout if tracked is not None else None
    if incident.phase is Phase.ESCALATED and rollout is not None and rollout.seen_at > incident.opened_at:
        ours = incident.roll_back is not None and rollout.ours == incident.roll_back
        if not ours and location.onset >= rollout.started_at:
            return False
    began = incident.rollout_started_at
    known = location.onset_source is not OnsetSource.ASSUMED
    return not (known and began is not None and location.onset < began - draft.policy.sample_interval)


def join(draft: Draft, incident: Incident, found: LocatedAlert) -> None:
    """Add the alert to the incident; the loudest severity counts."""
    if len(incident.alerts) >= ALERTS_PER_INCIDENT_MAX:
        return
    severity = incident.severity.or_louder(severity_of(draft, found.alert))
    draft.add(AlertJoined(at=draft.now, incident=incident.id, alert=found, severity=severity))


def severity_of(draft: Draft, alert: Alert) -> Severity:
    """The severity that the policy reads from the alert's label."""
    return draft.policy.severity_of(alert.label(draft.policy.severity_label))


def symptom_of(location: Location) -> Workload:
    """Where it hurts: the workload, or for an alert that names only a namespace, the namespace."""
    first = location.workloads[0]
    if location.rung is Rung.NAMESPACE:
        return Workload(namespace=first.namespace, kind="Namespace", name=first.namespace)
    return first


def open_incident(
    draft: Draft,
    alerts: tuple[LocatedAlert, ...],
    *,
    predecessor: Incident | None = None,
) -> None:
    """Open an investigation of these alerts and begin to measure."""
    first = min(alerts, key=lambda found: found.location.onset)
    location = first.location
    severity = Severity.LOW
    for found in alerts:
        severity = severity.or_louder(severity_of(draft, found.alert))
    start(
        draft,
        Incident(
            id=incident_id(draft),
            symptom=symptom_of(location),
            scope=location.workloads,
            neighbours=location.neighbours,
            kin=location.kin,
            rung=location.rung,
            opened_at=draft.now,
            onset=location.onset,
            onset_source=location.onset_source,
            severity=severity,
            alerts=alerts[:ALERTS_PER_INCIDENT_MAX],
            phase=Phase.OPEN,
            phase_since=draft.now,
            deadline=draft.now + draft.policy.decide_deadline,
            predecessor=predecessor.id if predecessor else None,
            chain_started_at=_chain_start(predecessor),
        ),
    )


def open_for_stuck_rollout(draft: Draft, workload: Workload) -> None:
    """A rollout whose pods cannot start is an anomaly even when no alert fires."""
    open_without_alert(draft, workload, draft.now)


def open_for_regression(draft: Draft, workload: Workload, onset: datetime) -> None:
    """A freshly verified revision turned unhealthy: its mark is withdrawn, and a rollback is proposed (DESIGN)."""
    busy = any(workload in (incident.symptom, incident.suspect) for incident in draft.state.open_incidents)
    rollouts = [tracked.rollout for tracked in draft.state.workloads.values() if tracked.rollout is not None]
    mine = next((rollout for rollout in rollouts if rollout.workload == workload), None)
    if not busy and not (mine is not None and switches.counts_elsewhere(mine, rollouts)):
        open_without_alert(draft, workload, onset, regression=True)


def declare(draft: Draft, workload: Workload, onset: datetime, declaration: Declaration) -> None:
    """Somebody says that the workload's latest rollout does harm: an incident without an alert, or a mark on the open one.

    The mark matters: what is declared about data must also stop a countdown that is under way.
    """
    incident = _about_latest_rollout(draft, workload)
    if incident is None:
        open_without_alert(draft, workload, min(onset, draft.now), declared=declaration)
        return
    draft.add(IncidentDeclared(at=draft.now, incident=incident.id, declaration=declaration))
    tell(
        draft, incident.id, f"Declared by {declaration.actor}: {declaration.cause.sentence}. {declaration.note}".strip()
    )
    if incident.phase in (Phase.OPEN, Phase.PROPOSED):
        begin_measure(draft, incident.id)


def _about_latest_rollout(draft: Draft, workload: Workload) -> Incident | None:
    """The oldest open incident about the workload, unless it was handed over before the latest rollout began."""
    tracked = draft.state.workloads.get(workload.key)
    began = tracked.rollout.started_at if tracked is not None and tracked.rollout is not None else draft.now
    for incident in draft.state.open_incidents:
        stale = incident.phase is Phase.ESCALATED and incident.opened_at < began
        if workload in (incident.symptom, incident.suspect) and not stale:
            return incident
    return None


def open_without_alert(
    draft: Draft,
    workload: Workload,
    onset: datetime,
    *,
    severity: Severity = Severity.CRITICAL,
    regression: bool = False,
    declared: Declaration | None = None,
    asked: Ask | None = None,
) -> None:
    """Without an alert an incident counts as critical (DESIGN, "Defaults")."""
    start(
        draft,
        Incident(
            id=incident_id(draft),
            symptom=workload,
            scope=(workload,),
            rung=Rung.EXPLICIT,
            opened_at=draft.now,
            onset=onset,
            onset_source=OnsetSource.RULE,
            severity=severity,
            alerts=(),
            phase=Phase.OPEN,
            phase_since=draft.now,
            deadline=draft.now + draft.policy.decide_deadline,
            regression=regression,
            declared=declared,
            asked=asked,
        ),
    )


def start(draft: Draft, incident: Incident) -> None:
    """Record the opening and take the first measurement, of the youngest candidate first."""
    rollouts = verdicts.candidates(incident, draft.state, draft.policy)
    youngest = max(rollouts, key=lambda rollout: rollout.started_at, default=None)
    incident = replace(incident, suspect=youngest.workload if youngest else None)
    draft.add(IncidentOpened(at=draft.now, incident=incident))
    tell(draft, incident.id, "An investigation began.")
    if youngest is None:
        progress.dismiss_without_candidate(draft, incident.id)
    else:
        begin_measure(draft, incident.id)


def _chain_start(predecessor: Incident | None) -> datetime | None:
    if predecessor is None or predecessor.blamed is None:
        return None
    return predecessor.chain_started_at or predecessor.rollout_started_at


def incident_id(draft: Draft) -> IncidentId:
    """Derived from the moment and a counter, so a replay gives the same; the date keeps ids apart after a lost disk."""
    return IncidentId(f"inc-{draft.now:%Y%m%d-%H%M%S}-{draft.state.incident_count + 1}")
