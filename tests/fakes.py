"""Stand-ins for ports: a journal in memory that can refuse, and die at a chosen write; a clock that follows the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from daemon.core.evolution import evolve
from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.ports import Journalled, JournalUnavailableError, Loaded, StaleLeaderError
from daemon.runtime import codec
from daemon.runtime.journal import incident_of

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
"""The moment at which virtual time begins."""


class LoopClock:
    """ports.Clock on the loop's own, virtual time; it stands at `start` when it is first asked.

    (Fixtures run before a test's virtual time begins: nobody may ask there.)
    """

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._base: float | None = None

    def now(self) -> datetime:
        time = asyncio.get_running_loop().time()
        self._base = time if self._base is None else self._base
        return self._start + timedelta(seconds=time - self._base)


@dataclass(kw_only=True)
class Disk:
    """What outlives a process: rows as they were written, and how many writes there were."""

    intake: dict[int, bytes] = field(default_factory=dict)
    facts: dict[int, tuple[datetime, str | None, bytes]] = field(default_factory=dict)
    snapshot: tuple[int, bytes] | None = None
    cursor: int = 0
    written_at: datetime | None = None
    intake_seq: int = 0
    facts_seq: int = 0
    token: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    writes: list[str] = field(default_factory=list)


class MemoryJournal:
    """ports.Journal in memory; several may use one disk, and the one with the highest token commits.

    `refuses` makes every write fail with that reason.

    With `dies_after` the write of that number (counted from 1 over the disk's life) is the last: it is durable, but
    nobody is told, now or ever; `dead` says that it happened.
    """

    def __init__(self, disk: Disk | None = None, *, dies_after: int | None = None) -> None:
        self.disk = disk or Disk()
        self.refuses: str | None = None
        self.slow: float = 0.0
        self.dead = asyncio.Event()
        self._dies_after = dies_after
        self._turn = asyncio.Lock()
        self._closed = False
        self._token = 0

    async def accept(self, events: Sequence[Journalled], at: datetime) -> Sequence[int]:
        bodies = [codec.dump_event(event) for event in events]
        async with self._turn:
            await self._may_write()
            for body in bodies:
                self.disk.intake_seq += 1
                self.disk.intake[self.disk.intake_seq] = body
            last = self.disk.intake_seq
            self.disk.grown.set()
            self.disk.grown = asyncio.Event()
            await self._written("accept")
        return list(range(last - len(bodies) + 1, last + 1))

    async def unread(self, after: int, limit: int) -> Sequence[tuple[int, Journalled]]:
        rows = [(seq, body) for seq, body in sorted(self.disk.intake.items()) if seq > after]
        if self.slow:
            await asyncio.sleep(self.slow)
        return [(seq, codec.load_event(body)) for seq, body in rows[:limit]]

    async def commit(self, facts: Sequence[Fact], cursor: int, at: datetime, ahead: Sequence[int] = ()) -> None:
        rows = [(at, incident_of(fact), codec.dump_fact(fact)) for fact in facts]
        async with self._turn:
            await self._may_write()
            self._must_lead()
            for row in rows:
                self.disk.facts_seq += 1
                self.disk.facts[self.disk.facts_seq] = row
            self.disk.cursor = max(self.disk.cursor, cursor)
            self.disk.written_at = at
            for seq in ahead:
                self.disk.intake.pop(seq, None)
            await self._written("commit")

    async def highest_token(self) -> int:
        return self.disk.token

    async def take_over(self, token: int) -> None:
        async with self._turn:
            await self._may_write()
            self._token = token
            self._must_lead()
            self.disk.token = token

    def _must_lead(self) -> None:
        if self.disk.token > self._token:
            raise StaleLeaderError(f"token {self.disk.token} took over from {self._token}")

    async def wait_for_intake(self, after: int) -> None:
        while self.disk.intake_seq <= after:
            await self.disk.grown.wait()

    async def load(self) -> Loaded:
        disk = self.disk
        seq, state = (disk.snapshot[0], codec.load_state(disk.snapshot[1])) if disk.snapshot else (0, State())
        later = [row for number, row in sorted(disk.facts.items()) if number > seq]
        for _, _, body in later:
            state = evolve(state, codec.load_fact(body))
        return Loaded(state=state, cursor=disk.cursor, written_at=disk.written_at, facts=len(later))

    async def history(self, *, incident: str | None = None, limit: int = 1000) -> AsyncIterator[tuple[datetime, Fact]]:
        rows = [row for _, row in sorted(self.disk.facts.items()) if incident is None or row[1] == incident]
        for at, _, body in rows[-limit:]:
            yield at, codec.load_fact(body)

    async def compact(self, state: State, cursor: int, at: datetime) -> None:
        body = codec.dump_state(state)
        async with self._turn:
            await self._may_write()
            self._must_lead()
            disk = self.disk
            disk.snapshot = (disk.facts_seq, body)
            disk.cursor, disk.written_at = max(disk.cursor, cursor), at
            disk.intake = {seq: row for seq, row in disk.intake.items() if seq > cursor}
            disk.facts = {seq: row for seq, row in disk.facts.items() if row[1] in state.incidents}
            await self._written("compact")

    async def close(self) -> None:
        self._closed = True

    async def _may_write(self) -> None:
        if self.dead.is_set():
            await asyncio.Event().wait()
        if self.slow:
            await asyncio.sleep(self.slow)
        if self.refuses is not None or self._closed:
            raise JournalUnavailableError(self.refuses or "the journal is closed")

    async def _written(self, what: str) -> None:
        self.disk.writes.append(what)
        if self._dies_after is not None and len(self.disk.writes) >= self._dies_after:
            self.dead.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)  # on disk, and the caller does not know it yet
