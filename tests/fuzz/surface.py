"""The whole HTTP surface on loopback, as the daemon serves it: real routes, engine, journal file, and a state to ask about.

Everything that can be configured is, so that every route is there. Cluster, Prometheus and Alertmanager are addresses at which
nobody answers. It lives on a loop in a thread of its own: who sends to it may block.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from config import load
from config.settings import Settings
from daemon import assembly
from daemon.buttons import buttons
from daemon.core.model import Mode
from daemon.leading import Lead
from daemon.listening import Parts, local, network
from daemon.runtime.engine import Engine
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.telemetry import Metrics
from deploy.sandbox.world import free_port
from handlers.inbound.alerts_poll import AlertsPoll, PollTimes
from handlers.inbound.cluster import ClusterWatch
from handlers.server import HttpServer, ServerLimits
from tests.core.builders import a_policy
from tests.core.story import Story

OPERATOR = "an-operators-token-0001"
SENDER = "an-alertmanagers-token-0001"
SOURCE = "a-sources-token-0001"
SECRET = "a-secret-that-signs-0001"

CONFIGURATION = """
cluster: test
state_dir: {folder}
server:
  listen: 127.0.0.1:0
  body_limit: 1048576
  webhook_tokens: {{alertmanager: {sender}}}
  operators: {{ann: {operator}}}
kubernetes: {{url: "{nobody}", request_timeout: 2s}}
prometheus: {{url: "{nobody}", timeout: 1s}}
alertmanager: {{urls: ["{nobody}"], timeout: 1s}}
slack: {{bot_token: xoxb-none, channel: C1, base_url: "{nobody}", signing_secret: {secret}}}
events:
  sources:
    ci: {{kind: events, token: {source}, may_cause: true}}
    open: {{kind: events, anonymous: true}}
    hub: {{kind: github, secret: {secret}-hub}}
    lab: {{kind: gitlab, token: {source}-lab}}
    flux: {{kind: flux, secret: {secret}-flux}}
    flagger: {{kind: flagger, token: {source}-flagger}}
"""
"""The body limit is a small one: what is too large is soon sent."""


class Running:
    """A clock that begins where the story ends."""

    def __init__(self, start: datetime) -> None:
        self._start, self._begun = start, time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=time.monotonic() - self._begun)


@dataclass(kw_only=True)
class Surface:
    """Where it is served, what its journal holds, and the parts behind it."""

    parts: Parts
    url: str

    @property
    def now(self) -> datetime:
        return self.parts.clock.now()

    def intake(self) -> int:
        """How many events were ever accepted: read from the journal's file, as another process would."""
        with closing(sqlite3.connect(f"file:{self.parts.settings.journal_path}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT coalesce(max(seq), 0) FROM intake").fetchone()
        return int(found[0])


def settings_in(folder: Path) -> Settings:
    """Everything that adds a route is configured."""
    path = folder / "lastgood.yaml"
    nobody = f"http://127.0.0.1:{free_port()}"
    path.write_text(
        CONFIGURATION.format(
            folder=folder, sender=SENDER, operator=OPERATOR, source=SOURCE, secret=SECRET, nobody=nobody
        )
    )
    return load(path, {})


def told() -> Story:
    """A story with a proposal that waits for a person."""
    story = Story(policy=a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    return story


@asynccontextmanager
async def parts_in(folder: Path) -> AsyncIterator[Parts]:
    """What the routes stand on: an engine that decides on a journal with a story in it."""
    settings, story, metrics = settings_in(folder), told(), Metrics()
    clock = Running(story.now)
    async with AsyncExitStack() as stack:
        journal = SqliteJournal(settings.journal_path)
        stack.push_async_callback(journal.close)
        await journal.commit(story.facts, 0, story.now)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        kube = await stack.enter_async_context(await assembly.kube_client(settings))
        engine = Engine(
            journal, clock, lambda: story.policy, dispatch=lambda *_: None, told=lambda *_: None, inbox_max=1000
        )
        await engine.recover()
        engine.waits_for(None)
        deciding = asyncio.get_running_loop().create_task(engine.run())
        stack.callback(deciding.cancel)
        watch = ClusterWatch(kube, engine, clock, known=[], flagger=True, gitops=True)
        outside = assembly.clients(settings, session, clock, metrics)
        poll = AlertsPoll(
            api=outside.alertmanager,
            history=outside.history,
            intake=engine,
            clock=clock,
            times=PollTimes(interval=timedelta(hours=1)),
        )
        pressed = buttons(
            settings,
            session,
            reader=engine,
            commands=engine,
            policy=lambda: story.policy,
            clock=clock,
            telemetry=metrics,
        )
        yield Parts(
            settings=settings,
            policy=lambda: story.policy,
            clock=clock,
            metrics=metrics,
            engine=engine,
            journal=journal,
            kube=kube,
            poll=poll,
            watch_age=watch.age,
            cache=watch.cache,
            outside=outside,
            buttons=pressed,
            calls=lambda: None,
            leadership=Lead(None),
        )


def served(app: web.Application) -> set[tuple[str, str]]:
    """Method and path of every route; HEAD is that of its GET, and a slash at the end says nothing else."""
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        found.add((route.method.lower(), path.rstrip("/") if path != "/" else path))
    return {(method, path) for method, path in found if method != "head"}


@contextmanager
def surface(folder: Path) -> Iterator[Surface]:
    """Serve it, in a thread of its own."""
    begun: Future[Surface] = Future()
    over, loop = asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(folder, begun, over)), daemon=True)
    thread.start()
    try:
        yield begun.result(30)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()


async def _serve(folder: Path, begun: Future[Surface], over: asyncio.Event) -> None:
    try:
        async with parts_in(folder) as parts:
            server = HttpServer(ServerLimits(body_bytes_max=parts.settings.server.body_limit, shutdown_seconds=1))
            host, port = await server.serve_tcp(network(parts), host="127.0.0.1", port=0)
            begun.set_result(Surface(parts=parts, url=f"http://{host}:{port}"))
            await over.wait()
            await server.close()
    except Exception as error:
        if begun.done():
            raise
        begun.set_exception(error)


def routes_of(folder: Path) -> dict[str, set[tuple[str, str]]]:
    """What is served over the network, and what on the socket."""

    async def look() -> dict[str, Any]:
        async with parts_in(folder) as parts:
            return {"network": served(network(parts)), "socket": served(local(parts))}

    return asyncio.run(look())
