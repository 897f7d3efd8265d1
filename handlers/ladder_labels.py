"""The labels of the ladder (handlers.ladder), one table per rung. In each, first hit wins, so the order is part of it.

Names are those of whoever writes them; each group says who. A mesh's series names two ends of a call, and the labels without a
prefix (`pod`, `namespace`, `app`, `deployment`) are those of the proxy that reports it: of the caller, of the callee, or of a
proxy between them. So the ends have tables of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

EXPLICIT_LABEL = "lastgood_workload"

EXPORTED = "exported_"
"""What Prometheus puts before a label that clashes with one of the target's, where it scrapes without `honor_labels`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A label that names a workload or what leads to one.

    `kind` is the workload's (empty where the label does not tell it), `keys` are the object labels that the value may be one of,
    `namespaces` the labels that tell its namespace.
    """

    label: str
    kind: str = ""
    keys: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


NAMESPACE_LABELS = (
    "namespace",  # prometheus-operator's targets, kube-state-metrics, cAdvisor
    "kubernetes_namespace",  # the example configuration of Prometheus before 2.29
    "k8s_namespace_name",  # OpenTelemetry's k8s.namespace.name
)

POD_LABELS = (
    "pod",
    "pod_name",  # cAdvisor before Kubernetes 1.16
    "kubernetes_pod_name",  # the example configuration of Prometheus before 2.29
    "k8s_pod_name",  # OpenTelemetry's k8s.pod.name
)

WORKLOAD_LABEL, WORKLOAD_TYPE_LABEL = "workload", "workload_type"
"""kubernetes-mixin's recording rule `namespace_workload_pod:kube_pod_owner:relabel` makes them of kube_pod_owner."""

WORKLOAD_TYPES = {"deployment": ("Deployment", "Rollout")}
"""Where a `workload_type` may mean more than its word: that rule says `deployment` of whatever owns a ReplicaSet."""

CONTROLLER_LABELS = (
    Named(label="deployment", kind="Deployment"),  # kube-state-metrics, Linkerd
    Named(label="kubernetes_deployment_name", kind="Deployment"),
    Named(label="k8s_deployment_name", kind="Deployment"),  # OpenTelemetry's k8s.deployment.name; so below
    Named(label="statefulset", kind="StatefulSet"),
    Named(label="kubernetes_statefulset_name", kind="StatefulSet"),
    Named(label="k8s_statefulset_name", kind="StatefulSet"),
    Named(label="daemonset", kind="DaemonSet"),
    Named(label="kubernetes_daemonset_name", kind="DaemonSet"),
    Named(label="k8s_daemonset_name", kind="DaemonSet"),
    Named(label="rollout", kind="Rollout"),  # Argo Rollouts
    Named(label=WORKLOAD_LABEL),
)

REPLICA_SET_LABELS = ("replicaset", "k8s_replicaset_name")

SERVICE_LABELS = (
    Named(label="service"),  # prometheus-operator's targets
    Named(label="kubernetes_service_name"),
    Named(label="k8s_service_name"),  # OpenTelemetry's k8s.service.name
)

NAME_LABELS = (
    Named(label="app", keys=("app",)),
    Named(label="app_kubernetes_io_name", keys=("app.kubernetes.io/name",)),
    # OpenTelemetry's service.name; its service.namespace is a group of services, often but not always the Kubernetes one.
    Named(label="service_name", keys=("app.kubernetes.io/name",), namespaces=("service_namespace",)),
    Named(
        label="application", keys=("app.kubernetes.io/name", "app")
    ),  # Micrometer's common tag, as Spring Boot's docs set it
    Named(label="job", keys=("job",)),
)

# Istio: https://istio.io/latest/docs/reference/config/metrics. Linkerd: https://linkerd.io/2/reference/proxy-metrics.
_CALLED_WORKLOAD = ("destination_workload_namespace", "destination_service_namespace")
_CALLED_SERVICE = ("destination_service_namespace", "destination_workload_namespace")

CALLEE_CONTROLLERS = (
    Named(label="destination_workload", namespaces=_CALLED_WORKLOAD),
    Named(label="dst_deployment", kind="Deployment", namespaces=("dst_namespace",)),
    Named(label="dst_statefulset", kind="StatefulSet", namespaces=("dst_namespace",)),
    Named(label="dst_daemonset", kind="DaemonSet", namespaces=("dst_namespace",)),
)

SERVICE_HOST_LABEL = "destination_service"
"""Holds the Service's host, `web.shop.svc.cluster.local`."""

CALLEE_SERVICES = (
    Named(label="destination_service_name", namespaces=_CALLED_SERVICE),
    Named(label=SERVICE_HOST_LABEL, namespaces=_CALLED_SERVICE),
    Named(label="dst_service", namespaces=("dst_namespace",)),
)

CALLEE_NAMES = (
    Named(
        label="destination_canonical_service",
        keys=("service.istio.io/canonical-name", "app.kubernetes.io/name", "app"),
        namespaces=_CALLED_WORKLOAD,
    ),
    Named(label="destination_app", keys=("app",), namespaces=_CALLED_WORKLOAD),
)

CALLEE_NAMESPACES = (*_CALLED_WORKLOAD, "dst_namespace")

CALLER_CONTROLLERS = (Named(label="source_workload", namespaces=("source_workload_namespace",)),)
"""Read only where an alert names no callee: it was summed by who calls."""

CALLER_NAMESPACES = tuple(label for entry in CALLER_CONTROLLERS for label in entry.namespaces)

TARGET_LABELS = frozenset({*NAMESPACE_LABELS, *POD_LABELS, *(each.label for each in (*SERVICE_LABELS, *NAME_LABELS))})
"""Labels that say where something was scraped, or are usually taken from there."""

EXPORTERS = ("kube-state-metrics", "kubelet", "cadvisor", "node-exporter", "blackbox-exporter", "pushgateway")
"""Ends of `job` of those that speak of others (`prometheus-kube-state-metrics`, `monitoring/kube-state-metrics`)."""


def host_of(value: str) -> tuple[str, str]:
    """Name and namespace of the Service whose host this is (`NAME.NAMESPACE.svc…`, with or without a port).

    Of anything else the value itself, and an empty namespace.
    """
    name, namespace, svc, *_ = *value.partition(":")[0].split("."), "", "", ""
    return (name, namespace) if svc == "svc" else (value, "")
