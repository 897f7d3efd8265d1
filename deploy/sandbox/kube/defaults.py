"""The defaults an API server writes into objects it accepts (``pkg/apis/*/v1/defaults.go``), as far as we meet them.

They matter: a template that is read back is not the one that was sent, so a comparison with what a user wrote fails
here as it does on a real cluster.
"""

from __future__ import annotations

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.pod_defaults import admitted, pod_spec, quantities_of
from deploy.sandbox.kube.resources import DAEMONSETS, Resource

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""The annotation in which apps/v1 shows how often a DaemonSet's template changed; nobody can set it."""


def apply_defaults(resource: Resource, obj: Json) -> None:
    """Fills ``obj`` in place; fields that are there stay, those that are empty go."""
    _tidy(obj["metadata"])
    if resource.kind == "Namespace":
        _namespace(obj)
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    match resource.kind:
        case "Deployment":
            _deployment(spec)
        case "ReplicaSet":
            spec.setdefault("replicas", 1)
            _template(spec)
        case "StatefulSet":
            _statefulset(spec)
        case "DaemonSet":
            _daemonset(spec)
        case "Pod":
            pod_spec(spec)
            spec.setdefault("enableServiceLinks", True)
            admitted(spec)
        case "Service":
            _service(spec)


def _tidy(metadata: Json) -> None:
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        if field in metadata and not metadata[field]:
            del metadata[field]


def _deployment(spec: Json) -> None:
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.get("rollingUpdate") or {}
        strategy["rollingUpdate"] = rolling
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    _template(spec)


def _statefulset(spec: Json) -> None:
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("serviceName", "")
    spec.setdefault("podManagementPolicy", "OrderedReady")
    retention = _part(spec, "persistentVolumeClaimRetentionPolicy")
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    # A strategy that is named but has no `rollingUpdate` gets none: kubectl and the controller then act differently.
    strategy = _part(spec, "updateStrategy")
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        _part(strategy, "rollingUpdate")
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        strategy["rollingUpdate"].setdefault("partition", 0)
    for claim in spec.get("volumeClaimTemplates") or []:
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        _no_time(claim)
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        quantities_of(claim["spec"].get("resources"))
        claim.setdefault("status", {"phase": "Pending"})
    _template(spec)


def _part(whole: Json, field: str) -> Json:
    """An object inside another, made where it is missing or null."""
    if whole.get(field) is None:
        whole[field] = {}
    part: Json = whole[field]
    return part


def _daemonset(spec: Json) -> None:
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = _part(spec, "updateStrategy")
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = _part(strategy, "rollingUpdate")
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    _template(spec)


def count_template(resource: Resource, obj: Json, before: Json | None) -> None:
    """Keeps a DaemonSet's count of templates in place: 1 at first, one more with each change of the template."""
    if resource is not DAEMONSETS:
        return
    number = 1
    if before is not None:
        changed = before["spec"].get("template") != obj["spec"].get("template")
        number = int(before["metadata"]["annotations"][TEMPLATE_GENERATION]) + changed
    annotations = obj["metadata"].get("annotations") or {}
    obj["metadata"]["annotations"] = {**annotations, TEMPLATE_GENERATION: str(number)}


def _template(spec: Json) -> None:
    template = spec.get("template")
    if isinstance(template, dict):
        _no_time(template)
        if isinstance(template.get("spec"), dict):
            pod_spec(template["spec"])


def _no_time(part: Json) -> None:
    """A part of an object was not made at a moment; up to 1.34 or so this was written as null."""
    metadata = _part(part, "metadata")
    if metadata.get("creationTimestamp") is None:
        metadata.pop("creationTimestamp", None)


def _namespace(obj: Json) -> None:
    labels = obj["metadata"].get("labels") or {}
    obj["metadata"]["labels"] = {**labels, "kubernetes.io/metadata.name": obj["metadata"]["name"]}
    _part(obj, "spec").setdefault("finalizers", ["kubernetes"])


def _service(spec: Json) -> None:
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
