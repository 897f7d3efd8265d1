"""Small stand-ins for what the measuring handlers read: a cache, a Prometheus, an Alertmanager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.core.actions import Measure, Measured, MeasurePurpose, ProveSoak, Soaked
from daemon.core.measurement import Measurement, SoakMeasurement
from daemon.core.model import (
    ActionId,
    Alert,
    AlertStatus,
    IncidentId,
    Revision,
    RevisionId,
    StartFailure,
    Workload,
)
from daemon.core.policy import Policy
from handlers.alertmanager_api import Reading
from handlers.cache import PodSeen
from handlers.call_graph import CallGraph
from handlers.faults import Fault, FaultKind, Transient
from handlers.live_calls import Meanings
from handlers.outbound.measure import MeasureRunner
from handlers.outbound.soak import SoakRunner
from handlers.prometheus import AlertingRule, Matrix, Vector
from handlers.sampling import Sampler

NOW = datetime(2026, 3, 2, 12, 0, 7, tzinfo=UTC)
"""Not on a multiple of any step."""

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
STEP = 30 * SECOND
WEB = Workload(namespace="shop", kind="Deployment", name="web")
V1 = Revision(id=RevisionId("h1"), content="c1", number=1, replica_set="web-6d4b75cb6d")
V2 = Revision(id=RevisionId("h2"), content="c2", number=2, replica_set="web-7f9c9c9c9c")
OLD_PODS = ("web-6d4b75cb6d-bcdfg", "web-6d4b75cb6d-hjklm")
NEW_PODS = ("web-7f9c9c9c9c-vwxzz",)
DOWN = Transient(None, "prometheus answered 503: shutting down", FaultKind.SERVER)


def policy(**changes: Any) -> Policy:
    return Policy(**({"cluster": "test"} | changes))


def pod(name: str, revision: Revision = V2, **changes: Any) -> PodSeen:
    values: dict[str, Any] = {
        "namespace": "shop",
        "name": name,
        "revision": revision.id,
        "node": "node-1",
        "created_at": NOW - 3 * HOUR,
        "started_at": NOW - 3 * HOUR,
        "ready_since": NOW - 3 * HOUR,
        "restarts": 0,
        "last_restart_at": None,
        "crash_looping": False,
        "oom_killed": False,
        "terminating": False,
    }
    return PodSeen(**(values | changes))


class Hands:
    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


class Cluster:
    """A cache that holds what a test puts there."""

    def __init__(self) -> None:
        self.workloads: dict[tuple[str, str], Workload] = {("shop", "web"): WEB}
        self.sets: list[Workload] = []
        self.pods: dict[tuple[Workload, RevisionId], list[PodSeen]] = {}
        self.owners: dict[tuple[str, str], Workload] = {}
        self.services: dict[tuple[str, str], list[Workload]] = {}
        self.switches: dict[Workload, list[Workload]] = {}
        self.labelled: dict[tuple[str, str], list[Workload]] = {}
        self.failure: StartFailure | None = None
        self.available: datetime | None = NOW - 2 * HOUR
        self.asked: list[str] = []

    def workload(self, namespace: str, kind: str, name: str) -> Workload | None:
        self.asked.append(f"{kind}/{name}")
        known = [each for each in (self.workloads.get((namespace, name)), *self.sets) if each is not None]
        return next(
            (w for w in known if (w.namespace, w.kind.lower(), w.name) == (namespace, kind.lower(), name)), None
        )

    def workload_of_pod(self, namespace: str, pod: str) -> Workload | None:
        self.asked.append(f"pod/{pod}")
        return self.owners.get((namespace, pod))

    def workloads_of_service(self, namespace: str, service: str) -> Sequence[Workload]:
        return self.services.get((namespace, service), ())

    def switches_of(self, workload: Workload) -> Sequence[Workload]:
        return self.switches.get(workload, ())

    def workloads_by_label(self, namespace: str | None, label: str, value: str) -> Sequence[Workload]:
        found = self.labelled.get((label, value), ())
        return [workload for workload in found if namespace in (None, workload.namespace)]

    def workloads_named(self, name: str) -> Sequence[Workload]:
        return [each for each in (*self.workloads.values(), *self.sets) if each.name == name]

    def workloads_in(self, namespace: str) -> Sequence[Workload]:
        self.asked.append(f"namespace/{namespace}")
        return [workload for workload in self.workloads.values() if workload.namespace == namespace]

    def pods_of(self, workload: Workload, revision: RevisionId | None = None) -> Sequence[PodSeen]:
        return [p for (w, r), pods in self.pods.items() for p in pods if w == workload and revision in (None, r)]

    def start_failure(self, workload: Workload, revision: RevisionId) -> StartFailure | None:
        return self.failure

    def available_since(self, workload: Workload) -> datetime | None:
        return self.available

    def freshness(self, now: datetime) -> float:
        return 0.0


Answer = Callable[[str, datetime], float | Fault | None]


class Prometheus:
    """Answers each moment of a range by `value(query, moment)`: a number, None for no data, a fault that is raised."""

    def __init__(self, value: Answer = lambda query, at: 1.0) -> None:
        self.value = value
        self.series = 1
        self.queries: list[tuple[str, datetime, datetime, timedelta]] = []
        self.instant: Callable[[str, datetime], Vector] = lambda query, at: []
        self.alerting: tuple[AlertingRule, ...] | Fault = ()
        self.hang: Callable[[str], bool] = lambda query: False
        self.out = self.out_most = 0

    async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        self.queries.append((promql, start, end, step))
        self.out += 1
        self.out_most = max(self.out, self.out_most)
        try:
            await asyncio.sleep(3600 if self.hang(promql) else 0.01)
        finally:
            self.out -= 1
        whole, points = int(step.total_seconds()), []
        for number in range(-(-int(start.timestamp()) // whole), int(end.timestamp()) // whole + 1):
            at = datetime.fromtimestamp(number * whole, UTC)
            value = self.value(promql, at)
            if isinstance(value, Fault):
                raise value
            if value is not None:
                points.append((at, value))
        return [({"n": str(n)}, points) for n in range(self.series)] if points else []

    async def query(self, promql: str, at: datetime) -> Vector:
        return self.instant(promql, at)

    async def rules(self) -> tuple[AlertingRule, ...]:
        if isinstance(self.alerting, Fault):
            raise self.alerting
        return self.alerting


class Alertmanager:
    def __init__(self, *alerts: Alert, complete: bool = True) -> None:
        self.answer: Reading | Fault = Reading(alerts=alerts, complete=complete)

    async def read(self) -> Reading:
        if isinstance(self.answer, Fault):
            raise self.answer
        return self.answer


def alert(fingerprint: str = "f1", status: AlertStatus = AlertStatus.FIRING, /, **labels: str) -> Alert:
    named = {"alertname": "HighErrors"} | labels
    return Alert(
        fingerprint=fingerprint, status=status, labels=tuple(sorted(named.items())), starts_at=NOW - 5 * MINUTE
    )


def measure(**changes: Any) -> Measure:
    """v2 replaced v1 ten minutes ago; nothing of it is journalled but the names of its pods."""
    values: dict[str, Any] = {
        "id": ActionId("inc-1/measure/1"),
        "deadline": NOW + STEP,
        "incident": IncidentId("inc-1"),
        "attempt": 1,
        "purpose": MeasurePurpose.BLAME,
        "workload": WEB,
        "new": V2,
        "new_pods": NEW_PODS,
        "old": V1,
        "old_pods": OLD_PODS,
        "since": NOW - 10 * MINUTE,
        "rollout_started_at": NOW - 10 * MINUTE,
        "onset": NOW - 8 * MINUTE,
        "alerts": (),
    }
    return Measure(**(values | changes))


def prove(**changes: Any) -> ProveSoak:
    values: dict[str, Any] = {
        "id": ActionId("soak/1"),
        "deadline": NOW + MINUTE,
        "workload": WEB,
        "revision": V2,
        "since": NOW - HOUR,
        "until": None,
        "baseline": (),
    }
    return ProveSoak(**(values | changes))


class Scene:
    """The runners over the stand-ins."""

    def __init__(self, prometheus: Prometheus | None = None, **limits: Any) -> None:
        self.cluster = Cluster()
        self.prometheus = prometheus or Prometheus()
        self.alertmanager: Alertmanager | None = Alertmanager()
        self.policy = policy(**limits)
        self.hands = Hands()
        self.calls: CallGraph | None = None
        self.meanings: Meanings = {}

    @property
    def sampler(self) -> Sampler:
        return Sampler(self.prometheus, lambda: self.policy)  # type: ignore[arg-type]  # a stand-in has what is asked for

    async def measured(self, **changes: Any) -> Measurement:
        runner = MeasureRunner(
            self.sampler,
            self.cluster,
            self.alertmanager,  # type: ignore[arg-type]  # a stand-in reads as it does
            self.hands,
            lambda: self.calls,
            lambda: self.meanings,
        )
        outcome = await runner.run(measure(**changes))
        assert isinstance(outcome.result, Measured)
        return outcome.result.measurement

    async def soaked(self, **changes: Any) -> SoakMeasurement:
        outcome = await SoakRunner(self.sampler, self.cluster, self.hands).run(prove(**changes))
        assert isinstance(outcome.result, Soaked)
        return outcome.result.soak


def signal_of(query: str) -> str:
    """Which of the default signals a query is."""
    if "0.95" in query or "0.99" in query:
        return "latency_p95" if "0.95" in query else "latency_p99"
    return "error_ratio" if "5.." in query else "traffic"


def healthy(query: str, at: datetime) -> float | Fault | None:
    """Twenty requests a second, one in a thousand fails, 100 ms."""
    return {"traffic": 20.0, "error_ratio": 0.001}.get(signal_of(query), 0.1)
