"""The intake of MQTT on virtual time: order, acknowledgements, back-off, and that nothing that is sent can end it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from daemon.core.events import Noticed
from daemon.core.notices import Notice
from daemon.ports import InboxFullError, Journalled, JournalUnavailableError
from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.inbound.mqtt import MqttInbound, Pauses
from handlers.mqtt_link import Delivery
from tests.handlers.intake_fakes import Counted, Hands, Kept
from tests.handlers.mqtt_world import ids_of, parse, said

DOWN = Transient(None, "connection refused", FaultKind.NETWORK)
LOCKED_OUT = Permanent("wrong password", FaultKind.AUTH)


def delivery(mid: int, body: str | bytes, *, wanted: bool = True, qos: int = 1) -> Delivery:
    raw = body.encode() if isinstance(body, str) else body
    return Delivery(
        topic="t", body=raw, content_type=None, attributes={}, retained=False, wanted=wanted, qos=qos, mid=mid
    )


class Outage(Kept):
    """An intake that fails so often before it keeps again; notes when it was asked."""

    def __init__(self, faults: Sequence[Exception] = ()) -> None:
        super().__init__()
        self.faults = list(faults)
        self.asked_at: list[float] = []

    async def accept(self, event: Journalled) -> None:
        self.asked_at.append(asyncio.get_running_loop().time())
        if self.faults:
            raise self.faults.pop(0)
        await super().accept(event)


class Scripted:
    """A broker: each connection is a fault, or lasts until its deliveries are taken and `lasts` seconds have passed."""

    def __init__(self, *connections: Fault | Sequence[Delivery], lasts: float = 0.0) -> None:
        self.connections = list(connections)
        self.lasts = lasts
        self.attempts_at: list[float] = []
        self.acknowledged: list[int] = []
        self.resumed = True
        self._waiting: list[Delivery] = []

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Scripted]:
        self.attempts_at.append(asyncio.get_running_loop().time())
        this = self.connections.pop(0) if self.connections else []
        if isinstance(this, Fault):
            raise this
        self._waiting = list(this)
        yield self

    async def receive(self) -> Delivery:
        if self._waiting:
            return self._waiting.pop(0)
        if not self.connections:
            await asyncio.Event().wait()
        await asyncio.sleep(self.lasts)
        raise DOWN

    def acknowledge(self, delivery: Delivery) -> None:
        self.acknowledged.append(delivery.mid)


class World:
    def __init__(self, broker: Scripted, kept: Kept | None = None, jitter: float = 1.0) -> None:
        self.broker, self.kept, self.counted, self.clock = broker, kept or Kept(), Counted(), Hands()
        self.may_cause = False
        self.inbound = MqttInbound(
            connect=broker,
            parse=self.parse,
            intake=self.kept,
            clock=self.clock,
            telemetry=self.counted,
            body_bytes_max=100,
            pauses=Pauses(),
            jitter=lambda: jitter,
        )

    def parse(self, content_type: str | None, attributes: Mapping[str, str], body: bytes) -> tuple[Notice, ...]:
        if body == b"bug":
            raise KeyError("hunter2")
        return tuple(replace(one, may_cause=self.may_cause) for one in parse(content_type, attributes, body))

    async def run(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.inbound.run()


def gaps(moments: Sequence[float]) -> list[float]:
    return [round(after - before, 3) for before, after in itertools.pairwise(moments)]


async def test_back_off_doubles_up_to_its_end() -> None:
    """Attempts are spaced 1 s, 2 s, 4 s, up to 1 minute, for ever."""
    world = World(Scripted(*[DOWN] * 12))
    await world.run(600)
    assert gaps(world.broker.attempts_at) == [1, 2, 4, 8, 16, 32, *[60] * 6]
    assert world.counted.contacts == [*[("mqtt", False)] * 12, ("mqtt", True)]


async def test_chance_spreads_the_back_off() -> None:
    """The smallest chance halves each pause; nothing is shorter."""
    world = World(Scripted(*[DOWN] * 8), jitter=0.0)
    await world.run(600)
    assert gaps(world.broker.attempts_at) == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_a_refusal_is_not_hammered() -> None:
    """After a refusal, which only people can repair, 30 s are waited at least."""
    world = World(Scripted(*[LOCKED_OUT] * 3))
    await world.run(600)
    assert gaps(world.broker.attempts_at) == [30, 30, 30]


async def test_a_steady_connection_ends_the_back_off() -> None:
    """After a connection that lasted, the next attempt comes at once; after one that broke off at once it does not."""
    for lasts, first in ((120.0, [1, 121, 121]), (0.0, [1, 2, 4])):
        world = World(Scripted(DOWN, [], [], [], lasts=lasts))
        await world.run(600)
        assert gaps(world.broker.attempts_at)[:3] == first


async def test_each_reason_is_told_once() -> None:
    """A lasting reason is one line, a new one another; after a connection the same one is told again."""
    world = World(Scripted(DOWN, DOWN, LOCKED_OUT, LOCKED_OUT, DOWN, [], []))
    with capture_logs() as logs:
        await world.run(600)
    told = [(line["log_level"], line["reason"]) for line in logs if line["log_level"] in ("warning", "error")]
    down, locked = ("warning", DOWN.reason), ("error", LOCKED_OUT.reason)
    assert told == [down, locked, down, down]


@pytest.mark.parametrize("fault", [JournalUnavailableError("disk full"), InboxFullError("full")])
async def test_nothing_is_acknowledged_before_it_is_kept(fault: Exception) -> None:
    """While the journal does not take it, a message is tried again ever more slowly, unacknowledged, and others wait."""
    kept = Outage([fault] * 20)
    world = World(Scripted([delivery(1, said("a")), delivery(2, said("b"))]), kept)
    await world.run(20)
    assert gaps(kept.asked_at) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert not world.broker.acknowledged
    assert not kept.events


async def test_order_is_kept_through_an_outage() -> None:
    """What waits for the journal is kept and acknowledged in the order of its coming, each once."""
    kept = Outage([JournalUnavailableError("disk full")] * 3)
    world = World(Scripted([delivery(1, said("a")), delivery(2, said("b")), delivery(3, said("c"))]), kept)
    await world.run(30)
    assert ids_of(kept) == ["a", "b", "c"]
    assert world.broker.acknowledged == [1, 2, 3]
    assert world.counted.intakes == [*[("mqtt", "unavailable")] * 3, *[("mqtt", "accepted")] * 3]


async def test_several_notices_in_one_message() -> None:
    """A batch is acknowledged once, after its last notice is kept."""
    kept = Outage([JournalUnavailableError("disk full")])
    world = World(Scripted([delivery(1, '{"ids": ["a", "b"]}'), delivery(2, '{"ids": []}')]), kept)
    await world.run(30)
    assert ids_of(kept) == ["a", "b"]
    assert world.broker.acknowledged == [1, 2]
    assert world.counted.intakes[1:] == [("mqtt", "accepted"), ("mqtt", "ignored")]


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b"\x00\xff", "malformed"),
        (b"[]", "malformed"),
        (b"x" * 101, "too_large"),
        (b"bug", "malformed"),
        (b"", "ignored"),
    ],
)
async def test_what_cannot_be_used_is_acknowledged(body: bytes, result: str) -> None:
    """Garbage, a body over the limit and even a bug of ours are counted and acknowledged, and never logged whole."""
    world = World(Scripted([delivery(1, body), delivery(2, said("good"))]))
    with capture_logs() as logs:
        await world.run(30)
    assert world.broker.acknowledged == [1, 2]
    assert ids_of(world.kept) == ["good"]
    assert world.counted.intakes == [("mqtt", result), ("mqtt", "accepted")]
    assert "xxx" not in str(logs)


async def test_a_fault_of_the_intake_does_not_come_back_for_ever() -> None:
    """An event that the journal cannot even write down (a bug) is refused and acknowledged, and the next one kept."""
    kept = Outage([UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")])
    world = World(Scripted([delivery(1, said("a")), delivery(2, said("b"))]), kept)
    await world.run(30)
    assert ids_of(kept) == ["b"]
    assert world.broker.acknowledged == [1, 2]


async def test_a_topic_that_is_not_configured_is_refused() -> None:
    """A message of a subscription that only the session remembers is acknowledged and not kept."""
    world = World(Scripted([delivery(1, said("a"), wanted=False)]))
    await world.run(30)
    assert not world.kept.events
    assert world.broker.acknowledged == [1]


@pytest.mark.parametrize(
    ("age", "retained", "may_cause"),
    [
        (timedelta(0), False, True),
        (timedelta(minutes=-4), False, True),
        (timedelta(minutes=15), False, True),
        (timedelta(minutes=16), False, False),
        (timedelta(hours=23), False, False),
        (timedelta(0), True, False),
    ],
)
async def test_old_news_only_informs(age: timedelta, retained: bool, may_cause: bool) -> None:
    """What waited for us at the broker, or is retained there, is kept, and opens no incident whatever its sender may."""
    world = World(Scripted([replace(delivery(1, said("a")), retained=retained)]))
    world.may_cause = True
    world.clock.move(age)
    await world.run(30)
    assert [event.notice.may_cause for event in world.kept.events if isinstance(event, Noticed)] == [may_cause]


async def test_news_from_the_future_is_refused() -> None:
    """A notice that is dated more than five minutes ahead is refused and acknowledged."""
    world = World(Scripted([delivery(1, said("a"))]))
    world.clock.move(timedelta(minutes=-6))
    await world.run(30)
    assert not world.kept.events
    assert world.broker.acknowledged == [1]


async def test_a_flood_of_garbage_writes_few_lines() -> None:
    """A thousand bad messages at once are one line in the log, and all are counted."""
    world = World(Scripted([delivery(number, b"?") for number in range(1000)], [delivery(1000, b"?")], lasts=20.0))
    with capture_logs() as logs:
        await world.run(60)
    lines = [line for line in logs if line["event"] == "mqtt_refused"]
    assert [line["refused_since_last_line"] for line in lines] == [1, 1000]
    assert len(world.counted.intakes) == 1001


def test_pauses_are_bounded_after_any_number_of_failures() -> None:
    """A year of failures neither overflows nor lengthens a pause."""
    pauses = Pauses()
    assert pauses.before_attempt(10**9, DOWN) == timedelta(minutes=1).total_seconds()
    assert pauses.before_journal(10**9) == pauses.journal.total_seconds()
