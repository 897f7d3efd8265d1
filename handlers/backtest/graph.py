"""Who calls whom, as a recording tells it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from daemon.core.model import Neighbour, Workload
from handlers.backtest.cluster import workload_named

HOPS_MAX = 3
"""Calls between where it hurts and a culprit: beyond them timing says as much."""


class CallGraph:
    """Calls between workloads, named `namespace/Kind/name`."""

    def __init__(self) -> None:
        self._callees: dict[str, set[str]] = defaultdict(set)
        self._callers: dict[str, set[str]] = defaultdict(set)

    def add(self, caller: str, callee: str) -> None:
        """One calls the other."""
        if caller != callee:
            self._callees[caller].add(callee)
            self._callers[callee].add(caller)

    def near(self, workloads: Iterable[Workload]) -> tuple[Neighbour, ...]:
        """All within HOPS_MAX calls, called ones and callers, nearest first; a workload once, by its shortest way."""
        start: set[str] = {workload.key for workload in workloads}
        found: dict[str, tuple[int, bool]] = {}
        for calls, called in ((self._callees, True), (self._callers, False)):
            edge, seen = set(start), set(start)
            for hops in range(1, HOPS_MAX + 1):
                edge = {name for each in edge for name in calls.get(each, ())} - seen
                seen |= edge
                for name in edge:
                    known = found.get(name)
                    if known is None or hops < known[0]:
                        found[name] = (hops, called)
        order = sorted(found.items(), key=lambda item: (item[1][0], not item[1][1], item[0]))
        return tuple(
            Neighbour(workload=workload_named(name), hops=hops, called=called) for name, (hops, called) in order
        )

    def kin(self, workloads: Iterable[Workload]) -> tuple[Workload, ...]:
        """All that HOPS_MAX calls join to these, in whatever direction."""
        edge: set[str] = {workload.key for workload in workloads}
        seen = set(edge)
        for _ in range(HOPS_MAX):
            edge = {
                name for each in edge for calls in (self._callees, self._callers) for name in calls.get(each, ())
            } - seen
            seen |= edge
        return tuple(workload_named(name) for name in sorted(seen))
