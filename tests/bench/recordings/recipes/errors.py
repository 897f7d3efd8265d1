"""The new revision fails requests that the old one answers."""

from __future__ import annotations

from random import Random

from tests.bench.recordings.faults import Effect, Fault, NotSuitedError, Place, Plight


def failing(rng: Random, place: Place) -> Fault:
    """From the first request on, 20 to 100 % of them."""
    effect = Effect(errors=rng.uniform(0.2, 1.0), early=rng.choice((0.0, 0.5, 1.0)))
    return Fault(recipe="errors.failing", shows=("error_ratio",), acts=lambda plight: effect)


def growing(rng: Random, place: Place) -> Fault:
    """More and more of them: a pool that runs dry, a cache that fills with garbage."""
    most, within = rng.uniform(0.25, 0.95), rng.uniform(120.0, 720.0)

    def acts(plight: Plight) -> Effect:
        return Effect(errors=most * min(1.0, plight.since_fault / within), early=0.7)

    return Fault(recipe="errors.growing", shows=("error_ratio",), acts=acts)


def one_route(rng: Random, place: Place) -> Fault:
    """Those of one caller: an endpoint that only it uses."""
    _, callers, _ = place
    if not callers:
        raise NotSuitedError
    effect = Effect(routes=((rng.choice(callers), rng.uniform(0.3, 1.0)),))
    return Fault(recipe="errors.one_route", shows=("error_ratio",), acts=lambda plight: effect)
