"""An API server that says exactly what a test tells it to, over HTTP on loopback, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from handlers.kube import KubeClient, Timeouts
from handlers.kube_access import from_url

Obj = dict[str, Any]
Responder = Callable[[web.Request], Awaitable[web.StreamResponse]]

PODS = "/api/v1/pods"
FOR_EVER = 1e6  # seconds; of virtual time, or cut by the client long before


@dataclass(slots=True)
class Asked:
    """One request as the server saw it; `at` in seconds of the loop's clock."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass(slots=True)
class ScriptedApi:
    """Answers lists and watches from two queues, the last entry again and again; anything else from `others`."""

    url: str = ""
    lists: list[Responder] = field(default_factory=list)
    watches: list[Responder] = field(default_factory=list)
    others: list[Responder] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note the request and answer with the next line of the script."""
        now = asyncio.get_running_loop().time()
        body = await request.read()
        self.asked.append(Asked(now, request.method, request.path, dict(request.query), dict(request.headers), body))
        if request.method != "GET" or request.path != PODS:
            queue = self.others
        else:
            queue = self.watches if "watch" in request.query else self.lists
        return await (queue.pop(0) if len(queue) > 1 else queue[0])(request)

    def asked_lists(self) -> list[Asked]:
        """The list requests so far."""
        return [a for a in self.asked if a.path == PODS and a.method == "GET" and "watch" not in a.query]

    def asked_watches(self) -> list[Asked]:
        """The watch requests so far."""
        return [a for a in self.asked if "watch" in a.query]


@asynccontextmanager
async def serving() -> AsyncIterator[ScriptedApi]:
    """A scripted server on a free port of loopback."""
    api = ScriptedApi()
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{tail:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(api: ScriptedApi, **options: Any) -> AsyncIterator[KubeClient]:
    """A client of that server."""
    async with KubeClient(from_url(api.url, token="t0ken"), timeouts=options.pop("timeouts", Timeouts())) as client:
        yield client


def pod(name: str, version: str, **metadata: Any) -> Obj:
    """A pod, as far as lists and watches care."""
    identity = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": version}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": identity | metadata, "spec": {}, "status": {}}


def event(kind: str, obj: Obj) -> Obj:
    """A watch event."""
    return {"type": kind, "object": obj}


def bookmark(version: str) -> Obj:
    """A bookmark: a version and nothing else."""
    return event("BOOKMARK", {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": version}})


def status(code: int, reason: str = "", **more: Any) -> Obj:
    """A Status object."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, **more}


def listing(*items: Obj, version: str = "100", token: str = "", kind: str = "PodList") -> Responder:
    """Answer with a page; items lose kind and apiVersion as they do in a real list."""
    bare = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
    metadata = {"resourceVersion": version} | ({"continue": token} if token else {})
    return says(200, {"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": bare})


def says(code: int, body: Obj | str, **headers: str) -> Responder:
    """Answer with a status and a JSON object or a text."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def respond(_: web.Request) -> web.StreamResponse:
        if isinstance(body, str):
            return web.Response(status=code, text=body, content_type="text/html", headers=named)
        return web.json_response(body, status=code, headers=named)

    return respond


def stream(*events: Obj | bytes | float, end: str = "eof") -> Responder:
    """Answer a watch: events, raw bytes and pauses in seconds. `end`: eof, hang, cut, or `timeout` as asked for."""

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for item in events:
            if isinstance(item, float):
                await asyncio.sleep(item)
            else:
                await response.write(item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n")
        if end == "hang":
            await asyncio.sleep(FOR_EVER)
        elif end == "timeout":
            await asyncio.sleep(float(request.query["timeoutSeconds"]))
        elif end == "cut":
            assert request.transport is not None
            request.transport.abort()
        return response

    return respond
