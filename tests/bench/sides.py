"""A recording as the baselines see it: each rollout with the signals of its new and its old pods, by sample.

New pods of a workload are those of the rollout's `revision`, old ones those of `replaces`. Where nothing tells pods apart, the
workload's own numbers since the rollout began stand for the new ones: before and after is what such a gate has to go by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean

from handlers.backtest import intervals
from handlers.backtest.recording import PodSeen, Recording, RolloutSeen, SampleSeen

WATCH = timedelta(minutes=30)
"""How long a gate looks at a rollout: Lastgood's blame window, and as long as canaries usually take."""

HISTORY_MAX, HISTORY_MIN = 30, 5
"""Samples from before a rollout that a method learns from; with fewer it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A signal of some pods together at one sample: mean by the requests behind it, equally where these are unknown."""

    at: datetime
    index: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A rollout from its beginning to `until` (WATCH later, or when the workload's next rollout begins).

    `new`, `old` and `before` hold points by signal in time order: since the rollout began of new and of old pods, and until then
    of the workload as it was.
    """

    workload: str
    revision: str
    started_at: datetime
    until: datetime
    new: dict[str, list[Point]]
    old: dict[str, list[Point]]
    before: dict[str, list[Point]]

    def history(self, signal: str) -> list[float] | None:
        """The last values from before the rollout, or None where they are too few to learn from."""
        values = [point.value for point in self.before.get(signal, ())][-HISTORY_MAX:]
        return values if len(values) >= HISTORY_MIN else None


@dataclass(frozen=True, slots=True)
class _Bucket:
    """The samples of one moment that are to be one point."""

    samples: list[SampleSeen] = field(default_factory=list)

    def point(self, index: int) -> Point:
        known = [(sample.value, sample.weight) for sample in self.samples if sample.value is not None]
        weights = [weight for _, weight in known if weight is not None]
        values = [value for value, _ in known]
        if len(weights) == len(known) and sum(weights) > 0:
            mean = sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
        else:
            mean = fmean(values)
        return Point(at=max(sample.at for sample in self.samples), index=index, value=mean)


def watched(recording: Recording) -> tuple[Watched, ...]:
    """Every rollout of the recording with what its gate would have seen."""
    sampling = intervals.find(recording.evidence)
    rollouts = [each for each in recording.evidence if isinstance(each, RolloutSeen) and each.phase == "started"]
    samples = _by_workload(recording)
    found = []
    for rollout in rollouts:
        later = [one.at for one in rollouts if one.workload == rollout.workload and one.at > rollout.at]
        until = min([rollout.at + WATCH, *later])
        found.append(_split(rollout, until, samples[rollout.workload], sampling))
    return tuple(found)


def _by_workload(recording: Recording) -> dict[str, list[tuple[SampleSeen, str | None]]]:
    """The workloads' own samples, each with the revision that its pod then had: a StatefulSet's pod keeps its name.

    A pod of which the first record comes after the first samples is taken as of that first record.
    """
    pods = [each for each in recording.evidence if isinstance(each, PodSeen)]
    revisions = {(each.workload, each.pod): each.revision for each in reversed(pods)}
    found: dict[str, list[tuple[SampleSeen, str | None]]] = defaultdict(list)
    for each in recording.evidence:
        if isinstance(each, PodSeen):
            revisions[each.workload, each.pod] = each.revision
        elif isinstance(each, SampleSeen) and each.value is not None and each.direction != "outbound":
            found[each.workload].append((each, revisions.get((each.workload, each.pod or ""))))
    return found


def _split(
    rollout: RolloutSeen,
    until: datetime,
    samples: Sequence[tuple[SampleSeen, str | None]],
    sampling: intervals.Sampling,
) -> Watched:
    by_pod = any(sample.pod is not None for sample, _ in samples)
    sides: dict[str, list[SampleSeen]] = {"new": [], "old": [], "before": []}
    for sample, revision in samples:
        if (sample.pod is None) == by_pod or sample.at > until:
            continue
        if sample.at <= rollout.at:
            sides["before"].append(sample)
        elif not by_pod or revision == rollout.revision:
            sides["new"].append(sample)
        elif revision is not None and rollout.replaces in {None, revision}:
            sides["old"].append(sample)
    points = {side: _points(each, sampling) for side, each in sides.items()}
    return Watched(
        workload=rollout.workload,
        revision=rollout.revision,
        started_at=rollout.at,
        until=until,
        new=points["new"],
        old=points["old"],
        before=points["before"],
    )


def _points(samples: Iterable[SampleSeen], sampling: intervals.Sampling) -> dict[str, list[Point]]:
    buckets: dict[str, dict[int, _Bucket]] = defaultdict(lambda: defaultdict(_Bucket))
    for sample in samples:
        buckets[sample.signal][sampling.index(sample.at)].samples.append(sample)
    return {
        signal: [bucket.point(index) for index, bucket in sorted(by_index.items())]
        for signal, by_index in buckets.items()
    }
