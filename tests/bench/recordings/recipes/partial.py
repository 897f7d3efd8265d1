"""The new revision fails some requests: little against what blips and chance do."""

from __future__ import annotations

import math
from random import Random

from tests.bench.recordings.faults import Effect, Fault, Place, Plight


def some_requests(rng: Random, place: Place) -> Fault:
    """5 to 15 % of them, all the time."""
    effect = Effect(errors=rng.uniform(0.05, 0.15), early=0.3)
    return Fault(recipe="partial.some_requests", shows=("error_ratio",), acts=lambda plight: effect)


def in_bursts(rng: Random, place: Place) -> Fault:
    """8 to 25 % of them, half of the time: a job that holds a lock."""
    errors, period, phase = rng.uniform(0.08, 0.25), rng.uniform(150.0, 420.0), rng.uniform(0.0, math.tau)

    def acts(plight: Plight) -> Effect:
        burst = math.sin(phase + math.tau * plight.since_fault / period) > 0
        return Effect(errors=errors if burst else 0.004, early=0.3)

    return Fault(recipe="partial.in_bursts", shows=("error_ratio",), acts=acts)
