"""The new revision is well until 5 to 20 minutes into its rollout, perhaps until after its end."""

from __future__ import annotations

from random import Random

from tests.bench.recordings.faults import Effect, Fault, Place

DELAY = (300.0, 1200.0)


def errors_later(rng: Random, place: Place) -> Fault:
    """Then it fails requests: a token that ran out."""
    effect = Effect(errors=rng.uniform(0.15, 0.9), early=0.5)
    return Fault(
        recipe="delayed.errors_later", shows=("error_ratio",), acts=lambda plight: effect, delay=rng.uniform(*DELAY)
    )


def slow_later(rng: Random, place: Place) -> Fault:
    """Then it is slow: a table that has grown."""
    effect = Effect(slow=rng.uniform(2.0, 5.0), wait=rng.choice((0.1, 0.3, 0.6)))
    return Fault(
        recipe="delayed.slow_later", shows=("latency_seconds",), acts=lambda plight: effect, delay=rng.uniform(*DELAY)
    )
