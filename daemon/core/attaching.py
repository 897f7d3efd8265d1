"""From what pipelines say to the rollouts they speak of, in whichever order the two arrive."""

from __future__ import annotations

from daemon.core import intake, reverting
from daemon.core.draft import Draft
from daemon.core.events import Noticed
from daemon.core.facts import NoticeAttached, NoticeTaken
from daemon.core.model import Declaration, DeclaredCause, Rollout, Workload
from daemon.core.notices import NAME_WINDOW, SKEW, Notice, NoticeStatus, belongs, digests_of, may_mean
from daemon.core.state import Tracked


def noticed(draft: Draft, event: Noticed) -> None:
    """A notice came in: kept once, and attached to the rollouts that are there already."""
    notice = event.notice
    if notice.key in draft.state.notices:
        return  # the same delivery again
    draft.add(NoticeTaken(at=draft.now, notice=notice))
    for tracked in _meant(draft, notice):
        _attach(draft, tracked, notice)


def _meant(draft: Draft, notice: Notice) -> tuple[Tracked, ...]:
    """The workloads it may speak of: the one it names, all of the owner it names, or without a name all that run its artefact."""
    if notice.workload is not None:
        return _named(draft, notice.workload)
    if notice.owner is not None:
        return tuple(each for each in draft.state.workloads.values() if each.view.owner == notice.owner)
    return tuple(draft.state.workloads.values()) if notice.digests else ()


def _named(draft: Draft, named: Workload) -> tuple[Tracked, ...]:
    """The workload of that name and kind; a Deployment that is not known, which may stand for no kind at all, is the only
    workload of that name.
    """
    tracked = draft.state.workloads.get(named.key)
    if tracked is not None:
        return (tracked,)
    alike = tuple(each for each in draft.state.workloads.values() if may_mean(named, each.view.workload))
    return alike if len(alike) == 1 else ()


def rollout_seen(draft: Draft, key: str) -> None:
    """A rollout began, or its digests became known: does a notice wait for it?"""
    for notice in sorted(draft.state.waiting.values(), key=_is_later):
        _attach(draft, draft.state.workloads[key], notice)


def _attach(draft: Draft, tracked: Tracked, notice: Notice) -> None:
    rollout, workload = tracked.rollout, tracked.view.workload
    if rollout is None or rollout.ours is not None:
        return  # no pipeline speaks of our own rollback; what we answered one comes back as its failure
    if any(known.key == notice.key for known in tracked.notices):
        return
    if not belongs(notice, tracked.view, rollout.revision, rollout.started_at, rollout.completed_at):
        return
    if notice.workload is not None and tracked not in _named(draft, notice.workload):
        return  # of several of that name it is another one
    if _of_another(draft, tracked, rollout, notice):
        return
    draft.add(NoticeAttached(at=draft.now, notice=notice, workload=workload.key, revision=rollout.revision.id))
    reverting.notice_attached(draft, workload.key)
    if notice.status is NoticeStatus.FAILED and notice.may_cause and _is_news(draft, rollout, notice):
        if notice.owner is not None and len(_meant(draft, notice)) > 1:
            return  # which of the owner's workloads failed is not said: too vague to begin anything
        _failed(draft, tracked, notice)


def _is_later(notice: Notice) -> bool:
    """It tells how a deployment went on: what tells that one began is looked at first."""
    return notice.status is not NoticeStatus.STARTED


def _of_another(draft: Draft, tracked: Tracked, rollout: Rollout, notice: Notice) -> bool:
    """Its deployment began, and the cluster has not seen that rollout (it may fail before): then it is not of this one.

    Nor is what an owner tells of one commit after it told of another: most commits leave most workloads of an owner alone.
    """
    if any(_other_commit(notice, known) for known in tracked.notices):
        return True
    if not _is_later(notice) or digests_of(rollout.revision) & set(notice.digests):
        return False
    if any(_one_deployment(notice, known) for known in tracked.notices):
        return False
    return any(not _is_later(known) and _one_deployment(notice, known) for known in draft.state.waiting.values())


def _other_commit(notice: Notice, known: Notice) -> bool:
    if notice.owner is None or (notice.source, notice.owner) != (known.source, known.owner):
        return False
    said = (notice.commit or notice.version, known.commit or known.version)
    return None not in said and said[0] != said[1]


def _one_deployment(one: Notice, other: Notice) -> bool:
    """Two notices of one source that speak of the same deployment at their vendor, or else of the same commit."""
    if (one.source, one.workload, one.owner) != (other.source, other.workload, other.owner):
        return False
    if one.origin is not None or other.origin is not None:
        return one.origin == other.origin
    return one.commit is not None and one.commit == other.commit


def _is_news(draft: Draft, rollout: Rollout, notice: Notice) -> bool:
    """It failed lately, and not before the rollout began: then it was an earlier attempt, or another cluster's."""
    return rollout.started_at - SKEW <= notice.at and draft.now - notice.at <= NAME_WINDOW


def _failed(draft: Draft, tracked: Tracked, notice: Notice) -> None:
    """A sender that may cause says that the deployment failed: an anomaly without an alert."""
    declaration = Declaration(
        cause=DeclaredCause.PIPELINE_FAILED,
        actor=f"source:{notice.source}",
        at=draft.now,
        note=notice.description or "",
    )
    intake.declare(draft, tracked.view.workload, max(notice.at, tracked.view.started_at), declaration)
