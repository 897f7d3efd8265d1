"""The scorecard as metrics, per workload: the only ones whose label is a workload's name, so their number is bounded.

The workloads that something was decided about most recently have series of their own, WORKLOADS_MAX of them; `all` counts every
workload. An older one loses its series, never its tally: `lastgood scorecard` has it.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from daemon.core.incidents import VerdictKind, Word
from daemon.core.scorecard import MADE, PRECISION_LOW_MIN, Counts, Tally, number, precision, readiness, together
from daemon.core.state import State

WORKLOADS_MAX = 50
"""Workloads with series of their own: 13 series each, so about as many in all as the daemon has besides."""

ALL = "all"
"""The value of `workload` for all of them; a workload's own has slashes."""

JUDGED: dict[str, Word | None] = {"right": Word.RIGHT, "wrong": Word.WRONG, "unjudged": None}


class ScoreMetrics:
    """The gauges, recomputed from the state when `/metrics` is read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"lastgood_scorecard_{name}", text, ("workload", *labels), registry=registry)

        self._decisions = gauge(
            "decisions",
            f"Decisions made, or in observe withheld; of the {WORKLOADS_MAX} workloads decided about most recently.",
            "decision",
            "judged",
        )
        self._precision = gauge(
            "precision", "Share of the judged decisions to roll back that were right; NaN where none is judged."
        )
        self._low = gauge("precision_low", "What that share is at least, with 95 % certainty.")
        self._healthy = gauge("healthy_rollouts", "Rollouts that were verified without any decision about them.")
        self._enough = gauge(
            "enough",
            "1 when the history suffices to arm the workload; `all`: when it may stand in for a workload's own.",
        )
        self._set(ALL, Counter(), healthy=0, enough=False)

    def recompute(self, state: State, now: datetime) -> None:
        """Set all gauges; those of workloads that have lost their place are removed."""
        tallies = list(state.scorecards.values())
        everything = together(tallies)
        for each in (self._decisions, self._precision, self._low, self._healthy, self._enough):
            each.clear()
        enough = precision(everything, VerdictKind.ROLL_BACK).low >= PRECISION_LOW_MIN
        self._set(ALL, everything, healthy=sum(each.healthy for each in tallies), enough=enough)
        for tally in heapq.nlargest(WORKLOADS_MAX, (each for each in tallies if each.decisions), key=_latest):
            ready = readiness(tally, everything, now)
            self._set(tally.workload.key, tally.counts, healthy=tally.healthy, enough=ready.enough)

    def _set(self, workload: str, counts: Counts, *, healthy: int, enough: bool) -> None:
        for made in MADE:
            for name, word in JUDGED.items():
                self._decisions.labels(workload, made.value, name).set(number(counts, (made,), word))
        share = precision(counts, VerdictKind.ROLL_BACK)
        self._precision.labels(workload).set(math.nan if share.value is None else share.value)
        self._low.labels(workload).set(share.low)
        self._healthy.labels(workload).set(healthy)
        self._enough.labels(workload).set(1 if enough else 0)


def _latest(tally: Tally) -> tuple[datetime, str]:
    return tally.decisions[-1].at, tally.workload.key
