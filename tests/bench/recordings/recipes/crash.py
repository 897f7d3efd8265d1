"""The new revision does not stay up."""

from __future__ import annotations

from random import Random

from tests.bench.recordings import lives
from tests.bench.recordings.faults import Fault, Place


def at_once(rng: Random, place: Place) -> Fault:
    """Before it is ever ready: CrashLoopBackOff."""
    return Fault(recipe="crash.at_once", shows=("pod",), lives=lives.crashing(None))


def after_a_while(rng: Random, place: Place) -> Fault:
    """It serves 20 to 150 seconds each time."""
    low = rng.uniform(20.0, 60.0)
    return Fault(
        recipe="crash.after_a_while", shows=("pod",), lives=lives.crashing((low, low + rng.uniform(10.0, 90.0)))
    )


def never_ready(rng: Random, place: Place) -> Fault:
    """It runs, and its readiness probe fails."""
    return Fault(recipe="crash.never_ready", shows=("pod",), lives=lives.unready)
