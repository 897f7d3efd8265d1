"""Reads a request path into what it names."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.sandbox.kube.resources import Resource, by_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A kind ("" for name: the whole collection), its namespace ("": all, or a cluster-wide kind), a subresource."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


def parse(path: str) -> Target | None:
    """The target of ``/api/v1/…`` or ``/apis/GROUP/VERSION/…``; None for a path that names nothing served."""
    match path.strip("/").split("/"):
        case ["api", "v1", *rest] if rest:
            return _target("", "v1", rest)
        case ["apis", group, version, *rest] if rest:
            return _target(group, version, rest)
    return None


def _target(group: str, version: str, rest: list[str]) -> Target | None:
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and by_place(group, version, rest[2]) is not None:
        namespace, rest = rest[1], rest[2:]
    resource = by_place(group, version, rest[0])
    if resource is None or len(rest) > 3 or not all(rest):
        return None
    if bool(namespace) != resource.namespaced and len(rest) > 1:
        return None
    subresource = rest[2] if len(rest) > 2 else ""
    if (subresource == "status" and not resource.status) or (subresource == "scale" and not resource.scale):
        return None
    if subresource not in ("", "status", "scale"):
        return None
    name = rest[1] if len(rest) > 1 else ""
    return Target(resource=resource, namespace=namespace, name=name, subresource=subresource)
