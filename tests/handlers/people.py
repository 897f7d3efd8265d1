"""A daemon as the operators' routes see it: a story of the core behind the ports, served on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from aiohttp import web

from daemon.core.events import Command
from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.runtime.journal import incident_of
from handlers.answers import Actor
from handlers.auth import Authenticator
from handlers.inbound.gate import any_of, gate_routes, sender_actor
from handlers.inbound.operators import operator_routes, token_actor, unix_actor
from handlers.server import HttpServer, ServerLimits, build_app
from tests.core.builders import MINUTE, SECOND
from tests.core.story import Story

TOKEN = "a-token-of-ann"
WEBHOOK_TOKEN = "a-token-of-alertmanager"


class Daemon:
    """Reader, Commands, Journal (its history) and Clock in one; `fault` is raised instead of taking a command."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.ready: str | None = None
        self.fault: Exception | None = None
        self.answer_seconds = 10.0
        self.taken: list[Command] = []

    @property
    def state(self) -> State:
        return self.story.state

    def now(self) -> datetime:
        return self.story.now

    async def command(self, event: Command) -> Sequence[Fact]:
        if self.fault is not None:
            raise self.fault
        self.taken.append(event)
        return self.story.plays(event)

    async def history(self, *, incident: str | None = None, limit: int = 1000) -> AsyncIterator[tuple[datetime, Fact]]:
        for fact in [each for each in self.story.facts if incident in (None, incident_of(each))][-limit:]:
            yield fact.at, fact

    def routes(self, actor: Actor) -> Sequence[web.AbstractRouteDef]:
        operators = operator_routes(
            self,
            self,
            self,  # type: ignore[arg-type]  # of the journal only the history is read
            lambda: self.story.policy,
            self,
            actor,
            answer_seconds=self.answer_seconds,
        )
        senders = sender_actor("webhook", Authenticator(tokens={"alertmanager": WEBHOOK_TOKEN}))
        return [*operators, *gate_routes(self, self, any_of(actor, senders))]


@asynccontextmanager
async def listening(daemon: Daemon, socket: Path) -> AsyncIterator[str]:
    """Serve it on a Unix socket and with a token on loopback; the address of the latter."""
    limits = ServerLimits(shutdown_seconds=1)
    server = HttpServer(limits)
    by_token = daemon.routes(token_actor(Authenticator(tokens={"ann": TOKEN})))
    host, port = await server.serve_tcp(build_app(routes=by_token, limits=limits), host="127.0.0.1", port=0)
    await server.serve_unix(build_app(routes=daemon.routes(unix_actor), limits=limits), socket)
    try:
        yield f"http://{host}:{port}"
    finally:
        await server.close()


def recovered() -> Story:
    """The error spike from the proof of v1 to verified recovery."""
    story = Story()
    story.spikes()
    story.waits(30 * SECOND)
    story.waits(20 * SECOND)
    story.is_back()
    story.waits(3 * MINUTE)
    return story
