"""Kayenta's judge: a Mann-Whitney test per metric, then a score over the metrics.

Two-sided with tolerance .25 and confidence .98: a metric is High where the lower bound of the Hodges-Lehmann shift exceeds a
quarter of its estimate and the means have not fallen. Its shift's bounds come from root-finding on the normal approximation; here
they are the order statistics of the pairwise differences that the same approximation names. Critical metrics fail the judgement
alone; here all are, with a pass threshold that any High metric misses. Kayenta itself is asked once, over a span that its user
names; here it is asked at each sample, so that it may act as early as the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from statistics import NormalDist, fmean, median

from tests.bench.sides import Point, Watched

TOLERANCE = 0.25
Z = NormalDist().inv_cdf(0.99)
"""Of a two-sided confidence of .98."""

SIGNALS = ("error_ratio",)
"""As the other gates (baselines.SIGNALS)."""

SAMPLES_MIN, SAMPLES_MAX = 5, 30
"""Below, the bounds reach over all differences; above, nothing changes but the time it takes."""


def judge_fails(rollout: Watched) -> datetime | None:
    """When the judge first says High of any metric. Control: the old pods in the same span, their past where they are gone."""
    moments = [at for signal in SIGNALS if (at := _fails(rollout, signal)) is not None]
    return min(moments, default=None)


def _fails(rollout: Watched, signal: str) -> datetime | None:
    experiment = rollout.new.get(signal, [])
    for count in range(SAMPLES_MIN, len(experiment) + 1):
        span = experiment[max(0, count - SAMPLES_MAX) : count]
        control = _control(rollout, signal, span)
        if len(control) >= SAMPLES_MIN and high([point.value for point in span], control):
            return span[-1].at
    return None


def _control(rollout: Watched, signal: str, span: Sequence[Point]) -> list[float]:
    both = [point.value for point in rollout.old.get(signal, ()) if span[0].index <= point.index <= span[-1].index]
    return both if len(both) >= SAMPLES_MIN else (rollout.history(signal) or [])


def high(experiment: Sequence[float], control: Sequence[float]) -> bool:
    """Whether the judge calls the experiment High. Equal values pass; two different constants do not."""
    if len({*experiment, *control}) == 1 or fmean(experiment) < fmean(control):
        return False
    low, estimate = shift(experiment, control)
    return low > TOLERANCE * abs(estimate)


def shift(experiment: Sequence[float], control: Sequence[float]) -> tuple[float, float]:
    """The lower bound of the shift between both, and its estimate: the median of all differences (Hodges and Lehmann 1963)."""
    differences = sorted(new - old for new in experiment for old in control)
    pairs = len(differences)
    rank = pairs / 2 - Z * math.sqrt(pairs * (len(experiment) + len(control) + 1) / 12)
    return differences[max(0, math.floor(rank))], median(differences)
