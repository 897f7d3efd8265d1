"""Every way a journal's file can be bad: found, named with table and row, refused with the remedy, and left as it is."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from daemon.ports import JournalUnavailableError
from daemon.runtime import journal_damage, journal_file
from daemon.runtime.journal import JournalUnusableError, SqliteJournal
from tests.core.builders import NOON
from tests.runtime.test_journal_sqlite import a_fact, asked, python

# ruff: noqa: ASYNC240 - a test may wait for its own small files

pytestmark = pytest.mark.real

PAGE = 4096
REMEDY = r"lastgood journal restore FILE.*or move it and its -wal away.*are then lost"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


async def made(path: Path, *statements: str, facts: int = 2) -> None:
    """A journal with some rows, closed, and then changed by hand."""
    journal = SqliteJournal(path)
    await journal.accept([asked()], NOON)
    await journal.commit([a_fact(number) for number in range(facts)], 0, NOON)
    await journal.close()
    by_hand(path, *statements)


def by_hand(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def killed(path: Path, commits: int = 6) -> None:
    """The files of a life that was killed: the journal, and its write-ahead log with this many commits."""
    alive = path.with_name("alive") / path.name
    journal = SqliteJournal(alive)
    for number in range(commits):
        await journal.accept([asked(number)], NOON)
    path.parent.mkdir(exist_ok=True)
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(str(alive) + suffix, str(path) + suffix)
    await journal.close()
    shutil.rmtree(alive.parent)


def files(folder: Path) -> dict[str, bytes]:
    """Everything in the folder but what SQLite makes anew each time."""
    return {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-shm")}


def spoil(path: Path, page: int, content: bytes = b"\xa5" * PAGE) -> None:
    """Write over a page (counted from 1, as SQLite does)."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(content)


async def loaded(path: Path) -> None:
    """Open and read it, as a start does."""
    journal = SqliteJournal(path)
    try:
        await journal.load()
    finally:
        await journal.close()


def root_page(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
        return int(page)


# ------------------------------------------------------------------------------------------------------- at the start


async def test_newer_schema(path: Path) -> None:
    """A journal of a newer release is refused by name with the remedy, and stays as it is."""
    newer = journal_file.SCHEMA_VERSION + 1
    await made(path, f"PRAGMA user_version = {newer}")
    before = files(path.parent)
    with pytest.raises(
        JournalUnusableError, match=rf"journal\.sqlite.* schema {newer}.*knows {newer - 1}; run the newer"
    ):
        SqliteJournal(path)
    assert files(path.parent) == before


@pytest.mark.parametrize(
    "foreign",
    [b"this is no database, whatever its name says" * 100, b"SQLite format 3\0" + b"x" * 5000, b"x", bytes(8 * PAGE)],
    ids=["text", "header-only", "one-byte", "zeros"],
)
def test_no_database(path: Path, foreign: bytes) -> None:
    """A file that is no database is refused with the remedy, never reset."""
    path.parent.mkdir()
    path.write_bytes(foreign)
    with pytest.raises(JournalUnusableError, match=REMEDY):
        SqliteJournal(path)
    assert files(path.parent)[path.name] == foreign


def test_empty_file(path: Path) -> None:
    """A journal of no bytes is a lost one. SQLite would make a new database of it, and nobody would know."""
    path.parent.mkdir()
    path.touch()
    with pytest.raises(JournalUnusableError, match=f"it is empty.*{REMEDY}"):
        SqliteJournal(path)
    assert files(path.parent) == {path.name: b""}


async def test_only_the_log_is_left(path: Path) -> None:
    """The write-ahead log of a journal that is gone is not thrown away for a new one."""
    await killed(path)
    path.unlink()
    before = files(path.parent)
    with pytest.raises(JournalUnusableError, match=f"it is gone, and journal.sqlite-wal is there; .*{REMEDY}"):
        SqliteJournal(path)
    assert files(path.parent) == before


@pytest.mark.parametrize(
    "kept", [PAGE // 2, 2 * PAGE, -PAGE, -1], ids=["half-a-page", "two-pages", "last-page", "last-byte"]
)
async def test_cut_off(path: Path, kept: int) -> None:
    """A file that has lost its end is refused, wherever it was cut."""
    await made(path, facts=50)
    os.truncate(path, kept if kept > 0 else path.stat().st_size + kept)
    before = files(path.parent)
    with pytest.raises(JournalUnusableError, match=f"it is damaged: .*{REMEDY}"):
        await loaded(path)
    assert files(path.parent) == before


@pytest.mark.parametrize("table", journal_damage.TABLES)
async def test_damaged_page(path: Path, table: str) -> None:
    """A page that is none is found at the start, not in the middle of an incident, and its table is named."""
    await made(path)
    spoil(path, root_page(path, table))
    before = files(path.parent)
    with pytest.raises(JournalUnusableError, match=f"it is damaged: table {table}, after row 0: .*{REMEDY}"):
        SqliteJournal(path)
    assert files(path.parent) == before


async def test_damaged_page_in_the_middle(path: Path) -> None:
    """Of a table with many pages the last row before the damage is named."""
    await made(path, facts=200)
    with closing(sqlite3.connect(path)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    spoil(path, pages - 2)
    with pytest.raises(JournalUnusableError, match=r"it is damaged: table facts, after row [1-9]\d+: "):
        SqliteJournal(path)


async def test_damaged_first_page(path: Path) -> None:
    """Where not even the tables can be told, the file is named."""
    await made(path)
    spoil(path, 1, path.read_bytes()[:100] + b"\xa5" * (PAGE - 100))
    with pytest.raises(
        JournalUnusableError, match=rf"journal .*journal\.sqlite cannot be opened: it is damaged: .*{REMEDY}"
    ):
        SqliteJournal(path)


def test_something_else(path: Path) -> None:
    """A database of something else is refused; our tables are not put beside its own."""
    path.parent.mkdir()
    by_hand(path, "CREATE TABLE dear_data (x)")
    with pytest.raises(JournalUnusableError, match="something else; name another state_dir"):
        SqliteJournal(path)


def test_locked_at_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is locked at the start is not called damaged: the remedy is to end who holds it."""
    monkeypatch.setattr(journal_file, "SQLITE_WAIT_SECONDS", 0.05)
    path.parent.mkdir()
    by_hand(path, "CREATE TABLE x (y)")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(JournalUnusableError, match="end the process that holds it") as caught:
        SqliteJournal(path)
    assert "backup" not in str(caught.value)
    other.close()


def test_unusable_folder(tmp_path: Path) -> None:
    """A folder that cannot be made is named with what to look at."""
    (tmp_path / "state").write_text("a file")
    with pytest.raises(JournalUnusableError, match="check the folder's owner and permissions"):
        SqliteJournal(tmp_path / "state" / "journal.sqlite")


def test_a_folder_in_its_place(path: Path) -> None:
    """A folder of the journal's name is called one."""
    path.mkdir(parents=True)
    with pytest.raises(JournalUnusableError, match="it is a folder; move it away"):
        SqliteJournal(path)


OPEN_AS_NOBODY = """
import os, sys
from pathlib import Path
from daemon.runtime.journal import JournalUnusableError, SqliteJournal

if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    SqliteJournal(Path(sys.argv[1]))
except JournalUnusableError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal", "."])
async def test_not_ours_to_write(path: Path, tmp_path: Path, name: str) -> None:
    """A file, its log or a folder that we may read and not write is refused at the start, not at the first alert."""
    await killed(path)
    for each in (*path.parent.iterdir(), path.parent):
        each.chmod(0o777)
    for above in list(tmp_path.parents)[:3]:
        above.chmod(above.stat().st_mode | 0o711)
    tmp_path.chmod(0o755)
    (path.parent / name).chmod(0o555)
    if name == ".":
        (path.parent / "journal.sqlite-shm").unlink()
    process = await python(OPEN_AS_NOBODY, path)
    told, errors = await process.communicate()
    (path.parent / name).chmod(0o755)
    assert b"check the folder's owner and permissions" in told, (told, errors)


async def test_made_whole_or_not_at_all(path: Path) -> None:
    """A life that ended while it made the journal leaves nothing that the next one trips over, or takes for its own."""
    path.parent.mkdir()
    (path.parent / "journal.sqlite.new").write_bytes(b"half a database")
    (path.parent / "journal.sqlite.new-journal").write_bytes(b"and its rollback")
    journal = SqliteJournal(path)
    await journal.accept([asked()], NOON)
    await journal.close()
    assert set(files(path.parent)) == {path.name}


async def test_a_file_too_large_to_look_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look through the pages has its time; past it the journal is used, as it was before there was a look."""
    await made(path, facts=2000)
    monkeypatch.setattr(journal_file, "CHECK_SECONDS_MAX", 0.0)
    journal = SqliteJournal(path)
    assert (await journal.load()).facts == 2000
    await journal.close()


# ---------------------------------------------------------------------------------------------------- while it runs


async def test_damaged_while_it_runs(path: Path) -> None:
    """A page that goes bad under us: nothing is acknowledged, the table and the row are named with the remedy."""
    await made(path, facts=200)
    journal = SqliteJournal(path)
    await journal._read("PRAGMA shrink_memory")  # what was read before is not read again
    spoil(path, root_page(path, "intake"))
    with pytest.raises(
        JournalUnavailableError, match=f"cannot write: it is damaged: table intake, .*stop the daemon.*{REMEDY}"
    ):
        await journal.accept([asked()], NOON)
    await journal.close()


async def test_damaged_history_while_it_runs(path: Path) -> None:
    """Reading says it as well."""
    await made(path, facts=200)
    journal = SqliteJournal(path)
    await journal._read("PRAGMA shrink_memory")
    spoil(path, root_page(path, "facts"))
    with pytest.raises(JournalUnavailableError, match=r"cannot be read: it is damaged: table facts, .*stop the daemon"):
        _ = [fact async for fact in journal.history()]
    await journal.close()


GOES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "moved": lambda path: path.rename(path.with_name("aside")),
    "replaced": lambda path: shutil.copy(path, path.with_name("copy")) and path.with_name("copy").replace(path),
}


@pytest.mark.parametrize("how", GOES)
async def test_the_file_goes_while_it_runs(path: Path, how: str) -> None:
    """A file without its name takes every write and is gone with the process: nothing more is acknowledged."""
    journal = SqliteJournal(path)
    await journal.accept([asked(1)], NOON)
    GOES[how](path)
    with pytest.raises(JournalUnavailableError, match="removed or replaced while we run"):
        await journal.accept([asked(2)], NOON)
    with pytest.raises(JournalUnavailableError, match="removed or replaced while we run"):
        await journal.commit([a_fact()], 1, NOON)
    if how == "moved":
        path.with_name("aside").rename(path)
        await asyncio.wait_for(journal.accept([asked(3)], NOON), 10)
    await journal.close()
