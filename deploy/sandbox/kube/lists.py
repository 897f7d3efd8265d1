"""Lists, whole or page by page. Pages come from one snapshot, so a write between two pages is in neither."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.sandbox.kube.errors import Json, bad_request, expired
from deploy.sandbox.kube.paths import Target
from deploy.sandbox.kube.selectors import Match, both, field_selector, label_selector
from deploy.sandbox.kube.store import Store

SNAPSHOTS_MAX = 100
"""Lists half read at one time; the oldest of more is answered with 410, as an expired continue token is."""


def selection(query: Mapping[str, str], name: str = "") -> Match:
    """The selector of a list or watch query; ``name`` narrows it to one object."""
    match = both(label_selector(query.get("labelSelector", "")), field_selector(query.get("fieldSelector", "")))
    return both(match, lambda obj: bool(obj["metadata"]["name"] == name)) if name else match


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    items: list[Json]
    version: int


class Lister:
    """Answers list requests from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: dict[str, _Snapshot] = {}
        self._tokens = itertools.count(1)

    def forget(self) -> None:
        """Every continue token expires."""
        self._snapshots.clear()

    def page(self, target: Target, query: Mapping[str, str]) -> Json:
        """The ``…List`` object: all, or the next ``limit`` items with a token for the rest."""
        limit = _number(query, "limit")
        snapshot = self._start(target, query)
        page = snapshot.items[:limit] if limit else snapshot.items
        rest = snapshot.items[len(page) :]
        metadata: Json = {"resourceVersion": str(snapshot.version)}
        if rest:
            metadata["continue"] = self._keep(_Snapshot(items=rest, version=snapshot.version))
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(rest)
        resource = target.resource
        # As on the wire, the items of a list do not repeat their kind.
        items = [{key: value for key, value in obj.items() if key not in ("kind", "apiVersion")} for obj in page]
        return {
            "kind": f"{resource.kind}List" if resource.kind != "Endpoints" else "EndpointsList",
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": items,
        }

    def _start(self, target: Target, query: Mapping[str, str]) -> _Snapshot:
        token = query.get("continue", "")
        if token:
            found = self._snapshots.pop(token, None)
            if found is None:
                raise expired("The provided continue parameter is too old to display a consistent list result.")
            return found
        match = selection(query, target.name)
        items = [obj for obj in self._store.objects(target.resource, target.namespace) if match(obj)]
        return _Snapshot(items=items, version=self._store.version)

    def _keep(self, snapshot: _Snapshot) -> str:
        token = f"page-{next(self._tokens)}"
        self._snapshots[token] = snapshot
        if len(self._snapshots) > SNAPSHOTS_MAX:
            del self._snapshots[next(iter(self._snapshots))]
        return token


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name) or "0"
    if not text.isdigit():
        raise bad_request(f"{name}: Invalid value: {text!r}: must be a number, 0 or greater")
    return int(text)
