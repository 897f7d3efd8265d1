"""How sure a counted share or a quantile is: 95 % intervals in closed form, so that a score says what it is worth.

Rollouts of one recording share its weather, so they are not quite independent: read the intervals as the least uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`hits` of `of`, and between which bounds the true share lies (Wilson). None throughout where there was nothing to count."""

    hits: int
    of: int
    value: float | None
    low: float | None
    high: float | None

    def scaled(self, factor: float) -> tuple[float | None, float | None, float | None]:
        """Value, low and high times the factor, such as 1000 for "per 1000"."""
        value, low, high = (None if number is None else number * factor for number in (self.value, self.low, self.high))
        return value, low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A quantile of measured values and its bounds, in the values' unit. None throughout without values."""

    value: float | None
    low: float | None
    high: float | None


def share(hits: int, of: int) -> Share:
    """The share with Wilson's score interval: honest near 0 and 1 and for few cases, where hits ± 2 sigma is not.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). `hits` over `of` are cut:
    more false rollbacks than rollouts are still no more than all of them.
    """
    if of <= 0:
        return Share(hits=hits, of=0, value=None, low=None, high=None)
    hits = min(hits, of)
    rate, spread = hits / of, _Z * _Z / of
    centre = (rate + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(rate * (1 - rate) / of + spread / (4 * of)) / (1 + spread)
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == of else min(1.0, centre + half)
    return Share(hits=hits, of=of, value=rate, low=low, high=high)


def f1(true: int, false: int, missed: int) -> Share:
    """F1 = 2·TP / (2·TP + FP + FN), with an interval.

    J = TP / (TP + FP + FN) is a plain proportion and F1 = 2·J / (1 + J) grows with it, so Wilson's bounds of J become bounds of
    F1. `hits` and `of` are those of J.
    """
    found = share(true, true + false + missed)

    def as_f1(jaccard: float | None) -> float | None:
        return None if jaccard is None else 2 * jaccard / (1 + jaccard)

    return Share(hits=found.hits, of=found.of, value=as_f1(found.value), low=as_f1(found.low), high=as_f1(found.high))


def quantile(values: Sequence[float], at: float) -> Quantile:
    """The value that the share `at` of all values does not exceed; its bounds are the order statistics around its rank.

    The rank is binomial whatever the values' distribution: n·q ± z·sqrt(n·q·(1 - q)). The value is one that occurred
    (nearest rank), for p90 and for the median alike.
    """
    if not values:
        return Quantile(value=None, low=None, high=None)
    ordered, count = sorted(values), len(values)
    half = _Z * math.sqrt(count * at * (1 - at))

    def ranked(rank: float) -> float:
        return ordered[min(max(math.ceil(rank), 1), count) - 1]

    return Quantile(value=ranked(count * at), low=ranked(count * at - half), high=ranked(count * at + half))
