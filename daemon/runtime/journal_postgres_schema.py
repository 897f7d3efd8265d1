"""Makes the journal's tables where there are none, brings those of an older release up to date, and refuses others.

Nothing is ever reset here. Two daemons that start at once do it one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daemon.runtime.journal_file import JournalUnusableError
from daemon.runtime.journal_postgres_link import Server, driver, said_by
from daemon.runtime.journal_postgres_statements import MIGRATIONS

LOCK_ID = 0x6C617374_676F6F64
"""The advisory lock of whoever migrates: "lastgood" in ASCII, so that nobody else in the database has it by chance."""

MIGRATION_SECONDS = 600
"""Until the server gives up a migration, or waiting for another's: a large journal may have to be rewritten."""

_VERSION = "SELECT version FROM journal_schema"

_TABLES = """
    SELECT relname::text AS name FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = $1 AND relkind IN ('r', 'p', 'v', 'm', 'S')
"""


async def prepare(server: Server, cluster: str, connection: Any, *, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the schema to the newest version. Raises JournalUnusableError with the remedy where that cannot be."""
    known = len(migrations)
    version = await _version(server, connection)
    if version > known:
        raise _unusable(server, f"it has schema {version}, this release knows {known}", "run the newer release again")
    if version < known:
        await _migrate(server, cluster, connection, migrations)
    owner = await connection.fetchval("SELECT cluster FROM head")
    if owner != cluster:
        said = f"it belongs to the cluster {owner}, this one is {cluster}"
        raise _unusable(server, said, "give each cluster a journal.schema_name of its own, or correct cluster")


def _unusable(server: Server, problem: str, remedy: str) -> JournalUnusableError:
    return JournalUnusableError(f"journal {server.where} cannot be opened: {problem}; {remedy}")


async def _version(server: Server, connection: Any) -> int:
    """The schema's version, 0 where there is no journal. Raises JournalUnusableError for something else's tables."""
    found = {row["name"] for row in await connection.fetch(_TABLES, server.schema)}
    if "journal_schema" in found:
        return int(await connection.fetchval(_VERSION))
    if found:
        raise _unusable(server, "the schema holds something else", "name another journal.schema_name")
    return 0


async def _migrate(server: Server, cluster: str, connection: Any, migrations: Sequence[str]) -> None:
    asyncpg = driver()
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = '{MIGRATION_SECONDS}s'")
            await connection.execute(f"SET LOCAL lock_timeout = '{MIGRATION_SECONDS}s'")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_ID)
            version = await _version(server, connection)  # another may have done it while we waited
            if not await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", server.schema):
                await connection.execute(f"CREATE SCHEMA {server.schema}")
            for step in migrations[version:]:
                await connection.execute(step)
            await connection.execute("UPDATE head SET cluster = $1 WHERE cluster = ''", cluster)
            await connection.execute("UPDATE journal_schema SET version = greatest(version, $1)", len(migrations))
    except asyncpg.InsufficientPrivilegeError as error:
        user = await connection.fetchval("SELECT quote_ident(current_user)")
        remedy = f"as an administrator: CREATE SCHEMA {server.schema} AUTHORIZATION {user}"
        raise _unusable(server, said_by(error), remedy) from None
