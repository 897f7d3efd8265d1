"""A Deployment's status: the counts and the conditions, with the real controller's reasons and sentences."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.workloads import condition, count, replicas, unavailable, without_zeros

NO_DEADLINE = 2**31 - 1
"""The number that means "no progress deadline" in ``progressDeadlineSeconds``."""

TIMED_OUT = "ProgressDeadlineExceeded"
AVAILABLE = "NewReplicaSetAvailable"


class StatusKeeper:
    """Computes statuses. ``stamp`` gives the time for the wire; deadlines run on the loop's clock, scaled."""

    def __init__(self, *, stamp: Callable[[], str], time_scale: float) -> None:
        self._stamp = stamp
        self._time_scale = time_scale
        self._progress: dict[str, float] = {}

    def counted(self, deployment: Json, sets: list[Json], new: Json | None) -> Json:
        """The status with fresh counts and the Available and ReplicaFailure conditions; Progressing stays as it is."""
        available = sum(count(one, "availableReplicas") for one in sets)
        status = without_zeros(
            {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": sum(count(one, "replicas") for one in sets),
                "updatedReplicas": count(new, "replicas") if new is not None else 0,
                "readyReplicas": sum(count(one, "readyReplicas") for one in sets),
                "availableReplicas": available,
                "unavailableReplicas": max(0, sum(map(replicas, sets)) - available),
                "collisionCount": count(deployment, "collisionCount"),
            }
        )
        status["conditions"] = list(deployment["status"].get("conditions") or [])
        if available >= replicas(deployment) - unavailable(deployment):
            self._set(status, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            sentence = "Deployment does not have minimum availability."
            self._set(status, "Available", "False", "MinimumReplicasUnavailable", sentence)
        self._replica_failure(status, sets)
        return status

    def rolled(self, deployment: Json, sets: list[Json], new: Json | None) -> Json:
        """The status during and after a rollout: ``counted`` and what can be said about its progress."""
        status = self.counted(deployment, sets, new)
        current = condition(status, "Progressing")
        if not has_deadline(deployment):
            status["conditions"] = [one for one in status["conditions"] if one["type"] != "Progressing"]
            return status
        done = status.get("replicas", 0) == status.get("updatedReplicas", 0)
        if done and current is not None and current["reason"] == AVAILABLE:
            return status
        what = f'ReplicaSet "{new["metadata"]["name"]}"' if new is not None else "Deployment"
        if is_complete(deployment, status):
            self.progress(deployment, status, "True", AVAILABLE, f"{what} has successfully progressed.")
        elif _moved(deployment["status"], status):
            self._again(deployment, status, f"{what} is progressing.")
        elif self._timed_out(deployment, current):
            self.progress(deployment, status, "False", TIMED_OUT, f"{what} has timed out progressing.")
        return status

    def progress(self, deployment: Json, status: Json, state: str, reason: str, message: str) -> None:
        """Sets the Progressing condition in place and starts its deadline anew, unless it says so already."""
        if self._set(status, "Progressing", state, reason, message):
            self._progress[deployment["metadata"]["uid"]] = asyncio.get_running_loop().time()

    def deadline_left(self, deployment: Json) -> float | None:
        """Seconds on the loop's clock until the progress deadline, None when it does not run."""
        current = condition(deployment["status"], "Progressing")
        if not has_deadline(deployment) or current is None or current["reason"] in (AVAILABLE, TIMED_OUT):
            return None
        since = self._progress.get(deployment["metadata"]["uid"], asyncio.get_running_loop().time())
        allowed = deployment["spec"]["progressDeadlineSeconds"] / self._time_scale
        return float(since + allowed - asyncio.get_running_loop().time())

    def _again(self, deployment: Json, status: Json, message: str) -> None:
        """Progress was made: the condition is written anew, so that its lastUpdateTime moves."""
        old = condition(status, "Progressing")
        status["conditions"] = [one for one in status["conditions"] if one["type"] != "Progressing"]
        self.progress(deployment, status, "True", "ReplicaSetUpdated", message)
        fresh = condition(status, "Progressing")
        if fresh is not None and old is not None and old["status"] == "True":
            fresh["lastTransitionTime"] = old["lastTransitionTime"]

    def _timed_out(self, deployment: Json, current: Json | None) -> bool:
        if current is None or current["reason"] == AVAILABLE:
            return False
        left = self.deadline_left(deployment)
        return bool(current["reason"] == TIMED_OUT) or (left is not None and left <= 0)

    def _replica_failure(self, status: Json, sets: list[Json]) -> None:
        failed = next((found for one in sets if (found := condition(one.get("status") or {}, "ReplicaFailure"))), None)
        if failed is not None:
            self._set(status, "ReplicaFailure", "True", failed["reason"], failed["message"])
        else:
            status["conditions"] = [one for one in status["conditions"] if one["type"] != "ReplicaFailure"]

    def _set(self, status: Json, kind: str, state: str, reason: str, message: str) -> bool:
        current = condition(status, kind)
        if current is not None and (current["status"], current["reason"]) == (state, reason):
            return False
        now = self._stamp()
        unmoved = current is not None and current["status"] == state
        fresh = {
            "type": kind,
            "status": state,
            "reason": reason,
            "message": message,
            "lastUpdateTime": now,
            "lastTransitionTime": current["lastTransitionTime"] if current is not None and unmoved else now,
        }
        status["conditions"] = [one for one in status.get("conditions") or [] if one["type"] != kind] + [fresh]
        return True


def has_deadline(deployment: Json) -> bool:
    """Whether the Deployment has a progress deadline."""
    return deployment["spec"].get("progressDeadlineSeconds") not in (None, NO_DEADLINE)


def is_complete(deployment: Json, status: Json) -> bool:
    """Whether all pods are of the new revision and available, and the controller saw the latest spec."""
    wanted = replicas(deployment)
    numbers = [status.get(field, 0) for field in ("updatedReplicas", "replicas", "availableReplicas")]
    return numbers == [wanted] * 3 and status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]


def _moved(before: Json, after: Json) -> bool:
    def old(status: Json) -> int:
        return int(status.get("replicas", 0) - status.get("updatedReplicas", 0))

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return old(after) < old(before) or any(after.get(field, 0) > before.get(field, 0) for field in grown)
