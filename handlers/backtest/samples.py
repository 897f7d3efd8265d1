"""The samples of a recording, by workload, moment and pod; and what they amount to for a group of pods.

Ratios and latencies of several pods are averaged by the requests behind them (equally where these are unknown), traffic is added
up, CPU and memory are those of the pod that is worst off. What a workload sees of those that it calls (`outbound`) is a signal of
its own: a new revision with a wrong address fails only there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean

from daemon.core.measurement import Sample
from daemon.core.policy import SignalKind, SignalRule
from handlers.backtest.intervals import Sampling
from handlers.backtest.recording import SampleSeen

OUTBOUND = "_outbound"
INBOUND = "_inbound"
"""Of one edge; counts where the pod has no number of all its traffic."""
KINDS = {
    "traffic_rate": SignalKind.TRAFFIC,
    "error_ratio": SignalKind.ERROR_RATIO,
    "latency_seconds": SignalKind.LATENCY,
    "cpu_ratio": SignalKind.CPU,
    "memory_ratio": SignalKind.MEMORY,
}
"""The signals that the format names. Others are kept for the page, and judge nothing."""

_OUTBOUND_KINDS = (SignalKind.ERROR_RATIO, SignalKind.LATENCY)

RULES = (
    *(SignalRule(name=name, kind=kind, query="") for name, kind in KINDS.items()),
    *(
        SignalRule(name=f"{name}{OUTBOUND}", kind=kind, query="")
        for name, kind in KINDS.items()
        if kind in _OUTBOUND_KINDS
    ),
)
"""What a recording is judged by."""


@dataclass(slots=True)
class _Value:
    value: float
    weight: float | None


Values = dict[str, list[_Value]]
"""All values of one pod at one moment, by signal."""

FORGOTTEN_AFTER = timedelta(hours=30)
"""Without a question for its group, what a moment amounted to is forgotten after that: all but a daily look come sooner."""


@dataclass(slots=True)
class _Series:
    """The samples of one workload: the moments that have any, in order, and which they are."""

    moments: list[int] = field(default_factory=list)
    samples: dict[int, list[SampleSeen]] = field(default_factory=dict)

    def add(self, index: int, sample: SampleSeen) -> None:
        known = self.samples.get(index)
        if known is not None:
            known.append(sample)
            return
        self.samples[index] = [sample]
        insort(self.moments, index)

    def between(self, low: int, high: int) -> Sequence[int]:
        """The moments that have samples."""
        return self.moments[bisect_left(self.moments, low) : bisect_right(self.moments, high)]

    def pods(self, index: int) -> dict[str | None, Values]:
        """What there is of one moment: by pod (None: the workload as a whole), then by signal."""
        found: dict[str | None, Values] = {}
        for sample in self.samples[index]:
            if (name := _named(sample)) is not None and sample.value is not None:
                values = found.setdefault(sample.pod, {})
                values.setdefault(name, []).append(_Value(sample.value, sample.weight))
        return found

    def calls(self, index: int, peer: str, direction: str) -> dict[str | None, Values]:
        """Of one moment: what each pod tells of its calls to or from the peer, by the signals' own names."""
        found: dict[str | None, Values] = {}
        for sample in self.samples[index]:
            if sample.peer == peer and sample.direction == direction and sample.value is not None:
                values = found.setdefault(sample.pod, {})
                values.setdefault(sample.signal, []).append(_Value(sample.value, sample.weight))
        return found


@dataclass(slots=True)
class _Group:
    """What the past moments of some pods amounted to, and at which moment somebody asked last."""

    asked: int = 0
    known: dict[int, Sample | None] = field(default_factory=dict)


class SampleStore:
    """Fed in time order; answers for any span of the past."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._by_workload: dict[str, _Series] = defaultdict(_Series)
        self._groups: dict[tuple[str, str], _Group] = defaultdict(_Group)
        self._present = self._swept = 0
        self._latest: tuple[datetime, int] | None = None

    def add(self, sample: SampleSeen) -> None:
        """Keep it; a null value is no value."""
        if sample.value is None or sample.signal not in KINDS:
            return
        index = self._index(sample.at)
        if index > self._present:
            self._present = index
            self._forget()
        self._by_workload[sample.workload].add(index, sample)

    def _index(self, at: datetime) -> int:
        """Many samples are of one moment."""
        if self._latest is None or self._latest[0] != at:
            self._latest = (at, self._sampling.index(at))
        return self._latest[1]

    def _forget(self) -> None:
        """A month of large samples is more than memory should hold; they are made anew from what was recorded."""
        after = int(FORGOTTEN_AFTER / self._sampling.step)
        if self._present - self._swept >= after:
            self._swept = self._present
            self._groups = defaultdict(
                _Group, {key: group for key, group in self._groups.items() if self._present - group.asked < after}
            )

    def whole(
        self, workload: str, first: datetime, last: datetime, wanted: Callable[[str], bool] = lambda pod: True
    ) -> tuple[Sample, ...]:
        """The workload, its pods that are `wanted` together; its own totals where it has them and all are wanted."""
        found = []
        for index in self._span(workload, first, last):
            pods = self._by_workload[workload].pods(index)
            all_of_them = all(pod is None or wanted(pod) for pod in pods)
            if None in pods and all_of_them:
                found.append(self._sample(index, [pods[None]]))
            elif chosen := [values for pod, values in pods.items() if pod is not None and wanted(pod)]:
                found.append(self._sample(index, chosen))
        return tuple(found)

    def calls(
        self,
        workload: str,
        peer: str,
        direction: str,
        first: datetime,
        last: datetime,
        wanted: Callable[[str], bool] = lambda pod: True,
    ) -> tuple[Sample, ...]:
        """What the `wanted` pods of a workload tell of their calls to a peer (outbound) or from it (inbound), together."""
        found = []
        for index in self._span(workload, first, last):
            pods = self._by_workload[workload].calls(index, peer, direction)
            if chosen := [values for pod, values in pods.items() if pod is None or wanted(pod)]:
                found.append(self._sample(index, chosen))
        return tuple(found)

    def of(
        self,
        workload: str,
        group: str,
        wanted: Callable[[str, datetime], bool],
        first: datetime,
        last: datetime,
        *,
        warm: Callable[[str, datetime], bool] = lambda pod, at: True,
    ) -> tuple[Sample, ...]:
        """The pods of a `group` (those that are `wanted`, by name and moment) together, where any of them has a value.

        Of a pod that is not yet `warm` only the traffic counts. What a moment that is past amounted to is remembered: a rollout
        is looked at again with each sample.
        """
        found, remembered = [], self._groups[workload, group]
        remembered.asked, past = self._present, remembered.known
        for index in self._span(workload, first, last):
            if index not in past:
                sample = self._of_group(workload, index, wanted, warm)
                if index < self._present:
                    past[index] = sample
            else:
                sample = past[index]
            if sample is not None:
                found.append(sample)
        return tuple(found)

    def _of_group(
        self, workload: str, index: int, wanted: Callable[[str, datetime], bool], warm: Callable[[str, datetime], bool]
    ) -> Sample | None:
        at = self._sampling.moment(index)
        pods = [
            values if warm(pod, at) else _cold(values)
            for pod, values in self._by_workload[workload].pods(index).items()
            if pod is not None and wanted(pod, at)
        ]
        return self._sample(index, pods) if pods else None

    def _span(self, workload: str, first: datetime, last: datetime) -> Sequence[int]:
        series = self._by_workload.get(workload)
        if series is None:
            return ()
        return series.between(self._sampling.index(first), self._sampling.index(last))

    def _sample(self, index: int, pods: Sequence[Values]) -> Sample:
        """One number of each pod and signal first, then one of all pods."""
        single = [_by_signal(values) for values in pods]
        names = sorted({name for values in single for name in values})
        joined = {name: [values[name] for values in single if name in values] for name in names}
        values = {name: _together(name, each) for name, each in joined.items()}
        if "traffic_rate" not in values and (requests := _requests(joined)) is not None:
            values["traffic_rate"] = requests / self._sampling.step.total_seconds()
        return Sample(
            at=self._sampling.moment(index),
            values=tuple(values.items()),
            pods=len(pods),
            each=tuple((name, tuple(one.value for one in found)) for name, found in joined.items() if len(found) > 1),
        )


def _named(sample: SampleSeen) -> str | None:
    """The signal's name in here; None for one that judges nothing."""
    name = sample.signal
    if name not in KINDS:
        return None
    if sample.direction == "outbound":
        return f"{name}{OUTBOUND}" if KINDS[name] in _OUTBOUND_KINDS else None
    return name if sample.peer is None else f"{name}{INBOUND}"


def _by_signal(values: Values) -> dict[str, _Value]:
    found: dict[str, _Value] = {}
    for name, several in values.items():
        signal = name.removesuffix(INBOUND)
        if signal != name and signal in values:
            continue
        weights = [each.weight for each in several if each.weight is not None]
        weight = sum(weights) if len(weights) == len(several) else None
        found[signal] = _Value(_together(signal, several), weight) if len(several) > 1 else several[0]
    return found


def _cold(values: Values) -> Values:
    return {name: each for name, each in values.items() if name.removesuffix(INBOUND) == "traffic_rate"}


def _requests(joined: Mapping[str, Sequence[_Value]]) -> float | None:
    """How many requests the ratios and latencies of one moment stand for, as far as they tell."""
    for name in ("error_ratio", "latency_seconds"):
        weights = [each.weight for each in joined.get(name, ()) if each.weight is not None]
        if weights:
            return sum(weights)
    return None


def _together(name: str, values: Sequence[_Value]) -> float:
    kind = KINDS[name.removesuffix(OUTBOUND)]
    if kind is SignalKind.TRAFFIC:
        return sum(each.value for each in values)
    if kind in (SignalKind.CPU, SignalKind.MEMORY):
        return max(each.value for each in values)
    weights = [each.weight for each in values]
    known = [weight for weight in weights if weight is not None]
    if len(known) == len(weights) and sum(known) > 0:
        return sum(each.value * weight for each, weight in zip(values, known, strict=True)) / sum(known)
    return fmean(each.value for each in values)
