"""What kinds there are and where: the documents that kubectl reads before it does anything."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.resources import RESOURCES, Resource

VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0-sandbox", "platform": "linux/amd64"}
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_ALL = ("pods", "services", "deployments", "replicasets", "statefulsets", "daemonsets")
_REVIEWS = ("authorization.k8s.io", "v1")


def document(path: str, defined: Collection[Resource] = ()) -> Json | None:
    """The discovery document at ``path``, or None when there is none. Of the custom kinds there are those ``defined``."""
    known = [one for one in RESOURCES if not one.custom or one in defined]
    steps = path.strip("/").split("/")
    match steps:
        case ["version"]:
            return dict(VERSION)
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*one) for one in _groups(known)]}
        case ["api", "v1"]:
            return _resources("", "v1", known)
        case ["apis", group]:
            return next((_group(*one) for one in _groups(known) if one[0] == group), None)
        case ["apis", group, version] if (group, version) in _groups(known):
            return _resources(group, version, known)
    return None


def _groups(known: Iterable[Resource]) -> list[tuple[str, str]]:
    return sorted({(one.group, one.version) for one in known if one.group} | {_REVIEWS})


def _group(group: str, version: str) -> Json:
    preferred = {"groupVersion": f"{group}/{version}", "version": version}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": group,
        "versions": [preferred],
        "preferredVersion": preferred,
    }


def _resources(group: str, version: str, known: Iterable[Resource]) -> Json:
    listed = [entry for one in known if (one.group, one.version) == (group, version) for entry in _entries(one)]
    if (group, version) == _REVIEWS:
        listed = [
            {
                "name": "selfsubjectaccessreviews",
                "singularName": "selfsubjectaccessreview",
                "namespaced": False,
                "kind": "SelfSubjectAccessReview",
                "verbs": ["create"],
            }
        ]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed}


def _entries(resource: Resource) -> list[Json]:
    entry = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": VERBS,
        "shortNames": list(resource.short),
        "categories": ["all"] if resource.plural in _ALL else [],
    }
    entries = [entry]
    for subresource, present in (("status", resource.status), ("scale", resource.scale)):
        if present:
            entries.append(_subresource(resource, subresource))
    return entries


def _subresource(resource: Resource, subresource: str) -> Json:
    entry: Json = {
        "name": f"{resource.plural}/{subresource}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["get", "patch", "update"],
    }
    if subresource == "scale":
        entry.update(group="autoscaling", version="v1", kind="Scale")
    return entry
