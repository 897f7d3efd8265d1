"""Workloads for a control plane, and waiting for what its controllers and nodes make of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from tests.controlplane.plane import ControlPlane

Json = dict[str, Any]
T = TypeVar("T")

DEADLINE_SECONDS = 60.0
"""For what controllers, scheduler and nodes do together: about a second on an idle machine."""

_ROOTS = {"pods": "/api/v1", "services": "/api/v1", "jobs": "/apis/batch/v1"}


def path(namespace: str, plural: str, name: str = "") -> str:
    """Of a collection or an object; what is not of the core or a job is of `apps/v1`."""
    collection = f"{_ROOTS.get(plural, '/apis/apps/v1')}/namespaces/{namespace}/{plural}"
    return f"{collection}/{name}" if name else collection


def workload(kind: str, name: str, image: str, *, replicas: int | None = 1, **spec: Any) -> Json:
    """A Deployment, StatefulSet or DaemonSet (`replicas=None`) of one container."""
    labels = {"app": name}
    body: Json = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}},
            **spec,
        },
    }
    if replicas is not None:
        body["spec"]["replicas"] = replicas
    return body


def make(plane: ControlPlane, namespace: str, plural: str, body: Json) -> Json:
    """Creates an object."""
    status, answer = plane.ask("POST", path(namespace, plural), body)
    assert status == 201, answer
    return answer


def pods_of(plane: ControlPlane, namespace: str, app: str) -> list[Json]:
    """The pods with this label that are there now."""
    status, answer = plane.ask("GET", f"{path(namespace, 'pods')}?labelSelector=app%3D{app}")
    assert status == 200, answer
    found: list[Json] = answer["items"]
    return found


def until(read: Callable[[], T], good: Callable[[T], bool]) -> T:
    """Reads until it is good; fails with what was read last."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        seen = read()
        if good(seen):
            return seen
        assert time.monotonic() < deadline, f"not come to what was expected: {seen}"
        time.sleep(0.05)


def until_available(plane: ControlPlane, namespace: str, name: str, replicas: int) -> Json:
    """Waits until the Deployment has so many available replicas of its last revision."""

    def read() -> Json:
        return plane.ask("GET", path(namespace, "deployments", name))[1]

    def good(seen: Json) -> bool:
        status = seen.get("status", {})
        current = status.get("observedGeneration") == seen["metadata"]["generation"]
        return bool(current and status.get("updatedReplicas") == status.get("availableReplicas") == replicas)

    return until(read, good)
