"""A room in which people press Slack's buttons: a story of the core behind the ports, our two doors, Slack's stand-in."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp

from daemon.core.events import Command
from daemon.core.facts import Fact
from daemon.core.model import Mode
from daemon.core.policy import ApproverRule
from daemon.core.state import State
from deploy.sandbox.vendors.slack import SlackMessage, SlackStandIn
from handlers.inbound.slack import PATH, SlackInteractions
from handlers.inbound.slack_socket import SlackSocket
from handlers.outbound.slack import SlackAnnouncer
from handlers.server import HttpServer, ServerLimits, build_app
from handlers.slack_presses import SlackPresses
from handlers.slack_replies import SlackReplies
from tests.core.builders import a_policy
from tests.core.story import Story

ANNA, BEN, EVE = "U0ANNA", "U0BENN", "U0EVEE"
POLL_SECONDS = 5.0


class Counts:
    """ports.Telemetry: what was counted."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        self.contacts: list[bool] = []

    def intake(self, source: str, result: str) -> None:
        assert source == "slack"
        self.results[result] += 1

    def contact(self, part: str, *, ok: bool) -> None:
        assert part == "slack"
        self.contacts.append(ok)


class Room:
    """Reader, Commands and Clock in one, and everything around them. `holds` delays commands until it is set."""

    def __init__(self, story: Story, slack: SlackStandIn, announcer: SlackAnnouncer, counts: Counts) -> None:
        self.story = story
        self.slack = slack
        self.counts = counts
        self.ready: str | None = None
        self.fault: Exception | None = None
        self.holds: asyncio.Event | None = None
        self.taken: list[Command] = []
        self.clock: Callable[[], datetime] = lambda: datetime.now(tz=UTC)
        self.presses: SlackPresses
        self.door: SlackInteractions
        self._announcer = announcer
        self._told = 0

    @property
    def state(self) -> State:
        return self.story.state

    def now(self) -> datetime:
        return self.clock()

    async def command(self, event: Command) -> Sequence[Fact]:
        if self.fault is not None:
            raise self.fault
        self.taken.append(event)
        if self.holds is not None:
            await self.holds.wait()
        return self.story.plays(replace(event, at=self.story.now))

    async def announces(self) -> SlackMessage:
        """Post what the story told since last time, as the dispatcher would; the incident's message."""
        for action in self.story.announcements[self._told :]:
            parents = self.slack.parents()
            channel, thread = (parents[0].channel, parents[0].ts) if parents else (None, None)
            post = replace(action, deadline=datetime.now(tz=UTC), channel=channel, thread=thread)
            await self._announcer.run(post)
        self._told = len(self.story.announcements)
        return self.slack.parents()[0]

    def snapshot(self) -> SlackMessage:
        """The incident's message as somebody's screen shows it now."""
        return copy.deepcopy(self.slack.parents()[0])

    async def answer(self, user: str = ANNA, number: int = 0) -> str:
        """What the presser is told; waits for it."""

        def found() -> list[str]:
            return [each.text for each in self.slack.interactions.answers if each.user == user and each.ephemeral]

        await until(lambda: len(found()) > number)
        return found()[number]


async def until(holds: Callable[[], bool], seconds: float = POLL_SECONDS) -> None:
    """Wait for it, with a deadline."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


def proposed() -> Story:
    """An error spike in mode approve, up to the proposal; Anna and Ben may approve in the shop."""
    rules = (ApproverRule(actors=(f"slack:{ANNA}", f"slack:{BEN}"), namespaces=("shop",)),)
    story = Story(a_policy(default_mode=Mode.APPROVE, approvers=rules))
    story.spikes()
    return story


@asynccontextmanager
async def room(story: Story | None = None, *, by_socket: bool = False) -> AsyncIterator[Room]:
    """The whole room, with the story's announcements posted."""
    async with AsyncExitStack() as stack:
        slack, counts = await stack.enter_async_context(SlackStandIn()), Counts()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        base = f"{slack.url}/api"
        announcer = SlackAnnouncer(session, base, slack.token, "C0INCIDENT", message_seconds=0.0, buttons=True)
        made = Room(story or proposed(), slack, announcer, counts)
        presses = made.presses = SlackPresses(
            reader=made,
            commands=made,
            policy=lambda: made.story.policy,
            clock=made,
            telemetry=counts,
            replies=SlackReplies(session, base),
        )
        secret = slack.interactions.signing_secret
        door = made.door = SlackInteractions(presses=presses, signing_secret=secret, clock=made, telemetry=counts)
        limits = ServerLimits(shutdown_seconds=1)
        server = HttpServer(limits)
        stack.push_async_callback(server.close)
        app = build_app(routes=door.routes(), limits=limits)
        host, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
        slack.interactions.request_url = f"http://{host}:{port}{PATH}"
        tasks = await stack.enter_async_context(_background())
        tasks.append(asyncio.get_running_loop().create_task(presses.run()))
        if by_socket:
            token = slack.interactions.app_token
            socket = SlackSocket(
                presses=presses,
                app_token=token,
                base_url=base,
                telemetry=counts,
                connect_seconds=1.0,
                ping_seconds=0.5,
                retry_seconds=0.05,
            )
            tasks.append(asyncio.get_running_loop().create_task(socket.run()))
            await until(lambda: bool(slack.interactions.connections))
        await made.announces()
        yield made


@asynccontextmanager
async def _background() -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert ended == [], "what must run for ever has ended"
