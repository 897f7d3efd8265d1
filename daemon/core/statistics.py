"""Sound statistics in closed form: is it larger than chance allows, how far out is it, and what if many are asked?

Each test says how likely numbers at least so bad are where nothing is wrong (p), never how bad they are: thresholds stay with
daemon/core/signals.py. All of them take the values as independent. Requests and minutes of one service are not quite, so a
small p alone convicts nobody: persistence and a contrast in size are asked for on top.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import comb, erfc, exp, isfinite, lgamma, sqrt
from statistics import NormalDist, median

EXPECTED_MIN = 5.0
"""Below so many expected in any cell of the table the normal curve is a poor one (Cochran 1954), and the exact test is cheap."""

EXACT_PAIRS_MAX = 400
"""Pairs (new x old) up to which ranks are counted exactly: 20 against 20, or 3 against 133. A table takes about a millisecond."""

EXACT_TABLES_MAX = 256
"""Tables that are kept: a rollout asks the same few sizes over and over. At most 401 floats each, so under 4 MB in all."""

MAD_TO_SIGMA = 1 / NormalDist().inv_cdf(0.75)
"""1.4826: what the median absolute deviation of normal values is multiplied with to give their standard deviation."""

NEGLIGIBLE = 1e-17
"""The share of a sum below which one more term changes no digit of a float."""


def proportion_p(bad_new: float, n_new: float, bad_old: float, n_old: float) -> float:
    """How likely a share at least as large as `bad_new / n_new` is, were new and old of the same share: one-sided p, 0..1.

    Why: 2 failures of 5 and 400 of 1,000 are the same ratio and not the same evidence; this honours the sample size. Exact where
    any expected count is under EXPECTED_MIN (Fisher 1935, the upper tail of the hypergeometric distribution), else the score
    test with continuity correction (Pearson 1900, Yates 1934): the square root of the corrected chi-square, one-sided.

    Counts of requests. Rates times seconds may be fractional (Prometheus extrapolates to the edges of the window): each is
    rounded to the nearest whole, and what is bad is at most what there is, for the two counters are not read in the same
    instant. 1.0, no evidence, where either side has no request, and where a count is negative or no number. Assumes that
    requests fail independently of each other; bursts and retries make it too sure.
    """
    if not all(isfinite(count) and count >= 0 for count in (bad_new, n_new, bad_old, n_old)):
        return 1.0
    new, old = round(n_new), round(n_old)
    if not new or not old:
        return 1.0
    got = min(round(bad_new), new)
    bad, total = got + min(round(bad_old), old), new + old
    if min(new, old) * min(bad, total - bad) < EXPECTED_MIN * total:
        return _fisher_p(got, new, bad, total)
    deviation = sqrt(new * old / total * (bad / total) * (1 - bad / total))
    return _normal_p((got - 0.5 - new * bad / total) / deviation)


def rank_p(new: Sequence[float], old: Sequence[float]) -> float:
    """How likely the values of `new` rank at least so high above those of `old`, were they of one kind: one-sided p, 0..1.

    Why: a latency has neither a known distribution nor counts; ranks need neither, and one wild scrape moves one rank only
    (Mann & Whitney 1947). Exact where there are no ties and at most EXACT_PAIRS_MAX pairs, else the normal approximation with
    correction for ties and continuity, yet never below 1 / C(new + old, new), the least that so few values can show: with many
    ties (an error ratio of 0 all morning) the curve alone promises more than that.

    Any unit, the same on both sides. 1.0, no evidence, where a side is empty, holds what is no finite number, or all are equal.
    Assumes independent values on both sides and, for "tends to be larger" to be what it finds, distributions of like shape.
    """
    if not new or not old or not all(isfinite(value) for value in (*new, *old)):
        return 1.0
    wins = _wins(new, old)
    ties = _ties((*new, *old))
    pairs, total = len(new) * len(old), len(new) + len(old)
    if ties == [total]:
        return 1.0
    if max(ties) == 1 and pairs <= EXACT_PAIRS_MAX:
        return _rank_tails(*sorted((len(new), len(old))))[round(wins)]
    tied = sum(count**3 - count for count in ties) / (total * (total - 1))
    deviation = sqrt(pairs / 12 * (total + 1 - tied))
    return max(_normal_p((wins - pairs / 2 - 0.5) / deviation), 1 / comb(total, len(new)))


def robust_z(
    value: float, reference: Sequence[float], *, floor_share: float = 0.05, floor: float = 0.0, least: int = 5
) -> float | None:
    """How many standard deviations `value` lies over the reference's median, outliers in the reference not counting.

    Why: (value - mean) / deviation hides an outlier behind the outliers of the past; the median and the median absolute
    deviation (MAD) stand until half of the reference is bad (Hampel 1974; Iglewicz & Hoaglin 1993). The scale is
    1.4826 x MAD, at least `floor_share` of the median (a ratio) and at least `floor` (in the values' unit): a signal that stood
    still all day must not make every wobble an alarm.

    None, cannot be told, under `least` reference values, where a number is not finite, and where the scale is 0 although the
    value differs (a median of 0 with no `floor`). Assumes one hump, about symmetric; it is a distance and gives no p.
    """
    if len(reference) < least or not all(isfinite(number) for number in (value, *reference)):
        return None
    middle = median(reference)
    spread = median(abs(number - middle) for number in reference)
    scale = max(MAD_TO_SIGMA * spread, floor_share * abs(middle), floor)
    if scale > 0:
        return (value - middle) / scale
    return 0.0 if value == middle else None


def smaller_of_many(ps: Sequence[float]) -> tuple[float, ...]:
    """The p-values in the given order, adjusted for having asked all of them: each may be compared with the level as it is.

    Why: at 1 % each, twenty signals of a healthy rollout find one "bad" in every fifth rollout. Holm's step-down method (1979)
    keeps the chance of any false finding at the level, whatever the tests have to do with each other (p95 and p99 rise together),
    and finds at least what Bonferroni finds. The smallest of m is multiplied with m, the next with m - 1, …; never below
    the one before, never over 1. Empty for none.
    """
    adjusted = [1.0] * len(ps)
    least = 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        least = max(least, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = least
    return tuple(adjusted)


def _normal_p(z: float) -> float:
    """The upper tail of the standard normal distribution, accurate far out."""
    return erfc(z / sqrt(2)) / 2


def _fisher_p(got: int, drawn: int, bad: int, total: int) -> float:
    """P(at least `got` bad ones among `drawn` of `total`, of which `bad` are bad), summed on the side away from the mean."""
    if got * total > drawn * bad:
        return _hypergeometric_tail(got, drawn, bad, total)
    return 1.0 - _hypergeometric_tail(drawn - got + 1, drawn, total - bad, total)


def _hypergeometric_tail(got: int, drawn: int, bad: int, total: int) -> float:
    """P(X >= got), `got` above the mean: the terms only fall, so the sum ends where they stop to count."""
    if got > min(drawn, bad):
        return 0.0
    term = exp(_log_comb(bad, got) + _log_comb(total - bad, drawn - got) - _log_comb(total, drawn))
    tail = term
    while term > NEGLIGIBLE * tail:
        term *= (bad - got) * (drawn - got) / ((got + 1) * (total - bad - drawn + got + 1))
        got += 1
        tail += term
    return min(1.0, tail)


def _log_comb(n: int, k: int) -> float:
    """The logarithm of the binomial coefficient; math.comb of a million requests has hundreds of thousands of digits."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _wins(new: Sequence[float], old: Sequence[float]) -> float:
    """Mann and Whitney's U: the pairs in which the new value is larger, equal ones half."""
    ranked = sorted(old)
    return sum(bisect_left(ranked, value) + bisect_right(ranked, value) for value in new) / 2


def _ties(values: Iterable[float]) -> list[int]:
    """How often each value occurs."""
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.values())


@lru_cache(maxsize=EXACT_TABLES_MAX)
def _rank_tails(few: int, many: int) -> tuple[float, ...]:
    """P(U >= u) for u = 0 … few x many.

    The orders with U = u are the coefficients of a Gaussian binomial, the product of (1 - q^(many+i)) / (1 - q^i): one factor
    after the other in whole numbers, so that no rounding adds up.
    """
    ways = [1] + [0] * (few * many)
    for step in range(1, few + 1):
        for u in range(few * many, many + step - 1, -1):
            ways[u] -= ways[u - many - step]
        for u in range(step, few * many + 1):
            ways[u] += ways[u - step]
    tails, left = [], 0
    for count in reversed(ways):
        left += count
        tails.append(left / comb(few + many, few))
    return tuple(reversed(tails))
