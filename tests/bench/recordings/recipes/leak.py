"""The new revision's memory climbs to its limit; then it is slow, killed, and starts anew."""

from __future__ import annotations

from random import Random

from tests.bench.recordings import lives
from tests.bench.recordings.faults import Effect, Fault, Place, Plight

TIGHT = 0.35
"""Share of the limit above its usual memory from where on it spends its time collecting garbage."""


def _climbing(filled: float, top: float) -> Effect:
    memory = top * min(filled, 1.0)
    if memory < TIGHT:
        return Effect(memory=memory)
    return Effect(memory=memory, slow=1.0 + 4.0 * (memory - TIGHT) / max(top - TIGHT, 0.05), busy=0.2)


def steady(rng: Random, place: Place) -> Fault:
    """A straight line: so much per minute, full after 6 to 20 minutes."""
    full, top = rng.uniform(360.0, 1200.0), rng.uniform(0.45, 0.6)

    def acts(plight: Plight) -> Effect:
        return _climbing(plight.since_start / full, top)

    return Fault(
        recipe="leak.steady",
        shows=("memory_ratio", "pod"),
        acts=acts,
        lives=lives.killed_every(full, 0.08),
    )


def by_request(rng: Random, place: Place) -> Fault:
    """In leaps, by what is asked for: a cache without a limit, full after 4 to 15 minutes."""
    full, top, leaps = rng.uniform(240.0, 900.0), rng.uniform(0.4, 0.6), rng.randint(3, 9)

    def acts(plight: Plight) -> Effect:
        filled = plight.since_start * plight.load / full
        return _climbing((int(filled * leaps) + 0.3) / leaps, top)

    return Fault(
        recipe="leak.by_request",
        shows=("memory_ratio", "pod"),
        acts=acts,
        lives=lives.killed_every(full, 0.15),
    )
