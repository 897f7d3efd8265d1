"""One canonical log line per incident, when it ends or is handed to a person: everything a search needs, in one place."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from daemon.core.facts import CommandRefused, Fact, Judged, LedgerWritten, Moved
from daemon.core.incidents import Incident, Phase
from daemon.core.state import State

log = structlog.get_logger()


class IncidentLog:
    """Writes the lines as facts are journalled."""

    def __init__(self) -> None:
        self._verdicts: dict[str, tuple[str, str]] = {}

    def tell(self, facts: Sequence[Fact], state: State) -> None:
        """Log moves, verified and quarantined revisions; an incident's canonical line at its end."""
        for fact in facts:
            match fact:
                case Judged():
                    self._judged(fact)
                case Moved():
                    self._moved(fact, state)
                case LedgerWritten() if fact.what in ("verified", "withdrawn", "quarantined", "released"):
                    log.info(
                        "revision",
                        what=fact.what,
                        workload=fact.workload,
                        revision=fact.entry.revision.label,
                        because=fact.because,
                    )
                case CommandRefused():
                    log.info("command_refused", command=fact.command, actor=fact.actor, why=fact.why)
                case _:
                    pass

    def _judged(self, fact: Judged) -> None:
        """A verdict is logged when it changes: an incident that holds is measured again and again."""
        verdict = fact.verdict
        if self._verdicts.get(fact.incident) == (verdict.kind, verdict.reason):
            return
        self._verdicts[fact.incident] = (verdict.kind, verdict.reason)
        leader = fact.suspicions[0] if fact.suspicions else None
        log.info(
            "verdict",
            incident=fact.incident,
            workload=leader.workload.key if leader else None,
            verdict=verdict.kind.value,
            reason=verdict.reason.value,
            because=verdict.reason.sentence,
            score=leader.score if leader else None,
            evidence=[term.sentence for term in leader.terms] if leader else [],
            refusals=[str(refusal) for refusal in verdict.refusals],
            missing=list(fact.measurement.missing),
        )

    def _moved(self, fact: Moved, state: State) -> None:
        incident = state.incidents.get(fact.incident)
        if incident is None:
            return
        if fact.phase.ended:
            self._verdicts.pop(fact.incident, None)
        if fact.phase.ended or fact.phase is Phase.ESCALATED:
            log.info("incident", **canonical(incident))
        else:
            log.info(
                "incident_moved",
                incident=incident.id,
                workload=(incident.suspect or incident.symptom).key,
                phase=fact.phase.value,
                reason=fact.reason.value,
                because=fact.reason.sentence,
                target=incident.target.label if incident.target else None,
            )


def canonical(incident: Incident) -> dict[str, object]:
    """The fields of the canonical line; names follow OpenTelemetry's semantic conventions where those have one."""
    workload = incident.suspect or incident.symptom
    leader = incident.suspicions[0] if incident.suspicions else None
    return {
        "incident": incident.id,
        "workload": workload.key,
        "phase": incident.phase.value,
        "reason": incident.reason.value if incident.reason else None,
        "because": incident.reason.sentence if incident.reason else None,
        "k8s.namespace.name": workload.namespace,
        f"k8s.{workload.kind.lower()}.name": workload.name,
        "severity": incident.severity.value,
        "alerts": sorted({located.alert.name for located in incident.alerts}),
        "onset": incident.onset.isoformat(),
        "blamed": incident.blamed.label if incident.blamed else None,
        "target": incident.target.label if incident.target else None,
        "score": leader.score if leader else None,
        "evidence": leader.tier.value if leader else None,
        "refusals": [refusal.reason.value for refusal in incident.verdict.refusals] if incident.verdict else [],
        "measurements": incident.attempt,
        "pages": incident.page.count if incident.page else 0,
        "patched_at": incident.patched_at.isoformat() if incident.patched_at else None,
        "recovered_at": incident.recovered_at.isoformat() if incident.recovered_at else None,
        "actor": incident.ended_by,
    }
