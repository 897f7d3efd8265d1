"""State is the fold of facts, and nothing else: `State = reduce(evolve, facts)`.

No clock and no policy here: a replay gives the same state under any policy. What is owed (`due`) and when something is
next to be looked at (`next_deadline`) are read off the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from daemon.core.actions import Action
from daemon.core.incidents import Incident
from daemon.core.ledger import LedgerEntry
from daemon.core.model import (
    ActionId,
    Alert,
    IncidentId,
    Location,
    Rollout,
    WorkloadKey,
    WorkloadView,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A workload: how it looks, its latest rollout, its ledger (by revision id), and what we did to it."""

    view: WorkloadView
    rollout: Rollout | None = None
    ledger: Mapping[str, LedgerEntry] = field(default_factory=dict)
    rolled_back_at: datetime | None = None
    rolled_back_to: str | None = None
    successor_due: datetime | None = None
    predecessor: IncidentId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedAlert:
    """An alert as last reported, and where it belongs once that is known."""

    alert: Alert
    noted_at: datetime
    location: Location | None = None
    gone_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause of a scope, set by a person."""

    until: datetime | None
    actor: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackDone:
    """A rollback that was carried out (budget of BLAST_RADIUS)."""

    at: datetime
    namespace: str
    workload: WorkloadKey


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything the daemon holds true. All mappings are keyed by strings and are never mutated."""

    workloads: Mapping[str, Tracked] = field(default_factory=dict)
    alerts: Mapping[str, NotedAlert] = field(default_factory=dict)
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    owed: Mapping[str, Action] = field(default_factory=dict)
    pauses: Mapping[str, Pause] = field(default_factory=dict)
    rollbacks: tuple[RollbackDone, ...] = ()
    incident_count: int = 0
    unmapped_count: int = 0
    started_at: datetime | None = None

    @property
    def due(self) -> tuple[Action, ...]:
        """The actions to be carried out now. Pages and announcements of one incident go out in their order, one by one."""
        raise NotImplementedError

    def next_deadline(self) -> datetime | None:
        """When `decide` must be asked again with DeadlinePassed, None where nothing is pending."""
        raise NotImplementedError


def evolve(state: State, fact: object) -> State:
    """The state after one more fact. Pure: no policy, no clock."""
    raise NotImplementedError


def replay(facts: Iterable[object], state: State | None = None) -> State:
    """Fold facts onto a state (an empty one by default)."""
    for fact in facts:
        state = evolve(state or State(), fact)
    return state or State()


ActionIds = frozenset[ActionId]
