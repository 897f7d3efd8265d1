"""Carries out Measure: both revisions' signals, the time before, the peers, the pods, and the alerts' present states.

What cannot be read is named in `missing`, and the rest still counts; it is never taken for good or bad. Nothing here is
worth a retry by itself: the core asks again at the next sample.

Queries per measurement, with S signals (4 by default) of which E are traffic or error ratio (2), and P peers (6 at most):
4 S + 2 E P = 40 to blame (4 E more per direct caller, six at most, and two for all that it calls, where nothing is heard of the
new pods; 2 E more per callee, six at most, where old and new pods are bad alike; one more per metric of requests that a mesh or
traces have), 2 S = 8 to see a recovery; one request to each Alertmanager's list and status. A StatefulSet's revision has one per
span (pod_groups.SPANS_MAX) in place of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from daemon.core import silence
from daemon.core.actions import Measure, Measured, MeasurePurpose, Outcome, OutcomeKind
from daemon.core.contrast import both_bad
from daemon.core.measurement import BEFORE_SAMPLES, DAY, LOOK_BACK_MAX, AlertState, Measurement, Peer, Sample
from daemon.core.model import AlertStatus, Revision, RevisionId, Stint, Workload
from daemon.core.policy import SignalKind
from daemon.core.signals import typical
from daemon.core.stints import settled
from daemon.ports import Clock
from handlers import pod_groups
from handlers.alertmanager_api import AlertmanagerApi
from handlers.cache import ClusterCache, PodSeen
from handlers.call_graph import CallGraph
from handlers.callees import Callees
from handlers.fan_outs import FanOuts
from handlers.faults import Fault
from handlers.live_calls import Meanings
from handlers.pod_groups import PodGroup
from handlers.pods import restarts_since, stint_of
from handlers.prometheus import PEER, PODS_MAX
from handlers.sampling import Sampler, reason_of

RECENT_SAMPLES = 10
"""Samples of a recovery: only the latest decide."""

PART_SECONDS = 15.0
"""How long one part may take: half an attempt of the dispatcher, so that a slow part loses only itself."""

T = TypeVar("T")
Samples = tuple[Sample, ...]


@dataclass(slots=True)
class _Missing:
    """What could not be read, by reason: one server that is down is one line, with everything that it concerns."""

    parts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, part: str) -> None:
        parts = self.parts.setdefault(reason, [])
        if part not in parts:
            parts.append(part)

    async def read(self, part: str, source: str, answer: Awaitable[T], nothing: T) -> T:
        """The answer; `nothing` where it is a fault or too late."""
        try:
            async with asyncio.timeout(PART_SECONDS):
                return await answer
        except TimeoutError:
            self.add(f"{source}: no answer within {PART_SECONDS:.0f} s", part)
        except Fault as fault:
            self.add(reason_of(fault) if source == PEER else f"{source}: {fault.reason}", part)
        return nothing

    def lines(self) -> tuple[str, ...]:
        """One line per reason, its parts in a fixed order: which answer came first says nothing."""
        return tuple(f"{reason} ({', '.join(sorted(parts))})" for reason, parts in self.parts.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """Samples of new and old pods that are settled, and the pair of one moment after that where there is one."""

    new: Samples = ()
    old: Samples = ()
    unsettled: tuple[Sample, Sample] | None = None


def _split(new: Samples, old: Samples, settled: datetime) -> _Sides:
    """Both sides up to `settled`, and the first pair of the same moment after it."""
    later = {sample.at: sample for sample in old if sample.at > settled}
    return _Sides(
        new=tuple(sample for sample in new if sample.at <= settled),
        old=tuple(sample for sample in old if sample.at <= settled),
        unsettled=next(((sample, later[sample.at]) for sample in new if sample.at in later), None),
    )


def _ready_since(pods: Sequence[PodSeen]) -> list[datetime]:
    return [pod.ready_since for pod in pods if pod.ready and pod.ready_since is not None]


class MeasureRunner:
    """ports.Runner of Measure. `alerts` is None where no Alertmanager is configured, `calls` says who calls whom now.

    `meanings` says which workloads the metrics of calls mean by the names of its ends.
    """

    def __init__(
        self,
        sampler: Sampler,
        cache: ClusterCache,
        alerts: AlertmanagerApi | None,
        clock: Clock,
        calls: Callable[[], CallGraph | None] = lambda: None,
        meanings: Callable[[], Meanings] = dict,
    ) -> None:
        self._sampler = sampler
        self._fan_outs = FanOuts(sampler, meanings)
        self._heard = Callees(sampler, meanings)
        self._cache = cache
        self._alerts = alerts
        self._clock = clock
        self._calls = calls

    async def probe(self, action: Measure) -> Outcome | None:
        """Looking changes nothing: after a crash it is simply done again."""
        return None

    async def run(self, action: Measure) -> Outcome:
        """Measure now."""
        now = self._clock.now()
        missing = _Missing()
        # In the order of their worth: queries wait for their turn in this order.
        sides, before, yesterday, peers, states, fan_outs = await asyncio.gather(
            self._sides(action, now, missing),
            self._before(action, missing),
            self._yesterday(action, now, missing),
            self._peers(action, now, missing),
            self._alert_states(action, missing),
            self._fan_outs.read(action.candidates, now),
        )
        pods = self._pods(action, action.new)
        others = self._pods(action, action.old)
        turns = self._fell_silent_at(action, sides.new, pods, now)
        callers, callees, below = await asyncio.gather(
            self._callers(action, turns, now, missing),
            self._callees(action, turns, now),
            self._below(action, sides, before, now, missing),
        )
        measurement = Measurement(
            at=now,
            new=sides.new,
            old=sides.old,
            unsettled=sides.unsettled,
            before=before,
            yesterday=yesterday,
            peers=peers,
            callers=callers,
            callees=callees,
            below=below,
            fan_outs=fan_outs,
            alerts=states,
            start_failure=self._cache.start_failure(action.workload, action.new.id) if action.new else None,
            new_ready=sum(pod.ready for pod in pods),
            new_pods=sum(not pod.terminating for pod in pods),
            old_ready=sum(pod.ready for pod in others),
            ready_since=tuple(sorted(_ready_since(pods))),
            restarts=sum(pod.restarts for pod in pods),
            restarted_at=max((pod.last_restart_at for pod in pods if pod.last_restart_at is not None), default=None),
            killed=sum(pod.oom_killed for pod in pods),
            old_restarts=restarts_since(others, action.rollout_started_at)[0],
            failed_nodes=self._failed_nodes(action, pods),
            missing=missing.lines(),
        )
        return Outcome(kind=OutcomeKind.DONE, result=Measured(measurement=measurement))

    def _pods(self, action: Measure, revision: Revision | None) -> Sequence[PodSeen]:
        return self._cache.pods_of(action.workload, revision.id) if revision is not None else ()

    def _group(self, action: Measure, revision: Revision | None, known: Sequence[str]) -> PodGroup:
        """The journalled names, those the watch shows now, and whatever else the revision's ReplicaSet made.

        Where names are given again, the times at which they were the revision's.
        """
        if pod_groups.names_return(action.workload):
            return pod_groups.of_stints(action.workload, self._stints(action, revision))
        seen = [pod.name for pod in self._pods(action, revision)]
        return pod_groups.of_revision(action.workload, revision, [*known, *seen])

    def _stints(self, action: Measure, revision: Revision | None) -> Sequence[Stint]:
        """The journalled stints, and those of all pods that the watch shows now: a new pod ends the one before it."""
        if revision is None:
            return ()
        lives: dict[RevisionId, list[Stint]] = {revision.id: []}
        for side, stints in ((action.new, action.new_stints), (action.old, action.old_stints)):
            if side is not None:
                lives.setdefault(side.id, []).extend(stints)
        for pod in self._cache.pods_of(action.workload):
            lives.setdefault(pod.revision, []).append(stint_of(pod))
        return settled(lives)[revision.id]

    async def _sides(self, action: Measure, now: datetime, missing: _Missing) -> _Sides:
        """The samples of the new pods, and to blame those of the old ones at the same moments."""
        sampler, end = self._sampler, self._sampler.settled(now)
        new = self._group(action, action.new, action.new_pods)
        if action.purpose is MeasurePurpose.RECOVERY:
            interval = sampler.step_for(timedelta(0))
            since = max(action.since, end - RECENT_SAMPLES * interval)
            return _Sides(new=await missing.read("signals", PEER, sampler.samples(new, since, end, interval), ()))
        old = self._group(action, action.old, action.old_pods)
        since = max(action.since, end - LOOK_BACK_MAX)
        reading = sampler.aligned((new, old), since, now, sampler.step_for(end - since))
        aligned = await missing.read("new and old pods", PEER, reading, None)
        if aligned is None:
            return _Sides()
        for fault in aligned.faults:
            missing.add(reason_of(fault), "new and old pods")
        return _split(aligned.groups[0], aligned.groups[1], end)

    async def _before(self, action: Measure, missing: _Missing) -> Samples:
        """The replaced revision before the rollout. Its pods of that time may be long gone, and after a rollback it has
        others: the ReplicaSet's name finds both.
        """
        old = self._group(action, action.old, action.old_pods)
        interval, began = self._sampler.step_for(timedelta(0)), action.rollout_started_at
        reading = self._sampler.samples(old, began - BEFORE_SAMPLES * interval, began - interval, interval)
        return await missing.read("before the rollout", PEER, reading, ())

    async def _yesterday(self, action: Measure, now: datetime, missing: _Missing) -> Samples:
        """The workload at this time of the day before, under whatever revision: a daily peak is nobody's fault."""
        if action.purpose is MeasurePurpose.RECOVERY:
            return ()
        interval, end = self._sampler.step_for(timedelta(0)), self._sampler.settled(now) - DAY
        group = pod_groups.of_workload(action.workload, (action.new, action.old))
        reading = self._sampler.samples(group, end - BEFORE_SAMPLES * interval, end, interval)
        return await missing.read("yesterday", PEER, reading, ())

    async def _peers(self, action: Measure, now: datetime, missing: _Missing) -> tuple[Peer, ...]:
        """Without those that a few calls join to it: they fail with it. An incident that no alert began does not know them."""
        graph = self._calls() if action.peers else None
        kin = graph.kin((action.workload,)) if graph is not None else ()
        unrelated = [peer for peer in action.peers if peer not in kin]
        return tuple(await asyncio.gather(*(self._peer(peer, action.onset, now, missing) for peer in unrelated)))

    def _fell_silent_at(
        self, action: Measure, fresh: Samples, pods: Sequence[PodSeen], now: datetime
    ) -> tuple[datetime, ...]:
        """Nothing where the new pods are heard, or none is ready; a recovery is seen by what is heard."""
        if action.purpose is MeasurePurpose.RECOVERY:
            return ()
        end = self._sampler.settled(now)
        return silence.fell_silent_at(fresh, sorted(_ready_since(pods)), self._sampler.policy, end)

    async def _callers(
        self, action: Measure, turns: Sequence[datetime], now: datetime, missing: _Missing
    ) -> tuple[Peer, ...]:
        """Its direct callers before the rollout and now, where nothing is heard of its new pods: they can tell of them then."""
        graph = self._calls()
        if graph is None or not turns:
            return ()
        wanted = graph.callers(action.workload)[: silence.CALLERS_MAX]
        return tuple(await asyncio.gather(*(self._caller(caller, action, turns[0], now, missing) for caller in wanted)))

    async def _callees(self, action: Measure, turns: Sequence[datetime], now: datetime) -> tuple[Peer, ...]:
        """Those it calls, with what reaches them from it before the rollout and now: they can tell as well.

        Not one with younger pods: if these lack their metrics, too, it hears less than comes, and that would pass for no work.
        """
        graph, began = self._calls(), action.rollout_started_at
        if graph is None or not turns:
            return ()
        since = began - BEFORE_SAMPLES * self._sampler.step_for(timedelta(0))
        whole = [
            each
            for each in graph.callees(action.workload)
            if all(pod.created_at < since for pod in self._cache.pods_of(each))
        ]
        return await self._heard.read(action.workload, whole, began, now)

    async def _below(
        self, action: Measure, sides: _Sides, before: Samples, now: datetime, missing: _Missing
    ) -> tuple[Peer, ...]:
        """Those it calls, where its old and new pods are bad alike: they may fail by what these do."""
        graph = self._calls()
        asked = action.purpose is MeasurePurpose.BLAME and both_bad(sides.new, sides.old, before, self._sampler.policy)
        if graph is None or not asked:
            return ()
        wanted = graph.callees(action.workload)[: silence.CALLERS_MAX]
        return tuple(await asyncio.gather(*(self._peer(each, action.onset, now, missing) for each in wanted)))

    async def _caller(
        self, caller: Workload, action: Measure, turn: datetime, now: datetime, missing: _Missing
    ) -> Peer:
        """Before the rollout and now, and on both sides of the minute in which the first new pod was ready, or fell silent."""
        before, recent = await self._around(caller, action.rollout_started_at, now, missing)
        step, since = self._sampler.step_for(timedelta(0)), turn + self._sampler.policy.signal_window
        few = (silence.SILENT_SAMPLES - 1) * step
        until, first = await self._twice(caller, (turn - few, turn), (since, min(since + few, now)), missing)
        sides = typical(until), typical(first)
        return Peer(
            workload=caller,
            before=typical(before),
            now=typical(recent),
            since=(sides[0], sides[1]) if sides[0] is not None and sides[1] is not None else None,
        )

    async def _peer(self, workload: Workload, onset: datetime, now: datetime, missing: _Missing) -> Peer:
        before, recent = await self._around(workload, onset, now, missing)
        return Peer(workload=workload, before=before[-1] if before else None, now=recent[-1] if recent else None)

    async def _around(
        self, workload: Workload, onset: datetime, now: datetime, missing: _Missing
    ) -> tuple[Samples, Samples]:
        """Before and now."""
        step = self._sampler.step_for(timedelta(0))
        ago = onset - self._sampler.policy.signal_window - self._sampler.policy.assumed_for
        end = self._sampler.settled(now)
        return await self._twice(workload, (ago - step, ago), (end - 2 * step, end), missing)

    async def _twice(
        self, workload: Workload, one: tuple[datetime, datetime], other: tuple[datetime, datetime], missing: _Missing
    ) -> tuple[Samples, Samples]:
        """Two spans. Errors and traffic only: they tell an outage, and every further signal would cost two queries."""
        kinds = (SignalKind.TRAFFIC, SignalKind.ERROR_RATIO)
        rules = [rule for rule in self._sampler.policy.signals if rule.kind in kinds]
        names = dict.fromkeys(pod.name for pod in self._cache.pods_of(workload))
        pods = PodGroup(namespace=workload.namespace, names=tuple(names)[:PODS_MAX])
        step = self._sampler.step_for(timedelta(0))
        reading = asyncio.gather(
            self._sampler.samples(pods, *one, step, rules),
            self._sampler.samples(pods, *other, step, rules),
        )
        earlier, later = await missing.read("peers", PEER, reading, [(), ()])
        return earlier, later

    async def _alert_states(self, action: Measure, missing: _Missing) -> tuple[AlertState, ...]:
        """Gone only where a complete answer does not list it."""
        if not action.alerts:
            return ()
        if self._alerts is None:
            missing.add("alertmanager: no address is configured", "alerts")
            return ()
        reading = await missing.read("alerts", "alertmanager", self._alerts.read(), None)
        if reading is None:
            return ()
        listed = {alert.fingerprint: alert.status for alert in reading.alerts}
        states = []
        for alert in action.alerts:
            status = listed.get(alert.fingerprint, AlertStatus.RESOLVED if reading.complete else None)
            if status is not None:
                states.append(AlertState(fingerprint=alert.fingerprint, status=status))
        if len(states) < len(action.alerts):
            missing.add("alertmanager: its list is not complete", "alerts")
        return tuple(states)

    def _failed_nodes(self, action: Measure, pods: Sequence[PodSeen]) -> tuple[str, ...]:
        """Nodes that run all the new pods that are not ready, and on which most pods of the peers are not ready either."""
        failing = {pod.node for pod in pods if not pod.ready and not pod.terminating and pod.node}
        if not failing:
            return ()
        others = [pod for peer in action.peers for pod in self._cache.pods_of(peer) if not pod.terminating]
        bad = []
        for node in sorted(failing):
            here = [pod for pod in others if pod.node == node]
            if here and sum(not pod.ready for pod in here) * 2 > len(here):
                bad.append(node)
        return tuple(bad) if len(bad) == len(failing) else ()
