"""What a pipeline asks before it rolls out: `GET /api/v1/gate/{namespace}/{name}?image=…`.

Whoever may inform may ask: an operator, a webhook's sender, an event source. 200 with `{"workload", "open", "reasons", "notes"}`
both for yes and for no, so that "no" is never taken for a failure or the other way round; failures are those of
`handlers.answers`. While the daemon is not ready, only a "no" is answered: its journal may have missed what closes the gate.

And what an admission policy keeps out, for all workloads: `GET /api/v1/quarantine`, with the same credentials. Answered only
while the daemon is ready: an incomplete list would let in what the last one kept out.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from daemon.core.gate import gate
from daemon.core.quarantine import Quarantined, quarantined
from daemon.ports import Clock, Reader
from handlers import command_input
from handlers.answers import Actor, Refused, answered
from handlers.auth import Authenticator
from handlers.overview import Document, cut, moment, revision

_WHOSE = "an operator's, a webhook sender's or an event source's"


def sender_actor(kind: str, authenticator: Authenticator | None) -> Actor:
    """The actor `<kind>:<name>` of a request with one of these credentials; nobody where there are none (None)."""

    def actor(request: web.Request) -> str | None:
        name = None if authenticator is None else authenticator.who(request.headers)
        return None if name is None else f"{kind}:{name}"

    return actor


def any_of(*actors: Actor) -> Actor:
    """The first actor that knows the request's credential."""

    def actor(request: web.Request) -> str | None:
        return next((who for each in actors if (who := each(request)) is not None), None)

    return actor


def gate_routes(reader: Reader, clock: Clock, actor: Actor) -> Sequence[web.AbstractRouteDef]:
    """The gate's routes, and the quarantine's; the one with a kind tells workloads of one name apart."""

    async def ask(request: web.Request) -> web.Response:
        async def answer(_who: str) -> Document:
            return _asked(reader, clock, request)

        return await answered(request, actor, answer, whose=_WHOSE)

    async def ask_all(request: web.Request) -> web.Response:
        async def answer(_who: str) -> Document:
            command_input.query(request)
            return _quarantine(reader, clock)

        return await answered(request, actor, answer, whose=_WHOSE)

    return [
        web.get("/api/v1/quarantine", ask_all),
        web.get("/api/v1/gate/{namespace}/{name}", ask),
        web.get("/api/v1/gate/{namespace}/{kind}/{name}", ask),
    ]


def _asked(reader: Reader, clock: Clock, request: web.Request) -> Document:
    workload = command_input.workload_at(request.match_info)
    image = command_input.image(command_input.query(request, "image"))
    now = clock.now()
    found = gate(reader.state, workload, image, now)
    if found.open and reader.ready is not None:
        raise Refused(
            503, f"the daemon is not ready to say yes: {reader.ready}", "ask again; `lastgood status` tells more"
        )
    return {
        "now": moment(now),
        "workload": workload,
        "image": image,
        "open": found.open,
        "reasons": [cut(reason) for reason in found.reasons],
        "notes": [cut(note) for note in found.notes],
    }


def _quarantine(reader: Reader, clock: Clock) -> Document:
    if reader.ready is not None:
        raise Refused(503, f"the daemon is not ready: {reader.ready}", "ask again; `lastgood status` tells more")
    return {"now": moment(clock.now()), "revisions": [_row(each) for each in quarantined(reader.state)]}


def _row(found: Quarantined) -> Document:
    """Images and digests are whole: a cut one would keep nothing out."""
    return {
        "workload": found.workload.key,
        "revision": revision(found.revision),
        "quarantined_by": found.by,
        "images": list(found.images),
        "digests": list(found.digests),
    }
