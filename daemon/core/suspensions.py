"""Controllers that a rollback has suspended: who holds them so, and when each is to go on again. Values, no decisions.

A suspension is held from the moment its rollback is owed, so that one whose rollback was cut half-way is ended too. Two
rollbacks may hold the same controller, which then goes on again when the last of them lets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from daemon.core.actions import Outcome, OutcomeKind, RollBack, StaysSuspended
from daemon.core.model import ActionId, IncidentId, Owner, Workload
from daemon.core.policy import GitOps

END_AGAIN = timedelta(minutes=30)
"""After an end that failed for good: until then somebody may have given back the right that it wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A rollback that wants its workload's controller suspended until then."""

    action: ActionId
    incident: IncidentId
    workload: Workload
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """A controller that is suspended, or may be. `latest` is the last who wanted it, `tries` how often it was to be ended.

    `due` is when it is to go on again; None while that is under way.
    """

    owner: Owner
    way: GitOps
    latest: Hold
    holds: tuple[Hold, ...]
    due: datetime | None
    tries: int = 0


def key_of(owner: Owner) -> str:
    """Under which the state keeps it."""
    return f"{owner.kind}/{owner.name}"


def held(known: Suspension | None, action: RollBack) -> Suspension | None:
    """One more rollback holds it; None where the rollback suspends nobody."""
    owner, way, until = action.owner, action.way, action.suspend_until
    if owner is None or way is None or until is None:
        return None
    hold = Hold(action=action.id, incident=action.incident, workload=action.workload, until=until)
    holds = (*(known.holds if known is not None else ()), hold)
    tries = known.tries if known is not None else 0
    return Suspension(owner=owner, way=way, latest=hold, holds=holds, due=_last(holds), tries=tries)


def kept(known: Suspension, action: RollBack, outcome: Outcome, at: datetime) -> Suspension:
    """A rollback has come to its outcome: what it changed, or may have changed, goes on being held; else it lets go."""
    changed = outcome.kind in (OutcomeKind.DONE, OutcomeKind.UNKNOWN)
    if changed or isinstance(outcome.result, StaysSuspended):
        return known
    holds = tuple(hold for hold in known.holds if hold.action != action.id)
    return replace(known, holds=holds, due=_last(holds) or at)


def ending(known: Suspension) -> Suspension:
    """Its end is owed."""
    return replace(known, due=None, tries=known.tries + 1)


def ended(known: Suspension, outcome: Outcome, at: datetime) -> Suspension | None:
    """What is left of it after its end was tried; None for nothing."""
    holds = tuple(hold for hold in known.holds if hold.until > at)
    over = outcome.kind in (OutcomeKind.DONE, OutcomeKind.REFUSED)
    if over and not holds:
        return None
    return replace(known, holds=holds if over else known.holds, due=_last(holds) or at + END_AGAIN)


def _last(holds: Iterable[Hold]) -> datetime | None:
    return max((hold.until for hold in holds), default=None)
