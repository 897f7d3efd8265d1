"""What a daemon that does not lead refuses: questions that it cannot answer, and writes to the cluster."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from handlers.faults import Transient
from handlers.kube import KubeClient
from handlers.kube_access import from_url
from handlers.server import HttpServer, ServerLimits, build_app
from handlers.standby import leader_only
from tests.handlers.scripted_api import says, serving

DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/web"


async def test_routes_of_the_leader_alone() -> None:
    """503 with a remedy while we stand by, from one request to the next; other routes are as they were."""
    standing = [True]

    async def told(_request: web.Request) -> web.Response:
        return web.Response(text="told")

    limits = ServerLimits(shutdown_seconds=1)
    server = HttpServer(limits)
    routes = [*leader_only([web.get("/asked", told)], lambda: standing[0]), web.get("/open", told)]
    host, port = await server.serve_tcp(build_app(routes=routes, limits=limits), host="127.0.0.1", port=0)
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            answer = await session.get("/asked")
            assert answer.status == 503
            assert "leads" in (await answer.json())["error"]
            assert (await session.get("/open")).status == 200
            standing[0] = False
            assert await (await session.get("/asked")).text() == "told"
    finally:
        await server.close()


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
