"""The new revision answers late."""

from __future__ import annotations

from random import Random

from tests.bench.recordings.faults import Effect, Fault, Place


def multiplied(rng: Random, place: Place) -> Fault:
    """Everything takes two to eight times as long: a missing index, a lock."""
    effect = Effect(slow=rng.uniform(2.0, 8.0), cpu=rng.choice((1.0, 1.3)))
    return Fault(recipe="slow.multiplied", shows=("latency_seconds",), acts=lambda plight: effect)


def waiting(rng: Random, place: Place) -> Fault:
    """Every request waits for something fixed first: a DNS look-up that times out, a sleep in a retry."""
    effect = Effect(wait=rng.choice((0.4, 0.8, 1.0, 2.0, 5.0)))
    return Fault(recipe="slow.waiting", shows=("latency_seconds",), acts=lambda plight: effect)


def in_the_tail(rng: Random, place: Place) -> Fault:
    """Some requests take very long; a 95th percentile shows it by chance, minute by minute."""
    effect = Effect(tail=(rng.uniform(0.07, 0.2), rng.uniform(4.0, 15.0)))
    return Fault(recipe="slow.in_the_tail", shows=("latency_seconds",), acts=lambda plight: effect)
