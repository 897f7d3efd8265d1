"""Whether a rollout changed how often a workload asks others: a cache that misses, retries, a query in a loop.

It looks well itself, and those that it asks break. Counted per request that it serves: a spike of traffic is nobody's fault.
"""

from __future__ import annotations

from statistics import median

from daemon.core.incidents import Term
from daemon.core.measurement import FanOut, Measurement
from daemon.core.model import Workload
from daemon.core.weights import WEIGHTS

GROWN = 1.25
"""So many times the most of any sample before the rollout: the mix of requests changes how many calls one makes."""

BEFORE_MIN = 4
"""Samples of the time before, of which the highest tells how far it varies by itself."""


def fan_out_terms(measurement: Measurement, workload: Workload) -> list[Term]:
    """The term, by the one that it asks so much more often than before; none where it does not, or nobody counts."""
    grown = _grown(measurement, workload)
    if not grown:
        return []
    most = max(grown, key=growth)
    return [
        Term(
            name="fan_out",
            value=round(growth(most), 2),
            threshold=GROWN,
            weight=WEIGHTS["fan_out"],
            sentence=f"It asks {most.callee.name} {growth(most):.1f} times as often per request as before the rollout.",
        )
    ]


def asks_more(measurement: Measurement, workload: Workload) -> bool:
    """Whether it asks anybody more than before: what fails there then fails its own pods, old and new, by its own doing."""
    return bool(_grown(measurement, workload))


def _grown(measurement: Measurement, workload: Workload) -> list[FanOut]:
    return [each for each in measurement.fan_outs if each.workload == workload and _grew(each)]


def _grew(fan_out: FanOut) -> bool:
    known = len(fan_out.before) >= BEFORE_MIN and growth(fan_out) > 0
    return known and median(fan_out.now) > max(fan_out.before) * GROWN


def growth(fan_out: FanOut) -> float:
    """How many times as often as before; 0 where nothing was asked before, or nothing is known of either time."""
    before = median(fan_out.before) if fan_out.before else 0.0
    return median(fan_out.now) / before if before > 0 and fan_out.now else 0.0
