"""A disk that loses what was not synced, and the real journal on it.

SQLite works in memory; durable is what SQLite itself would have synced (its setting `synchronous` says so), and a crash goes back
to that. The journal's thread is the only part that is left out: what it would do is done inline, some moments later.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.ports import Journalled, JournalUnavailableError, Loaded, StaleLeaderError
from daemon.runtime.journal import SqliteJournal, _Job
from daemon.runtime.journal_file import _prepare, lay_out

SYNCED_IN_WAL = 2
"""PRAGMA synchronous = FULL: with a write-ahead log nothing below it syncs at each commit."""


@dataclass(slots=True)
class Disk:
    """What outlives a process. `facts` and `rows` mirror what is durable, as values: for the invariants."""

    image: bytes | None = None
    synced: sqlite3.Connection | None = None
    server: sqlite3.Connection | None = None
    token: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    facts: list[Fact] = field(default_factory=list)
    rows: list[Journalled] = field(default_factory=list)
    writes: int = 0
    lost: int = 0
    full: Callable[[], bool] = lambda: False
    latency: Callable[[], float] = lambda: 0.0
    on_write: Callable[[], None] = lambda: None
    on_durable: Callable[[Sequence[Fact], Sequence[Journalled]], None] = lambda facts, rows: None

    def survives(self) -> bytes | None:
        """What the next process finds; transactions that were not synced are gone."""
        if self.synced is not None:
            self.image, self.synced = self.synced.serialize(), None
        return self.image


class SimJournal(SqliteJournal):
    """ports.Journal: the real one, without its thread and its file."""

    def __init__(self, disk: Disk) -> None:  # the thread is what super() would add
        self._path = Path("journal.db")
        self._on_fsync = lambda seconds: None
        self._disk = disk
        self._closed = False
        self._jobs: list[_Job] = []
        self._worked = 0
        self._pending: list[tuple[Sequence[Fact], Sequence[Journalled]]] = []
        self._said: dict[int, tuple[Sequence[Fact], Sequence[Journalled]]] = {}
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        image = disk.survives()
        if image is None:
            lay_out(self._connection)
        else:
            self._connection.deserialize(image)
        _prepare(self._connection, self._path)
        if self._is_synced:
            disk.synced = self._connection

    async def accept(self, events: Sequence[Journalled], at: datetime) -> Sequence[int]:
        self._pending.append(((), tuple(events)))
        return await super().accept(events, at)

    async def commit(self, facts: Sequence[Fact], cursor: int, at: datetime, ahead: Sequence[int] = ()) -> None:
        self._pending.append((tuple(facts), ()))
        await super().commit(facts, cursor, at, ahead)

    async def load(self) -> Loaded:
        return await super().load()

    async def close(self) -> None:
        self._closed = True

    def _is_still_there(self) -> None:
        """There is no file that somebody could remove."""

    async def _do(self, work: Callable[[sqlite3.Connection], Any], *, writes: bool, alone: bool = False) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(
            work=self._counted(self._failing(work)) if writes else work,
            writes=writes,
            alone=alone,
            done=loop.create_future(),
            loop=loop,
        )
        if writes and self._pending:
            self._said[id(job)] = self._pending.pop()
        self._jobs.append(job)
        if len(self._jobs) == 1:
            loop.call_later(self._disk.latency(), self._turn)
        return await job.done

    def _failing(self, work: Callable[[sqlite3.Connection], Any]) -> Callable[[sqlite3.Connection], Any]:
        if not self._disk.full():
            return work

        def full(connection: sqlite3.Connection) -> Any:
            raise sqlite3.OperationalError("database or disk is full")

        return full

    def _counted(self, work: Callable[[sqlite3.Connection], Any]) -> Callable[[sqlite3.Connection], Any]:
        def counted(connection: sqlite3.Connection) -> Any:
            result = work(connection)
            self._worked += 1
            return result

        return counted

    def _turn(self) -> None:
        """What the thread does with all that waits."""
        jobs, self._jobs = self._jobs, []
        writes = [job for job in jobs if job.writes]
        if writes:
            self._transaction(writes)
        for job in jobs:
            if not job.writes:
                self._answer(job)

    def _transaction(self, group: list[_Job]) -> None:
        before, worked = self._connection.total_changes, self._worked
        super()._transaction(group)
        said = [self._said.pop(id(job), ((), ())) for job in group]
        if self._connection.total_changes == before or self._worked - worked < len(group):
            return  # nothing to write, or one could not and took all with it; SQLite counts also what it took back
        self._disk.writes += 1
        facts = [fact for found, _ in said for fact in found]
        rows = [row for _, found in said for row in found]
        if self._is_synced:
            self._disk.synced = self._connection
            self._disk.facts.extend(facts)
            self._disk.rows.extend(rows)
            self._disk.on_durable(facts, rows)
        else:
            self._disk.lost += 1
        self._disk.on_write()

    @property
    def _is_synced(self) -> bool:
        ((level,),) = self._connection.execute("PRAGMA synchronous").fetchall()
        return int(level) >= SYNCED_IN_WAL


class SharedJournal(SimJournal):
    """ports.Journal that several replicas share: a database server that none of them takes down, with the fencing rule."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        if disk.server is None:
            disk.server = self._connection
        self._connection = disk.synced = disk.server
        self._token = 0
        self._fenced: set[int] = set()
        self._commits = False

    async def commit(self, facts: Sequence[Fact], cursor: int, at: datetime, ahead: Sequence[int] = ()) -> None:
        self._commits = True
        await super().commit(facts, cursor, at, ahead)

    async def compact(self, state: State, cursor: int, at: datetime) -> None:
        self._commits = True
        await super().compact(state, cursor, at)

    async def highest_token(self) -> int:
        await asyncio.sleep(self._disk.latency())
        return self._disk.token

    async def take_over(self, token: int) -> None:
        await asyncio.sleep(self._disk.latency())
        if self._disk.token > token:
            raise StaleLeaderError(f"token {self._disk.token} was seen")
        self._token = self._disk.token = token

    async def wait_for_intake(self, after: int) -> None:
        while not await self._read("SELECT 1 FROM intake WHERE seq > ? LIMIT 1", after):
            await self._disk.grown.wait()

    async def _do(self, work: Callable[[sqlite3.Connection], Any], *, writes: bool, alone: bool = False) -> Any:
        fenced, self._commits = self._commits, False

        def held(connection: sqlite3.Connection) -> Any:
            if fenced and self._disk.token > self._token:
                raise _StaleError
            return work(connection)

        try:
            return await super()._do(held, writes=writes, alone=alone)
        except JournalUnavailableError as error:
            if fenced and self._disk.token > self._token:
                raise StaleLeaderError(str(error)) from None
            raise

    def _transaction(self, group: list[_Job]) -> None:
        """Each by itself: what is refused to one must not be refused to another."""
        for job in group:
            super()._transaction([job])
        grown, self._disk.grown = self._disk.grown, asyncio.Event()
        grown.set()


class _StaleError(Exception):
    """Another leader has taken over."""
