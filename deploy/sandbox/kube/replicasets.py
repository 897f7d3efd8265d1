"""The ReplicaSet controller: as many pods as asked for, and a status that counts them."""

from __future__ import annotations

from collections.abc import Callable

from deploy.sandbox.kube.availability import Availability
from deploy.sandbox.kube.errors import ApiError, Json
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.resources import PODS, REPLICASETS
from deploy.sandbox.kube.workloads import (
    CREATE_RETRY_SECONDS,
    MANAGER,
    controlled_by,
    is_active,
    is_ready,
    owner_reference,
    pod_of,
    replicas,
    without_zeros,
)

_MAIN = Write(manager=MANAGER)
_STATUS = Write(manager=MANAGER, subresource="status")


class ReplicaSetController:
    """Keeps one ReplicaSet after the other at its size. ``again(namespace, name, seconds)`` asks for another look."""

    def __init__(
        self, registry: Registry, *, availability: Availability, again: Callable[[str, str, float], None]
    ) -> None:
        self._registry = registry
        self._availability = availability
        self._again = again

    def sync(self, namespace: str, name: str) -> None:
        """Creates or deletes pods until the number fits, then writes the status if it changed."""
        found = self._registry.store.get(REPLICASETS, namespace, name)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return
        pods = [pod for pod in self._registry.store.objects(PODS, namespace) if controlled_by(pod, found)]
        active = [pod for pod in pods if is_active(pod)]
        missing = replicas(found) - len(active)
        failure = None
        if missing > 0:
            failure = self._create(found, missing)
        elif missing < 0:
            for pod in sorted(active, key=self._worth)[:-missing]:
                self._registry.delete(PODS, namespace, pod["metadata"]["name"], {}, _MAIN)
        self._write_status(found, failure)

    def _create(self, owner: Json, number: int) -> str | None:
        metadata = owner["metadata"]
        for _ in range(number):
            try:
                self._registry.create(PODS, metadata["namespace"], self._pod(owner), _MAIN)
            except ApiError as error:
                self._again(metadata["namespace"], metadata["name"], CREATE_RETRY_SECONDS)
                return str(error)
        return None

    def _pod(self, owner: Json) -> Json:
        pod = pod_of(owner["spec"]["template"], owner_reference(REPLICASETS, owner))
        pod["metadata"]["generateName"] = owner["metadata"]["name"] + "-"
        return pod

    def _worth(self, pod: Json) -> tuple[bool, bool, bool, float]:
        """What is deleted first sorts first: unscheduled, pending, not ready, then ready for the shortest time."""
        since = self._availability.since(pod)
        return bool(pod["spec"].get("nodeName")), pod["status"]["phase"] == "Running", is_ready(pod), -since

    def _write_status(self, owner: Json, failure: str | None) -> None:
        namespace, name = owner["metadata"]["namespace"], owner["metadata"]["name"]
        obj = self._registry.copy(REPLICASETS, namespace, name)
        pods = [
            one for one in self._registry.store.objects(PODS, namespace) if controlled_by(one, owner) and is_active(one)
        ]
        ready = [pod for pod in pods if is_ready(pod)]
        available = [pod for pod in ready if self._availability.has(pod, owner)]
        wait = self._availability.next_change(ready, owner)
        if wait is not None:
            self._again(namespace, name, wait)
        counted = without_zeros(
            {
                "fullyLabeledReplicas": len(pods),
                "readyReplicas": len(ready),
                "availableReplicas": len(available),
                "observedGeneration": owner["metadata"]["generation"],
            }
        )
        obj["status"] = {"replicas": len(pods), **counted, **self._failure(obj, failure)}
        self._registry.update(REPLICASETS, namespace, name, obj, _STATUS)

    def _failure(self, obj: Json, message: str | None) -> Json:
        if message is None:
            return {}
        known = next(iter(obj["status"].get("conditions") or []), None)
        since = known["lastTransitionTime"] if known else self._registry.stamp()
        return {
            "conditions": [
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": message,
                    "lastTransitionTime": since,
                }
            ]
        }
