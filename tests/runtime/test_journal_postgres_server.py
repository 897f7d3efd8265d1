"""What the PostgreSQL journal keeps when its server dies, restarts, or has no room left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from daemon.core.events import PauseAsked
from daemon.core.evolution import replay
from daemon.core.facts import PauseSet
from daemon.ports import JournalUnavailableError
from daemon.runtime.journal_file import JournalUnusableError
from daemon.runtime.journal_postgres import PostgresJournal
from tests.core.builders import NOON
from tests.postgres import Server, running
from tests.runtime.test_journal_postgres import a_fact, asked, facts_in, scopes_in

pytestmark = pytest.mark.real


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own, which it may kill."""
    with running() as server:
        yield server


async def open_(server: Server) -> PostgresJournal:
    return await PostgresJournal.open(server.url, cluster="test")


async def test_kill(server: Server) -> None:
    """After `kill -9` of the server in the middle of accepting, committing and compacting, again and again, all that was
    acknowledged is there, each once and in order; the daemon goes on by itself.
    """
    journal = await open_(server)
    await journal.take_over(1)
    told, facts, ended = list[int](), list[int](), asyncio.Event()

    async def accepts(first: int) -> None:
        number = first
        while not ended.is_set():
            try:
                await journal.accept([asked(number)], NOON)
            except JournalUnavailableError:
                await asyncio.sleep(0.05)
            else:
                told.append(number)
            number += 1

    async def commits() -> None:
        number = 0
        while not ended.is_set():
            try:
                await journal.commit([a_fact(number)], 0, NOON)
            except JournalUnavailableError:
                await asyncio.sleep(0.05)  # as the engine does: the same again
                continue
            facts.append(number)
            number += 1

    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        for first in (0, 100_000, 200_000):
            tasks.create_task(accepts(first))
        tasks.create_task(commits())
        for _ in range(4):
            before = len(told), len(facts)
            while len(told) < before[0] + 40 or len(facts) < before[1] + 10:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        ended.set()
    kept = [int(scope.removeprefix("space-")) for scope in await scopes_in(journal)]
    assert set(told) <= set(kept)
    assert len(kept) == len(set(kept))
    for first in (0, 100_000, 200_000):
        own = [number for number in kept if first <= number < first + 100_000]
        assert own == sorted(own)
    written = [fact.scope for fact in await facts_in(journal) if isinstance(fact, PauseSet)]
    assert written == [f"space-{number}" for number in facts][-1000:]
    await journal.close()


async def test_kill_in_compaction(server: Server) -> None:
    """A compaction whose server dies is there as a whole or not at all, and can be done again."""
    journal = await open_(server)
    many = [a_fact(number) for number in range(20_000)]
    await journal.commit(many, 0, NOON)
    await journal.accept([asked(1)], NOON)
    compacting = asyncio.get_running_loop().create_task(journal.compact(replay(many), 1, NOON))
    async with asyncio.timeout(20):
        while not journal._writes._turn.locked():  # it is on its way
            await asyncio.sleep(0)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    try:
        await compacting
    except JournalUnavailableError:
        await journal.compact(replay(many), 1, NOON)
    loaded = await journal.load()
    assert (loaded.facts, len(loaded.state.pauses), loaded.cursor) == (0, 20_000, 1)
    assert await scopes_in(journal) == []
    assert server.psql("SELECT count(*) FROM lastgood.facts") == "0"
    await journal.close()


async def test_restart(server: Server) -> None:
    """While the server is away every write is refused, reading is refused, and when it is back both work by themselves."""
    journal = await open_(server)
    await journal.accept([asked(1)], NOON)
    await journal.commit([a_fact(1)], 0, NOON)
    await asyncio.to_thread(server.stop)
    for refused in (journal.accept([asked(2)], NOON), journal.commit([a_fact(2)], 0, NOON), journal.load()):
        with pytest.raises(JournalUnavailableError, match="cannot be reached"):
            await refused
    await asyncio.to_thread(server.start)
    await journal.accept([asked(3)], NOON)
    await journal.commit([a_fact(2)], 0, NOON)
    assert await scopes_in(journal) == ["space-1", "space-3"]
    assert await facts_in(journal) == [a_fact(1), a_fact(2)]
    await journal.close()


async def test_full_disk(server: Server) -> None:
    """A server that cannot grow a file refuses whole batches and keeps nothing of them; when there is room again it works
    by itself (EFBIG, which PostgreSQL treats like ENOSPC).
    """
    await (await open_(server)).close()
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start, 2_000_000)
    journal = await open_(server)
    chance = random.Random(1)  # what can be compressed takes no room
    wide = [f"{number}-{chance.randbytes(30_000).hex()}" for number in range(60)]
    kept, refused = 0, list[str]()
    for each in wide:
        try:
            await journal.accept([PauseAsked(at=NOON, scope=each, actor="ann")], NOON)
            kept += 1
        except JournalUnavailableError as error:
            refused.append(str(error))
    assert kept
    assert refused
    assert all("could not extend file" in each for each in refused)
    assert len(await scopes_in(journal)) == kept
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await journal.accept([asked(1)], NOON)
    assert len(await scopes_in(journal)) == kept + 1
    await journal.close()


async def test_no_fsync(server: Server) -> None:
    """A server that does not sync its files is refused: after a power cut it would not hold what it acknowledged."""
    server.psql("ALTER SYSTEM SET fsync = off")
    server.psql("SELECT pg_reload_conf()")
    async with asyncio.timeout(20):
        while server.psql("SHOW fsync") != "off":
            await asyncio.sleep(0.05)
    with pytest.raises(JournalUnusableError, match=r"fsync = off.*set fsync = on and reload"):
        await open_(server)
