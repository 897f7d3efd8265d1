"""The new revision looks well and is not: what it says or asks is wrong, and only others show it."""

from __future__ import annotations

from random import Random

from tests.bench.recordings.faults import Effect, Fault, NotSuitedError, Place


def fail_callers(rng: Random, place: Place) -> Fault:
    """200 OK with a body that its callers cannot use."""
    _, callers, _ = place
    if not callers:
        raise NotSuitedError
    effect = Effect(wrong=rng.uniform(0.3, 1.0))
    return Fault(recipe="wrong_answers.fail_callers", shows=(), acts=lambda plight: effect)


def hold_locks(rng: Random, place: Place) -> Fault:
    """It asks twice and more, and holds what it has taken: all whom it calls fail some requests of whoever asks."""
    _, _, callees = place
    if not callees:
        raise NotSuitedError
    share = rng.uniform(0.15, 0.5)
    effect = Effect(calls=rng.uniform(2.0, 4.0), poison=tuple((callee, share) for callee in callees))
    return Fault(recipe="wrong_answers.hold_locks", shows=(), acts=lambda plight: effect)


def fail_callees(rng: Random, place: Place) -> Fault:
    """It writes to one callee what makes that fail later, whoever asks: its own calls are accepted."""
    _, _, callees = place
    if not callees:
        raise NotSuitedError
    effect = Effect(poison=((rng.choice(callees), rng.uniform(0.3, 0.9)),))
    return Fault(recipe="wrong_answers.fail_callees", shows=(), acts=lambda plight: effect)


def flood_callees(rng: Random, place: Place) -> Fault:
    """Each request makes six to fifteen times the calls: it bears it, its callees do not."""
    _, _, callees = place
    if not callees:
        raise NotSuitedError
    effect = Effect(calls=rng.uniform(6.0, 15.0))
    return Fault(recipe="wrong_answers.flood_callees", shows=(), acts=lambda plight: effect)
