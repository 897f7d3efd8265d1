"""The journal: intake and facts in one SQLite file (WAL, synchronous=FULL), written by one thread with group commit.

SQLite because it is atomic, fsyncs right by default, and can be read with `sqlite3` at 3 a.m. (DESIGN). Everything that
waits while a transaction is being synced goes into the next one: under load one fsync serves many webhooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon.core.evolution import evolve
from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.ports import Journalled, JournalUnavailableError
from daemon.runtime import codec

SCHEMA_VERSION = 1

GROUP_MAX = 256
"""Writes per transaction: bounds how long the first of them waits for the last."""

SQLITE_WAIT_SECONDS = 2.0
"""How long a writer waits for somebody who reads the file with `sqlite3`; Alertmanager's patience is far longer."""

_SCHEMA = """
CREATE TABLE intake (seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE facts (seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, incident TEXT,
                    body BLOB NOT NULL);
CREATE INDEX facts_incident ON facts (incident) WHERE incident IS NOT NULL;
CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), facts_seq INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 1), intake_seq INTEGER NOT NULL, at REAL NOT NULL);
INSERT INTO cursor VALUES (1, 0, 0);
"""


class JournalUnusableError(Exception):
    """The file cannot be used at all (damaged, foreign, newer schema); says the remedy. Never silently reset."""


@dataclass(slots=True)
class _Write:
    """One unit of work for the writer thread; all of a group share a transaction."""

    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class SqliteJournal:
    """ports.Journal on one file. `on_fsync` is told each transaction's seconds (a metric)."""

    def __init__(self, path: Path, *, on_fsync: Callable[[float], None] = lambda seconds: None) -> None:
        self._path = path
        self._on_fsync = on_fsync
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._connection = _open(path)
        self._thread = threading.Thread(target=self._write_loop, name="journal", daemon=True)
        self._thread.start()

    async def accept(self, events: Sequence[Journalled], at: datetime) -> Sequence[int]:
        """Append to intake; the sequence numbers. Raises JournalUnavailableError."""
        rows = [(at.timestamp(), event.kind, codec.dump_event(event)) for event in events]

        def work(connection: sqlite3.Connection) -> list[int]:
            insert = "INSERT INTO intake (at, kind, body) VALUES (?, ?, ?)"
            return [int(connection.execute(insert, row).lastrowid or 0) for row in rows]

        return await self._write(work)  # type: ignore[no-any-return]

    async def unread(self, after: int, limit: int) -> Sequence[tuple[int, Journalled]]:
        """Accepted events with a sequence number above `after`, in order."""
        rows = await self._read("SELECT seq, body FROM intake WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        return [(int(seq), codec.load_event(body)) for seq, body in rows]

    async def commit(self, facts: Sequence[Fact], cursor: int, at: datetime) -> None:
        """Append facts and move the intake cursor in one transaction. Raises JournalUnavailableError."""
        rows = [(at.timestamp(), fact.kind, incident_of(fact), codec.dump_fact(fact)) for fact in facts]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT INTO facts (at, kind, incident, body) VALUES (?, ?, ?, ?)", rows)
            connection.execute("UPDATE cursor SET intake_seq = max(intake_seq, ?), at = ?", (cursor, at.timestamp()))

        await self._write(work)

    async def load(self) -> tuple[State, int, datetime | None]:
        """Fold of the newest snapshot and the facts after it; the cursor; when the journal was last written."""
        snapshot = await self._read("SELECT facts_seq, body FROM snapshot", ())
        state = codec.load_state(snapshot[0][1]) if snapshot else State()
        seq = int(snapshot[0][0]) if snapshot else 0
        while rows := await self._read("SELECT seq, body FROM facts WHERE seq > ? ORDER BY seq LIMIT 5000", (seq,)):
            for number, body in rows:
                state, seq = evolve(state, codec.load_fact(body)), int(number)
            await asyncio.sleep(0)
        ((cursor, at),) = await self._read("SELECT intake_seq, at FROM cursor", ())
        return state, int(cursor), datetime.fromtimestamp(at, UTC) if at else None

    async def history(self, *, incident: str | None = None, limit: int = 1000) -> AsyncIterator[tuple[datetime, Fact]]:
        """Facts, oldest first, at most the newest `limit`; of one incident where given."""
        where, bind = ("WHERE incident = ?", (incident, limit)) if incident else ("", (limit,))
        query = f"SELECT at, body FROM (SELECT seq, at, body FROM facts {where} ORDER BY seq DESC LIMIT ?) ORDER BY seq"  # noqa: S608 - fixed text, values are bound
        for at, body in await self._read(query, bind):
            yield datetime.fromtimestamp(at, UTC), codec.load_fact(body)

    async def compact(self, state: State, cursor: int, at: datetime) -> None:
        """Store a snapshot, drop consumed intake, and drop facts that no incident in the state needs for `explain`."""
        body = codec.dump_state(state)
        kept = set(state.incidents)

        def work(connection: sqlite3.Connection) -> None:
            ((last,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM facts").fetchall()
            connection.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?)", (last, body))
            connection.execute("UPDATE cursor SET at = ?", (at.timestamp(),))
            connection.execute("DELETE FROM intake WHERE seq <= ?", (cursor,))
            named = connection.execute("SELECT DISTINCT incident FROM facts WHERE incident IS NOT NULL").fetchall()
            gone = [(name,) for (name,) in named if name not in kept]
            connection.executemany("DELETE FROM facts WHERE incident = ?", gone)
            connection.execute("DELETE FROM facts WHERE incident IS NULL AND seq <= ?", (last,))

        await self._write(work)

    async def close(self) -> None:
        """Finish what is being written and close the file."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    async def _write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        loop = asyncio.get_running_loop()
        write = _Write(work=work, done=loop.create_future(), loop=loop)
        self._queue.put(write)
        return await write.done

    async def _read(self, query: str, bind: tuple[Any, ...]) -> list[Any]:
        return await self._write(lambda connection: connection.execute(query, bind).fetchall())  # type: ignore[no-any-return]

    def _write_loop(self) -> None:
        while (first := self._queue.get()) is not None:
            group, ended = [first], False
            while len(group) < GROUP_MAX and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    ended = True
                    break
                group.append(following)
            self._transaction(group)
            if ended:
                return

    def _transaction(self, group: list[_Write]) -> None:
        """All or nothing: a failed commit fails every write of the group, none of them was acknowledged."""
        began = time.perf_counter()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [write.work(self._connection) for write in group]
            self._connection.execute("COMMIT")
        except Exception as error:  # whatever it was, nobody may believe that it is on disk
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            unavailable = JournalUnavailableError(f"journal {self._path} cannot write: {error}")
            for write in group:
                write.loop.call_soon_threadsafe(_fail, write.done, unavailable)
            return
        self._on_fsync(time.perf_counter() - began)
        for write, result in zip(group, results, strict=True):
            write.loop.call_soon_threadsafe(_succeed, write.done, result)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _succeed(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def incident_of(fact: Fact) -> str | None:
    """The incident a fact is about, for `explain`'s index."""
    incident = getattr(fact, "incident", None)
    action = getattr(fact, "action", None)
    found = incident if incident is not None else getattr(action, "incident", None)
    if found is None and (action_id := getattr(fact, "action_id", None)) is not None:
        found = action_id.partition("/")[0] if action_id.startswith("inc-") else None
    return found if isinstance(found, str | None) else found.id


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=SQLITE_WAIT_SECONDS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        _migrate(connection, path, version)
    except sqlite3.DatabaseError as error:
        raise JournalUnusableError(
            f"journal {path} cannot be opened: {error}; restore it from a backup, or move it away to start without history"
        ) from None
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, version: int) -> None:
    if version == SCHEMA_VERSION:
        ((verdict,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        return
    if version > SCHEMA_VERSION:
        raise JournalUnusableError(
            f"journal {path} has schema {version}, this release knows {SCHEMA_VERSION}; run the newer release again"
        )
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
