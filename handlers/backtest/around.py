"""What those who call a workload directly have to say of it, and those whom it calls: how much is asked, how much of it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from daemon.core import silence
from daemon.core.measurement import BEFORE_SAMPLES, FanOut, Peer, Sample
from daemon.core.model import Workload
from daemon.core.policy import Policy
from daemon.core.signals import typical
from handlers.backtest.cluster import RecordedCluster
from handlers.backtest.samples import SampleStore

TRAFFIC, ERRORS = "traffic_rate", "error_ratio"

Span = tuple[datetime, datetime]
Read = Callable[[Span, Callable[[str], bool]], Sequence[Sample]]
"""(from, to), which pods -> their samples."""


class Around:
    """Reads it out of a recording."""

    def __init__(self, samples: SampleStore, cluster: RecordedCluster, policy: Policy) -> None:
        self._samples = samples
        self._cluster = cluster
        self._policy = policy

    def callers(
        self, callee: str, callers: Sequence[Workload], began: datetime, turns: Sequence[datetime], now: datetime
    ) -> tuple[Peer, ...]:
        """Each before the rollout that `began`, and in the latest samples.

        Of their calls to it where the recording has these, for a caller has others to call; else of all that they do. What fails
        is told by the pods that they had before, where they are rolled out themselves: their new ones may fail by their own
        doing. What is asked is told by all pods, and only of the calls to it. `turns`: from when on they fail, if so.
        """
        spans = [*self._spans(began, now)]
        few = (silence.SILENT_SAMPLES - 1) * self._policy.sample_interval
        for moment in turns:
            since = moment + self._policy.signal_window
            spans += [(moment - few - self._policy.signal_window / 2, moment), (since, since + few)]
        return tuple(self._caller(callee, caller, spans) for caller in callers[: silence.CALLERS_MAX])

    def callees(self, caller: str, callees: Sequence[Workload], began: datetime, now: datetime) -> tuple[Peer, ...]:
        """What reaches each of them from the caller, as they tell: its pods that are not heard are heard there."""
        spans = self._spans(began, now)
        found = []
        for callee in callees[: silence.CALLERS_MAX]:
            asked = [typical(self._samples.calls(callee.key, caller, "inbound", *span)) for span in spans]
            found.append(Peer(workload=callee, before=asked[0], now=asked[1]))
        return tuple(found)

    def fan_outs(
        self, workload: Workload, callees: Sequence[Workload], began: datetime, now: datetime
    ) -> Iterator[FanOut]:
        """How often it asks each of these per request of its own, before the rollout that `began` and in the latest samples."""
        step = self._policy.sample_interval
        spans = (began - BEFORE_SAMPLES * step, began - step), (max(began, now - 4 * step), now)
        served = [_rates(self._samples.whole(workload.key, *span)) for span in spans]
        for callee in callees:
            before, late = (
                tuple(self._asked(workload.key, callee.key, span, own)) for span, own in zip(spans, served, strict=True)
            )
            if before and late:
                yield FanOut(workload=workload, callee=callee, before=before, now=late)

    def _asked(self, caller: str, callee: str, span: Span, served: Mapping[datetime, float]) -> Iterator[float]:
        """Calls per request, by what the caller tells of its calls; else by what the callee does.

        Without those that failed: they are tried again, and that is the callee's doing.
        """
        asked = _answered(self._samples.calls(caller, callee, "outbound", *span)) or _answered(
            self._samples.calls(callee, caller, "inbound", *span)
        )
        return (rate / served[at] for at, rate in asked.items() if served.get(at))

    def _spans(self, began: datetime, now: datetime) -> tuple[Span, Span]:
        step = self._policy.sample_interval
        return (began - BEFORE_SAMPLES * step, began - step), (now - (silence.SILENT_SAMPLES - 1) * step, now)

    def _caller(self, callee: str, caller: Workload, spans: Sequence[Span]) -> Peer:
        lately, life = spans[1][1] - self._policy.blame_window, self._cluster.life(caller.key)

        def kept(pod: str) -> bool:
            return life.kept(pod, lately)

        def calls(span: Span, wanted: Callable[[str], bool]) -> Sequence[Sample]:
            return self._samples.calls(caller.key, callee, "outbound", *span, wanted)

        def everything(span: Span, wanted: Callable[[str], bool]) -> Sequence[Sample]:
            return self._samples.whole(caller.key, *span, wanted)

        asked = [typical(calls(span, lambda pod: True)) for span in spans[:2]]
        apart = None not in asked
        read: Read = calls if apart else everything
        before, latest, *since = [typical(read(span, kept)) for span in spans]
        changes = life.rolled_out_since(lately)
        if apart or changes:
            before, latest = (
                _with_traffic(sample, of if apart else None) for sample, of in zip((before, latest), asked, strict=True)
            )
        return Peer(workload=caller, before=before, now=latest, since=_change(since), kept=changes)


def _rates(samples: Iterable[Sample]) -> dict[datetime, float]:
    return {sample.at: rate for sample in samples if (rate := sample.value(TRAFFIC)) is not None}


def _answered(samples: Iterable[Sample]) -> dict[datetime, float]:
    """Requests/s that did not fail, as far as is known."""
    return {
        sample.at: rate * (1.0 - (sample.value(ERRORS) or 0.0))
        for sample in samples
        if (rate := sample.value(TRAFFIC)) is not None
    }


def _change(samples: Sequence[Sample | None]) -> tuple[Sample, Sample] | None:
    """Of pairs, the last moments before a turn and the first ones after it, the one in which errors grew most."""
    pairs = zip(samples[::2], samples[1::2], strict=True)
    known = [(until, first) for until, first in pairs if until is not None and first is not None]
    return max(known, key=lambda pair: _errors(pair[1]) - _errors(pair[0]), default=None)


def _errors(sample: Sample) -> float:
    return max((value for name, value in sample.values if name.startswith("error_ratio")), default=0.0)


def _with_traffic(sample: Sample | None, of: Sample | None) -> Sample | None:
    """The sample with the other's traffic, or with none; the other's alone where there is no sample."""
    rate = of.value(TRAFFIC) if of is not None else None
    told = sample or (replace(of, values=()) if of is not None else None)
    if told is None:
        return None
    others = tuple(pair for pair in told.values if pair[0] != TRAFFIC)
    return replace(told, values=others if rate is None else (*others, (TRAFFIC, rate)))
