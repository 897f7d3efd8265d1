"""The alerts that a team's rules would raise on what is seen: on the culprit, on its victims, or on nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal

from handlers.backtest.recording import AlertSeen
from tests.bench.recordings import chance
from tests.bench.recordings.landscape import Landscape, Service
from tests.bench.recordings.lives import Pod
from tests.bench.recordings.observing import Moment, Total
from tests.bench.recordings.ranges import Ranges
from tests.bench.recordings.simulation import Load

Asks = Literal["errors", "latency", "traffic", "crash", "unready", "replicas", "throttled", "memory"]
Mode = Literal["all", "some", "none"]
BASELINE_SAMPLES = 8
"""How many of the first samples a rule's threshold is made from."""

NAMES: dict[Asks, tuple[str, ...]] = {
    "errors": ("HighErrorRate", "Http5xxRatioHigh", "ErrorBudgetBurn"),
    "latency": ("HighLatency", "SlowResponses", "LatencyP95High"),
    "traffic": ("TrafficDropped",),
    "crash": ("KubePodCrashLooping",),
    "unready": ("KubePodNotReady",),
    "replicas": ("KubeDeploymentReplicasMismatch",),
    "throttled": ("CPUThrottlingHigh",),
    "memory": ("ContainerMemoryNearLimit",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of one service. `lasting` is its `for` in seconds."""

    service: Service
    asks: Asks
    name: str
    by: Literal["service", "deployment"]
    threshold: float
    lasting: float
    severity: str

    def labels(self, pod: str | None) -> dict[str, str]:
        """As kube-prometheus' rules carry them: `job` names who was scraped, not who hurts."""
        found = {"alertname": self.name, "namespace": self.service.namespace, "severity": self.severity}
        found["prometheus"] = "monitoring/k8s"
        if pod is not None:
            return {**found, "pod": pod, "container": self.service.name, "job": "kube-state-metrics"}
        if self.asks == "replicas":
            return {**found, "deployment": self.service.name, "job": "kube-state-metrics"}
        return {**found, self.by: self.service.name}


def rules(rng: Random, ranges: Ranges, land: Landscape, mode: Mode) -> tuple[Rule, ...]:
    """What the team has written: rules for everything, for some services, or none."""
    if mode == "none":
        return ()
    by: Literal["service", "deployment"] = rng.choice(("service", "deployment"))
    names = {asks: rng.choice(choice) for asks, choice in NAMES.items()}
    lasting = {asks: chance.between(rng, ranges.alert_for) for asks in NAMES}
    kept: dict[Asks, float] = {"traffic": 0.3, "unready": 0.5, "replicas": 0.6, "throttled": 0.5, "memory": 0.5}
    wanted = [asks for asks in NAMES if rng.random() < kept.get(asks, 0.85)]
    errors, latency = rng.choice((0.01, 0.01, 0.02, 0.05, 0.1)), rng.choice((1.4, 1.6, 2.0, 2.5))
    thresholds: dict[Asks, float] = {
        "errors": errors,
        "latency": latency,
        "traffic": 0.3,
        "throttled": 0.92,
        "memory": 0.9,
    }
    services = [each for each in land.services if mode == "all" or rng.random() < 0.4]
    return tuple(
        Rule(
            service=service, asks=asks, name=names[asks], by=by, threshold=thresholds.get(asks, 0.0),
            lasting=lasting[asks], severity="critical" if asks in {"errors", "latency"} else "warning",
        )
        for service in services
        for asks in wanted
    )  # fmt: skip


@dataclass(slots=True)
class _State:
    since: float | None = None
    fired: float | None = None
    told: float = 0.0


class Watch:
    """Evaluates the rules at every sample, and sends what Alertmanager would send."""

    def __init__(
        self, rng: Random, found: Sequence[Rule], *, skew: timedelta, repeats: float | None, begins: datetime
    ) -> None:
        """`skew` is how wrong the alerting machine's clock is; `repeats` the seconds after which a firing alert is sent again."""
        self.rules = found
        self._rng, self._skew, self._repeats, self._begins = rng, skew, repeats, begins
        self._states: dict[tuple[int, str | None], _State] = {}
        self._latency: dict[str, list[float]] = {}
        self._requests: dict[str, list[float]] = {}
        self._wait = rng.uniform(5.0, 30.0)

    def look(
        self, loads: Mapping[str, Load], pods: Mapping[str, Sequence[Pod]], totals: Mapping[str, Total], moment: Moment
    ) -> Iterator[tuple[float, AlertSeen]]:
        """The alerts sent because of this moment, with the seconds at which they arrive."""
        for name, total in totals.items():
            early = self._latency.setdefault(name, [])
            if total.p95 is not None and len(early) < BASELINE_SAMPLES:
                early.append(total.p95)
            early = self._requests.setdefault(name, [])
            if len(early) < BASELINE_SAMPLES:
                early.append(float(total.requests))
        for number, rule in enumerate(self.rules):
            hurting = set(self._hurting(rule, loads, pods, totals, moment.now))
            known = {pod for index, pod in self._states if index == number}
            for pod in sorted(hurting | known, key=str):
                yield from self._step(number, rule, pod, hurts=pod in hurting, moment=moment)

    def _hurting(
        self, rule: Rule, loads: Mapping[str, Load], pods: Mapping[str, Sequence[Pod]], totals: Mapping[str, Total],
        now: float,
    ) -> Iterator[str | None]:  # fmt: skip
        """Whom the rule's expression returns: pods, or None for the service as a whole."""
        name, total = rule.service.name, totals[rule.service.name]
        as_a_whole = {
            "errors": (total.error_ratio or 0.0) > rule.threshold and total.requests >= 3,
            "latency": (total.p95 or 0.0) > rule.threshold * _mean(self._latency[name]) > 0,
            "traffic": total.requests < rule.threshold * _mean(self._requests[name]) - 5,
            "replicas": len(loads[name].pods) < rule.service.pods,
        }
        if as_a_whole.get(rule.asks):
            yield None
        elif rule.asks in {"crash", "unready"}:
            for pod in pods[name]:
                state = pod.state(now)
                if not state.ready and (rule.asks == "unready" or state.reason == "CrashLoopBackOff"):
                    yield pod.name
        elif rule.asks in {"throttled", "memory"}:
            for serving in loads[name].pods:
                value = serving.cpu if rule.asks == "throttled" else serving.memory
                if value > rule.threshold and serving.effect.mute != "all":
                    yield serving.pod.name

    def _step(
        self, number: int, rule: Rule, pod: str | None, *, hurts: bool, moment: Moment
    ) -> Iterator[tuple[float, AlertSeen]]:
        state = self._states.setdefault((number, pod), _State())
        if not hurts:
            if state.fired is not None:
                yield self._sent(rule, pod, state.fired, "resolved", moment.now + self._rng.uniform(10.0, 300.0))
            del self._states[number, pod]
            return
        if state.since is None:
            state.since = moment.now
        if state.fired is None and moment.now - state.since >= rule.lasting:
            state.fired = state.told = moment.now
            yield self._sent(rule, pod, state.fired, "firing", moment.now + self._wait)
        elif state.fired is not None and self._repeats is not None and moment.now - state.told >= self._repeats:
            state.told = moment.now
            yield self._sent(rule, pod, state.fired, "firing", moment.now + self._wait)

    def _sent(
        self, rule: Rule, pod: str | None, fired: float, status: Literal["firing", "resolved"], at: float
    ) -> tuple[float, AlertSeen]:
        return at, alert(rule, pod, status, self._begins + timedelta(seconds=fired) + self._skew, self._begins, at)


def alert(
    rule: Rule, pod: str | None, status: Literal["firing", "resolved"], starts: datetime, begins: datetime, at: float
) -> AlertSeen:
    """The record."""
    return AlertSeen(
        at=begins + timedelta(seconds=round(at, 3)),
        status=status,
        labels=rule.labels(pod),
        annotations={"summary": f"{rule.name} on {pod or rule.service.name}"},
        starts_at=starts,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def flapping(
    rng: Random, rule: Rule, begins: datetime, since: float, until: float
) -> Iterator[tuple[float, AlertSeen]]:
    """An alert that comes and goes with nothing behind it: a threshold where the noise is."""
    now = since
    while now < until:
        starts = begins + timedelta(seconds=round(now))
        yield now + 15.0, alert(rule, None, "firing", starts, begins, now + 15.0)
        now += rng.uniform(60.0, 240.0)
        yield now + 15.0, alert(rule, None, "resolved", starts, begins, now + 15.0)
        now += rng.uniform(60.0, 400.0)
