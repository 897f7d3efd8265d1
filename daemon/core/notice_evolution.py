"""How notices and rollouts change the state; part of `evolution`, which has the table of all facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from daemon.core import facts as f
from daemon.core.model import Rollout
from daemon.core.notices import NOTICES_PER_ROLLOUT_MAX, Notice
from daemon.core.state import PastRollout, State, Tracked, with_key, without_key

NOTICES_KEPT_MAX = 5_000
"""Identities of notices remembered, so that a redelivered one is known: senders redeliver within days, some 1,000 a day."""

WAITING_MAX = 500
"""Notices that wait for their rollout. Those of other clusters wait for ever, so the oldest give way."""

PAST_MAX = 20
"""Rollouts remembered per workload for `history`; Kubernetes itself keeps 10 revisions by default."""

Value = TypeVar("Value")


def rollout_recorded(state: State, fact: f.RolloutRecorded) -> State:
    """A rollout began or more is known of it; one that another replaced moves to the past."""
    tracked = state.workloads.get(fact.rollout.workload.key)
    if tracked is None or tracked.rollout is None or _same(tracked.rollout, fact.rollout):
        return state.with_tracked(fact.rollout.workload.key, rollout=fact.rollout)
    past = (*tracked.past, _past(tracked.rollout, tracked.notices))[-PAST_MAX:]
    return state.with_tracked(fact.rollout.workload.key, rollout=fact.rollout, past=past, notices=())


def _same(known: Rollout, told: Rollout) -> bool:
    return (known.revision.id, known.started_at) == (told.revision.id, told.started_at)


def _past(rollout: Rollout, notices: tuple[Notice, ...]) -> PastRollout:
    return PastRollout(
        revision=rollout.revision,
        replaced=rollout.replaced,
        started_at=rollout.started_at,
        completed_at=rollout.completed_at,
        changed_by=rollout.changed_by,
        ours=rollout.ours,
        notices=notices,
    )


def taken(state: State, fact: f.NoticeTaken) -> State:
    """A notice is known, and waits for its rollout."""
    key = fact.notice.key
    return replace(
        state,
        notices=_bounded(with_key(state.notices, key, fact.at), NOTICES_KEPT_MAX),
        waiting=_bounded(with_key(state.waiting, key, fact.notice), WAITING_MAX),
    )


def _bounded(mapping: Mapping[str, Value], most: int) -> Mapping[str, Value]:
    """Without the oldest of the loudest source where there are too many."""
    while len(mapping) > most:
        mapping = without_key(mapping, _loudest(mapping))
    return mapping


def _loudest(keys: Iterable[str]) -> str:
    """The oldest key of the source that has most: who floods pushes out its own notices, and nobody else's."""
    known = tuple(keys)
    ((source, _),) = Counter(map(_source, known)).most_common(1)
    return next(key for key in known if _source(key) == source)


def _source(key: str) -> str:
    """The sender's name in a notice's key."""
    return key.partition("/")[0]


def attached(state: State, fact: f.NoticeAttached) -> State:
    """A notice speaks of the latest rollout of a workload, and so of an incident that blames it."""
    tracked = state.workloads.get(fact.workload)
    if tracked is None or tracked.rollout is None or tracked.rollout.revision.id != fact.revision:
        return state
    if fact.notice.workload is not None:  # one that names no workload may belong to several with the same artefact
        state = replace(state, waiting=without_key(state.waiting, fact.notice.key))
    state = _kept(state, tracked, tracked.rollout, fact)
    for incident in state.open_incidents:
        if incident.suspect == tracked.view.workload and incident.blamed and incident.blamed.id == fact.revision:
            state = state.with_incident(incident.id, notices=state.workloads[fact.workload].notices)
    return state


def _kept(state: State, tracked: Tracked, rollout: Rollout, fact: f.NoticeAttached) -> State:
    others = {notice.key: notice for notice in tracked.notices if notice.key != fact.notice.key}
    return state.with_tracked(
        fact.workload,
        notices=tuple(_bounded({**others, fact.notice.key: fact.notice}, NOTICES_PER_ROLLOUT_MAX).values()),
        rollout=replace(rollout, irreversible=rollout.irreversible or fact.notice.irreversible),
    )


def declared(state: State, fact: f.IncidentDeclared) -> State:
    """An open incident was declared by somebody, too. That data is at risk stays said, whatever is said after it."""
    incident = state.incidents.get(fact.incident)
    known = incident.declared if incident is not None else None
    if known is not None and known.cause.risks_data and not fact.declaration.cause.risks_data:
        return state
    return state.with_incident(fact.incident, declared=fact.declaration)
