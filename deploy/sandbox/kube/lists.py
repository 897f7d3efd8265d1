"""Lists, whole or page by page. Pages come from one snapshot, so a write between two pages is in neither."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.sandbox.kube.errors import Json, bad_request, expired, from_the_future, invalid, unreadable_version
from deploy.sandbox.kube.paths import Target
from deploy.sandbox.kube.resources import Resource
from deploy.sandbox.kube.selectors import Match, both, field_selector, label_selector
from deploy.sandbox.kube.store import Store

SNAPSHOTS_MAX = 100
"""Pages one may go on from; the oldest of more is answered with 410, as an expired continue token is."""

_TOKEN = "page-"


def selection(query: Mapping[str, str], resource: Resource) -> Match:
    """The selector of a list or watch query."""
    fields = field_selector(query.get("fieldSelector", ""), resource.kind)
    return both(label_selector(query.get("labelSelector", "")), fields)


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
        limit = 0 if query.get("resourceVersion") == "0" else _number(query, "limit")  # a cache gives all that it has
        snapshot = self._start(target, query, limit)
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

    def _start(self, target: Target, query: Mapping[str, str], limit: int) -> _Snapshot:
        match, asked = selection(query, target.resource), _version(query)
        token, exact = query.get("continue", ""), query.get("resourceVersionMatch") == "Exact"
        if token and asked:
            raise bad_request("specifying resource version is not allowed when using continue")
        if token:
            return self._kept(token)
        if asked > self._store.version:
            raise from_the_future(asked, self._store.version)
        version = asked if asked and (exact or limit) else self._store.version
        if version < self._store.oldest:
            raise expired("The resourceVersion for the provided list is too old.")
        items = [obj for obj in self._store.objects_at(version, target.resource, target.namespace) if match(obj)]
        return _Snapshot(items=items, version=version)

    def _kept(self, token: str) -> _Snapshot:
        if not token.startswith(_TOKEN):
            raise bad_request("invalid continue token: continue key is not valid")
        if token not in self._snapshots:
            raise expired("The provided continue parameter is too old to display a consistent list result.")
        return self._snapshots[token]

    def _keep(self, snapshot: _Snapshot) -> str:
        token = f"{_TOKEN}{next(self._tokens)}"
        self._snapshots[token] = snapshot
        if len(self._snapshots) > SNAPSHOTS_MAX:
            del self._snapshots[next(iter(self._snapshots))]
        return token


def _version(query: Mapping[str, str]) -> int:
    text = query.get("resourceVersion", "")
    if not text and query.get("resourceVersionMatch"):
        sentence = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise invalid("ListOptions", "meta.k8s.io", "", [("resourceVersionMatch", sentence)])
    if text and not text.isdigit():
        raise bad_request(f"invalid resource version: {unreadable_version(text).message}")
    return int(text or 0)


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name) or "0"
    if not text.isdigit():
        raise bad_request(f"{name}: Invalid value: {text!r}: must be a number, 0 or greater")
    return int(text)
