"""The samples of a recording, by workload, moment and pod; and what they amount to for a group of pods.

Ratios and latencies of several pods are averaged by the requests behind them (equally where these are unknown), traffic is added
up, CPU and memory are those of the pod that is worst off. What a workload sees of those that it calls (`outbound`) is a signal of
its own: a new revision with a wrong address fails only there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
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


@dataclass(slots=True)
class _Moment:
    """All values of one workload at one moment: by pod (None: the workload as a whole), then by signal."""

    pods: dict[str | None, dict[str, list[_Value]]] = field(default_factory=dict)


class SampleStore:
    """Fed in time order; answers for any span of the past."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._by_workload: dict[str, dict[int, _Moment]] = defaultdict(dict)
        self._past: dict[tuple[str, str], dict[int, Sample | None]] = defaultdict(dict)
        self._present = 0

    def add(self, sample: SampleSeen) -> None:
        """Keep it; a null value is no value."""
        if sample.value is None or sample.signal not in KINDS:
            return
        name = sample.signal
        if sample.direction == "outbound":
            if KINDS[name] not in _OUTBOUND_KINDS:
                return
            name += OUTBOUND
        elif sample.peer is not None:
            name += INBOUND
        index = self._sampling.index(sample.at)
        self._present = max(self._present, index)
        moment = self._by_workload[sample.workload].setdefault(index, _Moment())
        moment.pods.setdefault(sample.pod, {}).setdefault(name, []).append(_Value(sample.value, sample.weight))

    def whole(self, workload: str, first: datetime, last: datetime) -> tuple[Sample, ...]:
        """The workload whatever its pods: its own totals where it has them, else all its pods together."""
        found = []
        for index in self._span(workload, first, last):
            pods = self._by_workload[workload][index].pods
            chosen: Iterable[dict[str, list[_Value]]] = [pods[None]] if None in pods else pods.values()
            found.append(self._sample(index, list(chosen)))
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
        found, past = [], self._past[workload, group]
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
            for pod, values in self._by_workload[workload][index].pods.items()
            if pod is not None and wanted(pod, at)
        ]
        return self._sample(index, pods) if pods else None

    def _span(self, workload: str, first: datetime, last: datetime) -> Sequence[int]:
        moments = self._by_workload.get(workload, {})
        low, high = self._sampling.index(first), self._sampling.index(last)
        return [index for index in range(low, high + 1) if index in moments]

    def _sample(self, index: int, pods: Sequence[dict[str, list[_Value]]]) -> Sample:
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


def _by_signal(values: dict[str, list[_Value]]) -> dict[str, _Value]:
    found: dict[str, _Value] = {}
    for name, several in values.items():
        signal = name.removesuffix(INBOUND)
        if signal != name and signal in values:
            continue
        weights = [each.weight for each in several if each.weight is not None]
        weight = sum(weights) if len(weights) == len(several) else None
        found[signal] = _Value(_together(signal, several), weight) if len(several) > 1 else several[0]
    return found


def _cold(values: dict[str, list[_Value]]) -> dict[str, list[_Value]]:
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
