"""What the SQLite journal promises beyond the contract: durability, one sync for many, and every way a file can be bad."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.core.events import PauseAsked
from daemon.core.facts import PauseSet
from daemon.ports import JournalUnavailableError
from daemon.runtime.journal import INTAKE_KEPT, SqliteJournal
from tests.core.builders import NOON
from tests.repository import ROOT

pytestmark = pytest.mark.real


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(path)
    yield journal
    await journal.close()


def asked(number: int = 1, size: int = 0) -> PauseAsked:
    return PauseAsked(at=NOON, scope=f"space-{number}{'x' * size}", actor="ann")


def a_fact(size: int = 0) -> PauseSet:
    return PauseSet(at=NOON, scope="x" * size, until=None, actor="ann")


async def scopes_in(journal: SqliteJournal) -> list[str]:
    return [event.scope for _, event in await journal.unread(0, 1_000_000) if isinstance(event, PauseAsked)]


async def test_durable_settings(journal: SqliteJournal) -> None:
    """The write-ahead log and a sync at every commit are really on, on the connection that writes."""
    assert await journal._read("PRAGMA journal_mode") == [("wal",)]
    assert await journal._read("PRAGMA synchronous") == [(2,)]


async def test_only_its_owner_reads_it(journal: SqliteJournal, path: Path) -> None:
    """The file and its companions are the owner's alone, and so is a folder that was made for them."""
    await journal.accept([asked()], NOON)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == dict.fromkeys(["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"], 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_group_commit(path: Path) -> None:
    """Many at once share few transactions; each is told only after its own was synced."""
    syncs: list[float] = []
    journal = SqliteJournal(path, on_fsync=syncs.append)
    await asyncio.gather(*(journal.accept([asked(number)], NOON) for number in range(500)))
    assert len(await scopes_in(journal)) == 500
    await journal.close()
    assert 1 <= len(syncs) <= 25


async def test_reads_are_no_commits(path: Path) -> None:
    """Reading takes no transaction: it is not measured as one, and works while another process holds the lock."""
    syncs: list[float] = []
    journal = SqliteJournal(path, on_fsync=syncs.append)
    await journal.commit([a_fact()], 1, NOON)
    await asyncio.sleep(0)
    before = len(syncs)
    with locked(path):
        assert (await journal.load()).cursor == 1
        assert [fact async for _, fact in journal.history()] == [a_fact()]
    await journal.close()
    assert len(syncs) == before


def locked(path: Path) -> sqlite3.Connection:
    """Another process' write lock; ends with the block."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


async def test_locked(journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the lock nothing is acknowledged and nothing is kept; afterwards it works by itself."""
    await journal._read("PRAGMA busy_timeout = 50")
    other = locked(path)
    with pytest.raises(JournalUnavailableError, match="locked"):
        await journal.accept([asked(1)], NOON)
    with pytest.raises(JournalUnavailableError, match="locked"):
        await journal.commit([a_fact()], 5, NOON)
    other.execute("ROLLBACK")
    other.close()
    await journal.accept([asked(2)], NOON)
    assert await scopes_in(journal) == ["space-2"]
    assert (await journal.load()).facts == 0


async def test_full_disk(journal: SqliteJournal) -> None:
    """A full disk refuses a whole batch and keeps nothing of it; when there is room again it works by itself."""
    await journal.accept([asked(1)], NOON)
    ((pages,),) = await journal._read("PRAGMA page_count")
    await journal._read(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalUnavailableError, match="full"):
        await journal.accept([asked(2), asked(3, size=100_000)], NOON)
    with pytest.raises(JournalUnavailableError, match="full"):
        await journal.commit([a_fact(), a_fact(size=100_000)], 9, NOON)
    assert await scopes_in(journal) == ["space-1"]
    loaded = await journal.load()
    assert (loaded.cursor, loaded.facts) == (0, 0)
    await journal._read("PRAGMA max_page_count = 1000000")
    await journal.accept([asked(4)], NOON)
    assert await scopes_in(journal) == ["space-1", "space-4"]


FILL = """
import asyncio, resource, signal, sys
from pathlib import Path
from daemon.ports import JournalUnavailableError
from daemon.runtime.journal import SqliteJournal
from tests.runtime.test_journal_sqlite import NOON, asked, scopes_in

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    kept = refused = 0
    for number in range(40):
        try:
            await journal.accept([asked(number, size=20_000)], NOON)
            kept += 1
        except JournalUnavailableError:
            refused += 1
    assert kept and refused, (kept, refused)
    assert len(await scopes_in(journal)) == kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await journal.accept([asked(99)], NOON)
    assert len(await scopes_in(journal)) == kept + 1
    await journal.close()

asyncio.run(main())
"""


async def test_disk_really_full(path: Path) -> None:
    """The same on a file system that refuses to grow the file in the middle of a write (EFBIG, like ENOSPC)."""
    process = await python(FILL, path)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def python(code: str, path: Path) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-c", textwrap.dedent(code), str(path))
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)


LOOP = """
import asyncio, structlog, sys
from pathlib import Path
from daemon.core.evolution import replay
from daemon.runtime.journal import SqliteJournal
from tests.runtime.test_journal_sqlite import NOON, a_fact, asked

async def one(journal, number):
    await journal.accept([asked(number)], NOON)
    print(number, flush=True)

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    for start in range(0, 1_000_000, 20):
        await asyncio.gather(*(one(journal, number) for number in range(start, start + 20)))
        await journal.commit([a_fact()], 0, NOON)
        await journal.compact(replay([a_fact()]), 0, NOON)

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 150, 700])
async def test_kill(path: Path, acknowledged: int) -> None:
    """After `kill -9` in the middle of accepting, committing and compacting, all that was acknowledged is there, in order."""
    process = await python(LOOP, path)
    assert process.stdout is not None
    told: list[int] = []
    async with asyncio.timeout(30):
        while len(told) < acknowledged:
            line = await process.stdout.readline()
            assert line, (await process.communicate())[1].decode()
            told.append(int(line))
        process.kill()
        rest, _ = await process.communicate()
    whole = rest[: rest.rfind(b"\n") + 1]
    told += [int(line) for line in whole.split()]
    journal = SqliteJournal(path)
    kept = [int(scope.removeprefix("space-")) for scope in await scopes_in(journal)]
    assert kept == sorted(set(kept))
    assert set(told) <= set(kept)
    assert set((await journal.load()).state.pauses) <= {""}
    await journal.close()


async def test_compaction_is_all_or_nothing(journal: SqliteJournal) -> None:
    """A compaction that cannot be finished leaves the facts, the intake and the cursor as they were."""
    await journal.accept([asked(1)], NOON)
    await journal.commit([a_fact(), a_fact(3)], 0, NOON)
    before = (await journal.load(), await scopes_in(journal))
    await journal._read("CREATE TEMP TRIGGER no BEFORE DELETE ON facts BEGIN SELECT raise(FAIL, 'disk I/O error'); END")
    with pytest.raises(JournalUnavailableError, match="disk I/O error"):
        await journal.compact(before[0].state, 1, NOON)
    assert (await journal.load(), await scopes_in(journal)) == before


async def test_consumed_intake_is_bounded(journal: SqliteJournal) -> None:
    """Webhooks that lead to no fact do not fill the disk: beyond a limit the consumed ones are dropped."""
    numbers = await journal.accept([asked(number) for number in range(INTAKE_KEPT + 50)], NOON)
    await journal.commit([], numbers[-2], NOON)
    kept = [seq for seq, _ in await journal.unread(0, 1_000_000)]
    assert len(kept) == INTAKE_KEPT + 1
    assert kept == list(numbers[-INTAKE_KEPT - 1 :])
