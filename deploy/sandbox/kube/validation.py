"""The rules a write must keep, as 400 (cannot be decoded) or 422 (decoded, but against the schema).

Only those that a rollback or a newcomer's manifest can break: names, types of the numbers, containers, selectors.
Unknown fields are kept, as a newer server keeps fields that an older client does not know.
"""

from __future__ import annotations

import re

from deploy.sandbox.kube.errors import Json, bad_request, invalid
from deploy.sandbox.kube.resources import Resource
from deploy.sandbox.kube.selectors import spec_matches

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_NAME_MAX = 253
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

Causes = list[tuple[str, str]]


def decode_check(resource: Resource, obj: Json) -> None:
    """Raises 400 where a Go server could not decode the object at all."""
    for field in ("metadata", "spec", "status"):
        if field in obj and obj[field] is not None and not isinstance(obj[field], dict):
            raise bad_request(
                f"{resource.kind} in version {resource.version!r} cannot be handled: {field} is no object"
            )
    for field in ("labels", "annotations"):
        values = obj.get("metadata", {}).get(field) or {}
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise bad_request(f"cannot unmarshal metadata.{field}: its values must be strings")
    if resource.kind in _WORKLOADS:
        for field in _NUMBERS:
            value = (obj.get("spec") or {}).get(field)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise bad_request(f"{resource.kind}.spec.{field}: cannot unmarshal into a number of type int32")


def validate(resource: Resource, obj: Json, before: Json | None) -> None:
    """Raises 422 with every cause; ``before`` is the object that is replaced."""
    name = str(obj["metadata"].get("name") or "")
    causes: Causes = []
    if not _NAME.match(name) or len(name) > _NAME_MAX:
        causes.append(("metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain is needed'))
    if resource.kind in _WORKLOADS:
        causes += _workload(obj.get("spec") or {}, (before or {}).get("spec"))
    if resource.kind == "StatefulSet" and obj.get("spec"):
        causes += _statefulset(obj["spec"], (before or {}).get("spec"))
    if resource.kind == "DaemonSet" and obj.get("spec"):
        causes += _daemonset(obj["spec"])
    if resource.kind == "ControllerRevision":
        causes += _controller_revision(obj, before)
    if resource.kind == "Pod":
        causes += _containers(obj.get("spec") or {}, "spec")
    if causes:
        raise invalid(resource.kind, resource.group, name, causes)


def _workload(spec: Json, before: Json | None) -> Causes:
    causes: Causes = []
    for field in _NUMBERS:
        if (spec.get(field) or 0) < 0:
            causes.append((f"spec.{field}", f"Invalid value: {spec[field]}: must be greater than or equal to 0"))
    causes += _selector(spec, before)
    template = spec.get("template") or {}
    causes += _containers(template.get("spec") or {}, "spec.template.spec")
    return causes


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
    if not selector:
        return [("spec.selector", "Required value")]
    if not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return [("spec.selector", "Invalid value: empty selector is invalid for deployment")]
    causes: Causes = []
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not spec_matches(selector, labels):
        sentence = f"Invalid value: {labels}: `selector` does not match template `labels`"
        causes.append(("spec.template.metadata.labels", sentence))
    if before is not None and before.get("selector") != selector:
        causes.append(("spec.selector", f"Invalid value: {selector}: field is immutable"))
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
        name = str(container.get("name"))
        if name in seen:
            causes.append((f"{place}.name", f'Duplicate value: "{name}"'))
        seen.add(name)
    policy = spec.get("restartPolicy", "Always")
    if path != "spec" and policy != "Always":
        causes.append((f"{path}.restartPolicy", f'Unsupported value: "{policy}": supported values: "Always"'))
    return causes
