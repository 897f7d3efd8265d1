"""PagerDuty, which keeps one incident per key while it is open, and a chat that keeps what is posted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from daemon.core.actions import Announce, Announced, AnswerPipeline, NoteChange, Outcome, OutcomeKind
from handlers.faults import Fault, FaultKind, Transient, from_status
from tests.simulation.network import HungError, LostError, Network, StatusError

PATIENCE_SECONDS = 15.0


@dataclass(slots=True)
class PagerDuty:
    """`open` holds the key of each open incident with Lastgood's name for what it is about; `events` all that came."""

    open: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    on_event: Callable[[dict[str, Any]], None] = lambda event: None

    def receive(self, body: bytes) -> int:
        """Take an event of the Events API v2; the status of the answer."""
        event = json.loads(body)
        self.events.append(event)
        key = event["dedup_key"]
        if event["event_action"] == "resolve":
            self.open.pop(key, None)
        else:
            self.open[key] = event["payload"]["custom_details"]["incident"]
        self.on_event(event)
        return 202


class _Answer:
    """What aiohttp's `session.post` gives: entered, it is the response."""

    def __init__(self, network: Network, effect: Callable[[], int]) -> None:
        self._network = network
        self._effect = effect
        self.status = 0
        self.headers: dict[str, str] = {}
        self.content = self
        self._body = b"{}"

    async def __aenter__(self) -> Self:
        try:
            self.status = await self._network.send("pagerduty", self._effect, patience=PATIENCE_SECONDS)
        except LostError:
            raise aiohttp.ServerDisconnectedError from None
        except HungError:
            raise TimeoutError from None
        except StatusError as error:
            self.status = error.status
            self.headers = {"Retry-After": "5"} if error.status == 429 else {}
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self, limit: int) -> bytes:
        """The body, once."""
        body, self._body = self._body, b""
        return body


class Session:
    """As much of aiohttp.ClientSession as the pager needs."""

    def __init__(self, network: Network, pagerduty: PagerDuty) -> None:
        self._network = network
        self._pagerduty = pagerduty

    def post(self, url: str, *, data: bytes, **_: Any) -> _Answer:
        """Send an event."""
        return _Answer(self._network, lambda: self._pagerduty.receive(data))


@dataclass(slots=True)
class Chat:
    """The channel: the ids of the announcements in it, in order, each with its incident.

    `on_the_way` are the requests that have not arrived, with their senders. `crossed` are announcements that were sent
    while one of a sender that has died since was on the way: nobody could know of that.
    """

    posted: dict[str, str] = field(default_factory=dict)
    on_the_way: list[tuple[str, Teller]] = field(default_factory=list)
    crossed: set[str] = field(default_factory=set)
    on_post: Callable[[Announce], None] = lambda action: None


@dataclass(slots=True, eq=False)
class Teller:
    """Runner of Announce, and of what else is only told. It looks before it posts, as the real one does."""

    chat: Chat
    network: Network

    async def run(self, action: Announce | AnswerPipeline | NoteChange) -> Outcome:
        if not isinstance(action, Announce):
            return Outcome(kind=OutcomeKind.DONE)
        announced, request = action, (action.id, self)
        if any(sent == announced.id and sender is not self for sent, sender in self.chat.on_the_way):
            self.chat.crossed.add(announced.id)

        def post() -> None:
            self.chat.on_the_way.remove(request)
            self.chat.posted[announced.id] = announced.incident
            self.chat.on_post(announced)

        self.chat.on_the_way.append(request)
        try:
            await self._send(post)
        except Fault:
            if request in self.chat.on_the_way:  # it will never arrive
                self.chat.on_the_way.remove(request)
            raise
        return Outcome(kind=OutcomeKind.DONE, result=Announced(channel="C1", thread=f"t/{action.incident}"))

    async def probe(self, action: Announce | AnswerPipeline | NoteChange) -> Outcome | None:
        if not isinstance(action, Announce) or not await self._send(lambda: action.id in self.chat.posted):
            return None
        return Outcome(kind=OutcomeKind.DONE, result=Announced(channel="C1", thread=f"t/{action.incident}"))

    async def _send(self, effect: Callable[[], Any]) -> Any:
        try:
            return await self.network.send("slack", effect, patience=PATIENCE_SECONDS)
        except LostError:
            raise Transient(None, "connection to Slack failed", FaultKind.NETWORK) from None
        except HungError:
            raise Transient(None, "Slack did not answer in time", FaultKind.TIMEOUT) from None
        except StatusError as error:
            raise from_status(error.status, {}, peer="Slack") from None
