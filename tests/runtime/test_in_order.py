"""More is on disk than a leader may hold: it takes it in parts, a person's command first, and each event once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from daemon.core.events import PauseAsked
from daemon.core.facts import AlertNoted, PauseSet
from daemon.ports import Journalled
from daemon.runtime.engine import LOCATING_MAX
from daemon.runtime.in_order import InOrder
from daemon.runtime.inbox import Inbox
from tests.fakes import Disk, MemoryJournal
from tests.runtime.desk import Desk

INBOX = 10
BACKLOG = 300


class Counting(MemoryJournal):
    """Counts how often it is read."""

    reads = 0

    async def unread(self, after: int, limit: int) -> Sequence[tuple[int, Journalled]]:
        self.reads += 1
        return await super().unread(after, limit)


@pytest.fixture
async def disk() -> Disk:
    """Its standby has accepted a flood, and the leader has died."""
    disk = Disk()
    standby = Desk(disk)
    await standby.engine.stand_by(lambda: "pod-a")
    for number in range(BACKLOG):
        await standby.engine.accept(standby.told(f"s{number}"))
    return disk


@pytest.fixture
async def leader(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """It has taken over, and decides nothing that was told until `opens`."""
    monkeypatch.setattr("daemon.runtime.in_order.READ_ROWS", 7)
    desk = Desk(disk, inbox_max=INBOX)
    journal = desk.journal = desk.engine._journal = desk.engine._in_order._journal = Counting(disk)
    desk.engine._arrivals._journal = journal
    await journal.take_over(1)
    await desk.engine.recover()
    desk.engine.waits_for(None)
    desk.engine._locating = LOCATING_MAX
    desk.supervisor.eternal("engine", desk.engine.run())
    desk.supervisor.eternal("intake", desk.engine.follow())
    yield desk
    await desk.supervisor.stop()


async def opens(desk: Desk) -> None:
    desk.engine._locating = -BACKLOG * 2
    desk.engine._ring()
    await asyncio.sleep(5)


def noted(desk: Desk) -> list[str]:
    return [fact.alert.fingerprint for fact in desk.of(AlertNoted)]


def paused(desk: Desk) -> list[str]:
    return [fact.scope for fact in desk.of(PauseSet)]


async def test_a_command_does_not_wait_for_the_backlog(leader: Desk, disk: Disk) -> None:
    """It is decided while nothing else is, once; then the backlog is, all of it and in order."""
    await asyncio.wait_for(leader.engine.command(leader.paused("shop")), 5)
    assert (paused(leader), noted(leader)) == (["shop"], [])
    assert disk.cursor == 0
    assert not any(isinstance(event, PauseAsked) for _, event in await leader.journal.unread(0, 1000))
    await opens(leader)
    assert noted(leader) == [f"s{number}" for number in range(BACKLOG)]
    assert paused(leader) == ["shop"]
    assert disk.cursor >= BACKLOG


async def test_a_command_that_overtook_is_not_read(leader: Desk) -> None:
    """One that is queued and not decided yet is still on disk: reading on passes it over."""
    leader.engine._in_order._overtook.add(BACKLOG + 1)
    (number,) = await leader.journal.accept([leader.paused("shop")], leader.clock.now())
    assert number == BACKLOG + 1
    await opens(leader)
    assert (noted(leader)[-1], paused(leader)) == (f"s{BACKLOG - 1}", [])


async def test_the_cursor_passes_nothing_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a command that overtook, everything up to the cursor was taken: neither what is on disk nor what waits is above."""
    monkeypatch.setattr("daemon.runtime.in_order.READ_ROWS", 5)
    journal, inbox, desk = MemoryJournal(), Inbox(events_max=5, bytes_max=10**6), Desk()
    order, ours = InOrder(journal, inbox), desk.paused("ours")
    others: list[Journalled] = [desk.told(str(number)) for number in range(20)]
    others[5] = desk.paused("theirs")
    await journal.accept(others, desk.clock.now())
    order.begin(0)
    await order.read_on()
    size = inbox.reserve(ours)
    order.append([(seq, ours, size) for seq in await journal.accept([ours], desk.clock.now())])
    await order.read_on()
    assert [each.seq for each in inbox.take(5)] == [1, 2, 3, 4, 5], "so few are no commands"
    assert order.consumed() == 5
    await order.read_on()
    assert [each.seq for each in inbox.take(8)] == list(range(7, 15))
    assert order.consumed() == 5
    assert [each.seq for each in inbox.take(100)] == [21, 6, 15]
    assert order.consumed() == 15


@pytest.mark.parametrize("others", [0, 3])
async def test_a_crash_after_a_command_that_overtook(leader: Desk, disk: Disk, others: int) -> None:
    """The next life decides the backlog and what came later, and the command not again."""
    await asyncio.wait_for(leader.engine.command(leader.paused("shop")), 5)
    await leader.supervisor.stop()
    standby = Desk(disk)
    await standby.engine.stand_by(lambda: "pod-a")
    for number in range(others):
        await standby.engine.accept(standby.told(f"later{number}"))
    later = Desk(disk, inbox_max=INBOX)
    await later.journal.take_over(2)
    await later.start()
    await asyncio.sleep(5)
    assert len(noted(later)) == BACKLOG + others
    assert paused(later) == []
    assert set(later.engine.state.pauses) == {"shop"}
    await later.supervisor.stop()


async def test_a_full_inbox_does_not_spin(leader: Desk) -> None:
    """While nothing is taken, nothing is read: neither at once again nor for each ring."""
    assert isinstance(leader.journal, Counting)
    await asyncio.sleep(1)
    before = leader.journal.reads
    await asyncio.sleep(60)
    assert leader.journal.reads == before


async def test_level_after_overtaking(leader: Desk) -> None:
    """Once all is decided it waits for others, and what comes is decided at once."""
    assert isinstance(leader.journal, Counting)
    await asyncio.wait_for(leader.engine.command(leader.paused("shop")), 5)
    await opens(leader)
    assert leader.engine._in_order.is_level
    before = leader.journal.reads
    await asyncio.sleep(60)
    assert leader.journal.reads <= before + 1
    await leader.engine.accept(leader.told("new"))
    await asyncio.sleep(0.1)
    assert noted(leader)[-1] == "new"
