"""A public address (GitHub and GitLab call it) under strangers: what they hold back costs the other senders nothing."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from handlers.auth import Authenticator
from handlers.inbound.deployment_events import BODY_BYTES_MAX, READING_MAX, DeploymentEvents, EventsReader, SourceReader
from handlers.inbound.github import GitHubEvents
from handlers.server import ServerLimits, build_app, read_body
from tests.handlers.events_world import plain, sender, world
from tests.handlers.intake_fakes import T0, Counted, Hands, Kept

pytestmark = pytest.mark.looptime(False)

TOKEN = "the-token-of-the-pipeline"
BEARER = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
FORGED = {"X-GitHub-Event": "deployment", "X-Hub-Signature-256": "sha256=" + 64 * "0"}
SHARED_BYTES = 512 * 1024


async def alerts(request: web.Request) -> web.Response:
    """Another sender's address, which shares the memory for bodies."""
    return web.Response(text=str(len(await read_body(request))))


async def test_bodies_that_never_end() -> None:
    """Strangers with a forged signature hold their bodies back: alerts and other sources are taken as before, and once they
    let go their own source is, too.
    """
    sources: dict[str, SourceReader] = {
        "hub": GitHubEvents(sender("hub"), "the-secret-of-the-webhook"),
        "ci": EventsReader(sender("ci"), Authenticator(tokens={"ci": TOKEN})),
    }
    events = DeploymentEvents(intake=Kept(), clock=Hands(T0), telemetry=Counted(), sources=sources)
    limits = ServerLimits(bodies_bytes_max=SHARED_BYTES)
    app = build_app(routes=[*events.routes(), web.post("/alerts", alerts)], limits=limits)
    end, held = asyncio.Event(), asyncio.Semaphore(0)

    async def body() -> AsyncIterator[bytes]:
        yield SHARED_BYTES // 4 * b"x"
        held.release()
        await end.wait()

    async def stranger(client: TestClient[web.Request, web.Application]) -> int:
        async with client.post("/api/v1/events/hub", data=body(), headers=FORGED) as answer:
            return answer.status

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(TestClient(TestServer(app)))
        strangers = [asyncio.get_running_loop().create_task(stranger(client)) for _ in range(READING_MAX)]
        for _ in strangers:
            await held.acquire()
        async with asyncio.timeout(10.0):
            while await post(client, "/api/v1/events/hub", FORGED) != 503:
                await asyncio.sleep(0.01)
        assert await post(client, "/alerts", {}) == 200
        assert await post(client, "/api/v1/events/ci", BEARER) == 202
        end.set()
        assert set(await asyncio.gather(*strangers)) == {401}
        assert await post(client, "/api/v1/events/hub", FORGED) == 401


async def post(client: TestClient[web.Request, web.Application], path: str, headers: dict[str, str]) -> int:
    async with client.post(path, json=plain(), headers={**headers}) as answer:
        return answer.status


async def test_a_bomb_is_counted_unpacked() -> None:
    """A packed body is taken for what it unpacks to, and reading ends there."""
    async with world({"ci": EventsReader(sender("ci"), Authenticator(tokens={"ci": TOKEN}))}) as served:
        packed = gzip.compress(b" " * (BODY_BYTES_MAX + 1))
        assert (await served.send("ci", packed, {**BEARER, "Content-Encoding": "gzip"}))[0] == 413
