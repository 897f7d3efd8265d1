"""Carries out Measure: both revisions' signals, the time before, the peers, the pods, and the alerts' present states.

What cannot be read is named in `missing`, and the rest still counts; it is never taken for good or bad. Nothing here is
worth a retry by itself: the core asks again at the next sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from daemon.core.actions import Measure, Measured, MeasurePurpose, Outcome, OutcomeKind
from daemon.core.measurement import AlertState, Measurement, Peer, Sample
from daemon.core.model import AlertStatus, Revision, Workload
from daemon.core.policy import SignalKind
from daemon.ports import Clock
from handlers.alertmanager_api import AlertmanagerApi
from handlers.cache import ClusterCache, PodSeen
from handlers.faults import Fault
from handlers.sampling import Sampler, reason_of

BEFORE_SAMPLES = 10
"""Samples of the replaced revision before the rollout: enough for a median that one bad minute does not move."""

LOOK_BACK_MAX = timedelta(hours=2)
"""How far back the overlap is read: rollouts older than TOO_OLD are not acted upon anyway."""

RECENT_SAMPLES = 10
"""Samples of a recovery: only the latest decide."""

DAY = timedelta(days=1)


class MeasureRunner:
    """ports.Runner of Measure. `alerts` is None where no Alertmanager is configured."""

    def __init__(self, sampler: Sampler, cache: ClusterCache, alerts: AlertmanagerApi | None, clock: Clock) -> None:
        self._sampler = sampler
        self._cache = cache
        self._alerts = alerts
        self._clock = clock

    async def probe(self, action: Measure) -> Outcome | None:
        """Looking changes nothing: after a crash it is simply done again."""
        return None

    async def run(self, action: Measure) -> Outcome:
        """Measure now."""
        now = self._clock.now()
        missing: list[str] = []
        new, old, before, yesterday = await self._signals(action, now, missing)
        peers = await self._peers(action, now, missing)
        states = await self._alert_states(action, missing)
        pods = self._pods(action, action.new)
        others = self._pods(action, action.old)
        measurement = Measurement(
            at=now,
            new=new,
            old=old,
            before=before,
            yesterday=yesterday,
            peers=peers,
            alerts=states,
            start_failure=self._cache.start_failure(action.workload, action.new.id) if action.new else None,
            new_ready=sum(pod.ready for pod in pods),
            new_pods=sum(not pod.terminating for pod in pods),
            old_ready=sum(pod.ready for pod in others),
            restarts=sum(pod.restarts for pod in pods),
            failed_nodes=self._failed_nodes(action, pods),
            missing=tuple(missing),
        )
        return Outcome(kind=OutcomeKind.DONE, result=Measured(measurement=measurement))

    def _pods(self, action: Measure, revision: Revision | None) -> Sequence[PodSeen]:
        return self._cache.pods_of(action.workload, revision.id) if revision is not None else ()

    def _names(self, action: Measure, revision: Revision | None, known: Sequence[str]) -> tuple[str, ...]:
        """The journalled names and those the watch shows now."""
        seen = [pod.name for pod in self._pods(action, revision)]
        return tuple(dict.fromkeys([*known, *seen]))

    async def _signals(
        self, action: Measure, now: datetime, missing: list[str]
    ) -> tuple[tuple[Sample, ...], tuple[Sample, ...], tuple[Sample, ...], tuple[Sample, ...]]:
        blame = action.purpose is MeasurePurpose.BLAME
        interval = self._sampler.step_for(timedelta(0))
        since = max(action.since, now - (LOOK_BACK_MAX if blame else RECENT_SAMPLES * interval))
        step = self._sampler.step_for(now - since)
        namespace = action.workload.namespace
        new = self._names(action, action.new, action.new_pods)
        old = self._names(action, action.old, action.old_pods)
        began = action.rollout_started_at
        window = BEFORE_SAMPLES * interval
        try:
            return await asyncio.gather(
                self._sampler.samples(namespace, new, since, now, step),
                self._sampler.samples(namespace, old if blame else (), since, now, step),
                self._sampler.samples(namespace, old, began - window, began - interval, interval),
                self._sampler.samples(namespace, old, began - DAY, began - DAY + window, interval),
            )
        except Fault as fault:
            missing.append(reason_of(fault))
            return (), (), (), ()

    async def _peers(self, action: Measure, now: datetime, missing: list[str]) -> tuple[Peer, ...]:
        try:
            return tuple(await asyncio.gather(*(self._peer(peer, action.onset, now) for peer in action.peers)))
        except Fault as fault:
            missing.append(reason_of(fault))
            return ()

    async def _peer(self, workload: Workload, onset: datetime, now: datetime) -> Peer:
        """Errors and traffic only: they tell an outage, and every further signal would cost two queries per peer."""
        kinds = (SignalKind.TRAFFIC, SignalKind.ERROR_RATIO)
        rules = [rule for rule in self._sampler.policy.signals if rule.kind in kinds]
        pods = [pod.name for pod in self._cache.pods_of(workload)]
        step = self._sampler.step_for(timedelta(0))
        ago = onset - self._sampler.policy.signal_window - self._sampler.policy.assumed_for
        before, recent = await asyncio.gather(
            self._sampler.samples(workload.namespace, pods, ago - step, ago, step, rules),
            self._sampler.samples(workload.namespace, pods, now - 2 * step, now, step, rules),
        )
        return Peer(workload=workload, before=before[-1] if before else None, now=recent[-1] if recent else None)

    async def _alert_states(self, action: Measure, missing: list[str]) -> tuple[AlertState, ...]:
        """Gone only where a complete answer does not list it."""
        if not action.alerts:
            return ()
        if self._alerts is None:
            missing.append("alertmanager: no address is configured")
            return ()
        try:
            reading = await self._alerts.read()
        except Fault as fault:
            missing.append(f"alertmanager: {fault.reason}")
            return ()
        listed = {alert.fingerprint: alert.status for alert in reading.alerts}
        states = []
        for alert in action.alerts:
            status = listed.get(alert.fingerprint, AlertStatus.RESOLVED if reading.complete else None)
            if status is not None:
                states.append(AlertState(fingerprint=alert.fingerprint, status=status))
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
