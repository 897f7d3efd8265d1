"""The pull request that reverts: owed where a controller owns what is blamed and the policy says `git-revert`.

It is a proposal, whatever the mode: nothing changes until a person merges it. So mode `approve` asks nobody before, and the
refusals that are about our own patch do not count. Whatever else would have kept us from rolling back, or from proposing it,
keeps us from this too.
"""

from __future__ import annotations

import re
from datetime import timedelta

from daemon.core import owners
from daemon.core.actions import NamedCommit, Outcome, OutcomeKind, RevertCommit
from daemon.core.briefs import cut
from daemon.core.draft import Draft
from daemon.core.incidents import Incident, Phase
from daemon.core.model import ActionId, IncidentId, Owner
from daemon.core.notices import Notice, NoticeStatus
from daemon.core.policy import GitOps
from daemon.core.reasons import Consequence, Reason
from daemon.core.telling import tell

REVERT_FOR = timedelta(hours=1)
"""How long the code host is asked again: by then the person who was paged has reverted by hand."""

_OF_OUR_PATCH = frozenset({Reason.OWNED_BY_GITOPS, Reason.NO_PERMISSION, Reason.TARGET_UNCHECKED})
"""Refusals that are about writing to the cluster, which a pull request does not."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A full hash. A short one, a branch or a tag may mean something else by the time it is looked up."""


def begin(draft: Draft, incident_id: IncidentId) -> str:
    """Owe the pull request of an escalated incident, once. What to tell of it, in whole sentences; "" where none is wanted."""
    incident = draft.incident(incident_id)
    if not _is_wanted(draft, incident):
        return ""
    obstacle = _obstacle(incident)
    if obstacle is not None:
        return f"No pull request: {obstacle.sentence}"
    action = _action(draft, incident)
    if not action.commits:
        return "No pull request: no deployment event names the one full commit that was rolled out."
    draft.owe(action)
    return f"A pull request that reverts commit {action.commits[0].commit[:12]} is being opened."


def notice_attached(draft: Draft, workload: str) -> None:
    """A notice came after the escalation, as those of GitOps controllers do: it may name the commit that was missing."""
    for incident in draft.state.open_incidents:
        if incident.suspect is None or incident.suspect.key != workload:
            continue
        said = begin(draft, incident.id)
        if draft.incident(incident.id).revert != incident.revert:
            tell(draft, incident.id, said)


def settled(draft: Draft, action: RevertCommit, outcome: Outcome) -> None:
    """What became of it is told; the commands of the brief say how it is done by hand."""
    if action.incident not in draft.state.incidents:
        return
    before = {
        OutcomeKind.DONE: "",
        OutcomeKind.UNKNOWN: "Whether a pull request was opened is not known: ",
    }.get(outcome.kind, "No pull request: ")
    tell(draft, action.incident, before + cut(outcome.message))


def _is_wanted(draft: Draft, incident: Incident) -> bool:
    """It was handed over because of its owner, the rollout is still the blamed one, and the policy wants a pull request."""
    refused = incident.phase is Phase.ESCALATED and incident.reason in _OF_OUR_PATCH and incident.revert is None
    tracked = draft.state.workloads.get(incident.suspect.key) if incident.suspect is not None else None
    if not refused or tracked is None or incident.blamed is None or tracked.view.current.id != incident.blamed.id:
        return False
    if draft.state.paused_by(tracked.view.workload, draft.now) is not None:
        return False
    owned = incident.verdict is not None and any(
        refusal.reason is Reason.OWNED_BY_GITOPS for refusal in incident.verdict.refusals
    )
    return owned and owners.wanted(draft.policy, tracked.view) is GitOps.GIT_REVERT


def _obstacle(incident: Incident) -> Reason | None:
    """The first refusal under which an unowned workload would not have been rolled back, nor a rollback proposed."""
    refusals = incident.verdict.refusals if incident.verdict is not None else ()
    return next(
        (
            refusal.reason
            for refusal in refusals
            if refusal.consequence is not Consequence.PROPOSE and refusal.reason not in _OF_OUR_PATCH
        ),
        None,
    )


def _action(draft: Draft, incident: Incident) -> RevertCommit:
    assert incident.suspect is not None, "what is wanted has a suspect"
    tracked = draft.state.workloads[incident.suspect.key]
    target = incident.verdict.target if incident.verdict is not None else None
    said = {
        "Cluster": draft.policy.cluster,
        "Workload": incident.suspect.key,
        "Incident": incident.id,
        "Bad revision": incident.blamed.label if incident.blamed is not None else "",
        "Last verified": target.label if target is not None else "",
        "Evidence": incident.suspicions[0].terms[0].sentence if incident.suspicions else "",
    }
    return RevertCommit(
        id=ActionId(f"{incident.id}/revert"),
        deadline=draft.now + REVERT_FOR,
        incident=incident.id,
        workload=incident.suspect,
        commits=_commits(incident.notices, tracked.view.owner),
        summary=f"{incident.suspect.short} in {draft.policy.cluster} ({incident.id})",
        details=tuple((name, cut(value)) for name, value in said.items() if value),
    )


def _commits(notices: tuple[Notice, ...], owner: Owner | None) -> tuple[NamedCommit, ...]:
    """Who names which commit, the word of the workload's own controller first, then the newest.

    Where one sender names several commits of one project for the same rollout, nobody knows which one is bad.
    """
    named: dict[tuple[str, str | None], NamedCommit | None] = {}
    newest_first = notices[::-1]
    for notice in sorted(newest_first, key=lambda each: each.owner is None or each.owner != owner):
        if notice.commit is None or not _COMMIT.fullmatch(notice.commit) or notice.status is NoticeStatus.ROLLED_BACK:
            continue
        found = NamedCommit(source=notice.source, commit=notice.commit, origin=notice.origin)
        place = (notice.source, notice.origin.project if notice.origin is not None else None)
        known = named.setdefault(place, found)
        if known is not None and known.commit != found.commit:
            named[place] = None
    return tuple(each for each in named.values() if each is not None)
