"""A workload read fresh from the API server, and the guarded patch that puts an older template back.

Shared by the rollback and by its check beforehand, so that what is tried with `dryRun=All` is what is sent.

A Service that is switched between Deployments is read with these; its patch is in `handlers.rollback_steps`.

The patch is a JSON Patch (RFC 6902): `test` on the uid and on the raw template it replaces, so that an object made anew
or a newer rollout is never overwritten; `replace` of `/spec/template`, nothing else of the spec; single annotations,
never the whole map, which `kubectl rollout undo` wipes (protocols §2.1). The template is the history object's, raw, minus
`pod-template-hash`: exactly what kubectl writes, without what kubectl's types do not know being lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from daemon.core.model import Revision, RevisionId, Workload
from handlers import revisions, views
from handlers.faults import FaultKind, Permanent
from handlers.kinds import DEPLOYMENT, KINDS, SERVICE, kind_of, service, standing_of
from handlers.kube import Page, Query, resource_path
from handlers.kube_json import Obj

FIELD_MANAGER = revisions.FIELD_MANAGER

_OWN_ANNOTATIONS = (views.ACTION, views.ROLLED_BACK_TO, views.INCIDENT, views.ROAD)

HAND_BACK_MANAGER = f"{FIELD_MANAGER}-hand-back"
"""Tells that request from a rollback in audit logs. It writes no field, so it never stands in managedFields."""

HAND_BACK_TRIES = 3
"""Readings of the object before its fields are left owned by us: the controller writes its status a few times a second."""


class Api(Protocol):
    """What is needed of a client; handlers.kube.KubeClient is one. Every method raises only Transient and Permanent."""

    async def get(self, path: str, *, metadata_only: bool = False, **query: Query) -> Obj:
        """One object."""
        ...

    def list_pages(
        self,
        path: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """The collection, page by page."""
        ...

    async def patch_json(
        self, path: str, ops: Sequence[Obj], *, dry_run: bool = False, field_manager: str = FIELD_MANAGER
    ) -> Obj:
        """Apply a JSON Patch; the object afterwards."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """A workload and its history as the API server has them now, raw."""

    workload: Obj
    history: tuple[Obj, ...]

    @property
    def uid(self) -> str:
        """The uid of the workload."""
        return str(self.workload["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """Its generation: moves with every change of spec or annotations."""
        return int(self.workload["metadata"].get("generation") or 0)

    @property
    def is_told(self) -> bool:
        """Whether it is known which template is the present one; of some kinds the controller has to say first."""
        return kind_of(self.workload).present(self.workload, self.history) is not None

    @property
    def current(self) -> RevisionId:
        """The revision that its present template is; one that nobody knows where that `is_told` by nobody yet."""
        return revisions.template_hash(revisions.template_of(self.present))

    @property
    def present(self) -> revisions.Json:
        """The object whose template is the present one; the workload itself where that `is_told` by nobody yet."""
        present = kind_of(self.workload).present(self.workload, self.history)
        return self.workload if present is None else present.obj

    @property
    def is_leaving(self) -> bool:
        """Whether it is being deleted."""
        return "deletionTimestamp" in self.workload["metadata"]

    @property
    def is_paused(self) -> bool:
        """Whether a person paused its rollouts (`kubectl rollout pause`)."""
        return standing_of(self.workload).paused

    def find(self, revision: RevisionId) -> revisions.Json | None:
        """The history object that holds a revision."""
        return revisions.find_revision(revision, self.history)


def path_of(workload: Workload) -> str:
    """The address of the workload's object."""
    kind = KINDS[workload.kind]
    return resource_path(kind.api_version, kind.plural, namespace=workload.namespace, name=workload.name)


async def read(api: Api, workload: Workload, named: Sequence[Revision] = ()) -> Fresh | None:
    """The workload and its history, None where there is no such workload. Raises Transient and Permanent.

    Where `named` revisions are the only ones of interest, and the present one is among them, the history is theirs alone, each
    read by the name of its object: all requests are out at once, and each is answered from etcd. A list since Kubernetes 1.31
    waits for the server's watch cache, which learns of progress ten times a second (KEP-2340, consistent reads from cache).
    """
    names = [] if workload.kind == SERVICE.name else [each.replica_set for each in named if each.replica_set]
    paths = [path_of(workload), *(_kept_at(workload, name) for name in names)]
    obj, *kept = await asyncio.gather(*(found(api, path) for path in paths))
    if obj is None:
        return None
    fresh = _fresh(workload, obj, [each for each in kept if each is not None])
    if (
        names
        and fresh.is_told
        and all(fresh.find(revision) for revision in {fresh.current, *(each.id for each in named)})
    ):
        return fresh
    # No names, or what bears them is no longer what they named.
    return _fresh(workload, obj, await _history(api, workload, obj))


async def found(api: Api, path: str, *, metadata_only: bool = False) -> Obj | None:
    """The object at that address, None where there is none. Raises Transient and Permanent."""
    try:
        return await api.get(path, metadata_only=metadata_only)
    except Permanent as fault:
        if fault.kind is FaultKind.NOT_FOUND:
            return None
        raise


async def _history(api: Api, workload: Workload, obj: Obj) -> list[Obj]:
    """What its kind keeps of its past and its selector finds; of a Service all Deployments."""
    selector = None if workload.kind == SERVICE.name else selector_of(obj) or None
    kept: list[Obj] = []
    async for page in api.list_pages(_kept_at(workload), label_selector=selector):
        if page.first:
            kept.clear()
        kept.extend(page.items)
    return kept


def _kept_at(workload: Workload, name: str | None = None) -> str:
    kept = DEPLOYMENT.plural if workload.kind == SERVICE.name else KINDS[workload.kind].history.value
    return resource_path("apps/v1", kept, namespace=workload.namespace, name=name)


def _fresh(workload: Workload, obj: Obj, found: Sequence[Obj]) -> Fresh:
    if workload.kind == SERVICE.name:
        colours = (service.colour(obj, each, each) for each in found)
        return Fresh(
            workload={**obj, "kind": SERVICE.name}, history=tuple(each for each in colours if each is not None)
        )
    owned = revisions.owned_by(obj["metadata"]["uid"], found)
    return Fresh(workload={**obj, "kind": workload.kind}, history=tuple(dict(each) for each in owned))


def selector_of(workload: Obj) -> str:
    """`spec.selector` as a label selector of a list request."""
    selector = workload["spec"].get("selector") or {}
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    rules = selector.get("matchExpressions") or ()
    terms += [_term(rule["key"], rule["operator"], rule.get("values") or ()) for rule in rules]
    return ",".join(terms)


def _term(key: str, operator: str, values: Sequence[str]) -> str:
    if operator == "Exists":
        return key
    if operator == "DoesNotExist":
        return f"!{key}"
    return f"{key} {'in' if operator == 'In' else 'notin'} ({','.join(values)})"


def guarded_patch(fresh: Fresh, target: revisions.Json, annotations: Mapping[str, str]) -> list[Obj]:
    """The JSON Patch that puts the template of the history object `target` on the workload as it was read."""
    metadata = fresh.workload["metadata"]
    ops: list[Obj] = [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/spec/template", "value": fresh.workload["spec"]["template"]},
        {
            "op": "replace",
            "path": "/spec/template",
            "value": revisions.without_hash_label(revisions.template_of(target)),
        },
    ]
    if metadata.get("annotations") is None:
        # `add` would replace a map that somebody made since. What `test` says of an absent member differs between
        # libraries, so the version is tested. A Deployment always has some; another kind may have none.
        ops.insert(1, {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]})
        ops.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    ops += [{"op": "add", "path": annotation_path(key), "value": value} for key, value in annotations.items()]
    return ops


def annotation_path(key: str) -> str:
    """The JSON Pointer (RFC 6901) of one annotation."""
    return "/metadata/annotations/" + key.replace("~", "~0").replace("/", "~1")


def provenance(*, action: str, target: RevisionId, incident: str, why: str) -> dict[str, str]:
    """The annotations that tell who rolled back, to what, and why; the action's id makes a second execution
    impossible.
    """
    return {
        views.ACTION: action,
        views.ROLLED_BACK_TO: target,
        views.INCIDENT: incident,
        revisions.CHANGE_CAUSE: why,
    }


def own_write(workload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Our entry in managedFields: when we wrote the object last."""
    return max((entry for _, entry in _own_entries(workload)), key=lambda e: str(e.get("time") or ""), default=None)


def _own_entries(workload: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    entries = (workload.get("metadata") or {}).get("managedFields") or ()
    return [(i, e) for i, e in enumerate(entries) if e.get("manager") == FIELD_MANAGER and not e.get("subresource")]


async def hand_back(api: Api, workload: Workload) -> None:
    """Give up all that we own in managedFields but our own annotations; nothing is sent where that is done already.

    A server-side apply (`kubectl apply --server-side`, Helm 4) ends with a conflict where it changes a field that another
    manager owns, and a rollback makes us the owner of every field that it changed. Fields without an owner are anybody's.
    Our entry stays, with its time: the server moves that only with what a manager writes. Raises Transient and Permanent.
    """
    path = path_of(workload)
    for tries_left in reversed(range(HAND_BACK_TRIES)):
        ops = _hand_back_patch(await api.get(path))
        if not ops:
            return
        try:
            await api.patch_json(path, ops, field_manager=HAND_BACK_MANAGER)
        except Permanent as fault:
            # Every write of the controller moves the entries; then the `test` fails and nothing was written.
            if not tries_left or fault.kind not in (FaultKind.INVALID, FaultKind.CONFLICT):
                raise
        else:
            return


def _hand_back_patch(workload: Obj) -> list[Obj]:
    """The JSON Patch of managedFields: `test` on each entry of ours as it was read, so that no other can be touched."""
    ops: list[Obj] = []
    for index, entry in _own_entries(workload):
        kept = _own_annotations(entry.get("fieldsV1") or {})
        if kept and kept != entry["fieldsV1"]:
            path = f"/metadata/managedFields/{index}"
            ops.append({"op": "test", "path": path, "value": entry})
            ops.append({"op": "replace", "path": f"{path}/fieldsV1", "value": kept})
    uid = {"op": "test", "path": "/metadata/uid", "value": workload["metadata"]["uid"]}
    return [uid, *ops] if ops else []


def _own_annotations(fields: Mapping[str, Any]) -> Obj:
    """Of what an entry owns (FieldsV1), the annotations that only we write."""
    owned = (fields.get("f:metadata") or {}).get("f:annotations") or {}
    mine = {key: value for key, value in owned.items() if key.removeprefix("f:") in _OWN_ANNOTATIONS}
    return {"f:metadata": {"f:annotations": mine}} if mine else {}
