"""A Kubernetes control plane small enough for a test: ``async with SandboxCluster() as cluster: cluster.url``.

It claims, and ``tests/contract`` holds it to it: list and watch with resourceVersion, selectors, paging, bookmarks and
410; create, PUT with conflicts, JSON / merge / strategic merge patch, server-side dry run, status and scale;
generation, managedFields of plain updates, owner references, graceful deletion; Deployments that roll as the real
controller rolls them (revisions, annotations, conditions, history); StatefulSets and DaemonSets with their
ControllerRevisions (order, partition, OnDelete, maxUnavailable, maxSurge, history); pods that start, crash, wait and
end as a kubelet shows it. Real ``kubectl`` works against it (``tests/e2e``).

It does not claim: server-side apply, OpenAPI and schema validation beyond ``validation``, Table output, RBAC, admission
beyond ``Registry.admission``, quotas, webhooks, TLS, protobuf and YAML bodies (no ``kubectl auth can-i``), HPA, Jobs,
Endpoints, scheduling (taints, cordons and affinity say nothing; a DaemonSet's ``nodeSelector`` does), what becomes of
the pods of a deleted node, volumes (claims are objects, bound at once and kept whatever the retention policy says), a
StatefulSet's ``maxUnavailable``, logs, exec and persistence. Nothing a pod names is ever run; see ``PodHooks`` for a
way to serve something at its address.

It imports nothing of the daemon, so that a mistake cannot be made on both sides.
"""

from deploy.sandbox.kube.behaviours import (
    CONFIG_ERROR,
    CRASH,
    HEALTHY,
    NEVER_READY,
    OOM,
    PULL_ERROR,
    UNSCHEDULABLE,
    Behaviour,
    Behaviours,
    crash_after,
    image_digest,
)
from deploy.sandbox.kube.cluster import SandboxCluster
from deploy.sandbox.kube.errors import ApiError
from deploy.sandbox.kube.faults import Faults, RequestRecord
from deploy.sandbox.kube.pods import PodHooks, Timing

__all__ = [
    "CONFIG_ERROR",
    "CRASH",
    "HEALTHY",
    "NEVER_READY",
    "OOM",
    "PULL_ERROR",
    "UNSCHEDULABLE",
    "ApiError",
    "Behaviour",
    "Behaviours",
    "Faults",
    "PodHooks",
    "RequestRecord",
    "SandboxCluster",
    "Timing",
    "crash_after",
    "image_digest",
]
