"""The journal in PostgreSQL: several daemons accept, the one that leads commits, and nobody else can.

The same rows as in SQLite's file (daemon/runtime/journal.py), in the same writing (codec). Three things are different,
because others write too and because a connection can break in the middle of a commit:

- Intake's numbers become visible in their order (journal_postgres_statements.ACCEPT).
- A leader's writes are a chain of compare-and-sets: each expects the version that the one before left, and the token
  that the leader took over with. A daemon that was stopped and wakes as a leader of the past writes nothing.
- Each write has an id. Where a connection breaks, the same write is sent again, or asked after, until it is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Self
from uuid import UUID, uuid4

from daemon.core.evolution import evolve
from daemon.core.facts import Fact
from daemon.core.state import State
from daemon.ports import Journalled, JournalUnavailableError, Loaded, StaleLeaderError
from daemon.runtime import codec
from daemon.runtime import journal_postgres_statements as sql
from daemon.runtime.journal import FOLD_ROWS, GROUP_MAX, INTAKE_KEPT, incident_of
from daemon.runtime.journal_file import JournalUnusableError
from daemon.runtime.journal_postgres_link import (
    STATEMENT_SECONDS,
    DoneBeforeError,
    Link,
    LostError,
    Server,
)
from daemon.runtime.journal_postgres_schema import prepare

PATIENCE_SECONDS = 5.0
"""How long a write whose connection broke is asked after before its sender is told to try again. A server that restarts
is back in two."""

PAUSE_SECONDS = 0.2
"""Between two attempts."""

LOOK_SECONDS = 2.0
"""How often a standby's intake is looked for without having been notified: a pooler may swallow notifications."""

GROUP_BYTES = 16 * 1024 * 1024
"""Accepted events that go together: the largest webhook alone, or many small ones. The server takes a GB at most."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    rows: Sequence[tuple[datetime, str, bytes]]
    done: asyncio.Future[Sequence[int]]

    @property
    def size(self) -> int:
        return sum(len(body) for _, _, body in self.rows)


@dataclass(frozen=True, slots=True)
class _Write:
    """A leader's write: what it asks, and the id under which the server knows it."""

    asked: tuple[Any, ...]
    id: UUID


class _UnknownError(JournalUnavailableError):
    """Refused to the sender, and still perhaps under way."""


class PostgresJournal:
    """ports.Journal in a database's schema. `on_fsync` is told each write's seconds (a metric).

    Without `take_over` it writes as the only daemon, until another writes or takes over.
    """

    def __init__(self, server: Server, *, on_fsync: Callable[[float], None] = lambda seconds: None) -> None:
        self._server = server
        self._on_fsync = on_fsync
        self._accepts, self._writes, self._reads = Link(server), Link(server), Link(server)
        self._ears = Link(server, self._listen)
        self._life = uuid4()
        self._batch = 0
        self._arrived: deque[_Arrival] = deque()
        self._accepter: asyncio.Future[None] | None = None  # held, or it could be collected in the middle of its work
        self._accepting = False
        self._turn = asyncio.Lock()
        self._version = self._token = 0
        self._unknown: list[_Write] = []
        self._heard = asyncio.Event()
        self._closed = False

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        cluster: str,
        schema: str = "lastgood",
        on_fsync: Callable[[float], None] = lambda seconds: None,
    ) -> Self:
        """The journal of `cluster`, made where there is none. Raises JournalUnusableError where it cannot be used, with
        the remedy, and JournalUnavailableError where it cannot be reached.
        """
        server = Server(url, schema)
        first = Link(server, lambda connection: prepare(server, cluster, connection))
        try:
            await first.open()
        finally:
            await first.close()
        journal = cls(server, on_fsync=on_fsync)
        journal._version = (await journal._head())["version"]
        return journal

    # ------------------------------------------------------------------------------------------------- what all may

    async def accept(self, events: Sequence[Journalled], at: datetime) -> Sequence[int]:
        """Append to intake; the sequence numbers. Raises JournalUnavailableError."""
        self._must_be_open()
        if not events:
            return ()
        rows = [(at, event.kind, codec.dump_event(event)) for event in events]
        arrival = _Arrival(rows, asyncio.get_running_loop().create_future())
        self._arrived.append(arrival)
        if not self._accepting:
            self._accepting = True
            # Its own task: a sender that hangs up must not take the others of its group along.
            self._accepter = asyncio.shield(self._accept_arrived())
        return await arrival.done

    async def unread(self, after: int, limit: int) -> Sequence[tuple[int, Journalled]]:
        """Accepted events with a sequence number above `after`, in order. Raises JournalUnavailableError, and
        JournalUnusableError, naming the row.
        """
        found: list[tuple[int, Journalled]] = []
        for seq, body in await self._read(sql.UNREAD, after, limit):
            with self._readable("intake", seq):
                found.append((seq, codec.load_event(body)))
        return found

    async def wait_for_intake(self, after: int) -> None:
        """Return when there is intake above `after`. Raises JournalUnavailableError."""
        while True:
            self._must_be_open()
            with contextlib.suppress(JournalUnavailableError, LostError):  # then looking alone must do
                await self._ears.ask("SELECT")
            self._heard.clear()
            ((found,),) = await self._read(sql.ANY_UNREAD, after)
            if found:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._heard.wait()

    async def load(self) -> Loaded:
        """Fold the newest snapshot and the facts after it. Raises JournalUnavailableError, JournalUnusableError."""
        self._must_be_open()
        codec.prepare()
        async with self._turn, self._reads.still() as ask:
            (head,) = await ask(sql.HEAD)
            state, seq, folded = State(), 0, 0
            for number, body in await ask(sql.SNAPSHOT):
                with self._readable("snapshot", number):
                    state, seq = codec.load_state(body), number
            while rows := await ask(sql.FACTS, seq, FOLD_ROWS):
                for number, body in rows:
                    with self._readable("facts", number):
                        state, seq = evolve(state, codec.load_fact(body)), number
                folded += len(rows)
            self._version = head["version"]
            self._unknown.clear()  # what of ours arrives only now is not in this state: it must find another version
        return Loaded(state=state, cursor=head["intake_seq"], written_at=head["at"], facts=folded)

    async def history(self, *, incident: str | None = None, limit: int = 1000) -> AsyncIterator[tuple[datetime, Fact]]:
        """Facts, oldest first, at most the newest `limit`; of one incident where given. Raises JournalUnavailableError."""
        which = (sql.NEWEST, limit) if incident is None else (sql.NEWEST_OF, limit, incident)
        for seq, at, body in reversed(await self._read(*which)):
            try:
                fact = codec.load_fact(body)
            except codec.UnreadableRecordError as error:
                said = f"journal {self._server.where}, facts row {seq} cannot be read: {error}"
                raise JournalUnavailableError(said) from None
            yield at, fact

    async def close(self) -> None:
        """Finish what is being written and close the connections; what is asked of it afterwards is refused."""
        self._closed = True
        self._heard.set()
        if self._accepter is not None:
            await self._accepter
        async with self._turn:
            for link in (self._accepts, self._writes, self._reads, self._ears):
                await link.close()

    # --------------------------------------------------------------------------------------- what one may: the leader

    async def highest_token(self) -> int:
        """The highest token ever taken over with, 0 where there was none. Raises JournalUnavailableError."""
        self._must_be_open()
        return int((await self._head())["token"])

    async def take_over(self, token: int) -> None:
        """From now on commits carry this token, and those of whoever led before are refused.

        Raises StaleLeaderError where this or a higher one was taken over with by another, JournalUnavailableError.
        """
        self._must_be_open()
        async with self._turn:
            rows = await self._until_known(partial(self._writes.ask, sql.TAKE_OVER, token, self._life))
            head = await self._head()
            if head["token"] != token or head["holder"] != self._life:
                held = f"token {head['token']} has taken over"
                raise StaleLeaderError(f"journal {self._server.where}: {held}, ours is {token}")
            self._token, self._version = token, rows[0]["version"] if rows else head["version"]
            self._unknown.clear()

    async def commit(self, facts: Sequence[Fact], cursor: int, at: datetime, ahead: Sequence[int] = ()) -> None:
        """Append facts, move the intake cursor and drop what was consumed `ahead` of it, in one transaction.

        Raises JournalUnavailableError; StaleLeaderError where another has taken over or written. After the former the
        same commit may be tried again, and is not written twice.
        """
        kinds = [fact.kind for fact in facts]
        incidents = [incident_of(fact) for fact in facts]
        bodies = [codec.dump_fact(fact) for fact in facts]
        gone = cursor - INTAKE_KEPT
        await self._lead(sql.COMMIT, cursor, at, len(facts), kinds, incidents, bodies, gone, list(ahead))

    async def compact(self, state: State, cursor: int, at: datetime) -> None:
        """Store a snapshot, drop consumed intake, and drop facts that no incident in the state needs for `explain`.

        Raises as `commit` does.
        """
        body = codec.dump_state(state)
        await self._lead(sql.COMPACT, cursor, at, body, list(state.incidents), seconds=STATEMENT_SECONDS)

    async def _lead(self, query: str, *values: Any, seconds: float | None = None) -> None:
        """Write as the leader: once, whatever happens to the connection."""
        self._must_be_open()
        asked = (query, *values)
        async with self._turn:
            while True:
                tried = next((each for each in self._unknown if each.asked == asked), None)
                write = tried or _Write(asked, uuid4())
                try:
                    rows = await self._until_known(partial(self._ask, write, seconds))
                except _UnknownError:
                    if tried is None:
                        self._unknown.append(write)
                    raise
                if rows:
                    self._version += 1
                    self._unknown.clear()
                    return
                if await self._written(write):
                    return

    async def _ask(self, write: _Write, seconds: float | None) -> Sequence[Any]:
        query, *values = write.asked
        return await self._writes.ask(query, self._version, self._token, write.id, *values, seconds=seconds)

    async def _written(self, write: _Write) -> bool:
        """Why nothing has the version that we expected: True where an attempt that we lost has done this write, False
        where one has done an earlier write. Raises StaleLeaderError where it was somebody else.
        """
        head = await self._head()
        ours = {write.id, *(each.id for each in self._unknown)}
        if head["token"] == self._token and head["version"] == self._version + 1 and head["written"] in ours:
            self._version += 1
            self._unknown.clear()
            return bool(head["written"] == write.id)
        if head["version"] < self._version:
            said = f"it went back from write {self._version} to {head['version']}: its server lost what it acknowledged"
        elif head["token"] != self._token:
            said = f"token {head['token']} has taken over, ours is {self._token}"
        else:
            said = "another daemon has written"
        raise StaleLeaderError(f"journal {self._server.where}: {said}")

    # ------------------------------------------------------------------------------------------------------- the rest

    async def _accept_arrived(self) -> None:
        """Write what has arrived, and what arrives meanwhile: many webhooks in one transaction."""
        try:
            while self._arrived:
                await self._accept_group(self._next_group())
        finally:
            self._accepting = False

    def _next_group(self) -> Sequence[_Arrival]:
        group, size = [self._arrived.popleft()], 0
        while self._arrived and len(group) < GROUP_MAX:
            size += group[-1].size
            if size + self._arrived[0].size > GROUP_BYTES:
                break
            group.append(self._arrived.popleft())
        return group

    async def _accept_group(self, group: Sequence[_Arrival]) -> None:
        waiting = [arrival.done for arrival in group]
        try:
            last = await self._accept_rows([row for arrival in group for row in arrival.rows])
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may believe that it is on disk
            for done in waiting:
                if not done.done():
                    done.set_exception(error)
            return
        first = last - sum(len(arrival.rows) for arrival in group) + 1
        for arrival in group:
            following = first + len(arrival.rows)
            if not arrival.done.done():
                arrival.done.set_result(range(first, following))
            first = following

    async def _accept_rows(self, rows: Sequence[tuple[datetime, str, bytes]]) -> int:
        """The number of the last one."""
        self._batch += 1
        ats, kinds, bodies = zip(*rows, strict=True)
        values = self._life, self._batch, len(rows), ats, kinds, bodies, self._server.schema
        try:
            ((last, _),) = await self._until_known(partial(self._accepts.ask, sql.ACCEPT, *values))
        except DoneBeforeError:
            ((last,),) = await self._accepts.read(sql.ACCEPTED, self._life, self._batch)
        return int(last)

    async def _until_known(self, ask: Callable[[], Awaitable[Sequence[Any]]]) -> Sequence[Any]:
        """Ask until there is an answer: a write may be done although its connection broke. Raises
        JournalUnavailableError where it certainly was not done, or nobody can be asked for too long.
        """
        began = time.perf_counter()
        lost: LostError | None = None
        while True:
            try:
                rows = await ask()
            except LostError as error:
                lost = error
            except JournalUnavailableError:
                if lost is None:
                    raise  # refused, and nothing of it is under way
            else:
                self._on_fsync(time.perf_counter() - began)
                return rows
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise _UnknownError(str(lost))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _head(self) -> Any:
        (head,) = await self._reads.read(sql.HEAD)
        return head

    async def _read(self, query: str, *values: Any) -> Sequence[Any]:
        self._must_be_open()
        return await self._reads.read(query, *values)

    async def _listen(self, connection: Any) -> None:
        await connection.add_listener(self._server.schema, lambda *_: self._heard.set())
        connection.add_termination_listener(lambda _: self._heard.set())

    def _must_be_open(self) -> None:
        if self._closed:
            raise JournalUnavailableError(f"journal {self._server.where} is closed")

    @contextlib.contextmanager
    def _readable(self, table: str, seq: int) -> Any:
        """A row that cannot be read stops the start by name: to skip it would be to hold something else true."""
        try:
            yield
        except codec.UnreadableRecordError as error:
            raise JournalUnusableError(
                f"journal {self._server.where}, {table} row {seq} cannot be read: {error}; run the release that wrote "
                "it, or restore the journal from a backup"
            ) from None
