"""Who is told what at which step: one place decides about pages and announcements.

Page when a person must confirm, when rolling back (low urgency) or escalated (high); not in a countdown, never in `observe`;
resolve on verified recovery, or when the incident ends otherwise, saying how (DESIGN, "Defaults").
"""

from __future__ import annotations

from datetime import timedelta

from daemon.core.actions import Announce, Outcome, OutcomeKind, Page, PageKind, RollBack, RolledBack
from daemon.core.briefs import compose, cut
from daemon.core.draft import Draft
from daemon.core.incidents import Incident, Phase
from daemon.core.mode import mode_of
from daemon.core.model import ActionId, IncidentId, Mode
from daemon.core.policy import Paging, Route
from daemon.core.reasons import Reason
from daemon.core.table import table

TELL_FOR = timedelta(hours=24)
"""How long a page or an announcement is retried: a lost page is worse than a late one, and a day later nobody reads it."""


def tell(draft: Draft, incident_id: IncidentId, update: str) -> None:
    """Owe the announcement and the page that the incident's present phase calls for."""
    incident = draft.incident(incident_id)
    routes = draft.policy.routes.of(incident.severity)
    if Route.ANNOUNCE in routes and _worth_announcing(incident):
        announce(draft, incident, update)
    if Route.PAGE in routes:
        _page(draft, incident, update)


def _worth_announcing(incident: Incident) -> bool:
    """A dismissal that nobody had heard of is no news."""
    return incident.thread.count > 0 or incident.phase not in (Phase.OPEN, Phase.DISMISSED)


def announce(draft: Draft, incident: Incident, update: str) -> None:
    """Owe an announcement in the incident's thread, whatever its route and phase."""
    draft.owe(
        Announce(
            id=ActionId(f"{incident.id}/announce/{incident.thread.count + 1}"),
            deadline=draft.now + TELL_FOR,
            incident=incident.id,
            thread=None,
            channel=None,
            brief=compose(incident, draft.state, draft.policy, update),
        )
    )


def _page(draft: Draft, incident: Incident, update: str) -> None:
    step = _page_step(draft, incident)
    if step is not None:
        _owe_page(draft, incident, step, update)


def alerts_gone(draft: Draft) -> None:
    """Resolve the pages that outlived their incident, once none of its alerts is left (only with `paging: instead`)."""
    for incident in table(draft.state.incidents).having(_outlived_by_page, True):
        noted = [draft.state.alerts.get(located.alert.fingerprint) for located in incident.alerts]
        if all(alert is None or alert.gone_since is not None for alert in noted):
            _owe_page(draft, incident, (PageKind.RESOLVE, False), "The alert is gone.")


def _outlived_by_page(incident: Incident) -> tuple[bool]:
    return (incident.phase.ended and incident.page is not None and incident.page.open,)


def _owe_page(draft: Draft, incident: Incident, step: tuple[PageKind, bool], update: str) -> None:
    kind, urgent = step
    draft.owe(
        Page(
            id=ActionId(f"{incident.id}/page/{incident.page.count + 1 if incident.page else 1}"),
            deadline=draft.now + TELL_FOR,
            incident=incident.id,
            key=incident.page.key if incident.page else page_key(draft, incident),
            page=kind,
            urgent=urgent,
            brief=compose(incident, draft.state, draft.policy, update),
        )
    )


def follow_ups(draft: Draft, incident_id: IncidentId, outcome: Outcome) -> None:
    """What is to be seen to after a rollback, each with its command: a drift, or a pod that keeps the workload from going on."""
    warnings = outcome.result.warnings if isinstance(outcome.result, RolledBack) else ()
    for warning in reversed(warnings):  # the first is the most urgent, and a page shows what came last
        tell(draft, incident_id, cut(warning))


def learned_late(draft: Draft, action: RollBack, outcome: Outcome) -> None:
    """What became of a rollback, for the person who has had its incident since the deadline and may not know."""
    target = action.target.label
    match outcome.kind:
        case OutcomeKind.DONE:
            update = f"As is known only now, the rollback to {target} was carried out."
        case OutcomeKind.UNKNOWN:
            update = f"Whether the rollback to {target} was carried out could not be found out: {outcome.message}"
        case _:
            update = f"As is known only now, the rollback to {target} was not carried out: {outcome.message}"
    tell(draft, action.incident, cut(update))
    follow_ups(draft, action.incident, outcome)


def page_lost(draft: Draft, action: Page, why: str) -> None:
    """A page could not be delivered: say so where people may still read it, whatever the route says."""
    incident = draft.state.incidents.get(action.incident)
    if incident is not None:
        announce(draft, incident, f"The page could not be delivered: {why}")


def _page_step(draft: Draft, incident: Incident) -> tuple[PageKind, bool] | None:
    """Which page the phase calls for, and whether it is urgent; None for none."""
    is_open = incident.page is not None and incident.page.open
    if incident.phase.ended:
        return (PageKind.RESOLVE, False) if is_open and not _somebody_elses(draft, incident) else None
    if observed(draft, incident):
        return None
    urgent = _urgency(draft, incident)
    if urgent is None:
        return (PageKind.UPDATE, incident.page.urgent) if is_open and incident.page else None
    return (PageKind.UPDATE if is_open else PageKind.TRIGGER, urgent)


def _somebody_elses(draft: Draft, incident: Incident) -> bool:
    """No rollout is in question, but we page instead of others: the symptom is there, and so the page must stay."""
    unrelated = incident.reason in (Reason.NO_CANDIDATE, Reason.SYMPTOM_OLDER)
    return unrelated and draft.policy.paging is Paging.INSTEAD


def _urgency(draft: Draft, incident: Incident) -> bool | None:
    """True: wake somebody. False: tell them calmly. None: this phase pages nobody by itself."""
    if incident.phase is Phase.ESCALATED:
        return True
    if incident.phase is Phase.PROPOSED:
        return True if incident.shown and incident.approved_by is None else None
    if incident.phase in (Phase.ROLLING_BACK, Phase.VERIFYING):
        return False
    return True if draft.policy.paging is Paging.INSTEAD else None


def observed(draft: Draft, incident: Incident) -> bool:
    """The workload in question is in mode observe, where nobody is ever paged."""
    tracked = draft.state.workloads.get((incident.suspect or incident.scope[0]).key)
    mode = draft.policy.default_mode if tracked is None else mode_of(draft.policy, tracked)
    return mode is Mode.OBSERVE and draft.policy.paging is not Paging.INSTEAD


def page_key(draft: Draft, incident: Incident) -> str:
    """cluster/workload/revision where a revision is blamed, else cluster/incident; fixed at the first page (DESIGN)."""
    cluster = draft.policy.cluster
    if incident.blamed is not None and incident.suspect is not None:
        return f"{cluster}/{incident.suspect.key}/{incident.blamed.id}"
    return f"{cluster}/{incident.id}"
