"""The document behind `lastgood explain`: everything that is known of an incident, an alert or a workload, and why.

Pure: state, journalled facts and policy in, one JSON object out (`kind`: incident, alert or workload). Thresholds that
a verdict used stand in its terms; the policy's threshold and margin are those in force now. No measurement is repeated
here whole: what spoke for or against is in the terms and refusals.
"""

from __future__ import annotations

from datetime import datetime

from daemon.core import facts as f
from daemon.core.briefs import commands, compose, notices_of
from daemon.core.incidents import Incident
from daemon.core.measurement import Measurement
from daemon.core.mode import mode_of
from daemon.core.model import LocatedAlert, OnsetSource
from daemon.core.policy import Policy
from daemon.core.state import NotedAlert, State, Tracked
from handlers import evidence, notice_rows, overview, road, scorecard
from handlers.overview import Document, cut, moment
from handlers.road import History

FACTS_MAX = 1000
"""Facts of one incident that are read for its road; an incident that is watched for hours repeats itself."""

NEAR_MAX = 20
"""Neighbours that are shown, of the 200 that an alert's place may have."""

ALERTS_MAX = 50
"""Alerts that are shown in full, of the 200 an incident may carry."""

UNMAPPED_MAX = 10
"""Alerts without a workload that are shown beside one."""


def incident_about(state: State, about: str) -> Incident | None:
    """The incident of this id, or the newest one that carries this alert or is about this workload."""
    if about in state.incidents:
        return state.incidents[about]
    found = [incident for incident in state.incidents.values() if _is_about(incident, about)]
    return max(found, key=lambda incident: (not incident.phase.ended, incident.opened_at), default=None)


def _is_about(incident: Incident, about: str) -> bool:
    if any(located.alert.fingerprint == about for located in incident.alerts):
        return True
    workloads = (incident.symptom, *([incident.suspect] if incident.suspect else incident.scope))
    return any(about in (workload.short, workload.key) for workload in workloads)


def without_incident(state: State, policy: Policy, now: datetime, about: str) -> Document | None:
    """What is known of an alert or a workload that no incident is about; None where it is unknown."""
    if about in state.alerts:
        noted = state.alerts[about]
        return {"kind": "alert", "now": moment(now), "alert": overview.alert_row(noted), "why": _why_no_incident(noted)}
    found = overview.workloads_named(state, about)
    if not found:
        return None
    return {
        "kind": "workload",
        "now": moment(now),
        "workloads": [
            {**overview.workload_row(each, state, policy, now), "notices": notice_rows.rows(each.notices)}
            for each in found
        ],
        "why": "no incident is about it",
        "unmapped_alerts": overview.unmapped_alerts(state, UNMAPPED_MAX),
    }


def _why_no_incident(noted: NotedAlert) -> str:
    if noted.location is None:
        return "its workload is still being looked for"
    if not noted.location.workloads:
        return (
            "its labels lead to no workload: label the rule lastgood_workload=namespace/name, or add a policy mapping"
        )
    if noted.gone_since is not None:
        return "it is not firing any more"
    return "its incident has ended and is in the journal only"


def incident_document(incident: Incident, history: History, state: State, policy: Policy, now: datetime) -> Document:
    """Everything that is known of an incident."""
    brief = compose(incident, state, policy, "")
    tracked = state.workloads.get((incident.suspect or incident.symptom).key)
    steps, left_out = road.road(history)
    return {
        "kind": "incident",
        "now": moment(now),
        "cluster": policy.cluster,
        "incident": _incident(incident),
        "headline": cut(brief.headline),
        "changed": cut(brief.changed),
        "wide": cut(brief.wide),
        "done": cut(brief.done),
        "mode": mode_of(policy, tracked).value if tracked else policy.default_mode.value,
        "road": steps,
        "road_left_out": left_out,
        "alerts": [_alert(located, incident.measurement) for located in incident.alerts[:ALERTS_MAX]],
        "alerts_left_out": max(0, len(incident.alerts) - ALERTS_MAX),
        "verdict": _verdict(incident, policy),
        "candidates": [evidence.candidate(each, policy) for each in incident.suspicions],
        "target": _target(incident, tracked, history, policy, now),
        "measured": _measured(incident.measurement),
        "told": list(road.told(history)),
        "commands": list(commands(incident, state)),
        "unmapped_alerts": overview.unmapped_alerts(state, UNMAPPED_MAX),
        "declared": _declared(incident),
        "judged": evidence.judged(incident, history, policy),
        "decision": scorecard.decision(incident.decision) if incident.decision is not None else None,
        "notices": notice_rows.rows(notices_of(incident, state)),
    }


def _declared(incident: Incident) -> Document | None:
    found = incident.declared
    if found is None:
        return None
    return {
        "cause": found.cause.value,
        "sentence": found.cause.sentence,
        "risks_data": found.cause.risks_data,
        "actor": cut(found.actor),
        "at": moment(found.at),
        "note": cut(found.note),
    }


def _incident(incident: Incident) -> Document:
    return {
        **overview.incident_row(incident),
        "scope": [workload.key for workload in incident.scope],
        "near": _near(incident),
        "rung": incident.rung.value,
        "onset_source": incident.onset_source.value,
        "onset_known": incident.onset_source is not OnsetSource.ASSUMED,
        "rollout_started_at": moment(incident.rollout_started_at),
        "replaced": overview.revision(incident.replaced),
        "attempt": incident.attempt,
        "next_measure_at": moment(incident.next_measure_at),
        "approved_by": incident.approved_by,
        "ended_by": incident.ended_by,
        "verdict_at": moment(incident.verdict_at),
        "converged_at": moment(incident.converged_at),
        "good_since": moment(incident.good_since),
        "recovered_at": moment(incident.recovered_at),
        "predecessor": incident.predecessor,
        "merged_into": incident.merged_into,
        "page": _page(incident),
        "thread": {"channel": incident.thread.channel, "thread": incident.thread.thread},
    }


def _near(incident: Incident) -> Document | None:
    """Who is near in the call graph, nearest first; None where no graph was known when the alert was placed."""
    if not incident.kin:
        return None
    rows = [
        {"workload": each.workload.key, "hops": each.hops, "called": each.called}
        for each in incident.neighbours[:NEAR_MAX]
    ]
    return {"rows": rows, "left_out": max(0, len(incident.neighbours) - NEAR_MAX)}


def _page(incident: Incident) -> Document | None:
    page = incident.page
    if page is None:
        return None
    return {"key": page.key, "urgent": page.urgent, "open": page.open, "sent": page.count, "last": page.last.value}


def _alert(located: LocatedAlert, measured: Measurement | None) -> Document:
    """An alert of the incident: as reported, and (`looked`) as Alertmanager's API told at the last measurement."""
    alert, location = located.alert, located.location
    looked = {state.fingerprint: state.status.value for state in measured.alerts} if measured else {}
    return {
        "fingerprint": alert.fingerprint,
        "name": cut(alert.name),
        "status": alert.status.value,
        "starts_at": moment(alert.starts_at),
        "gone_since": moment(located.gone_since),
        "looked": looked.get(alert.fingerprint),
        "looked_at": moment(measured.at) if measured and alert.fingerprint in looked else None,
        "labels": {cut(name): cut(value) for name, value in alert.labels},
        "annotations": {cut(name): cut(value) for name, value in alert.annotations},
        "rung": location.rung.value,
        "workloads": [workload.key for workload in location.workloads],
        "tried": [cut(each) for each in location.tried],
        "onset": moment(location.onset),
        "onset_source": location.onset_source.value,
    }


def _verdict(incident: Incident, policy: Policy) -> Document | None:
    verdict = incident.verdict
    if verdict is None:
        return None
    scores = [suspicion.score for suspicion in incident.suspicions]
    return {
        "kind": verdict.kind.value,
        "reason": overview.reason(verdict.reason),
        "blames": verdict.blames,
        "score": scores[0] if scores else None,
        "threshold": policy.blame_threshold,
        "lead": round(scores[0] - scores[1], 4) if len(scores) > 1 else None,
        "margin": policy.blame_margin,
        "refusals": [overview.refusal(refusal) for refusal in verdict.refusals],
        "rejected": [cut(each) for each in verdict.rejected],
        "target": overview.revision(verdict.target),
    }


def _target(
    incident: Incident, tracked: Tracked | None, history: History, policy: Policy, now: datetime
) -> Document | None:
    """The revision to go back to, with its proof and whether it could be deployed when that was last looked at."""
    found = incident.target or (incident.verdict.target if incident.verdict else None)
    if found is None:
        return None
    row = overview.ledger_row(found, tracked.entry(found.id) if tracked else None, policy, now, current=False)
    row["current"] = tracked is not None and tracked.view.current.id == found.id
    checks = [fact for _, fact in history if isinstance(fact, f.TargetChecked) and fact.check.revision == found.id]
    return {**row, "check": _check(checks[-1]) if checks else None}


def _check(fact: f.TargetChecked) -> Document:
    check = fact.check
    return {
        "at": moment(fact.at),
        "exists": check.exists,
        "missing": [cut(each) for each in check.missing],
        "unchecked": [cut(each) for each in check.unchecked],
        "configs": [{"name": cut(each.name), "changed_at": moment(each.changed_at)} for each in check.configs],
        "dry_run_error": cut(check.dry_run_error) if check.dry_run_error else None,
        "no_way": cut(check.no_way) if check.no_way else None,
    }


def _measured(measurement: Measurement | None) -> Document | None:
    """What the last look found, without the samples: the terms say what they amount to."""
    if measurement is None:
        return None
    return {
        "at": moment(measurement.at),
        "new_ready": measurement.new_ready,
        "new_pods": measurement.new_pods,
        "old_ready": measurement.old_ready,
        "restarts": measurement.restarts,
        "samples": {"new": len(measurement.new), "old": len(measurement.old), "before": len(measurement.before)},
        "last_new": dict(measurement.new[-1].values) if measurement.new else {},
        "last_old": dict(measurement.old[-1].values) if measurement.old else {},
        "missing": [cut(each) for each in measurement.missing],
        "failed_nodes": [cut(each) for each in measurement.failed_nodes],
    }
