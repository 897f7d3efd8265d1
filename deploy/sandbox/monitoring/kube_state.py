"""The few series of kube-state-metrics that alert rules about pods and Deployments need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deploy.sandbox.services import escape

_FAMILIES = {
    "kube_pod_container_status_restarts_total": "counter",
    "kube_pod_container_status_waiting_reason": "gauge",
    "kube_deployment_status_replicas_unavailable": "gauge",
}


def kube_state_metrics(pods: Iterable[Mapping[str, Any]], deployments: Iterable[Mapping[str, Any]] = ()) -> str:
    """The text format for raw Kubernetes objects (dicts as the API server gives them).

    Names and labels as in kube-state-metrics 2: `namespace`, `pod`, `uid`, `container`, `reason` (only while waiting).
    """
    lines: dict[str, list[str]] = {name: [] for name in _FAMILIES}
    for pod in pods:
        metadata = pod["metadata"]
        owner = {"namespace": metadata["namespace"], "pod": metadata["name"], "uid": metadata.get("uid", "")}
        for status in pod.get("status", {}).get("containerStatuses") or ():
            labels = {**owner, "container": status["name"]}
            name = "kube_pod_container_status_restarts_total"
            lines[name].append(_line(name, labels, status.get("restartCount", 0)))
            waiting = status.get("state", {}).get("waiting") or {}
            if reason := waiting.get("reason"):
                name = "kube_pod_container_status_waiting_reason"
                lines[name].append(_line(name, {**labels, "reason": reason}, 1))
    for deployment in deployments:
        metadata = deployment["metadata"]
        name = "kube_deployment_status_replicas_unavailable"
        labels = {"namespace": metadata["namespace"], "deployment": metadata["name"]}
        lines[name].append(_line(name, labels, deployment.get("status", {}).get("unavailableReplicas", 0)))
    page = [[f"# TYPE {name} {kind}", *lines[name]] for name, kind in _FAMILIES.items()]
    return "\n".join(line for family in page for line in family) + "\n"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{escape(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}"
