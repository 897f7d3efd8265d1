"""The sandbox's authorizer gives RBAC's answers; tests/controlplane/test_rights.py asks the real one the same."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.sandbox.kube.access_reviews import Grants, ServiceAccount
from deploy.sandbox.kube.errors import ApiError
from deploy.sandbox.kube.faults import RequestRecord
from tests.contract.access_rules import objects, questions

GRANTS = Grants(objects("here", "there", "me"), ServiceAccount(namespace="here", name="me"))
CASES = [
    pytest.param(
        asked, answer, id="-".join(str(asked.get(name, "")) for name in ("verb", "resource", "namespace", "name"))
    )
    for asked, answer in questions("here", "there")
]


@pytest.mark.parametrize(("asked", "answer"), CASES)
def test_a_review_is_answered_as_rbac_does(asked: dict[str, Any], answer: bool) -> None:
    """Wildcards, names, subresources and the reach of each kind of binding count as Kubernetes documents them."""
    assert GRANTS.allows(asked) is answer


def test_a_binding_without_its_role_grants_nothing() -> None:
    """The API server keeps such a binding; nobody may do more by it."""
    bindings = [each for each in objects("here", "there", "me") if each["kind"].endswith("Binding")]
    assert not Grants(bindings, ServiceAccount(namespace="here", name="me")).allows(
        {"verb": "list", "resource": "pods"}
    )


@pytest.mark.parametrize(
    ("method", "path", "query", "allowed"),
    [
        ("GET", "/api/v1/pods", {}, True),
        ("GET", "/api/v1/pods", {"watch": "true"}, True),
        ("GET", "/api/v1/namespaces/here/pods/x", {}, False),
        ("PATCH", "/apis/apps/v1/namespaces/here/deployments/web", {}, True),
        ("PATCH", "/apis/apps/v1/namespaces/other/deployments/web", {}, False),
        ("DELETE", "/apis/apps/v1/namespaces/there/replicasets", {}, True),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {}, True),
        ("GET", "/version", {}, True),
    ],
)
def test_a_request_is_what_it_asks_for(method: str, path: str, query: dict[str, str], allowed: bool) -> None:
    """Method and path are the verb and resource of the roles; what is refused is 403 in the authorizer's words."""
    record = RequestRecord(method=method, path=path, query=query, user_agent="tests/1")
    if allowed:
        GRANTS.check(record)
        return
    with pytest.raises(
        ApiError, match=r'is forbidden: User "system:serviceaccount:here:me" cannot \w+ resource '
    ) as refused:
        GRANTS.check(record)
    assert refused.value.code == 403
