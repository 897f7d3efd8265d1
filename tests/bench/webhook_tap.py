"""Stands between Alertmanager and those who are to hear of it: notes when the first webhook of each namespace came, passes it on.

The same for both: namespaces whose name begins with `floor-` go to the floor's script, all others to Lastgood.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from deploy.sandbox.services import serve_loopback

FLOOR = "floor-"
SECONDS_MAX = 10.0


@dataclass(kw_only=True)
class Tap:
    """`daemon` and `floor` are addresses; `firing` and `resolved` the moments (unix seconds) by namespace."""

    daemon: str
    floor: str
    url: str = ""
    firing: dict[str, float] = field(default_factory=dict)
    resolved: dict[str, float] = field(default_factory=dict)

    def note(self, body: bytes, now: float) -> str:
        """Remember the moment; the namespace that the webhook is about."""
        payload = json.loads(body)
        namespace: str = payload["groupLabels"]["namespace"]
        if payload["status"] == "firing":
            self.firing.setdefault(namespace, now)
        else:
            self.resolved[namespace] = now
        return namespace


@asynccontextmanager
async def tapped(daemon: str, floor: str) -> AsyncIterator[Tap]:
    """The tap listens while the block runs."""
    tap = Tap(daemon=daemon, floor=floor)
    timeout = aiohttp.ClientTimeout(total=SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:

        async def passed_on(request: web.Request) -> web.Response:
            now = time.time()
            body = await request.read()
            namespace = tap.note(body, now)
            to = tap.floor if namespace.startswith(FLOOR) else tap.daemon
            headers = {name: request.headers[name] for name in ("Content-Type", "Authorization")}
            try:
                async with session.post(to + request.path, data=body, headers=headers) as answer:
                    return web.Response(status=answer.status, body=await answer.read())
            except aiohttp.ClientError as error:
                return web.Response(status=502, text=str(error))

        app = web.Application()
        app.router.add_post("/{tail:.*}", passed_on)
        async with serve_loopback(app) as tap.url:
            yield tap
