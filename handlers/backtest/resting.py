"""Looks that would see what the one before saw: a replay passes over them until there is something new to see.

The core looks at what it has handed over, and at a revision that it cannot prove, again and again, every minute or two for as
long as they stand. A daemon has to; in a recording nothing is seen that is not recorded, and of a month most is silence. So
whoever was looked at and has long had no record rests: the next look is put off, and comes when it would have come anyway, in
time for the next record. A look in between would have changed nothing but the time of the last look.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from daemon.core.actions import Action, Measure, MeasurePurpose, ProveSoak
from daemon.core.incidents import Incident, Phase
from daemon.core.ledger import LedgerEntry, ProofKind
from daemon.core.model import IncidentId
from daemon.core.policy import Policy
from daemon.core.state import State, Tracked, with_key

SILENT_SAMPLES = 12
"""Intervals without a record, after which no sample of before is read any more: a recovery reads ten of them."""

SILENT_MIN = timedelta(minutes=15)
"""By then a pod has been found never to be ready, and a rollout to be stuck: what time alone brings about has come."""

REST_MAX = timedelta(hours=4)
"""At least so often somebody is looked at all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    """The looks after `last`, one each `every`, that are passed over before `until`."""

    last: datetime
    every: timedelta
    until: datetime

    def next(self, moment: datetime) -> datetime:
        """The first look that would not have been before that moment, where the rest lasts so long."""
        return min(self.last + -(-(moment - self.last) // self.every) * self.every, self.until)

    def up_to(self, moment: datetime) -> datetime:
        """The latest look that would have been before that moment; the first at all where none would."""
        before = self.next(moment) if self.next(moment) < moment else self.next(moment) - self.every
        return max(before, self.last + self.every)


@dataclass(slots=True)
class _Sleeper:
    """One workload: the proof of its revision, and the incidents about it."""

    proof: _Rest | None = None
    incidents: dict[IncidentId, _Rest] = field(default_factory=dict)


class Resting:
    """Who rests. Every method gives the state with the next looks as they are then."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._silence = max(SILENT_SAMPLES * policy.sample_interval, SILENT_MIN)
        self._sleepers: dict[str, _Sleeper] = {}
        self._recorded: dict[str, datetime] = {}
        self._coming: dict[str, datetime] = {}

    def with_alert(self, state: State, labels: tuple[tuple[str, str], ...]) -> list[str]:
        """The workloads that rest, of which an incident carries the alert with these labels."""
        return [workload for workload, sleeper in self._sleepers.items() if _carries(state, sleeper, labels)]

    def looked(self, state: State, action: Action, now: datetime) -> State:
        """An action was answered: may its subject rest?"""
        if not isinstance(action, Measure | ProveSoak):
            return state
        workload = action.workload.key
        recorded = self._coming.get(workload)
        if recorded is not None and recorded > now:
            recorded = self._recorded.get(workload)
        if recorded is not None and now - recorded < self._silence:
            return state
        if isinstance(action, ProveSoak):
            return state if action.until is not None else self._proof_rests(state, workload, now)
        if action.purpose is not MeasurePurpose.RECOVERY:
            return state
        return self._incident_rests(state, action.incident, workload, now)

    def wake(self, state: State, workload: str, now: datetime) -> State:
        """Something is recorded of the workload at that moment, which is yet to come: the looks up to then are caught up with.

        An incident's would have seen nothing, so the next one is the first that can. A proof's would have counted the time, and
        one look back counts it as well.
        """
        if workload in self._coming:
            self._recorded[workload] = self._coming[workload]
        self._coming[workload] = now
        sleeper = self._sleepers.pop(workload, None)
        if sleeper is None:
            return state
        for incident_id, rest in sleeper.incidents.items():
            incident = state.incidents.get(incident_id)
            if incident is not None and incident.next_measure_at == rest.until:
                state = state.with_incident(incident_id, next_measure_at=rest.next(now))
        found = _entry_of(state, workload)
        if sleeper.proof is not None and found is not None and found[1].next_check == sleeper.proof.until:
            state = _with_check(state, workload, *found, sleeper.proof.up_to(now))
        return state

    def _incident_rests(self, state: State, incident_id: IncidentId, workload: str, now: datetime) -> State:
        sleeper = self._sleepers.setdefault(workload, _Sleeper())
        sleeper.incidents.pop(incident_id, None)
        incident = state.incidents.get(incident_id)
        if incident is None or not _is_left_to_people(incident) or incident.next_measure_at is None:
            return state
        rest = _rest(now, incident.next_measure_at, REST_MAX)
        coming = self._coming.get(workload, now)
        if coming > now:
            rest = replace(rest, until=rest.next(coming))
        sleeper.incidents[incident_id] = rest
        return state.with_incident(incident_id, next_measure_at=rest.until)

    def _proof_rests(self, state: State, workload: str, now: datetime) -> State:
        found = _entry_of(state, workload)
        if found is None or self._is_busy(state, workload, found[0]):
            return state
        entry = found[1]
        proven = entry.proof.kind if entry.proof is not None else None
        if proven is ProofKind.TRAFFIC or entry.next_check is None:
            return state
        lasts = REST_MAX
        if proven is None and entry.quarantined_by is None:
            # It is proven at the very look at which it has been quiet for so long.
            lasts = min(lasts, self._policy.soak_low_traffic - entry.quiet)
        rest = _rest(now, entry.next_check, lasts)
        coming = self._coming.get(workload, now)
        if coming > now:
            rest = replace(rest, until=rest.up_to(coming))
        self._sleepers.setdefault(workload, _Sleeper()).proof = rest
        return _with_check(state, workload, *found, rest.until)

    def _is_busy(self, state: State, workload: str, tracked: Tracked) -> bool:
        """It is looked at for another reason, too: what comes of that may suspend the proof."""
        if tracked.watch_due is not None or tracked.successor_due is not None:
            return True
        sleeper = self._sleepers.get(workload)
        asleep = sleeper.incidents if sleeper is not None else {}
        return any(
            workload in (each.suspect.key if each.suspect else None, each.symptom.key) and each.id not in asleep
            for each in state.open_incidents
        )


def _carries(state: State, sleeper: _Sleeper, labels: tuple[tuple[str, str], ...]) -> bool:
    incidents = (state.incidents.get(each) for each in sleeper.incidents)
    return any(located.alert.labels == labels for each in incidents if each is not None for located in each.alerts)


def _is_left_to_people(incident: Incident) -> bool:
    """It is only looked at for whether the symptom is gone, and there is no sign of that."""
    return incident.phase is Phase.ESCALATED and incident.good_since is None and incident.deadline is None


def _rest(now: datetime, following: datetime, lasts: timedelta) -> _Rest:
    """From this look on, at least up to the following one, else for so long, rounded up to a look."""
    every = following - now
    looks = max(1, -(-lasts // every))
    return _Rest(last=now, every=every, until=now + looks * every)


def _entry_of(state: State, workload: str) -> tuple[Tracked, LedgerEntry] | None:
    tracked = state.workloads.get(workload)
    entry = tracked.entry(tracked.view.current.id) if tracked is not None else None
    return (tracked, entry) if tracked is not None and entry is not None else None


def _with_check(state: State, workload: str, tracked: Tracked, entry: LedgerEntry, due: datetime) -> State:
    changed = replace(entry, next_check=due)
    return state.with_tracked(workload, ledger=with_key(tracked.ledger, entry.revision.id, changed))
