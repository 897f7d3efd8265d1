"""The poll of the alerts: what it reports, when it keeps quiet, and that silence of a server is never news."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import cast

from daemon.core.events import AlertSource, AlertsReported
from daemon.core.model import Alert, AlertStatus
from daemon.ports import JournalUnavailableError
from handlers.alert_history import AlertHistory, Past
from handlers.alertmanager_api import AlertmanagerApi, Reading
from handlers.faults import FaultKind, Transient
from handlers.inbound.alerts_poll import AlertsPoll, PollTimes
from tests.handlers.intake_fakes import T0, Hands, Kept

DOWN = Transient(None, "alertmanager did not answer", FaultKind.NETWORK)


def alert(fingerprint: str, status: AlertStatus = AlertStatus.FIRING, starts_at: datetime = T0) -> Alert:
    return Alert(fingerprint=fingerprint, status=status, labels=(("alertname", "A"),), starts_at=starts_at)


class Api:
    """Reads what it is given; notes at which second of the loop it was asked."""

    def __init__(self) -> None:
        self.reading: Reading | Transient = Reading(alerts=(alert("a"),), complete=True)
        self.asked_at: list[float] = []

    async def read(self) -> Reading:
        self.asked_at.append(asyncio.get_running_loop().time())
        if isinstance(self.reading, Transient):
            raise self.reading
        return self.reading


class Memory:
    """A history that answers, after as many faults as it is told."""

    def __init__(self) -> None:
        self.faults = 0
        self.asked: list[tuple[datetime, datetime]] = []
        over = AlertStatus.RESOLVED
        self.past = Past(fired=(alert("h"),), resolved=(alert("h", over), alert("i", over)))

    async def read(self, down_since: datetime, until: datetime) -> Past:
        self.asked.append((down_since, until))
        if self.faults:
            self.faults -= 1
            raise DOWN
        return self.past


class World:
    """A poll with everything around it."""

    def __init__(self, *, with_api: bool = True, with_history: bool = False) -> None:
        self.api, self.past, self.kept, self.clock = Api(), Memory(), Kept(), Hands()
        self.poll = AlertsPoll(
            api=cast("AlertmanagerApi", self.api) if with_api else None,
            history=cast("AlertHistory", self.past) if with_history else None,
            intake=self.kept,
            clock=self.clock,
            times=PollTimes(history_tries=3),
            jitter=lambda: 1.0,
        )

    @asynccontextmanager
    async def running(self, down_since: datetime | None = None) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.poll.run(down_since))
            yield
            task.cancel()

    @property
    def reports(self) -> list[AlertsReported]:
        return [event for event in self.kept.events if isinstance(event, AlertsReported)]


async def test_the_first_reading_is_always_reported() -> None:
    """Even an empty one: after a restart "nothing fires" is news."""
    world = World()
    world.api.reading = Reading(alerts=(), complete=True)
    assert await world.poll.read_once()
    (event,) = world.reports
    assert (event.at, event.source, event.alerts, event.complete) == (T0, AlertSource.POLL, (), True)


async def test_an_equal_reading_is_not_journalled_again() -> None:
    """Texts that change at each evaluation are not news; status, start, a new or missing alert, completeness are."""
    world = World()
    await world.poll.read_once()
    await world.poll.read_once()
    assert len(world.reports) == 1
    later = T0 + timedelta(minutes=1)
    news = (
        Reading(alerts=(alert("a", AlertStatus.SUPPRESSED),), complete=True),
        Reading(alerts=(alert("a", starts_at=later),), complete=True),
        Reading(alerts=(alert("a", starts_at=later), alert("b")), complete=True),
        Reading(alerts=(alert("b"),), complete=True),
        Reading(alerts=(alert("b"),), complete=False),
    )
    for number, reading in enumerate(news, start=2):
        world.api.reading = reading
        await world.poll.read_once()
        await world.poll.read_once()
        assert len(world.reports) == number
    assert not world.reports[-1].complete


async def test_an_equal_reading_is_repeated_after_a_while() -> None:
    """So that the state cannot stay wrong for ever after a webhook that said something else."""
    world = World()
    await world.poll.read_once()
    world.clock.move(timedelta(minutes=5))
    await world.poll.read_once()
    assert len(world.reports) == 2


async def test_a_webhook_makes_the_next_reading_news() -> None:
    """`forget`: what others reported in between may be the opposite of what we reported last."""
    world = World()
    await world.poll.read_once()
    world.poll.forget()
    await world.poll.read_once()
    assert len(world.reports) == 2


async def test_a_server_out_of_reach_says_nothing() -> None:
    """No event at all: an alert that cannot be seen is not gone."""
    world = World()
    await world.poll.read_once()
    world.api.reading = DOWN
    assert not await world.poll.read_once()
    assert len(world.reports) == 1


async def test_what_the_journal_did_not_take_is_reported_again() -> None:
    """A reading counts as told only when it was kept."""
    world = World()
    world.kept.fault = JournalUnavailableError("disk full")
    assert not await world.poll.read_once()
    world.kept.fault = None
    assert await world.poll.read_once()
    assert len(world.reports) == 1


async def test_the_schedule_backs_off_and_comes_back() -> None:
    """Every 15 s; 30 and then 60 s apart while nothing answers; the old pace as soon as something does."""
    world = World()
    async with world.running():
        await asyncio.sleep(20)
        world.api.reading = DOWN
        await asyncio.sleep(135)
        world.api.reading = Reading(alerts=(), complete=True)
        await asyncio.sleep(80)
    gaps = [round(b - a) for a, b in zip(world.api.asked_at, world.api.asked_at[1:], strict=False)]
    assert gaps[:6] == [15, 15, 30, 60, 60, 15]


async def test_a_poke_reads_at_once() -> None:
    """A truncated webhook does not wait for the schedule."""
    world = World()
    async with world.running():
        await asyncio.sleep(1)
        world.poll.poke()
        await asyncio.sleep(1)
    assert [round(at) for at in world.api.asked_at] == [0, 1]


async def test_the_time_we_were_down_is_read_once() -> None:
    """After the first reading: first what fired, then that it is over; the next reading is news again."""
    world = World(with_history=True)
    down_since = T0 - timedelta(hours=1)
    async with world.running(down_since):
        await asyncio.sleep(40)
    assert world.past.asked == [(down_since, T0)]
    told = [(event.source, [(a.fingerprint, a.status) for a in event.alerts]) for event in world.reports]
    over = AlertStatus.RESOLVED
    assert told == [
        (AlertSource.POLL, [("a", AlertStatus.FIRING)]),
        (AlertSource.HISTORY, [("h", AlertStatus.FIRING)]),
        (AlertSource.HISTORY, [("h", over), ("i", over)]),
        (AlertSource.POLL, [("a", AlertStatus.FIRING)]),
    ]
    assert not any(event.complete for event in world.reports if event.source is AlertSource.HISTORY)


async def test_the_history_waits_for_the_api() -> None:
    """It ends where the API begins, so it is not read before the API answers."""
    world = World(with_history=True)
    world.api.reading = DOWN
    async with world.running(T0):
        await asyncio.sleep(100)
        assert world.past.asked == []
        world.api.reading = Reading(alerts=(), complete=True)
        await asyncio.sleep(100)
    assert len(world.past.asked) == 1


async def test_the_history_is_tried_again_but_not_for_ever() -> None:
    """Prometheus may be late; after so many tries it is given up and the poll goes on."""
    world = World(with_history=True)
    world.past.faults = 2
    async with world.running(T0):
        await asyncio.sleep(100)
    assert len(world.past.asked) == 3
    assert any(event.source is AlertSource.HISTORY for event in world.reports)
    hopeless = World(with_history=True)
    hopeless.past.faults = 99
    async with hopeless.running(T0):
        await asyncio.sleep(100)
    assert len(hopeless.past.asked) == 3


async def test_no_history_at_the_very_first_start() -> None:
    """Who was never up was never down; without Alertmanager's address only the history is read."""
    world = World(with_history=True)
    async with world.running(None):
        await asyncio.sleep(20)
    assert world.past.asked == []
    alone = World(with_api=False, with_history=True)
    async with alone.running(T0):
        await asyncio.sleep(20)
    assert [event.source for event in alone.reports] == [AlertSource.HISTORY] * 2


async def test_a_cancelled_report_is_not_taken_for_told() -> None:
    """Cancelled while the journal writes: whether it was kept is unknown, so it is told again."""
    world = World()
    world.kept.fault = cast("Exception", asyncio.CancelledError())
    with contextlib.suppress(asyncio.CancelledError):
        await world.poll.read_once()
    world.kept.fault = None
    await world.poll.read_once()
    assert len(world.reports) == 1


async def test_the_time_we_were_away_is_read() -> None:
    """Without a restart, too: at the next reading the history since then is read, once; a fault makes it try again."""
    world = World(with_history=True)
    async with world.running():
        await asyncio.sleep(100)
        assert world.past.asked == []
        since, later = T0 + timedelta(seconds=30), T0 + timedelta(seconds=60)
        world.past.faults = 1
        world.poll.was_away(later)
        world.poll.was_away(since)
        await asyncio.sleep(300)
        assert [asked for asked, _ in world.past.asked] == [since, since]
        world.poll.was_away(later)
        await asyncio.sleep(100)
        assert [asked for asked, _ in world.past.asked][2:] == [later]
