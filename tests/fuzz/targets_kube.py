"""What the cluster holds: objects go the whole way from the watch through the stores to views, owners and references.

The API server checks types, by its own knowledge or by the schema of a custom resource, so only what it lets pass is sent: fields
left out, other texts, other numbers. One object that somebody wrote must never end the watch of all.
"""

from __future__ import annotations

import asyncio
import json
import math
from datetime import timedelta
from functools import cache
from typing import Any, cast

from daemon.core.events import Event
from daemon.core.model import Owner, OwnerKind
from handlers import applications, gitops_owners, lease_record, suspended, views, workload_objects
from handlers.faults import Fault
from handlers.inbound.cluster import ClusterWatch
from handlers.kinds.service import BLUE_GREEN
from handlers.kube_json import decode_list
from handlers.lease_record import LeaseTimes
from handlers.ownership import helm_release, owner_of
from handlers.references import references_of
from handlers.revisions import parse_time, template_of
from handlers.template_diff import template_diff
from tests.fuzz.targets import Parser
from tests.fuzz.targets_senders import raw
from tests.handlers.intake_fakes import Hands
from tests.handlers.kube_objects import START, container, deployment, ended, pod, replica_set, stamp, template, waiting

Json = dict[str, Any]

BUILT_IN = (
    "deployments",
    "replicasets",
    "statefulsets",
    "daemonsets",
    "controllerrevisions",
    "pods",
    "services",
    "configmaps",
    "namespaces",
)
CUSTOM = ("rollouts", "canaries", "applications", "kustomizations", "helmreleases")
WRITER = {
    "manager": "kubectl",
    "operation": "Update",
    "time": stamp(0),
    "fieldsV1": {"f:spec": {"f:template": {}, "f:selector": {}}},
}


def named(kind: str, version: str, name: str = "web", **more: Any) -> Json:
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": f"{kind}-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": stamp(0),
        "labels": {"app": "web"},
        "annotations": {"a": "b"},
        "managedFields": [WRITER],
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


@cache
def seeds() -> dict[str, Json]:
    """One object of each collection."""
    controller = {"kind": "StatefulSet", "name": "web", "uid": "StatefulSet-web", "controller": True}
    revision = named("ControllerRevision", "apps/v1", revision=1, data={"spec": {"template": template()}})
    revision["metadata"]["ownerReferences"] = [controller]
    broken = container(state=waiting("CrashLoopBackOff", "x"), last=ended("OOMKilled", code=137), restartCount=6)
    front = named("Service", "v1", spec={"selector": {"app": "web", "colour": "blue"}, "ports": [{"port": 80}]})
    front["metadata"]["annotations"][BLUE_GREEN] = "colour"
    sets = {
        "replicas": 2,
        "serviceName": "web",
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(),
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}},
    }
    status = {
        "observedGeneration": 1,
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "currentRevision": "web-1",
        "updateRevision": "web-1",
        "numberAvailable": 2,
        "desiredNumberScheduled": 2,
    }
    return {
        "deployments": deployment(annotations={views.MODE: "auto", views.IRREVERSIBLE: "yes"}, managedFields=[WRITER]),
        "replicasets": replica_set(),
        "pods": pod(containers=[broken], inits=[container("init")]),
        "statefulsets": named("StatefulSet", "apps/v1", spec=sets, status=status),
        "daemonsets": named("DaemonSet", "apps/v1", spec=sets, status=status),
        "controllerrevisions": revision,
        "services": front,
        "configmaps": named("ConfigMap", "v1"),
        "namespaces": named("Namespace", "v1", "shop"),
        **custom(status),
    }


def custom(status: Json) -> dict[str, Json]:
    """What other tools define."""
    entry = {
        "id": 1,
        "revision": "ab" * 20,
        "revisions": ["x"],
        "source": {"repoURL": "https://git/x", "path": "d"},
        "deployStartedAt": stamp(-9),
        "deployedAt": stamp(0),
    }
    return {
        "rollouts": named(
            "Rollout",
            "argoproj.io/v1alpha1",
            spec={
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(),
                "paused": False,
                "workloadRef": {"kind": "Deployment", "name": "web"},
                "strategy": {"canary": {"maxSurge": "25%", "maxUnavailable": 1, "steps": []}},
            },
            status={
                **status,
                "observedGeneration": "1",
                "phase": "Healthy",
                "currentPodHash": "aaa",
                "stableRS": "aaa",
                "abort": False,
                "canary": {"weights": {"canary": {"weight": 5}}},
                "blueGreen": {"activeSelector": ""},
            },
        ),
        "canaries": named("Canary", "flagger.app/v1beta1", spec={"targetRef": {"kind": "Deployment", "name": "web"}}),
        "applications": named(
            "Application",
            "argoproj.io/v1alpha1",
            spec={
                "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
                "syncPolicy": {"automated": {"selfHeal": True, "enabled": True}, "syncOptions": ["x=y"]},
            },
            status={
                "resources": [{"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web"}],
                "sync": {"revision": "ab"},
                "history": [entry],
                "operationState": {
                    "phase": "Succeeded",
                    "message": "m",
                    "operation": {"info": [{"name": "a", "value": "b"}]},
                },
            },
        ),
        "kustomizations": named(
            "Kustomization", "kustomize.toolkit.fluxcd.io/v1", spec={"suspend": True, "kubeConfig": {}}
        ),
        "helmreleases": named(
            "HelmRelease", "helm.toolkit.fluxcd.io/v2", spec={"suspend": False, "driftDetection": {"mode": "enabled"}}
        ),
    }


class Nowhere:
    """An inbox that keeps nothing."""

    def put(self, event: Event) -> None:
        """Nothing."""


def watched(collection: str) -> Any:
    """Parser of one collection: added, looked at, changed and deleted, in a cluster that holds one of each other."""

    def read(data: bytes) -> object:
        found = parsed(data)
        seed = seeds()[collection]
        if found is None or not keeps_metadata(found) or not alike(found, seed):
            return None
        watch = ClusterWatch(cast("Any", None), Nowhere(), Hands(START + timedelta(hours=1)), flagger=True, gitops=True)
        for plural, obj in seeds().items():
            apply(watch, plural, "ADDED", obj)
        for change in ("MODIFIED", "DELETED"):
            apply(watch, collection, change, found | {"metadata": {**found["metadata"], "resourceVersion": change}})
            looked(watch)
        alone(collection, found)
        return found

    return read


def apply(watch: ClusterWatch, plural: str, change: str, obj: Json) -> None:
    reflector = watch.reflectors[plural]
    reflector._apply({"type": change, "object": json.loads(json.dumps(obj))})


def looked(watch: ClusterWatch) -> None:
    """As the watch looks at every workload, and what else is asked of the cache."""
    stores = watch.cache.stores
    for obj in list(stores.all_workloads()):
        watch._look(views.workload_of(obj))
        owner = owner_of(obj, stores.master_of(obj))
        gitops_owners.answer(stores.gitops, obj, owner)
        helm_release(obj)
        references_of(template_of(obj))
        template_diff(template_of(obj), template())


def alone(collection: str, obj: Json) -> None:
    """What is done with an object that is read fresh, before something is written."""
    if collection == "applications":
        owner = Owner(kind=OwnerKind.ARGO_CD, name="web")
        applications.why_not(obj, "a")
        applications.only_one([obj], owner, seeds()["deployments"])
        entry = applications.entry_of(obj, "ab" * 20, START)
        applications.operation_of(obj, "a")
        applications.is_busy(obj)
        if isinstance(entry, dict):
            applications.rollback_patch(obj, entry, action="a", until=START, switch=True)
        try:
            applications.resume_patch(obj)
        except ValueError:
            pass  # its documented refusal: the mark cannot be read
    if collection in ("kustomizations", "helmreleases"):
        suspended.is_ours(obj)
        suspended.suspend_patch(obj, action="a", until=START)
        suspended.resume_patch(obj)
    if collection in ("deployments", "statefulsets"):
        workload_objects.selector_of(obj)
        workload_objects.own_write(obj)


def parsed(data: bytes) -> Json | None:
    """As the client decodes it; None for what is no object."""
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def keeps_metadata(obj: Json) -> bool:
    """Metadata is the API server's own, of custom resources too: its types are right, and the names are there."""
    seed = seeds()["deployments"]["metadata"] | {"ownerReferences": replica_set()["metadata"]["ownerReferences"]}
    found = obj.get("metadata")
    if not isinstance(found, dict) or not alike(found, seed):
        return False
    owners = found.get("ownerReferences") or ()
    named_owners = all(each.get("uid") and each.get("name") for each in owners)
    kept = all(found.get(key) for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp"))
    return named_owners and kept and texts(found.get("labels")) and texts(found.get("annotations"))


def texts(value: object) -> bool:
    return value is None or (isinstance(value, dict) and all(isinstance(each, str) for each in value.values()))


def alike(value: object, seed: object) -> bool:
    """The same types wherever the seed has any; a field may be missing, and an entry of a list anything like its first."""
    if value is None or seed is None:
        return True
    if isinstance(value, float) and not (math.isfinite(value) and isinstance(seed, float)):
        return False
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**31) <= value < 2**31:
        return False
    if type(value) is not type(seed):
        return False
    if isinstance(value, dict) and isinstance(seed, dict):
        # What has a name must have one; a condition has a type and a status.
        if any(
            value.get(key) is None for key in ("name", "type") if key in seed and ("status" in seed or key == "name")
        ):
            return False
        return all(alike(value[key], seed[key]) for key in value if key in seed)
    if isinstance(value, list) and isinstance(seed, list):
        return not seed or all(each is not None and alike(each, seed[0]) for each in value)
    return True


LEASE = {
    "metadata": {"name": "lastgood", "uid": "lease-1", "resourceVersion": "5"},
    "spec": {
        "holderIdentity": "other_1",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 3,
        "acquireTime": "2026-03-02T12:00:00.000000Z",
        "renewTime": "2026-03-02T12:00:05.000000Z",
    },
}


def leased(data: bytes) -> object:
    """Whatever somebody wrote into it, whoever may take it has it then, with a sign of life, and can keep and return it."""
    found = parsed(data)
    if found is None or not all(isinstance(found.get(part) or {}, dict) for part in ("metadata", "spec")):
        return None
    times, now = LeaseTimes(), START
    before = lease_record.read(found)
    lease_record.seconds_until_free(before, 1.0, times)
    taken = lease_record.taken(found, holder="we_1", token=before.transitions + 1, now=now, times=times)
    kept = lease_record.renewed(taken, token=before.transitions + 1, now=now, times=times)
    records = [lease_record.read(each) for each in (found, taken, kept)]
    assert [each.holder for each in records[1:]] == ["we_1", "we_1"]
    assert records[2].renewed > records[1].renewed
    assert len({each.sign_of_life for each in records}) == len(records)
    assert not any(each.problems for each in records[1:])
    assert lease_record.read(lease_record.released(kept, now=now)).is_released
    return found


def listed(data: bytes) -> object:
    return asyncio.run(decode_list(data))


def moment(data: bytes) -> object:
    found = parse_time(data.decode("utf-8", "replace"))
    return found and (found - timedelta(hours=24), found + timedelta(hours=24))


def by_hand(plural: str) -> Parser:
    """The parser of one collection."""
    tools = (
        "handlers.gitops_owners",
        "handlers.applications",
        "handlers.suspended",
        "handlers.views",
        "handlers.ownership",
    )
    core = (
        "handlers.inbound.cluster",
        "handlers.reflector",
        "handlers.store",
        "handlers.cluster_cache",
        "handlers.cluster_stores",
        "handlers.revisions",
        "handlers.pods",
        "handlers.pod_names",
        "handlers.references",
        "handlers.template_diff",
        "handlers.argo_templates",
        "handlers.kinds.kind",
        "handlers.kinds.deployment",
        "handlers.kinds.statefulset",
        "handlers.kinds.daemonset",
        "handlers.kinds.rollout",
        "handlers.kinds.service",
        "handlers.workload_objects",
    )
    covers = (*core, *tools)
    return Parser(
        name=f"kube-{plural}", covers=covers, read=watched(plural), refuses=(Fault,), seeds=(raw(seeds()[plural]),)
    )


LIST = {
    "kind": "PodList",
    "apiVersion": "v1",
    "metadata": {"resourceVersion": "5"},
    "items": [{"metadata": {"name": "x"}}],
}
PARSERS = (
    *(by_hand(plural) for plural in (*BUILT_IN, *CUSTOM)),
    Parser(
        name="kube-list",
        covers=("handlers.kube_json",),
        read=listed,
        refuses=(Fault,),
        seeds=(raw(LIST), raw({**LIST, "items": None})),
    ),
    Parser(
        name="kube-lease",
        covers=("handlers.lease_record",),
        read=leased,
        refuses=(),
        seeds=(raw(LEASE), raw({"spec": {}})),
    ),
    Parser(
        name="kube-time",
        covers=("handlers.revisions",),
        read=moment,
        refuses=(),
        shape="text",
        seeds=(b"2026-03-02T12:00:00Z", b"2026-03-02T12:00:00.123456+05:30"),
    ),
)
