"""What people ask and command: the routes under /api/v1/ behind the command line. JSON in, JSON out.

Two ways in: the Unix socket in the state folder, where the file's permissions are the credential and the actor is the
user at the other end, and the network with a named operator token. Who did something is what the credential says; a
name that a client sends is kept as a claim beside it. Every command is journalled before it is answered.

The answers and their statuses are those of `handlers.answers`.
"""

from __future__ import annotations

import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from daemon.core import events
from daemon.core.events import Command
from daemon.core.model import IncidentId, RevisionId
from daemon.core.policy import Policy
from daemon.core.state import Tracked
from daemon.ports import Clock, Commands, Journal, Reader
from handlers import command_input, explain, history, overview, scorecard
from handlers.answers import Actor, Refused, answered, the_workload
from handlers.auth import Authenticator
from handlers.following import ANSWER_SECONDS, Following
from handlers.overview import Document


def token_actor(authenticator: Authenticator) -> Actor:
    """The actor of a request over the network: `token:<name>`, by its bearer token."""

    def actor(request: web.Request) -> str | None:
        name = authenticator.who(request.headers)
        return None if name is None else f"token:{name}"

    return actor


def unix_actor(request: web.Request) -> str | None:
    """The actor of a request through the Unix socket: `unix:<user name>` of the process at the other end.

    None for a connection that is no Unix socket: there the kernel vouches for nobody.
    """
    found = request.transport.get_extra_info("socket") if request.transport is not None else None
    if found is None or found.family != socket.AF_UNIX:
        return None
    raw = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    try:
        return f"unix:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"unix:uid {uid}"  # a user of the image that its passwd does not name


def operator_routes(
    reader: Reader,
    commands: Commands,
    journal: Journal,
    policy: Callable[[], Policy],
    clock: Clock,
    actor: Actor,
    *,
    answer_seconds: float = ANSWER_SECONDS,
) -> Sequence[web.AbstractRouteDef]:
    """The routes for people; `actor` is `unix_actor` or a `token_actor`."""
    return _Operators(reader, commands, journal, policy, clock, actor, answer_seconds).routes()


class _Operators:
    def __init__(
        self,
        reader: Reader,
        commands: Commands,
        journal: Journal,
        policy: Callable[[], Policy],
        clock: Clock,
        actor: Actor,
        answer_seconds: float,
    ) -> None:
        self._reader = reader
        self._journal = journal
        self._policy = policy
        self._clock = clock
        self._actor = actor
        self._follow = Following(reader, commands, policy, answer_seconds).follow

    def routes(self) -> list[web.AbstractRouteDef]:
        asks = {
            "status": self._status,
            "incidents": self._incidents,
            "explain": self._explain,
            "verified": self._ledger,
            "history": self._history,
            "scorecard": self._scorecard,
        }
        orders: dict[str, Callable[[Mapping[str, Any], str], Command]] = {
            "approve": self._approve,
            "decline": self._decline,
            "close": self._close,
            "judge": self._judge,
            "pause": self._pause,
            "resume": self._resume,
            "release": self._release,
            "declare": self._declare,
        }
        return [
            *(web.get(f"/api/v1/{name}", self._asked(ask)) for name, ask in asks.items()),
            *(web.post(f"/api/v1/{name}", self._ordered(name, order)) for name, order in orders.items()),
        ]

    def _asked(self, ask: Callable[[web.Request], Awaitable[Document]]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            return await answered(request, self._actor, lambda _who: ask(request))

        return handle

    def _ordered(
        self, name: str, order: Callable[[Mapping[str, Any], str], Command]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            async def follow(actor: str) -> Document:
                body = await command_input.body(request)
                who = command_input.actor(body, actor)
                return await self._follow(name, order({k: v for k, v in body.items() if k != "name"}, who))

            return await answered(request, self._actor, follow)

        return handle

    # ---------------------------------------------------------------------------------------------------- questions

    async def _status(self, request: web.Request) -> Document:
        command_input.query(request)
        return overview.status(self._reader.state, self._policy(), self._clock.now(), self._reader.ready)

    async def _incidents(self, request: web.Request) -> Document:
        query = command_input.query(request, "all", "limit")
        ended, limit = command_input.flag(query, "all"), command_input.limit(query.get("limit"))
        return overview.incidents(self._reader.state, self._clock.now(), ended=ended, limit=limit)

    async def _explain(self, request: web.Request) -> Document:
        about = command_input.text(command_input.query(request, "about"), "about", command_input.ABOUT_MAX)
        state, policy, now = self._reader.state, self._policy(), self._clock.now()
        incident = explain.incident_about(state, about)
        if incident is not None:
            facts = [entry async for entry in self._journal.history(incident=incident.id, limit=explain.FACTS_MAX)]
            return explain.incident_document(incident, facts, state, policy, now)
        document = explain.without_incident(state, policy, now, about)
        if document is None:
            raise Refused(
                404,
                f"nothing is known of {about[:80]!r}: no incident, alert fingerprint or workload of that name",
                "`lastgood incidents --all` and `lastgood status` list what is known",
            )
        return document

    async def _ledger(self, request: web.Request) -> Document:
        query = command_input.query(request, "workload")
        tracked = self._tracked(command_input.text(query, "workload", command_input.ABOUT_MAX))
        return overview.ledger(tracked, self._reader.state, self._policy(), self._clock.now())

    async def _history(self, request: web.Request) -> Document:
        query = command_input.query(request, "workload")
        tracked = self._tracked(command_input.text(query, "workload", command_input.ABOUT_MAX))
        return history.history(tracked, self._reader.state, self._policy(), self._clock.now())

    async def _scorecard(self, request: web.Request) -> Document:
        query = command_input.query(request, "workload")
        state, policy, now = self._reader.state, self._policy(), self._clock.now()
        if "workload" not in query:
            return scorecard.scorecard(state, policy, now)
        name = command_input.text(query, "workload", command_input.ABOUT_MAX)
        document = scorecard.of(name, state, policy, now)
        if document is None:
            raise Refused(
                404, f"no workload {name[:80]!r} is known", "`lastgood scorecard` lists those that are counted"
            )
        return document

    def _tracked(self, name: str) -> Tracked:
        return the_workload(self._reader.state, name)

    # ----------------------------------------------------------------------------------------------------- commands

    def _approve(self, body: Mapping[str, Any], actor: str) -> Command:
        return events.Approved(at=self._clock.now(), incident=_incident(body), actor=actor)

    def _decline(self, body: Mapping[str, Any], actor: str) -> Command:
        return events.Declined(at=self._clock.now(), incident=_incident(body), actor=actor)

    def _close(self, body: Mapping[str, Any], actor: str) -> Command:
        incident = _incident(body, "note")
        return events.Closed(at=self._clock.now(), incident=incident, actor=actor, note=command_input.note(body))

    def _judge(self, body: Mapping[str, Any], actor: str) -> Command:
        incident, word = _incident(body, "word", "note"), command_input.word(body)
        return events.Reviewed(
            at=self._clock.now(), incident=incident, word=word, actor=actor, note=command_input.note(body)
        )

    def _pause(self, body: Mapping[str, Any], actor: str) -> Command:
        command_input.only(body, "scope", "for")
        return events.PauseAsked(
            at=self._clock.now(), scope=command_input.scope(body), actor=actor, lasts=command_input.lasts(body)
        )

    def _resume(self, body: Mapping[str, Any], actor: str) -> Command:
        command_input.only(body, "scope")
        return events.ResumeAsked(at=self._clock.now(), scope=command_input.scope(body), actor=actor)

    def _release(self, body: Mapping[str, Any], actor: str) -> Command:
        command_input.only(body, "workload", "revision")
        tracked = self._tracked(command_input.text(body, "workload", command_input.ABOUT_MAX))
        revision = None
        if body.get("revision") is not None:
            revision = _quarantined(tracked, command_input.text(body, "revision", command_input.ID_MAX))
        return events.ReleaseAsked(
            at=self._clock.now(), workload=tracked.view.workload.key, revision=revision, actor=actor
        )

    def _declare(self, body: Mapping[str, Any], actor: str) -> Command:
        command_input.only(body, "workload", "reason", "since", "note")
        cause, since, now = command_input.cause(body), command_input.since(body), self._clock.now()
        note = command_input.note(body)
        tracked = self._tracked(command_input.text(body, "workload", command_input.ABOUT_MAX))
        return events.Declared(
            at=now, workload=tracked.view.workload.key, cause=cause, onset=now - since, actor=actor, note=note
        )


# ------------------------------------------------------------------------------------------------------------- telling


def _incident(body: Mapping[str, Any], *others: str) -> IncidentId:
    command_input.only(body, "incident", *others)
    return IncidentId(command_input.text(body, "incident", command_input.ID_MAX))


def _quarantined(tracked: Tracked, prefix: str) -> RevisionId:
    """The one quarantined revision whose hash begins so."""
    held = [entry.revision.id for entry in tracked.ledger.values() if entry.quarantined_by is not None]
    found = [each for each in held if each.startswith(prefix)]
    if len(found) != 1:
        named = ", ".join(each[:8] for each in held) or "none"
        why = "no quarantined revision begins" if not found else "several quarantined revisions begin"
        raise Refused(409 if found else 404, f"{why} with {prefix!r}", f"quarantined here: {named}")
    return found[0]
