"""The StatefulSet controller: pods with names that stay, made in order, replaced from the highest ordinal down.

It works as ``pkg/controller/statefulset`` does with ``MaxUnavailableStatefulSet`` off (its default up to 1.36): one pod
at a time, and an OrderedReady set that waits for a pod which never becomes ready does nothing else, not even take that
pod back to a good template (kubernetes#67250). A Parallel set does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from deploy.sandbox.kube.adoption import claimed
from deploy.sandbox.kube.availability import Availability
from deploy.sandbox.kube.controller_revisions import POD_LABEL, RevisionHistory, name_of, template_of
from deploy.sandbox.kube.errors import ApiError, Json
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.resources import CLAIMS, PODS, STATEFULSETS
from deploy.sandbox.kube.workloads import (
    CREATE_RETRY_SECONDS,
    MANAGER,
    count,
    is_ready,
    is_terminating,
    owner_reference,
    pod_of,
    replicas,
    without_zeros,
)

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
"""From 1.28 on."""

_ORDINAL = re.compile(r"(.*)-([0-9]+)$")
_MAIN = Write(manager=MANAGER)
_STATUS = Write(manager=MANAGER, subresource="status")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A StatefulSet as one look finds it: its two revisions, and its pods by ordinal."""

    owner: Json
    current: Json
    update: Json
    pods: dict[int, Json]

    @property
    def start(self) -> int:
        return int((self.owner["spec"].get("ordinals") or {}).get("start") or 0)

    @property
    def ordinals(self) -> range:
        return range(self.start, self.start + replicas(self.owner))

    @property
    def ordered(self) -> bool:
        return bool(self.owner["spec"]["podManagementPolicy"] != "Parallel")

    @property
    def condemned(self) -> list[int]:
        """Ordinals beyond the size, the highest first."""
        return sorted((number for number in self.pods if number not in self.ordinals), reverse=True)


class StatefulSetController:
    """Moves StatefulSets to their templates. ``again(namespace, name, seconds)`` asks for another look."""

    def __init__(
        self, registry: Registry, *, availability: Availability, again: Callable[[str, str, float], None]
    ) -> None:
        self._registry = registry
        self._availability = availability
        self._again = again
        self._history = RevisionHistory(registry, STATEFULSETS)

    def sync(self, namespace: str, name: str) -> None:
        """One step towards the spec, then the status, then the history's limit."""
        owner = self._registry.store.get(STATEFULSETS, namespace, name)
        if owner is None or is_terminating(owner):
            return
        update, collisions = self._history.keep(owner)
        known = self._history.known(owner)
        wanted = (owner.get("status") or {}).get("currentRevision")
        current = next((one for one in known if name_of(one) == wanted), update)
        try:
            self._step(_Scene(owner=owner, current=current, update=update, pods=self._pods(owner)))
        except ApiError:
            self._again(namespace, name, CREATE_RETRY_SECONDS)
        after = _Scene(owner=owner, current=current, update=update, pods=self._pods(owner))
        self._write_status(after, collisions)
        wait = self._availability.next_change(list(after.pods.values()), owner)
        if wait is not None:
            self._again(namespace, name, wait)
        live = {name_of(current), name_of(update)} | {revision_of(pod) for pod in after.pods.values()}
        old = [one for one in known if name_of(one) not in live]
        self._history.trim(old, owner["spec"]["revisionHistoryLimit"], set())

    def _step(self, scene: _Scene) -> None:
        for ordinal in scene.ordinals:
            if self._waits_at(scene, ordinal) and scene.ordered:
                return
        if not self._shrink(scene) or scene.owner["spec"]["updateStrategy"]["type"] == "OnDelete":
            return
        self._replace_one(scene)

    def _waits_at(self, scene: _Scene, ordinal: int) -> bool:
        """Sees to one pod; whether an ordered set has to wait for it."""
        pod = scene.pods.get(ordinal)
        if pod is None:
            self._create(scene, ordinal)
            return True
        if pod["status"].get("phase") in ("Failed", "Succeeded"):
            self._delete(pod)
            return True
        return self._is_unavailable(scene, pod)

    def _shrink(self, scene: _Scene) -> bool:
        """Deletes pods beyond the size, an ordered set one by one; whether that is done."""
        sick = [number for number in scene.condemned if self._is_unavailable(scene, scene.pods[number])]
        for ordinal in scene.condemned:
            pod = scene.pods[ordinal]
            waits = is_terminating(pod) or (ordinal in sick and ordinal != sick[-1])
            if not (waits and scene.ordered):
                self._delete(pod)
            if scene.ordered:
                return False
        return True

    def _replace_one(self, scene: _Scene) -> None:
        """Deletes the highest pod of another revision, once all above it are available."""
        for ordinal in reversed(scene.ordinals):
            pod = scene.pods.get(ordinal)
            if pod is None or ordinal < scene.start + _partition(scene.owner):
                return
            if revision_of(pod) != name_of(scene.update) and not is_terminating(pod):
                self._delete(pod)
                return
            if self._is_unavailable(scene, pod):
                return

    def _is_unavailable(self, scene: _Scene, pod: Json) -> bool:
        return is_terminating(pod) or not self._availability.has(pod, scene.owner)

    def _delete(self, pod: Json) -> None:
        if not is_terminating(pod):
            self._registry.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], {}, _MAIN)

    def _create(self, scene: _Scene, ordinal: int) -> None:
        owner, namespace = scene.owner, scene.owner["metadata"]["namespace"]
        revision = scene.current if _comes_back_old(scene, ordinal) else scene.update
        pod = pod_of(template_of(revision), owner_reference(STATEFULSETS, owner))
        name = f"{owner['metadata']['name']}-{ordinal}"
        pod["metadata"] |= {"name": name, "generateName": f"{owner['metadata']['name']}-"}
        pod["metadata"].setdefault("labels", {}).update(
            {NAME_LABEL: name, INDEX_LABEL: str(ordinal), POD_LABEL: name_of(revision)}
        )
        pod["spec"]["hostname"] = name
        if owner["spec"].get("serviceName"):
            pod["spec"]["subdomain"] = owner["spec"]["serviceName"]
        self._claim_volumes(owner, pod, ordinal)
        self._registry.create(PODS, namespace, pod, _MAIN)

    def _claim_volumes(self, owner: Json, pod: Json, ordinal: int) -> None:
        """Makes the claims that are not there yet and mounts them, before the template's volumes of other names."""
        namespace, mounted = owner["metadata"]["namespace"], []
        for claim in owner["spec"].get("volumeClaimTemplates") or []:
            own = claim["metadata"]["name"]
            name = f"{own}-{owner['metadata']['name']}-{ordinal}"
            mounted.append({"name": own, "persistentVolumeClaim": {"claimName": name}})
            if self._registry.store.get(CLAIMS, namespace, name) is None:
                labels = {**(claim["metadata"].get("labels") or {}), **owner["spec"]["selector"].get("matchLabels", {})}
                body = {"metadata": {"name": name, "labels": labels}, "spec": claim.get("spec") or {}}
                self._registry.create(CLAIMS, namespace, body, _MAIN)
        names = {one["name"] for one in mounted}
        others = [one for one in pod["spec"].get("volumes") or [] if one["name"] not in names]
        if mounted or others:
            pod["spec"]["volumes"] = [*mounted, *others]

    def _pods(self, owner: Json) -> dict[int, Json]:
        """The set's pods by ordinal; only a pod of the right name is adopted."""
        name = owner["metadata"]["name"]
        pods = claimed(self._registry, PODS, STATEFULSETS, owner, fits=lambda pod: _split(pod)[0] == name)
        return {_split(pod)[1]: pod for pod in pods if _split(pod)[0] == name}

    def _write_status(self, scene: _Scene, collisions: int) -> None:
        owner, pods = scene.owner, list(scene.pods.values())
        staying = [revision_of(pod) for pod in pods if not is_terminating(pod)]
        current, update = name_of(scene.current), name_of(scene.update)
        ready, updated = sum(map(is_ready, pods)), staying.count(update)
        is_rolling = owner["spec"]["updateStrategy"]["type"] == "RollingUpdate"
        if is_rolling and updated == ready == len(pods) == replicas(owner):
            current = update
        obj = self._registry.copy(STATEFULSETS, owner["metadata"]["namespace"], owner["metadata"]["name"])
        obj["status"] = {
            "replicas": len(pods),
            "availableReplicas": sum(self._availability.has(pod, owner) for pod in pods),
            "collisionCount": collisions,
            **without_zeros(
                {
                    "observedGeneration": owner["metadata"]["generation"],
                    "readyReplicas": ready,
                    "currentReplicas": staying.count(current),
                    "updatedReplicas": updated,
                    "currentRevision": current,
                    "updateRevision": update,
                }
            ),
        }
        self._registry.update(STATEFULSETS, owner["metadata"]["namespace"], owner["metadata"]["name"], obj, _STATUS)


def revision_of(pod: Json) -> str:
    """The revision label of a pod, "" without one."""
    return str((pod["metadata"].get("labels") or {}).get(POD_LABEL, ""))


def _split(pod: Json) -> tuple[str, int]:
    """The set's name and the ordinal in a pod's name; ordinal -1 for a name of another form."""
    found = _ORDINAL.fullmatch(pod["metadata"]["name"])
    return (found[1], int(found[2])) if found else ("", -1)


def _partition(owner: Json) -> int:
    return int((owner["spec"]["updateStrategy"].get("rollingUpdate") or {}).get("partition") or 0)


def _comes_back_old(scene: _Scene, ordinal: int) -> bool:
    """Whether a pod that is made now gets the current revision: below the partition, or, where the strategy names no
    ``rollingUpdate``, below the number of pods that the update has not reached.
    """
    strategy = scene.owner["spec"]["updateStrategy"]
    if strategy.get("rollingUpdate") is not None:
        return ordinal < scene.start + _partition(scene.owner)
    return strategy["type"] == "RollingUpdate" and ordinal < scene.start + count(scene.owner, "currentReplicas")
