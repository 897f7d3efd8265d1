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
from daemon.ports import Journalled, JournalUnavailableError, Loaded
from daemon.runtime import codec, journal_damage
from daemon.runtime.journal_file import RESTORE, JournalUnusableError, open_file
from daemon.runtime.journal_rows import DamagedRowError, check, checksum

__all__ = ["JournalUnusableError", "SqliteJournal", "incident_of"]

GROUP_MAX = 256
"""Writes per transaction: bounds how long the first of them waits for the last."""

INTAKE_KEPT = 1000
"""Consumed events that stay in intake for a look after the fact. Repeated webhooks lead to no fact, so a limit on facts
alone would let them fill the disk."""

FOLD_ROWS = 5000
"""Facts that are read and folded at once on load: a few MB."""


_INSERT = "INSERT INTO intake (at, kind, body, crc) VALUES "


@dataclass(slots=True, kw_only=True)
class _Job:
    """One unit of work for the thread; all writes of a group share a transaction, reads need none.

    `alone`: it is one statement, which is a transaction by itself where no other write goes with it.
    """

    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    alone: bool
    done: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class SqliteJournal:
    """ports.Journal on one file. `on_fsync` is told each transaction's seconds (a metric)."""

    def __init__(self, path: Path, *, on_fsync: Callable[[float], None] = lambda seconds: None) -> None:
        self._path = path
        self._on_fsync = on_fsync
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection = open_file(path)
        self._file = _identity(path)
        self._damage: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    async def accept(self, events: Sequence[Journalled], at: datetime) -> Sequence[int]:
        """Append to intake; the sequence numbers. Raises JournalUnavailableError."""
        stamp = at.timestamp()
        bind = [value for event in events for value in _with_checksum(stamp, event.kind, codec.dump_event(event))]
        # One statement: each one gives up Python's lock and has to wait for it again, on a busy core for milliseconds.
        insert = _INSERT + ", ".join(["(?, ?, ?, ?)"] * len(events))

        def work(connection: sqlite3.Connection) -> Sequence[int]:
            last = connection.execute(insert, bind).lastrowid or 0  # AUTOINCREMENT: one statement counts without a gap
            return range(last - len(events) + 1, last + 1)

        return await self._do(work, writes=True, alone=True)  # type: ignore[no-any-return]

    async def unread(self, after: int, limit: int) -> Sequence[tuple[int, Journalled]]:
        """Accepted events with a sequence number above `after`, in order. Raises JournalUnusableError, naming the row."""
        found: list[tuple[int, Journalled]] = []
        query = "SELECT seq, crc, at, kind, body FROM intake WHERE seq > ? ORDER BY seq LIMIT ?"
        for seq, crc, *row in await self._read(query, after, limit):
            with self._readable("intake", seq):
                check(crc, *row)
                found.append((int(seq), codec.load_event(row[-1])))
        return found

    async def commit(self, facts: Sequence[Fact], cursor: int, at: datetime, ahead: Sequence[int] = ()) -> None:
        """Append facts, move the cursor, drop what was consumed `ahead` of it. Raises JournalUnavailableError."""
        stamp = at.timestamp()
        rows = [_with_checksum(stamp, fact.kind, incident_of(fact), codec.dump_fact(fact)) for fact in facts]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT INTO facts (at, kind, incident, body, crc) VALUES (?, ?, ?, ?, ?)", rows)
            _move(connection, cursor, stamp)
            connection.execute("DELETE FROM intake WHERE seq <= ?", (cursor - INTAKE_KEPT,))
            connection.executemany("DELETE FROM intake WHERE seq = ?", [(seq,) for seq in ahead])

        await self._do(work, writes=True)

    async def highest_token(self) -> int:
        """None: only one daemon can hold the folder, and its lock is the fence."""
        return 0

    async def take_over(self, token: int) -> None:
        """Nothing to do: no other daemon can write to this file."""

    async def wait_for_intake(self, after: int) -> None:
        """Never return: nobody else writes."""
        await asyncio.Event().wait()

    async def load(self) -> Loaded:
        """Fold the newest snapshot and the facts after it. Raises JournalUnavailableError, JournalUnusableError."""
        codec.prepare()
        state, seq, folded = State(), 0, 0
        for crc, number, body in await self._read("SELECT crc, facts_seq, body FROM snapshot"):
            with self._readable("snapshot", number):
                check(crc, number, body)
                state, seq = codec.load_state(body), int(number)
        query = "SELECT seq, crc, at, kind, incident, body FROM facts WHERE seq > ? ORDER BY seq LIMIT ?"
        while rows := await self._read(query, seq, FOLD_ROWS):
            for number, crc, *row in rows:
                with self._readable("facts", number):
                    check(crc, *row)
                    state, seq = evolve(state, codec.load_fact(row[-1])), int(number)
            folded += len(rows)
        ((crc, cursor, at),) = await self._read("SELECT crc, intake_seq, at FROM cursor")
        with self._readable("cursor", 1):
            check(crc, cursor, at)
        written_at = datetime.fromtimestamp(at, UTC) if at else None
        return Loaded(state=state, cursor=int(cursor), written_at=written_at, facts=folded)

    async def history(self, *, incident: str | None = None, limit: int = 1000) -> AsyncIterator[tuple[datetime, Fact]]:
        """Facts, oldest first, at most the newest `limit`; of one incident where given. Raises JournalUnavailableError."""
        select = "SELECT seq, crc, at, kind, incident, body FROM facts"
        if incident is None:
            rows = await self._read(f"{select} ORDER BY seq DESC LIMIT ?", limit)
        else:
            rows = await self._read(f"{select} WHERE incident = ? ORDER BY seq DESC LIMIT ?", incident, limit)
        for seq, crc, *row in reversed(rows):
            try:
                check(crc, *row)
                fact = codec.load_fact(row[-1])
            except (codec.UnreadableRecordError, DamagedRowError) as error:
                raise JournalUnavailableError(
                    f"journal {self._path}, facts row {seq} cannot be read: {error}"
                ) from None
            yield datetime.fromtimestamp(row[0], UTC), fact

    async def compact(self, state: State, cursor: int, at: datetime) -> None:
        """Store a snapshot, drop consumed intake, and drop facts that no incident in the state needs for `explain`."""
        body = codec.dump_state(state)
        kept = set(state.incidents)

        def work(connection: sqlite3.Connection) -> None:
            ((last,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM facts").fetchall()
            values = _with_checksum(last, body)
            connection.execute("INSERT OR REPLACE INTO snapshot (id, facts_seq, body, crc) VALUES (1, ?, ?, ?)", values)
            _move(connection, cursor, at.timestamp())
            connection.execute("DELETE FROM intake WHERE seq <= ?", (cursor,))
            named = connection.execute("SELECT DISTINCT incident FROM facts WHERE incident IS NOT NULL").fetchall()
            gone = [(name,) for (name,) in named if name not in kept]
            connection.executemany("DELETE FROM facts WHERE incident = ?", gone)
            connection.execute("DELETE FROM facts WHERE incident IS NULL AND seq <= ?", (last,))

        await self._do(work, writes=True)

    async def close(self) -> None:
        """Finish what is being written and close the file; what is asked of it afterwards is refused."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._connection.close()

    @contextlib.contextmanager
    def _readable(self, table: str, seq: int) -> Any:
        """A row that cannot be read stops the start by name: to skip it would be to hold something else true."""
        try:
            yield
        except codec.UnreadableRecordError as error:
            remedy = f"run the release that wrote it, or {RESTORE}"
            raise JournalUnusableError(
                f"journal {self._path}, {table} row {seq} cannot be read: {error}; {remedy}"
            ) from None
        except DamagedRowError as error:
            problem = f"journal {self._path}, {table} row {seq} cannot be read: {error}"
            raise JournalUnusableError(f"{problem}; {RESTORE}") from None

    async def _read(self, query: str, *bind: Any) -> list[Any]:
        return await self._do(lambda connection: connection.execute(query, bind).fetchall(), writes=False)  # type: ignore[no-any-return]

    async def _do(self, work: Callable[[sqlite3.Connection], Any], *, writes: bool, alone: bool = False) -> Any:
        if self._closed:
            raise JournalUnavailableError(f"journal {self._path} is closed")
        loop = asyncio.get_running_loop()
        job = _Job(work=work, writes=writes, alone=alone, done=loop.create_future(), loop=loop)
        self._queue.put(job)
        return await job.done

    # ------------------------------------------------------------------------------- what follows runs in the thread

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            group, ended = [first], False
            while len(group) < GROUP_MAX and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    ended = True
                    break
                group.append(following)
            if writes := [job for job in group if job.writes]:
                self._transaction(writes)
            for job in group:
                if not job.writes:
                    self._answer(job)
            if ended:
                return

    def _transaction(self, group: list[_Job]) -> None:
        """All or nothing: a failed commit fails every write of the group, none of them was acknowledged."""
        began = time.perf_counter()
        try:
            self._is_still_there()
            if len(group) == 1 and group[0].alone:
                results = [group[0].work(self._connection)]
            else:
                self._connection.execute("BEGIN IMMEDIATE")
                results = [job.work(self._connection) for job in group]
                self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may believe that it is on disk
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            for job in group:
                _tell(job, error=JournalUnavailableError(f"journal {self._path} cannot write: {self._told(error)}"))
            return
        _in_loop(group[0], self._on_fsync, time.perf_counter() - began)
        for job, result in zip(group, results, strict=True):
            _tell(job, result)

    def _answer(self, job: _Job) -> None:
        """A read: needs no transaction, so it works while the disk is full or another process writes."""
        try:
            _tell(job, job.work(self._connection))
        except Exception as error:  # noqa: BLE001 - the thread must live on, and somebody waits for an answer
            _tell(job, error=JournalUnavailableError(f"journal {self._path} cannot be read: {self._told(error)}"))

    def _is_still_there(self) -> None:
        """What is written into a file that was removed or replaced is gone with us, and looks well until then."""
        if _identity(self._path) != self._file:
            raise FileNotFoundError("its file was removed or replaced while we run; put it back, or start again")

    def _told(self, error: Exception) -> str:
        """What to say of it; damage is looked for once, because every retry would meet it again."""
        if not journal_damage.is_damage(error):
            return str(error)
        self._damage = self._damage or journal_damage.described(self._connection, error)
        return f"{self._damage}; stop the daemon and {RESTORE}"


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has this name now."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _with_checksum(*columns: float | str | bytes | None) -> tuple[float | str | bytes | None, ...]:
    return *columns, checksum(*columns)


def _move(connection: sqlite3.Connection, cursor: int, at: float) -> None:
    """The cursor never goes back."""
    ((before,),) = connection.execute("SELECT intake_seq FROM cursor").fetchall()
    values = _with_checksum(max(before, cursor), at)
    connection.execute("UPDATE cursor SET intake_seq = ?, at = ?, crc = ?", values)


def _tell(job: _Job, result: Any = None, *, error: Exception | None = None) -> None:
    _in_loop(job, _set, job.done, result, error)


def _in_loop(job: _Job, call: Callable[..., None], *values: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: whoever asked is gone with it
        job.loop.call_soon_threadsafe(call, *values)


def _set(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if done.done():
        return  # cancelled meanwhile
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)


def incident_of(fact: Fact) -> str | None:
    """The incident a fact is about, for `explain`'s index."""
    incident = getattr(fact, "incident", None)
    action = getattr(fact, "action", None)
    found = incident if incident is not None else getattr(action, "incident", None)
    if found is None and (action_id := getattr(fact, "action_id", None)) is not None:
        found = action_id.partition("/")[0] if action_id.startswith("inc-") else None
    return found if isinstance(found, str | None) else found.id
