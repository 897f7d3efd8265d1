"""The rules a write must keep, as 400 (cannot be decoded) or 422 (decoded, but against the schema).

Only those that a rollback or a newcomer's manifest can break: names, types of the numbers, containers, selectors.
Unknown fields are kept, as a newer server keeps fields that an older client does not know.
"""

from __future__ import annotations

import json
import re
from typing import Any

from deploy.sandbox.kube import names
from deploy.sandbox.kube.errors import Json, bad_request, invalid
from deploy.sandbox.kube.names import Causes
from deploy.sandbox.kube.resources import Resource
from deploy.sandbox.kube.selectors import spec_matches

_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_PERCENT = re.compile(r"[0-9]+%")
_WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
_STRATEGIES = ("RollingUpdate", "OnDelete")
_CHANGEABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
"""What may change in a StatefulSet's spec."""

_NUMBERS = ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")


def decode_check(resource: Resource, obj: Any) -> None:
    """Raises 400 where a Go server could not decode the object at all."""
    if not isinstance(obj, dict) or (obj.get("apiVersion", resource.api_version), obj.get("kind", resource.kind)) != (
        resource.api_version,
        resource.kind,
    ):
        raise bad_request(f"not an object of {resource.api_version}, Kind={resource.kind}")
    for field in ("metadata", "spec", "status"):
        if field in obj and obj[field] is not None and not isinstance(obj[field], dict):
            raise bad_request(
                f"{resource.kind} in version {resource.version!r} cannot be handled: {field} is no object"
            )
    for field in ("labels", "annotations"):
        values = (obj.get("metadata") or {}).get(field) or {}
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise bad_request(f"cannot unmarshal metadata.{field}: its values must be strings")
    if resource.kind == "Lease":
        for field in ("acquireTime", "renewTime"):
            text = (obj.get("spec") or {}).get(field)
            if text is not None and not _MICRO_TIME.fullmatch(str(text)):
                raise bad_request(f'parsing time "{text}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse')
    if resource.kind in _WORKLOADS:
        for field in _NUMBERS:
            value = (obj.get("spec") or {}).get(field)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise bad_request(f"{resource.kind}.spec.{field}: cannot unmarshal into a number of type int32")


def validate(resource: Resource, obj: Json, before: Json | None) -> None:
    """Raises 422 with every cause; ``before`` is the object that is replaced."""
    name = str(obj["metadata"].get("name") or "")
    causes = names.of_object(name, "metadata.name") + _marks(obj["metadata"], "metadata")
    if resource.kind in _WORKLOADS:
        causes += _workload(obj.get("spec") or {}, (before or {}).get("spec"))
    if resource.kind == "Deployment" and obj.get("spec"):
        causes += _deployment(obj["spec"])
    if resource.kind == "StatefulSet" and obj.get("spec"):
        causes += _statefulset(obj["spec"], (before or {}).get("spec"))
    if resource.kind == "DaemonSet" and obj.get("spec"):
        causes += _daemonset(obj["spec"])
    if resource.kind == "ControllerRevision":
        causes += _controller_revision(obj, before)
    if resource.kind == "Lease":
        causes += _lease(obj.get("spec") or {})
    if resource.kind == "Pod":
        causes += _containers(obj.get("spec") or {}, "spec")
    if causes:
        raise invalid(resource.kind, resource.group, name, causes)


def _marks(metadata: Json, field: str) -> Causes:
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return names.of_labels(labels, f"{field}.labels") + names.of_annotations(annotations, f"{field}.annotations")


def _lease(spec: Json) -> Causes:
    seconds = spec.get("leaseDurationSeconds")
    if seconds is None or seconds > 0:
        return []
    return [("spec.leaseDurationSeconds", f"Invalid value: {seconds}: must be greater than 0")]


def _workload(spec: Json, before: Json | None) -> Causes:
    causes: Causes = []
    for field in _NUMBERS:
        if (spec.get(field) or 0) < 0:
            causes.append((f"spec.{field}", f"Invalid value: {spec[field]}: must be greater than or equal to 0"))
    causes += _selector(spec, before)
    template = spec.get("template") or {}
    causes += _marks(template.get("metadata") or {}, "spec.template")
    causes += _containers(template.get("spec") or {}, "spec.template.spec")
    return causes


def _deployment(spec: Json) -> Causes:
    causes: Causes = []
    kind, rolling = spec["strategy"]["type"], spec["strategy"].get("rollingUpdate")
    place = "spec.strategy.rollingUpdate"
    if kind not in ("Recreate", "RollingUpdate"):
        causes.append(("spec.strategy", f'Unsupported value: "{kind}": supported values: "Recreate", "RollingUpdate"'))
    elif kind == "Recreate" and rolling is not None:
        causes.append((place, "Forbidden: may not be specified when strategy `type` is 'Recreate'"))
    elif kind == "RollingUpdate":
        for field in ("maxUnavailable", "maxSurge"):
            causes += _amount(rolling[field], f"{place}.{field}")
        if not causes and all(str(rolling[field]).rstrip("%") == "0" for field in ("maxUnavailable", "maxSurge")):
            sentence = f"Invalid value: {_text(rolling['maxUnavailable'])}: may not be 0 when `maxSurge` is 0"
            causes.append((f"{place}.maxUnavailable", sentence))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        sentence = f"Invalid value: {deadline}: must be greater than minReadySeconds"
        causes.append(("spec.progressDeadlineSeconds", sentence))
    return causes


def _amount(value: Any, field: str) -> Causes:
    """A number of pods, or a percentage."""
    if isinstance(value, str) and not _PERCENT.fullmatch(value):
        sentence = "a valid percent string must be a numeric string followed by an ending '%'"
        return [(field, f"Invalid value: {_text(value)}: {sentence}")]
    if isinstance(value, int) and value < 0:
        return [(field, f"Invalid value: {value}: must be greater than or equal to 0")]
    return []


def _text(value: Any) -> str:
    """A value as a sentence shows it."""
    return json.dumps(value, separators=(",", ":"))


def _statefulset(spec: Json, before: Json | None) -> Causes:
    causes = _strategy_type(spec)
    policy, strategy = spec["podManagementPolicy"], spec["updateStrategy"]
    rolling = strategy.get("rollingUpdate")
    if policy not in ("OrderedReady", "Parallel"):
        sentence = f"Invalid value: \"{policy}\": must be 'OrderedReady' or 'Parallel'"
        causes.append(("spec.podManagementPolicy", sentence))
    if strategy["type"] == "OnDelete" and rolling is not None:
        sentence = f"Invalid value: {rolling}: only allowed for updateStrategy 'RollingUpdate'"
        causes.append(("spec.updateStrategy.rollingUpdate", sentence))
    if ((rolling or {}).get("partition") or 0) < 0:
        sentence = f"Invalid value: {rolling['partition']}: must be greater than or equal to 0"
        causes.append(("spec.updateStrategy.rollingUpdate.partition", sentence))
    if before is not None and _fixed(spec) != _fixed(before):
        named = ", ".join(f"'{field}'" for field in _CHANGEABLE[:-1])
        sentence = f"updates to statefulset spec for fields other than {named} and '{_CHANGEABLE[-1]}' are forbidden"
        causes.append(("spec", f"Forbidden: {sentence}"))
    return causes


def _fixed(spec: Json) -> Json:
    return {key: value for key, value in spec.items() if key not in _CHANGEABLE}


def _daemonset(spec: Json) -> Causes:
    causes = _strategy_type(spec)
    if spec["updateStrategy"]["type"] != "RollingUpdate":
        return causes
    rolling = spec["updateStrategy"]["rollingUpdate"]
    zero = {field: rolling[field] in (0, "0%") for field in ("maxUnavailable", "maxSurge")}
    if all(zero.values()):
        sentence = "Required value: cannot be 0 when maxSurge is 0"
        causes.append(("spec.updateStrategy.rollingUpdate.maxUnavailable", sentence))
    if not any(zero.values()):
        sentence = f"Invalid value: {rolling['maxSurge']}: may not be set when maxUnavailable is non-zero"
        causes.append(("spec.updateStrategy.rollingUpdate.maxSurge", sentence))
    return causes


def _strategy_type(spec: Json) -> Causes:
    kind = spec["updateStrategy"]["type"]
    if kind in _STRATEGIES:
        return []
    return [("spec.updateStrategy", f"Invalid value: \"{kind}\": must be 'RollingUpdate' or 'OnDelete'")]


def _controller_revision(obj: Json, before: Json | None) -> Causes:
    causes: Causes = []
    if not isinstance(obj.get("data"), dict):
        causes.append(("data", "Required value: data is mandatory"))
    if obj.get("revision", 0) < 0:
        causes.append(("revision", f"Invalid value: {obj['revision']}: must be greater than or equal to 0"))
    if before is not None and before.get("data") != obj.get("data"):
        causes.append(("data", "Invalid value: field is immutable"))
    return causes


def _selector(spec: Json, before: Json | None) -> Causes:
    selector = spec.get("selector")
    causes: Causes = []
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selector is None:
        causes.append(("spec.selector", "Required value"))
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return [("spec.selector", "Invalid value: {}: empty selector is invalid for deployment")]
    if not spec_matches(selector, labels or {}):
        sentence = f"Invalid value: {_text(labels)}: `selector` does not match template `labels`"
        causes.append(("spec.template.metadata.labels", sentence))
    if before is not None and before.get("selector") != selector:
        causes.append(("spec.selector", f"Invalid value: {_text(selector)}: field is immutable"))
    return causes


def _containers(spec: Json, path: str) -> Causes:
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        return [(f"{path}.containers", "Required value")]
    causes: Causes = []
    seen: set[str] = set()
    for at, container in enumerate(containers):
        place = f"{path}.containers[{at}]"
        for field in ("name", "image"):
            if not container.get(field):
                causes.append((f"{place}.{field}", "Required value"))
        name = str(container.get("name") or "")
        causes += names.of_container(name, f"{place}.name") if name else []
        if name and name in seen:
            causes.append((f"{place}.name", f'Duplicate value: "{name}"'))
        seen.add(name)
    policy = spec.get("restartPolicy", "Always")
    if path != "spec" and policy != "Always":
        causes.append((f"{path}.restartPolicy", f'Unsupported value: "{policy}": supported values: "Always"'))
    return causes
