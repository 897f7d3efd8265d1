"""The Deployment controller: one look at a Deployment, at most a few writes, and again when those are seen.

The order of writes is the real one, because clients depend on it: spec changed, then the ReplicaSet appears (or gets
the next revision number), then the number is written on the Deployment.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from deploy.sandbox.kube.adoption import claimed
from deploy.sandbox.kube.deployment_status import TIMED_OUT, StatusKeeper, has_deadline, is_complete
from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.resources import DEPLOYMENTS, PODS, REPLICASETS
from deploy.sandbox.kube.rolling import Sizes, is_scaling, new_size, old_sizes, scaled_sizes
from deploy.sandbox.kube.workloads import (
    DESIRED,
    HASH_LABEL,
    HISTORY,
    MANAGER,
    MAXIMUM,
    NOT_COPIED,
    REVISION,
    annotate,
    annotations_of,
    bare_template,
    condition,
    controlled_by,
    count,
    owner_reference,
    replicas,
    revision,
    surge,
    template_hash,
)

HISTORY_CHARACTERS_MAX = 2000
"""Length of the ``revision-history`` annotation; the oldest numbers are dropped."""

_MAIN = Write(manager=MANAGER)
_STATUS = Write(manager=MANAGER, subresource="status")


class DeploymentController:
    """Moves Deployments to their templates. ``again(namespace, name, seconds)`` asks for another look."""

    def __init__(self, registry: Registry, *, time_scale: float, again: Callable[[str, str, float], None]) -> None:
        self._registry = registry
        self._keeper = StatusKeeper(stamp=registry.stamp, time_scale=time_scale)
        self._again = again

    def sync(self, namespace: str, name: str) -> None:
        """One step towards the spec."""
        found = self._registry.store.get(DEPLOYMENTS, namespace, name)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return
        deployment = copy.deepcopy(found)
        sets = self._sets(deployment)
        if self._pause_condition(deployment):
            return
        if deployment["spec"].get("paused") or is_scaling(deployment, sets):
            self._scale(deployment, sets)
        elif deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(deployment, sets)
        else:
            self._roll(deployment, sets)
        self._watch_deadline(namespace, name)

    def _roll(self, deployment: Json, sets: list[Json]) -> None:
        new = self._new_set(deployment, sets, create=True)
        if new is None:
            return
        old = [one for one in sets if one["metadata"]["uid"] != new["metadata"]["uid"]]
        sizes: Sizes = []
        if replicas(new) != replicas(deployment):
            size = new_size(deployment, [*old, new], new)
            sizes = [(new, size)] if size != replicas(new) else []
        sizes = sizes or old_sizes(deployment, [one for one in old if replicas(one)], new)
        for one, size in sizes:
            self._resize(deployment, one, size)
        if not sizes and is_complete(deployment, deployment["status"]):
            self._clean_up(deployment, old)
        self._write_rolled(deployment)

    def _recreate(self, deployment: Json, sets: list[Json]) -> None:
        new = _find_new(deployment, sets)
        old = [one for one in sets if new is None or one["metadata"]["uid"] != new["metadata"]["uid"]]
        active = [one for one in old if replicas(one)]
        for one in active:
            self._resize(deployment, one, 0)
        if active or self._pods_left(old):
            self._write_rolled(deployment)
            return
        new = self._new_set(deployment, sets, create=True)
        if new is None:
            return
        if replicas(new) != replicas(deployment):
            self._resize(deployment, new, replicas(deployment))
        elif is_complete(deployment, deployment["status"]):
            self._clean_up(deployment, old)
        self._write_rolled(deployment)

    def _scale(self, deployment: Json, sets: list[Json]) -> None:
        """Paused, or a change of size: no new ReplicaSet, but the existing ones are sized and counted."""
        self._new_set(deployment, sets, create=False)
        deployment, sets, new = self._reread(deployment)
        old = [one for one in sets if one is not new]
        if is_scaling(deployment, sets):
            for one, size in scaled_sizes(deployment, old, new):
                self._resize(deployment, one, size)
        if deployment["spec"].get("paused"):
            self._clean_up(deployment, old)
        fresh, sets, new = self._reread(deployment)
        fresh["status"] = self._keeper.counted(fresh, sets, new)
        self._write(fresh)

    def _new_set(self, deployment: Json, sets: list[Json], *, create: bool) -> Json | None:
        """The ReplicaSet of the current template, its annotations in order; None when a write must be seen first."""
        new = _find_new(deployment, sets)
        highest = max((revision(one) for one in sets if one is not new), default=0)
        if new is None:
            if create:
                self._create_set(deployment, sets, highest + 1)
            return None
        marked = copy.deepcopy(new)
        _hand_down(deployment, marked)
        _renumber(marked, highest + 1)
        ready_seconds = deployment["spec"].get("minReadySeconds", 0)
        if marked["spec"].get("minReadySeconds", 0) != ready_seconds:
            marked["spec"]["minReadySeconds"] = ready_seconds
        if marked != new:
            self._update_set(marked)
            return None
        number = annotations_of(new)[REVISION]
        if annotations_of(deployment).get(REVISION) != number:
            annotate(deployment, REVISION, number)
            self._first_condition(
                deployment, "FoundNewReplicaSet", f'Found new replica set "{new["metadata"]["name"]}"'
            )
            self._write(deployment)
            return None
        return new

    def _create_set(self, deployment: Json, sets: list[Json], number: int) -> None:
        metadata, spec = deployment["metadata"], deployment["spec"]
        name_hash = template_hash(spec["template"], count(deployment, "collisionCount"))
        name = f"{metadata['name']}-{name_hash}"
        if self._registry.store.get(REPLICASETS, metadata["namespace"], name) is not None:
            deployment["status"]["collisionCount"] = count(deployment, "collisionCount") + 1
            self._write(deployment)
            return
        template = copy.deepcopy(spec["template"])
        template["metadata"]["labels"][HASH_LABEL] = name_hash
        selector = copy.deepcopy(spec["selector"])
        selector.setdefault("matchLabels", {})[HASH_LABEL] = name_hash
        new: Json = {
            "metadata": {
                "name": name,
                "labels": dict(template["metadata"]["labels"]),
                "ownerReferences": [owner_reference(DEPLOYMENTS, deployment)],
            },
            "spec": {"replicas": new_size(deployment, sets, None), "selector": selector, "template": template},
        }
        if spec.get("minReadySeconds"):
            new["spec"]["minReadySeconds"] = spec["minReadySeconds"]
        _hand_down(deployment, new)
        annotate(new, REVISION, str(number))
        _mark_size(deployment, new)
        self._registry.create(REPLICASETS, metadata["namespace"], new, _MAIN)
        annotate(deployment, REVISION, str(number))
        if has_deadline(deployment):
            sentence = f'Created new replica set "{name}"'
            self._keeper.progress(deployment, deployment["status"], "True", "NewReplicaSetCreated", sentence)
        self._write(deployment)

    def _first_condition(self, deployment: Json, reason: str, message: str) -> None:
        if has_deadline(deployment) and condition(deployment["status"], "Progressing") is None:
            self._keeper.progress(deployment, deployment["status"], "True", reason, message)

    def _pause_condition(self, deployment: Json) -> bool:
        """Notes a pause or its end in the Progressing condition; whether it wrote."""
        current = condition(deployment["status"], "Progressing")
        if not has_deadline(deployment) or (current is not None and current["reason"] == TIMED_OUT):
            return False
        was, paused = (
            current is not None and current["reason"] == "DeploymentPaused",
            bool(deployment["spec"].get("paused")),
        )
        if was == paused:
            return False
        reason, sentence = ("DeploymentPaused", "paused") if paused else ("DeploymentResumed", "resumed")
        self._keeper.progress(deployment, deployment["status"], "Unknown", reason, f"Deployment is {sentence}")
        self._write(deployment)
        return True

    def _clean_up(self, deployment: Json, old: list[Json]) -> None:
        """Deletes empty ReplicaSets beyond revisionHistoryLimit, the lowest revisions first."""
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        present = [one for one in old if not one["metadata"].get("deletionTimestamp")]
        for one in sorted(present, key=revision)[: max(0, len(present) - limit)]:
            seen = count(one, "observedGeneration") >= one["metadata"]["generation"]
            if seen and not replicas(one) and not count(one, "replicas"):
                self._registry.delete(REPLICASETS, one["metadata"]["namespace"], one["metadata"]["name"], {}, _MAIN)

    def _resize(self, deployment: Json, one: Json, size: int) -> None:
        sized = copy.deepcopy(one)
        sized["spec"]["replicas"] = size
        _mark_size(deployment, sized)
        self._update_set(sized)

    def _update_set(self, obj: Json) -> None:
        self._registry.update(REPLICASETS, obj["metadata"]["namespace"], obj["metadata"]["name"], obj, _MAIN)

    def _write(self, deployment: Json) -> None:
        metadata = deployment["metadata"]
        self._registry.update(DEPLOYMENTS, metadata["namespace"], metadata["name"], deployment, _STATUS)

    def _write_rolled(self, deployment: Json) -> None:
        fresh, sets, new = self._reread(deployment)
        fresh["status"] = self._keeper.rolled(fresh, sets, new)
        self._write(fresh)

    def _reread(self, deployment: Json) -> tuple[Json, list[Json], Json | None]:
        metadata = deployment["metadata"]
        fresh = self._registry.copy(DEPLOYMENTS, metadata["namespace"], metadata["name"])
        sets = self._sets(fresh)
        return fresh, sets, _find_new(fresh, sets)

    def _watch_deadline(self, namespace: str, name: str) -> None:
        fresh = self._registry.store.get(DEPLOYMENTS, namespace, name)
        left = self._keeper.deadline_left(fresh) if fresh is not None else None
        if left is not None:
            self._again(namespace, name, max(0.01, left + 0.01))

    def _sets(self, deployment: Json) -> list[Json]:
        """The Deployment's ReplicaSets, oldest first; orphans that its selector matches are adopted."""
        own = claimed(self._registry, REPLICASETS, DEPLOYMENTS, deployment)
        return sorted(own, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))

    def _pods_left(self, old: list[Json]) -> bool:
        namespace = old[0]["metadata"]["namespace"] if old else ""
        pods = self._registry.store.objects(PODS, namespace) if old else []
        ended = ("Failed", "Succeeded")
        return any(controlled_by(pod, one) and pod["status"]["phase"] not in ended for pod in pods for one in old)


def _find_new(deployment: Json, sets: list[Json]) -> Json | None:
    wanted = bare_template(deployment["spec"]["template"])
    return next((one for one in sets if bare_template(one["spec"]["template"]) == wanted), None)


def _hand_down(deployment: Json, one: Json) -> None:
    for key, value in annotations_of(deployment).items():
        if key not in NOT_COPIED:
            annotate(one, key, value)


def _mark_size(deployment: Json, one: Json) -> None:
    annotate(one, DESIRED, str(replicas(deployment)))
    annotate(one, MAXIMUM, str(replicas(deployment) + surge(deployment)))


def _renumber(one: Json, number: int) -> None:
    """A ReplicaSet that is used again gets the next number; the one it had goes to its history."""
    before = revision(one)
    if before >= number:
        return
    annotate(one, REVISION, str(number))
    if not before:
        return
    numbers = [text for text in annotations_of(one).get(HISTORY, "").split(",") if text] + [str(before)]
    while len(",".join(numbers)) > HISTORY_CHARACTERS_MAX:
        numbers.pop(0)
    annotate(one, HISTORY, ",".join(numbers))
