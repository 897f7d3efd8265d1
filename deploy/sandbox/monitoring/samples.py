"""Samples in memory: a bounded number of series, each with a bounded history.

A sample is (milliseconds since the epoch, value); the value None is a stale marker: the series ended there. Kept for as
long as `retention_seconds`; the sandbox's worlds live for minutes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from deploy.sandbox.monitoring.labels import NAME, Labels, Matcher, get

SERIES_MAX = 20_000
"""Per store; a sandbox world has some hundred. More is a label that grows without end, and is refused."""

LOOKBACK_MS = 300_000
"""How old the newest sample may be to count as current (Prometheus' default `--query.lookback-delta`, 5 min)."""

Sample = tuple[int, float]


class TooManySeriesError(RuntimeError):
    """The store is full; the sample was not kept."""


@dataclass(slots=True, eq=False)
class Series:
    """One series: times in milliseconds, ascending, and the values at these times (None = stale)."""

    labels: Labels
    times: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def at(self, time_ms: int) -> float | None:
        """The newest value at or before `time_ms` within the look-back, None where there is none or it is stale."""
        index = bisect_right(self.times, time_ms) - 1
        if index < 0 or self.times[index] <= time_ms - LOOKBACK_MS:
            return None
        return self.values[index]

    def between(self, after_ms: int, until_ms: int) -> list[Sample]:
        """Samples in (after, until], without stale markers."""
        first, last = bisect_right(self.times, after_ms), bisect_right(self.times, until_ms)
        pairs = zip(self.times[first:last], self.values[first:last], strict=True)
        return [(time, value) for time, value in pairs if value is not None]


class SampleStore:
    """All series, found by name."""

    def __init__(self, *, retention_seconds: float = 3600.0, series_max: int = SERIES_MAX) -> None:
        self._retention_ms = int(retention_seconds * 1000)
        self._series_max = series_max
        self._series: dict[Labels, Series] = {}
        self._by_name: dict[str, list[Series]] = {}

    def append(self, labels: Labels, time_ms: int, value: float | None) -> None:
        """Keep one sample. One that is not newer than the series' newest is dropped, as Prometheus does."""
        series = self._series.get(labels)
        if series is None:
            if len(self._series) >= self._series_max:
                raise TooManySeriesError(
                    f"more than {self._series_max} series; drop a label that takes ever new values"
                )
            series = self._series[labels] = Series(labels)
            self._by_name.setdefault(get(labels, NAME), []).append(series)
        if series.times and time_ms <= series.times[-1]:
            return
        series.times.append(time_ms)
        series.values.append(value)
        if series.times[0] < time_ms - 2 * self._retention_ms:  # trimmed in batches: each trim copies the list
            cut = bisect_right(series.times, time_ms - self._retention_ms)
            del series.times[:cut], series.values[:cut]

    def end(self, labels: Iterable[Labels], time_ms: int) -> None:
        """Mark series as ended at this time."""
        for each in labels:
            self.append(each, time_ms, None)

    def select(self, matchers: Sequence[Matcher]) -> Iterator[Series]:
        """All series that every matcher lets through, `__name__` being a label like any other."""
        exact = next((each.value for each in matchers if each.name == NAME and each.op == "="), None)
        pool = self._series.values() if exact is None else self._by_name.get(exact, ())
        for series in pool:
            if all(matcher.matches(get(series.labels, matcher.name)) for matcher in matchers):
                yield series

    def forget(self, before_ms: int) -> None:
        """Drop series whose newest sample is older than this."""
        for labels in [key for key, series in self._series.items() if series.times[-1] < before_ms]:
            series = self._series.pop(labels)
            self._by_name[get(labels, NAME)].remove(series)

    def __len__(self) -> int:
        return len(self._series)
