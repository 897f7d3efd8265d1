"""Who calls whom, whoever tells it: a recording, a mesh, traces, or the policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from daemon.core.model import Neighbour, Workload

HOPS_MAX = 3
"""Calls between where it hurts and a culprit: beyond them timing says as much."""

NEAR_MAX = 200
"""Workloads near to one place, the nearest first: they are journalled with each alert, 20 kB like the place itself."""

HUB_CALLS = 20
"""Workloads that one is joined with, beyond which it is a hub, such as a gateway: who has only that in common is unrelated."""

Calls = Mapping[str, set[str]]


class CallGraph:
    """Calls between workloads, named `namespace/Kind/name`."""

    def __init__(self, calls: Iterable[tuple[Workload, Workload]] = ()) -> None:
        """`calls` are callers with one whom they call."""
        self._callees: defaultdict[str, set[str]] = defaultdict(set)
        self._callers: defaultdict[str, set[str]] = defaultdict(set)
        for caller, callee in calls:
            self.add(caller.key, callee.key)

    def __len__(self) -> int:
        """How many calls it knows."""
        return sum(map(len, self._callees.values()))

    def add(self, caller: str, callee: str) -> None:
        """One calls the other; what calls itself tells nothing."""
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
                edge = _joined(edge, calls) - seen
                seen |= edge
                for name in edge:
                    known = found.get(name)
                    if known is None or hops < known[0]:
                        found[name] = (hops, called)
        order = sorted(found.items(), key=lambda item: (item[1][0], not item[1][1], item[0]))
        return tuple(
            Neighbour(workload=_workload(name), hops=hops, called=called) for name, (hops, called) in order[:NEAR_MAX]
        )

    def callers(self, workload: Workload) -> tuple[Workload, ...]:
        """Who calls it directly."""
        return tuple(map(_workload, sorted(self._callers.get(workload.key, ()))))

    def callees(self, workload: Workload) -> tuple[Workload, ...]:
        """Whom it calls directly."""
        return tuple(map(_workload, sorted(self._callees.get(workload.key, ()))))

    def kin(self, workloads: Iterable[Workload]) -> tuple[Workload, ...]:
        """All that HOPS_MAX calls join to these, in whatever direction, themselves among them, nearest first.

        Hubs are kin and lead no further: behind the cluster's gateway everything would be kin, and nobody left to witness a
        common cause.
        """
        edge: set[str] = {workload.key for workload in workloads}
        order, seen = sorted(edge), set(edge)
        for hops in range(HOPS_MAX):
            on = edge if hops == 0 else {name for name in edge if not self._is_hub(name)}
            edge = _joined(on, self._callees, self._callers) - seen
            seen |= edge
            order += sorted(edge)
        return tuple(map(_workload, order[:NEAR_MAX]))

    def _is_hub(self, name: str) -> bool:
        return len(self._callees.get(name, ())) + len(self._callers.get(name, ())) > HUB_CALLS


def _joined(names: Iterable[str], *calls: Calls) -> set[str]:
    return {other for name in names for each in calls for other in each.get(name, ())}


def _workload(name: str) -> Workload:
    namespace, kind, short = name.split("/", 2)
    return Workload(namespace=namespace, kind=kind, name=short)
