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

TRIGGER = {"cpu_ratio": 0.9, "memory_ratio": 0.85}
"""What a saturation must pass besides: below it nobody calls it bad (DESIGN's table of signals)."""

SLOW_START = 120.0
"""Seconds a healthy pod may take to be ready: before that nobody can tell that it never will be."""

SAMPLES_MIN = 3
"""Intervals in which both revisions reported. With fewer there is nothing to hold the new one against but the time before it, and
that may only propose (DESIGN: before/after): such a fault is none that the revision shows beside its predecessor."""

ERRORS_APART = 3.0
"""Standard errors of the mean difference, so that it is no chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Whether the new revision's own signals show the fault while the old one serves, and since when (None: they do not).

    `seen_at` is in seconds since the recording began. `overlap` counts the moments at which both revisions' pods reported after
    the fault began.
    """

    seen_at: float | None
    overlap: int

    @property
    def itself(self) -> bool:
        """Whether it shows."""
        return self.seen_at is not None


def shown(script: Script, played: Played) -> Found:
    """Whether any of what the recipe names can be seen in the records."""
    rolled = next((each for each in played.rolled if each.plan.bad), None)
    if rolled is None or script.fault is None or played.fault_at is None:
        return Found(seen_at=None, overlap=0)
    new = {pod.name for pod in rolled.pods}
    mine = [
        (now, record)
        for now, record in played.records
        if isinstance(record, SampleSeen) and record.workload == rolled.plan.service.workload and record.pod is not None
    ]
    after = [(now, record) for now, record in mine if now > played.fault_at]
    overlap = len(_moments(after, new, script, of_new=True) & _moments(after, new, script, of_new=False))
    moments = [
        moment for each in script.fault.shows if (moment := _seen_at(each, script, played, new, after)) is not None
    ]
    return Found(seen_at=max(min(moments), played.fault_at) if moments else None, overlap=overlap)


Samples = Sequence[tuple[float, SampleSeen]]


def _moments(samples: Samples, new: set[str], script: Script, *, of_new: bool) -> set[int]:
    """The intervals in which pods of the revision reported."""
    return {int(now // script.style.interval) for now, record in samples if (record.pod in new) == of_new}


def _seen_at(what: Shown, script: Script, played: Played, new: set[str], after: Samples) -> float | None:
    """When the fault is first to be seen on this; None where it is not."""
    if what == "pod":
        seen = [(now, record) for now, record in played.records if isinstance(record, PodSeen) and record.pod in new]
        failed = [
            now if record.restarts > 0 or record.reason else now + SLOW_START
            for now, record in seen
            if (record.restarts > 0 or not record.ready) and record.reason != "ContainerCreating"
        ]
        return min(failed, default=None)
    step = script.style.interval
    if what == "silence":
        asked = [(now, record) for now, record in after if record.signal == "traffic_rate" and record.value]
        silent = sorted(_moments(asked, new, script, of_new=False) - _moments(asked, new, script, of_new=True))
        return silent[0] * step if len(silent) >= SAMPLES_MIN else None
    direction, signal = ("outbound", "error_ratio") if what == "outbound" else ("inbound", what)

    def means(*, of_new: bool) -> dict[int, float]:
        """The mean of each interval."""
        found: dict[int, list[float]] = {}
        for now, record in after:
            fits = record.signal == signal and (record.direction or "inbound") == direction
            if fits and record.value is not None and (record.pod in new) == of_new:
                found.setdefault(int(now // step), []).append(record.value)
        return {moment: fmean(values) for moment, values in found.items()}

    news, olds = means(of_new=True), means(of_new=False)
    same = sorted(news.keys() & olds.keys())
    if len(same) < SAMPLES_MIN:
        return None
    bad = [moment for moment in same if news[moment] > TRIGGER.get(what, 0.0)]
    if not bad:
        return None
    same = [moment for moment in same if moment >= bad[0]]
    return _first_apart(what, {moment: (news[moment] - olds[moment], olds[moment]) for moment in same}, step)


def _first_apart(what: str, pairs: dict[int, tuple[float, float]], step: float) -> float | None:
    """The first moment that lies apart, where they do on the whole, or do so from some moment on."""
    moments = sorted(pairs)
    apart = [moment for moment in moments if pairs[moment][0] > _matters(what, pairs[moment][1])]
    since = [moment for moment in moments if apart and moment >= apart[0]]
    differences = [pairs[moment][0] for moment in since]
    if len(differences) < SAMPLES_MIN:
        return None
    chance = math.sqrt(pvariance(differences) / len(differences))
    usual = fmean(pairs[moment][1] for moment in since)
    shows = fmean(differences) > _matters(what, usual) and fmean(differences) > ERRORS_APART * chance
    return since[0] * step if shows else None


def _matters(what: str, old: float) -> float:
    return APART[what] * (old if what == "latency_seconds" else 1.0)
