"""Who called whom, from the metrics of meshes and traces that a Prometheus has kept; as the daemon asks them.

Looked at now and then over the whole time: who calls whom seldom changes, and a mesh's metrics are among the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from daemon.core.model import Workload
from handlers.backtest.past_rollouts import Key
from handlers.backtest.reading import Reader
from handlers.backtest.recording import EdgeSeen
from handlers.call_metrics import EDGES_MAX, WINDOW, Call, CallMetric
from handlers.call_names import Names, pairs
from handlers.call_search import Metrics, existing

HOUR = timedelta(hours=1)
LOOKS_MAX = 120
"""Looks over the whole time: every hour of five days, every six hours of a month; each reads ten minutes."""

First = dict[Call, datetime]
"""When each call was first seen."""


async def read(
    client: Metrics, reader: Reader, workloads: Iterable[Key], start: datetime, end: datetime
) -> list[EdgeSeen]:
    """The calls between these workloads, each when it was first seen. Raises Transient and Permanent."""
    first: First = {}
    for metric in await existing(client, start, end):
        await _look(reader, metric, start, end, first)
    names = Names()
    for namespace, kind, name in workloads:
        names.add(Workload(namespace=namespace, kind=kind, name=name))
    return sorted(set(_edges(first, names)), key=lambda edge: (edge.at, edge.caller, edge.callee))


async def _look(reader: Reader, metric: CallMetric, start: datetime, end: datetime, first: First) -> None:
    """At the start, and then in even steps: what is seen at the start was there before."""
    vector = await reader.vector(metric.query, start, WINDOW)
    for labels, _ in vector[:EDGES_MAX]:
        _note(first, metric.call(labels), start)
    step = max(HOUR, HOUR * -(-(end - start) // (LOOKS_MAX * HOUR)))
    if end - start < step:
        return
    for labels, samples in await reader.matrix(metric.query(), start, end, step):
        _note(first, metric.call(labels), samples[0][0])


def _note(first: First, call: Call | None, at: datetime) -> None:
    if call is not None:
        first[call] = min(at, first.get(call, at))


def _edges(first: First, names: Names) -> Iterator[EdgeSeen]:
    earliest: dict[tuple[str, str], datetime] = {}
    for call, at in first.items():
        for caller, callee in pairs([call], names)[0]:
            key = (caller.key, callee.key)
            earliest[key] = min(at, earliest.get(key, at))
    for (one, other), at in earliest.items():
        if one != other:
            yield EdgeSeen(at=at, caller=one, callee=other)
