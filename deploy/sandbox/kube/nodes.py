"""The nodes: machines by name only, always ready, with room for everything."""

from __future__ import annotations

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.store import Change

NODES_MAX = 200
"""Nodes that get an address of their own (127.0.0.11 and up)."""

_FIELD = "metadata.name"


def node(name: str, labels: dict[str, str]) -> Json:
    """A Node to store, labelled as a kubelet labels its own."""
    own = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {"metadata": {"name": name, "labels": {**own, **labels}}, "spec": {}}


def node_status(number: int, now: str) -> Json:
    """The status of the ``number``-th node, from 0."""
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the sandbox is posting ready"}
    return {
        "conditions": [{**ready, "lastHeartbeatTime": now, "lastTransitionTime": now}],
        "addresses": [{"type": "InternalIP", "address": f"127.0.0.{number % NODES_MAX + 11}"}],
    }


class Nodes:
    """What the scheduler knows of the nodes."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}

    def saw(self, change: Change) -> None:
        """Follows a change of a Node."""
        name = change.obj["metadata"]["name"]
        if change.type == "DELETED":
            self._addresses.pop(name, None)
            return
        addresses = change.obj.get("status", {}).get("addresses") or [{"address": "127.0.0.1"}]
        self._addresses[name] = addresses[0]["address"]

    def place(self, pod: Json, number: int) -> tuple[str, str] | None:
        """The name and address of a pod's node: the one that it asks for, else the ``number``-th in a round; None
        when there is none.
        """
        target = target_node(pod)
        names = [name for name in sorted(self._addresses) if target in ("", name)]
        if not names:
            return None
        name = names[number % len(names)]
        return name, self._addresses[name]


def only_on(spec: Json, name: str) -> None:
    """Ties a pod to one node in place, by the affinity that the DaemonSet controller writes."""
    expression = {"key": _FIELD, "operator": "In", "values": [name]}
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [{"matchFields": [expression]}]}


def target_node(pod: Json) -> str:
    """The node that a pod is on or is tied to, "" when any will do."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in required.get("nodeSelectorTerms") or []:
        for field in term.get("matchFields") or []:
            if field["key"] == _FIELD and field["operator"] == "In":
                return str(field["values"][0])
    return ""
