"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had, numbered.

The two real controllers keep them alike (``pkg/controller/history``, ``pkg/controller/daemon/update.go``): the object's
``data`` is the strategic merge patch that restores the template, its name ends in a hash of it. A template that comes
back gets the next number on the object it has already; that object's annotations stay those of its first day.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from deploy.sandbox.kube.adoption import claimed
from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.resources import CONTROLLER_REVISIONS, Resource
from deploy.sandbox.kube.workloads import MANAGER, annotations_of, count, owner_reference, template_hash

POD_LABEL = "controller-revision-hash"
"""On a pod: its revision. A StatefulSet writes the ControllerRevision's name, a DaemonSet only the hash."""

HASH_LABELS = {"StatefulSet": "controller.kubernetes.io/hash", "DaemonSet": POD_LABEL}
"""On a ControllerRevision: its hash, by the kind of its owner."""

_PREFIX_MAX = 223
_MAIN = Write(manager=MANAGER)


def patch_of(owner: Json) -> Json:
    """The patch that restores the template; keys sorted as Go sorts them, since kubectl compares the bytes."""
    template = {**owner["spec"]["template"], "$patch": "replace"}
    patch: Json = json.loads(json.dumps({"spec": {"template": template}}, sort_keys=True))
    return patch


def template_of(revision: Json) -> Json:
    """A copy of the pod template that a ControllerRevision restores."""
    template: Json = copy.deepcopy(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def name_of(revision: Json) -> str:
    """A ControllerRevision's name."""
    return str(revision["metadata"]["name"])


class RevisionHistory:
    """The ControllerRevisions of workloads of one kind."""

    def __init__(self, registry: Registry, kind: Resource) -> None:
        self._registry = registry
        self._kind = kind

    def known(self, owner: Json) -> list[Json]:
        """The workload's ControllerRevisions, the lowest number first; orphans of its labels are adopted."""
        return sorted(claimed(self._registry, CONTROLLER_REVISIONS, self._kind, owner), key=_age)

    def keep(self, owner: Json) -> tuple[Json, int]:
        """The ControllerRevision of the present template, made or renumbered when it is not the latest, and the
        collisionCount that its name took.
        """
        known, data = self.known(owner), patch_of(owner)
        number = known[-1]["revision"] + 1 if known else 1
        equal = [one for one in known if one["data"] == data]
        if not equal:
            return self._create(owner, data, number)
        if equal[-1] is not known[-1]:
            return self._renumber(equal[-1], number), count(owner, "collisionCount")
        return equal[-1], count(owner, "collisionCount")

    def trim(self, old: list[Json], limit: int, live: set[str]) -> None:
        """Deletes the lowest of ``old`` beyond ``limit``, but none whose name is in ``live``."""
        spare = [one for one in old if name_of(one) not in live]
        for one in spare[: max(0, len(old) - limit)]:
            self._registry.delete(CONTROLLER_REVISIONS, one["metadata"]["namespace"], name_of(one), {}, _MAIN)

    def _create(self, owner: Json, data: Json, number: int) -> tuple[Json, int]:
        metadata, template = owner["metadata"], owner["spec"]["template"]
        collisions = count(owner, "collisionCount")
        while True:
            name_hash = template_hash(template, collisions)
            name = f"{metadata['name'][:_PREFIX_MAX]}-{name_hash}"
            taken = self._registry.store.get(CONTROLLER_REVISIONS, metadata["namespace"], name)
            if taken is None:
                break
            if taken["data"] == data:
                return taken, collisions
            collisions += 1
        labels = {**template["metadata"].get("labels", {}), HASH_LABELS[self._kind.kind]: name_hash}
        body = {
            "metadata": {
                "name": name,
                "labels": labels,
                **({"annotations": dict(annotations_of(owner))} if annotations_of(owner) else {}),
                "ownerReferences": [owner_reference(self._kind, owner)],
            },
            "data": data,
            "revision": number,
        }
        return self._registry.create(CONTROLLER_REVISIONS, metadata["namespace"], body, _MAIN), collisions

    def _renumber(self, revision: Json, number: int) -> Json:
        numbered = copy.deepcopy(revision)
        numbered["revision"] = number
        namespace = revision["metadata"]["namespace"]
        return self._registry.update(CONTROLLER_REVISIONS, namespace, name_of(revision), numbered, _MAIN)


def _age(revision: Json) -> tuple[Any, ...]:
    metadata = revision["metadata"]
    return revision["revision"], metadata["creationTimestamp"], metadata["name"]
