"""What flows through the services at one moment: traffic from callers to callees, then errors and time back up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.recordings.faults import Effect
from tests.bench.recordings.landscape import Call, Landscape, Service
from tests.bench.recordings.lives import Pod

COLD_MEMORY, COLD_SECONDS = 0.6, 600.0
"""A fresh pod begins at so much of its usual memory and fills up within so many seconds (time constant)."""

CPU_FULL = 0.97
MIX = 4.0
"""Exponent of the mean that stands for a 95th percentile of a mixture: a tenth at ten times the time gives 5.6 times."""


@dataclass(slots=True)
class Outgoing:
    """A pod's calls to one callee: per second, the share that fails, seconds."""

    call: Call
    rate: float
    reaches: float
    rubbish: float = 0.0
    fails: float = 0.0
    latency: float = 0.0


@dataclass(slots=True)
class Serving:
    """A ready pod at one moment. `errors` are of all its requests; `routes` come on top for one caller's."""

    pod: Pod
    effect: Effect
    weight: float
    rate: float = 0.0
    errors: float = 0.0
    latency: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0
    calls: list[Outgoing] = field(default_factory=list)


@dataclass(slots=True)
class Load:
    """A service at one moment. `refused` are the shares of each caller's calls that are rubbish."""

    service: Service
    pods: list[Serving]
    outside: float = 0.0
    rate: float = 0.0
    callers: dict[str, float] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    poisoned: float = 0.0
    errors: float = 0.0
    wrong: float = 0.0
    latency: float = 0.0

    def errors_for(self, caller: str | None, serving: Serving) -> float:
        """The share of this caller's requests that this pod fails (None: those from outside)."""
        own = serving.errors
        if caller is None:
            return own
        for name, share in serving.effect.routes:
            if name == caller:
                own = 1 - (1 - own) * (1 - share)
        rate = self.callers.get(caller, 0.0)
        refused = self.refused.get(caller, 0.0) / rate if rate > 0 else 0.0
        return 1 - (1 - own) * (1 - min(1.0, refused))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moods:
    """How the services do at this moment, all pods alike: factors."""

    latency: Mapping[str, float]
    traffic: Mapping[str, float]


def flow(
    land: Landscape,
    pods: Mapping[str, Sequence[Pod]],
    effect: Callable[[Pod, float], Effect],
    weigh: Callable[[str, Sequence[Pod]], Mapping[str, float]],
    moods: Moods,
    now: float,
) -> dict[str, Load]:
    """The services at this moment. `pods` are those alive, of which only ready ones serve."""
    loads: dict[str, Load] = {}
    for service in land.services:
        ready = [pod for pod in pods[service.name] if pod.state(now).ready]
        weights = weigh(service.name, ready)
        serving = []
        for pod in ready:
            felt = effect(pod, now)
            serving.append(Serving(pod=pod, effect=felt, weight=weights[pod.name] * felt.share * pod.share_bias))
        loads[service.name] = Load(service=service, pods=serving)
    for service in land.services:
        _down(land, loads, loads[service.name], moods)
    for service in reversed(land.services):
        _up(loads, loads[service.name], moods, now)
    return loads


def _down(land: Landscape, loads: Mapping[str, Load], load: Load, moods: Moods) -> None:
    """Share the service's traffic among its pods, and pass on what they ask of others."""
    name = load.service.name
    load.outside = land.entries.get(name, 0.0) * land.rate * moods.traffic.get(name, 1.0)
    load.rate = load.outside + sum(load.callers.values())
    total = sum(serving.weight for serving in load.pods)
    for serving in load.pods:
        serving.rate = load.rate * serving.weight / total if total > 0 else 0.0
        felt = serving.effect
        goes_on = 1 - felt.errors * felt.early
        for call in load.service.calls:
            lost, rubbish = _share(felt.lost, call.callee), _share(felt.rubbish, call.callee)
            rate = serving.rate * call.each * felt.calls * goes_on
            serving.calls.append(Outgoing(call=call, rate=rate, reaches=1 - lost, rubbish=rubbish))
            callee = loads[call.callee]
            callee.callers[name] = callee.callers.get(name, 0.0) + rate * (1 - lost)
            callee.poisoned += _share(felt.poison, call.callee) * (serving.rate / load.rate if load.rate > 0 else 0.0)
            if rubbish:
                callee.refused[name] = callee.refused.get(name, 0.0) + rate * (1 - lost) * rubbish


def _share(pairs: tuple[tuple[str, float], ...], name: str) -> float:
    return max((share for each, share in pairs if each == name), default=0.0)


def _up(loads: Mapping[str, Load], load: Load, moods: Moods, now: float) -> None:
    """What each pod makes of its traffic and of its callees, and what the callers of all of them get."""
    service = load.service
    mood = moods.latency.get(service.name, 1.0)
    for serving in load.pods:
        _pod(loads, load, serving, mood, now)
    total = sum(serving.weight for serving in load.pods)
    if total <= 0:
        load.errors, load.latency = 1.0, min(service.timeout, 1.0)
        return
    parts = [(serving.weight / total, serving) for serving in load.pods if serving.weight > 0]
    load.errors = sum(part * serving.errors for part, serving in parts)
    load.wrong = sum(part * serving.effect.wrong for part, serving in parts)
    load.latency = sum(part * serving.latency**MIX for part, serving in parts) ** (1 / MIX)


def _pod(loads: Mapping[str, Load], load: Load, serving: Serving, mood: float, now: float) -> None:
    service, felt, pod = load.service, serving.effect, serving.pod
    asked = serving.rate / service.rate if service.rate > 0 else 0.0
    wants = service.cpu * asked * felt.cpu * pod.cpu_bias + felt.busy + 0.01
    serving.cpu = min(1.0, wants)
    crowded = (1 - service.cpu) / (1 - min(CPU_FULL, wants)) if wants > service.cpu else 1.0
    latency = service.latency * pod.latency_bias * mood * felt.slow * (0.6 + 0.4 * crowded) + felt.wait
    fails = 0.0
    for out in serving.calls:
        callee = loads[out.call.callee]
        out.fails, out.latency = _answer(callee, service.name, out)
        hurt = min(1.0, out.fails + callee.wrong * (1 - out.fails))
        hurt *= out.call.needed * min(1.0, out.call.each) * (1 - felt.forgiven)
        fails = 1 - (1 - fails) * (1 - hurt)
        latency += min(1.0, out.call.each) * out.latency
    overdue = max(0.0, wants - 1.15)
    own = 1 - (1 - service.errors) * (1 - felt.errors) * (1 - min(0.6, overdue)) * (1 - min(1.0, load.poisoned))
    late = min(0.9, max(0.0, latency / service.timeout - 1.0))
    serving.errors = 1 - (1 - own) * (1 - fails) * (1 - late)
    serving.latency = min(latency, service.timeout * 1.5)
    fresh = 1 - math.exp(-max(0.0, now - pod.started(now)) / COLD_SECONDS)
    usual = service.memory * pod.memory_bias * (COLD_MEMORY + (1 - COLD_MEMORY) * fresh)
    serving.memory = min(0.999, usual + felt.memory)


def _answer(callee: Load, caller: str, out: Outgoing) -> tuple[float, float]:
    """The share of calls that fail as the calling pod sees it, and how long they take."""
    total = sum(serving.weight for serving in callee.pods)
    if total <= 0:
        return 1.0, callee.latency
    errors = sum(
        serving.weight / total * _without_rubbish(callee, caller, serving) for serving in callee.pods if serving.weight
    )
    errors = 1 - (1 - errors) * (1 - out.rubbish)
    return 1 - out.reaches * (1 - errors), callee.latency


def _without_rubbish(callee: Load, caller: str, serving: Serving) -> float:
    """This pod's errors for the caller's sound requests: rubbish is on the account of the pod that sends it."""
    own = serving.errors
    for name, share in serving.effect.routes:
        if name == caller:
            own = 1 - (1 - own) * (1 - share)
    return own
