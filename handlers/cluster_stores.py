"""What the reflectors hold, and how objects belong together: pods to a workload, directly or through its history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from handlers import revisions
from handlers.gitops_owners import Sources
from handlers.kinds import DAEMON_SET, DEPLOYMENT, KINDS, ROLLOUT, SERVICE, STATEFUL_SET, History, Kind
from handlers.kinds.rollout import workload_ref
from handlers.kinds.service import colour, colour_name, has_selected
from handlers.pod_names import makers, set_of
from handlers.store import Obj, Store

NOTHING = Store()
"""For what is not watched; nobody writes into it."""

REVISION_LABEL = "controller-revision-hash"
"""On the pods of a StatefulSet the name of their ControllerRevision, on those of a DaemonSet the end of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The stores of the reflectors. `configs` holds metadata only, `namespaces` those of the whole cluster, `canaries`
    Flagger's, `gitops` what says whether Argo CD and Flux correct drift.
    """

    workloads: Mapping[str, Store] = field(default_factory=lambda: {name: Store() for name in KINDS})
    history: Mapping[History, Store] = field(default_factory=lambda: {each: Store() for each in History})
    pods: Store = field(default_factory=Store)
    services: Store = field(default_factory=Store)
    configs: Store = field(default_factory=Store)
    namespaces: Store = field(default_factory=Store)
    canaries: Store = NOTHING
    gitops: Sources = field(default_factory=Sources)

    def all_workloads(self) -> Iterator[Obj]:
        """Every workload of every kind."""
        for store in self.workloads.values():
            yield from store

    def workloads_in(self, namespace: str) -> Iterator[Obj]:
        """The workloads of a namespace."""
        for store in self.workloads.values():
            yield from store.in_namespace(namespace)

    def workloads_named(self, name: str) -> Iterator[Obj]:
        """The workloads of that name, of all kinds and in all namespaces."""
        for store in self.workloads.values():
            yield from store.named(name)

    def may_be_labelled(self, label: str, value: str) -> Iterator[Obj]:
        """The workloads with that label, and those that take their template from another object and may have it there."""
        for store in self.workloads.values():
            yield from store.labelled(label, value)
        for kind in (ROLLOUT, SERVICE):
            yield from (each for each in self.workloads[kind.name] if not revisions.template_of(each))

    def selector_of(self, namespace: str, service: str) -> dict[str, str]:
        """What a Service selects by; nothing for one without a selector."""
        found = self.services.get(namespace, service)
        chosen = {} if found is None else (found.get("spec") or {}).get("selector") or {}
        # Argo Rollouts narrows the Services of a Rollout to one ReplicaSet by its hash.
        return {key: value for key, value in chosen.items() if key not in revisions.HASH_LABELS}

    def history_of(self, kind: Kind, workload: Obj) -> list[Obj]:
        """The history objects of a workload, newest number first; of a Service its colours."""
        if kind is SERVICE:
            return list(self._colours_of(workload))
        uid = workload["metadata"]["uid"]
        return [dict(each) for each in revisions.owned_by(uid, self.history[kind.history].owned_by(uid))]

    def switched_to(self, workload: Obj) -> Sequence[Obj]:
        """The blue/green Services that a Deployment is a colour of, selected or not; none of another kind."""
        if workload["kind"] != DEPLOYMENT.name:
            return ()
        services = self.workloads[SERVICE.name].in_namespace(workload["metadata"]["namespace"])
        return [each for each in services if colour_name(each, workload) is not None]

    def switches_of(self, workload: Obj) -> Sequence[Obj]:
        """Those of them that have selected it."""
        return [each for each in self.switched_to(workload) if has_selected(each, workload)]

    def _colours_of(self, service: Obj) -> Iterator[Obj]:
        """The history of a blue/green Service; a Deployment whose controller has not made its ReplicaSet yet is none of it."""
        for found in self.workloads[DEPLOYMENT.name].in_namespace(service["metadata"]["namespace"]):
            if colour_name(service, found) is None:
                continue
            held = self.history_of(DEPLOYMENT, found)
            holder = revisions.find_revision(revisions.template_hash(revisions.template_of(found)), held)
            if holder is not None and (made := colour(service, found, holder)) is not None:
                yield made

    def controller_of(self, obj: Obj) -> Obj | None:
        """The workload that controls a history object or a pod directly."""
        uid = revisions.controller_uid(obj)
        return None if uid is None else self._by_uid(uid)

    def workload_of_pod(self, pod: Obj) -> Obj | None:
        """The workload of a pod that is there: its controller, or that of its ReplicaSet."""
        uid = revisions.controller_uid(pod)
        if uid is None:
            return None
        replica_set = self.history[History.REPLICA_SETS].by_uid(uid)
        return self._by_uid(uid) if replica_set is None else self.controller_of(replica_set)

    def workload_of_vanished(self, namespace: str, pod: str) -> Obj | None:
        """The workload of a pod that is gone, as far as its name tells."""
        for replica_set in self._may_have_made(self.history[History.REPLICA_SETS], namespace, pod):
            if (found := self.controller_of(replica_set)) is not None:
                return found
        numbered = set_of(pod)
        if numbered is not None and (found := self.workloads[STATEFUL_SET.name].get(namespace, numbered)) is not None:
            return found
        return next(self._may_have_made(self.workloads[DAEMON_SET.name], namespace, pod), None)

    def history_of_pod(self, pod: Obj) -> Obj | None:
        """The history object with the template that a pod was made from."""
        uid = revisions.controller_uid(pod) or ""
        replica_set = self.history[History.REPLICA_SETS].by_uid(uid)
        workload = None if replica_set is not None else self._by_uid(uid)
        if workload is None:
            return replica_set
        label, namespace = _revision_label(pod), workload["metadata"]["namespace"]
        names = (label, f"{workload['metadata']['name']}-{label}")
        found = (self.history[History.CONTROLLER_REVISIONS].get(namespace, name) for name in names)
        return next((each for each in found if each is not None and revisions.controller_uid(each) == uid), None)

    def pods_by_history(self, workload: Obj, history: Sequence[Obj]) -> Iterator[tuple[Obj, Sequence[Obj]]]:
        """Each history object that has pods, with them. Pods of a revision that is not in the history belong to none."""
        labelled: dict[str, list[Obj]] = {}
        for pod in self.pods.owned_by(workload["metadata"]["uid"]):
            labelled.setdefault(_revision_label(pod), []).append(pod)
        for each in history:
            name = each["metadata"]["name"]
            short = name.removeprefix(f"{workload['metadata']['name']}-")
            mine = [*self.pods.owned_by(each["metadata"]["uid"]), *labelled.get(name, ()), *labelled.get(short, ())]
            if mine:
                yield each, mine

    def master_of(self, workload: Obj) -> str | None:
        """What drives a workload through another object that names it (protocols §2.7), for people to read.

        A Rollout that takes its template (`workloadRef`), or a Flagger Canary whose target or primary it is.
        """
        namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
        for each in self.workloads[ROLLOUT.name].in_namespace(namespace):
            ref = workload_ref(each) or {}
            if (ref.get("kind"), ref.get("name")) == (workload["kind"], name):
                return f"Rollout/{each['metadata']['name']}"
        for each in self.canaries.in_namespace(namespace):
            if (workload["kind"], name) in driven_by(each):
                return f"Flagger Canary/{each['metadata']['name']}"
        return None

    def _by_uid(self, uid: str) -> Obj | None:
        return next((found for store in self.workloads.values() if (found := store.by_uid(uid)) is not None), None)

    def _may_have_made(self, store: Store, namespace: str, pod: str) -> Iterator[Obj]:
        names = (each["metadata"]["name"] for each in store.in_namespace(namespace))
        for name in makers(pod, names):
            if (found := store.get(namespace, name)) is not None:
                yield found


def driven_by(canary: Obj) -> Sequence[tuple[str, str]]:
    """Kind and name of the target of a Flagger Canary, and of the primary that Flagger makes of it (protocols §2.5)."""
    target = (canary.get("spec") or {}).get("targetRef") or {}
    kind, name = str(target.get("kind") or ""), str(target.get("name") or "")
    return ((kind, name), (kind, f"{name}-primary")) if name else ()


def _revision_label(pod: Obj) -> str:
    return (pod["metadata"].get("labels") or {}).get(REVISION_LABEL) or ""
