"""State is the fold of facts, and nothing else: `State = reduce(evolve, facts)` (evolve is in `evolution.py`).

No clock and no policy here: a replay gives the same state under any policy. What is owed (`due`) and when something is
next to be looked at (`next_deadline`) are read off the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from daemon.core.actions import Action, Announce, Page
from daemon.core.incidents import Incident
from daemon.core.ledger import LedgerEntry
from daemon.core.model import (
    Alert,
    IncidentId,
    Location,
    Rollout,
    Workload,
    WorkloadKey,
    WorkloadView,
)

Value = TypeVar("Value")


def with_key(mapping: Mapping[str, Value], key: str, value: Value) -> dict[str, Value]:
    """A copy of the mapping with this key set: state is never mutated."""
    return {**mapping, key: value}


def without_key(mapping: Mapping[str, Value], key: str) -> dict[str, Value]:
    """A copy of the mapping without this key."""
    return {name: value for name, value in mapping.items() if name != key}


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

    def entry(self, revision: str) -> LedgerEntry | None:
        """The ledger's entry of a revision."""
        return self.ledger.get(revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedAlert:
    """An alert as last reported, where it belongs once that is known, and since when it is not firing any more."""

    alert: Alert
    noted_at: datetime
    location: Location | None = None
    gone_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause of a scope, set by a person; `until` None is until somebody resumes."""

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
    started_at: datetime | None = None

    def with_incident(self, incident_id: str, **changes: Any) -> State:
        """The state with an incident changed; the same state where it is not known (any more)."""
        incident = self.incidents.get(incident_id)
        if incident is None:
            return self
        return replace(self, incidents=with_key(self.incidents, incident_id, replace(incident, **changes)))

    def with_tracked(self, key: str, **changes: Any) -> State:
        """The state with a workload changed; the same state where it is not known (any more)."""
        tracked = self.workloads.get(key)
        if tracked is None:
            return self
        return replace(self, workloads=with_key(self.workloads, key, replace(tracked, **changes)))

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """The incidents that have not ended, oldest first."""
        return tuple(incident for incident in self.incidents.values() if not incident.phase.ended)

    @property
    def due(self) -> tuple[Action, ...]:
        """The actions to be carried out now.

        Pages with one key go out in their order and one by one, and so do the announcements of an incident: a resolve must
        not overtake its trigger, and a reply needs the thread that the first announcement starts.
        """
        return tuple(self._released())

    def _released(self) -> Iterator[Action]:
        lanes: set[tuple[str, str]] = set()
        for action in self.owed.values():
            if isinstance(action, Page | Announce):
                lane = (action.kind, action.key if isinstance(action, Page) else action.incident)
                if lane in lanes:
                    continue
                lanes.add(lane)
            yield self._addressed(action) if isinstance(action, Announce) else action

    def _addressed(self, action: Announce) -> Announce:
        incident = self.incidents.get(action.incident)
        if incident is None:
            return action
        return replace(action, channel=incident.thread.channel, thread=incident.thread.thread)

    def next_deadline(self) -> datetime | None:
        """When `decide` must be asked again with DeadlinePassed, None where nothing is pending."""
        return min(self._moments(), default=None)

    def _moments(self) -> Iterator[datetime]:
        for incident in self.open_incidents:
            moments = (
                incident.deadline,
                incident.next_measure_at,
                incident.countdown_until,
            )
            yield from (moment for moment in moments if moment is not None)
        for tracked in self.workloads.values():
            if tracked.successor_due is not None:
                yield tracked.successor_due
            entry = tracked.ledger.get(tracked.view.current.id)
            if entry is not None and entry.next_check is not None:
                yield entry.next_check
        yield from (pause.until for pause in self.pauses.values() if pause.until is not None)

    def paused_by(self, workload: Workload, now: datetime) -> str | None:
        """Which pause covers the workload, in words; None where none does."""
        for scope in ("", workload.namespace, workload.short):
            pause = self.pauses.get(scope)
            if pause is not None and (pause.until is None or pause.until > now):
                until = f" until {pause.until:%H:%M:%S}Z" if pause.until else ""
                return f"{scope or 'everything'} paused by {pause.actor}{until}"
        tracked = self.workloads.get(workload.key)
        if tracked is not None and tracked.view.namespace_paused:
            return f"namespace {workload.namespace} is annotated lastgood.dev/paused"
        return None
