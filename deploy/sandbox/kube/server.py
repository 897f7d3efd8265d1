"""The HTTP face: paths, verbs, query parameters, media types, faults. What a write means is in ``registry``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from deploy.sandbox.kube import discovery, errors
from deploy.sandbox.kube.errors import ApiError, Json
from deploy.sandbox.kube.faults import Faults, RequestRecord, Rule
from deploy.sandbox.kube.garbage import GarbageCollector
from deploy.sandbox.kube.lists import Lister, selection
from deploy.sandbox.kube.paths import Target, parse
from deploy.sandbox.kube.registry import Registry, Write, apply_patch
from deploy.sandbox.kube.resources import Resource
from deploy.sandbox.kube.watch import Watches

BODY_BYTES_MAX = 3 * 1024 * 1024
"""The real server's limit for one request body."""

_ESCAPED = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
_HEALTH = ("/healthz", "/livez", "/readyz")
_POLICIES = ("Foreground", "Background", "Orphan", None)
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class ApiServer:
    """Serves a registry. ``token`` "" means that anybody may call; ``allow`` answers access reviews."""

    def __init__(
        self, registry: Registry, garbage: GarbageCollector, faults: Faults, *, bookmark_seconds: float, token: str
    ) -> None:
        self._registry = registry
        self._garbage = garbage
        self._faults = faults
        self._token = token
        self.lister = Lister(registry.store)
        self.watches = Watches(registry.store, faults, bookmark_seconds=bookmark_seconds)
        self.allow: Callable[[Json], bool] = lambda _attributes: True
        self.defined: set[Resource] = set()
        """The custom kinds that are served."""

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        record = RequestRecord(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            user_agent=request.headers.get("User-Agent", ""),
        )
        self._faults.log.append(record)
        if self._faults.down:
            return _dropped(request)
        try:
            record.body = await _body(request)
            response = await self._misbehave(request, record)
        except ApiError as error:
            response = web.json_response(error.status(), status=error.code)
        except web.HTTPRequestEntityTooLarge:
            refused = ApiError(413, "RequestEntityTooLarge", f"limit is {BODY_BYTES_MAX} bytes")
            response = web.json_response(refused.status(), status=413)
        dropped = request.transport is None or request.transport.is_closing()
        record.status = None if dropped else response.status
        return response

    async def _misbehave(self, request: web.Request, record: RequestRecord) -> web.StreamResponse:
        if self._faults.on_request is not None:
            self._faults.on_request(record)
        rule = self._faults.take(record)
        seconds = self._faults.delay_seconds + (rule.seconds if rule else 0.0)
        if seconds:
            await asyncio.sleep(seconds)
        if rule is not None and rule.kind == "drop":
            return _dropped(request)
        if rule is not None and rule.kind == "answer":
            return _refusal(rule)
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            raise ApiError(401, "Unauthorized", "Unauthorized")
        response = await self._answer(request, record)
        return _dropped(request) if rule is not None and rule.kind == "drop_after" else response

    async def _answer(self, request: web.Request, record: RequestRecord) -> web.StreamResponse:
        path = request.path
        if path.split("/ping")[0] in _HEALTH:
            return web.Response(text="ok")
        if path == _REVIEW and request.method == "POST":
            return self._review(record.body)
        found = discovery.document(path, self.defined) if request.method == "GET" else None
        if found is not None:
            return _json(found)
        target = parse(path)
        if target is None or (target.resource.custom and target.resource not in self.defined):
            raise errors.no_such_path()
        if request.method == "GET" and record.is_watch and not target.name:
            return await self.watches.serve(request, target)
        status, answer = self._verb(request, target, record)
        return _json(answer, status=status)

    def _verb(self, request: web.Request, target: Target, record: RequestRecord) -> tuple[int, Json]:
        write = _write(record, target)
        match request.method, bool(target.name):
            case "GET", False:
                return 200, self.lister.page(target, request.query)
            case "GET", True:
                return 200, self._get(target)
            case "POST", False:
                return 201, self._create(target, record, write)
            case "PUT", True:
                return self._put(target, record.body, write)
            case "PATCH", True:
                return 200, self._patch(target, request.content_type, record.body, write)
            case "DELETE", True:
                return 200, self._delete(target, record.body or {}, record, write)
            case "DELETE", False:
                return 200, self._delete_all(target, record, write)
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _get(self, target: Target) -> Json:
        obj = self._registry.get(target.resource, target.namespace, target.name)
        return _scale(obj) if target.subresource == "scale" else obj

    def _create(self, target: Target, record: RequestRecord, write: Write) -> Json:
        body = _object(record.body)
        resource = target.resource
        for field, own in (("kind", resource.kind), ("apiVersion", resource.api_version)):
            if body.get(field, own) != own:
                raise errors.bad_request(f"{field} in body ({body[field]}) does not match the expected {field} ({own})")
        return self._registry.create(resource, target.namespace, body, write)

    def _put(self, target: Target, body: Any, write: Write) -> tuple[int, Json]:
        if target.subresource == "scale":
            return 200, self._put_scale(target, _object(body), write)
        answer, is_new = self._registry.put(target.resource, target.namespace, target.name, _object(body), write)
        return 201 if is_new else 200, answer

    def _patch(self, target: Target, kind: str, body: Any, write: Write) -> Json:
        place = (target.resource, target.namespace, target.name)
        if target.subresource == "scale":
            scale = _scale(self._registry.get(*place))
            return self._put_scale(target, _object(apply_patch(kind, scale, body)), write)
        return self._registry.patch(*place, kind=kind, patch=body, write=write)

    def _put_scale(self, target: Target, scale: Json, write: Write) -> Json:
        place = (target.resource, target.namespace, target.name)
        obj = self._registry.copy(*place)
        obj["spec"]["replicas"] = (scale.get("spec") or {}).get("replicas", 0)
        obj["metadata"]["resourceVersion"] = (scale.get("metadata") or {}).get("resourceVersion")
        return _scale(self._registry.update(*place, obj, write))

    def _delete(self, target: Target, options: Json, record: RequestRecord, write: Write) -> Json:
        place = (target.resource, target.namespace, target.name)
        if options.get("propagationPolicy") not in _POLICIES:
            supported = ", ".join(f'"{one or "nil"}"' for one in _POLICIES)
            sentence = f'Unsupported value: "{options["propagationPolicy"]}": supported values: {supported}'
            raise errors.invalid("DeleteOptions", "meta.k8s.io", "", [("propagationPolicy", sentence)])
        options = {**options, **{key: value for key, value in record.query.items() if key == "propagationPolicy"}}
        if "gracePeriodSeconds" in record.query:
            options["gracePeriodSeconds"] = int(record.query["gracePeriodSeconds"])
        if options.get("dryRun") == ["All"]:
            write = Write(manager=write.manager, dry_run=True)
        uid = self._registry.get(*place)["metadata"]["uid"]
        if options.get("propagationPolicy") == "Orphan" and not write.dry_run:
            self._garbage.orphan(uid)
        last = self._registry.delete(*place, options, write)
        if self._registry.store.get(*place) is not None and not write.dry_run:
            return last
        group = {"group": target.resource.group} if target.resource.group else {}
        details = {"name": target.name, **group, "kind": target.resource.plural, "uid": uid}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _delete_all(self, target: Target, record: RequestRecord, write: Write) -> Json:
        listed = self.lister.page(target, record.query)
        match = selection(record.query, target.resource)
        for obj in self._registry.store.objects(target.resource, target.namespace):
            if match(obj):
                metadata = obj["metadata"]
                self._registry.delete(target.resource, metadata.get("namespace", ""), metadata["name"], {}, write)
        return listed

    def _review(self, body: Any) -> web.Response:
        review = _object(body)
        attributes = (review.get("spec") or {}).get("resourceAttributes") or {}
        return web.json_response({**review, "status": {"allowed": self.allow(attributes)}}, status=201)


def _write(record: RequestRecord, target: Target) -> Write:
    if record.query.get("dryRun", "All") != "All":
        sentence = f'Unsupported value: ["{record.query["dryRun"]}"]: supported values: "All"'
        raise errors.invalid(_OPTIONS.get(record.method, "ListOptions"), "meta.k8s.io", "", [("dryRun", sentence)])
    # Without the parameter, the real server takes what stands before the slash of the User-Agent.
    manager = record.field_manager or record.user_agent.partition("/")[0] or "unknown"
    return Write(manager=manager, dry_run=record.dry_run, subresource=target.subresource)


async def _body(request: web.Request) -> Any:
    raw = await request.read()
    if not raw:
        return None
    if "json" not in request.content_type and request.content_type != "application/octet-stream":
        message = f"the body of the request was in an unknown format - {request.content_type}"
        raise ApiError(415, "UnsupportedMediaType", message)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise errors.bad_request(f"the object provided is unrecognized (must be of type JSON): {error}") from error


def _json(answer: Json, *, status: int = 200) -> web.Response:
    """As Go writes it, compact and safe inside HTML: kubectl compares a ControllerRevision's data byte by byte."""
    text = json.dumps(answer, separators=(",", ":"), ensure_ascii=False).translate(_ESCAPED)
    return web.Response(text=text, status=status, content_type="application/json")


def _object(body: Any) -> Json:
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized: a JSON object is needed")
    return body


def _dropped(request: web.Request) -> web.Response:
    """Closes the connection at once; the response returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _refusal(rule: Rule) -> web.Response:
    headers = {"Retry-After": str(rule.retry_after)} if rule.retry_after is not None else {}
    if rule.text is not None:
        return web.Response(status=rule.status, text=rule.text, headers=headers)
    reasons = {401: "Unauthorized", 403: "Forbidden", 429: "TooManyRequests", 500: "InternalError", 504: "Timeout"}
    error = ApiError(rule.status, reasons.get(rule.status, "ServiceUnavailable"), "fault planned by the sandbox")
    return web.json_response(error.status(), status=rule.status, headers=headers)


def _scale(obj: Json) -> Json:
    metadata = {
        key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    labels = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
    status = {
        "replicas": obj.get("status", {}).get("replicas", 0),
        "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
    }
    spec = {"replicas": obj["spec"].get("replicas", 0)}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}
