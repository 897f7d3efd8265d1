"""Roles, bindings and questions about them, with the answers that RBAC gives: for the sandbox and for a real authorizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

API_GROUP = "rbac.authorization.k8s.io"


def rule(verbs: str, group: str, resources: str, **more: Any) -> Json:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


def objects(namespace: str, other: str, account: str) -> list[Json]:
    """Roles and bindings for ServiceAccount `account` of `namespace`; names begin with `namespace`."""
    me = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    group = {"kind": "Group", "apiGroup": API_GROUP, "name": f"system:serviceaccounts:{namespace}"}
    user = {"kind": "User", "apiGroup": API_GROUP, "name": f"system:serviceaccount:{namespace}:{account}"}
    somebody = {"kind": "ServiceAccount", "name": "somebody", "namespace": namespace}
    given = [
        ("ClusterRole", "wide", [rule("list watch", "", "pods"), rule("*", "batch", "jobs")], "", me),
        ("ClusterRole", "here", [rule("patch", "apps", "deployments"), rule("get", "*", "secrets")], namespace, me),
        ("Role", "named", [rule("get update", "", "configmaps", resourceNames=["one"])], namespace, me),
        ("Role", "sub", [rule("create", "", "pods/exec"), rule("update", "apps", "*/scale")], namespace, group),
        ("ClusterRole", "elsewhere", [rule("*", "apps", "*")], other, user),
        ("ClusterRole", "others", [rule("*", "*", "*")], "", somebody),
    ]
    return [
        made
        for kind, name, rules, where, subject in given
        for made in _bound(namespace, kind, name, rules, where, subject)
    ]


def _bound(prefix: str, kind: str, name: str, rules: list[Json], where: str, subject: Json) -> Iterator[Json]:
    """A role, and its binding in the namespace `where` (in all of them where it is empty)."""
    full = f"{prefix}-{name}"
    inside = {"namespace": where} if where else {}
    version = f"{API_GROUP}/v1"
    metadata = {"name": full, **(inside if kind == "Role" else {})}
    yield {"apiVersion": version, "kind": kind, "metadata": metadata, "rules": rules}
    yield {
        "apiVersion": version,
        "kind": "RoleBinding" if where else "ClusterRoleBinding",
        "metadata": {"name": full, **inside},
        "roleRef": {"apiGroup": API_GROUP, "kind": kind, "name": full},
        "subjects": [subject],
    }


def questions(namespace: str, other: str) -> list[tuple[Json, bool]]:
    """`resourceAttributes` of a review, and whether the account may."""
    rows = [
        ("list", "", "pods", "", "", "", True),  # in all namespaces
        ("list", "", "pods", "", other, "", True),
        ("get", "", "pods", "", "", "", False),
        ("list", "apps", "pods", "", "", "", False),
        ("deletecollection", "batch", "jobs", "", other, "", True),
        ("*", "batch", "jobs", "", "", "", True),
        ("*", "", "pods", "", "", "", False),
        ("*", "*", "*", "", "", "", False),
        ("patch", "apps", "deployments", "", namespace, "", True),
        ("patch", "apps", "deployments", "", "", "", False),  # one namespace is not all
        ("update", "apps", "deployments", "", namespace, "", False),
        ("get", "", "secrets", "", namespace, "x", True),
        ("get", "", "secrets", "", other, "x", False),
        ("get", "", "configmaps", "", namespace, "one", True),
        ("get", "", "configmaps", "", namespace, "two", False),
        ("get", "", "configmaps", "", namespace, "", False),
        ("create", "", "pods", "exec", namespace, "", True),
        ("create", "", "pods", "", namespace, "", False),
        ("create", "", "pods", "log", namespace, "", False),
        ("update", "apps", "statefulsets", "scale", namespace, "", True),
        ("update", "apps", "statefulsets", "", namespace, "", False),
        ("patch", "apps", "replicasets", "", other, "", True),
        ("patch", "apps", "replicasets", "", namespace, "", False),
    ]
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    return [({name: value for name, value in zip(names, row[:6], strict=True) if value}, bool(row[6])) for row in rows]
