"""The Deployment controller and the kubelet: templates become ReplicaSets, pods are exchanged one by one.

A revision's image says how it behaves: `registry.example/checkout:3.bad`. What served when is kept, for whoever measures.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from daemon.core.model import RevisionId
from handlers.revisions import template_hash
from tests.simulation.clocks import EPOCH, stamp, true_now
from tests.simulation.kubernetes import ApiServer, Obj
from tests.simulation.loop import run_as

REPLICAS = 2
CRASHES_EVERY = 25.0
NUMBER = "deployment.kubernetes.io/revision"
BEFORE = timedelta(hours=3)
"""How long before the world begins its first revisions were deployed."""


@dataclass(frozen=True, slots=True)
class Serving:
    """From this moment on, so many ready pods of each revision."""

    at: float
    ready: Mapping[RevisionId, int]


@dataclass(slots=True)
class Cluster:
    """The controllers of one cluster. `quality` tells how a revision behaves."""

    server: ApiServer
    rng: random.Random
    progress_seconds: float = 150.0
    start_seconds: float = 40.0
    serving: dict[tuple[str, str], list[Serving]] = field(default_factory=dict)
    quality: dict[RevisionId, str] = field(default_factory=dict)
    first_ready: dict[RevisionId, float] = field(default_factory=dict)
    _hashes: dict[str, RevisionId] = field(default_factory=dict)
    _tasks: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)
    _wanted: dict[tuple[str, str], tuple[str, Obj, bool] | None] = field(default_factory=dict)

    def deploy(
        self, namespace: str, name: str, tag: str, *, manager: str = "kubectl-client-side-apply", **spec: Any
    ) -> None:
        """Write another image into the template, as a pipeline would; make the Deployment where there is none."""
        known = self.server.get("deployments", namespace, name)
        template = template_of(namespace, name, tag)
        if known is None:
            labels = {"app": name}
            body = {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template, **spec}
            metadata = {
                "namespace": namespace,
                "name": name,
                "labels": labels,
                "annotations": {NUMBER: "1"},
                "generation": 1,
            }
            self.server.put("deployments", {"metadata": metadata, "spec": body, "status": {}})
        else:
            self.write(known, {**known["spec"], "template": template, **spec}, manager)

    def write(self, known: Obj, spec: Obj, manager: str) -> None:
        """Store another spec."""
        if spec == known["spec"]:
            return
        entry = {
            "manager": manager,
            "operation": "Update",
            "time": stamp(true_now()),
            "fieldsV1": {"f:spec": {"f:template": {}}},
        }
        metadata = {**known["metadata"], "generation": known["metadata"]["generation"] + 1}
        metadata["managedFields"] = [*(e for e in metadata.get("managedFields", ()) if e["manager"] != manager), entry]
        self.server.put("deployments", {**known, "metadata": metadata, "spec": spec})

    def annotate(self, plural: str, namespace: str, name: str, **metadata: Any) -> None:
        """Set annotations, labels or owners of an object."""
        known = self.server.get(plural, namespace, name)
        if known is not None:
            old = known["metadata"]
            merged = {k: {**old.get(k, {}), **v} if isinstance(v, dict) else v for k, v in metadata.items()}
            grown = {"generation": int(old.get("generation", 0)) + 1} if plural == "deployments" else {}
            self.server.put(plural, {**known, "metadata": {**old, **merged, **grown}})

    def settle(self, namespace: str, name: str) -> None:
        """The Deployment as it has run since long before the world began."""
        workload = self.server.get("deployments", namespace, name)
        assert workload is not None
        made = stamp(EPOCH - BEFORE)
        replica_set = self._replica_set(workload, created=made)
        for _ in range(REPLICAS):
            self._pod(workload, replica_set, EPOCH - BEFORE, ready=True)
        self._wanted[namespace, name] = _asked(workload)
        self._report(namespace, name, stuck=False)

    def changed(self, plural: str, obj: Obj) -> None:
        """A Deployment was written: begin to bring about what it asks for, where it asks for something else."""
        if plural != "deployments":
            return
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        alive = self.server.get(plural, *key) is not None
        wanted = _asked(obj) if alive else None
        if key in self._wanted and self._wanted[key] != wanted:
            self._wanted[key] = wanted
            if key in self._tasks:
                self._tasks[key].cancel()
            run_as(0, lambda: self._begin(key))

    def make(self, namespace: str, name: str) -> None:
        """Look after a Deployment that was just made."""
        run_as(0, lambda: self._begin((namespace, name)))

    def _begin(self, key: tuple[str, str]) -> None:
        workload = self.server.get("deployments", *key)
        self._wanted[key] = _asked(workload) if workload is not None else None
        self._tasks[key] = asyncio.get_running_loop().create_task(self._exchange(key))

    def served(self, key: tuple[str, str], at: float) -> Mapping[RevisionId, int]:
        """The ready pods of each revision at a moment."""
        known = self.serving.get(key, [])
        index = bisect_right(known, at, key=lambda each: each.at) - 1
        return known[max(index, 0)].ready if known else {}

    # -- what the controllers do

    async def _exchange(self, key: tuple[str, str]) -> None:
        await asyncio.sleep(self.rng.uniform(0.05, 1.5))
        workload = self.server.get("deployments", *key)
        if workload is None:
            for pod in self._pods(key):
                self.server.delete("pods", key[0], pod["metadata"]["name"])
            self._note(key)
            return
        if workload["spec"].get("paused"):
            self._report(*key, stuck=False)
            return
        replica_set = self._replica_set(workload, created=stamp(true_now()))
        uid = replica_set["metadata"]["uid"]
        ends = asyncio.get_running_loop().time() + self.progress_seconds
        self._report(*key, stuck=False)
        for pod in [each for each in self._pods(key) if not _is_ready(each) and _owner(each) != uid]:
            self.server.delete("pods", key[0], pod["metadata"]["name"])
        while len([pod for pod in self._pods(key) if _owner(pod) == uid and _is_ready(pod)]) < REPLICAS or self._old(
            key, uid
        ):
            await self._one(key, workload, replica_set, ends)
        self._report(*key, stuck=False)

    async def _one(self, key: tuple[str, str], workload: Obj, replica_set: Obj, ends: float) -> None:
        """One pod more of the new revision, and one less of the old."""
        uid, quality = replica_set["metadata"]["uid"], self.quality_of(replica_set)
        mine = [pod for pod in self._pods(key) if _owner(pod) == uid]
        if len([pod for pod in mine if _is_ready(pod)]) < REPLICAS:
            waiting = next((pod for pod in mine if not _is_ready(pod)), None)
            name = waiting["metadata"]["name"] if waiting else self._pod(workload, replica_set, true_now(), ready=False)
            self._report(*key, stuck=False)
            restarts = 0
            while quality == "crash":
                await asyncio.sleep(CRASHES_EVERY)
                restarts += 1
                self._crash(key[0], name, restarts)
                self._report(*key, stuck=asyncio.get_running_loop().time() > ends)
            await asyncio.sleep(self.start_seconds * self.rng.uniform(0.5, 1.5))
            self._ready(key[0], name)
        old = self._old(key, uid)
        if old:
            await asyncio.sleep(self.rng.uniform(0.2, 3.0))
            self.server.delete("pods", key[0], old[0]["metadata"]["name"])
        self._report(*key, stuck=False)

    def quality_of(self, replica_set: Obj) -> str:
        """How the pods of a ReplicaSet behave."""
        image: str = replica_set["spec"]["template"]["spec"]["containers"][0]["image"]
        return image.rpartition(".")[2]

    def _old(self, key: tuple[str, str], uid: str) -> list[Obj]:
        return [pod for pod in self._pods(key) if _owner(pod) != uid]

    def _pods(self, key: tuple[str, str]) -> list[Obj]:
        return [pod for pod in self.server.all("pods", key[0]) if pod["metadata"]["labels"]["app"] == key[1]]

    def _replica_set(self, workload: Obj, created: str) -> Obj:
        """The ReplicaSet of the present template, taken up again where there is one, with the highest number."""
        metadata, template = workload["metadata"], workload["spec"]["template"]
        revision = template_hash(template)
        held = self.server.history(workload)
        number = 1 + max((int(each["metadata"]["annotations"][NUMBER]) for each in held), default=0)
        known = next((each for each in held if template_hash(each["spec"]["template"]) == revision), None)
        copied = {**metadata.get("annotations", {}), NUMBER: str(number)}
        self.server.put("deployments", {**workload, "metadata": {**metadata, "annotations": copied}})
        if known is not None:
            before = known["metadata"]["annotations"]
            if int(before[NUMBER]) == number - 1:
                return known
            copied["deployment.kubernetes.io/revision-history"] = before[NUMBER]
            return self.server.put("replicasets", {**known, "metadata": {**known["metadata"], "annotations": copied}})
        labelled = {
            **template,
            "metadata": {"labels": {**template["metadata"]["labels"], "pod-template-hash": revision[:8]}},
        }
        labelled["metadata"] |= {k: v for k, v in template["metadata"].items() if k != "labels"}
        made: Obj = {
            "namespace": metadata["namespace"], "name": f"{metadata['name']}-{revision[:8]}-{metadata['uid']}",
            "annotations": copied, "labels": metadata["labels"], "creationTimestamp": created,
            "ownerReferences": [{"controller": True, "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"]}],
        }  # fmt: skip
        self.quality[revision] = self.quality_of({"spec": {"template": template}})
        return self.server.put("replicasets", {"metadata": made, "spec": {"template": labelled}})

    def _pod(self, workload: Obj, replica_set: Obj, at: datetime, *, ready: bool) -> str:
        name = self.server.new_name(replica_set["metadata"]["name"])
        metadata: Obj = {
            "namespace": workload["metadata"]["namespace"], "name": name, "labels": workload["metadata"]["labels"],
            "creationTimestamp": stamp(at),
            "ownerReferences": [{"controller": True, "kind": "ReplicaSet", "uid": replica_set["metadata"]["uid"]}],
        }  # fmt: skip
        self.server.put(
            "pods", {"metadata": metadata, "spec": {"nodeName": "node-1"}, "status": _status(at, ready=ready)}
        )
        self._note((metadata["namespace"], workload["metadata"]["name"]))
        return name

    def _ready(self, namespace: str, name: str) -> None:
        pod = self.server.get("pods", namespace, name)
        if pod is not None:
            self.server.put("pods", {**pod, "status": _status(true_now(), ready=True)})

    def _crash(self, namespace: str, name: str, restarts: int) -> None:
        pod = self.server.get("pods", namespace, name)
        if pod is not None:
            container = {
                "name": "main", "restartCount": restarts, "ready": False,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": stamp(true_now())}},
            }  # fmt: skip
            self.server.put("pods", {**pod, "status": {**pod["status"], "containerStatuses": [container]}})

    def _report(self, namespace: str, name: str, *, stuck: bool) -> None:
        """Write the Deployment's status."""
        workload = self.server.get("deployments", namespace, name)
        if workload is None:
            return
        pods = self._pods((namespace, name))
        revision = template_hash(workload["spec"]["template"])
        current = {
            each["metadata"]["uid"] for each in self.server.history(workload) if self._revision(each) == revision
        }
        status = {
            "observedGeneration": workload["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len([pod for pod in pods if _owner(pod) in current]),
            "availableReplicas": len([pod for pod in pods if _is_ready(pod)]),
            "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}] if stuck else [],
        }
        if status != workload["status"]:
            self.server.put("deployments", {**workload, "status": status})
        self._note((namespace, name))

    def _revision(self, replica_set: Obj) -> RevisionId:
        """The revision of a ReplicaSet, whose template never changes."""
        uid = replica_set["metadata"]["uid"]
        if uid not in self._hashes:
            self._hashes[uid] = template_hash(replica_set["spec"]["template"])
        return self._hashes[uid]

    def _note(self, key: tuple[str, str]) -> None:
        """Keep what serves from now on."""
        owners = {each["metadata"]["uid"]: self._revision(each) for each in self.server.all("replicasets", key[0])}
        ready: dict[RevisionId, int] = {}
        for pod in self._pods(key):
            revision = owners.get(_owner(pod))
            if revision is not None and _is_ready(pod):
                ready[revision] = ready.get(revision, 0) + 1
        now = asyncio.get_running_loop().time()
        for revision in ready:
            self.first_ready.setdefault(revision, now)
        known = self.serving.setdefault(key, [])
        if not known or known[-1].ready != ready:
            known.append(Serving(now, ready))


def template_of(namespace: str, name: str, tag: str) -> Obj:
    """The pod template with an image of this tag; `+` and what follows it only restarts."""
    tag, _, restarted = tag.partition("+")
    container = {
        "name": "main",
        "image": f"registry.example/{name}:{tag}",
        "envFrom": [{"configMapRef": {"name": "settings"}}],
    }
    metadata: Obj = {"labels": {"app": name}}
    if restarted:
        metadata["annotations"] = {"kubectl.kubernetes.io/restartedAt": restarted}
    return {"metadata": metadata, "spec": {"containers": [container]}}


def _asked(workload: Obj) -> tuple[str, Obj, bool]:
    """What the controller acts upon."""
    spec = workload["spec"]
    return workload["metadata"]["uid"], spec["template"], bool(spec.get("paused"))


def _status(at: datetime, *, ready: bool) -> Obj:
    running = {"running": {"startedAt": stamp(at)}}
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp(at)}
    container = {"name": "main", "restartCount": 0, "ready": ready, "state": running}
    return {"phase": "Running", "startTime": stamp(at), "conditions": [condition], "containerStatuses": [container]}


def _owner(pod: Obj) -> str:
    return str(pod["metadata"]["ownerReferences"][0]["uid"])


def _is_ready(pod: Obj) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")
