"""Interval by interval: what acts on each pod, what flows, what monitoring and the alert rules make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from handlers.backtest.recording import Record
from tests.bench.recordings import alerts, chance
from tests.bench.recordings.confounders import Disturbance, warm_up
from tests.bench.recordings.faults import NONE, Effect, Plight, both
from tests.bench.recordings.lives import Pod
from tests.bench.recordings.observing import Moment, Observer
from tests.bench.recordings.rollouts import Rolled
from tests.bench.recordings.script import Script
from tests.bench.recordings.simulation import Moods, flow

Timed = list[tuple[float, Record]]
DAY = 86_400.0
WARM_UP = 0.25
"""Chance that a rollout's new pods need to warm up, in recordings that do not have it as a confounder for all of them."""


@dataclass(slots=True)
class Stage:
    """The pods and the effects on them, while a script is played."""

    script: Script
    rng: Random
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    rolled: list[Rolled] = field(default_factory=list)
    back: list[Rolled] = field(default_factory=list)
    """Rollouts back to the old revision, by hand."""
    disturbances: list[Disturbance] = field(default_factory=list)


class Effects:
    """What acts on a pod at a moment: the fault, what goes on beside it, its own warm-up."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._bad = next((rolled.plan for rolled in stage.rolled if rolled.plan.bad), None)
        everyone = "warm-up" in stage.script.confounders
        self._warm: dict[str, Callable[[Pod, float], Effect | None]] = {
            service.name: warm_up(stage.rng)
            for service in stage.script.land.services
            if everyone or stage.rng.random() < WARM_UP * stage.script.ranges.untidy
        }
        self._on: list[Disturbance] = []
        self.demand = 1.0

    def at(self, now: float) -> None:
        """Take note of what is under way."""
        self._on = [each for each in self._stage.disturbances if each.on(now)]
        self.demand = math.prod(_swell(each, now) for each in self._on)

    def __call__(self, pod: Pod, now: float) -> Effect:
        """All of it together."""
        found = self._fault(pod, now)
        warm = self._warm.get(pod.service)
        if warm is not None and pod.born >= 0:
            found = both(found, warm(pod, now) or NONE)
        for each in self._on:
            found = both(found, each.hits(pod) or NONE)
        return found

    def _fault(self, pod: Pod, now: float) -> Effect:
        fault, bad = self._stage.script.fault, self._bad
        if fault is None or bad is None or pod.service != bad.service.name or pod.revision != bad.revision:
            return NONE
        since = max(pod.first_ready or now, bad.starts + fault.delay)
        if now < since:
            return NONE
        plight = Plight(
            pod=pod.name,
            number=pod.number,
            since_fault=now - since,
            since_start=now - pod.started(now),
            load=self.demand,
        )
        return fault.acts(plight)


def _swell(each: Disturbance, now: float) -> float:
    """A spike rises within two minutes, and falls as fast."""
    edge = min(now - each.begins, each.ends - now) / 120.0
    return 1.0 + (each.demand - 1.0) * min(1.0, edge)


class Weights:
    """How each service's traffic is split among its ready pods."""

    def __init__(self, stage: Stage) -> None:
        self._shares = {rolled.plan.service.name: rolled for rolled in stage.rolled if rolled.shares}
        self._now = 0.0

    def at(self, now: float) -> None:
        """Take note of the time."""
        self._now = now

    def __call__(self, service: str, ready: Sequence[Pod]) -> Mapping[str, float]:
        """A weight for each pod's name."""
        rolled = self._shares.get(service)
        new = [pod for pod in ready if rolled is not None and pod.revision == rolled.plan.revision]
        share = [part for at, part in rolled.shares if at <= self._now] if rolled is not None else []
        if not new or not share or len(new) == len(ready):
            return {pod.name: 1.0 for pod in ready}
        part, names = min(1.0, share[-1]), {pod.name for pod in new}
        rest = len(ready) - len(new)
        return {pod.name: part / len(new) if pod.name in names else (1.0 - part) / rest for pod in ready}


def watched(stage: Stage, begins: datetime, fault_at: float | None) -> Timed:
    """Samples and alerts of the whole recording."""
    script, rng = stage.script, stage.rng
    land = script.land
    observer = Observer(rng, script.style, {service.name: service.workload for service in land.services})
    watch = _watch(stage, begins)
    effects, weights = Effects(stage), Weights(stage)
    latency = {service.name: chance.Drift(rng, rng.uniform(0.01, 0.06)) for service in land.services}
    traffic = {name: chance.Drift(rng, rng.uniform(0.02, 0.12)) for name in land.entries}
    phase, swing = rng.uniform(0.0, math.tau), rng.uniform(0.05, 0.4)
    found: Timed = _flapping(stage, begins, watch.rules)
    now = script.style.interval
    while now <= script.until:
        moment = Moment(now=now, at=begins + timedelta(seconds=now))
        effects.at(now)
        weights.at(now)
        day = 1.0 + swing * math.sin(phase + math.tau * now / DAY)
        moods = Moods(
            latency={name: drift.step() for name, drift in latency.items()},
            traffic={name: drift.step() * day * effects.demand for name, drift in traffic.items()},
        )
        alive = {name: [pod for pod in pods if pod.alive(now)] for name, pods in stage.pods.items()}
        loads = flow(land, alive, effects, weights, moods, now)
        samples, totals = observer.observe(loads, alive, moment)
        found += samples
        found += watch.look(loads, alive, totals, moment)
        now += script.style.interval
    return found


def _watch(stage: Stage, begins: datetime) -> alerts.Watch:
    script, rng = stage.script, stage.rng
    mode: alerts.Mode = "none" if "silent alerts" in script.confounders else "some" if rng.random() < 0.15 else "all"
    skew = timedelta(seconds=round(rng.uniform(-150.0, 120.0))) if "clock skew" in script.confounders else timedelta()
    return alerts.Watch(
        rng, alerts.rules(rng, script.ranges, script.land, mode), skew=skew,
        repeats=600.0 if rng.random() < 0.3 else None, begins=begins,
    )  # fmt: skip


def _flapping(stage: Stage, begins: datetime, rules: Sequence[alerts.Rule]) -> Timed:
    """The flapping alert, where the recording has one; on somebody whose pods are not to blame."""
    rng, script = stage.rng, stage.script
    bad = script.bad
    choice = [
        rule
        for rule in rules
        if rule.asks in {"errors", "latency"} and (bad is None or rule.service is not bad.service)
    ]
    if "flapping alert" not in script.confounders or not choice:
        return []
    since = rng.uniform(0.1, 0.6) * script.until
    return list(alerts.flapping(rng, rng.choice(choice), begins, since, since + rng.uniform(600.0, 2400.0)))
