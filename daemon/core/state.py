"""State is the fold of facts, and nothing else: `State = reduce(evolve, facts)` (evolve is in `evolution.py`).

No clock and no policy here: a replay gives the same state under any policy. What is owed (`due`) and when something is
next to be looked at (`next_deadline`) are read off the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from daemon.core.actions import Action, Announce, Page
from daemon.core.incidents import Incident
from daemon.core.ledger import LedgerEntry
from daemon.core.model import (
    ActionId,
    Alert,
    IncidentId,
    Location,
    Revision,
    Rollout,
    Workload,
    WorkloadKey,
    WorkloadView,
)
from daemon.core.notices import Notice
from daemon.core.scorecard import Tally
from daemon.core.suspensions import Suspension
from daemon.core.table import Table, table

Value = TypeVar("Value")


def with_key(mapping: Mapping[str, Value], key: str, value: Value) -> Mapping[str, Value]:
    """The mapping with this key set: state is never mutated. A Table stays one, anything else is copied."""
    if isinstance(mapping, Table):
        return mapping.with_key(key, value)
    return {**mapping, key: value}


def without_key(mapping: Mapping[str, Value], key: str) -> Mapping[str, Value]:
    """The mapping without this key."""
    if isinstance(mapping, Table):
        return mapping.without_key(key)
    return {name: value for name, value in mapping.items() if name != key}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRollout:
    """A rollout that a later one replaced: what `history` shows of it."""

    revision: Revision
    replaced: Revision | None
    started_at: datetime
    completed_at: datetime | None
    changed_by: str | None
    ours: ActionId | None
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A workload: how it looks, its latest rollout, its ledger (by revision id), and what we did to it.

    `notices` is what pipelines said of the latest rollout, oldest first; `past` are the rollouts before it, newest last.
    """

    view: WorkloadView
    rollout: Rollout | None = None
    notices: tuple[Notice, ...] = ()
    past: tuple[PastRollout, ...] = ()
    ledger: Mapping[str, LedgerEntry] = field(default_factory=dict)
    rolled_back_at: datetime | None = None
    rolled_back_to: str | None = None
    successor_due: datetime | None = None
    predecessor: IncidentId | None = None
    watch_due: datetime | None = None

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
    """Everything the daemon holds true. All mappings are keyed by strings and are never mutated.

    `notices` has the identity of every notice taken of late (the same twice is one), `waiting` those without a rollout yet.
    `scorecards` has what was decided, by workload.
    Those that grow with the cluster are Tables. Any mapping does in their place, at the price of being looked through.
    """

    workloads: Mapping[str, Tracked] = field(default_factory=Table)
    alerts: Mapping[str, NotedAlert] = field(default_factory=Table)
    incidents: Mapping[str, Incident] = field(default_factory=Table)
    owed: Mapping[str, Action] = field(default_factory=Table)
    pauses: Mapping[str, Pause] = field(default_factory=dict)
    rollbacks: tuple[RollbackDone, ...] = ()
    incident_count: int = 0
    started_at: datetime | None = None
    notices: Mapping[str, datetime] = field(default_factory=Table)
    waiting: Mapping[str, Notice] = field(default_factory=Table)
    suspensions: Mapping[str, Suspension] = field(default_factory=dict)
    scorecards: Mapping[str, Tally] = field(default_factory=Table)

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
        return table(self.incidents).having(_openness, True)

    def ended_beyond(self, kept: int) -> str | None:
        """The longest ended incident that is remembered, where there are more than `kept`."""
        if len(self.incidents) <= kept or table(self.incidents).count_having(_openness, False) <= kept:
            return None
        first = table(self.incidents).first_having(_openness, False)
        return first[0] if first else None

    def incidents_of(self, fingerprint: str) -> tuple[Incident, ...]:
        """The open incidents that carry this alert, oldest first."""
        return tuple(i for i in table(self.incidents).having(_fingerprints, fingerprint) if not i.phase.ended)

    @property
    def due(self) -> tuple[Action, ...]:
        """The actions to be carried out now.

        Pages with one key go out in their order and one by one, and so do the announcements of an incident: a resolve must
        not overtake its trigger, and a reply needs the thread that the first announcement starts.
        """
        return tuple(self._released())

    def due_of(self, touched: Iterable[Action]) -> Iterator[Action]:
        """Of `due`, what may have become so because these actions were owed or settled."""
        for action in touched:
            lanes = _lanes(action)
            first = table(self.owed).first_having(_lanes, lanes[0]) if lanes else None
            follows = first[1] if first else self.owed.get(action.id)
            if follows is not None:
                yield self._addressed(follows)

    def _released(self) -> Iterator[Action]:
        begun: set[tuple[str, str]] = set()
        for action in self.owed.values():
            lanes = _lanes(action)
            if begun.isdisjoint(lanes):
                begun.update(lanes)
                yield self._addressed(action)

    def _addressed(self, action: Action) -> Action:
        incident = self.incidents.get(action.incident) if isinstance(action, Announce) else None
        if incident is None or not isinstance(action, Announce):
            return action
        return replace(action, channel=incident.thread.channel, thread=incident.thread.thread)

    def next_deadline(self) -> datetime | None:
        """When `decide` must be asked again with DeadlinePassed, None where nothing is pending."""
        incidents, workloads = table(self.incidents).least(_incident_due), table(self.workloads).least(_workload_due)
        pauses, suspensions = self.pauses.values(), self.suspensions.values()
        return _earliest(incidents, workloads, *(each.until for each in pauses), *(each.due for each in suspensions))

    def incidents_due(self, now: datetime) -> tuple[Incident, ...]:
        """The open incidents of which a moment has come, oldest first."""
        return table(self.incidents).until(_incident_due, now)

    def workloads_due(self, now: datetime) -> tuple[Tracked, ...]:
        """The workloads whose next soak check or successor has come."""
        return table(self.workloads).until(_workload_due, now)

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


# What the state's tables are asked for; each is a key of their memory (see Table).


def _openness(incident: Incident) -> tuple[bool]:
    return (not incident.phase.ended,)


def _fingerprints(incident: Incident) -> tuple[str, ...]:
    return tuple(dict.fromkeys(located.alert.fingerprint for located in incident.alerts))


def _lanes(action: Action) -> tuple[tuple[str, str], ...]:
    """Actions of one lane go out one by one."""
    if isinstance(action, Page):
        return ((action.kind, action.key),)
    return ((action.kind, action.incident),) if isinstance(action, Announce) else ()


def _incident_due(incident: Incident) -> datetime | None:
    if incident.phase.ended:
        return None
    return _earliest(incident.deadline, incident.next_measure_at, incident.countdown_until)


def _workload_due(tracked: Tracked) -> datetime | None:
    entry = tracked.ledger.get(tracked.view.current.id)
    return _earliest(tracked.successor_due, tracked.watch_due, entry.next_check if entry is not None else None)


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
