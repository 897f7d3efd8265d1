"""Whom else a change is told: the pipeline it came from, and the on-call's timeline (PagerDuty change events)."""

from __future__ import annotations

from datetime import datetime, timedelta

from daemon.core.actions import AnswerPipeline, NoteChange, RollBack
from daemon.core.briefs import cut
from daemon.core.draft import Draft
from daemon.core.model import ActionId, Revision, Rollout, Workload
from daemon.core.notices import OWN_WORDS, Notice, first, links_of

ANSWER_FOR = timedelta(hours=6)
"""How long a pipeline's vendor is asked again: by then the next deployment has said more."""

NOTE_FOR = timedelta(hours=1)
"""How long a change event is retried: an old mark on a timeline helps nobody."""


def rolled_back(draft: Draft, action: RollBack) -> None:
    """The rollback ran: the pipelines that brought the revision hear of it, and the timeline gets its mark."""
    incident = draft.state.incidents.get(action.incident)
    notices = incident.notices if incident is not None else ()
    for number, notice in enumerate(_answerable(notices), 1):
        draft.owe(_answer(draft, action, notice, number))
    if draft.policy.change_events:
        summary = f"Lastgood rolled {action.workload.short} back to {action.target.label}: {action.incident}"
        draft.owe(_note(draft, f"{action.incident}/note", action.workload, summary, draft.now, action.target, ()))


def _answerable(notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    """One notice per deployment that can be answered, the newest."""
    return tuple({notice.origin: notice for notice in notices if notice.origin is not None}.values())


def _answer(draft: Draft, action: RollBack, notice: Notice, number: int) -> AnswerPipeline:
    assert notice.origin is not None, "only notices with an origin are answered"
    return AnswerPipeline(
        id=ActionId(f"{action.incident}/answer/{number}"),
        deadline=draft.now + ANSWER_FOR,
        incident=action.incident,
        source=notice.source,
        origin=notice.origin,
        commit=notice.commit,
        environment=notice.environment,
        summary=(
            f"{OWN_WORDS} ({draft.policy.cluster}, {action.incident}): "
            f"{action.workload.short} from {action.blamed.label} to {action.target.label}"
        ),
    )


def rollout_began(draft: Draft, rollout: Rollout) -> None:
    """A rollout was seen to begin: a mark on the timeline, unless it changes nothing or is our own rollback."""
    if not draft.policy.change_events or rollout.replaced is None or rollout.restart_only or rollout.ours is not None:
        return
    if rollout.in_place:
        return  # told of the Deployment already
    workload, notices = rollout.workload, draft.state.workloads[rollout.workload.key].notices
    old, new = rollout.replaced.label, rollout.revision.label
    by = f" by {cut(rollout.changed_by)}" if rollout.changed_by else ""
    summary = f"{workload.short}: {old} → {new}{by}"
    name = f"note/{workload.key}/{rollout.revision.id}/{rollout.started_at:%Y%m%dT%H%M%S%f}"
    draft.owe(_note(draft, name, workload, summary, rollout.started_at, rollout.revision, notices))


def _note(
    draft: Draft,
    name: str,
    workload: Workload,
    summary: str,
    at: datetime,
    revision: Revision,
    notices: tuple[Notice, ...],
) -> NoteChange:
    said = {name: first(notices, name) for name in ("commit", "author", "environment")}
    details = {"cluster": draft.policy.cluster, "workload": workload.key, "revision": revision.label, **said}
    return NoteChange(
        id=ActionId(name),
        deadline=draft.now + NOTE_FOR,
        workload=workload,
        summary=summary,
        happened_at=at,
        details=tuple((key, cut(value)) for key, value in details.items() if value),
        links=links_of(notices),
    )
