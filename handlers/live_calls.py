"""The call graph of the running daemon: what the policy declares, and what meshes and traces were found to tell.

Asked whenever an alert is placed, so it is kept for a while: names are matched to workloads anew when more calls were found, when
the policy changed, and every half minute for workloads that came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import structlog

from daemon.core.model import Workload, WorkloadView
from daemon.core.policy import Policy
from daemon.ports import Clock
from handlers.call_graph import CallGraph
from handlers.call_metrics import SOURCES
from handlers.call_names import Meant, Names, meanings, pairs
from handlers.call_search import Found

KEPT = timedelta(seconds=30)
"""How long a graph is used: 2,000 calls are matched in some 50 ms, and a storm places a thousand alerts."""

DECLARED, UNMATCHED = "declared", "unmatched"
"""Beside the sources of metrics: the policy's calls, and calls of metrics with an end that fits no workload."""

SHOWN_MAX = 20
"""Names in one line of the log."""

Meanings = Mapping[str, Meant]
"""By source: the workloads that an end of its calls means."""

Declared = tuple[tuple[Workload, Workload], ...]

_log = structlog.get_logger(__name__)


class LiveCalls:
    """`views` are all workloads as last seen; `told` gets the number of calls by source whenever they are counted anew."""

    def __init__(
        self,
        views: Callable[[], Iterable[WorkloadView]],
        policy: Callable[[], Policy],
        clock: Clock,
        told: Callable[[Mapping[str, int]], None] = lambda counts: None,
    ) -> None:
        self._views = views
        self._policy = policy
        self._clock = clock
        self._told = told
        self._found: Found = {}
        self._graph: CallGraph | None = None
        self._made_at: datetime | None = None
        self._made_of: Declared = ()
        self._counts: Mapping[str, int] = {}
        self._meanings: Meanings = {}
        self._strangers: frozenset[Workload] = frozenset()

    def found(self, calls: Found) -> None:
        """Take over what a search knows."""
        self._found, self._made_at = calls, None
        self.graph()

    def graph(self) -> CallGraph | None:
        """Who calls whom now; None where nobody tells."""
        now, declared = self._clock.now(), self._policy().calls
        fresh = self._made_at is not None and now - self._made_at < KEPT
        if not fresh or self._made_of != declared:
            self._graph = self._made(declared)
            self._made_at, self._made_of = now, declared
        return self._graph

    def meanings(self) -> Meanings:
        """Whom each source means by what it calls the ends of calls."""
        self.graph()
        return self._meanings

    def _made(self, declared: Declared) -> CallGraph | None:
        views = list(self._views())
        self._tell_strangers(declared, {view.workload for view in views})
        names = Names.shown(views)
        counts = dict.fromkeys((DECLARED, *SOURCES, UNMATCHED), 0) | {DECLARED: len(declared)}
        graph = CallGraph(declared)
        self._meanings = {source: meanings(calls, names) for source, calls in self._found.items()}
        for source, calls in self._found.items():
            found, unmatched = pairs(calls, names)
            for caller, callee in found:
                graph.add(caller.key, callee.key)
            counts[source] = len(calls) - unmatched
            counts[UNMATCHED] += unmatched
        if counts != self._counts:
            _log.info("calls_known", **counts)
        self._counts = counts
        self._told(counts)
        return graph if len(graph) else None

    def _tell_strangers(self, declared: Declared, known: set[Workload]) -> None:
        """Whom policy.calls names and nobody has seen: told when they change, once there is something to see."""
        strangers = frozenset(each for call in declared for each in call) - known
        if known and strangers and strangers != self._strangers:
            names = sorted(each.key for each in strangers)
            _log.warning(
                "calls_of_unknown_workloads", names=names[:SHOWN_MAX], count=len(names), setting="policy.calls"
            )
        self._strangers = strangers if known else self._strangers
