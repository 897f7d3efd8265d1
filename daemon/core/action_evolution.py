"""How owed and settled actions change the state; part of `evolution`, which has the table of all facts."""

from __future__ import annotations

from dataclasses import replace

from daemon.core import facts as f
from daemon.core import suspensions
from daemon.core.actions import (
    Announce,
    Announced,
    EndSuspension,
    Outcome,
    OutcomeKind,
    Page,
    PageKind,
    ProveSoak,
    RevertCommit,
    RevertOpened,
    RollBack,
    RolledBack,
)
from daemon.core.incidents import PageState
from daemon.core.state import RollbackDone, State, with_key, without_key


def owed(state: State, fact: f.ActionOwed) -> State:
    """An action is owed: what it is about remembers it."""
    action = fact.action
    state = replace(state, owed=with_key(state.owed, action.id, action))
    if isinstance(action, Page):
        return _page_owed(state, action)
    if isinstance(action, Announce) and action.incident in state.incidents:
        thread = state.incidents[action.incident].thread
        return state.with_incident(action.incident, thread=replace(thread, count=thread.count + 1))
    if isinstance(action, RollBack):
        return _held(state.with_incident(action.incident, roll_back=action.id), action)
    if isinstance(action, EndSuspension):
        return _ending(state, action)
    if isinstance(action, RevertCommit):
        return state.with_incident(action.incident, revert=action.id)
    if isinstance(action, ProveSoak):
        return _soak_asked(state, action)
    return state


def _soak_asked(state: State, action: ProveSoak) -> State:
    tracked = state.workloads.get(action.workload.key)
    entry = tracked.entry(action.revision.id) if tracked else None
    if tracked is None or entry is None:
        return state
    ledger = with_key(tracked.ledger, action.revision.id, replace(entry, next_check=None))
    return state.with_tracked(action.workload.key, ledger=ledger)


def _page_owed(state: State, action: Page) -> State:
    incident = state.incidents.get(action.incident)
    if incident is None:
        return state
    count = incident.page.count + 1 if incident.page else 1
    page = PageState(
        key=action.key,
        urgent=action.urgent,
        open=action.page is not PageKind.RESOLVE,
        count=count,
        last=action.page,
    )
    return state.with_incident(action.incident, page=page)


def settled(state: State, fact: f.ActionSettled) -> State:
    """An action came to its outcome; one that is not owed changes nothing."""
    action = state.owed.get(fact.action_id)
    if action is None:
        return state
    state = replace(state, owed=without_key(state.owed, fact.action_id))
    if isinstance(action, Announce) and isinstance(fact.outcome.result, Announced):
        return _announced(state, action, fact.outcome.result)
    if isinstance(action, RollBack):
        state = _let_go(state, action, fact)
        return _rolled_back(state, action, fact.outcome) if fact.outcome.kind is OutcomeKind.DONE else state
    if isinstance(action, EndSuspension):
        return _ended(state, action, fact)
    if isinstance(action, RevertCommit) and isinstance(fact.outcome.result, RevertOpened):
        return state.with_incident(action.incident, revert_url=fact.outcome.result.url)
    return state


def _held(state: State, action: RollBack) -> State:
    """A rollback that goes around a controller holds its suspension from now on."""
    if action.owner is None:
        return state
    key = suspensions.key_of(action.owner)
    found = suspensions.held(state.suspensions.get(key), action)
    return state if found is None else replace(state, suspensions=with_key(state.suspensions, key, found))


def _let_go(state: State, action: RollBack, fact: f.ActionSettled) -> State:
    key = suspensions.key_of(action.owner) if action.owner is not None else ""
    known = state.suspensions.get(key)
    if known is None:
        return state
    kept = suspensions.kept(known, action, fact.outcome, fact.at)
    return replace(state, suspensions=with_key(state.suspensions, key, kept))


def _ending(state: State, action: EndSuspension) -> State:
    key = suspensions.key_of(action.owner)
    known = suspensions.ending(state.suspensions[key])
    return replace(state, suspensions=with_key(state.suspensions, key, known))


def _ended(state: State, action: EndSuspension, fact: f.ActionSettled) -> State:
    key = suspensions.key_of(action.owner)
    left = suspensions.ended(state.suspensions[key], fact.outcome, fact.at)
    if left is None:
        return replace(state, suspensions=without_key(state.suspensions, key))
    return replace(state, suspensions=with_key(state.suspensions, key, left))


def _announced(state: State, action: Announce, result: Announced) -> State:
    incident = state.incidents.get(action.incident)
    if incident is None or result.thread is None:
        return state
    thread = replace(incident.thread, channel=result.channel, thread=result.thread)
    return state.with_incident(action.incident, thread=thread)


def _rolled_back(state: State, action: RollBack, outcome: Outcome) -> State:
    if not isinstance(outcome.result, RolledBack):
        return state
    done = RollbackDone(
        at=outcome.result.patched_at,
        namespace=action.workload.namespace,
        workload=action.workload.key,
    )
    state = replace(state, rollbacks=(*state.rollbacks, done)[-100:])
    state = state.with_tracked(
        action.workload.key,
        rolled_back_at=outcome.result.patched_at,
        rolled_back_to=action.target.id,
    )
    return state.with_incident(
        action.incident,
        patched_at=outcome.result.patched_at,
        patched_generation=outcome.result.generation,
    )
