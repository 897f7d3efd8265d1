"""At which interval a recording was sampled, and at which moment within it: found from the samples, never assumed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from handlers.backtest.recording import AlertSeen, Evidence, RolloutSeen, SampleSeen

GAPS_WANTED = 2000
"""Gaps between neighbouring samples of one series that are looked at: far more than one needs."""

GAPS_ENOUGH = 20
"""From which on nothing is read that comes after the first rollout or alert: no verdict may depend on what follows it."""

TOGETHER = 0.8
"""The share of samples taken at the same moment of the interval from which on they count as taken together."""

FALLBACK = timedelta(seconds=60)
"""Where nothing was sampled twice; then nothing is compared either."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Samples lie at `EPOCH + phase + n * step`, give or take half a step; `staggered` ones anywhere in the step before it."""

    step: timedelta
    phase: timedelta
    staggered: bool = False

    def index(self, at: datetime) -> int:
        """Which sample of the recording this moment belongs to."""
        exact = (at - EPOCH - self.phase) / self.step
        return math.ceil(exact) if self.staggered else round(exact)

    def moment(self, index: int) -> datetime:
        """When the sample of that index lies."""
        return EPOCH + self.phase + index * self.step


def find(evidence: Iterable[Evidence]) -> Sampling:
    """The commonest distance of neighbouring samples of one series, and the commonest place within it."""
    last: dict[tuple[str, str, str | None, str | None, str | None], datetime] = {}
    gaps: Counter[float] = Counter()
    moments: list[datetime] = []
    begun = False
    for record in evidence:
        begun = begun or isinstance(record, RolloutSeen | AlertSeen)
        if begun and gaps.total() >= GAPS_ENOUGH:
            break
        if not isinstance(record, SampleSeen):
            continue
        key = (record.signal, record.workload, record.pod, record.peer, record.direction)
        before = last.get(key)
        last[key] = record.at
        moments.append(record.at)
        if before is not None and record.at > before:
            gaps[round((record.at - before).total_seconds(), 1)] += 1
            if gaps.total() >= GAPS_WANTED:
                break
    if not gaps:
        return Sampling(step=FALLBACK, phase=timedelta(0))
    step = timedelta(seconds=max(1.0, round(gaps.most_common(1)[0][0])))
    offsets = Counter(round(((at - EPOCH) % step).total_seconds()) for at in moments)
    phase, times = offsets.most_common(1)[0]
    if times < TOGETHER * len(moments):
        return Sampling(step=step, phase=timedelta(0), staggered=True)
    return Sampling(step=step, phase=timedelta(seconds=phase))
