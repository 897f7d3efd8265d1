"""Which workloads a metric's names mean. Pure: names and what the cluster shows in, calls between workloads out.

A mesh names workloads, but not their kind; traces name services, often without a namespace. A name that may mean several
things in several namespaces means none: a wrong call would make an innocent rollout a candidate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from daemon.core.model import Workload, WorkloadView
from handlers.call_metrics import Call, End

NAME_LABELS = ("app.kubernetes.io/name", "app")
"""Labels of a workload that hold a service's name, where no workload is called so."""

SAME_MAX = 5
"""Workloads of one namespace with the same such label, beyond which it names an application and no service."""

NO_LABELS: Mapping[str, str] = MappingProxyType({})

Pair = tuple[Workload, Workload]

Meant = Mapping[End, tuple[Workload, ...]]
"""The workloads that an end of calls means."""


class Names:
    """The names of all workloads there are."""

    def __init__(self) -> None:
        self._named: defaultdict[str, list[Workload]] = defaultdict(list)
        self._labelled: defaultdict[str, list[Workload]] = defaultdict(list)
        self._pods: defaultdict[str, list[Workload]] = defaultdict(list)
        self._switches: dict[Workload, list[Workload]] = {}

    @classmethod
    def shown(cls, views: Iterable[WorkloadView]) -> Names:
        """Of all that the cluster shows."""
        names = cls()
        for view in views:
            names.add(view.workload, dict(view.labels), view.current.uid or "")
        return names

    def add(self, workload: Workload, labels: Mapping[str, str] = NO_LABELS, pods: str = "") -> None:
        """A workload; `pods` is the uid of what has its pods now, empty where that is not known."""
        self._named[workload.name].append(workload)
        for name in {labels[label] for label in NAME_LABELS if label in labels}:
            self._labelled[name].append(workload)
        # A blue/green Service has the pods of the Deployment that it has selected: who calls one calls the other.
        self._switches[workload] = self._pods[pods] if pods else []
        self._switches[workload].append(workload)

    def of(self, end: End, beside: str = "") -> Sequence[Workload]:
        """The workloads that an end means, none where that is not certain; `beside` is the other end's namespace."""
        for known in (self._named, self._labelled):
            found = _placed(known.get(end.name, ()), end, beside)
            if found:
                own = found if known is self._named or len(found) <= SAME_MAX else ()
                return list(dict.fromkeys(same for each in own for same in self._switches[each]))
        return []


def _placed(found: Sequence[Workload], end: End, beside: str) -> Sequence[Workload]:
    """Those of the end's kind in its namespace; where none is told in the other end's, else in the only one there is."""
    fitting = [each for each in found if end.kind in ("", each.kind)]
    if end.namespace:
        return [each for each in fitting if each.namespace == end.namespace]
    near = [each for each in fitting if each.namespace == beside]
    return near or (fitting if len({each.namespace for each in fitting}) == 1 else ())


def pairs(calls: Iterable[Call], names: Names) -> tuple[list[Pair], int]:
    """The calls between workloads, and how many calls have an end that fits none."""
    found: list[Pair] = []
    unmatched = 0
    for caller, callee in calls:
        callers, callees = names.of(caller, callee.namespace), names.of(callee, caller.namespace)
        unmatched += not (callers and callees)
        found += [(one, other) for one in callers for other in callees]
    return found, unmatched


def meanings(calls: Iterable[Call], names: Names) -> Meant:
    """The workloads that each end of these calls means; not those whose meaning hangs on the other end."""
    found: defaultdict[End, set[tuple[Workload, ...]]] = defaultdict(set)
    for caller, callee in calls:
        found[caller].add(tuple(names.of(caller, callee.namespace)))
        found[callee].add(tuple(names.of(callee, caller.namespace)))
    return {end: workloads for end, (workloads, *others) in found.items() if workloads and not others}
