"""What Prometheus answers: samples of the truth, sometimes late, missing or stale. Carries out Locate, Measure and ProveSoak.

In place of the handlers' queries stand their results; what is judged of them is the real core's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from daemon.core.actions import Locate, Located, Measure, Measured, Outcome, OutcomeKind, ProveSoak, Soaked
from daemon.core.measurement import AlertState, Measurement, Peer, Sample, SoakMeasurement
from daemon.core.model import AlertStatus, Location, OnsetSource, Revision, RevisionId, Rung, Workload
from daemon.core.policy import Policy
from handlers.cluster_cache import ReflectedCluster
from handlers.faults import FaultKind, Transient, from_status
from tests.simulation.clocks import EPOCH
from tests.simulation.network import HungError, LostError, Network, StatusError
from tests.simulation.truth import BAD, GOOD, SYMPTOM, Truth

PEER = "Prometheus"
PATIENCE_SECONDS = 10.0
SAMPLES_MAX = 6
"""Samples from the beginning and from the end of a time: both sides of a rollout serve early, and the newest say how it is."""

STALE_SECONDS = 120.0


@dataclass(slots=True)
class Prometheus:
    """The server: what it knows, and what it has told. `proven` adds up the healthy time it vouched for, per revision."""

    truth: Truth
    network: Network
    onset_known: bool = True
    asked_at: dict[str, float] = field(default_factory=dict)
    proven: dict[tuple[str, RevisionId], timedelta] = field(default_factory=dict)
    alerts: Callable[[str], tuple[AlertStatus, float]] = lambda fingerprint: (AlertStatus.RESOLVED, 0.0)

    async def ask(self, answer: Callable[[float], Any]) -> Any:
        """The answer as of now; as of some time ago where a replica lags. Raises Transient."""
        network = self.network

        def fresh() -> Any:
            return answer(asyncio.get_running_loop().time())

        def stale() -> Any:
            return answer(asyncio.get_running_loop().time() - STALE_SECONDS)

        try:
            return await network.send("prometheus", fresh, patience=PATIENCE_SECONDS, stale=stale)
        except LostError:
            raise Transient(None, f"connection to {PEER} failed", FaultKind.NETWORK) from None
        except HungError:
            raise Transient(None, f"{PEER} did not answer in time", FaultKind.TIMEOUT) from None
        except StatusError as error:
            raise from_status(error.status, {}, peer=PEER) from None


@dataclass(slots=True)
class Observer:
    """Runner of Locate, Measure and ProveSoak for one process: it sees pods through that process's own cache."""

    prometheus: Prometheus
    cache: ReflectedCluster
    policy: Callable[[], Policy]
    now: Callable[[], datetime]

    async def run(self, action: Any) -> Outcome:
        match action:
            case Locate():
                result: Any = await self._locate(action)
            case Measure():
                result = await self._measure(action)
            case _:
                result = await self._soak(action)
        return Outcome(kind=OutcomeKind.DONE, result=result)

    async def probe(self, action: Any) -> Outcome | None:
        return None

    # -- Locate

    async def _locate(self, action: Locate) -> Located:
        labels = dict(action.alert.labels)
        namespace = labels.get("namespace", "")
        names = [name for name in labels.get("deployment", "").split("+") if name]
        places = [found for name in names if (found := self.cache.workload(namespace, "Deployment", name)) is not None]
        rung = Rung.CONTROLLER
        if not names and namespace:
            places, rung = list(self.cache.workloads_in(namespace)), Rung.NAMESPACE
        known = self.prometheus.onset_known
        onset = await self.prometheus.ask(lambda at: self.prometheus.alerts(action.alert.fingerprint)[1])
        return Located(
            location=Location(
                workloads=tuple(places),
                rung=rung if places else Rung.NONE,
                tried=tuple(labels),
                onset=EPOCH + timedelta(seconds=onset) if known else action.alert.starts_at - self.policy().assumed_for,
                onset_source=OnsetSource.FOR_STATE if known else OnsetSource.ASSUMED,
            )
        )

    # -- Measure

    async def _measure(self, action: Measure) -> Measured:
        if self.prometheus.network.fault("prometheus", "nothing") is not None:
            return Measured(measurement=self._blind(action))
        measurement: Measurement = await self.prometheus.ask(lambda at: self._seen(action, at))
        return Measured(measurement=measurement)

    def _blind(self, action: Measure) -> Measurement:
        """Prometheus is there and knows nothing; the pods are seen all the same."""
        return Measurement(at=self.now(), missing=("prometheus: no series",), **self._pods(action))

    def _seen(self, action: Measure, at: float) -> Measurement:
        policy, truth = self.policy(), self.prometheus.truth
        step = policy.sample_interval.total_seconds()
        last = (at - policy.settling.total_seconds()) // step * step
        first = -((EPOCH - action.since).total_seconds() // step) * step
        count = max(0, int((last - first) // step) + 1)
        moments = [first + step * index for index in range(count) if min(index, count - 1 - index) < SAMPLES_MAX]
        key = (action.workload.namespace, action.workload.name)
        began = (action.rollout_started_at - EPOCH).total_seconds()
        earlier = [began - step * index for index in (3, 2, 1)]
        statuses = [(alert.fingerprint, self.prometheus.alerts(alert.fingerprint)[0]) for alert in action.alerts]
        peers = [
            Peer(workload=peer, before=_service(truth, peer, began - step), now=_service(truth, peer, at))
            for peer in action.peers
        ]
        return Measurement(
            at=self.now(),
            new=_samples(truth, key, action.new, moments),
            old=_samples(truth, key, action.old, moments),
            before=_samples(truth, key, action.old, earlier),
            peers=tuple(peers),
            alerts=tuple(AlertState(fingerprint=name, status=status) for name, status in statuses),
            **self._pods(action),
        )

    def _pods(self, action: Measure) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for side, revision in (("new", action.new), ("old", action.old)):
            pods = self.cache.pods_of(action.workload, revision.id) if revision is not None else ()
            found[f"{side}_ready"] = sum(pod.ready_since is not None and not pod.terminating for pod in pods)
            if side == "new":
                found["new_pods"] = len(pods)
        if action.new is not None:
            found["start_failure"] = self.cache.start_failure(action.workload, action.new.id)
        return found

    # -- ProveSoak

    async def _soak(self, action: ProveSoak) -> Soaked:
        soak: SoakMeasurement = await self.prometheus.ask(lambda at: self._soaked(action, at))
        proven, key = self.prometheus.proven, (action.workload.key, action.revision.id)
        if soak.unhealthy_at is not None:
            proven[key] = timedelta(0)
        proven[key] = proven.get(key, timedelta(0)) + soak.healthy + soak.quiet
        return Soaked(soak=soak)

    def _soaked(self, action: ProveSoak, at: float) -> SoakMeasurement:
        key, truth = (action.workload.namespace, action.workload.name), self.prometheus.truth
        begin, end = (action.since - EPOCH).total_seconds(), at
        if action.until is not None:
            end = min(end, (action.until - EPOCH).total_seconds())
        step, unhealthy, spans = 30.0, list[float](), {"healthy": 0.0, "quiet": 0.0, "inconclusive": 0.0}
        moment = max(begin, end - 240 * step)
        older = max(0.0, moment - begin)
        spans["quiet" if truth.traffic(moment) < 1 else "healthy"] += older
        while moment < end:
            ready, length = truth.cluster.served(key, moment), min(step, end - moment)
            alone = set(ready) == {action.revision.id}
            errors = truth.errors(action.revision.id, moment)
            if alone and errors >= SYMPTOM:
                unhealthy.append(moment)
                spans = dict.fromkeys(spans, 0.0)
            elif alone and errors <= GOOD:
                spans["quiet" if truth.traffic(moment) < 1 else "healthy"] += length
            else:
                spans["inconclusive"] += length
            moment += step
        lasting = len(unhealthy) >= 2
        return SoakMeasurement(
            since=action.since,
            until=max(action.since, EPOCH + timedelta(seconds=end)),
            unhealthy_at=EPOCH + timedelta(seconds=unhealthy[-1]) if unhealthy else None,
            regressed_at=EPOCH + timedelta(seconds=unhealthy[0]) if lasting else None,
            healthy_until=EPOCH + timedelta(seconds=end) if spans["healthy"] + spans["quiet"] > 0 else None,
            baseline=(("error_ratio", GOOD),),
            healthy=timedelta(seconds=spans["healthy"]),
            quiet=timedelta(seconds=spans["quiet"]),
            inconclusive=timedelta(seconds=spans["inconclusive"]),
        )


def _samples(
    truth: Truth, key: tuple[str, str], revision: Revision | None, moments: Sequence[float]
) -> tuple[Sample, ...]:
    if revision is None:
        return ()
    serving = [at for at in moments if truth.cluster.served(key, at).get(revision.id)]
    return tuple(_sample(at, truth.errors(revision.id, at), truth.traffic(at)) for at in serving)


def _service(truth: Truth, workload: Workload, at: float) -> Sample | None:
    errors = truth.service((workload.namespace, workload.name), at)
    return None if errors is None else _sample(at, errors, truth.traffic(at))


def _sample(at: float, errors: float, traffic: float) -> Sample:
    latency = 0.1 if errors < BAD else 0.4
    values = (("traffic", traffic), ("error_ratio", errors), ("latency_p95", latency), ("latency_p99", latency))
    return Sample(at=EPOCH + timedelta(seconds=at), values=values)
