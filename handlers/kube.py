"""The Kubernetes API as raw JSON over HTTP: every call with a time limit, every status checked, every failure a fault.

kubernetes-asyncio gives the configuration, the credentials and the TLS context; we take its connector and put a session
of our own on it. Not its `call_api`: that either builds typed models, which drop fields they do not know from a pod
template, or (with `_preload_content=False`, in 36.1) hands out a 404 as if it were the object. Not its session either:
that one follows HTTP_PROXY for loopback addresses too, keeps cookies and has no time limit at all. Its Watch and
DynamicClient share these faults, so the watch is ours as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration
from yarl import URL

from handlers.faults import Fault, FaultKind, Permanent, Transient, client_faults, from_status
from handlers.kube_json import Obj, decode_list, decode_object, lines, read_body
from handlers.kube_session import KubeSession

PEER = "Kubernetes"

FIELD_MANAGER = "lastgood"
"""Who we are in managedFields: what we wrote must be tellable from what people and controllers write."""

PATHS_KEPT = 1000
"""Addresses that are not spelled anew; about 200 bytes each. An incident asks for the same ten again and again."""

PAGE_LIMIT = 500
"""Objects per page of a list; client-go's own chunk size."""

WATCH_GRACE_SECONDS = 10.0
"""How much longer than its own timeout a watch may take before we cut it: the server closes it, or it is dead."""

ERROR_BYTES_MAX = 64 * 1024
"""How much of an error's body is read: a Status is a few kB, a proxy's page says nothing we need."""

# Restarts of one listing because its continue token expired; the last one asks without pages, as client-go does.
_LIST_RESTARTS_MAX = 2

# Not POST: what we create are questions (access reviews), and the Lease itself.
_CHANGES = ("PUT", "PATCH", "DELETE")
_JSON = "application/json"
_METADATA_LIST = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{_JSON}"
_METADATA = f"{_JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{_JSON}"

Query = str | int | bool | None
Each = Callable[[Obj], Obj]

# At DEBUG it logs whole answers, Secrets included.
logging.getLogger("kubernetes_asyncio.client.rest").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Limits of one call in seconds: to connect, between two reads, and as a whole (also a page of a large list)."""

    connect: float = 5.0
    read: float = 30.0
    total: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list. `first` also after a restart: drop what came before. `resource_version` is opaque."""

    items: Sequence[Obj]
    resource_version: str
    first: bool
    last: bool


@lru_cache(maxsize=PATHS_KEPT)
def resource_path(
    api_version: str,
    plural: str,
    *,
    namespace: str | None = None,
    name: str | None = None,
    subresource: str | None = None,
) -> str:
    """The address of a collection or an object below the server's root, e.g. `apps/v1`, `deployments`."""
    parts = ["apis" if "/" in api_version else "api", *api_version.split("/")]
    parts += [] if namespace is None else ["namespaces", namespace]
    parts += [plural, *(part for part in (name, subresource) if part is not None)]
    return "/" + "/".join(quote(part, safe="") for part in parts)


class KubeClient:
    """One API server. Make it inside a running loop; close it. Every method raises only Transient and Permanent.

    `may_write` is asked right before each request that would change an object: who no longer leads sends none.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        timeouts: Timeouts | None = None,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._may_write = may_write
        self._configuration = configuration
        self._timeouts = timeouts or Timeouts()
        self._base = str(configuration.host).rstrip("/")
        self._api = ApiClient(configuration)
        connector = self._api.rest_client.pool_manager.connector
        assert connector is not None, "it is there until it is closed"
        self._session = KubeSession(connector, self._base)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; watches under way end with a fault."""
        await self._api.close()
        await self._session.close()

    async def get(self, path: str, *, metadata_only: bool = False, **query: Query) -> Obj:
        """One object or small collection. Query names as the API spells them; `metadata_only` as in `list_pages`."""
        async with self._send("GET", path, query, accept=_METADATA if metadata_only else _JSON) as response:
            return decode_object(await read_body(response))

    async def list_pages(
        self,
        path: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = PAGE_LIMIT,
        metadata_only: bool = False,
        each: Each | None = None,
    ) -> AsyncIterator[Page]:
        """The collection as it is now (a quorum read), page by page; `each` projects items while they are decoded.

        A continue token that expired (410) starts the list over: the next page has `first` set. `metadata_only` asks
        for PartialObjectMetadata; a server that does not know it sends whole objects, so let `each` drop the rest.
        """
        selectors: dict[str, Query] = {"labelSelector": label_selector, "fieldSelector": field_selector}
        accept = _METADATA_LIST if metadata_only else _JSON
        token, restarts = "", 0
        while True:
            # An unpaged list cannot expire half-way: the last resort in a cluster that changes faster than we read.
            paging: dict[str, Query] = {"limit": limit if restarts < _LIST_RESTARTS_MAX else None}
            try:
                head, items = await self._page(path, {**selectors, **paging, "continue": token or None}, accept, each)
            except Permanent as fault:
                if fault.kind is not FaultKind.GONE or not token:
                    raise
                token, restarts = "", restarts + 1
                continue
            first, token = not token, head.get("metadata", {}).get("continue") or ""
            _complete(head, items)
            yield Page(items=items, resource_version=_list_version(head), first=first, last=not token)
            if not token:
                return

    async def _page(
        self, path: str, query: Mapping[str, Query], accept: str, each: Each | None
    ) -> tuple[Obj, list[Obj]]:
        async with self._send("GET", path, query, accept=accept) as response:
            body = await read_body(response)
        return await decode_list(body, each)

    async def watch(
        self,
        path: str,
        resource_version: str,
        timeout_seconds: int,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Obj, None]:
        """Events `{type, object}` after that version, bookmarks included, until the server ends the stream.

        Ends silently at the server's end of file; raises the fault of an ERROR event, and Transient(timeout) when the
        stream is still open WATCH_GRACE_SECONDS after `timeout_seconds`. `on_open` is called once the server agreed.
        """
        query: dict[str, Query] = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": resource_version,
            "timeoutSeconds": timeout_seconds,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        limit = timeout_seconds + WATCH_GRACE_SECONDS
        timeout = aiohttp.ClientTimeout(total=limit, sock_read=limit, sock_connect=self._timeouts.connect)
        accept = _METADATA if metadata_only else _JSON
        async with self._send("GET", path, query, accept=accept, timeout=timeout) as response:
            if on_open is not None:
                on_open()
            async with aclosing(lines(response)) as events:
                async for line in events:
                    yield _event(line)

    async def patch_json(
        self, path: str, ops: Sequence[Obj], *, dry_run: bool = False, field_manager: str = FIELD_MANAGER
    ) -> Obj:
        """Apply a JSON Patch (RFC 6902); the object afterwards.

        A `test` that fails is Permanent(invalid), as is an object that would not be valid: read it again to tell them
        apart. A stale resourceVersion is Permanent(conflict).
        """
        query = _write_query(dry_run=dry_run, field_manager=field_manager)
        return await self._call("PATCH", path, query, list(ops), "application/json-patch+json")

    async def patch_merge(
        self, path: str, patch: Obj, *, dry_run: bool = False, field_manager: str = FIELD_MANAGER
    ) -> Obj:
        """Apply a JSON Merge Patch (RFC 7386); the object afterwards."""
        query = _write_query(dry_run=dry_run, field_manager=field_manager)
        return await self._call("PATCH", path, query, patch, "application/merge-patch+json")

    async def create(self, path: str, body: Obj, *, dry_run: bool = False, field_manager: str = FIELD_MANAGER) -> Obj:
        """Create in the collection at `path`. An object that exists is Permanent(conflict) with code AlreadyExists."""
        return await self._call("POST", path, _write_query(dry_run=dry_run, field_manager=field_manager), body)

    async def put(self, path: str, body: Obj, *, dry_run: bool = False, field_manager: str = FIELD_MANAGER) -> Obj:
        """Replace the object; with `metadata.resourceVersion` in the body, a change in between is a conflict."""
        return await self._call("PUT", path, _write_query(dry_run=dry_run, field_manager=field_manager), body)

    async def delete(
        self, path: str, *, uid: str | None = None, resource_version: str | None = None, dry_run: bool = False
    ) -> Obj:
        """Delete the object; with `uid` only that very one, with `resource_version` only as it was read. Else
        Permanent(conflict).
        """
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if given := {name: value for name, value in preconditions.items() if value is not None}:
            options["preconditions"] = given
        return await self._call("DELETE", path, _write_query(dry_run=dry_run, field_manager=None), options)

    async def self_subject_access_review(
        self, verb: str, group: str, resource: str, *, namespace: str = "", subresource: str = "", name: str = ""
    ) -> bool:
        """May we do that? Empty namespace means all of them (authorization.k8s.io/v1)."""
        asked = {"verb": verb, "group": group, "resource": resource}
        asked |= {"namespace": namespace, "subresource": subresource, "name": name}
        api_version = "authorization.k8s.io/v1"
        review = {
            "apiVersion": api_version,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        answer = await self._call("POST", resource_path(api_version, "selfsubjectaccessreviews"), {}, review)
        return answer.get("status", {}).get("allowed") is True

    async def _call(
        self, method: str, path: str, query: Mapping[str, Query], body: Any = None, content_type: str = _JSON
    ) -> Obj:
        async with self._send(method, path, query, body=body, content_type=content_type) as response:
            return decode_object(await read_body(response))

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Query],
        *,
        body: Any = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request, its body unread, its status 2xx; any other raises the fault it stands for."""
        headers = {"Accept": accept, **await self._credentials()}
        if method in _CHANGES and query.get("dryRun") is None and not self._may_write():
            raise Transient(None, "this daemon does not lead any more: nothing was sent", FaultKind.CONFLICT)
        if body is not None:
            headers["Content-Type"] = content_type
        options: dict[str, Any] = {
            "proxy": self._configuration.proxy,
            "proxy_headers": self._configuration.proxy_headers,
        }
        if self._configuration.tls_server_name:
            options["server_hostname"] = self._configuration.tls_server_name
        with client_faults(PEER):
            async with self._session.http.request(
                method,
                self._url(path, query),
                data=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=timeout or self._timeout(),
                allow_redirects=False,  # an API server redirects nowhere, and our token must not follow
                **options,
            ) as response:
                if not 200 <= response.status <= 299:
                    raise await _answer_fault(response)
                yield response

    async def _credentials(self) -> dict[str, str]:
        """The Authorization header, renewed where the configuration knows how to."""
        headers: dict[str, str] = {}
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"])
        except Exception as exc:  # noqa: BLE001 - token files and exec plug-ins fail in every way there is
            # Transient, because a rotation under way passes.
            reason = f"could not renew the credentials for {PEER} ({type(exc).__name__})"
            raise Transient(None, reason, FaultKind.AUTH) from None
        # The library keeps a token file's final newline, which no header may hold.
        return {name: value.strip() for name, value in headers.items()}

    def _timeout(self) -> aiohttp.ClientTimeout:
        t = self._timeouts
        return aiohttp.ClientTimeout(total=t.total, sock_connect=t.connect, sock_read=t.read)

    def _url(self, path: str, query: Mapping[str, Query]) -> URL:
        written = {key: _written(value) for key, value in query.items() if value is not None}
        return URL(self._base + path, encoded=True).update_query(written)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write_query(*, dry_run: bool, field_manager: str | None) -> dict[str, Query]:
    return {"dryRun": "All" if dry_run else None, "fieldManager": field_manager}


def _complete(head: Obj, items: list[Obj]) -> None:
    """Give items of a list the kind and apiVersion that only watch events carry, so that both look alike."""
    kind = str(head.get("kind", "")).removesuffix("List")
    for item in items:
        item.setdefault("kind", kind)
        item.setdefault("apiVersion", head.get("apiVersion", ""))


def _list_version(head: Obj) -> str:
    resource_version = head.get("metadata", {}).get("resourceVersion")
    if not isinstance(resource_version, str) or not resource_version:
        raise Transient(None, f"{PEER} sent a list without a resourceVersion", FaultKind.SERVER)
    return resource_version


def _event(line: bytes) -> Obj:
    event = decode_object(line)
    if not isinstance(event.get("type"), str) or not isinstance(event.get("object"), dict):
        raise Transient(None, f"{PEER} sent something that is no watch event", FaultKind.SERVER)
    if event["type"] == "ERROR":
        status = event["object"]
        code = status.get("code")
        raise status_fault(code if isinstance(code, int) and code >= 300 else 500, {}, status)
    return event


async def _answer_fault(response: aiohttp.ClientResponse) -> Fault:
    raw = await response.content.read(ERROR_BYTES_MAX)
    while raw and len(raw) < ERROR_BYTES_MAX and (more := await response.content.read(ERROR_BYTES_MAX - len(raw))):
        raw += more
    try:
        status = json.loads(raw)
    except (ValueError, RecursionError):
        status = None
    return status_fault(response.status, response.headers, status if isinstance(status, dict) else {})


def status_fault(code: int, headers: Mapping[str, str], status: Obj) -> Fault:
    """The fault of a Kubernetes Status (meta/v1), its message, reason and causes kept. `status` may be anything."""
    found = status.get("details")
    details: Obj = found if isinstance(found, dict) else {}
    listed = details.get("causes")
    causes = [cause for cause in listed if isinstance(cause, dict)] if isinstance(listed, list) else []
    if any(cause.get("reason") == "ResourceVersionTooLarge" for cause in causes):
        # Our version is from a future that a restored backup took away: waiting (504) does not help, listing does.
        code = 410
    wait = details.get("retryAfterSeconds")
    return from_status(
        code,
        headers,
        peer=PEER,
        message=str(status.get("message") or ""),
        code=str(status.get("reason") or ""),
        causes=tuple(": ".join(str(c[key]) for key in ("field", "message") if c.get(key)) for c in causes),
        retry_after=float(wait) if isinstance(wait, int) else None,
    )
