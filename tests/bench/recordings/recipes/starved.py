"""The new revision has too little CPU: a limit cut, or a loop that burns it."""

from __future__ import annotations

from random import Random

from tests.bench.recordings.faults import Effect, Fault, Place, Plight


def throttled(rng: Random, place: Place) -> Fault:
    """At its limit from the start, and two to six times as slow."""
    effect = Effect(busy=1.0, slow=rng.uniform(1.3, 3.0))
    return Fault(recipe="starved.throttled", shows=("cpu_ratio", "latency_seconds"), acts=lambda plight: effect)


def burning(rng: Random, place: Place) -> Fault:
    """A loop that takes more CPU by the minute, until requests time out."""
    within, most = rng.uniform(180.0, 600.0), rng.uniform(0.7, 1.0)
    late = rng.uniform(0.0, 0.25)

    def acts(plight: Plight) -> Effect:
        part = min(1.0, plight.since_fault / within)
        return Effect(busy=most * part, slow=1.0 + 0.8 * part, errors=late * max(0.0, part - 0.7) / 0.3)

    return Fault(recipe="starved.burning", shows=("cpu_ratio", "latency_seconds"), acts=acts)
