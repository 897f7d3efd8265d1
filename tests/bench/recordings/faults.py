"""What can be wrong with a pod, and what a fault is: the vocabulary of the recipes and of what confounds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """How a pod departs from health at one moment. The default departs in nothing."""

    errors: float = 0.0
    """Share of its requests that fail by its own doing."""
    early: float = 0.5
    """Share of those that fail before it calls anyone: its callees go without them."""
    routes: tuple[tuple[str, float], ...] = ()
    """The same for the requests of one caller alone."""
    slow: float = 1.0
    """Factor of its own latency."""
    wait: float = 0.0
    """Seconds on top."""
    tail: tuple[float, float] = (0.0, 1.0)
    """A share of its requests that takes so many times as long."""
    cpu: float = 1.0
    """Factor of what a request costs."""
    busy: float = 0.0
    """Share of its CPU limit that is used on top, whatever the traffic."""
    memory: float = 0.0
    """Share of its limit on top."""
    share: float = 1.0
    """Factor of the traffic that it is sent."""
    mute: Literal["no", "requests", "all"] = "no"
    """Whether its request metrics, or all of them, are missing."""
    wrong: float = 0.0
    """Share of its answers that look well and make its callers fail."""
    rubbish: tuple[tuple[str, float], ...] = ()
    """Share of its calls to one callee that the callee refuses, rightly: they count as the callee's errors."""
    poison: tuple[tuple[str, float], ...] = ()
    """Share of one callee's requests, whoever's, that fails where all its calls come from pods such as this."""
    lost: tuple[tuple[str, float], ...] = ()
    """Share of its calls to one callee that never get there."""
    forgiven: float = 0.0
    """Share of the failed calls above that a fallback makes good for its own callers."""
    calls: float = 1.0
    """Factor of the calls it makes per request."""


NONE = Effect()


def both(one: Effect, other: Effect) -> Effect:
    """Both at once."""
    if one is NONE:
        return other
    if other is NONE:
        return one
    return Effect(
        errors=1 - (1 - one.errors) * (1 - other.errors),
        early=max(one.early, other.early),
        routes=one.routes + other.routes,
        slow=one.slow * other.slow,
        wait=one.wait + other.wait,
        tail=max(one.tail, other.tail),
        cpu=one.cpu * other.cpu,
        busy=one.busy + other.busy,
        memory=one.memory + other.memory,
        share=one.share * other.share,
        mute=max(one.mute, other.mute, key=("no", "requests", "all").index),
        wrong=max(one.wrong, other.wrong),
        rubbish=one.rubbish + other.rubbish,
        poison=one.poison + other.poison,
        lost=one.lost + other.lost,
        forgiven=max(one.forgiven, other.forgiven),
        calls=one.calls * other.calls,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plight:
    """A pod of the bad revision at one moment."""

    pod: str
    number: int
    """The how-manieth pod of its revision, from 0."""
    since_fault: float
    """Seconds since the fault began on it; never negative."""
    since_start: float
    """Seconds since its container last started."""
    load: float
    """The traffic from outside against that of a quiet day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A pod's state from a moment on (seconds since the recording began)."""

    at: float
    ready: bool
    restarts: int = 0
    reason: str | None = None


Lives = Callable[[Random, float, float], list[Life]]
"""(rng, born, end of the recording) -> the states of a pod that was born then, in time order."""

Shown = Literal[
    "error_ratio", "latency_seconds", "cpu_ratio", "memory_ratio", "traffic_rate", "pod", "silence", "outbound"
]
"""On what a fault shows at the new revision's own pods: a signal, pod records, missing samples, or the errors of its calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What the bad revision does wrong."""

    recipe: str
    shows: tuple[Shown, ...]
    """Empty for a fault that shows on others alone."""
    acts: Callable[[Plight], Effect] = lambda plight: NONE
    delay: float = 0.0
    """Seconds from the rollout's start until it begins."""
    lives: Lives | None = None
    """How its pods live, where not as healthy ones do."""


class NotSuitedError(Exception):
    """This service cannot have this fault (it calls nobody, or nobody calls it): take another."""


Place = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A service's name, its callers, its callees."""

Recipe = Callable[[Random, Place], Fault]
"""Draws a fault for a service. Raises NotSuitedError."""
