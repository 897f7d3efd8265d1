"""Which fields Kubernetes knows, asked of the client library's models: a misspelt field is dropped by a real server,
with a warning that nobody reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes_asyncio.client import models

_OF = re.compile(r"(?:list|dict)[\[(](?:str, ?)?(?P<item>\w+)[\])]")

MODELS = {
    ("v1", "Namespace"): "V1Namespace",
    ("v1", "ServiceAccount"): "V1ServiceAccount",
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("v1", "PersistentVolumeClaim"): "V1PersistentVolumeClaim",
    ("v1", "Service"): "V1Service",
    ("v1", "Pod"): "V1Pod",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
    ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "V1ClusterRole",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "V1ClusterRoleBinding",
    ("rbac.authorization.k8s.io/v1", "Role"): "V1Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "V1RoleBinding",
}
"""The kinds of Kubernetes itself that the chart may render, or a page shows; the operator's and Grafana's are not here."""


def unknown_fields(obj: dict[str, Any]) -> list[str]:
    """Paths of fields that the kind does not have, and of plain values where an object belongs. KeyError for a kind
    that is not in MODELS.
    """
    return list(_unknown(MODELS[obj["apiVersion"], obj["kind"]], obj, obj["kind"]))


def _unknown(type_name: str, value: Any, where: str) -> Iterator[str]:
    inner = _OF.fullmatch(type_name)
    if inner is not None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _unknown(inner["item"], item, f"{where}.{key}")
        return
    model = getattr(models, type_name, None)
    if model is None:  # str, int, object, datetime
        return
    if not isinstance(value, dict):
        yield f"{where}: {type(value).__name__} instead of {type_name}"
        return
    fields = {json_name: model.openapi_types[name] for name, json_name in model.attribute_map.items()}
    for key, item in value.items():
        if key not in fields:
            yield f"{where}.{key}: no field of {type_name}"
        elif item is None:
            yield f"{where}.{key}: null"
        else:
            yield from _unknown(fields[key], item, f"{where}.{key}")
