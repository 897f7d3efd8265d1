"""Marks that a rollback leaves on a controller's object that it suspended, and the end of that suspension for Flux.

`lastgood.dev/suspended-by` is the action, `lastgood.dev/suspended-until` when Lastgood ends it (RFC 3339). Together with
the field manager of `spec.suspend` they tell our suspension from one that a person made: what a person suspended, or has
suspended again since, is never ended.
"""

from __future__ import annotations

from datetime import UTC, datetime

from daemon.core.model import Owner
from handlers import views
from handlers.kube import resource_path
from handlers.kube_json import Obj
from handlers.workload_objects import FIELD_MANAGER, Api, annotation_path, found

SUSPENDED_BY = "lastgood.dev/suspended-by"
SUSPENDED_UNTIL = "lastgood.dev/suspended-until"
MARKS = (SUSPENDED_BY, SUSPENDED_UNTIL)

_VERSIONS = {
    "Kustomization": ("kustomizations", "kustomize.toolkit.fluxcd.io", ("v1", "v1beta2")),
    "HelmRelease": ("helmreleases", "helm.toolkit.fluxcd.io", ("v2", "v2beta2", "v2beta1")),
}
"""Plural, group, and versions, newest first: what Flux 2 has served since 2022."""


def flux_paths(owner: Owner) -> tuple[str, ...]:
    """The addresses under which the owner's object may be served; none where its name says no object."""
    kind, _, place = owner.name.partition(" ")
    namespace, _, name = place.partition("/")
    if kind not in _VERSIONS or not name or namespace in ("", "?"):
        return ()
    plural, group, versions = _VERSIONS[kind]
    return tuple(resource_path(f"{group}/{each}", plural, namespace=namespace, name=name) for each in versions)


async def read_flux(api: Api, owner: Owner) -> tuple[str, Obj] | None:
    """The owner's object and its address, None where there is none. Raises Transient and Permanent."""
    for path in flux_paths(owner):
        if (obj := await found(api, path)) is not None:
            return path, obj
    return None


def is_suspended(obj: Obj) -> bool:
    """Whether its controller leaves it alone."""
    return (obj.get("spec") or {}).get("suspend") is True


def is_ours(obj: Obj) -> bool:
    """Whether it is suspended, and by us: our mark is there, and nobody has written `spec.suspend` since."""
    return is_suspended(obj) and SUSPENDED_BY in views.annotations_of(obj) and _owns_suspend(obj)


def _owns_suspend(obj: Obj) -> bool:
    """A person who resumes it and suspends it again owns the field then; the mark is still there."""
    entries = obj["metadata"].get("managedFields") or ()
    ours = [entry for entry in entries if entry.get("manager") == FIELD_MANAGER]
    return any("f:suspend" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}) for entry in ours)


def suspend_patch(obj: Obj, *, action: str, until: datetime) -> list[Obj]:
    """The JSON Patch that suspends it and says who and until when; it fails where somebody has written it since."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    ops: list[Obj] = [{"op": "test", "path": "/metadata/uid", "value": metadata["uid"]}]
    if "suspend" in spec:
        ops.append({"op": "test", "path": "/spec/suspend", "value": spec["suspend"]})
    else:  # a `test` of an absent member says different things in different libraries: the version is tested
        ops.append({"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]})
    ops.append({"op": "add", "path": "/spec/suspend", "value": True})
    if metadata.get("annotations") is None:
        ops.insert(1, {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]})
        ops.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    marks = {SUSPENDED_BY: action, SUSPENDED_UNTIL: until.astimezone(UTC).isoformat(timespec="seconds")}
    return ops + [{"op": "add", "path": annotation_path(key), "value": value} for key, value in marks.items()]


def resume_patch(obj: Obj) -> list[Obj]:
    """The JSON Patch that lets it go on and takes our marks away; of one that is not ours any more only the marks.

    `spec.suspend` becomes false rather than absent, as `flux resume` leaves it; the default is the same.
    """
    annotations = views.annotations_of(obj)
    ops: list[Obj] = [{"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]}]
    if SUSPENDED_BY in annotations:
        value = annotations[SUSPENDED_BY]
        ops.append({"op": "test", "path": annotation_path(SUSPENDED_BY), "value": value})
    if is_ours(obj):
        version = obj["metadata"]["resourceVersion"]  # nobody may have suspended it anew in between
        ops.append({"op": "test", "path": "/metadata/resourceVersion", "value": version})
        ops.append({"op": "replace", "path": "/spec/suspend", "value": False})
    return ops + [{"op": "remove", "path": annotation_path(key)} for key in MARKS if key in annotations]


def resume_command(owner: Owner) -> str:
    """What a person types to end it."""
    kind, _, place = owner.name.partition(" ")
    namespace, _, name = place.partition("/")
    return f"flux resume {kind.lower()} {name} --namespace {namespace}"
