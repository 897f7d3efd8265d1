"""A rollback that somebody writes back: Lastgood stops, says who it was, and never takes turns with them.

Whether a controller did it or a person, the way on is theirs to choose: the revert where the workload is declared, or
`lastgood release`. The incident of the rollback goes to a person; one that had recovered is followed by a linked incident.
"""

from __future__ import annotations

from datetime import timedelta

from daemon.core import soaking
from daemon.core.briefs import cut
from daemon.core.draft import Draft
from daemon.core.facts import IncidentOpened
from daemon.core.incidents import Incident, Phase, Trigger
from daemon.core.intake import incident_id
from daemon.core.ledger import LedgerEntry
from daemon.core.model import IncidentId, OwnerKind, WorkloadView
from daemon.core.progress import watch_interval
from daemon.core.reasons import Reason
from daemon.core.table import table
from daemon.core.telling import tell

REVERT_WINDOW = timedelta(minutes=10)
"""How long after recovery the same revision counts as written back: the controllers' intervals are seconds to ten minutes. Later
it is a deployment, which is announced (`rollout_news`).
"""

_NAMES = {
    OwnerKind.HELM: "Helm release",
    OwnerKind.ARGO_CD: "Argo CD application",
    OwnerKind.FLUX: "Flux",
    OwnerKind.OPERATOR: "the operator of",
}


def look(draft: Draft, view: WorkloadView, *, began: bool) -> None:
    """Escalate where a view shows the revision that was rolled back after the patch that removed it.

    `began`: the change to it was seen. Else both changes lie between two views, and only the generation tells.
    """
    entry = draft.state.workloads[view.workload.key].entry(view.current.id)
    if entry is None or entry.quarantined_by is None:
        return  # never rolled back, or released: whoever deploys it means it
    for incident in table(draft.state.incidents).having(_rolled_back_from, (view.workload.key, view.current.id)):
        over = incident.phase.ended and (_is_late(incident, view) or _is_told(draft, incident, view))
        if _is_after(incident, view, began=began) and not over:
            _escalate(draft, incident, entry, view)
            return


def _rolled_back_from(incident: Incident) -> tuple[tuple[str, str], ...]:
    """Workload and revision of an incident whose rollback was carried out and is not in a person's hands."""
    watched = incident.phase in (Phase.ROLLING_BACK, Phase.VERIFYING, Phase.RECOVERED)
    if not watched or incident.suspect is None or incident.blamed is None or incident.patched_generation is None:
        return ()
    return ((incident.suspect.key, incident.blamed.id),)


def _is_after(incident: Incident, view: WorkloadView, *, began: bool) -> bool:
    """The view is no older than the patch. An abort of a Rollout changes no generation, and neither does its retry."""
    patched = incident.patched_generation or 0
    return view.generation >= patched if began else view.generation > patched


def _is_late(incident: Incident, view: WorkloadView) -> bool:
    return incident.recovered_at is None or view.started_at > incident.recovered_at + REVERT_WINDOW


def _is_told(draft: Draft, before: Incident, view: WorkloadView) -> bool:
    """The rollout that wrote it back has its incident, open or closed: more that is seen of it is no news."""
    rollout = draft.state.workloads[view.workload.key].rollout
    since = rollout.seen_at if rollout is not None else draft.now
    followers = [each for each in draft.state.incidents.values() if each.predecessor == before.id]
    return any(
        each.opened_at >= since and each.blamed is not None and each.blamed.id == view.current.id for each in followers
    )


def _escalate(draft: Draft, incident: Incident, entry: LedgerEntry, view: WorkloadView) -> None:
    told = _successor(draft, incident, view) if incident.phase.ended else incident.id
    writer = _writer(view)
    # Marked as told: it is not announced a second time as a revision that came back.
    soaking.came_back(draft, view.workload.key, entry, entry.quarantined_by or told, f"written back by {writer}")
    draft.move(told, Trigger.REVERTED, Reason.REVERTED, measure_in=watch_interval(draft))
    tell(draft, told, f"{Reason.REVERTED.sentence} Written back by {writer}. Lastgood does not roll it back again.")


def _writer(view: WorkloadView) -> str:
    """The field manager that wrote the template, and the owner's object where it has one."""
    manager = f"field manager {cut(view.changed_by)}" if view.changed_by else "an unknown field manager"
    return f"{manager} ({_NAMES[view.owner.kind]} {cut(view.owner.name)})" if view.owner is not None else manager


def _successor(draft: Draft, before: Incident, view: WorkloadView) -> IncidentId:
    """An incident of its own: the one that recovered has ended."""
    incident = Incident(
        id=incident_id(draft),
        symptom=before.symptom,
        scope=before.scope,
        rung=before.rung,
        opened_at=draft.now,
        onset=view.started_at,
        onset_source=before.onset_source,
        severity=before.severity,
        alerts=(),
        phase=Phase.OPEN,
        phase_since=draft.now,
        suspicions=before.suspicions,
        suspect=before.suspect,
        blamed=before.blamed,
        replaced=before.target,
        target=before.target,
        rollout_started_at=view.started_at,
        rolled_out_by=view.changed_by,
        notices=before.notices,
        predecessor=before.id,
        chain_started_at=before.chain_started_at or before.rollout_started_at,
    )
    draft.add(IncidentOpened(at=draft.now, incident=incident))
    return incident.id
