"""What a rollback sends to the API server, step by step, by the kind of workload: pure functions over fresh objects.

Shared by the rollback and by its check beforehand, so that what is tried with `dryRun=All` is what is sent. For most kinds
it is one patch of the template. A Rollout of Argo goes one of two roads (protocols §2.4):

Abort, while an update is in flight: traffic goes back to the stable ReplicaSet at once and `spec.template` stays as it is,
so nothing is fought over with a GitOps controller. Only where the stable revision is the target. The annotations are a
step of their own, because a write to the status subresource cannot change metadata; they come first, so that the moment in
which the abort shows is already known as ours, and say which road they begin, so that they alone prove nothing.

Undo, after full promotion: the guarded patch of the template, and `promoteFull` once the controller has taken it up (it
forgets an earlier one), or traffic would crawl through the canary's steps while the bad revision serves.

With `workloadRef` an undo would have to change the object behind the Rollout, which others own and which may be scaled to
nothing or still serve: never ours to touch, so it is refused with the command. An abort needs no template and is not.

A blue/green Service is switched back: one label of its selector, where the other Deployment can serve at once. That one is
read just before, and is no part of the patch's tests: nothing can test two objects at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from daemon.core.model import Workload
from handlers import revisions, views, workload_objects
from handlers.kinds import KINDS, ROLLOUT, SERVICE, rollout, service
from handlers.kinds.deployment import is_moving
from handlers.kinds.kind import count, replicas
from handlers.kube import resource_path
from handlers.kube_json import Obj
from handlers.workload_objects import Fresh


class Road(StrEnum):
    """How a Rollout goes back; the values are those of the annotation `views.ROAD`."""

    ABORT = "abort"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One JSON Patch (RFC 6902) and where it goes; `what` is for people."""

    what: str
    path: str
    ops: Sequence[Obj]


@dataclass(frozen=True, slots=True)
class NoWay:
    """Why the target cannot be rolled back to from here, with what a person can do."""

    why: str


def steps(
    workload: Workload, fresh: Fresh, target: revisions.Json, annotations: Mapping[str, str]
) -> Sequence[Step] | NoWay:
    """Every step of the rollback to the history object `target`, in order, as they can be tried now."""
    if workload.kind == SERVICE.name:
        found = switch(workload, fresh, target, annotations)
        return found if isinstance(found, NoWay) else (found,)
    if workload.kind != ROLLOUT.name:
        ops = workload_objects.guarded_patch(fresh, target, annotations)
        return (Step(what="the patch", path=workload_objects.path_of(workload), ops=ops),)
    road = road_of(fresh, target)
    if isinstance(road, NoWay):
        return road
    if road is Road.ABORT:
        return (mark(workload, fresh, annotations), abort(workload, fresh))
    return (undo(workload, fresh, target, annotations), promote(workload, fresh))


def switch(workload: Workload, fresh: Fresh, target: revisions.Json, annotations: Mapping[str, str]) -> Step | NoWay:
    """Put the target's value into the selector, if its Deployment has as many ready pods as the present one is to have."""
    obj = fresh.workload
    why = service.why_not(obj)
    label, present = service.label_of(obj), service.present(obj, fresh.history)
    if why is not None or label is None or present is None:
        return NoWay(
            f"{workload.short} is not switched by Lastgood: {why or 'no Deployment, or several, are selected'}"
        )
    good, bad = target["deployment"], present.obj["deployment"]
    name, needed, ready = good["metadata"]["name"], max(replicas(bad), 1), count(good, "readyReplicas")
    if sum(each["colour"] == target["colour"] for each in fresh.history) > 1:
        return NoWay(f"{label}={target['colour']} would select several Deployments")
    if is_moving(good):
        return NoWay(f"Deployment/{name} exchanges its pods just now")
    if ready < needed:
        return NoWay(
            f"Deployment/{name} has {ready} ready pod(s), and Deployment/{bad['metadata']['name']} serves with {needed}: "
            f"`kubectl scale deployment {name} --namespace {workload.namespace} --replicas={needed}`"
        )
    selector = service.selector_of(obj)
    ops = [
        _test("/metadata/uid", fresh.uid),
        _test("/spec/selector", selector),
        {"op": "replace", "path": f"/spec/selector/{_escaped(label)}", "value": target["colour"]},
        *({"op": "add", "path": workload_objects.annotation_path(k), "value": v} for k, v in annotations.items()),
    ]
    return Step(what="the switch", path=workload_objects.path_of(workload), ops=ops)


def road_of(fresh: Fresh, target: revisions.Json) -> Road | NoWay:
    """The road from the present revision of a Rollout to the target."""
    obj = fresh.workload
    number = revisions.number_of(target)
    undone = _command(obj, "undo", f"--to-revision={number}")
    if rollout.is_in_flight(obj) and not rollout.is_aborted(obj):
        if rollout.stable_hash(obj) == rollout.hash_of(target):
            return Road.ABORT
        return NoWay(
            f"an update is in flight, and its abort goes back to the stable revision, which is not #{number}: "
            f"`{_command(obj, 'abort')}`, or `{undone}` and `{_command(obj, 'promote', '--full')}`"
        )
    ref = rollout.workload_ref(obj)
    if ref is not None:
        return NoWay(
            f"its template is that of {ref.get('kind')}/{ref['name']} (workloadRef), which Lastgood never touches: "
            f"`{undone}`, then `{_command(obj, 'promote', '--full')}`"
        )
    return Road.UNDO


def mark(workload: Workload, fresh: Fresh, annotations: Mapping[str, str], road: Road | None = Road.ABORT) -> Step:
    """Who is about to change it and why. The change cause stays: it is that of the template, which stays too.

    `road` is the one that a Rollout is about to go; None for every other kind.
    """
    obj = fresh.workload
    kept = {key: value for key, value in annotations.items() if key != revisions.CHANGE_CAUSE}
    if road is not None:
        kept[views.ROAD] = road
    ops = [_test("/metadata/uid", fresh.uid), *_unchanged_template(obj)]
    if obj["metadata"].get("annotations") is None:
        ops += [
            _test("/metadata/resourceVersion", obj["metadata"]["resourceVersion"]),
            {"op": "add", "path": "/metadata/annotations", "value": {}},
        ]
    ops += [
        {"op": "add", "path": workload_objects.annotation_path(key), "value": str(value)} for key, value in kept.items()
    ]
    return Step(what="the annotation", path=workload_objects.path_of(workload), ops=ops)


def abort(workload: Workload, fresh: Fresh) -> Step:
    """Give the update up. A template that is newer than this status ends the abort again: the controller sees to it."""
    obj = fresh.workload
    ops = [
        _test("/metadata/uid", fresh.uid),
        _test("/status/currentPodHash", rollout.current_hash(obj)),
        _test("/status/stableRS", rollout.stable_hash(obj)),
        {"op": "add", "path": "/status/abort", "value": True},
    ]
    return Step(what="the abort", path=_status_path(workload), ops=ops)


def undo(workload: Workload, fresh: Fresh, target: revisions.Json, annotations: Mapping[str, str]) -> Step:
    """Put the target's template back."""
    ops = workload_objects.guarded_patch(fresh, target, {**annotations, views.ROAD: str(Road.UNDO)})
    return Step(what="the patch", path=workload_objects.path_of(workload), ops=ops)


def promote(workload: Workload, fresh: Fresh) -> Step:
    """Skip the steps of the update that is in flight now."""
    ops = [
        _test("/metadata/uid", fresh.uid),
        _test("/status/currentPodHash", rollout.current_hash(fresh.workload)),
        {"op": "add", "path": "/status/promoteFull", "value": True},
    ]
    return Step(what="the full promotion", path=_status_path(workload), ops=ops)


def road_taken(obj: Obj) -> Road | None:
    """The road that the annotations on a Rollout name; None for nonsense."""
    value = views.annotations_of(obj).get(views.ROAD)
    return Road(value) if value in list(Road) else None


def would_fail(step: Step, obj: Obj) -> bool:
    """Whether a `test` of the step fails on the object as it is now; of a step's operations only these look at it."""
    return any(_found(obj, op["path"]) != op["value"] for op in step.ops if op["op"] == "test")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _found(obj: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(part.replace("~1", "/").replace("~0", "~"))
    return obj


def _test(pointer: str, value: Any) -> Obj:
    return {"op": "test", "path": pointer, "value": value}


def _unchanged_template(obj: Obj) -> list[Obj]:
    template = (obj.get("spec") or {}).get("template")
    return [] if template is None else [_test("/spec/template", template)]


def _status_path(workload: Workload) -> str:
    kind = KINDS[workload.kind]
    return resource_path(
        kind.api_version, kind.plural, namespace=workload.namespace, name=workload.name, subresource="status"
    )


def _command(obj: Obj, verb: str, *options: str) -> str:
    metadata = obj["metadata"]
    return " ".join(["kubectl argo rollouts", verb, metadata["name"], f"--namespace {metadata['namespace']}", *options])
