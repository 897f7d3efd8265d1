"""Routes that only the daemon that leads can answer: what a standby knows of incidents and revisions is old."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web

from handlers import lease_record
from handlers.server import Handler


def leader_only(
    routes: Iterable[web.AbstractRouteDef],
    stands_by: Callable[[], bool],
    holder: Callable[[], str],
    namespace: str | None,
) -> list[web.AbstractRouteDef]:
    """The same routes, which answer 503 while we stand by. `holder` says who has the Lease, `namespace` where our pods are;
    None where we run in none.
    """
    return [_guarded(route, stands_by, lambda: told(holder(), namespace)) for route in routes]


def told(holder: str, namespace: str | None) -> dict[str, str]:
    """What a standby answers: who leads, and the command that asks that one."""
    if not holder:
        return {
            "error": "this daemon stands by, and nobody leads: nothing was done here",
            "remedy": "try again in 20 s; when nobody leads then, `lease_fault` in the log says why",
        }
    pod = lease_record.pod_of(holder)
    ask = f"ask that one, like: kubectl -n {namespace} exec {pod} -- lastgood status" if namespace else "ask that one"
    return {"error": f"this daemon stands by, {pod} leads: nothing was done here", "remedy": ask}


def _guarded(
    route: web.AbstractRouteDef, stands_by: Callable[[], bool], answer: Callable[[], dict[str, str]]
) -> web.AbstractRouteDef:
    assert isinstance(route, web.RouteDef), "we serve no files"
    asked: Handler = route.handler  # all of ours are functions

    async def handler(request: web.Request) -> web.StreamResponse:
        if not stands_by():
            return await asked(request)
        refused = web.json_response(answer(), status=503)
        refused.force_close()  # a Service chooses a replica for each connection: the next try may reach the leader
        return refused

    return web.RouteDef(route.method, route.path, handler, route.kwargs)
