"""Who called whom and how often, from the metrics of meshes and traces that a Prometheus has kept; as the daemon asks them.

Who calls whom is looked at now and then over the whole time: it seldom changes, and a mesh's metrics are among the largest. How
often is read where a decision could need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from daemon.core.model import Workload
from handlers.backtest.past_rollouts import Key, name_of
from handlers.backtest.reading import Reader
from handlers.backtest.recording import EdgeSeen, SampleSeen
from handlers.call_metrics import EDGES_MAX, WINDOW, Call, CallMetric
from handlers.call_names import Meant, Names, meanings, pairs
from handlers.call_search import Metrics, existing
from handlers.fan_outs import Told, question
from handlers.faults import Fault

HOUR = timedelta(hours=1)
LOOKS_MAX = 120
"""Looks over the whole time: every hour of five days, every six hours of a month; each reads ten minutes."""

First = dict[Call, datetime]
"""When each call was first seen."""


class Calls:
    """`edges` are the calls, each when it was first seen; `sources` the metrics of requests with whom they mean by an end."""

    def __init__(self, edges: Iterable[EdgeSeen] = (), sources: Iterable[tuple[CallMetric, Meant]] = ()) -> None:
        self.edges = list(edges)
        self._sources = list(sources)
        self.unread: str | None = None
        """Why some numbers of calls are missing; None where none is."""

    async def samples(
        self, reader: Reader, workload: Key, start: datetime, end: datetime, step: timedelta, window: timedelta
    ) -> list[SampleSeen]:
        """What a workload asked of each other one, by the first metric that tells; nothing where it cannot be read."""
        caller = _workload(workload)
        for metric, meant in self._sources:
            query = question(metric, meant, [caller], window)
            if query is None:
                continue
            try:
                told = Told(metric, meant, await reader.matrix(query, start, end, step))
            except Fault as fault:
                self.unread = fault.reason
                continue
            if asked := told.asked(caller):
                return [
                    SampleSeen(
                        at=at,
                        signal="traffic_rate",
                        workload=name_of(workload),
                        peer=callee.key,
                        direction="outbound",
                        value=rate,
                    )
                    for callee in sorted(asked, key=lambda each: each.key)
                    for at, rate in asked[callee].items()
                ]
        return []


async def read(client: Metrics, reader: Reader, workloads: Iterable[Key], start: datetime, end: datetime) -> Calls:
    """The calls between these workloads. Raises Transient and Permanent."""
    names = Names()
    for key in workloads:
        names.add(_workload(key))
    edges: set[EdgeSeen] = set()
    sources = []
    for metric in await existing(client, start, end):
        first: First = {}
        await _look(reader, metric, start, end, first)
        edges.update(_edges(first, names))
        if metric.serves is not None:
            sources.append((metric, meanings(first, names)))
    return Calls(_earliest(edges), sources)


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
    for call, at in first.items():
        for caller, callee in pairs([call], names)[0]:
            if caller != callee:
                yield EdgeSeen(at=at, caller=caller.key, callee=callee.key)


def _earliest(edges: Iterable[EdgeSeen]) -> list[EdgeSeen]:
    """Each call once, when it was first seen by whichever metric."""
    found: dict[tuple[str, str], EdgeSeen] = {}
    for edge in sorted(edges, key=lambda edge: (edge.at, edge.caller, edge.callee)):
        found.setdefault((edge.caller, edge.callee), edge)
    return list(found.values())


def _workload(key: Key) -> Workload:
    namespace, kind, name = key
    return Workload(namespace=namespace, kind=kind, name=name)
