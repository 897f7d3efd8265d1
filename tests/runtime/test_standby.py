"""A daemon that stands by, and its taking over: what others accepted is decided in order, each once, and by one alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from math import inf

import pytest

from daemon.core.actions import Outcome, OutcomeKind, RollBack
from daemon.core.events import PauseAsked
from daemon.core.facts import AlertNoted, PauseSet
from daemon.core.model import ActionId, IncidentId
from daemon.ports import Journalled, JournalUnavailableError, StaleLeaderError, StandbyError
from daemon.runtime.dispatch import ATTEMPT_SECONDS, Dispatcher
from daemon.runtime.leading import Alone, taken_over, while_leading
from daemon.runtime.supervise import Supervisor
from tests.core.builders import SHOP, V1, V2
from tests.fakes import Disk, LoopClock, MemoryJournal
from tests.runtime.desk import Desk
from tests.runtime.lives import FAULTS


class Term:
    """ports.Leadership whose end is set by the test."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.token = 1
        self.until = asyncio.get_running_loop().time() + seconds

    @property
    def remaining(self) -> float:
        return max(0.0, self.until - asyncio.get_running_loop().time())

    @property
    def leads(self) -> bool:
        return self.remaining > 0


@pytest.fixture
async def disk() -> Disk:
    return Disk()


@pytest.fixture
async def desks(disk: Disk) -> AsyncIterator[list[Desk]]:
    """Daemons on one disk; stopped after the test."""
    made = [Desk(disk, inbox_max=50) for _ in range(3)]
    yield made
    for each in made:
        await each.supervisor.stop()


async def leads(desk: Desk, token: int) -> None:
    await desk.journal.take_over(token)
    await desk.start()
    desk.supervisor.eternal("intake", desk.engine.follow())


async def stands_by(desk: Desk) -> None:
    await desk.engine.stand_by(lambda: "pod-a")
    desk.engine.waits_for(None)


def scopes(desk: Desk) -> list[str]:
    return [fact.scope for fact in desk.of(PauseSet)]


async def test_a_standby_accepts_and_queues_nothing(desks: list[Desk]) -> None:
    """It is ready; what it accepts is on disk, and however much that is, nothing of it stays in memory."""
    standby = desks[0]
    await stands_by(standby)
    assert standby.engine.ready is None
    assert standby.engine.stands_by
    for number in range(500):
        await standby.engine.accept(standby.paused(f"s{number}"))
    assert len(await standby.journal.unread(0, 1000)) == 500
    inbox = standby.engine.inbox
    assert (inbox.empty, inbox.events, inbox.bytes) == (True, 0, 0)


async def test_a_standby_takes_no_command(desks: list[Desk]) -> None:
    """Nobody would answer it: it is refused with the leader's name, and nothing is kept."""
    await stands_by(desks[0])
    with pytest.raises(StandbyError, match="pod-a leads"):
        await desks[0].engine.command(desks[0].paused())
    assert await desks[0].journal.unread(0, 10) == []


async def test_the_leader_decides_what_standbys_accept(desks: list[Desk]) -> None:
    """At once, though it accepts nothing itself; both sides see one order."""
    leader, standby, _ = desks
    await leads(leader, 1)
    await stands_by(standby)
    await standby.engine.accept(standby.paused("a"))
    await asyncio.sleep(1)
    assert scopes(leader) == ["a"]
    await standby.engine.accept(standby.paused("b"))
    await leader.engine.accept(leader.paused("c"))
    await asyncio.sleep(1)
    assert scopes(leader) == ["a", "b", "c"]
    assert leader.journal.disk.cursor == 3


@pytest.mark.parametrize("seed", range(10))
async def test_many_writers_one_order(desks: list[Desk], seed: int) -> None:
    """Three accept at random, the journal is slow: each event is decided once, in the order of its number."""
    chance = random.Random(seed)
    await leads(desks[0], 1)
    for each in desks[1:]:
        await stands_by(each)

    async def sends(desk: Desk, name: str) -> None:
        for number in range(40):
            await asyncio.sleep(chance.random() * 0.05)
            desk.journal.slow = chance.random() * 0.02
            await desk.engine.accept(desk.paused(f"{name}{number}"))

    async with asyncio.TaskGroup() as group:
        for desk, name in zip(desks, "abc", strict=True):
            group.create_task(sends(desk, name))
    await asyncio.sleep(5)
    accepted = [event.scope for _, event in await desks[0].journal.unread(0, 1000) if isinstance(event, PauseAsked)]
    assert len(accepted) == 120
    assert scopes(desks[0]) == accepted
    assert desks[0].engine.inbox._commands_held == 0


async def test_a_backlog_larger_than_the_inbox_is_taken_in_parts(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standbys accept more than a leader may hold: it takes what has room, and in the end all of it, in order."""
    monkeypatch.setattr("daemon.runtime.in_order.READ_ROWS", 7)
    standby, leader = Desk(disk), Desk(disk, inbox_max=10)
    await stands_by(standby)
    for number in range(300):
        await standby.engine.accept(standby.told(f"s{number}"))
    await leader.journal.take_over(1)
    await leader.engine.recover()
    assert 10 <= leader.engine.inbox.events < 10 + 7
    leader.engine.waits_for(None)
    leader.supervisor.eternal("engine", leader.engine.run())
    await asyncio.sleep(5)
    noted = [fact.alert.fingerprint for fact in leader.of(AlertNoted)]
    assert noted == [f"s{number}" for number in range(300)]
    await leader.supervisor.stop()


async def test_a_standby_takes_over_where_the_leader_was(desks: list[Desk]) -> None:
    """What the leader decided stays, what it had not decided is decided, and what comes meanwhile is not lost."""
    first, second, _ = desks
    await leads(first, 1)
    await stands_by(second)
    await first.engine.accept(first.paused("a"))
    await asyncio.sleep(1)
    await first.supervisor.stop()
    await second.engine.accept(second.paused("b"))
    await second.journal.take_over(2)
    second.journal.slow = 0.05
    recovering = second.begin(second.engine.recover())
    meanwhile = [f"c{number}" for number in range(8)]
    for scope in meanwhile:
        second.begin(second.engine.accept(second.paused(scope)))
        await asyncio.sleep(0.02)
    await recovering
    second.supervisor.eternal("engine", second.engine.run())
    await asyncio.sleep(5)
    assert scopes(second) == ["b", *meanwhile]
    assert second.engine.state.pauses.keys() == {"a", "b", *meanwhile}
    assert not second.engine.stands_by


class Restarting(MemoryJournal):
    """Its database goes away at the reading of this number, and comes back after the next one."""

    def __init__(self, disk: Disk, breaks_at: int) -> None:
        super().__init__(disk)
        self._until_break = breaks_at

    async def unread(self, after: int, limit: int) -> Sequence[tuple[int, Journalled]]:
        self._until_break -= 1
        if self._until_break in {0, -1}:
            raise JournalUnavailableError("the database restarts")
        return await super().unread(after, limit)


@pytest.mark.parametrize("breaks_at", [1, 2, 3])
async def test_the_database_restarts_while_it_is_taken_over(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, breaks_at: int
) -> None:
    """It is waited for, and what was read before it went away is not decided a second time."""
    monkeypatch.setattr("daemon.runtime.in_order.READ_ROWS", 7)
    standby, leader = Desk(disk), Desk(disk, inbox_max=50)
    await stands_by(standby)
    for number in range(20):
        await standby.engine.accept(standby.paused(f"s{number}"))
    leader.journal = leader.engine._journal = leader.engine._in_order._journal = Restarting(disk, breaks_at)
    leader.journal.refuses = "the database restarts"
    asyncio.get_running_loop().call_later(2.5, lambda: setattr(leader.journal, "refuses", None))
    await taken_over(leader.journal, leader.engine, 1)
    leader.engine.waits_for(None)
    leader.supervisor.eternal("engine", leader.engine.run())
    await asyncio.sleep(5)
    assert scopes(leader) == [f"s{number}" for number in range(20)]
    assert not leader.engine.stands_by
    await leader.supervisor.stop()


async def test_a_leader_of_the_past_ends(desks: list[Desk]) -> None:
    """Another took over: its next commit is refused, nothing of it is on disk or told, and its engine ends."""
    old, new, _ = desks
    await leads(old, 1)
    await new.journal.take_over(2)
    written = dict(old.journal.disk.facts)
    await old.engine.accept(old.paused("a"))
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(_ends(old))
    assert isinstance(caught.value.exceptions[0].__cause__, StaleLeaderError)
    assert scopes(old) == []
    assert old.journal.disk.facts == written


async def _ends(desk: Desk) -> None:
    await desk.supervisor.until(asyncio.Event())


async def test_taking_over_with_an_old_token(disk: Disk) -> None:
    """A higher token was seen: refused, and the highest stays."""
    journal = MemoryJournal(disk)
    await journal.take_over(5)
    with pytest.raises(StaleLeaderError):
        await MemoryJournal(disk).take_over(4)
    assert await journal.highest_token() == 5


class Hands:
    """A runner that takes its time, and a dispatcher over it."""

    def __init__(self, term: Term, seconds: float) -> None:
        self.began = self.ended = self.asked = 0
        self.finished: list[object] = []
        self.supervisor = Supervisor()
        self.seconds = seconds
        self.clock = LoopClock()
        self.dispatcher = Dispatcher(
            dict.fromkeys(ATTEMPT_SECONDS, self),
            self.clock,
            self.supervisor,
            FAULTS,
            finish=self.finished.append,
            attempted=lambda kind, result: None,
            leadership=term,
        )

    async def run(self, action: object) -> Outcome:
        self.began += 1
        await asyncio.sleep(self.seconds)
        self.ended += 1
        return Outcome(kind=OutcomeKind.DONE)

    async def probe(self, action: object) -> Outcome | None:
        self.asked += 1
        return None

    def begin(self, name: str = "inc-1/roll_back", *, uncertain: bool = False) -> None:
        """Hand in a rollback that has five minutes."""
        action = RollBack(
            id=ActionId(name),
            deadline=self.clock.now() + timedelta(minutes=5),
            incident=IncidentId("inc-1"),
            workload=SHOP,
            uid="u",
            blamed=V2,
            target=V1,
            why="",
        )
        self.dispatcher.start(action, uncertain=uncertain)


async def test_who_does_not_lead_begins_nothing() -> None:
    """Neither acts nor asks, and has no outcome to tell: the action stays owed, for the next leader."""
    hands = Hands(Term(0), 1)
    hands.begin()
    hands.begin("inc-2/roll_back", uncertain=True)
    await asyncio.sleep(120)
    assert (hands.began, hands.asked, hands.finished) == (0, 0, [])


async def test_what_is_under_way_is_cut_when_leadership_ends() -> None:
    """A patch that takes 20 s is cut after the 5 s that were left, not tried again, and has no outcome."""
    hands = Hands(Term(5), 20)
    hands.begin()
    await asyncio.sleep(120)
    assert (hands.began, hands.ended, hands.finished) == (1, 0, [])


async def test_a_renewal_gives_what_is_under_way_longer() -> None:
    """The same patch under a leader that goes on leading comes to its end."""
    term = Term(5)
    hands = Hands(term, 20)
    hands.begin()
    for _ in range(15):
        await asyncio.sleep(2)
        term.until = asyncio.get_running_loop().time() + 5
    assert (hands.began, hands.ended, len(hands.finished)) == (1, 1, 1)


async def test_alone_there_is_no_end() -> None:
    """Without a lease nothing is cut."""
    assert (Alone().leads, Alone().token, Alone().remaining) == (True, 0, inf)
    async with while_leading(Alone()):
        await asyncio.sleep(1e6)
