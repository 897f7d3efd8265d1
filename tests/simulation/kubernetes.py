"""The API server's storage: objects by collection and name, versions, watches, and patches with their preconditions.

What is read is the object itself and is never changed in place: every write stores a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.core.model import RevisionId
from handlers.faults import Fault
from handlers.kube import status_fault
from handlers.revisions import template_hash
from tests.simulation.clocks import stamp, true_now
from tests.simulation.json_patch import TestFailedError, patched

Obj = dict[str, Any]

KINDS = {
    "deployments": ("apps/v1", "Deployment"),
    "replicasets": ("apps/v1", "ReplicaSet"),
    "pods": ("v1", "Pod"),
    "services": ("v1", "Service"),
    "configmaps": ("v1", "ConfigMap"),
    "namespaces": ("v1", "Namespace"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
}

ACTION = "lastgood.dev/action"
"""The annotation by which an executed rollback is told (handlers.views); spelled again, so that a mistake there shows."""

EVENTS_KEPT = 150
"""Older ones are compacted away: who resumes a watch from before gets 410."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A rollback that the API server stored: what was there before it, and what it put there."""

    action: str
    workload: str
    uid: str
    before: RevisionId
    after: RevisionId
    at: float
    sent_at: float
    history: frozenset[RevisionId]
    template: Obj
    sender: int


@dataclass(slots=True)
class ApiServer:
    """Everything in etcd. `on_change` hears of every stored write, `on_rollback` of those that are ours. `on_patch` is
    called before a patch is looked at (True: only tried), and may raise the fault of the answer.
    """

    on_change: Callable[[str, Obj], None] = lambda plural, obj: None
    on_rollback: Callable[[Applied], None] = lambda applied: None
    on_patch: Callable[[bool], None] = lambda dry_run: None
    objects: dict[str, dict[tuple[str, str], Obj]] = field(default_factory=lambda: {plural: {} for plural in KINDS})
    events: list[tuple[int, str, str, Obj]] = field(default_factory=list)
    version: int = 100
    compacted: int = 100
    numbers: int = 0
    holders: list[tuple[float, str]] = field(default_factory=list)
    gone_revisions: dict[tuple[str, RevisionId], float] = field(default_factory=dict)

    def get(self, plural: str, namespace: str, name: str) -> Obj | None:
        """One object, None where there is none."""
        return self.objects[plural].get((namespace, name))

    def all(self, plural: str, namespace: str | None = None) -> Iterator[Obj]:
        """The objects of a collection, in the order of their creation."""
        for (where, _), obj in list(self.objects[plural].items()):
            if namespace in (None, where):
                yield obj

    def put(self, plural: str, obj: Obj) -> Obj:
        """Store an object as new, or as a new version of the one with its name."""
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        known = self.objects[plural].get(key)
        self.version += 1
        api_version, kind = KINDS[plural]
        made = {"uid": self.new_name("uid"), "creationTimestamp": stamp(true_now())} if known is None else {}
        stored = {"apiVersion": api_version, "kind": kind, **obj}
        stored["metadata"] = {**made, **metadata, "resourceVersion": str(self.version)}
        self.objects[plural][key] = stored
        self._tell("ADDED" if known is None else "MODIFIED", plural, stored)
        return stored

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Remove an object, if it is there."""
        known = self.objects[plural].pop((namespace, name), None)
        if known is not None:
            self.version += 1
            last = {**known, "metadata": {**known["metadata"], "resourceVersion": str(self.version)}}
            self._tell("DELETED", plural, last)

    def new_name(self, prefix: str) -> str:
        """A name that was never given before."""
        self.numbers += 1
        return f"{prefix}-{self.numbers}"

    def _tell(self, kind: str, plural: str, obj: Obj) -> None:
        self.events.append((self.version, kind, plural, obj))
        if len(self.events) > 2 * EVENTS_KEPT:
            del self.events[:EVENTS_KEPT]
            self.compacted = self.events[0][0] - 1
        self.on_change(plural, obj)

    def compact(self) -> None:
        """Forget all changes: every watch that does not follow live has to list anew."""
        self.events.clear()
        self.compacted = self.version

    def since(self, plural: str, version: int) -> list[tuple[int, str, Obj]]:
        """The changes of a collection after a version, without those that are compacted away."""
        found = []
        for number, kind, of, obj in reversed(self.events):
            if number <= version:
                break
            if of == plural:
                found.append((number, kind, obj))
        return found[::-1]

    # -- leases

    def create(self, plural: str, namespace: str, body: Obj) -> Obj:
        """Store a new object. Raises the fault of the answer."""
        name = body["metadata"]["name"]
        if self.get(plural, namespace, name) is not None:
            raise fault(409, "AlreadyExists", f"{plural} {name} already exists")
        return self.put(plural, {**body, "metadata": {**body["metadata"], "namespace": namespace}})

    def replace(self, plural: str, namespace: str, name: str, body: Obj, at: float) -> Obj:
        """Store the object, if it is still the one that was read. Raises the fault of the answer."""
        known = self.get(plural, namespace, name)
        if known is None:
            raise fault(404, "NotFound", f"{plural} {name} not found")
        for key in ("uid", "resourceVersion"):
            if body["metadata"].get(key) not in (None, known["metadata"][key]):
                raise fault(409, "Conflict", f"the object has been modified: {key}")
        stored = self.put(plural, body)
        if plural == "leases":
            self.holders.append((at, stored["spec"].get("holderIdentity") or ""))
        return stored

    # -- deployments

    def history(self, workload: Obj) -> list[Obj]:
        """The ReplicaSets of a Deployment."""
        uid, found = workload["metadata"]["uid"], []
        for each in self.all("replicasets", workload["metadata"]["namespace"]):
            if each["metadata"]["ownerReferences"][0]["uid"] == uid:
                found.append(each)
        return found

    def revisions(self, workload: Obj) -> frozenset[RevisionId]:
        """The revisions that its history can still give."""
        return frozenset(template_hash(each["spec"]["template"]) for each in self.history(workload))

    def patch(
        self,
        plural: str,
        namespace: str,
        name: str,
        ops: Sequence[Obj],
        who: str,
        *,
        sent_at: float,
        sender: int,
        dry_run: bool,
    ) -> Obj:
        """Apply a JSON Patch as the API server does. Raises the fault of its answer."""
        if plural == "deployments" and _action(ops) is not None:
            self.on_patch(dry_run)
        known = self.get(plural, namespace, name)
        if known is None:
            raise fault(404, "NotFound", f"{plural} {name} not found")
        try:
            after = patched(known, ops)
        except TestFailedError as error:
            raise fault(
                422, "Invalid", f"the server rejected our request due to an error in our request: {error}"
            ) from None
        after = self._admitted(known, after, who)
        if after == known or dry_run:
            return after
        stored = self.put(plural, after)
        action = _action(ops)
        if plural == "deployments" and action is not None:
            self.on_rollback(
                Applied(
                    action=action,
                    workload=f"{namespace}/Deployment/{name}",
                    uid=known["metadata"]["uid"],
                    before=template_hash(known["spec"]["template"]),
                    after=template_hash(stored["spec"]["template"]),
                    at=(true_now().timestamp()),
                    sent_at=sent_at,
                    sender=sender,
                    history=self.revisions(known),
                    template=known["spec"]["template"],
                )
            )
        return stored

    def _admitted(self, known: Obj, after: Obj, who: str) -> Obj:
        """The object as it is stored: its generation and managers follow from what changed."""
        old, new = known["metadata"], after["metadata"]
        if known["spec"] != after["spec"] or old.get("annotations") != new.get("annotations"):
            new = {**new, "generation": int(old.get("generation", 0)) + 1}
        if known["spec"] != after["spec"]:
            entry = {
                "manager": who,
                "operation": "Update",
                "time": stamp(true_now()),
                "fieldsV1": {
                    "f:spec": {"f:template": {"f:spec": {}}},
                    "f:metadata": {"f:annotations": {f"f:{ACTION}": {}}},
                },
            }
            others = [each for each in new.get("managedFields", ()) if each["manager"] != who]
            new = {**new, "managedFields": [*others, entry]}
        return {**after, "metadata": new}


def _action(ops: Sequence[Obj]) -> str | None:
    path = "/metadata/annotations/" + ACTION.replace("/", "~1")
    return next((str(op["value"]) for op in ops if op["path"] == path and op["op"] == "add"), None)


def fault(code: int, reason: str, message: str, **details: Any) -> Fault:
    """What the client raises for this answer of the API server."""
    return status_fault(code, {}, {"reason": reason, "message": message, "details": details})
