"""The new revision is ready, and nothing is heard of it."""

from __future__ import annotations

from random import Random

from tests.bench.recordings.faults import Effect, Fault, Place, Plight


def from_the_start(rng: Random, place: Place) -> Fault:
    """Never a sample: it hangs on every request (its callers see time-outs), or is sent none (the old pods carry all)."""
    mute = rng.choice(("requests", "all"))
    hangs = rng.random() < 0.8
    effect = Effect(mute="requests", errors=1.0, early=1.0, wait=3.0) if hangs else Effect(mute="requests", share=0.0)
    if mute == "all":
        effect = Effect(mute="all", errors=effect.errors, early=effect.early, wait=effect.wait, share=effect.share)
    return Fault(recipe="silent.from_the_start", shows=("silence",), acts=lambda plight: effect)


def refuses(rng: Random, place: Place) -> Fault:
    """Never a sample: its probe is answered and everything else is refused at once, for its port is not the one of before."""
    effect = Effect(mute=rng.choice(("requests", "requests", "all")), errors=1.0, early=1.0)
    return Fault(recipe="silent.refuses", shows=("silence",), acts=lambda plight: effect)


def falls_silent(rng: Random, place: Place) -> Fault:
    """It serves well for one to six minutes, then its event loop hangs."""
    after = rng.uniform(60.0, 360.0)
    mute = rng.choice(("requests", "all"))
    hung = Effect(mute="all" if mute == "all" else "requests", errors=1.0, early=1.0, wait=rng.uniform(1.0, 5.0))

    def acts(plight: Plight) -> Effect:
        return hung if plight.since_fault > after else Effect()

    return Fault(recipe="silent.falls_silent", shows=("silence",), acts=acts)
