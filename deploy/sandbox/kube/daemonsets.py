"""The DaemonSet controller: one pod a node, replaced node by node.

The order of writes is the real one: the ControllerRevision, then pods, then the status, then the history's limit. Not
here: taints and affinity (a node is chosen by ``nodeSelector`` alone), back-off after failed pods, events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deploy.sandbox.kube.adoption import claimed
from deploy.sandbox.kube.availability import Availability
from deploy.sandbox.kube.controller_revisions import POD_LABEL, RevisionHistory, name_of
from deploy.sandbox.kube.daemon_rolling import Plan, first_of, replaced, staffing, surged
from deploy.sandbox.kube.defaults import TEMPLATE_GENERATION
from deploy.sandbox.kube.errors import ApiError, Json
from deploy.sandbox.kube.nodes import only_on, target_node
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.resources import DAEMONSETS, NODES, PODS
from deploy.sandbox.kube.workloads import (
    CREATE_RETRY_SECONDS,
    MANAGER,
    amount,
    annotations_of,
    is_ready,
    is_terminating,
    owner_reference,
    pod_of,
    without_zeros,
)

GENERATION_LABEL = "pod-template-generation"
"""On a pod: the deprecated count of its DaemonSet's templates; it counts as "of the present revision" beside the hash."""

_TOLERATED = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
_MAIN = Write(manager=MANAGER)
_STATUS = Write(manager=MANAGER, subresource="status")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A DaemonSet as one look finds it: the hash of its revision, the nodes it wants, and its pods by node."""

    owner: Json
    hash: str
    wanted: set[str]
    on: dict[str, list[Json]]

    def is_new(self, pod: Json) -> bool:
        labels = pod["metadata"].get("labels") or {}
        generation = annotations_of(self.owner).get(TEMPLATE_GENERATION)
        return labels.get(POD_LABEL) == self.hash or labels.get(GENERATION_LABEL) == generation

    def allowed(self, field: str) -> int:
        """``maxUnavailable`` or ``maxSurge`` in pods: percentages round up; 0 where there is no rolling update."""
        strategy = self.owner["spec"]["updateStrategy"]
        if strategy["type"] != "RollingUpdate":
            return 0
        return amount((strategy.get("rollingUpdate") or {}).get(field, 0), len(self.wanted), up=True)


class DaemonSetController:
    """Moves DaemonSets to their templates. ``again(namespace, name, seconds)`` asks for another look."""

    def __init__(
        self, registry: Registry, *, availability: Availability, again: Callable[[str, str, float], None]
    ) -> None:
        self._registry = registry
        self._availability = availability
        self._again = again
        self._history = RevisionHistory(registry, DAEMONSETS)

    def sync(self, namespace: str, name: str) -> None:
        """One step towards the spec, then the status, then the history's limit."""
        owner = self._registry.store.get(DAEMONSETS, namespace, name)
        if owner is None or is_terminating(owner):
            return
        revision, collisions = self._history.keep(owner)
        name_hash = revision["metadata"]["labels"][POD_LABEL]
        try:
            self._staff(self._scene(owner, name_hash))
            self._roll(self._scene(owner, name_hash))
        except ApiError:
            self._again(namespace, name, CREATE_RETRY_SECONDS)
        after = self._scene(owner, name_hash)
        self._write_status(after, collisions)
        pods = [pod for found in after.on.values() for pod in found]
        wait = self._availability.next_change(pods, owner)
        if wait is not None:
            self._again(namespace, name, wait)
        self._trim(owner, revision, pods)

    def _scene(self, owner: Json, name_hash: str) -> _Scene:
        nodes = self._registry.store.objects(NODES)
        wanted = {node["metadata"]["name"] for node in nodes if _runs_on(owner, node)}
        on: dict[str, list[Json]] = {}
        for pod in claimed(self._registry, PODS, DAEMONSETS, owner):
            on.setdefault(target_node(pod), []).append(pod)
        return _Scene(owner=owner, hash=name_hash, wanted=wanted, on=on)

    def _staff(self, scene: _Scene) -> None:
        surges = scene.allowed("maxSurge") > 0
        plan = staffing(
            scene.on, scene.wanted, surges=surges, is_new=scene.is_new, is_available=self._tester(scene.owner)
        )
        self._carry_out(scene, plan)

    def _roll(self, scene: _Scene) -> None:
        if scene.owner["spec"]["updateStrategy"]["type"] != "RollingUpdate":
            return
        on = {**{name: [] for name in scene.wanted}, **scene.on}
        surge, is_available = scene.allowed("maxSurge"), self._tester(scene.owner)
        if surge:
            plan = surged(on, surge, is_new=scene.is_new, is_available=is_available)
        else:
            limit = scene.allowed("maxUnavailable")
            plan = replaced(on, limit, is_new=scene.is_new, is_available=is_available)
        self._carry_out(scene, plan)

    def _tester(self, owner: Json) -> Callable[[Json], bool]:
        return lambda pod: self._availability.has(pod, owner)

    def _carry_out(self, scene: _Scene, plan: Plan) -> None:
        namespace = scene.owner["metadata"]["namespace"]
        for name in plan.create:
            self._registry.create(PODS, namespace, self._pod(scene, name), _MAIN)
        for pod in plan.delete:
            self._registry.delete(PODS, namespace, pod["metadata"]["name"], {}, _MAIN)

    def _pod(self, scene: _Scene, node: str) -> Json:
        owner = scene.owner
        pod = pod_of(owner["spec"]["template"], owner_reference(DAEMONSETS, owner))
        labels = pod["metadata"].setdefault("labels", {})
        labels[POD_LABEL] = scene.hash
        labels[GENERATION_LABEL] = annotations_of(owner)[TEMPLATE_GENERATION]
        pod["metadata"]["generateName"] = owner["metadata"]["name"] + "-"
        only_on(pod["spec"], node)
        own = [
            {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": effect} for name, effect in _TOLERATED
        ]
        theirs = pod["spec"].get("tolerations") or []
        pod["spec"]["tolerations"] = [*theirs, *(one for one in own if one not in theirs)]
        return pod

    def _write_status(self, scene: _Scene, collisions: int) -> None:
        owner = scene.owner
        first = {name: pod for name, pods in scene.on.items() if (pod := first_of(pods)) is not None}
        counted = [pod for name, pod in first.items() if name in scene.wanted]
        available = sum(self._availability.has(pod, owner) for pod in counted)
        obj = self._registry.copy(DAEMONSETS, owner["metadata"]["namespace"], owner["metadata"]["name"])
        obj["status"] = {
            "desiredNumberScheduled": len(scene.wanted),
            "currentNumberScheduled": len(counted),
            "numberMisscheduled": len(first) - len(counted),
            "numberReady": sum(map(is_ready, counted)),
            **without_zeros(
                {
                    "observedGeneration": owner["metadata"]["generation"],
                    "updatedNumberScheduled": sum(map(scene.is_new, counted)),
                    "numberAvailable": available,
                    "numberUnavailable": len(scene.wanted) - available,
                    "collisionCount": collisions,
                }
            ),
        }
        self._registry.update(DAEMONSETS, owner["metadata"]["namespace"], owner["metadata"]["name"], obj, _STATUS)

    def _trim(self, owner: Json, revision: Json, pods: list[Json]) -> None:
        old = [one for one in self._history.known(owner) if name_of(one) != name_of(revision)]
        hashes = {(pod["metadata"].get("labels") or {}).get(POD_LABEL) for pod in pods}
        live = {name_of(one) for one in old if one["metadata"]["labels"].get(POD_LABEL) in hashes}
        self._history.trim(old, owner["spec"]["revisionHistoryLimit"], live)


def _runs_on(owner: Json, node: Json) -> bool:
    labels = node["metadata"].get("labels") or {}
    wanted = owner["spec"]["template"]["spec"].get("nodeSelector") or {}
    return not is_terminating(node) and all(labels.get(key) == value for key, value in wanted.items())
