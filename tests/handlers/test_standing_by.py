"""What a daemon that does not lead refuses: questions that it cannot answer, and writes to the cluster."""

from __future__ import annotations

from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from handlers.faults import Transient
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.lease_record import identity_of
from handlers.server import HttpServer, ServerLimits, build_app
from handlers.standby import leader_only, told
from tests.handlers.scripted_api import says, serving

HOLDER = identity_of("lastgood-7d9f8b6c5d-x2x9q", uuid4().hex)
DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/web"


async def test_routes_of_the_leader_alone() -> None:
    """503 with a remedy while we stand by, from one request to the next; other routes are as they were.

    The connection is closed: a Service may lead the next one to the leader.
    """
    standing = [True]

    async def answered(_request: web.Request) -> web.Response:
        return web.Response(text="told")

    limits = ServerLimits(shutdown_seconds=1)
    server = HttpServer(limits)
    routes = [
        *leader_only([web.get("/asked", answered)], lambda: standing[0], lambda: HOLDER, "ops"),
        web.get("/open", answered),
    ]
    host, port = await server.serve_tcp(build_app(routes=routes, limits=limits), host="127.0.0.1", port=0)
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            answer = await session.get("/asked")
            assert (answer.status, answer.headers["Connection"]) == (503, "close")
            assert await answer.json() == told(HOLDER, "ops")
            assert (await session.get("/open")).status == 200
            standing[0] = False
            assert await (await session.get("/asked")).text() == "told"
    finally:
        await server.close()


def test_who_is_to_be_asked() -> None:
    """The remedy is a command that can be pasted, with the leader's pod; where nobody leads, or in no pod, it says so."""
    remedy = told(HOLDER, "ops")["remedy"]
    assert remedy.endswith(": kubectl -n ops exec lastgood-7d9f8b6c5d-x2x9q -- lastgood status")
    assert "lastgood-7d9f8b6c5d-x2x9q leads" in told(HOLDER, "ops")["error"]
    assert "kubectl" not in told(HOLDER, None)["remedy"]
    assert "try again" in told("", "ops")["remedy"]
    assert "a-mutex leads" in told("a-mutex", None)["error"]


async def test_a_client_that_may_not_write_sends_nothing_that_changes() -> None:
    """Patch, replace and delete are not even sent; a dry run, a reading and a question are."""
    async with serving() as api, KubeClient(from_url(api.url), may_write=lambda: False) as client:
        api.others.append(says(200, {"kind": "Deployment", "status": {"allowed": True}}))
        for write in (
            client.patch_json(DEPLOYMENT, []),
            client.patch_merge(DEPLOYMENT, {}),
            client.put(DEPLOYMENT, {}),
            client.delete(DEPLOYMENT),
        ):
            with pytest.raises(Transient, match="does not lead"):
                await write
        assert api.asked == []
        await client.patch_json(DEPLOYMENT, [], dry_run=True)
        await client.get(DEPLOYMENT)
        await client.self_subject_access_review("get", "", "pods")
        assert [asked.method for asked in api.asked] == ["PATCH", "GET", "POST"]
