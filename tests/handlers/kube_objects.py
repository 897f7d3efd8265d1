"""Small Kubernetes objects for tests, in the shape the API server sends them."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
"""The moment around which the objects of a test live."""


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def template(image: str = "shop:v1", **spec: Any) -> Json:
    container = {"name": "main", "image": image, "resources": {}}
    return {
        "metadata": {"creationTimestamp": None, "labels": {"app": "web"}},
        "spec": {"containers": [container], "restartPolicy": "Always", **spec},
    }


def replica_set(image: str = "shop:v1", *, number: int = 1, suffix: str = "aaa", **metadata: Any) -> Json:
    body = template(image)
    body["metadata"]["labels"]["pod-template-hash"] = suffix
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"web-{suffix}",
            "namespace": "shop",
            "uid": f"rs-{suffix}",
            "resourceVersion": "1",
            "creationTimestamp": stamp(0),
            "annotations": {"deployment.kubernetes.io/revision": str(number)},
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "d-1", "controller": True}],
            **metadata,
        },
        "spec": {"replicas": 1, "template": body},
    }


def deployment(image: str = "shop:v1", *, replicas: int = 2, status: Json | None = None, **metadata: Any) -> Json:
    done = {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "d-1",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": stamp(0),
            "labels": {"team": "shop"},
            **metadata,
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "progressDeadlineSeconds": 600,
            "template": template(image),
        },
        "status": done if status is None else status,
    }


def container(name: str = "main", *, state: Json | None = None, last: Json | None = None, **fields: Any) -> Json:
    running = {"running": {"startedAt": stamp(0)}}
    return {
        "name": name,
        "imageID": f"registry.example/{name}@sha256:{name}",
        "ready": False,
        "restartCount": 0,
        "state": state or running,
        "lastState": last or {},
        **fields,
    }


def ended(reason: str = "Error", *, code: int = 1, finished: float = 0, message: str = "") -> Json:
    state = {"reason": reason, "exitCode": code, "finishedAt": stamp(finished)}
    return {"terminated": {**state, "message": message} if message else state}


def waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def pod(
    name: str = "web-aaa-11111",
    *,
    ready_since: float | None = None,
    unready_since: float = 0,
    containers: list[Json] | None = None,
    inits: list[Json] | None = None,
    owner: str = "rs-aaa",
    metadata: Json | None = None,
    **status: Any,
) -> Json:
    """A pod that started at 0: Ready since `ready_since`, else not Ready since `unready_since`."""
    turned = unready_since if ready_since is None else ready_since
    ready = {"type": "Ready", "status": str(ready_since is not None), "lastTransitionTime": stamp(turned)}
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(0)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"pod-{name}",
            "resourceVersion": "1",
            "creationTimestamp": stamp(0),
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-aaa", "uid": owner, "controller": True}],
            **(metadata or {}),
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "main"}]},
        "status": {
            "phase": "Running",
            "startTime": stamp(0),
            "conditions": [scheduled, ready],
            "containerStatuses": [container()] if containers is None else containers,
            "initContainerStatuses": inits or [],
            **status,
        },
    }


def changed(obj: Json, **metadata: Any) -> Json:
    """A copy with other metadata and the next resourceVersion."""
    after = copy.deepcopy(obj)
    after["metadata"] |= {"resourceVersion": str(int(obj["metadata"]["resourceVersion"]) + 1), **metadata}
    return after
