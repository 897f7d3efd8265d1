"""A journal as rows: how they are read from one at one moment, and put into an empty one, all or nothing.

What `lastgood journal backup`, `restore` and `move` are made of. A backup is an SQLite file whatever the journal is made of,
so that it can be read, checked and restored anywhere.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from daemon.runtime.journal_file import SCHEMA_VERSION, JournalUnusableError, open_file
from daemon.runtime.journal_rows import DamagedRowError, check, checksum

ROWS = 5000
"""Rows that are read and written at once: a few MB."""

Row = tuple[int, datetime, str, str | None, bytes]
"""Number, moment, kind, incident (facts only), content."""


class NotEmptyError(Exception):
    """The journal to be filled holds something; nothing of it was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What a journal holds beside its rows. `intake_last` and `facts_last` are the newest numbers ever given: those of
    dropped rows are not given again.
    """

    cursor: int
    written_at: datetime | None
    intake_last: int
    facts_last: int
    snapshot: tuple[int, bytes] | None


class Reading(Protocol):
    """A journal as it is at one moment."""

    heading: Heading

    async def intake(self, after: int) -> Sequence[Row]:
        """The next rows above this number, in order; none at the end."""
        ...

    async def facts(self, after: int) -> Sequence[Row]:
        """The same of facts."""
        ...


class Filling(Protocol):
    """A journal that is being filled: nothing of it stays unless all of it was put."""

    async def put_intake(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        ...

    async def put_facts(self, rows: Sequence[Row]) -> None:
        """The same of facts."""
        ...

    async def put_heading(self, heading: Heading) -> None:
        """To be called last."""
        ...


class Store(Protocol):
    """Where a journal is."""

    @property
    def where(self) -> str:
        """For people, without secrets."""
        ...

    def reading(self) -> AbstractAsyncContextManager[Reading]:
        """Raises JournalUnusableError, JournalUnavailableError."""
        ...

    def filling(self) -> AbstractAsyncContextManager[Filling]:
        """Raises NotEmptyError, JournalUnusableError, JournalUnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """A journal's file. Its calls block: this is for commands, not for the daemon."""

    path: Path

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[_SqliteReading]:
        """The file as it is now, also while a daemon writes to it. Raises JournalUnusableError."""
        with _said(self.path), contextlib.closing(existing(self.path)) as connection:
            connection.execute("BEGIN")
            yield _SqliteReading(connection, self.path)

    @contextlib.asynccontextmanager
    async def filling(self) -> AsyncIterator[_SqliteFilling]:
        """A new file, or one that is empty. Raises NotEmptyError, JournalUnusableError."""
        with _said(self.path), contextlib.closing(open_file(self.path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            held = "SELECT intake_seq FROM cursor WHERE intake_seq > 0 UNION ALL SELECT seq FROM sqlite_sequence"
            if connection.execute(held).fetchone() or connection.execute("SELECT id FROM snapshot").fetchone():
                raise NotEmptyError
            yield _SqliteFilling(connection)
            connection.execute("COMMIT")


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise JournalUnusableError(f"journal {path}: {error}; check the file and the free space") from None


def existing(path: Path) -> sqlite3.Connection:
    """A connection to a journal's file that is there, checked. Raises JournalUnusableError with the remedy."""
    with _said(path):
        if not path.is_file():
            raise JournalUnusableError(f"journal {path}: there is no such file; name one that `journal backup` wrote")
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None)
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if version > SCHEMA_VERSION:
        said = f"it has schema {version}, this release knows {SCHEMA_VERSION}"
        raise JournalUnusableError(f"journal {path}: {said}; use the newer release")
    if version == 0:
        raise JournalUnusableError(f"journal {path}: it is no journal; name one that `journal backup` wrote")
    ((verdict,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        raise JournalUnusableError(f"journal {path}: it is damaged: {verdict}; use another backup")


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


class _SqliteReading:
    """`crc` is there from schema 2 on: a backup may be older."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        self._crc = "crc" if version >= 2 else "NULL"
        ((crc, cursor, at),) = self._all("intake_seq, at FROM cursor")
        self._whole("cursor", 1, crc, cursor, at)
        snapshot = next(iter(self._all("facts_seq, body FROM snapshot")), None)
        if snapshot is not None:
            self._whole("snapshot", snapshot[1], *snapshot)
        given = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        self.heading = Heading(
            cursor=cursor,
            written_at=_moment(at) if at else None,
            intake_last=max(given.get("intake", 0), cursor),
            facts_last=given.get("facts", 0),
            snapshot=None if snapshot is None else (snapshot[1], _bytes(snapshot[2])),
        )

    async def intake(self, after: int) -> Sequence[Row]:
        return [(*row[:3], None, row[3]) for row in self._rows("intake", "at, kind, body", after)]

    async def facts(self, after: int) -> Sequence[Row]:
        return [(*row[:4], row[4]) for row in self._rows("facts", "at, kind, incident, body", after)]

    def _rows(self, table: str, columns: str, after: int) -> Iterator[Any]:
        for crc, seq, *row in self._all(f"seq, {columns} FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?", after, ROWS):
            self._whole(table, seq, crc, *row)
            at, *between, body = row
            yield seq, _moment(at), *between, _bytes(body)

    def _all(self, what: str, *bind: Any) -> Sequence[Any]:
        """Rows with their checksum first."""
        return self._connection.execute(f"SELECT {self._crc}, {what}", bind).fetchall()

    def _whole(self, table: str, seq: int, crc: int | None, *row: Any) -> None:
        try:
            check(crc, *row)
        except DamagedRowError as error:
            said = f"{table} row {seq} cannot be read: {error}"
            raise JournalUnusableError(f"journal {self._path}, {said}; use another backup") from None


def _bytes(body: bytes | str) -> bytes:
    """Text where somebody edited the row."""
    return body.encode() if isinstance(body, str) else body


class _SqliteFilling:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def put_intake(self, rows: Sequence[Row]) -> None:
        values = [_with_checksum(seq, at.timestamp(), kind, body) for seq, at, kind, _, body in rows]
        self._connection.executemany("INSERT INTO intake (seq, at, kind, body, crc) VALUES (?, ?, ?, ?, ?)", values)

    async def put_facts(self, rows: Sequence[Row]) -> None:
        values = [_with_checksum(seq, at.timestamp(), *others) for seq, at, *others in rows]
        insert = "INSERT INTO facts (seq, at, kind, incident, body, crc) VALUES (?, ?, ?, ?, ?, ?)"
        self._connection.executemany(insert, values)

    async def put_heading(self, heading: Heading) -> None:
        at = heading.written_at.timestamp() if heading.written_at else 0.0
        found = (heading.cursor, at, checksum(heading.cursor, at))
        self._connection.execute("UPDATE cursor SET intake_seq = ?, at = ?, crc = ?", found)
        if heading.snapshot is not None:
            values = (*heading.snapshot, checksum(*heading.snapshot))
            self._connection.execute("INSERT INTO snapshot (id, facts_seq, body, crc) VALUES (1, ?, ?, ?)", values)
        self._connection.execute("DELETE FROM sqlite_sequence")
        given: list[tuple[str, Any]] = [("intake", heading.intake_last), ("facts", heading.facts_last)]
        self._connection.executemany(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", [each for each in given if each[1]]
        )


def _with_checksum(seq: int, *columns: Any) -> tuple[Any, ...]:
    """A row with its checksum at the end; its number is not in it, as in every journal."""
    return (seq, *columns, checksum(*columns))
