"""Whether the new revision's own signals show the fault: judged by who knows when it began and what it does.

A lenient look, so that the cases that count are all that could be seen, not those that are easy to see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance

from handlers.backtest.recording import PodSeen, SampleSeen
from tests.bench.recordings.faults import Shown
from tests.bench.recordings.script import Script
from tests.bench.recordings.staging import Played

APART: dict[str, float] = {
    "error_ratio": 0.02,
    "latency_seconds": 0.25,
    "cpu_ratio": 0.15,
    "memory_ratio": 0.1,
    "outbound": 0.05,
}
"""How far the means must lie apart to matter; for latency as a share of the old revision's."""

SAMPLES_MIN = 3
"""Of each revision."""

ERRORS_APART = 3.0
"""Standard errors between the means, so that it is no chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`overlap` counts the moments at which both revisions' pods reported after the fault began."""

    itself: bool
    overlap: int


def shown(script: Script, played: Played) -> Found:
    """Whether any of what the recipe names can be seen in the records."""
    rolled = next((each for each in played.rolled if each.plan.bad), None)
    if rolled is None or script.fault is None or played.fault_at is None:
        return Found(itself=False, overlap=0)
    new = {pod.name for pod in rolled.pods}
    mine = [
        (now, record)
        for now, record in played.records
        if isinstance(record, SampleSeen) and record.workload == rolled.plan.service.workload and record.pod is not None
    ]
    after = [(now, record) for now, record in mine if now > played.fault_at]
    overlap = len(_moments(after, new, script, of_new=True) & _moments(after, new, script, of_new=False))
    before = [(now, record) for now, record in mine if now <= rolled.plan.starts]
    itself = any(_shows(each, script, played, new, before, after) for each in script.fault.shows)
    return Found(itself=itself, overlap=overlap)


Samples = Sequence[tuple[float, SampleSeen]]


def _moments(samples: Samples, new: set[str], script: Script, *, of_new: bool) -> set[int]:
    """The intervals in which pods of the revision reported."""
    return {int(now // script.style.interval) for now, record in samples if (record.pod in new) == of_new}


def _shows(what: Shown, script: Script, played: Played, new: set[str], before: Samples, after: Samples) -> bool:
    if what == "pod":
        return any(
            isinstance(record, PodSeen)
            and record.pod in new
            and (record.restarts > 0 or not record.ready)
            and record.reason != "ContainerCreating"
            for _, record in played.records
        )
    if what == "silence":
        asked = [(now, record) for now, record in after if record.signal == "traffic_rate" and record.value]
        old, heard = _moments(asked, new, script, of_new=False), _moments(asked, new, script, of_new=True)
        return len(old) >= SAMPLES_MIN and len(heard) < len(old)
    direction, signal = ("outbound", "error_ratio") if what == "outbound" else ("inbound", what)

    def values(samples: Samples, *, of_new: bool) -> list[float]:
        return [
            record.value
            for _, record in samples
            if (record.pod in new) == of_new
            and record.signal == signal
            and record.value is not None
            and (record.direction or "inbound") == direction
        ]

    olds = values(after, of_new=False)
    if len(olds) < SAMPLES_MIN:
        olds = values(before, of_new=False)
    return _apart(what, values(after, of_new=True), olds)


def _apart(what: str, new: Sequence[float], old: Sequence[float]) -> bool:
    if len(new) < SAMPLES_MIN or len(old) < SAMPLES_MIN:
        return False
    difference = fmean(new) - fmean(old)
    matters = APART[what] * (fmean(old) if what == "latency_seconds" else 1.0)
    chance = math.sqrt(pvariance(new) / len(new) + pvariance(old) / len(old))
    return difference > matters and difference > ERRORS_APART * chance
