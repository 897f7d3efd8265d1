"""Samples of groups of pods: the policy's signals over a range, joined by moment.

Where names are given again, a group is other pods at other times: one query per span in which it stays the same. Where a
signal can come from several metrics, all groups are read by the same one (handlers.signal_sources).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.core.measurement import Sample
from daemon.core.policy import Policy, SignalRule
from handlers import signal_sources
from handlers.faults import Fault, FaultKind, Permanent
from handlers.pod_groups import PodGroup
from handlers.prometheus import PEER, Matrix, PrometheusClient, render

SAMPLES_MAX = 240
"""Samples per signal of one measurement: two hours at the default interval. They are journalled with the verdict."""

SOAK_SAMPLES_MAX = 2_000
"""Samples per signal of one soak: a day at 44 s. Only their sums are kept."""

QUERIES_AT_ONCE = 8
"""Queries of all measurements together that are out at the same time: Prometheus is shared with dashboards and rules."""

Points = Sequence[tuple[datetime, float]]
Sources = Mapping[str, Points]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """Samples of several groups at the same moments, in the order of the groups, and why signals are missing."""

    groups: tuple[tuple[Sample, ...], ...]
    faults: tuple[Fault, ...] = ()


class Sampler:
    """Reads the signals that the present policy names: one query per signal and group, of stints one per span."""

    def __init__(self, prometheus: PrometheusClient, policy: Callable[[], Policy]) -> None:
        self._prometheus = prometheus
        self._policy = policy
        self._slots = asyncio.Semaphore(QUERIES_AT_ONCE)

    @property
    def policy(self) -> Policy:
        """The policy in force now."""
        return self._policy()

    def step_for(self, span: timedelta, samples_max: int = SAMPLES_MAX) -> timedelta:
        """Whole seconds between samples: the policy's interval, or more where the span would give too many."""
        wanted = max(self.policy.sample_interval.total_seconds(), span.total_seconds() / samples_max)
        return timedelta(seconds=max(1, math.ceil(wanted)))

    def settled(self, now: datetime) -> datetime:
        """Up to when Prometheus can be expected to know everything."""
        return now - self.policy.settling

    async def samples(
        self,
        group: PodGroup,
        start: datetime,
        end: datetime,
        step: timedelta,
        rules: Iterable[SignalRule] | None = None,
    ) -> tuple[Sample, ...]:
        """One Sample per moment at which any signal had data, oldest first.

        Raises Transient or Permanent where any signal cannot be read: the others must not pass for the whole.
        """
        aligned = await self.aligned((group,), start, end, step, rules)
        if aligned.faults:
            raise aligned.faults[0]
        return aligned.groups[0]

    async def aligned(
        self,
        groups: Sequence[PodGroup],
        start: datetime,
        end: datetime,
        step: timedelta,
        rules: Iterable[SignalRule] | None = None,
    ) -> Aligned:
        """Samples of each group at the same moments. A signal that cannot be read of one group is left out of all:
        a comparison must never rest on one side alone.
        """
        wanted = tuple(self.policy.signals if rules is None else rules)
        read = await asyncio.gather(*(self._signal(rule, groups, start, end, step) for rule in wanted))
        found: list[dict[datetime, list[tuple[str, float]]]] = [{} for _ in groups]
        for rule, answer in zip(wanted, read, strict=True):
            if isinstance(answer, Fault):
                continue
            for moments, points in zip(found, answer, strict=True):
                for at, value in points:
                    moments.setdefault(at, []).append((rule.name, value))
        return Aligned(
            groups=tuple(
                tuple(Sample(at=at, values=tuple(values)) for at, values in sorted(moments.items()))
                for moments in found
            ),
            faults=tuple(answer for answer in read if isinstance(answer, Fault)),
        )

    async def matrix(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        """A query of another kind, that waits for its turn with all others. Raises Transient and Permanent."""
        async with self._slots:
            return await self._prometheus.query_range(promql, start, end, step)

    async def _signal(
        self, rule: SignalRule, groups: Sequence[PodGroup], start: datetime, end: datetime, step: timedelta
    ) -> list[Points] | Fault:
        answers = await asyncio.gather(
            *(self._series(rule, group, start, end, step) for group in groups), return_exceptions=True
        )
        series: list[Sources] = []
        for answer in answers:
            if isinstance(answer, Fault):
                return answer
            if isinstance(answer, BaseException):
                raise answer
            series.append(answer)
        source = signal_sources.chosen(rule.query, series)
        return [each.get(source or "", ()) for each in series]

    async def _series(
        self, rule: SignalRule, group: PodGroup, start: datetime, end: datetime, step: timedelta
    ) -> Sources:
        if group.empty or end < start:
            return {}
        if not group.stints:
            return await self._points(rule, group, start, end, step)
        spans = group.spans(start, end, step, self.policy.signal_window)
        pods = [PodGroup(namespace=group.namespace, names=span.names) for span in spans]
        reading = (
            self._points(rule, each, span.first, span.last, step) for each, span in zip(pods, spans, strict=True)
        )
        joined: dict[str, list[tuple[datetime, float]]] = {}
        for answer in await asyncio.gather(*reading, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
            for source, points in answer.items():
                joined.setdefault(source, []).extend(points)
        return joined

    async def _points(
        self, rule: SignalRule, group: PodGroup, start: datetime, end: datetime, step: timedelta
    ) -> Sources:
        query = render(
            rule.query,
            namespace=group.namespace,
            pods=group.names,
            patterns=group.patterns,
            window=self.policy.signal_window,
        )
        async with self._slots:
            matrix = await self._prometheus.query_range(query, start, end, step)
        sources = signal_sources.by_source(matrix)
        if sources is None:
            # A template without an aggregation: which of its series is meant nobody can know.
            raise Permanent(f"signal {rule.name} gives {len(matrix)} series, must be one: aggregate", FaultKind.INVALID)
        return sources


def floor(at: datetime, step: timedelta) -> datetime:
    """The last multiple of `step` (whole seconds) since the epoch that is not after `at`: where samples are taken."""
    whole = int(step.total_seconds())
    return datetime.fromtimestamp(math.floor(at.timestamp() / whole) * whole, UTC)


def reason_of(fault: Fault) -> str:
    """How a source that could not be read is named in a measurement."""
    return fault.reason if fault.reason.startswith(PEER) else f"{PEER}: {fault.reason}"
