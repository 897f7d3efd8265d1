"""Answers of the routes under /api/v1/: JSON, the same failures everywhere, and who asks.

200 with the document, 202 kept but not carried out yet, 400 the request is wrong, 401 no credential, 404 there is no such
thing, 409 refused with the reason, 413 too large, 503 it could not be kept or read. Each failure is
`{"error": …, "remedy": …}`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from daemon.core.state import State, Tracked
from daemon.ports import JournalUnavailableError
from handlers.alerts import MalformedError
from handlers.auth import REALM
from handlers.door import BusyError
from handlers.overview import Document, workloads_named
from handlers.server import PEOPLE_DOOR, BodyRefusedError

Actor = Callable[[web.Request], str | None]
"""Who sends a request; None without a credential that is known here."""

_log = structlog.get_logger(__name__)


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """The answer of a request that is not followed."""

    def __init__(self, status: int, error: str, remedy: str) -> None:
        self.status, self.error, self.remedy = status, error, remedy
        super().__init__(error)


async def answered(
    request: web.Request, actor: Actor, do: Callable[[str], Awaitable[Document]], *, whose: str = "an operator's"
) -> web.Response:
    """What `do` answers to the actor of the request, or the failure as an answer; `whose` credential is needed."""
    who = actor(request)
    if who is None:
        _log.warning("operator_unauthorized", method=request.method, path=request.path[:200])
        return _stranger(whose)
    try:
        leave = await request.config_dict[PEOPLE_DOOR].enter(request)
    except BusyError as busy:
        return _json(503, {"error": str(busy), "remedy": "ask less often"})
    try:
        document = await do(who)
    except Refused as refused:
        return _json(refused.status, {"error": refused.error, "remedy": refused.remedy})
    except MalformedError as malformed:
        return _json(400, {"error": str(malformed), "remedy": "correct this field and send it again"})
    except BodyRefusedError as refused:
        return _json(refused.status, {"error": str(refused), "remedy": "a command has a few short fields"})
    except JournalUnavailableError as unavailable:
        error = f"the journal cannot be read now ({unavailable})"
        return _json(503, {"error": error, "remedy": "see to the disk of the state folder, then try again"})
    finally:
        leave()
    return _json(202 if document.get("done") is False else 200, document)


def the_workload(state: State, name: str) -> Tracked:
    """The one workload that `namespace/name` or `namespace/Kind/name` means. Raises Refused (404, 409)."""
    found = workloads_named(state, name)
    if not found:
        remedy = "write it as namespace/name; `lastgood status` lists the known ones"
        raise Refused(404, f"no workload {name[:80]!r} is known", remedy)
    if len(found) > 1:
        kinds = ", ".join(each.view.workload.key for each in found)
        raise Refused(409, f"{name} may be any of {kinds}", "write it as namespace/Kind/name")
    return found[0]


def _stranger(whose: str) -> web.Response:
    remedy = f"send `Authorization: Bearer <token>` with {whose} token, or use the socket on the daemon's host"
    answer = _json(401, {"error": f"no credential that is known here; needed: {whose}", "remedy": remedy})
    answer.headers["WWW-Authenticate"] = f'Bearer realm="{REALM}"'
    return answer


def _json(status: int, document: Document) -> web.Response:
    # ASCII only: half a surrogate pair in a label must not make the answer fail.
    return web.json_response(document, status=status, dumps=lambda value: json.dumps(value, allow_nan=False))
