"""The write-ahead log of a daemon that was killed: what was acknowledged is in it, torn writes are none of that, damage is."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from daemon.runtime import journal_damage
from daemon.runtime.journal import JournalUnusableError, SqliteJournal
from tests.core.builders import NOON
from tests.runtime.test_journal_damage import PAGE, REMEDY, files, killed
from tests.runtime.test_journal_sqlite import asked, scopes_in

pytestmark = pytest.mark.real


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


FRAME = 24 + PAGE


def turn(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


async def test_killed_is_not_damaged(path: Path) -> None:
    """What a killed daemon leaves is whole."""
    await killed(path)
    journal = SqliteJournal(path)
    assert await scopes_in(journal) == [f"space-{number}" for number in range(6)]
    await journal.close()


@pytest.mark.parametrize(
    ("offset", "said"),
    [
        (0, "its header"),
        (17, "its header"),
        (32 + 24 + 50, "frame 1"),
        (32 + FRAME + 5, "frame 2"),
        (32 + 2 * FRAME + 17, "frame 3"),
    ],
    ids=["magic", "salt", "page", "commit-mark", "checksum"],
)
async def test_damaged_log(path: Path, offset: int, said: str) -> None:
    """SQLite would drop everything from the damage on, acknowledged alerts too, without a word. We name it and refuse."""
    await killed(path)
    log = path.with_name("journal.sqlite-wal")
    turn(log, offset)
    before = files(path.parent)
    with pytest.raises(JournalUnusableError, match=f"journal.sqlite-wal is damaged: {said} .*{REMEDY}"):
        SqliteJournal(path)
    assert files(path.parent) == before


@pytest.mark.parametrize("lost", [1, 100, FRAME])
async def test_torn_last_write(path: Path, lost: int) -> None:
    """A power cut tears the write that nobody was told of: no damage, all before it is there."""
    await killed(path)
    log = path.with_name("journal.sqlite-wal")
    os.truncate(log, log.stat().st_size - lost)
    journal = SqliteJournal(path)
    assert await scopes_in(journal) == [f"space-{number}" for number in range(5)]
    await journal.close()


async def test_what_failed_commits_leave_behind(path: Path) -> None:
    """Frames of attempts that failed lie behind the last commit: no damage, however many there were."""
    await killed(path)
    log = path.with_name("journal.sqlite-wal")
    whole = log.read_bytes()
    frames = [whole[32 + index * FRAME :][:FRAME] for index in range((len(whole) - 32) // FRAME)]
    # Longer attempts first: each was written over by the next from the same place on, and never synced.
    log.write_bytes(whole + b"".join(_chained(frames, 3)[1:]) + b"".join(_chained(frames, 5)[3:]))
    journal = SqliteJournal(path)
    assert len(await scopes_in(journal)) == 6
    await journal.close()


def _chained(frames: list[bytes], count: int) -> list[bytes]:
    """Frames of one more transaction behind these, as SQLite would write them."""
    before, made = struct.unpack(">2I", frames[-1][16:24]), []
    for index in range(count):
        page = bytes([count]) * PAGE
        head = struct.pack(">2I", 2, 9 if index == count - 1 else 0)
        before = journal_damage._sums(page, journal_damage._sums(head, before, "<"), "<")
        made.append(head + frames[-1][8:16] + struct.pack(">2I", *before) + page)
    return made


async def test_a_log_that_was_begun_anew(path: Path) -> None:
    """After SQLite began its log anew, frames of the time before lie behind the new ones: no damage."""
    journal = SqliteJournal(path)
    for number in range(30):
        await journal.accept([asked(number)], NOON)
    await journal._read("PRAGMA wal_checkpoint(RESTART)")
    for number in range(5):
        await journal.accept([asked(number)], NOON)
    assert journal_damage.lost_commits(path) is None
    assert path.with_name("journal.sqlite-wal").stat().st_size > 32 + 20 * FRAME
    await journal.close()
