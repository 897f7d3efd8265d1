"""Samples of a group of pods: the policy's signals over a range, joined by moment."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from daemon.core.measurement import Sample
from daemon.core.policy import Policy, SignalRule
from handlers.faults import Fault, FaultKind, Permanent
from handlers.prometheus import PrometheusClient, render

SAMPLES_MAX = 240
"""Samples per signal of one measurement: two hours at the default interval. They are journalled with the verdict."""

SOAK_SAMPLES_MAX = 2_000
"""Samples per signal of one soak: a day at 43 s. Only their sums are kept."""

QUERIES_AT_ONCE = 8
"""Queries of all measurements together that are out at the same time: Prometheus is shared with dashboards and rules."""


class Sampler:
    """Reads the signals that the present policy names."""

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

    async def samples(
        self,
        namespace: str,
        pods: Sequence[str],
        start: datetime,
        end: datetime,
        step: timedelta,
        rules: Iterable[SignalRule] | None = None,
    ) -> tuple[Sample, ...]:
        """One Sample per moment at which any signal had data, oldest first. Raises Transient or Permanent."""
        wanted = tuple(self.policy.signals if rules is None else rules)
        if not pods or end < start:
            return ()
        series = await asyncio.gather(*(self._series(rule, namespace, pods, start, end, step) for rule in wanted))
        found: dict[datetime, list[tuple[str, float]]] = {}
        for rule, points in zip(wanted, series, strict=True):
            for at, value in points:
                found.setdefault(at, []).append((rule.name, value))
        return tuple(Sample(at=at, values=tuple(values)) for at, values in sorted(found.items()))

    async def _series(
        self,
        rule: SignalRule,
        namespace: str,
        pods: Sequence[str],
        start: datetime,
        end: datetime,
        step: timedelta,
    ) -> Sequence[tuple[datetime, float]]:
        query = render(rule.query, namespace=namespace, pods=pods, window=self.policy.signal_window)
        async with self._slots:
            matrix = await self._prometheus.query_range(query, start, end, step)
        if len(matrix) > 1:
            # A template without an aggregation: which of its series is meant nobody can know.
            raise Permanent(f"signal {rule.name} gives {len(matrix)} series, must be one: aggregate", FaultKind.INVALID)
        return matrix[0][1] if matrix else ()


def reason_of(fault: Fault) -> str:
    """How a source that could not be read is named in a measurement."""
    return f"prometheus: {fault.reason}"
