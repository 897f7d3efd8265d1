"""The raw client: what goes over the wire, and that every failure comes back as a fault."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.kube import KubeClient, Timeouts, resource_path
from handlers.kube_access import from_url
from handlers.kube_session import user_agent
from tests.handlers.scripted_api import FOR_EVER, PODS, client_of, listing, pod, says, serving, status

pytestmark = pytest.mark.asyncio

DEPLOYMENT = resource_path("apps/v1", "deployments", namespace="shop", name="cart")


async def failing(client: KubeClient, path: str = DEPLOYMENT) -> Fault:
    """The fault that a GET ends in."""
    with pytest.raises(Fault) as raised:
        await client.get(path)
    return raised.value


async def test_paths() -> None:
    """Core and named groups, namespaced or not, subresources; a hostile name cannot leave its segment."""
    assert resource_path("v1", "pods") == PODS
    assert DEPLOYMENT == "/apis/apps/v1/namespaces/shop/deployments/cart"
    assert resource_path("v1", "nodes", name="a", subresource="status") == "/api/v1/nodes/a/status"
    assert resource_path("v1", "pods", namespace="../x?y") == "/api/v1/namespaces/..%2Fx%3Fy/pods"


async def test_a_request_names_us_and_writes_booleans_in_lower_case() -> None:
    """User agent, token, lower-case booleans, selectors escaped; what is None is not sent."""
    async with serving() as api, client_of(api) as client:
        api.others = [says(200, {"kind": "Deployment"})]
        got = await client.get(DEPLOYMENT, pretty=False, labelSelector="a=b,c in (d, e+f)", limit=None)
        asked = api.asked[0]
    assert got == {"kind": "Deployment"}
    assert asked.headers["User-Agent"] == user_agent()
    assert user_agent().startswith("lastgood/")
    assert asked.headers["Authorization"] == "Bearer t0ken"
    assert asked.query == {"pretty": "false", "labelSelector": "a=b,c in (d, e+f)"}


async def test_the_library_cannot_log_answers() -> None:
    """Its logger would write Secrets at DEBUG, whatever the root logger is set to."""
    assert logging.getLogger("kubernetes_asyncio.client.rest").level >= logging.INFO


@pytest.mark.parametrize(
    ("code", "kind"),
    [(401, FaultKind.AUTH), (403, FaultKind.AUTH), (404, FaultKind.NOT_FOUND), (410, FaultKind.GONE)],
)
async def test_a_status_is_never_taken_for_the_object(code: int, kind: FaultKind) -> None:
    """A Status with an error code is a fault with its message and reason."""
    async with serving() as api, client_of(api) as client:
        api.others = [says(code, status(code, "Because", message="no such thing"))]
        fault = await failing(client)
    assert isinstance(fault, Permanent)
    assert (fault.kind, fault.code, fault.status) == (kind, "Because", code)
    assert fault.reason == f"Kubernetes answered {code}: no such thing"


async def test_causes_of_an_invalid_object_are_kept() -> None:
    """422 tells field by field what is wrong, and so does the fault."""
    causes = [{"reason": "FieldValueInvalid", "field": "spec.replicas", "message": "must be >= 0"}, "junk", {}]
    async with serving() as api, client_of(api) as client:
        api.others = [says(422, status(422, "Invalid", message="bad", details={"causes": causes}))]
        fault = await failing(client)
    assert (fault.kind, fault.causes) == (FaultKind.INVALID, ("spec.replicas: must be >= 0", ""))


async def test_retry_after_in_the_header_and_in_the_status() -> None:
    """429 carries the longer of both waits."""
    async with serving() as api, client_of(api) as client:
        api.others = [says(429, status(429, "TooManyRequests", details={"retryAfterSeconds": 4}), Retry_After="2")]
        fault = await failing(client)
    assert isinstance(fault, Transient)
    assert (fault.kind, fault.retry_after) == (FaultKind.RATE_LIMITED, 4.0)


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "", "[1]", '"x"', "[" * 100_000])
async def test_garbage_with_an_error_status(body: str) -> None:
    """A proxy's page is a server fault, and its text is not repeated."""
    async with serving() as api, client_of(api) as client:
        api.others = [says(502, body)]
        fault = await failing(client)
    assert isinstance(fault, Transient)
    assert (fault.kind, fault.reason) == (FaultKind.SERVER, "Kubernetes answered 502")


@pytest.mark.parametrize("body", ["<html>log in here</html>", "", "[1]", "null", "[" * 100_000, "\udcff"])
async def test_garbage_with_a_good_status(body: str) -> None:
    """A 200 that is no JSON object is a server fault too."""
    async with serving() as api, client_of(api) as client:
        api.others = [says(200, body.encode("utf-8", "ignore").decode())]
        fault = await failing(client)
    assert (type(fault), fault.kind) == (Transient, FaultKind.SERVER)


async def test_redirects_are_not_followed() -> None:
    """Our token follows nobody."""
    async with serving() as api, client_of(api) as client:
        api.others = [says(307, "", Location="http://127.0.0.1:1/")]
        fault = await failing(client)
        assert len(api.asked) == 1
    assert (type(fault), fault.kind) == (Permanent, FaultKind.CLIENT)


@pytest.mark.looptime
async def test_a_hung_server_is_given_up() -> None:
    """No call waits longer than its limit."""

    async def hang(_: Any) -> Any:
        await asyncio.sleep(FOR_EVER)

    async with serving() as api, client_of(api, timeouts=Timeouts(read=5)) as client:
        api.others = [hang]
        started = asyncio.get_running_loop().time()
        fault = await failing(client)
        assert 4 <= asyncio.get_running_loop().time() - started <= 7
    assert (type(fault), fault.kind) == (Transient, FaultKind.TIMEOUT)


async def test_a_refused_connection() -> None:
    """Nobody listens: a network fault."""
    async with serving() as api:
        url = api.url
    async with KubeClient(from_url(url)) as client:
        fault = await failing(client)
    assert (type(fault), fault.kind) == (Transient, FaultKind.NETWORK)


async def test_a_proxy_for_the_world_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY means the outer world."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with serving() as api, client_of(api) as client:
        api.others = [says(200, {"kind": "Deployment"})]
        assert await client.get(DEPLOYMENT) == {"kind": "Deployment"}


async def test_writes() -> None:
    """Each verb with its method, content type, dry run and field manager."""
    ops = [{"op": "test", "path": "/metadata/uid", "value": "u"}]
    async with serving() as api, client_of(api) as client:
        api.others = [says(200, {})]
        await client.patch_json(DEPLOYMENT, ops, dry_run=True)
        await client.patch_merge(DEPLOYMENT, {"metadata": {}}, field_manager="other")
        await client.create("/c", {"a": 1}, dry_run=True)
        await client.put("/p", {"b": 2})
        await client.delete("/d", uid="u")
        await client.delete("/d", dry_run=True)
    sent = [(a.method, a.headers["Content-Type"], a.query) for a in api.asked]
    json_type = "application/json"
    assert sent == [
        ("PATCH", "application/json-patch+json", {"dryRun": "All", "fieldManager": "lastgood"}),
        ("PATCH", "application/merge-patch+json", {"fieldManager": "other"}),
        ("POST", json_type, {"dryRun": "All", "fieldManager": "lastgood"}),
        ("PUT", json_type, {"fieldManager": "lastgood"}),
        ("DELETE", json_type, {}),
        ("DELETE", json_type, {"dryRun": "All"}),
    ]
    assert api.asked[0].json == ops
    assert api.asked[4].json["preconditions"] == {"uid": "u"}
    assert "preconditions" not in api.asked[5].json


@pytest.mark.parametrize(("answer", "allowed"), [({"allowed": True}, True), ({"allowed": False}, False), ({}, False)])
async def test_access_review(answer: dict[str, bool], allowed: bool) -> None:
    """We may do what the server says we may, and nothing that it does not mention."""
    async with serving() as api, client_of(api) as client:
        api.others = [says(201, {"kind": "SelfSubjectAccessReview", "status": answer})]
        assert await client.self_subject_access_review("patch", "apps", "deployments", namespace="shop") is allowed
        asked = api.asked[0]
    assert asked.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    attributes = {"verb": "patch", "group": "apps", "resource": "deployments", "namespace": "shop"}
    assert asked.json["spec"]["resourceAttributes"] == attributes


async def test_pages() -> None:
    """A list is asked for page by page, and items get the kind that only watch events carry."""
    async with serving() as api, client_of(api) as client:
        api.lists = [listing(pod("a", "1"), version="50", token="t1"), listing(pod("b", "2"), version="50")]
        pages = [page async for page in client.list_pages(PODS, label_selector="x=y", limit=1)]
    assert [(p.first, p.last, p.resource_version) for p in pages] == [(True, False, "50"), (False, True, "50")]
    assert [item for page in pages for item in page.items] == [pod("a", "1"), pod("b", "2")]
    queries = [a.query for a in api.asked]
    assert queries[0] == {"labelSelector": "x=y", "limit": "1"}
    assert queries[1] == {"labelSelector": "x=y", "limit": "1", "continue": "t1"}


async def test_a_stale_continue_token_starts_the_list_over() -> None:
    """410 on a continue restarts; the third attempt asks without pages, which cannot expire."""
    gone = says(410, status(410, "Expired"))
    async with serving() as api, client_of(api) as client:
        first = listing(pod("a", "1"), token="t1")
        api.lists = [first, gone, first, gone, listing(pod("b", "2"))]
        pages = [page async for page in client.list_pages(PODS)]
    assert [p.first for p in pages] == [True, True, True]
    assert ["limit" in a.query for a in api.asked] == [True, True, True, True, False]


async def test_gone_without_a_token_is_told() -> None:
    """410 on the first page is not ours to repeat."""
    async with serving() as api, client_of(api) as client:
        api.lists = [says(410, status(410, "Gone"))]
        with pytest.raises(Permanent):
            _ = [page async for page in client.list_pages(PODS)]
        assert len(api.asked) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_metadata_only(known: bool) -> None:
    """PartialObjectMetadata is asked for; a server that does not know it may answer whole objects."""
    async with serving() as api, client_of(api) as client:
        api.lists = [listing(pod("a", "1"), kind="PartialObjectMetadataList" if known else "PodList")]
        pages = [page async for page in client.list_pages(PODS, metadata_only=True)]
    assert "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" in api.asked[0].headers["Accept"]
    assert pages[0].items[0]["kind"] == ("PartialObjectMetadata" if known else "Pod")


async def test_metadata_only_of_one_object() -> None:
    """A single object, too, can be asked for without what it holds."""
    async with serving() as api, client_of(api) as client:
        api.others = [says(200, {"kind": "Deployment"})]
        await client.get(DEPLOYMENT, metadata_only=True)
    assert "as=PartialObjectMetadata;g=meta.k8s.io;v=v1" in api.asked[0].headers["Accept"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        status(200),
        {"kind": "PodList", "metadata": {"resourceVersion": "1"}},
        {"kind": "PodList", "metadata": {}, "items": []},
        {"kind": "PodList", "items": []},
        {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": {}},
        {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": [1]},
    ],
)
async def test_what_is_no_list_is_never_an_empty_one(body: dict[str, Any]) -> None:
    """An answer without items must not read as `everything was deleted`."""
    async with serving() as api, client_of(api) as client:
        api.lists = [says(200, body)]
        with pytest.raises(Transient):
            _ = [page async for page in client.list_pages(PODS)]
