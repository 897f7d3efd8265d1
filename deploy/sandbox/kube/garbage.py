"""Deletes what belonged to a deleted object, and all of a deleted namespace: background garbage collection."""

from __future__ import annotations

import asyncio
import copy

from deploy.sandbox.kube.errors import ApiError
from deploy.sandbox.kube.registry import Registry, Write
from deploy.sandbox.kube.resources import NAMESPACES, Resource
from deploy.sandbox.kube.store import Change

_WRITE = Write(manager="kube-controller-manager")


class GarbageCollector:
    """Listens for deletions; the work is done in the loop's next turn, after the answer to the delete."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def saw(self, change: Change) -> None:
        """A listener for the store."""
        if change.type != "DELETED":
            return
        metadata = change.obj["metadata"]
        loop = asyncio.get_running_loop()
        loop.call_soon(self._collect, metadata["uid"])
        if change.resource is NAMESPACES:
            loop.call_soon(self._empty, metadata["name"])

    def orphan(self, uid: str) -> None:
        """Cuts the dependents of ``uid`` loose before it is deleted (``propagationPolicy: Orphan``)."""
        for resource, obj in self._registry.store.everything():
            owners = obj["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners):
                loose = copy.deepcopy(obj)
                loose["metadata"]["ownerReferences"] = [owner for owner in owners if owner["uid"] != uid]
                namespace, name = loose["metadata"]["namespace"], loose["metadata"]["name"]
                self._registry.update(resource, namespace, name, loose, _WRITE)

    def _collect(self, uid: str) -> None:
        for resource, obj in self._registry.store.everything():
            owners = obj["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners) and len(owners) == 1:
                self._delete(resource, obj["metadata"]["namespace"], obj["metadata"]["name"])

    def _empty(self, namespace: str) -> None:
        for resource, obj in self._registry.store.everything():
            if obj["metadata"].get("namespace") == namespace:
                self._delete(resource, namespace, obj["metadata"]["name"])

    def _delete(self, resource: Resource, namespace: str, name: str) -> None:
        try:
            self._registry.delete(resource, namespace, name, {}, _WRITE)
        except ApiError as error:
            if error.code != 404:  # another owner's deletion may have been faster
                raise
