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
"""How far the revisions must lie apart on average to matter; for latency as a share of the old one's."""

SAMPLES_MIN = 3
"""Intervals in which both revisions reported; with fewer the new one is held against the time before its rollout."""

ERRORS_APART = 3.0
"""Standard errors of the mean difference, so that it is no chance."""


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
        return len(old - heard) >= SAMPLES_MIN
    direction, signal = ("outbound", "error_ratio") if what == "outbound" else ("inbound", what)

    def means(samples: Samples, *, of_new: bool) -> dict[int, float]:
        """The mean of each interval."""
        found: dict[int, list[float]] = {}
        for now, record in samples:
            fits = record.signal == signal and (record.direction or "inbound") == direction
            if fits and record.value is not None and (record.pod in new) == of_new:
                found.setdefault(int(now // script.style.interval), []).append(record.value)
        return {moment: fmean(values) for moment, values in found.items()}

    news, olds = means(after, of_new=True), means(after, of_new=False)
    same = sorted(news.keys() & olds.keys())
    if len(same) >= SAMPLES_MIN:
        return _apart(what, [news[moment] - olds[moment] for moment in same], fmean(olds[moment] for moment in same))
    usual = means(before, of_new=False)
    if len(usual) < SAMPLES_MIN:
        return False
    baseline = fmean(usual.values())
    return _apart(what, [value - baseline for value in news.values()], baseline)


def _apart(what: str, differences: Sequence[float], old: float) -> bool:
    if len(differences) < SAMPLES_MIN:
        return False
    matters = APART[what] * (old if what == "latency_seconds" else 1.0)
    chance = math.sqrt(pvariance(differences) / len(differences))
    return fmean(differences) > matters and fmean(differences) > ERRORS_APART * chance
