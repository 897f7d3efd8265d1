"""Asks Prometheus now and then who calls whom, by whatever metrics it has of that.

A call is remembered for a day: while a service is down, nobody can be seen calling it. Where nothing tells of calls, or
Prometheus cannot be asked, there is no more than was known before, and the daemon goes on without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from daemon.ports import Clock
from handlers.call_metrics import EDGES_MAX, METRICS, Call, CallMetric, wanted
from handlers.faults import Fault, Permanent
from handlers.prometheus import Vector

SEARCH_EVERY = timedelta(minutes=5)
"""Between two searches: one request to the index, and one query per metric that is there. Who calls whom seldom changes."""

SEARCH_AGAIN = timedelta(minutes=1)
"""After one that failed."""

LOOK_BACK = timedelta(hours=1)
"""A metric exists that had a sample in this time."""

REMEMBERED = timedelta(days=1)
"""How long a call is known after it was last seen: over a night without traffic, not over a move to other services."""

Found = Mapping[str, Mapping[Call, datetime]]
"""By source: the calls, and when each was last seen."""

_log = structlog.get_logger(__name__)


class Metrics(Protocol):
    """What is asked of Prometheus; handlers.prometheus.PrometheusClient is one. Raises Transient and Permanent."""

    async def label_values(self, label: str, selector: str, start: datetime, end: datetime) -> frozenset[str]:
        """The label's values among the selected series."""
        ...

    async def query(self, promql: str, at: datetime) -> Vector:
        """The instant vector at that moment."""
        ...


async def existing(prometheus: Metrics, start: datetime, end: datetime) -> tuple[CallMetric, ...]:
    """The metrics of calls that have series in start..end. Raises Transient and Permanent."""
    names = await prometheus.label_values("__name__", wanted(), start, end)
    return tuple(metric for metric in METRICS if metric.name in names)


class CallSearch:
    """Searches at the start and now and then; tells `found` after each search what is known."""

    def __init__(self, prometheus: Metrics, clock: Clock, found: Callable[[Found], None]) -> None:
        self._prometheus = prometheus
        self._clock = clock
        self._found = found
        self._calls: dict[str, dict[Call, datetime]] = {}
        self._troubles: set[str] = set()

    async def run(self) -> None:
        """Search until cancelled."""
        while True:
            pause = SEARCH_EVERY if await self.once() else SEARCH_AGAIN
            await asyncio.sleep(pause.total_seconds())

    async def once(self) -> bool:
        """One search; False where Prometheus could not be asked, and then what was known stays."""
        now = self._clock.now()
        try:
            metrics = await existing(self._prometheus, now - LOOK_BACK, now)
            for metric in metrics:
                await self._read(metric, now)
        except Fault as fault:
            self._warn("calls_not_searched", reason=fault.reason)
            return False
        self._troubles.discard("calls_not_searched")
        self._forget(now - REMEMBERED)
        self._found(self._calls)
        return True

    async def _read(self, metric: CallMetric, now: datetime) -> None:
        """Take in what one metric tells. A server that refuses the query has only this one less."""
        try:
            vector = await self._prometheus.query(metric.query(), now)
        except Permanent as fault:
            self._warn("calls_query_refused", metric=metric.name, reason=fault.reason)
            return
        if len(vector) > EDGES_MAX:
            self._warn("calls_left_out", metric=metric.name, at_most=EDGES_MAX, kept="the busiest")
        known = self._calls.setdefault(metric.source, {})
        for labels, _ in vector[:EDGES_MAX]:
            if (call := metric.call(labels)) is not None:
                known[call] = now

    def _forget(self, before: datetime) -> None:
        self._calls = {
            source: {call: seen for call, seen in calls.items() if seen >= before}
            for source, calls in self._calls.items()
        }

    def _warn(self, event: str, **fields: object) -> None:
        """Told once, not every five minutes."""
        key = f"{event} {fields.get('metric', '')}".strip()
        if key not in self._troubles:
            self._troubles.add(key)
            _log.warning(event, **fields)
