"""The new revision has a wrong setting: one callee's address or credentials."""

from __future__ import annotations

from random import Random

from tests.bench.recordings.faults import Effect, Fault, NotSuitedError, Place


def wrong_address(rng: Random, place: Place) -> Fault:
    """Its calls to one callee never get there; what needs them fails."""
    _, _, callees = place
    if not callees:
        raise NotSuitedError
    effect = Effect(lost=((rng.choice(callees), rng.uniform(0.8, 1.0)),))
    return Fault(recipe="configuration.wrong_address", shows=("outbound", "error_ratio"), acts=lambda plight: effect)


def hidden_by_fallback(rng: Random, place: Place) -> Fault:
    """Its calls to one callee fail, and a fallback hides nearly all of it from its own callers, for some time on top."""
    _, _, callees = place
    if not callees:
        raise NotSuitedError
    effect = Effect(
        rubbish=((rng.choice(callees), rng.uniform(0.6, 1.0)),),
        forgiven=rng.uniform(0.9, 1.0),
        wait=rng.choice((0.0, 0.05, 0.3)),
    )
    return Fault(recipe="configuration.hidden_by_fallback", shows=("outbound",), acts=lambda plight: effect)
