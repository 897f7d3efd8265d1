"""PromQL functions over ranges and histograms, as in Prometheus (promql/functions.go, quantile.go)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from deploy.sandbox.monitoring.labels import NAME, Labels, drop, freeze, get
from deploy.sandbox.monitoring.samples import Sample


def extrapolated(samples: Sequence[Sample], start_ms: int, end_ms: int, *, per_second: bool) -> float | None:
    """`rate` or `increase` of a counter over a range; None with less than two samples.

    The increase seen between the first and the last sample is stretched to the range's ends, where these are within 1.1
    of the average distance of samples, else by half of that distance; never to before the counter was 0. Falling values
    are restarts.
    """
    if len(samples) < 2:
        return None
    (first_time, first), (last_time, last) = samples[0], samples[-1]
    increase, previous = last - first, first
    for _, value in samples:
        if value < previous:
            increase += previous
        previous = value
    to_start, to_end = (first_time - start_ms) / 1000, (end_ms - last_time) / 1000
    sampled = (last_time - first_time) / 1000
    distance = sampled / (len(samples) - 1)
    if increase > 0 and first >= 0:
        to_start = min(to_start, sampled * (first / increase))
    stretched = sampled
    for gap in (to_start, to_end):
        stretched += gap if gap < distance * 1.1 else distance / 2
    factor = stretched / sampled
    return increase * factor / ((end_ms - start_ms) / 1000 if per_second else 1.0)


def over_time(name: str, samples: Sequence[Sample]) -> float:
    """The `*_over_time` functions; `samples` is not empty."""
    values = [value for _, value in samples]
    numbers = [value for value in values if not math.isnan(value)]
    match name:
        case "avg_over_time":
            return sum(values) / len(values)
        case "sum_over_time":
            return sum(values)
        case "count_over_time":
            return float(len(values))
        case "last_over_time":
            return values[-1]
        case "min_over_time":
            return min(numbers) if numbers else math.nan
        case "max_over_time":
            return max(numbers) if numbers else math.nan
    raise AssertionError(f"the parser lets no function {name} through")


_GROUP = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def replaced(
    vector: Mapping[Labels, float], target: str, text: str, source: str, pattern: str
) -> list[tuple[Labels, float]]:
    """`label_replace`: where the whole of the source label matches, the target label becomes the text with its `$1` filled in."""
    expression = re.compile(pattern, re.DOTALL)
    pairs = []
    for labels, value in vector.items():
        found = expression.fullmatch(get(labels, source))
        if found is None:
            pairs.append((labels, value))
            continue
        filled = _GROUP.sub(lambda group, found=found: _group(found, group[1] or group[2]), text)  # type: ignore[misc]
        pairs.append((freeze({**dict(labels), target: filled}), value))
    return pairs


def _group(found: re.Match[str], name: str) -> str:
    """A group by number or name; an unknown one is empty."""
    try:
        return found[int(name) if name.isdigit() else name] or ""
    except IndexError:
        return ""


def histogram_quantiles(quantile: float, vector: dict[Labels, float]) -> dict[Labels, float]:
    """`histogram_quantile` of classic histograms: elements without a readable `le` are left out."""
    histograms: dict[Labels, dict[float, float]] = {}
    for labels, count in vector.items():
        try:
            bound = float(get(labels, "le"))
        except ValueError:
            continue
        buckets = histograms.setdefault(drop(labels, NAME, "le"), {})
        buckets[bound] = buckets.get(bound, 0.0) + count
    return {labels: _quantile(quantile, sorted(buckets.items())) for labels, buckets in histograms.items()}


def _quantile(quantile: float, buckets: list[tuple[float, float]]) -> float:
    """`buckets` are (upper bound, cumulated count), ascending."""
    if math.isnan(quantile):
        return math.nan
    if quantile < 0 or quantile > 1:
        return math.copysign(math.inf, quantile - 0.5)
    if len(buckets) < 2 or not math.isinf(buckets[-1][0]):
        return math.nan
    counts: list[float] = []
    for _, count in buckets:  # scrapes are not atomic: counts may seem to fall
        counts.append(max(count, counts[-1]) if counts else count)
    if counts[-1] == 0 or math.isnan(counts[-1]):
        return math.nan
    rank = quantile * counts[-1]
    index = next((i for i, count in enumerate(counts[:-1]) if count >= rank), len(buckets) - 1)
    if index == len(buckets) - 1:
        return buckets[-2][0]
    upper = buckets[index][0]
    if index == 0:
        return upper if upper <= 0 else upper * (rank / counts[0])
    lower = buckets[index - 1][0]
    return lower + (upper - lower) * ((rank - counts[index - 1]) / (counts[index] - counts[index - 1]))
