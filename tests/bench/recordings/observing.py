"""What monitoring makes of it: samples with their counts' noise, in the shapes and with the holes that recordings have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Literal

from handlers.backtest.recording import SampleSeen
from tests.bench.recordings import chance
from tests.bench.recordings.lives import Pod
from tests.bench.recordings.ranges import View
from tests.bench.recordings.simulation import Load, Outgoing, Serving

REQUEST_SIGNALS = ("error_ratio", "latency_seconds", "traffic_rate")
P95_SPREAD = 2.11
"""Deviation of a 95th percentile of n log-normal requests, over their own deviation, times the root of n."""

OUTLIER, BLIP = 0.002, 0.0006
"""Chance per pod and sample of a slow minute (a long collection) and of a few errors, with any revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What this recording holds, and how badly."""

    interval: float
    view: View
    side: Literal["both", "inbound", "outbound"]
    """Which end of an edge reports it."""
    weights: bool
    signals: frozenset[str]
    nulls: bool
    """Without requests: a sample without a value, instead of none."""
    errors_from_first: bool
    """No error ratio of a series before its first error: the counter of failures does not exist yet."""
    staggered: bool
    """Each pod has its own second of the interval."""
    loss: float
    """Chance that a sample is missing."""
    gaps: tuple[tuple[float, float], ...]
    """From, to: nothing at all."""
    missing: frozenset[tuple[str, str]]
    """Service and signal of series that are not there."""
    request_spread: float
    """Deviation (log) of the single request's latency."""


@dataclass(slots=True)
class Total:
    """A service over one interval, as its dashboards show it."""

    requests: int = 0
    errors: int = 0
    latency: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0
    pods: int = 0
    slow: list[tuple[int, float]] = field(default_factory=list)

    @property
    def error_ratio(self) -> float | None:
        """None without requests."""
        return self.errors / self.requests if self.requests else None

    @property
    def p95(self) -> float | None:
        """None without requests."""
        count = sum(n for n, _ in self.slow)
        if not count:
            return None
        mean: float = sum(n * latency**4 for n, latency in self.slow) / count
        return math.sqrt(math.sqrt(mean))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One interval's end: seconds since the recording began, and the wall clock."""

    now: float
    at: datetime


class Observer:
    """Turns the services' state at a moment into samples."""

    def __init__(self, rng: Random, style: Style, workloads: Mapping[str, str]) -> None:
        """`workloads` names the workload of each service."""
        self._rng, self._style, self._workloads = rng, style, workloads
        self._failed: set[tuple[str, str | None, str | None]] = set()
        self._offsets: dict[str, timedelta] = {}
        self._found: list[tuple[float, SampleSeen]] = []
        self._edges = style.view in {"edges", "pods and edges"}
        self._pods = style.view in {"pods", "pods and edges", "pods and workload"}
        self._totals = style.view in {"pods and workload", "workload"}

    def observe(
        self, loads: Mapping[str, Load], pods: Mapping[str, Sequence[Pod]], moment: Moment
    ) -> tuple[list[tuple[float, SampleSeen]], dict[str, Total]]:
        """The samples of this moment with their seconds, and the totals that alert rules look at."""
        self._found = []
        totals = {name: self._service(load, moment) for name, load in loads.items()}
        if self._style.view != "workload":
            for name, alive in pods.items():
                self._unready(name, alive, moment)
        if any(since <= moment.now < until for since, until in self._style.gaps):
            return [], totals
        return self._found, totals

    def _service(self, load: Load, moment: Moment) -> Total:
        total = Total()
        shares: list[tuple[str | None, float]] = []
        if load.rate > 0:
            shares = [(caller, rate / load.rate) for caller, rate in load.callers.items()]
            if load.outside > 0:
                shares.append((None, load.outside / load.rate))
        for serving in load.pods:
            self._serving(load, serving, shares, total, moment)
        if self._totals and total.pods:
            self._total(load.service.name, total, moment)
        return total

    def _serving(
        self, load: Load, serving: Serving, shares: list[tuple[str | None, float]], total: Total, moment: Moment
    ) -> None:
        rng, style, pod, name = self._rng, self._style, serving.pod, load.service.name
        seconds = min(style.interval, max(0.0, moment.now - pod.started(moment.now)))
        blip = rng.uniform(0.03, 0.2) if rng.random() < BLIP else 0.0
        jump = rng.uniform(1.8, 4.0) if rng.random() < OUTLIER else 1.0
        muted = serving.effect.mute
        if self._edges:
            counts = [
                self._counted(serving.rate * share, seconds, 1 - (1 - load.errors_for(caller, serving)) * (1 - blip))
                for caller, share in shares
            ]
            requests, failed = sum(n for n, _ in counts), sum(k for _, k in counts)
            if muted == "no" and style.side != "outbound":
                for (caller, _), (n, k) in zip(shares, counts, strict=True):
                    peer = self._workloads[caller] if caller else None
                    latency = self._latency(serving, n, jump)
                    self._requests(name, pod.name, n, k, latency, moment, peer, "inbound")
            if muted == "no" and style.side != "inbound":
                self._outbound(name, serving, seconds, moment)
        else:
            ratio = sum(share * load.errors_for(caller, serving) for caller, share in shares)
            requests, failed = self._counted(serving.rate, seconds, 1 - (1 - ratio) * (1 - blip))
        latency = self._latency(serving, requests, jump)
        if muted == "no":
            total.requests, total.errors = total.requests + requests, total.errors + failed
            total.slow.append((requests, latency or 0.0))
        if muted != "all":
            total.cpu, total.memory, total.pods = total.cpu + serving.cpu, total.memory + serving.memory, total.pods + 1
        if self._pods and muted == "no":
            self._requests(name, pod.name, requests, failed, latency, moment)
        if style.view != "workload" and muted != "all":
            self._usage(name, pod.name, serving.cpu * chance.around(rng, 0.06), serving.memory, moment)

    def _counted(self, rate: float, seconds: float, errors: float) -> tuple[int, int]:
        requests = chance.poisson(self._rng, rate * seconds)
        return requests, chance.binomial(self._rng, requests, errors)

    def _latency(self, serving: Serving, requests: int, jump: float) -> float | None:
        if not requests:
            return None
        share, factor = serving.effect.tail
        if share:
            beyond = chance.binomial(self._rng, requests, share) / requests
            jump *= factor * self._rng.uniform(0.7, 1.0) if beyond >= 0.05 else 1.0 + 2.0 * beyond
        spread = self._style.request_spread
        noise = min(0.8 * spread, spread * P95_SPREAD / math.sqrt(requests))
        return serving.latency * jump * chance.around(self._rng, noise + 0.015)

    def _outbound(self, name: str, serving: Serving, seconds: float, moment: Moment) -> None:
        for out in serving.calls:
            n, k = self._counted(out.rate, seconds, out.fails)
            self._requests(
                name, serving.pod.name, n, k, self._answered(out, n), moment,
                self._workloads[out.call.callee], "outbound",
            )  # fmt: skip

    def _answered(self, out: Outgoing, requests: int) -> float | None:
        if not requests:
            return None
        spread = self._style.request_spread
        noise = min(0.8 * spread, spread * P95_SPREAD / math.sqrt(requests))
        return (out.latency + 0.001) * chance.around(self._rng, noise + 0.015)

    def _total(self, name: str, total: Total, moment: Moment) -> None:
        self._requests(name, None, total.requests, total.errors, total.p95, moment)
        self._usage(name, None, total.cpu / total.pods, total.memory / total.pods, moment)

    def _unready(self, name: str, pods: Sequence[Pod], moment: Moment) -> None:
        """A container that runs without being ready uses a little, and is seen doing it."""
        for pod in pods:
            state = pod.state(moment.now)
            if not state.ready and state.reason is None:
                cpu, memory = self._rng.uniform(0.01, 0.2), self._rng.uniform(0.05, 0.3)
                self._usage(name, pod.name, cpu, memory, moment)

    def _requests(
        self, name: str, pod: str | None, requests: int, failed: int, latency: float | None, moment: Moment,
        peer: str | None = None, direction: Literal["inbound", "outbound"] | None = None,
    ) -> None:  # fmt: skip
        style = self._style
        weight = float(requests) if style.weights else None
        rate = requests / style.interval
        series = (name, pod, f"{direction} {peer}")
        if failed:
            self._failed.add(series)
        if requests:
            if not style.errors_from_first or series in self._failed:
                self._add(name, "error_ratio", pod, failed / requests, weight, moment, peer, direction)
            self._add(name, "latency_seconds", pod, latency, weight, moment, peer, direction)
            self._add(name, "traffic_rate", pod, rate, weight, moment, peer, direction)
        elif style.nulls:
            self._add(name, "error_ratio", pod, None, weight, moment, peer, direction)
            self._add(name, "latency_seconds", pod, None, weight, moment, peer, direction)
            self._add(name, "traffic_rate", pod, 0.0, weight, moment, peer, direction)

    def _usage(self, name: str, pod: str | None, cpu: float, memory: float, moment: Moment) -> None:
        self._add(name, "cpu_ratio", pod, min(1.0, cpu), None, moment)
        self._add(name, "memory_ratio", pod, memory, None, moment)

    def _add(
        self, name: str, signal: str, pod: str | None, value: float | None, weight: float | None, moment: Moment,
        peer: str | None = None, direction: Literal["inbound", "outbound"] | None = None,
    ) -> None:  # fmt: skip
        style = self._style
        if signal not in style.signals or (name, signal) in style.missing:
            return
        if style.loss and self._rng.random() < style.loss:
            return
        now, at = moment.now, moment.at
        if style.staggered:
            offset = self._offset(pod or name)
            now, at = now + offset.total_seconds(), at + offset
        self._found.append((now, SampleSeen(
            at=at, signal=signal, workload=self._workloads[name], pod=pod, peer=peer, direction=direction,
            value=None if value is None else round(value, 6), weight=weight,
        )))  # fmt: skip

    def _offset(self, series: str) -> timedelta:
        """Earlier than the interval's end, so that a sample never knows the future."""
        if series not in self._offsets:
            self._offsets[series] = timedelta(seconds=self._rng.randint(0, int(self._style.interval * 0.9)))
        return self._offsets[series]
