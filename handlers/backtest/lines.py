"""What a plot of one verdict shows: both revisions' signals around it, the rollout, and the alerts; cut to a bounded size."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import fmean, median

from handlers.backtest.recording import AlertSeen, PodSeen, Recording, RolloutSeen, SampleSeen
from handlers.backtest.verdicts import Told

POINTS_MAX = 120
"""Points of one line: more than a plot has room for. Beyond it the highest and lowest of each stretch are kept."""

GAP = 3
"""Samples that must be missing for a line to end there: one that came late is no hole."""

PARTS_MAX = 40
"""Parts of one line, the latest: a signal that comes and goes all the time."""

SIGNALS_MAX = 8
"""Panels of one plot: the format names five signals, three of them also for what the workload calls."""

ALERTS_MAX = 12
"""Alert spans in one plot: with more nobody tells one from another."""

MARKS_MAX = 12
"""Moments of rollouts in one plot, the latest: a canary has some ten stages."""

BEFORE = timedelta(minutes=15)
AFTER = timedelta(minutes=30)
LOOK_BACK_MAX = timedelta(hours=3)
"""How far before the verdict a plot begins at most: blame ends two hours after a rollout began (TOO_OLD)."""

NEW, OLD, WHOLE = "new", "old", "whole"
_FIRST = ("error_ratio", "latency_seconds", "traffic_rate", "cpu_ratio", "memory_ratio")

Points = tuple[tuple[datetime, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One signal of one side: the new revision's pods, the old one's, or the workload whatever its pods.

    In parts: where nothing was measured in between, nothing is drawn.
    """

    side: str
    parts: tuple[Points, ...]

    @property
    def points(self) -> Points:
        """All of them."""
        return tuple(point for part in self.parts for point in part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """All lines of one signal."""

    signal: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSpan:
    """From when to when an alert fired, as far as the plot reaches."""

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that one plot shows; times within `start`..`end`."""

    start: datetime
    end: datetime
    panels: tuple[Panel, ...]
    marks: tuple[RolloutSeen, ...]
    alerts: tuple[AlertSpan, ...]
    alerts_left_out: int = 0


class Lines:
    """A recording by workload, made once for all its verdicts."""

    def __init__(self, recording: Recording) -> None:
        self._samples: dict[str, list[SampleSeen]] = defaultdict(list)
        self._rollouts: dict[str, list[RolloutSeen]] = defaultdict(list)
        self._ran: dict[tuple[str, str], list[tuple[datetime, str]]] = defaultdict(list)
        self._alerts: list[tuple[AlertSeen, datetime | None]] = []
        firing: dict[tuple[tuple[str, str], ...], int] = {}
        for record in recording.evidence:
            match record:
                case SampleSeen(value=float()):
                    self._samples[record.workload].append(record)
                case RolloutSeen():
                    self._rollouts[record.workload].append(record)
                case PodSeen():
                    self._pod(record)
                case AlertSeen():
                    self._alert(record, firing)
                case _:
                    pass

    def _pod(self, record: PodSeen) -> None:
        ran = self._ran[record.workload, record.pod]
        if not ran or ran[-1][1] != record.revision:
            ran.append((record.at, record.revision))

    def _alert(self, record: AlertSeen, firing: dict[tuple[tuple[str, str], ...], int]) -> None:
        key = tuple(sorted(record.labels.items()))
        if record.status == "firing":
            if key not in firing:
                firing[key] = len(self._alerts)
                self._alerts.append((record, None))
        elif key in firing:
            place = firing.pop(key)
            self._alerts[place] = (self._alerts[place][0], record.at)

    def picture(self, told: Told) -> Picture:
        """What is to be seen around this verdict."""
        known = [each for each in (told.at, told.onset, told.rollout_at) if each is not None]
        start = max(min(known) - BEFORE, told.at - LOOK_BACK_MAX)
        end = told.at + AFTER
        alerts = self._alerts_in(told, start, end)
        return Picture(
            start=start,
            end=end,
            panels=self._panels(told, start, end),
            marks=self._marks(told, start, end),
            alerts=tuple(alerts[:ALERTS_MAX]),
            alerts_left_out=max(0, len(alerts) - ALERTS_MAX),
        )

    def _marks(self, told: Told, start: datetime, end: datetime) -> tuple[RolloutSeen, ...]:
        if told.workload is None:
            return ()
        return tuple(each for each in self._rollouts.get(told.workload, ()) if start <= each.at <= end)[-MARKS_MAX:]

    def _alerts_in(self, told: Told, start: datetime, end: datetime) -> list[AlertSpan]:
        """Those of its namespace and of none, the ones that name the workload first."""
        namespace, _, name = (told.workload or "//").split("/", 2)
        found: list[tuple[bool, AlertSpan]] = []
        for alert, until in self._alerts:
            if alert.at > end or (until is not None and until < start):
                continue
            if told.workload is not None and alert.labels.get("namespace", namespace) != namespace:
                continue
            shown = AlertSpan(
                name=alert.labels.get("alertname", "alert"), start=max(alert.at, start), end=min(until or end, end)
            )
            found.append((name not in alert.labels.values(), shown))
        return [span for _, span in sorted(found, key=lambda each: (each[0], each[1].start))]

    def _panels(self, told: Told, start: datetime, end: datetime) -> tuple[Panel, ...]:
        samples = self._samples.get(told.workload or "", [])
        first = bisect_left(samples, start, key=lambda each: each.at)
        last = bisect_right(samples, end, key=lambda each: each.at)
        by_signal: dict[str, dict[str, dict[datetime, list[SampleSeen]]]] = {}
        for sample in samples[first:last]:
            if (side := self._side(told, sample)) is not None:
                name = f"{sample.signal} (outbound)" if sample.direction == "outbound" else sample.signal
                moments = by_signal.setdefault(name, {}).setdefault(side, {})
                moments.setdefault(sample.at, []).append(sample)
        names = sorted(by_signal, key=_rank)[:SIGNALS_MAX]
        return tuple(Panel(signal=name, lines=_lines(by_signal[name])) for name in names)

    def _side(self, told: Told, sample: SampleSeen) -> str | None:
        """Whose sample it is; None for a revision that this verdict is not about."""
        if sample.pod is None or told.revision is None:
            return WHOLE
        ran = self._ran.get((sample.workload, sample.pod))
        if ran is None:
            return WHOLE
        # What is known of a pod later counts for before, too: its first record may come after its first sample.
        place = max(0, bisect_right(ran, sample.at, key=lambda each: each[0]) - 1)
        return {told.revision: NEW, told.replaces: OLD}.get(ran[place][1])


def _rank(name: str) -> tuple[int, str]:
    plain = name.removesuffix(" (outbound)")
    return (_FIRST.index(plain) if plain in _FIRST else len(_FIRST), name)


def _lines(sides: Mapping[str, Mapping[datetime, Sequence[SampleSeen]]]) -> tuple[Line, ...]:
    return tuple(
        Line(side=side, parts=_parts([(at, _together(each)) for at, each in sorted(sides[side].items())]))
        for side in (OLD, NEW, WHOLE)
        if side in sides
    )


def _parts(points: Sequence[tuple[datetime, float]]) -> tuple[Points, ...]:
    """The points, apart where GAP samples or more are missing; each part has its share of POINTS_MAX."""
    gaps = [(after[0] - before[0]).total_seconds() for before, after in pairwise(points)]
    if not gaps:
        return (tuple(points),)
    widest = GAP * median(gaps)
    bounds = [0, *(place for place, gap in enumerate(gaps, start=1) if gap > widest), len(points)]
    parts = [points[first:last] for first, last in pairwise(bounds)]
    return tuple(thinned(part, max(2, POINTS_MAX * len(part) // len(points))) for part in parts[-PARTS_MAX:])


def _together(samples: Sequence[SampleSeen]) -> float:
    """Several pods at one moment: traffic is added up, saturation is the worst, the rest is averaged by its requests."""
    values = [each.value for each in samples if each.value is not None]
    if samples[0].signal == "traffic_rate":
        return sum(values)
    if samples[0].signal in ("cpu_ratio", "memory_ratio"):
        return max(values)
    weights = [each.weight for each in samples if each.weight is not None]
    if len(weights) == len(values) and sum(weights) > 0:
        return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
    return fmean(values)


def thinned(points: Iterable[tuple[datetime, float]], most: int = POINTS_MAX) -> Points:
    """At most `most` points: of each stretch of time the lowest and the highest, so that no spike is lost."""
    found = list(points)
    if len(found) <= most:
        return tuple(found)
    kept: list[tuple[datetime, float]] = []
    size = -(-len(found) // (most // 2))
    for begin in range(0, len(found), size):
        stretch = found[begin : begin + size]
        ends = {min(stretch, key=lambda each: each[1]), max(stretch, key=lambda each: each[1])}
        kept += sorted(ends)
    return tuple(kept)
