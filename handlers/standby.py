"""Routes that only the daemon that leads can answer: what a standby knows of incidents and revisions is old."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

from handlers.server import Handler

ANSWER = {
    "error": "this daemon stands by: another one leads, and nothing was done here",
    "remedy": "ask the one that leads, which the Lease names: kubectl get leases; or try again in a moment",
}


def leader_only(routes: Iterable[web.AbstractRouteDef], stands_by: Callable[[], bool]) -> list[web.AbstractRouteDef]:
    """The same routes, which answer 503 while we stand by."""
    return [_guarded(route, stands_by) for route in routes]


def _guarded(route: web.AbstractRouteDef, stands_by: Callable[[], bool]) -> web.AbstractRouteDef:
    assert isinstance(route, web.RouteDef), "we serve no files"
    asked: Handler = route.handler  # all of ours are functions

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(ANSWER, status=503) if stands_by() else await asked(request)

    return web.RouteDef(route.method, route.path, handler, route.kwargs)
