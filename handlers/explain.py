"""The document behind `lastgood explain`: everything that is known of an incident, an alert or a workload, and why.

Pure: state, journalled facts and policy in, one JSON object out (`kind`: incident, alert or workload). Thresholds that
a verdict used stand in its terms; the policy's threshold and margin are those in force now. No measurement is repeated
here whole: what spoke for or against is in the terms and refusals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from daemon.core import facts as f
from daemon.core.actions import Announce, Outcome, Page, RollBack
from daemon.core.briefs import commands, compose
from daemon.core.guards import mode_of
from daemon.core.incidents import Incident, Suspicion
from daemon.core.measurement import Measurement, TargetCheck
from daemon.core.model import LocatedAlert, OnsetSource
from daemon.core.policy import Policy
from daemon.core.state import NotedAlert, State, Tracked
from handlers import overview
from handlers.overview import Document, cut, moment

FACTS_MAX = 1000
"""Facts of one incident that are read for its road; an incident that is watched for hours repeats itself."""

STEPS_MAX = 200
"""Steps of the road that are told: the first half and the last half of a longer one."""

ALERTS_MAX = 50
"""Alerts that are shown in full, of the 200 an incident may carry."""

UNMAPPED_MAX = 10
"""Alerts without a workload that are shown beside one."""

History = Sequence[tuple[datetime, f.Fact]]
"""Facts of an incident with the moment they were journalled, oldest first."""


def workloads_named(state: State, name: str) -> list[Tracked]:
    """The workloads that `namespace/name` or `namespace/Kind/name` may mean."""
    return [each for each in state.workloads.values() if name in (each.view.workload.short, each.view.workload.key)]


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
    found = workloads_named(state, about)
    if not found:
        return None
    return {
        "kind": "workload",
        "now": moment(now),
        "workloads": [overview.workload_row(each, state, policy, now) for each in found],
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
    steps = list(_steps(history))
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
        "road": _middle_out(steps),
        "road_left_out": max(0, len(steps) - STEPS_MAX),
        "alerts": [_alert(located, incident.measurement) for located in incident.alerts[:ALERTS_MAX]],
        "alerts_left_out": max(0, len(incident.alerts) - ALERTS_MAX),
        "verdict": _verdict(incident, policy),
        "candidates": [_candidate(each) for each in incident.suspicions],
        "target": _target(incident, tracked, history, policy, now),
        "measured": _measured(incident.measurement),
        "told": list(_told(history)),
        "commands": list(commands(incident)),
        "unmapped_alerts": overview.unmapped_alerts(state, UNMAPPED_MAX),
    }


def _middle_out(steps: list[Document]) -> list[Document]:
    half = STEPS_MAX // 2
    return steps if len(steps) <= STEPS_MAX else [*steps[:half], *steps[-half:]]


def _incident(incident: Incident) -> Document:
    return {
        **overview.incident_row(incident),
        "scope": [workload.key for workload in incident.scope],
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


def _candidate(suspicion: Suspicion) -> Document:
    return {
        "workload": suspicion.workload.key,
        "revision": overview.revision(suspicion.revision),
        "replaced": overview.revision(suspicion.replaced),
        "score": suspicion.score,
        "tier": suspicion.tier.value,
        "terms": [
            {
                "name": term.name,
                "value": term.value,
                "threshold": term.threshold,
                "weight": term.weight,
                "sentence": cut(term.sentence),
            }
            for term in suspicion.terms
        ],
        "refusals": [overview.refusal(veto) for veto in suspicion.vetoes],
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


# ---------------------------------------------------------------------------------------------------------- the road


def _step(at: datetime, what: str, text: str, **more: Any) -> Document:
    return {"at": moment(at), "what": what, "text": cut(text), **more}


def _short(at: datetime) -> str:
    return f"{at:%H:%M:%S}Z"


def _steps(history: History) -> Iterator[Document]:
    """The facts that moved the incident, each as one line; what only repeats the last one is left out."""
    last: tuple[Any, ...] = ()
    for _, fact in history:
        step = _step_of(fact)
        if step is None:
            continue
        same = (step["what"], step["text"])
        if same != last:
            yield step
        last = same


def _step_of(fact: f.Fact) -> Document | None:
    match fact:
        case f.IncidentOpened():
            return _opened(fact)
        case f.AlertJoined():
            return _step(fact.at, "joined", f"alert {fact.alert.alert.name} joined; severity {fact.severity.value}")
        case f.MeasureBegan() if fact.final:
            return _step(fact.at, "looked", "a fresh look before acting began")
        case f.TargetChecked():
            return _step(fact.at, "checked", _checked(fact.check))
        case f.Judged():
            return _judged(fact)
        case f.RecoveryMeasured():
            since = f"good since {_short(fact.good_since)}" if fact.good_since else "not good, or cannot tell"
            return _step(fact.at, "watched", f"the symptom: {since}")
        case f.Proposed():
            return _proposed(fact)
        case f.ApprovalGiven():
            return _step(fact.at, "approved", f"approved by {fact.actor}", actor=cut(fact.actor))
        case f.Moved():
            return _moved(fact)
        case f.ActionOwed(action=RollBack() as action):
            return _step(fact.at, "rollback", f"rollback to {action.target.label} ordered")
        case f.ActionSettled() if fact.action_id.endswith("/roll_back"):
            return _step(fact.at, "rollback", f"rollback {_outcome(fact.outcome)}", outcome=fact.outcome.kind.value)
        case _:
            return None


def _opened(fact: f.IncidentOpened) -> Document:
    names = sorted({located.alert.name for located in fact.incident.alerts})
    because = ", ".join(names[:5]) or "a rollout whose pods cannot start"
    return _step(fact.at, "opened", f"opened for {because}", phase="open", severity=fact.incident.severity.value)


def _checked(check: TargetCheck) -> str:
    if not check.exists:
        return "the target is gone"
    if check.dry_run_error:
        return f"the target was refused by a dry run: {check.dry_run_error}"
    lacking = f"; missing: {', '.join(check.missing)}" if check.missing else ""
    return f"the target could be deployed{lacking}" if not check.missing else f"the target lacks something{lacking}"


def _judged(fact: f.Judged) -> Document:
    verdict = fact.verdict
    names = ", ".join(refusal.reason.value.upper() for refusal in verdict.refusals)
    text = f"verdict {verdict.kind.value}: {verdict.reason.sentence}" + (f" Refusals: {names}." if names else "")
    score = fact.suspicions[0].score if fact.suspicions else None
    return _step(fact.at, "judged", text, verdict=verdict.kind.value, reason=verdict.reason.value, score=score)


def _proposed(fact: f.Proposed) -> Document:
    when = f"runs by itself at {_short(fact.countdown_until)}" if fact.countdown_until else "a person must confirm"
    return _step(fact.at, "proposed", f"rollback of {fact.workload.short} to {fact.target.label}: {when}")


def _moved(fact: f.Moved) -> Document:
    by = f" (by {fact.actor})" if fact.actor else ""
    by += f": {cut(fact.note)}" if fact.note else ""
    into = f" (into {fact.merged_into})" if fact.merged_into else ""
    return _step(
        fact.at,
        "moved",
        f"{fact.phase.value}: {fact.reason.sentence}{by}{into}",
        phase=fact.phase.value,
        trigger=fact.trigger.value,
        reason=fact.reason.value,
        actor=cut(fact.actor) if fact.actor else None,
    )


def _outcome(outcome: Outcome) -> str:
    message = f": {outcome.message}" if outcome.message else ""
    tries = f" after {outcome.attempts} attempts" if outcome.attempts > 1 else ""
    return f"{outcome.kind.value}{tries}{message}"


def _told(history: History) -> Iterator[Document]:
    """Every page and announcement with what became of it (outcome None: still owed)."""
    owed: dict[str, tuple[datetime, Page | Announce]] = {}
    settled: dict[str, f.ActionSettled] = {}
    for _, fact in history:
        if isinstance(fact, f.ActionOwed) and isinstance(fact.action, Page | Announce):
            owed[fact.action.id] = (fact.at, fact.action)
        elif isinstance(fact, f.ActionSettled):
            settled[fact.action_id] = fact
    for name, (at, action) in owed.items():
        yield _message(at, action, settled.get(name))


def _message(at: datetime, action: Page | Announce, settled: f.ActionSettled | None) -> Document:
    outcome = settled.outcome if settled else None
    return {
        "at": moment(at),
        "action": action.id,
        "kind": action.kind,
        "page": action.page.value if isinstance(action, Page) else None,
        "urgent": action.urgent if isinstance(action, Page) else None,
        "text": cut(action.brief.update or action.brief.headline),
        "outcome": outcome.kind.value if outcome else None,
        "settled_at": moment(settled.at) if settled else None,
        "message": cut(outcome.message) if outcome else "",
        "attempts": outcome.attempts if outcome else 0,
    }
