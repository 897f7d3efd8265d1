"""Where else it hurts while an incident is undecided, and how a rollout hangs together with all of these places.

One bad rollout hurts at many: at who calls it, at what it calls, and at whoever calls that. So each place bears witness.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from daemon.core.incidents import Incident, Phase
from daemon.core.model import LocatedAlert, Location, Neighbour, Rollout, Rung, Workload
from daemon.core.policy import Policy
from daemon.core.state import State, Tracked
from daemon.core.table import table

TOGETHER = timedelta(minutes=10)
"""Anomalies whose onsets lie no further apart may be one: a cascade takes minutes, and so do the rules that see it."""

RIGHT_BEFORE = timedelta(minutes=1)
"""Where nobody knows who calls whom, all of a namespace may have hurt it. With 50 rollouts a day, four steps each, one of them
comes in a given minute by chance one time in seven; in ten minutes, more often than not.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where it hurts. `near`: what is near in the call graph; `causes`: what of it can hurt it by what it answers or asks."""

    near: Mapping[Workload, Neighbour]
    causes: frozenset[Workload]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """`scope`: where it hurts by this incident; `here`: what is around that; `others`: the other places where it hurts."""

    scope: tuple[Workload, ...]
    here: Place
    others: Mapping[Workload, Place]
    accused: frozenset[Workload]

    def neighbour(self, workload: Workload) -> Neighbour | None:
        """How it is near to where it hurts; None where it hurts there itself, or is not near."""
        return None if workload in self.scope else self.here.near.get(workload)

    def explains(self, workload: Workload) -> int:
        """How many other places hurt that it may be the cause of."""
        return sum(1 for at, place in self.others.items() if at != workload and workload in place.causes)

    def besides(self, workload: Workload) -> int:
        """How many other places hurt that do not call it."""
        return sum(1 for at, place in self.others.items() if at != workload and not _calls(place, workload))

    def inherits(self, workload: Workload) -> bool:
        """It hurts at one that the workload calls: what fails there fails its pods of either revision."""
        return any(
            workload in place.near and not _calls(place, workload) for place in (self.here, *self.others.values())
        )


def surroundings(incident: Incident, state: State, policy: Policy) -> Surroundings:
    """Of an incident, among all that hurts now."""
    hurting = _hurting(incident, state, policy)
    return Surroundings(
        scope=incident.scope,
        here=_around(incident.scope, _unhurt(_near(incident, state, policy), hurting), hurting),
        others={
            at: _around(location.workloads, location.neighbours, hurting)
            for at, location in hurting.items()
            if at != incident.symptom
        },
        accused=frozenset(_accused(incident, state)),
    )


def _accused(incident: Incident, state: State) -> Iterator[Workload]:
    """Who is blamed already, by a proposal that was not taken back: for what began at the same time, or what goes on still."""
    for other in state.incidents.values():
        blamed = other.verdict is not None and other.verdict.blames and bool(other.suspicions)
        stands = other.phase not in (Phase.OPEN, Phase.DISMISSED) and other.id != incident.id
        if blamed and stands and (abs(other.onset - incident.onset) <= TOGETHER or _goes_on(other, incident)):
            yield other.suspicions[0].workload


def _goes_on(other: Incident, incident: Incident) -> bool:
    """Nobody has seen to it yet: what began later may be more of the same."""
    unmended = other.phase in (Phase.PROPOSED, Phase.ESCALATED) and not other.judged_wrong
    return unmended and other.onset <= incident.onset


def _calls(place: Place, workload: Workload) -> bool:
    return workload in place.near and place.near[workload].called


def _hurting(incident: Incident, state: State, policy: Policy) -> dict[Workload, Location]:
    """The places of all alerts that fire, each once; whole namespaces are no place."""
    places = (each.location for each in _firing(incident, state) if each.location.rung is not Rung.NAMESPACE)
    found = {location.workloads[0]: location for location in places}
    return {at: replace(location, neighbours=_near(location, state, policy)) for at, location in found.items()}


def _near(place: Incident | Location, state: State, policy: Policy) -> tuple[Neighbour, ...]:
    """What is near in the call graph; where nobody knows who calls whom, what was rolled out beside it right before.

    Without an alert it is about a rollout already.
    """
    if place.neighbours or (isinstance(place, Incident) and not place.alerts):
        return place.neighbours
    scope = place.scope if isinstance(place, Incident) else place.workloads
    felt_at = place.felt_at or place.onset
    beside = table(state.workloads).having(_namespace, scope[0].namespace) if scope else ()
    return tuple(
        Neighbour(workload=tracked.view.workload, hops=0, called=False)
        for tracked in beside
        if tracked.view.workload not in scope and _came_right_before(tracked.rollout, felt_at, policy)
    )


def _unhurt(near: tuple[Neighbour, ...], hurting: Mapping[Workload, Location]) -> tuple[Neighbour, ...]:
    """Of what is only beside it, what hurts itself is an incident of its own, which tells more."""
    return tuple(each for each in near if each.hops or each.workload not in hurting)


def _namespace(tracked: Tracked) -> tuple[str]:
    return (tracked.view.workload.namespace,)


def _came_right_before(rollout: Rollout | None, felt_at: datetime, policy: Policy) -> bool:
    if rollout is None or rollout.replaced is None:
        return False
    lags = [felt_at - step for step in rollout.steps or (rollout.started_at,)]
    return any(-policy.sample_interval <= lag <= max(RIGHT_BEFORE, policy.sample_interval) for lag in lags)


def _around(
    scope: tuple[Workload, ...], neighbours: tuple[Neighbour, ...], hurting: Mapping[Workload, Location]
) -> Place:
    """What is near to a place; where it hurts at some that it calls, near to those: what broke them broke it."""
    called = [each for each in neighbours if each.called]
    below = [each for each in called if each.workload in hurting]
    if below:
        asking = [
            replace(each, hops=way.hops + each.hops)
            for way in below
            if not _hurts_below(hurting[way.workload], hurting)
            for each in _asking(hurting[way.workload].neighbours)
            if each.workload not in scope
        ]
        called = [_by_way_of(below, each, hurting) for each in called]
    else:
        asking = _asking(neighbours)
    near = {each.workload: each for each in (*asking, *neighbours, *called)}
    return Place(near=near, causes=frozenset(each.workload for each in (*asking, *called)))


def _by_way_of(below: list[Neighbour], called: Neighbour, hurting: Mapping[Workload, Location]) -> Neighbour:
    """As near as it is to one that hurts; one call further where it has to do with none of these."""
    if called.workload in hurting:
        return called
    ways = [
        each.hops
        for way in below
        for each in hurting[way.workload].neighbours
        if each.called and each.workload == called.workload
    ]
    return replace(called, hops=min(ways, default=called.hops + 1))


def _hurts_below(place: Location, hurting: Mapping[Workload, Location]) -> bool:
    return any(each.called and each.workload in hurting for each in place.neighbours)


def _asking(neighbours: Iterable[Neighbour]) -> list[Neighbour]:
    """Who calls there directly: what is asked passes no third."""
    return [each for each in neighbours if not each.called and each.hops <= 1]


def _firing(incident: Incident, state: State) -> Iterator[LocatedAlert]:
    """The alerts that fire: of all that is open, and what began with it and was dismissed, because it hurts as much there."""
    for other in state.incidents.values():
        if not other.phase.ended:
            yield from (each for each in other.alerts if each.gone_since is None)
        elif other.phase is Phase.DISMISSED and abs(other.onset - incident.onset) <= TOGETHER:
            yield from (each for each in other.alerts if _still_fires(each, state))


def _still_fires(located: LocatedAlert, state: State) -> bool:
    noted = state.alerts.get(located.alert.fingerprint)
    return noted is not None and noted.gone_since is None and noted.alert.starts_at == located.alert.starts_at
