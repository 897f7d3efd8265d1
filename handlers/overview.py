"""What people and programs see of the state: JSON documents for the status, the list of incidents and the ledger.

Pure: state and policy in, plain dicts out. Moments are RFC 3339 in UTC, durations seconds; keys are stable, new ones
may be added. Text from outside is cut, not altered: escaping is the reader's business (a terminal's, a page's).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from daemon.core.incidents import Incident
from daemon.core.ledger import LedgerEntry, Proof
from daemon.core.mode import mode_of
from daemon.core.model import Mode, Revision, Rung
from daemon.core.policy import Policy
from daemon.core.protection import unprotected
from daemon.core.reasons import Reason, Refusal
from daemon.core.state import NotedAlert, Pause, State, Tracked
from handlers import plain

Document = dict[str, Any]
"""A JSON object."""

TEXT_MAX = 1000
"""Characters of one text from outside: a label may hold a megabyte, and nobody reads on."""

WORKLOADS_MAX = 2000
"""Workloads in one status: a cluster of that size is watched by metrics. Those with a problem come first."""

OWED_MAX = 200
"""Owed actions in one status; more are a backlog, and its length is told."""


def moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, None for None."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cut(text: str) -> str:
    """Text from outside within TEXT_MAX."""
    return plain.cut(text, TEXT_MAX)


def revision(found: Revision | None) -> Document | None:
    """A revision as people know it."""
    if found is None:
        return None
    return {
        "id": found.id,
        "label": cut(found.label),
        "number": found.number,
        "images": [cut(image) for image in found.images],
        "created_at": moment(found.created_at),
        "change_cause": cut(found.change_cause) if found.change_cause else None,
    }


def reason(found: Reason | None) -> Document | None:
    """A reason with its sentence."""
    return None if found is None else {"name": found.value, "sentence": found.sentence}


def refusal(found: Refusal) -> Document:
    """A guard's veto: what was seen, what was needed, what follows, and whether a person may override it."""
    return {
        "reason": found.reason.value,
        "sentence": found.reason.sentence,
        "seen": cut(found.seen),
        "needed": cut(found.needed),
        "consequence": found.consequence.value,
        "overridable": found.overridable,
    }


def incident_row(incident: Incident) -> Document:
    """An incident in a list."""
    workload = incident.suspect or incident.symptom
    return {
        "id": incident.id,
        "phase": incident.phase.value,
        "ended": incident.phase.ended,
        "since": moment(incident.phase_since),
        "opened_at": moment(incident.opened_at),
        "onset": moment(incident.onset),
        "severity": incident.severity.value,
        "workload": workload.key,
        "symptom": incident.symptom.key,
        "reason": reason(incident.reason),
        "alerts": sorted({cut(found.alert.name) for found in incident.alerts}),
        "blamed": revision(incident.blamed),
        "target": revision(incident.target),
        "countdown_until": moment(incident.countdown_until),
        "deadline": moment(incident.deadline),
        "rolled_back_at": moment(incident.patched_at),
    }


def incidents(state: State, now: datetime, *, ended: bool, limit: int) -> Document:
    """The newest `limit` incidents, open ones first; with `ended` also those that have ended."""
    found = [incident for incident in state.incidents.values() if ended or not incident.phase.ended]
    found.sort(key=lambda incident: incident.opened_at, reverse=True)
    found.sort(key=lambda incident: incident.phase.ended)
    return {
        "now": moment(now),
        "incidents": [incident_row(incident) for incident in found[:limit]],
        "left_out": max(0, len(found) - limit),
    }


def status(state: State, policy: Policy, now: datetime, ready: str | None) -> Document:
    """Everything one look at the daemon should tell."""
    rows = sorted((workload_row(each, state, policy, now) for each in state.workloads.values()), key=_problems_first)
    return {
        "ready": ready is None,
        "why_not": ready,
        "cluster": policy.cluster,
        "now": moment(now),
        "since": moment(state.started_at),
        "default_mode": policy.default_mode.value,
        "modes": {mode.value: sum(1 for row in rows if row["mode"] == mode.value) for mode in Mode},
        "incidents": {
            "phases": dict(Counter(incident.phase.value for incident in state.open_incidents)),
            "open": [incident_row(incident) for incident in state.open_incidents],
        },
        "pauses": [pause_row(scope, each) for scope, each in state.pauses.items() if _lasts(each, now)]
        + [_annotated(name) for name in sorted(_annotated_namespaces(state))],
        "workloads": {
            "total": len(rows),
            "revisions": _revision_counts(state),
            "unprotected": sum(1 for row in rows if row["unprotected"]),
            "rows": rows[:WORKLOADS_MAX],
        },
        "alerts": {
            "firing": sum(1 for noted in state.alerts.values() if noted.gone_since is None),
            "unmapped": sum(1 for noted in state.alerts.values() if _unmapped(noted)),
        },
        "owed": {
            "total": len(state.owed),
            "actions": [
                {"id": action.id, "kind": action.kind, "deadline": moment(action.deadline)}
                for action in list(state.owed.values())[:OWED_MAX]
            ],
        },
    }


def _lasts(pause: Pause, now: datetime) -> bool:
    return pause.until is None or pause.until > now


def pause_row(scope: str, pause: Pause) -> Document:
    """A pause that a person set; scope "" is everything."""
    return {
        "scope": scope,
        "by": cut(pause.actor),
        "since": moment(pause.since),
        "until": moment(pause.until),
    }


def _annotated_namespaces(state: State) -> set[str]:
    return {each.view.workload.namespace for each in state.workloads.values() if each.view.namespace_paused}


def _annotated(namespace: str) -> Document:
    return {"scope": namespace, "by": "annotation lastgood.dev/paused", "since": None, "until": None}


def _revision_counts(state: State) -> dict[str, int]:
    found = Counter(standing(entry) for each in state.workloads.values() for entry in each.ledger.values())
    return {name: found[name] for name in ("verified", "soaking", "withdrawn", "quarantined")}


def _problems_first(row: Document) -> tuple[bool, bool, str]:
    return (row["unprotected"] is None, not row["quarantined"], row["workload"])


def workloads_named(state: State, name: str) -> list[Tracked]:
    """The workloads that `namespace/name` or `namespace/Kind/name` may mean."""
    return [each for each in state.workloads.values() if name in (each.view.workload.short, each.view.workload.key)]


def workload_row(tracked: Tracked, state: State, policy: Policy, now: datetime) -> Document:
    """A workload: its mode, what it runs, how that stands, and whether a rollback would be possible."""
    view, entry = tracked.view, tracked.entry(tracked.view.current.id)
    why = unprotected(tracked, state, policy, now)
    return {
        "workload": view.workload.key,
        "mode": mode_of(policy, tracked).value,
        "mode_invalid": cut(view.mode_invalid) if view.mode_invalid else None,
        "current": revision(view.current),
        "standing": standing(entry) if entry else "unknown",
        "soaked": entry.soaked.total_seconds() if entry else 0.0,
        "soak": policy.soak.total_seconds(),
        "converged": view.converged,
        "verified": sum(1 for each in tracked.ledger.values() if each.verified),
        "quarantined": [revision(each.revision) for each in tracked.ledger.values() if each.quarantined_by],
        "unprotected": why.value if why else None,
        "because": why.sentence if why else None,
    }


def standing(entry: LedgerEntry) -> str:
    """quarantined, verified, withdrawn or soaking."""
    if entry.quarantined_by is not None:
        return "quarantined"
    if entry.proof is not None:
        return "verified"
    return "withdrawn" if entry.withdrawn else "soaking"


def ledger(tracked: Tracked, state: State, policy: Policy, now: datetime) -> Document:
    """The ledger of one workload: every known revision, newest first, with its proof or why it has none."""
    known = {entry.revision.id: entry for entry in tracked.ledger.values()}
    found = {each.id: each for each in (*tracked.view.history, tracked.view.current)}
    found.update({entry.revision.id: entry.revision for entry in known.values()})
    order = sorted(found.values(), key=lambda each: each.number or 0, reverse=True)
    return {
        "now": moment(now),
        **workload_row(tracked, state, policy, now),
        "revisions": [
            ledger_row(each, known.get(each.id), policy, now, current=each.id == tracked.view.current.id)
            for each in order
        ],
    }


def ledger_row(found: Revision, entry: LedgerEntry | None, policy: Policy, now: datetime, *, current: bool) -> Document:
    """One revision in the ledger."""
    row: Document = {"revision": revision(found), "current": current}
    if entry is None:
        return {**row, "standing": "unknown", "why_not": "never seen serving, so nothing is proven", "proof": None}
    return {
        **row,
        "standing": standing(entry),
        "why_not": None if entry.verified else cut(entry.why_not(policy)),
        "proof": proof(entry.proof, now) if entry.proof else None,
        "quarantined_by": entry.quarantined_by,
        "soaked": entry.soaked.total_seconds(),
        "quiet": entry.quiet.total_seconds(),
        "serving_since": moment(entry.serving_since),
        "checked_until": moment(entry.checked_until),
        "next_check": moment(entry.next_check),
        "healthy_at": moment(entry.healthy_at),
        "baseline": dict(entry.baseline),
    }


def proof(found: Proof, now: datetime) -> Document:
    """Why a revision counts as good."""
    return {
        "kind": found.kind.value,
        "verified_at": moment(found.verified_at),
        "age": (now - found.verified_at).total_seconds(),
        "soaked": found.soaked.total_seconds(),
        "since": moment(found.since),
        "backwards": found.backwards,
        "sentence": cut(found.sentence),
    }


def _unmapped(noted: NotedAlert) -> bool:
    return noted.gone_since is None and noted.location is not None and noted.location.rung is Rung.NONE


def unmapped_alerts(state: State, limit: int) -> list[Document]:
    """Firing alerts that belong to no workload, newest first, with the labels that were tried."""
    found: Iterable[NotedAlert] = (noted for noted in state.alerts.values() if _unmapped(noted))
    newest = sorted(found, key=lambda noted: noted.noted_at, reverse=True)
    return [alert_row(noted) for noted in newest[:limit]]


def alert_row(noted: NotedAlert) -> Document:
    """An alert as last reported, and where it belongs."""
    located = noted.location
    return {
        "fingerprint": noted.alert.fingerprint,
        "name": cut(noted.alert.name),
        "status": noted.alert.status.value,
        "starts_at": moment(noted.alert.starts_at),
        "noted_at": moment(noted.noted_at),
        "gone_since": moment(noted.gone_since),
        "labels": {cut(name): cut(value) for name, value in noted.alert.labels},
        "rung": located.rung.value if located else None,
        "workloads": [workload.key for workload in located.workloads] if located else [],
        "tried": [cut(each) for each in located.tried] if located else [],
        "onset": moment(located.onset) if located else None,
        "onset_source": located.onset_source.value if located else None,
    }
