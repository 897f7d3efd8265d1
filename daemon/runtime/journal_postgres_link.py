"""One connection to PostgreSQL that comes back by itself, and says exactly what is known of a statement that failed.

asyncpg's own time limits are not used: they ask the server to cancel, which may hang in turn (asyncpg#1326), and which
makes of a commit that waits for its synchronous standby one that does not. Here the connection is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from daemon.ports import JournalUnavailableError
from daemon.runtime.journal_file import JournalUnusableError

CONNECT_SECONDS = 5.0
"""Until a connection stands: a server that answers does so in a tenth of a second."""

ANSWER_SECONDS = 10.0
"""Until a statement is answered. It takes milliseconds; a sender waits for it."""

STATEMENT_SECONDS = 60
"""Until the server itself gives up a statement whose connection was cut meanwhile; a compaction may take as long."""

LOCK_SECONDS = 5
"""Until the server gives up waiting for a row: locks are held for the milliseconds of one write."""

APPLICATION = "lastgood"
"""What `pg_stat_activity` shows a daemon's connections as, with the schema after it."""

INSTALL = "install it: pip install 'lastgood[postgres]'"

UNKNOWN_STATES = ("08", "57P", "40003")
"""SQLSTATEs, or how they begin, after which nobody knows whether the statement was done: the connection or the server
is going (postgresql.org/docs/current/errcodes-appendix.html)."""


Fetch = Callable[..., Awaitable[Sequence[Any]]]
"""The rows of a query and its values."""


class LostError(Exception):
    """The connection broke while the server had the statement: it was done, or it was not, or it will be."""


class DoneBeforeError(Exception):
    """The server has a row of this name already: this very thing was done before."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the journal is. The URL holds a password: it is not shown, `where` is."""

    url: str
    schema: str

    def __repr__(self) -> str:
        return f"Server({self.where})"

    @property
    def where(self) -> str:
        """Host, database and schema, for people."""
        parts = urlsplit(self.url)
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path} (schema {self.schema})"


def driver() -> Any:
    """asyncpg, which only those need who have a PostgreSQL journal. Raises JournalUnusableError with the remedy."""
    try:
        import asyncpg
    except ImportError:
        raise JournalUnusableError(f"a PostgreSQL journal needs the package asyncpg; {INSTALL}") from None
    return asyncpg


async def connect(server: Server) -> Any:
    """A new connection, on which a commit is durable when it is answered. Raises JournalUnusableError where the answer
    would be the same tomorrow, JournalUnavailableError where it may be another.
    """
    asyncpg = driver()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await asyncpg.connect(
                server.url,
                timeout=CONNECT_SECONDS,
                # With several hosts the one that takes writes; alone, a standby is refused instead of read.
                target_session_attrs="read-write",
                server_settings={
                    "application_name": f"{APPLICATION} {server.schema}",
                    "search_path": server.schema,
                    "default_transaction_isolation": "read committed",
                    "statement_timeout": f"{STATEMENT_SECONDS}s",
                    "lock_timeout": f"{LOCK_SECONDS}s",
                    "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
                    "client_encoding": "UTF8",
                },
            )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ValueError) as error:
        raise _refused(server, error) from None
    try:
        await _durable(server, connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


def _refused(server: Server, error: Exception) -> Exception:
    remedy = {
        "28000": "check the user in journal.url, and pg_hba.conf",
        "28P01": "check the password in journal.url",
        "3D000": "create it: CREATE DATABASE …; or correct journal.url",
    }.get(getattr(error, "sqlstate", None) or "")
    if isinstance(error, ValueError):  # of asyncpg's: what is written in the URL; its text may repeat a part of it
        return JournalUnusableError(f"journal {server.where}: the URL is not understood; correct journal.url")
    said = f"journal {server.where} cannot be reached: {said_by(error)}"
    return JournalUnusableError(f"{said}; {remedy}") if remedy else JournalUnavailableError(said)


def said_by(error: BaseException) -> str:
    """One line of what a server or the operating system said."""
    return " ".join(str(error).split()) or type(error).__name__


async def _durable(server: Server, connection: Any) -> None:
    asyncpg = driver()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            fsync, commit = await connection.fetchrow(
                "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
            )
            if commit == "off":  # then a crash of the server would lose what it has answered
                await connection.execute("SET synchronous_commit = on")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise JournalUnavailableError(f"journal {server.where} cannot be reached: {said_by(error)}") from None
    if fsync == "off":
        said = "its server has fsync = off, and would lose what it has acknowledged"
        raise JournalUnusableError(f"journal {server.where}: {said}; set fsync = on and reload the server")


async def _answered(connection: Any, seconds: float, query: str, *values: Any) -> Sequence[Any]:
    cut = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        return await connection.fetch(query, *values)  # type: ignore[no-any-return]
    finally:
        cut.cancel()


class Link:
    """A connection that is made when it is needed, and made anew when it is gone. One statement at a time.

    `begin` is awaited with each new connection. `limit`: seconds until a statement must be answered.
    """

    def __init__(self, server: Server, begin: Callable[[Any], Awaitable[None]] | None = None) -> None:
        self.server = server
        self.limit = ANSWER_SECONDS
        self._begin = begin
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def ask(self, query: str, *values: Any, seconds: float | None = None) -> Sequence[Any]:
        """The rows. Raises JournalUnavailableError where it certainly was not done, LostError where nobody knows,
        DoneBeforeError.
        """
        async with self._turn:
            connection = await self._connected()
            asyncpg = driver()
            try:
                return await _answered(connection, seconds or self.limit, query, *values)
            except asyncpg.UniqueViolationError:
                raise DoneBeforeError from None
            except asyncpg.PostgresError as error:
                if connection.is_closed() or (error.sqlstate or "").startswith(UNKNOWN_STATES):
                    raise self._lost(connection, error) from None
                said = f"journal {self.server.where} cannot do it now: {said_by(error)}"
                raise JournalUnavailableError(said) from None
            except (asyncpg.InternalClientError, ConnectionError, TimeoutError) as error:
                raise self._lost(connection, error) from None
            except asyncpg.InterfaceError as error:
                if not connection.is_closed():
                    raise  # a value that cannot be sent: a bug, and nothing was sent
                raise self._lost(connection, error) from None
            except asyncio.CancelledError:
                connection.terminate()  # in the middle of an answer: of no use to whoever comes next
                raise

    async def read(self, query: str, *values: Any) -> Sequence[Any]:
        """The rows of a query that changes nothing; asked once more where the connection broke. Raises
        JournalUnavailableError.
        """
        try:
            return await self.ask(query, *values)
        except LostError:
            try:
                return await self.ask(query, *values)
            except LostError as error:
                raise JournalUnavailableError(str(error)) from None

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[Fetch]:
        """Asks within a transaction that sees the journal at one moment. Raises JournalUnavailableError."""
        async with self._turn:
            connection = await self._connected()
            asyncpg = driver()
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    yield partial(_answered, connection, self.limit)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                connection.terminate()
                said = f"journal {self.server.where} cannot be read: {said_by(error)}"
                raise JournalUnavailableError(said) from None

    async def open(self) -> None:
        """Have a connection now, as `begin` leaves it. Raises JournalUnusableError, JournalUnavailableError."""
        async with self._turn:
            await self._connected(at_start=True)

    async def close(self) -> None:
        """End the connection; what still waits for an answer is told that it is lost."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if self._turn.locked():
                connection.terminate()
            else:
                with contextlib.suppress(Exception):  # it is of no further use, whatever it says
                    await connection.close(timeout=CONNECT_SECONDS)

    async def _connected(self, *, at_start: bool = False) -> Any:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        try:
            connection = await connect(self.server)
            if self._begin is not None:
                await self._begun(connection)
        except JournalUnusableError as error:
            if at_start:
                raise
            raise JournalUnavailableError(str(error)) from None  # it worked when we started: it may work again
        self._connection = connection
        return connection

    async def _begun(self, connection: Any) -> None:
        assert self._begin is not None
        asyncpg = driver()
        try:
            await self._begin(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            connection.terminate()
            said = f"journal {self.server.where} cannot be reached: {said_by(error)}"
            raise JournalUnavailableError(said) from None
        except BaseException:
            connection.terminate()
            raise

    def _lost(self, connection: Any, error: BaseException) -> LostError:
        connection.terminate()
        return LostError(f"journal {self.server.where}: the connection broke: {said_by(error)}")
