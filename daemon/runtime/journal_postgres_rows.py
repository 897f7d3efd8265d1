"""The rows of a PostgreSQL journal, for backup, restore and moving (daemon/runtime/journal_store.py)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.ports import JournalUnavailableError
from daemon.runtime import journal_postgres_statements as sql
from daemon.runtime.journal_postgres_link import APPLICATION, Fetch, Link, Server, connect, driver, said_by
from daemon.runtime.journal_postgres_schema import prepare
from daemon.runtime.journal_store import ROWS, Heading, NotEmptyError, Row

_OTHERS = """
    SELECT DISTINCT coalesce(client_addr::text, 'this machine') AS place FROM pg_stat_activity
    WHERE application_name = $1 AND pid <> pg_backend_pid() AND datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """A journal of `cluster` in a database's schema."""

    server: Server
    cluster: str

    @property
    def where(self) -> str:
        """Host, database and schema."""
        return self.server.where

    async def daemons(self) -> Sequence[str]:
        """From where daemons are connected to this journal now. Raises JournalUnusableError, JournalUnavailableError."""
        async with self._connected() as connection:
            found = await connection.fetch(_OTHERS, f"{APPLICATION} {self.server.schema}")
            return [row["place"] for row in found]

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[_PostgresReading]:
        """The journal as it is now, also while daemons write to it."""
        link = Link(self.server, lambda connection: prepare(self.server, self.cluster, connection))
        await link.open()
        try:
            async with link.still() as ask:
                (head,) = await ask(sql.HEAD)
                ((last,),) = await ask("SELECT last FROM turn")
                snapshot = await ask(sql.SNAPSHOT)
                yield _PostgresReading(
                    ask,
                    Heading(
                        cursor=head["intake_seq"],
                        written_at=head["at"],
                        intake_last=max(last, head["intake_seq"]),
                        facts_last=head["facts_seq"],
                        snapshot=(snapshot[0]["facts_seq"], snapshot[0]["body"]) if snapshot else None,
                    ),
                )
        finally:
            await link.close()

    @contextlib.asynccontextmanager
    async def filling(self) -> AsyncIterator[_PostgresFilling]:
        """An empty journal, made where there is none. Nobody else writes to it meanwhile."""
        async with self._connected() as connection, connection.transaction():
            await connection.execute("LOCK TABLE turn, head, intake, facts, snapshot IN EXCLUSIVE MODE")
            held = "SELECT facts_seq + intake_seq + (SELECT last FROM turn) + (SELECT count(*) FROM snapshot) FROM head"
            if await connection.fetchval(held):
                raise NotEmptyError
            yield _PostgresFilling(connection)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        connection = await connect(self.server)
        asyncpg = driver()
        try:
            await prepare(self.server, self.cluster, connection)
            yield connection
            await connection.close(timeout=5)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise JournalUnavailableError(f"journal {self.where}: {said_by(error)}") from None
        finally:
            connection.terminate()


class _PostgresReading:
    def __init__(self, ask: Fetch, heading: Heading) -> None:
        self._ask = ask
        self.heading = heading

    async def intake(self, after: int) -> Sequence[Row]:
        rows = "SELECT seq, at, kind, NULL, body FROM intake WHERE seq > $1 ORDER BY seq LIMIT $2"
        return [tuple(row) for row in await self._ask(rows, after, ROWS)]

    async def facts(self, after: int) -> Sequence[Row]:
        rows = "SELECT seq, at, kind, incident, body FROM facts WHERE seq > $1 ORDER BY seq LIMIT $2"
        return [tuple(row) for row in await self._ask(rows, after, ROWS)]


class _PostgresFilling:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def put_intake(self, rows: Sequence[Row]) -> None:
        records = [(seq, at, kind, body) for seq, at, kind, _, body in rows]
        columns = ("seq", "at", "kind", "body")
        await self._connection.copy_records_to_table("intake", records=records, columns=columns)

    async def put_facts(self, rows: Sequence[Row]) -> None:
        columns = ("seq", "at", "kind", "incident", "body")
        await self._connection.copy_records_to_table("facts", records=rows, columns=columns)

    async def put_heading(self, heading: Heading) -> None:
        await self._connection.execute("UPDATE turn SET last = $1", heading.intake_last)
        if heading.snapshot is not None:
            await self._connection.execute("INSERT INTO snapshot VALUES (1, $1, $2)", *heading.snapshot)
        # Another version: a daemon that has this journal open must not go on as if nothing had happened.
        filled = "UPDATE head SET intake_seq = $1, at = $2, facts_seq = $3, version = version + 1, written = NULL"
        await self._connection.execute(filled, heading.cursor, heading.written_at, heading.facts_last)
