"""Reading and marking workload objects: owners, revisions, template hashes, conditions, percentages."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.registry import SUFFIX_LETTERS
from deploy.sandbox.kube.resources import Resource

MANAGER = "kube-controller-manager"
CREATE_RETRY_SECONDS = 1.0
"""Pause after a pod was refused (quota, admission); real controllers back off from 5 ms to 16 min."""

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
NOT_COPIED = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
        "deprecated.deployment.rollback.to",
    )
)
"""Annotations that a Deployment does not hand down to its ReplicaSets."""


def annotations_of(obj: Json) -> dict[str, str]:
    """An object's annotations, to read only."""
    return obj["metadata"].get("annotations") or {}


def annotate(obj: Json, key: str, value: str) -> bool:
    """Sets an annotation in place; whether that changed anything."""
    changed = annotations_of(obj).get(key) != value
    obj["metadata"]["annotations"] = {**annotations_of(obj), key: value}
    return changed


def revision(obj: Json) -> int:
    """The revision number an object carries, 0 without a readable one."""
    text = annotations_of(obj).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def controller_of(obj: Json) -> Json | None:
    """The ownerReference with ``controller: true``, or None."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def controlled_by(obj: Json, owner: Json) -> bool:
    """Whether ``owner`` is the controller of ``obj``, by uid."""
    reference = controller_of(obj)
    return reference is not None and bool(reference["uid"] == owner["metadata"]["uid"])


def owner_reference(resource: Resource, owner: Json) -> Json:
    """The reference that makes ``owner`` the controller of something."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pod_of(template: Json, owner: Json) -> Json:
    """A pod of ``template`` under the ownerReference ``owner``, to be named."""
    template = copy.deepcopy(template)
    metadata = {key: value for key, value in template["metadata"].items() if key in ("labels", "annotations")}
    spec = template["spec"]
    spec.setdefault("serviceAccountName", "default")
    return {"metadata": {**metadata, "ownerReferences": [owner]}, "spec": spec}


def replicas(obj: Json) -> int:
    """``spec.replicas``."""
    return int(obj["spec"].get("replicas") or 0)


def count(obj: Json, field: str) -> int:
    """A number of the status; one that is left out is 0."""
    return int((obj.get("status") or {}).get(field) or 0)


def bare_template(template: Json) -> Json:
    """A copy of a pod template without the label ``pod-template-hash``."""
    result = copy.deepcopy(template)
    labels = (result.get("metadata") or {}).get("labels") or {}
    labels.pop(HASH_LABEL, None)
    return result


def template_hash(template: Json, collisions: int) -> str:
    """A short hash like the real one (FNV-1a, 32 bit, spelt in safe letters); its value differs from the real one's."""
    value = 2166136261
    for byte in json.dumps([bare_template(template), collisions], sort_keys=True).encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return "".join(SUFFIX_LETTERS[ord(digit) % len(SUFFIX_LETTERS)] for digit in str(value))


def surge(deployment: Json) -> int:
    """MaxSurge in pods: percentages round up; 0 for Recreate."""
    return _bounds(deployment)[0]


def unavailable(deployment: Json) -> int:
    """MaxUnavailable in pods: percentages round down, at least 1 when maxSurge is 0; 0 for Recreate."""
    return _bounds(deployment)[1]


def _bounds(deployment: Json) -> tuple[int, int]:
    strategy = deployment["spec"]["strategy"]
    if strategy["type"] != "RollingUpdate":
        return 0, 0
    rolling, total = strategy["rollingUpdate"], replicas(deployment)
    more = amount(rolling["maxSurge"], total, up=True)
    fewer = amount(rolling["maxUnavailable"], total, up=False)
    return more, min(total, max(fewer, 1 if more == 0 else 0))


def amount(value: Any, total: int, *, up: bool) -> int:
    """A number, or a percentage of ``total`` rounded ``up`` or down."""
    if isinstance(value, str):
        share = int(value.rstrip("%")) * total / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)


def condition(status: Json, kind: str) -> Json | None:
    """The status condition of a type, or None."""
    return next((one for one in status.get("conditions") or [] if one["type"] == kind), None)


def is_ready(pod: Json) -> bool:
    """Whether the pod's Ready condition is True."""
    found = condition(pod.get("status") or {}, "Ready")
    return found is not None and found["status"] == "True"


def is_terminating(obj: Json) -> bool:
    """Whether its deletion has begun."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def is_active(pod: Json) -> bool:
    """Whether a ReplicaSet counts the pod: neither finished nor being deleted."""
    done = pod.get("status", {}).get("phase") in ("Failed", "Succeeded")
    return not done and not pod["metadata"].get("deletionTimestamp")


def without_zeros(status: Json) -> Json:
    """Go's ``omitempty``: numbers that are 0 do not appear on the wire."""
    return {key: value for key, value in status.items() if value not in (0, None, [])}
