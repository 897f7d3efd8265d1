"""DESIGN's ladder from an alert's labels to workloads: explicit, pod, controller, Service, label, namespace; first hit wins.

Whose labels are they? An exporter that speaks of others (kube-state-metrics) adds where it was scraped itself:

- Scraped without `honor_labels`, Prometheus renames what clashes to `exported_namespace`, `exported_pod`, …. Then those are
  the subject's, and the plain target labels (`namespace`, `pod`, `service`, `job`, `app`) are the exporter's: not read.
- Scraped with it, `pod`, `service`, `job` and `app` may still be the exporter's where the series has none of its own. So a
  pod that contradicts the controller label is passed over, and what leads to the exporter named by `job` is no hit.

A mesh's proxy speaks of two: it hurts at the callee, and whose the plain labels are depends on who reports (ladder_labels). So
what names the callee, by whatever rung, goes before all plain labels; a pod counts beside it only if it is the callee's. Only
where the callee is none of this cluster's are the plain ones read.

An alert may have lost its namespace (`sum by (service)`). Then a name leads to the only workload of the cluster that has it, by
the rung LABEL; of several it means none, for a wrong one would make an innocent rollout a candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from daemon.core.model import Alert, Rung, Workload
from daemon.core.policy import AlertMapping
from handlers.cache import ClusterCache
from handlers.call_metrics import UNKNOWN
from handlers.faults import shorten
from handlers.kinds import KINDS, kind_named
from handlers.ladder_labels import (
    CALLEE_CONTROLLERS,
    CALLEE_NAMES,
    CALLEE_NAMESPACES,
    CALLEE_SERVICES,
    CALLER_CONTROLLERS,
    CONTROLLER_LABELS,
    EXPLICIT_LABEL,
    EXPORTED,
    EXPORTERS,
    NAME_LABELS,
    NAMESPACE_LABELS,
    POD_LABELS,
    REPLICA_SET_LABELS,
    SERVICE_LABELS,
    TARGET_LABELS,
    WORKLOAD_LABEL,
    WORKLOAD_TYPE_LABEL,
    WORKLOAD_TYPES,
    Named,
    host_of,
)

WORKLOADS_MAX = 200
"""Workloads one alert may be mapped to, 20 kB in the journal; of more the first in the order of their keys."""

ANY_KIND = tuple(KINDS)

Hit = tuple[Rung, str, Sequence[Workload]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The workloads of the first rung that hit, sorted; `tried` is every label looked up on the way, with its value."""

    workloads: tuple[Workload, ...]
    rung: Rung
    tried: tuple[str, ...]


def place(alert: Alert, cache: ClusterCache, mappings: Sequence[AlertMapping]) -> Place:
    """Where the alert belongs. Labels that are absent are not looked up; one with none of them says so in `tried`."""
    ladder, tried = _Ladder(alert, cache), list[str]()
    for rung, label, found in chain(_explicit(alert, cache, mappings, ladder.namespace), ladder.rungs()):
        tried.append(shorten(label))
        if found:
            # What began when a Service was switched to a Deployment shows at that Deployment.
            switches = (service for workload in found for service in cache.switches_of(workload))
            unique = sorted({*found, *switches}, key=lambda workload: workload.key)
            if len(unique) > WORKLOADS_MAX:
                tried[-1] += f" (the first {WORKLOADS_MAX} of {len(unique)})"
            return Place(workloads=tuple(unique[:WORKLOADS_MAX]), rung=rung, tried=tuple(tried))
    if not tried:
        tried = [f"no label {name}" for name in (EXPLICIT_LABEL, "namespace", "app", "app_kubernetes_io_name", "job")]
    return Place(workloads=(), rung=Rung.NONE, tried=tuple(tried))


def _explicit(
    alert: Alert, cache: ClusterCache, mappings: Sequence[AlertMapping], namespace: str | None
) -> Iterator[Hit]:
    """What a person wrote down: in the policy, or in a label `NAMESPACE/NAME`, `NAMESPACE/KIND/NAME` or `NAME`."""
    labels = set(alert.labels)
    for mapping in mappings:
        if set(mapping.labels) <= labels:
            named = mapping.workload
            found = cache.workload(named.namespace, named.kind, named.name)
            yield Rung.EXPLICIT, f"policy mapping to {named.key}", _one(found)
    if value := alert.label(EXPLICIT_LABEL):
        parts = [part.strip() for part in value.split("/")]
        if len(parts) == 1 and namespace is not None:
            parts = [namespace, *parts]
        named_by = _of_kinds(cache, parts[0], ANY_KIND, parts[1]) if len(parts) == 2 else ()
        if len(parts) == 3:
            named_by = _one(cache.workload(*parts))
        yield Rung.EXPLICIT, f"{EXPLICIT_LABEL}={value}", named_by


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a label's value asks for; the namespace only where the value itself tells it."""

    name: str
    kinds: tuple[str, ...] = ANY_KIND
    namespace: str | None = None


class _Ladder:
    """The rungs that one alert's labels allow, with what each finds; lower ones are looked up only when asked for."""

    def __init__(self, alert: Alert, cache: ClusterCache) -> None:
        self._labels = dict(alert.labels)
        self._cache = cache
        exported = [EXPORTED + name for name in NAMESPACE_LABELS if self._labels.get(EXPORTED + name)]
        named = [*exported, *(name for name in NAMESPACE_LABELS if self._labels.get(name))]
        self._exported = bool(exported)
        self._namespace_label = named[0] if named else ""
        self.namespace: str | None = self._labels[named[0]] if named else None
        job = self._labels.get("job", "").rpartition("/")[2]
        self._exporter = next((name for name in EXPORTERS if job == name or job.endswith(f"-{name}")), None)

    def rungs(self) -> Iterator[Hit]:
        """From the most to the least certain."""
        called, controllers = list(self._called()), list(self._controllers())
        callee = next((found for _, _, found in called if found), ())
        if callee:
            yield from self._pods(callee, "the callee")
        else:
            yield from self._pods([workload for _, _, found in controllers for workload in found], "the controller")
        yield from called
        yield from controllers
        callers = () if called else self._meant(CALLER_CONTROLLERS)
        for entry in callers:
            yield from self._look(Rung.CONTROLLER, entry, self._told(entry.namespaces), beside=self.namespace)
        for entry in SERVICE_LABELS:
            yield from self._look(Rung.SERVICE, entry, self.namespace)
        for entry in NAME_LABELS:
            yield from self._look(Rung.LABEL, entry, self.namespace or self._existing(entry.namespaces))
        yield from self._whole_namespaces([label for entry in callers for label in entry.namespaces])

    def _values(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """`label=value` and the value; where a label was renamed, the plain one is the exporter's and left out."""
        for name in names:
            if value := self._labels.get(EXPORTED + name):
                yield f"{EXPORTED}{name}={value}", value
            elif (self._exported and name in TARGET_LABELS) or not (value := self._labels.get(name)):
                continue
            else:
                yield f"{name}={value}", value

    def _pods(self, subjects: Sequence[Workload], whose: str) -> Iterator[Hit]:
        """The pod's workload; where other labels name the `subjects`, only if it is one of them."""
        for label, value in self._values(POD_LABELS) if self.namespace is not None else ():
            found = self._subjects(_one(self._cache.workload_of_pod(self.namespace or "", value)))
            contradicted = bool(subjects) and bool(found) and found[0] not in subjects
            yield Rung.POD, f"{label} (not of {whose})" if contradicted else label, () if contradicted else found

    def _called(self) -> Iterator[Hit]:
        """What names the callee of a mesh's calls. Without a namespace of its own, it is more likely near than far."""
        rungs = (
            (Rung.CONTROLLER, CALLEE_CONTROLLERS),
            (Rung.SERVICE, CALLEE_SERVICES),
            (Rung.LABEL, CALLEE_NAMES),
        )
        for rung, entries in rungs:
            for entry in self._meant(entries):
                yield from self._look(rung, entry, self._told(entry.namespaces), beside=self.namespace)

    def _controllers(self) -> Iterator[Hit]:
        for entry in CONTROLLER_LABELS:
            yield from self._look(Rung.CONTROLLER, entry, self.namespace)
        for label, value in self._values(REPLICA_SET_LABELS) if self.namespace is not None else ():
            # Asked as for a pod that this ReplicaSet would make: its owner is the same.
            yield Rung.CONTROLLER, label, _one(self._cache.workload_of_pod(self.namespace or "", f"{value}-00000"))

    def _whole_namespaces(self, callers: Sequence[str]) -> Iterator[Hit]:
        """Where nothing more is known: first that of the callee; that of the caller only where no other is told."""
        told = {label: self._labels[label] for label in CALLEE_NAMESPACES if self._told((label,))}
        if self.namespace is not None:
            told[self._namespace_label] = self.namespace
        told = told or {label: self._labels[label] for label in callers if self._told((label,))}
        for namespace in dict.fromkeys(told.values()):
            label = next(label for label, value in told.items() if value == namespace)
            yield Rung.NAMESPACE, f"{label}={namespace}", self._cache.workloads_in(namespace)

    def _look(self, rung: Rung, entry: Named, namespace: str | None, beside: str | None = None) -> Iterator[Hit]:
        """Where the label leads in its `namespace`; without one `beside`, else to the only workload of that name."""
        for label, value in self._values((entry.label,)):
            wanted = self._wanted(rung, entry, value)
            told = wanted.namespace or namespace
            near = told or beside
            found = () if near is None else self._find(rung, entry, near, wanted)
            yield (rung, label, found) if found or told else self._only_one(rung, entry, label, wanted)

    def _wanted(self, rung: Rung, entry: Named, value: str) -> _Wanted:
        if rung is Rung.SERVICE:
            name, told = host_of(value)
            return _Wanted(name=name, namespace=told or None)
        if rung is Rung.LABEL:  # a `job` may be `namespace/name` (PodMonitor, OpenTelemetry)
            return _Wanted(name=value.rpartition("/")[2])
        if entry.kind:
            return _Wanted(name=value, kinds=(entry.kind,))
        if entry.label != WORKLOAD_LABEL:
            return _Wanted(name=value)
        return _workload(value, self._labels.get(WORKLOAD_TYPE_LABEL, ""))

    def _find(self, rung: Rung, entry: Named, namespace: str, wanted: _Wanted) -> Sequence[Workload]:
        if rung is Rung.CONTROLLER:
            return _of_kinds(self._cache, namespace, wanted.kinds, wanted.name)
        if rung is Rung.SERVICE:
            return self._subjects(self._cache.workloads_of_service(namespace, wanted.name))
        # Those labelled so, else those of that name, whatever their kind.
        found = self._labelled(namespace, entry, wanted.name)
        return self._subjects(found or _of_kinds(self._cache, namespace, ANY_KIND, wanted.name))

    def _only_one(self, rung: Rung, entry: Named, label: str, wanted: _Wanted) -> Hit:
        """Of the whole cluster: those labelled so, else the workload of that name if there is but one."""
        if found := self._subjects(self._labelled(None, entry, wanted.name)):
            return Rung.LABEL, label, found
        named = [each for each in self._cache.workloads_named(wanted.name) if each.kind in wanted.kinds]
        found = named if rung is Rung.CONTROLLER else self._subjects(named)
        if len(found) > 1:
            return Rung.LABEL, f"{label} (of {len(found)} workloads of that name)", ()
        return Rung.LABEL, label, found

    def _labelled(self, namespace: str | None, entry: Named, name: str) -> Sequence[Workload]:
        answers = (self._cache.workloads_by_label(namespace, key, name) for key in entry.keys)
        return next((found for found in answers if found), ())

    def _meant(self, entries: Sequence[Named]) -> Sequence[Named]:
        """Those that name something: where an end is outside of the mesh, Istio says so with a word."""
        return [entry for entry in entries if self._told((entry.label,))]

    def _told(self, names: Sequence[str]) -> str | None:
        """The first of these labels' values that is one."""
        return next((value for name in names if (value := self._labels.get(name, "")) not in ("", UNKNOWN)), None)

    def _existing(self, names: Sequence[str]) -> str | None:
        """The namespace that these labels tell, if there is one of that name."""
        told = self._told(names)
        return told if told is not None and self._cache.workloads_in(told) else None

    def _subjects(self, found: Sequence[Workload]) -> Sequence[Workload]:
        """Without the exporter that told it."""
        name = self._exporter
        return [w for w in found if name is None or not (w.name == name or w.name.endswith(f"-{name}"))]


def _workload(value: str, kind: str) -> _Wanted:
    """A name of the `kind` where it is told; `KIND/NAME`, `NAMESPACE/NAME` and `NAMESPACE/KIND/NAME` are read, too."""
    *before, name = (part.strip() for part in value.split("/"))
    if before and (named := kind_named(before[-1])) is not None:
        kind = named.name
        before.pop()
    if len(before) > 1:
        return _Wanted(name="")
    namespace = before[0] if before else None
    if not kind:
        return _Wanted(name=name, namespace=namespace)
    named = kind_named(kind)
    known = () if named is None else (named.name,)
    return _Wanted(name=name, namespace=namespace, kinds=WORKLOAD_TYPES.get(kind.lower(), known))


def _of_kinds(cache: ClusterCache, namespace: str, kinds: Sequence[str], name: str) -> Sequence[Workload]:
    """Every workload of that name and these kinds; a name alone does not tell one kind from another."""
    return [found for kind in kinds if (found := cache.workload(namespace, kind, name)) is not None]


def _one(workload: Workload | None) -> Sequence[Workload]:
    return () if workload is None else (workload,)
