"""What a write means: defaults, rules, admission, generation, managedFields, conflicts, dry run, graceful deletion.

The HTTP server and the controllers both write through here, so that a controller's write looks as it does on the wire.
Every method is synchronous: one write is never interleaved with another.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from deploy.sandbox.kube import errors, patches, strategic
from deploy.sandbox.kube.defaults import apply_defaults, count_template
from deploy.sandbox.kube.errors import ApiError, Json
from deploy.sandbox.kube.ownership import owned
from deploy.sandbox.kube.resources import DEPLOYMENTS, NAMESPACES, PODS, Resource
from deploy.sandbox.kube.store import Store
from deploy.sandbox.kube.validation import decode_check, validate

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""What generated names are made of: no vowels, so no words (apimachinery ``rand.String``)."""

SERVER_FIELDS = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "namespace",
)
_MISSING = ("", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """How a write is done: ``manager`` owns its fields, ``dry_run`` checks everything and stores nothing; one
    that does not ``owns`` leaves no trace in ``managedFields``, as a pod's binding to its node.
    """

    manager: str
    dry_run: bool = False
    subresource: str = ""
    owns: bool = True


Admission = Callable[[Resource, Json], str | None]
"""Sees an object before it is stored; the sentence it returns denies the write (403)."""


class Registry:
    """The API's semantics on one store. ``clock`` gives aware datetimes; ``seed`` makes uids and names repeatable."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime], seed: int = 0) -> None:
        self.store = store
        self.clock = clock
        self.admission: list[Admission] = []
        self._random = random.Random(seed)

    def stamp(self, after: float = 0.0) -> str:
        """Now, or ``after`` seconds later, as metav1.Time: whole seconds, UTC."""
        return (self.clock() + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def suffix(self, length: int = 5) -> str:
        """A generated name's ending."""
        return "".join(self._random.choices(SUFFIX_LETTERS, k=length))

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """The stored object, to read only; 404 without one."""
        found = self.store.get(resource, namespace, name)
        if found is None:
            raise errors.not_found(resource.plural, resource.group, name)
        return found

    def copy(self, resource: Resource, namespace: str, name: str) -> Json:
        """A copy to change and give back to ``update``; 404 without one."""
        return copy.deepcopy(self.get(resource, namespace, name))

    def create(self, resource: Resource, namespace: str, body: Json, write: Write) -> Json:
        """Stores a new object; 404 for a missing namespace, 409 AlreadyExists, else 400, 403 or 422."""
        obj = copy.deepcopy(body)
        decode_check(resource, obj)
        obj.update(apiVersion=resource.api_version, kind=resource.kind)
        self._name(resource, namespace, obj)
        metadata = obj["metadata"]
        if resource.namespaced and self.store.get(NAMESPACES, "", namespace) is None:
            raise errors.not_found("namespaces", "", namespace)
        metadata["uid"] = str(UUID(int=self._random.getrandbits(128), version=4))
        metadata["creationTimestamp"] = self.stamp()
        if resource.generation:
            metadata["generation"] = 1
        if resource.status:
            obj["status"] = _first_status(resource)
        apply_defaults(resource, obj)
        self._admit(resource, obj, None)
        if self.store.get(resource, metadata.get("namespace", ""), metadata["name"]) is not None:
            raise errors.already_exists(resource.plural, resource.group, metadata["name"])
        count_template(resource, obj, None)
        self._own(resource, {}, obj, write)
        return obj if write.dry_run else self.store.put(resource, obj)

    def put(self, resource: Resource, namespace: str, name: str, body: Json, write: Write) -> tuple[Json, bool]:
        """``update`` as the wire has it: some kinds may be made by it; the object, and whether it is new."""
        metadata = body.get("metadata") or {}
        _check_name(metadata.get("name") or "", name)
        if not resource.put_creates or self.store.get(resource, namespace, name) is not None:
            return self.update(resource, namespace, name, body, write), False
        if metadata.get("uid") not in _MISSING:
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: "
            raise errors.conflict(resource.plural, resource.group, name, why)
        fresh = {key: value for key, value in metadata.items() if key != "resourceVersion"}
        return self.create(resource, namespace, {**body, "metadata": fresh}, write), True

    def update(self, resource: Resource, namespace: str, name: str, body: Json, write: Write) -> Json:
        """Replaces an object (or its status); 409 when ``body`` is based on an older version."""
        before = self.get(resource, namespace, name)
        decode_check(resource, body)
        _precondition(resource, before, body.get("metadata") or {})
        if resource.kind == "Lease" and (body.get("metadata") or {}).get("resourceVersion") in _MISSING:
            sentence = "Invalid value: 0: must be specified for an update"
            raise errors.invalid(resource.plural, resource.group, name, [("metadata.resourceVersion", sentence)])
        return self._replace(resource, before, body, write)

    def patch(self, resource: Resource, namespace: str, name: str, *, kind: str, patch: Any, write: Write) -> Json:
        """Applies a patch of media type ``kind``; 415 for an unknown one, 422 when it cannot be applied."""
        before = self.get(resource, namespace, name)
        after = apply_patch(kind, before, patch)
        try:
            decode_check(resource, after)
        except ApiError as error:
            raise errors.undecodable_patch(after, error.message) from error
        metadata = after.get("metadata") or {}
        _check_name(metadata.get("name") or "", name)
        if metadata.get("uid") not in (*_MISSING, before["metadata"]["uid"]):
            why = f'Invalid value: "{metadata["uid"]}": field is immutable'
            raise errors.invalid(resource.kind, resource.group, name, [("metadata.uid", why)])
        _precondition(resource, before, metadata)
        return self._replace(resource, before, after, write)

    def delete(self, resource: Resource, namespace: str, name: str, options: Json, write: Write) -> Json:
        """Deletes, or starts to: pods with a grace period and objects with finalizers first get a deletionTimestamp."""
        before = self.get(resource, namespace, name)
        _deletion_precondition(resource, before, options.get("preconditions") or {})
        if write.dry_run:
            return before
        grace = self._grace(resource, before, options)
        if grace == 0 and not before["metadata"].get("finalizers"):
            return self.store.remove(resource, namespace, name)
        return self._start_deletion(resource, before, grace)

    def _start_deletion(self, resource: Resource, before: Json, grace: int) -> Json:
        metadata = before["metadata"]
        if metadata.get("deletionTimestamp") and metadata.get("deletionGracePeriodSeconds", 0) <= grace:
            return before
        obj = copy.deepcopy(before)
        obj["metadata"].update(deletionTimestamp=self.stamp(grace), deletionGracePeriodSeconds=grace)
        if resource.generation:
            obj["metadata"]["generation"] += 1
        return self.store.put(resource, obj)

    def _grace(self, resource: Resource, obj: Json, options: Json) -> int:
        if (
            not resource.graceful
            or not obj["spec"].get("nodeName")
            or obj["status"].get("phase") in ("Failed", "Succeeded")
        ):
            return 0
        asked = options.get("gracePeriodSeconds")
        return int(obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else max(0, asked))

    def _name(self, resource: Resource, namespace: str, obj: Json) -> None:
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + self.suffix()
        if not metadata.get("name"):
            sentence = "Required value: name or generateName is required"
            raise errors.invalid(resource.kind, resource.group, "", [("metadata.name", sentence)])
        if metadata.get("resourceVersion") not in _MISSING:
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        if resource.namespaced:
            if metadata.get("namespace") not in (*_MISSING, namespace):
                raise errors.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = namespace

    def _replace(self, resource: Resource, before: Json, after: Json, write: Write) -> Json:
        obj = (
            _merge_status(resource, before, after)
            if write.subresource == "status"
            else _merge_main(resource, before, after)
        )
        apply_defaults(resource, obj)
        self._admit(resource, obj, before)
        count_template(resource, obj, before)
        if _unchanged(before, obj):
            return before
        if resource.generation and write.subresource != "status" and _counts(resource, before, obj):
            obj["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1
        self._own(resource, before, obj, write)
        if write.dry_run:
            return obj
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and not resource.graceful:
            return self.store.remove(resource, metadata.get("namespace", ""), metadata["name"])
        return self.store.put(resource, obj)

    def _admit(self, resource: Resource, obj: Json, before: Json | None) -> None:
        validate(resource, obj, before)
        for check in self.admission:
            denied = check(resource, obj)
            if denied:
                message = f'admission webhook "policy.sandbox.example" denied the request: {denied}'
                raise ApiError(403, "Forbidden", message)

    def _own(self, resource: Resource, before: Json, obj: Json, write: Write) -> None:
        if not write.owns:
            return
        obj["metadata"]["managedFields"] = owned(
            before,
            obj,
            manager=write.manager,
            subresource=write.subresource,
            api_version=resource.api_version,
            time=self.stamp(),
        )


def apply_patch(kind: str, before: Json, patch: Any) -> Any:
    """The patched copy of ``before``; 415 for a media type that is not served (server-side apply is not)."""
    match kind:
        case "application/json-patch+json":
            return patches.json_patch(before, patch)
        case "application/merge-patch+json":
            if not isinstance(patch, dict):
                raise errors.bad_request("error decoding patch: json: cannot unmarshal into a map[string]interface {}")
            return patches.merge_patch(before, patch)
        case "application/strategic-merge-patch+json":
            return strategic.strategic_patch(before, patch)
    raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type")


def _first_status(resource: Resource) -> Json:
    match resource.kind:
        case "Pod":
            return {"phase": "Pending", "qosClass": "BestEffort"}
        case "Namespace":
            return {"phase": "Active"}
        case "PersistentVolumeClaim":
            return {"phase": "Bound"}
        case "ReplicaSet":
            return {"replicas": 0}
        case "StatefulSet":
            return {"replicas": 0, "availableReplicas": 0}
        case "DaemonSet":
            fields = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
            return dict.fromkeys(fields, 0)
    return {}


def _check_name(named: str, on_url: str) -> None:
    if not named:
        sentence = f"the name of the object ({on_url} based on URL) was undeterminable: name must be provided"
        raise errors.bad_request(sentence)
    if named != on_url:
        raise errors.bad_request(f"the name of the object ({named}) does not match the name on the URL ({on_url})")


def _deletion_precondition(resource: Resource, before: Json, wanted: Json) -> None:
    hints = {
        "uid": ("UID", "The object might have been deleted and then recreated"),
        "resourceVersion": ("ResourceVersion", "The object might have been modified"),
    }
    for field, (word, hint) in hints.items():
        asked, own = wanted.get(field), before["metadata"][field]
        if asked not in (None, own):
            why = f"the {word} in the precondition ({asked}) does not match the {word} in record ({own}). {hint}"
            raise errors.conflict(resource.kind, resource.group, before["metadata"]["name"], why)


def _precondition(resource: Resource, before: Json, metadata: Json) -> None:
    own = before["metadata"]
    if metadata.get("namespace") not in (*_MISSING, own.get("namespace")):
        sentence = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.bad_request(sentence)
    if not str(metadata.get("resourceVersion") or "0").isdigit():
        raise errors.version_is_no_number(metadata["resourceVersion"])
    if metadata.get("uid") not in (*_MISSING, own["uid"]):
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {own['uid']}"
        raise errors.conflict(resource.plural, resource.group, own["name"], why)
    if metadata.get("resourceVersion") not in (*_MISSING, own["resourceVersion"]):
        raise errors.conflict(resource.plural, resource.group, own["name"])


def _merge_status(resource: Resource, before: Json, after: Json) -> Json:
    """A status write: spec and labels stay. Annotations do pass, which is how the real controller writes revisions."""
    obj = copy.deepcopy(before)
    obj["status"] = copy.deepcopy(after.get("status") or {})
    annotations = (after.get("metadata") or {}).get("annotations")
    if resource is DEPLOYMENTS and annotations:
        obj["metadata"]["annotations"] = dict(annotations)
    return obj


def _merge_main(resource: Resource, before: Json, after: Json) -> Json:
    """A write of the object itself: what the server owns stays, and so does the status where it is a subresource."""
    obj = copy.deepcopy(after)
    obj.update(apiVersion=resource.api_version, kind=resource.kind)
    metadata, own = obj.setdefault("metadata", {}), before["metadata"]
    metadata["name"] = own["name"]
    for field in SERVER_FIELDS:
        if field in own:
            metadata[field] = own[field]
        else:
            metadata.pop(field, None)
    metadata.setdefault("managedFields", copy.deepcopy(own.get("managedFields", [])))
    if resource.status:
        obj["status"] = copy.deepcopy(before.get("status", {}))
    if resource is PODS and "nodeName" in before["spec"]:
        obj["spec"]["nodeName"] = before["spec"]["nodeName"]
    return obj


def _counts(resource: Resource, before: Json, obj: Json) -> bool:
    """Whether generation moves. A Deployment's annotations count too: they are copied to its ReplicaSets."""
    if resource is PODS:
        return bool({**before["spec"], "nodeName": ""} != {**obj["spec"], "nodeName": ""})
    if before.get("spec") != obj.get("spec"):
        return True
    return resource is DEPLOYMENTS and before["metadata"].get("annotations") != obj["metadata"].get("annotations")


def _unchanged(before: Json, obj: Json) -> bool:
    return _comparable(before) == _comparable(obj)


def _comparable(obj: Json) -> str:
    metadata = {
        key: value for key, value in obj["metadata"].items() if key != "resourceVersion" and value not in ({}, [])
    }
    return json.dumps({**obj, "metadata": metadata}, sort_keys=True)
