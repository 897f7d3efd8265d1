"""What the PostgreSQL journal promises beyond the contract: several daemons on one database, and connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from daemon.core.events import PauseAsked
from daemon.core.evolution import replay
from daemon.core.facts import Fact, PauseSet
from daemon.ports import JournalUnavailableError, StaleLeaderError
from daemon.runtime import codec, journal_postgres, journal_postgres_link
from daemon.runtime import journal_postgres_statements as sql
from daemon.runtime.journal import INTAKE_KEPT
from daemon.runtime.journal_postgres import PostgresJournal
from tests.core.builders import MINUTE, NOON
from tests.postgres import Server
from tests.postgres_wire import Wire, wire_to

pytestmark = pytest.mark.real

Open = Callable[..., Awaitable[PostgresJournal]]


def asked(number: int = 1) -> PauseAsked:
    return PauseAsked(at=NOON, scope=f"space-{number}", actor="ann")


def a_fact(number: int = 1) -> PauseSet:
    return PauseSet(at=NOON, scope=f"space-{number}", until=None, actor="ann")


async def scopes_in(journal: PostgresJournal) -> list[str]:
    return [event.scope for _, event in await journal.unread(0, 1_000_000) if isinstance(event, PauseAsked)]


async def facts_in(journal: PostgresJournal) -> list[Fact]:
    return [fact async for _, fact in journal.history()]


@pytest.fixture
async def wire(postgres: Server) -> AsyncIterator[Wire]:
    async with wire_to(postgres) as wire:
        yield wire


@pytest.fixture
async def opened(postgres: Server) -> AsyncIterator[Open]:
    """Opens journals on one schema, directly or through a wire."""
    schema, made = postgres.schema(), list[PostgresJournal]()

    async def open_(url: str | None = None) -> PostgresJournal:
        made.append(await PostgresJournal.open(url or postgres.url, cluster="test", schema=schema))
        return made[-1]

    yield open_
    for journal in made:
        await journal.close()


# ------------------------------------------------------------------------------------------------- several at a time


async def test_numbers_become_visible_in_order(opened: Open, postgres: Server) -> None:
    """While another daemon's acceptance is on its way to the disk, nothing with a higher number can be read: a reader
    that has seen 2 would never look for 1 again.
    """
    journal = await opened()
    slow = await asyncpg.connect(postgres.url, server_settings={"search_path": journal._server.schema})
    transaction = slow.transaction()
    await transaction.start()
    body = codec.dump_event(asked(1))
    await slow.fetch(sql.ACCEPT, uuid4(), 1, 1, [NOON], ["pause_asked"], [body], "nobody")
    later = asyncio.get_running_loop().create_task(journal.accept([asked(2)], NOON))
    for _ in range(20):
        await asyncio.sleep(0.02)
        assert await journal.unread(0, 10) == []
    await transaction.commit()
    await slow.close()
    assert list(await later) == [2]
    assert await scopes_in(journal) == ["space-1", "space-2"]


async def test_a_reader_misses_nothing(opened: Open) -> None:
    """Three daemons accept as fast as they can while a fourth follows by number: it sees each once, and in order."""
    reader, *writers = [await opened() for _ in range(4)]

    async def write(journal: PostgresJournal, first: int) -> None:
        for number in range(first, first + 60):
            await journal.accept([asked(number)], NOON)

    seen, after = list[int](), 0
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for index, journal in enumerate(writers):
            tasks.create_task(write(journal, 1000 * index))
        while len(seen) < 180:
            await reader.wait_for_intake(after)
            rows = await reader.unread(after, 7)
            seen += [seq for seq, _ in rows]
            after = seen[-1]
    assert seen == list(range(1, 181))
    assert len(set(await scopes_in(reader))) == 180


async def test_waits_for_others(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for intake is told at once when another daemon has accepted something, and not before."""
    monkeypatch.setattr(journal_postgres, "LOOK_SECONDS", 3600.0)
    leader, standby = await opened(), await opened()
    (seq,) = await leader.accept([asked(1)], NOON)
    waiting = asyncio.get_running_loop().create_task(leader.wait_for_intake(seq))
    await listens(leader)
    assert not waiting.done()
    await standby.accept([asked(2)], NOON)
    async with asyncio.timeout(10):
        await waiting
    assert [event for _, event in await leader.unread(seq, 10)] == [asked(2)]


async def test_waits_without_notifications(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where notifications get lost, as behind some poolers, looking alone finds it; a cut connection is made anew."""
    monkeypatch.setattr(journal_postgres, "LOOK_SECONDS", 0.1)
    leader, standby = await opened(), await opened()

    async def deaf(connection: Any) -> None:
        await connection.execute("SELECT")

    monkeypatch.setattr(leader._ears, "_begin", deaf)
    waiting = asyncio.get_running_loop().create_task(leader.wait_for_intake(0))
    await listens(leader)
    leader._ears._connection.terminate()
    await standby.accept([asked(2)], NOON)
    async with asyncio.timeout(10):
        await waiting


async def test_waiting_ends_with_the_journal(opened: Open) -> None:
    """Who waits for intake of a journal that is closed is told so."""
    journal = await opened()
    waiting = asyncio.get_running_loop().create_task(journal.wait_for_intake(0))
    await listens(journal)
    await journal.close()
    async with asyncio.timeout(10):
        with pytest.raises(JournalUnavailableError, match="is closed"):
            await waiting


async def listens(journal: PostgresJournal) -> None:
    """Return when it waits for notifications."""
    async with asyncio.timeout(20):
        while journal._ears._connection is None or not journal._heard._waiters:
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------------------------------------------------- the fence


async def test_a_leader_of_the_past(opened: Open) -> None:
    """After another has taken over, the old leader can neither commit nor compact, but still accept."""
    old, new = await opened(), await opened()
    await old.take_over(1)
    await old.commit([a_fact(1)], 0, NOON)
    await new.take_over(2)
    for write in (old.commit([a_fact(2)], 7, NOON), old.compact(replay(()), 7, NOON), old.take_over(1)):
        with pytest.raises(StaleLeaderError, match="token 2 has taken over, ours is 1"):
            await write
    await new.commit([a_fact(3)], 0, NOON)
    await old.accept([asked(1)], NOON)
    assert await facts_in(new) == [a_fact(1), a_fact(3)]
    assert (await new.load()).cursor == 0
    assert await new.highest_token() == 2


async def test_it_stays_one_of_the_past(opened: Open) -> None:
    """Reading the journal again makes no leader of one whose token is old, nor does its own token."""
    old, new = await opened(), await opened()
    await old.take_over(1)
    await new.take_over(2)
    await old.load()
    with pytest.raises(StaleLeaderError):
        await old.commit([a_fact(2)], 0, NOON)
    with pytest.raises(StaleLeaderError, match="token 2 has taken over, ours is 2"):
        await old.take_over(2)
    await new.take_over(2)
    await new.commit([a_fact(3)], 0, NOON)
    await old.take_over(3)
    await old.commit([a_fact(4)], 0, NOON)


async def test_late_write(opened: Open, wire: Wire) -> None:
    """A commit that left the old leader before it was stopped, and arrives after another has taken over, writes nothing."""
    old, new = await opened(wire.url), await opened()
    await old.take_over(1)
    await old.commit([a_fact(1)], 0, NOON)
    wire.holds_requests = True
    late = asyncio.get_running_loop().create_task(old.commit([a_fact(2)], 7, NOON))
    await wire.until_held()
    await new.take_over(2)
    await wire.deliver()
    with pytest.raises(StaleLeaderError):
        await late
    assert await facts_in(new) == [a_fact(1)]
    assert (await new.load()).cursor == 0


async def test_two_without_tokens(opened: Open) -> None:
    """Two that nobody elected cannot both write: the second to commit learns that it is not alone."""
    one, other = await opened(), await opened()
    await one.commit([a_fact(1)], 0, NOON)
    with pytest.raises(StaleLeaderError, match="another daemon has written"):
        await other.commit([a_fact(2)], 0, NOON)
    await one.commit([a_fact(3)], 0, NOON)
    assert await facts_in(one) == [a_fact(1), a_fact(3)]


async def test_a_server_that_forgot(opened: Open, postgres: Server) -> None:
    """A leader whose server lost what it had acknowledged (a failover to a copy that lagged) does not write on top."""
    journal = await opened()
    for number in (1, 2, 3):
        await journal.commit([a_fact(number)], 0, NOON)
    postgres.psql(f"UPDATE {journal._server.schema}.head SET version = version - 2")
    with pytest.raises(StaleLeaderError, match="went back from write 3 to 1: its server lost"):
        await journal.commit([a_fact(4)], 0, NOON)


# ------------------------------------------------------------------------------------------- connections that break


async def test_answer_to_a_commit_lost(opened: Open, wire: Wire) -> None:
    """A commit whose answer got lost is found to be written, and is not written again; so is the next one."""
    journal = await opened(wire.url)
    await journal.commit([a_fact(1)], 0, NOON)
    writing = asyncio.get_running_loop().create_task(journal.commit([a_fact(2)], 5, NOON))
    await wire.until_lost()
    await writing
    await journal.commit([a_fact(3)], 6, NOON)
    assert await facts_in(journal) == [a_fact(1), a_fact(2), a_fact(3)]
    assert (await journal.load()).cursor == 6


async def test_answer_to_an_acceptance_lost(opened: Open, wire: Wire) -> None:
    """Events whose acknowledgement got lost between the server and us are there once, with the numbers we are told."""
    journal = await opened(wire.url)
    await journal.accept([asked(1)], NOON)
    writing = asyncio.get_running_loop().create_task(journal.accept([asked(2), asked(3)], NOON))
    await wire.until_lost()
    assert list(await writing) == [2, 3]
    assert list(await journal.accept([asked(4)], NOON)) == [4]
    assert await scopes_in(journal) == ["space-1", "space-2", "space-3", "space-4"]


async def test_late_twin_of_an_acceptance(opened: Open, wire: Wire) -> None:
    """Events that were sent again because a connection broke are there once when the first sending arrives after all."""
    journal = await opened(wire.url)
    await journal.accept([asked(1)], NOON)
    await sent_twice(wire, journal.accept([asked(2)], NOON))
    await journal.accept([asked(3)], NOON)
    assert await scopes_in(journal) == ["space-1", "space-2", "space-3"]


async def test_late_twin_of_a_commit(opened: Open, wire: Wire) -> None:
    """Facts that were sent again because a connection broke are there once when the first sending arrives after all."""
    journal = await opened(wire.url)
    await journal.commit([a_fact(1)], 1, NOON)
    await sent_twice(wire, journal.commit([a_fact(2)], 2, NOON))
    await journal.commit([a_fact(3)], 3, NOON)
    assert await facts_in(journal) == [a_fact(1), a_fact(2), a_fact(3)]


async def sent_twice(wire: Wire, write: Any) -> None:
    """The first sending stays in the wire, the sender loses its connection and sends again, and then the first arrives."""
    wire.holds_requests = True
    writing = asyncio.get_running_loop().create_task(write)
    await wire.until_held()
    wire.holds_requests = False
    wire.cut()
    async with asyncio.timeout(20):
        await writing
    await wire.deliver()


async def unknown(journal: PostgresJournal, wire: Wire, monkeypatch: pytest.MonkeyPatch, at: datetime) -> None:
    """Commit a fact; its answer is lost and nobody can be asked after it, so it is refused to its sender."""
    monkeypatch.setattr(journal_postgres, "PATIENCE_SECONDS", 0.3)
    wire.loses_answers = True
    with pytest.raises(JournalUnavailableError):
        await journal.commit([a_fact(2)], 2, at)
    wire.loses_answers = False


async def test_the_same_commit_again(opened: Open, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that was refused because nobody knew, and was written, is not written again when it is tried again."""
    journal = await opened(wire.url)
    await journal.commit([a_fact(1)], 1, NOON)
    await unknown(journal, wire, monkeypatch, NOON)
    await journal.commit([a_fact(2)], 2, NOON)
    await journal.commit([a_fact(2)], 3, NOON)
    assert await facts_in(journal) == [a_fact(1), a_fact(2), a_fact(2)]


async def test_another_commit_after_it(opened: Open, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is when another comes first: both are there, each once."""
    journal = await opened(wire.url)
    await journal.commit([a_fact(1)], 1, NOON)
    await unknown(journal, wire, monkeypatch, NOON)
    await journal.commit([a_fact(3)], 3, NOON + MINUTE)
    assert await facts_in(journal) == [a_fact(1), a_fact(2), a_fact(3)]


async def test_a_straggler_after_the_start(opened: Open, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that arrives after the journal was read is not in what was read, so nothing may be written on top of it."""
    monkeypatch.setattr(journal_postgres, "PATIENCE_SECONDS", 0.3)
    journal = await opened(wire.url)
    await journal.commit([a_fact(1)], 1, NOON)
    wire.holds_requests = True
    writing = asyncio.get_running_loop().create_task(journal.commit([a_fact(2)], 2, NOON))
    await wire.until_held()
    wire.cut()
    with pytest.raises(JournalUnavailableError):
        await writing
    first, wire.held, wire.holds_requests = wire.held[0], [], False
    assert (await journal.load()).facts == 1
    wire.held = [first]
    await wire.deliver()
    with pytest.raises(StaleLeaderError):
        await journal.commit([a_fact(3)], 3, NOON)
    assert await facts_in(journal) == [a_fact(1), a_fact(2)]


async def test_connections_cut(opened: Open, postgres: Server) -> None:
    """An administrator who ends our connections is not noticed by anybody who reads or writes afterwards."""
    journal = await opened()
    for number in range(3):
        await journal.accept([asked(number)], NOON)
        await journal.commit([a_fact(number)], 0, NOON)
        name = f"lastgood {journal._server.schema}"
        ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
        assert "t" in postgres.psql(ended)
        assert len(await facts_in(journal)) == number + 1
    assert len(await scopes_in(journal)) == 3


async def test_a_silent_server(opened: Open, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up after a limit, the sender is told, and it works again by itself."""
    monkeypatch.setattr(journal_postgres, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(journal_postgres_link, "CONNECT_SECONDS", 0.5)
    journal = await opened(wire.url)
    monkeypatch.setattr(journal._accepts, "limit", 0.5)
    wire.holds_requests = True
    async with asyncio.timeout(20):
        with pytest.raises(JournalUnavailableError):
            await journal.accept([asked(1)], NOON)
    wire.holds_requests = False
    wire.held.clear()
    await journal.accept([asked(2)], NOON)
    assert await scopes_in(journal) == ["space-2"]


async def test_locked(opened: Open, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that somebody holds with psql keeps nobody waiting for ever; what was refused is certainly not written."""
    monkeypatch.setattr(journal_postgres_link, "LOCK_SECONDS", 1)
    journal = await opened()
    other = await asyncpg.connect(postgres.url, server_settings={"search_path": journal._server.schema})
    async with other.transaction():
        await other.execute("SELECT FROM head FOR UPDATE")
        with pytest.raises(JournalUnavailableError, match="lock timeout"):
            await journal.commit([a_fact(1)], 5, NOON)
    await other.close()
    await journal.commit([a_fact(2)], 6, NOON)
    assert await facts_in(journal) == [a_fact(2)]


async def test_group_commit(opened: Open) -> None:
    """Many at once share few transactions."""
    writes: list[float] = []
    journal = await opened()
    journal._on_fsync = writes.append
    await asyncio.gather(*(journal.accept([asked(number)], NOON) for number in range(500)))
    assert len(await scopes_in(journal)) == 500
    assert 1 <= len(writes) <= 10


async def test_consumed_intake_is_bounded(opened: Open) -> None:
    """Webhooks that lead to no fact do not fill the disk: beyond a limit the consumed ones are dropped."""
    journal = await opened()
    numbers = await journal.accept([asked(number) for number in range(INTAKE_KEPT + 50)], NOON)
    await journal.commit([], numbers[-2], NOON)
    assert [seq for seq, _ in await journal.unread(0, 1_000_000)] == list(numbers[-INTAKE_KEPT - 1 :])
