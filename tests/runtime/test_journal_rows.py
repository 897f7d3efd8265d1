"""The rows of a journal: what is not what was written, or cannot be read, is named with table and row, and not believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.ports import JournalUnavailableError
from daemon.runtime import journal_damage
from daemon.runtime.journal import JournalUnusableError, SqliteJournal
from daemon.runtime.journal_rows import checksum
from tests.core.builders import NOON
from tests.runtime.test_journal_damage import REMEDY, by_hand, made
from tests.runtime.test_journal_sqlite import a_fact, scopes_in

# ruff: noqa: ASYNC240 - a test may wait for its own small files

pytestmark = pytest.mark.real


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


UNREADABLE = {
    "other kind": (
        'UPDATE facts SET crc = NULL, body = \'{"kind": "teleported"}\' WHERE seq = 2',
        "facts row 2 .*teleported",
    ),
    "cut": ("UPDATE facts SET crc = NULL, body = substr(body, 1, 20) WHERE seq = 1", "facts row 1 "),
    "snapshot": ("INSERT INTO snapshot VALUES (1, 2, '[]', NULL)", "snapshot row 2 "),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_unreadable_row(path: Path, case: str) -> None:
    """A row that this release cannot read stops the start, named with its number; to skip it would change the state."""
    statement, named = UNREADABLE[case]
    await made(path, statement)
    journal = SqliteJournal(path)
    with pytest.raises(JournalUnusableError, match=named + ".*run the release that wrote it, or restore it"):
        await journal.load()
    await journal.close()


TURNED = {
    "a fact's text": ("UPDATE facts SET body = replace(body, 'ann', 'amn') WHERE seq = 2", "facts row 2"),
    "a fact's moment": ("UPDATE facts SET at = at + 64 WHERE seq = 1", "facts row 1"),
    "a fact's incident": ("UPDATE facts SET incident = 'inc-x' WHERE seq = 1", "facts row 1"),
    "the cursor": ("UPDATE cursor SET intake_seq = intake_seq + 1", "cursor row 1"),
    "the cursor's moment": ("UPDATE cursor SET at = at - 4096", "cursor row 1"),
    "the snapshot": ("UPDATE snapshot SET body = replace(body, 'ann', 'amn')", "snapshot row 2"),
    "the snapshot's place": ("UPDATE snapshot SET facts_seq = facts_seq + 1", "snapshot row 3"),
}


@pytest.mark.parametrize("case", TURNED)
async def test_a_row_that_says_something_else(path: Path, case: str) -> None:
    """What can be read, but is not what was written, is not believed: named with table and row, refused with the remedy."""
    statement, named = TURNED[case]
    await made(path)
    journal = SqliteJournal(path)
    if "snapshot" in case:
        await journal.compact((await journal.load()).state, 0, NOON)
    await journal.close()
    by_hand(path, statement)
    journal = SqliteJournal(path)
    with pytest.raises(
        JournalUnusableError, match=rf"journal\.sqlite, {named} cannot be read: it is damaged.*{REMEDY}"
    ):
        await journal.load()
    await journal.close()


async def test_one_bit_on_the_disk(path: Path) -> None:
    """One bit that turns inside a row, which SQLite's own check cannot see, is found."""
    await made(path, facts=50)
    data = path.read_bytes()
    at = data.rindex(b'"actor":"ann"') + 10
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    journal = SqliteJournal(path)
    with pytest.raises(JournalUnusableError, match=r"facts row \d+ cannot be read: it is damaged"):
        await journal.load()
    await journal.close()


async def test_unreadable_event_and_history(path: Path) -> None:
    """An accepted event that is damaged is named, and so is a fact that `explain` asks for."""
    await made(
        path, "UPDATE intake SET body = replace(body, 'ann', 'amn')", "UPDATE facts SET body = 'x' WHERE seq = 2"
    )
    journal = SqliteJournal(path)
    with pytest.raises(JournalUnusableError, match=r"intake row 1 .*damaged"):
        await journal.unread(0, 10)
    with pytest.raises(JournalUnavailableError, match=r"facts row 2 .*damaged"):
        _ = [fact async for fact in journal.history()]
    await journal.close()


async def test_rows_from_before_there_were_checksums(path: Path) -> None:
    """A journal of schema 1 is taken over as it is; what is written from then on carries a checksum."""
    await made(
        path, *(f"ALTER TABLE {table} DROP COLUMN crc" for table in journal_damage.TABLES), "PRAGMA user_version = 1"
    )
    journal = SqliteJournal(path)
    assert (await journal.load()).facts == 2
    assert await scopes_in(journal) == ["space-1"]
    await journal.commit([a_fact()], 0, NOON)
    ((at, kind, incident, body, crc),) = await journal._read(
        "SELECT at, kind, incident, body, crc FROM facts WHERE seq = 3"
    )
    assert crc == checksum(at, kind, incident, body)
    await journal.close()
    await (again := SqliteJournal(path)).close()
    assert again is not journal
