"""Which revision a workload, or an object of its history, stands for: pure functions over raw JSON.

A history object is what keeps a template of before: a ReplicaSet, or for StatefulSets and DaemonSets a ControllerRevision,
which holds it in `data` beside the directive `$patch`.

A Revision is the hash of its raw pod template without `pod-template-hash`. Raw, because typed clients drop fields that
they do not know (protocols §4.1), and a dropped field would make two revisions look alike. A Deployment's template and
that of its ReplicaSet are equal apart from that one label: the controller copies it and the server defaults both in the
same way. A new control plane may default new fields; then every hash changes and proof starts anew, the safe side.

Alternative considered: the label `pod-template-hash` itself. It changes with `collisionCount` and is a controller's
private business; the revision *number* moves on every undo (protocols §2.1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from daemon.core.model import Revision, RevisionId
from handlers import argo_templates

Json = Mapping[str, Any]
"""A JSON object as the API server sent it."""

HASH_CHARS = 16
"""Hex characters of an id: 64 bits, far beyond what the history of one workload can collide in."""

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between these lie all times of a cluster."""

_HISTORY_KINDS = frozenset({"ReplicaSet", "ControllerRevision"})
_DIRECTIVE = "$patch"
"""Tells `kubectl rollout undo` to replace the template as a whole; no part of it."""

FIELD_MANAGER = "lastgood"
"""Who we are in managedFields: what we wrote must be tellable from what people and controllers write."""

POD_TEMPLATE_HASH = "pod-template-hash"
HASH_LABELS = frozenset({POD_TEMPLATE_HASH, argo_templates.HASH_LABEL})
"""What controllers add to the template of a ReplicaSet to tell its pods; no part of what was rolled out."""

REVISION_NUMBER = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
CHANGE_CAUSE = "kubernetes.io/change-cause"

RESTART_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/restartedAt",  # kubectl rollout restart, k9s, Lens
        "openshift.openshift.io/restartedAt",  # OpenShift's console
        "cattle.io/timestamp",  # Rancher's "redeploy"
        "reloader.stakater.com/last-reloaded-from",  # Stakater Reloader: a config changed, the template did not
    }
)
"""Template annotations that only make pods start again: undoing them changes a time stamp and nothing that runs."""


def template_hash(template: Json) -> RevisionId:
    """The id of the revision: first 16 hex characters of SHA-256 over the canonical JSON of the template."""
    return RevisionId(_digest(_normal(template, frozenset())))


def content_hash(template: Json) -> str:
    """The same hash also without restart annotations: equal for a plain restart, different for any change."""
    return _digest(_normal(template, RESTART_ANNOTATIONS))


def without_hash_label(template: Json) -> dict[str, Any]:
    """The template as the workload holds it: a ReplicaSet's minus the label with its hash, otherwise untouched."""
    copy = dict(template)
    metadata = dict(copy.get("metadata") or {})
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in HASH_LABELS}
    if "labels" in metadata:
        metadata["labels"] = labels
    if "metadata" in copy:
        copy["metadata"] = metadata
    return copy


def revision_of(obj: Json, *, digests: Sequence[str] = (), hashed: tuple[RevisionId, str] | None = None) -> Revision:
    """The Revision that a history object or a workload's present template stands for; `hashed` are its hashes if known.

    Of a workload only the template is read: its own number and change cause lag behind the template until the
    controller has made the history object (protocols §3), so they could be those of the revision before.
    """
    template = template_of(obj)
    revision, content = hashed or (template_hash(template), content_hash(template))
    metadata = {} if is_workload(obj) else obj.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    return Revision(
        id=revision,
        content=content,
        number=None if is_workload(obj) else number_of(obj),
        replica_set=metadata.get("name"),
        uid=metadata.get("uid"),
        images=images_of(template),
        digests=tuple(digests),
        created_at=parse_time(metadata.get("creationTimestamp")),
        change_cause=annotations.get(CHANGE_CAUSE),
        colour=None if is_workload(obj) else obj.get("colour"),
    )


def template_of(obj: Json) -> Json:
    """`.spec.template`, of a ControllerRevision the one in its `data`; empty where absent. Of Argo's ReplicaSets without
    what their controller adds.
    """
    holder = obj.get("data") or obj
    template: Json = (holder.get("spec") or {}).get("template") or {}
    if argo_templates.is_argo_replica_set(obj):
        return argo_templates.without_additions(template, obj)
    return {key: value for key, value in template.items() if key != _DIRECTIVE} if _DIRECTIVE in template else template


def is_workload(obj: Json) -> bool:
    """Whether the object is a workload and none of its history. List items carry no `kind`: then only a workload has a
    strategy.
    """
    kind = obj.get("kind")
    if kind:
        return kind not in _HISTORY_KINDS
    spec = obj.get("spec") or {}
    return "strategy" in spec or "updateStrategy" in spec


def images_of(template: Json) -> tuple[str, ...]:
    """The images of containers, then of init containers, each once, in the template's order."""
    spec = template.get("spec") or {}
    named = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return tuple(dict.fromkeys(c["image"] for c in named if c.get("image")))


def digests_of(template: Json, pods: Iterable[Json]) -> tuple[str, ...]:
    """The image digests that the pods run, sorted; empty unless known for *every* container the template names.

    A part of them would make a plain restart look like another image. Injected sidecars are not the template's.
    """
    spec = template.get("spec") or {}
    wanted = {c["name"] for c in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]}
    found: dict[str, set[str]] = {}
    for pod in pods:
        status = pod.get("status") or {}
        for item in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
            digest = _image_digest(item.get("imageID") or "")
            if digest and item.get("name") in wanted:
                found.setdefault(item["name"], set()).add(digest)
    if not wanted or set(found) != wanted:
        return ()
    return tuple(sorted(set().union(*found.values())))


def controller_uid(obj: Json) -> str | None:
    """The uid of the object's controlling owner, None where it has none."""
    owner = controller_of(obj)
    return None if owner is None else owner.get("uid")


def controller_of(obj: Json) -> Json | None:
    """The ownerReference with `controller: true`, None where there is none (at most one may exist)."""
    owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def owned_by(uid: str, history: Iterable[Json]) -> list[Json]:
    """The history objects of the workload with that uid, newest revision number first.

    By controller uid, not by selector: a name can be deleted and made anew while its old history is still collected.
    """
    mine = [each for each in history if controller_uid(each) == uid]
    return sorted(mine, key=lambda each: number_of(each) or -1, reverse=True)


def find_revision(revision: RevisionId, history: Iterable[Json]) -> Json | None:
    """The first history object with this revision that is not being deleted, None where the history has lost it."""
    for each in history:
        if template_hash(template_of(each)) == revision and not (each.get("metadata") or {}).get("deletionTimestamp"):
            return each
    return None


def number_of(obj: Json) -> int | None:
    """The revision number on a history object; an attribute, never an identity."""
    if isinstance(obj.get("revision"), int):
        return int(obj["revision"])
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    # Argo's first: a Rollout that was once a Deployment passes the old annotation on to its ReplicaSets.
    return _number(annotations.get(argo_templates.REVISION_NUMBER) or annotations.get(REVISION_NUMBER))


def started_at(
    workload: Json, history: Sequence[Json], seen_at: datetime, present: RevisionId | None = None
) -> datetime:
    """When the workload's present template became current; `present` where another than its own counts.

    A history object made for it: its creation. A reused one is older than the rollout: then the time of the managedFields
    entry that owns the template, else `seen_at`, when the watch showed it. That entry's time also moves when its
    manager writes something else later, so callers keep the first answer for as long as the template stays.
    """
    kept = find_revision(present or template_hash(template_of(workload)), history)
    if kept is not None and not _is_reused(kept, history):
        created = _created_at(kept)
        if created is not None:
            return created
    entry = template_writer(workload)
    written = None if entry is None else parse_time(entry.get("time"))
    return min(written, seen_at) if written is not None else seen_at


def changed_by(workload: Json) -> str | None:
    """The field manager that last wrote the pod template, None where managedFields do not tell."""
    entry = template_writer(workload)
    return None if entry is None else entry.get("manager")


def template_writer(workload: Json) -> Json | None:
    """The newest managedFields entry, subresources aside, that owns something in `spec.template`.

    Times are whole seconds; of two writers in the same one the later listed counts.
    """
    entries = [e for e in (workload.get("metadata") or {}).get("managedFields") or () if _owns_template(e)]
    entries.reverse()  # max() takes the first of equals
    return max(entries, key=lambda e: str(e.get("time") or ""), default=None)


def parse_time(value: object) -> datetime | None:
    """An RFC 3339 time of the Kubernetes API as an aware UTC datetime, None where absent or nonsense.

    Nonsense is also what lies outside of EARLIEST to LATEST: Go's zero time, which custom resources write where they know
    none, is the year 1, and nothing can be taken from it.
    """
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        found = parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return found if EARLIEST <= found < LATEST else None


def _owns_template(entry: Json) -> bool:
    if entry.get("subresource"):
        return False
    if entry.get("manager") == FIELD_MANAGER:
        return True  # we write nothing but templates, and give the ownership up at once (workload_objects.hand_back)
    fields = entry.get("fieldsV1")
    # A reflector keeps the owners of the template only (of a Service, of the selector), and drops the field lists.
    return fields is None or "f:template" in (fields.get("f:spec") or {})


def _is_reused(kept: Json, history: Sequence[Json]) -> bool:
    # The controller notes the former numbers of a ReplicaSet that it takes up again; until it has, the number on it is
    # not the highest of its workload. A ControllerRevision is only given a new number: it is older than others.
    annotations = (kept.get("metadata") or {}).get("annotations") or {}
    if annotations.get(REVISION_HISTORY):
        return True
    own, created = number_of(kept), _created_at(kept)
    if own is not None and any((number_of(other) or 0) > own for other in history):
        return True
    later = (_created_at(other) for other in history)
    return created is not None and any(at is not None and at > created for at in later)


def _created_at(obj: Json) -> datetime | None:
    return parse_time((obj.get("metadata") or {}).get("creationTimestamp"))


def _normal(template: Json, dropped: frozenset[str]) -> dict[str, Any]:
    """The template as it is hashed: empty maps and the server's null creationTimestamp carry no meaning."""
    copy = dict(template)
    metadata = dict(copy.get("metadata") or {})
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in HASH_LABELS}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in dropped}
    copy["metadata"] = dict(_meaningful({**metadata, "labels": labels, "annotations": annotations}))
    return copy


def _meaningful(metadata: Json) -> Iterator[tuple[str, Any]]:
    for key, value in metadata.items():
        # API servers before 1.34 send `creationTimestamp: null` in every template, later ones leave it out.
        if value is not None and value != {}:
            yield key, value


def _digest(value: Json) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARS]


def _image_digest(image_id: str) -> str:
    """`repo@sha256:…`, `docker-pullable://repo@sha256:…` and `docker://sha256:…` name the same: what follows the
    prefix.
    """
    return image_id.rpartition("@")[2].rpartition("://")[2]


def _number(text: object) -> int | None:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19 else None
