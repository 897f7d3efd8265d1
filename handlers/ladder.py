"""DESIGN's ladder from an alert's labels to workloads: explicit, pod, controller, Service, label, namespace; first hit wins.

Whose labels are they? An exporter that speaks of others (kube-state-metrics) adds where it was scraped itself:

- Scraped without `honor_labels`, Prometheus renames what clashes to `exported_namespace`, `exported_pod`, …. Then those are
  the subject's, and the plain target labels (`namespace`, `pod`, `service`, `job`, `app`) are the exporter's: not read.
- Scraped with it, `pod`, `service`, `job` and `app` may still be the exporter's where the series has none of its own. So a
  pod that contradicts the controller label is passed over, and what leads to the exporter named by `job` is no hit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from daemon.core.model import Alert, Rung, Workload
from daemon.core.policy import AlertMapping
from handlers.cache import ClusterCache
from handlers.faults import shorten
from handlers.kinds import KINDS

EXPLICIT_LABEL = "lastgood_workload"
EXPORTED = "exported_"
NAMESPACE_LABELS = ("namespace", "kubernetes_namespace", "k8s_namespace_name")
POD_LABELS = ("pod", "pod_name", "kubernetes_pod_name", "k8s_pod_name")
CONTROLLER_LABELS = (
    ("deployment", "Deployment"),
    ("kubernetes_deployment_name", "Deployment"),
    ("k8s_deployment_name", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("kubernetes_statefulset_name", "StatefulSet"),
    ("k8s_statefulset_name", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("kubernetes_daemonset_name", "DaemonSet"),
    ("k8s_daemonset_name", "DaemonSet"),
    ("rollout", "Rollout"),
)
REPLICA_SET_LABELS = ("replicaset", "k8s_replicaset_name")
SERVICE_LABELS = ("service", "kubernetes_service_name")
NAME_LABELS = (("app", "app"), ("app_kubernetes_io_name", "app.kubernetes.io/name"), ("job", "job"))
"""Alert labels that name an application, and the object label each stands for."""

TARGET_LABELS = frozenset({*NAMESPACE_LABELS, *POD_LABELS, *SERVICE_LABELS, *(name for name, _ in NAME_LABELS)})
"""Labels that say where something was scraped, or are usually taken from there."""

EXPORTERS = ("kube-state-metrics", "kubelet", "cadvisor", "node-exporter", "blackbox-exporter", "pushgateway")
"""Ends of `job` of those that speak of others (`prometheus-kube-state-metrics`, `monitoring/kube-state-metrics`)."""

WORKLOADS_MAX = 200
"""Workloads one alert may be mapped to, 20 kB in the journal; of more the first in the order of their keys."""

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
        named_by = _named(cache, *parts) if len(parts) == 2 else ()
        if len(parts) == 3:
            named_by = _one(cache.workload(*parts))
        yield Rung.EXPLICIT, f"{EXPLICIT_LABEL}={value}", named_by


class _Ladder:
    """The rungs that one alert's labels allow, with what each finds; lower ones are looked up only when asked for."""

    def __init__(self, alert: Alert, cache: ClusterCache) -> None:
        self._alert = alert
        self._cache = cache
        exported = [(EXPORTED + name, alert.label(EXPORTED + name)) for name in NAMESPACE_LABELS]
        plain = [(name, alert.label(name)) for name in NAMESPACE_LABELS]
        self._exported = any(value for _, value in exported)
        named = [(name, value) for name, value in (*exported, *plain) if value]
        self._namespace_label = named[0][0] if named else ""
        self.namespace: str | None = named[0][1] if named else None
        job = (alert.label("job") or "").rpartition("/")[2]
        self._exporter = next((name for name in EXPORTERS if job == name or job.endswith(f"-{name}")), None)

    def rungs(self) -> Iterator[Hit]:
        """From the most to the least certain."""
        if self.namespace is None:
            yield from self._names(None)
            return
        controllers = list(self._controllers(self.namespace))
        yield from self._pods(self.namespace, [workload for _, _, found in controllers for workload in found])
        yield from controllers
        for label, value in self._values(SERVICE_LABELS):
            yield Rung.SERVICE, label, self._subjects(self._cache.workloads_of_service(self.namespace, value))
        yield from self._names(self.namespace)
        yield Rung.NAMESPACE, f"{self._namespace_label}={self.namespace}", self._cache.workloads_in(self.namespace)

    def _values(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """`label=value` and the value; where a label was renamed, the plain one is the exporter's and left out."""
        for name in names:
            if value := self._alert.label(EXPORTED + name):
                yield f"{EXPORTED}{name}={value}", value
            elif (self._exported and name in TARGET_LABELS) or not (value := self._alert.label(name)):
                continue
            else:
                yield f"{name}={value}", value

    def _pods(self, namespace: str, controllers: Sequence[Workload]) -> Iterator[Hit]:
        for label, value in self._values(POD_LABELS):
            found = self._subjects(_one(self._cache.workload_of_pod(namespace, value)))
            contradicted = bool(controllers) and bool(found) and found[0] not in controllers
            yield Rung.POD, f"{label} (not of the controller)" if contradicted else label, () if contradicted else found

    def _controllers(self, namespace: str) -> Iterator[Hit]:
        for name, kind in CONTROLLER_LABELS:
            for label, value in self._values((name,)):
                yield Rung.CONTROLLER, label, _one(self._cache.workload(namespace, kind, value))
        for label, value in self._values(REPLICA_SET_LABELS):
            # Asked as for a pod that this ReplicaSet would make: its owner is the same.
            yield Rung.CONTROLLER, label, _one(self._cache.workload_of_pod(namespace, f"{value}-00000"))

    def _names(self, namespace: str | None) -> Iterator[Hit]:
        for name, key in NAME_LABELS:
            for label, value in self._values((name,)):
                yield Rung.LABEL, label, self._subjects(self._by_name(namespace, key, value))

    def _by_name(self, namespace: str | None, key: str, value: str) -> Sequence[Workload]:
        """Those labelled so, else those of that name, whatever their kind. A `job` may be `namespace/name` (PodMonitor)."""
        bare = value.rpartition("/")[2]
        if found := self._cache.workloads_by_label(namespace, key, bare):
            return found
        return () if namespace is None else _named(self._cache, namespace, bare)

    def _subjects(self, found: Sequence[Workload]) -> Sequence[Workload]:
        """Without the exporter that told it."""
        name = self._exporter
        return [w for w in found if name is None or not (w.name == name or w.name.endswith(f"-{name}"))]


def _named(cache: ClusterCache, namespace: str, name: str) -> Sequence[Workload]:
    """Every workload of that name; a name alone does not tell one kind from another."""
    return [found for kind in KINDS if (found := cache.workload(namespace, kind, name)) is not None]


def _one(workload: Workload | None) -> Sequence[Workload]:
    return () if workload is None else (workload,)
