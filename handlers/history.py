"""The document behind `lastgood history`: the rollouts of one workload, newest first, and what became of each revision.

Pure: state and policy in, one JSON object out. A revision that was never seen to be rolled out (it is only in the cluster's
history, or in the ledger) has a row of its own at the end, without moments.
"""

from __future__ import annotations

from datetime import datetime

from daemon.core.mode import mode_of
from daemon.core.model import Revision, Rollout
from daemon.core.notices import Notice
from daemon.core.policy import Policy
from daemon.core.state import PastRollout, State, Tracked
from handlers import notice_rows, overview
from handlers.overview import Document, cut, moment


def history(tracked: Tracked, state: State, policy: Policy, now: datetime) -> Document:
    """Every rollout that is remembered, the newest first, then the revisions without one."""
    told = [_row(tracked, past, past.notices, policy, now) for past in tracked.past]
    if tracked.rollout is not None:
        told.append(_row(tracked, tracked.rollout, tracked.notices, policy, now) | {"current": True})
    return {
        "now": moment(now),
        "workload": tracked.view.workload.key,
        "mode": mode_of(policy, tracked).value,
        "paused": state.paused_by(tracked.view.workload, now),
        "rollouts": [*reversed(told), *_others(tracked, policy, now)],
    }


def _row(
    tracked: Tracked, told: Rollout | PastRollout, notices: tuple[Notice, ...], policy: Policy, now: datetime
) -> Document:
    return {
        **_revision(tracked, told.revision, policy, now),
        "replaced": overview.revision(told.replaced),
        "started_at": moment(told.started_at),
        "completed_at": moment(told.completed_at),
        "changed_by": cut(told.changed_by) if told.changed_by else None,
        "rollback": _rollback(told),
        "notices": notice_rows.rows(notices),
    }


def _revision(tracked: Tracked, revision: Revision, policy: Policy, now: datetime) -> Document:
    row = overview.ledger_row(revision, tracked.entry(revision.id), policy, now, current=False)
    return {name: row.get(name) for name in ("revision", "current", "standing", "why_not", "proof", "quarantined_by")}


def _rollback(told: Rollout | PastRollout) -> Document | None:
    """Whose rollback it was: ours with its incident, or somebody's by hand; None for a step forward."""
    if told.ours is not None:
        return {"by": "lastgood", "incident": told.ours.partition("/")[0]}
    return {"by": "hand", "incident": None} if _returns(told) else None


def _returns(told: Rollout | PastRollout) -> bool:
    """It went back to a revision that was made before the one it replaced (see `Rollout.returns`)."""
    old, new = told.replaced, told.revision
    if old is None or old.created_at is None or new.created_at is None:
        return False
    return new.created_at < old.created_at


def _others(tracked: Tracked, policy: Policy, now: datetime) -> list[Document]:
    seen = {past.revision.id for past in tracked.past} | {tracked.view.current.id}
    known = {each.id: each for each in tracked.view.history}
    known.update({entry.revision.id: entry.revision for entry in tracked.ledger.values()})
    order = sorted((each for each in known.values() if each.id not in seen), key=_number, reverse=True)
    return [_never_seen(tracked, each, policy, now) for each in order]


def _number(revision: Revision) -> int:
    return revision.number or 0


def _never_seen(tracked: Tracked, revision: Revision, policy: Policy, now: datetime) -> Document:
    unknown = dict.fromkeys(("replaced", "started_at", "completed_at", "changed_by", "rollback"))
    return {**_revision(tracked, revision, policy, now), **unknown, "notices": []}
