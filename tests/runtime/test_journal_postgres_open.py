"""How the PostgreSQL journal is opened: made, brought up to date, and refused by name with the remedy."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncpg
import pytest

from daemon.ports import JournalUnavailableError
from daemon.runtime import journal_postgres_link, journal_postgres_schema
from daemon.runtime.journal_file import JournalUnusableError
from daemon.runtime.journal_postgres import PostgresJournal
from daemon.runtime.journal_postgres_link import Server as Place
from daemon.runtime.journal_postgres_statements import MIGRATIONS
from tests.core.builders import NOON
from tests.postgres import Server
from tests.runtime.test_journal_postgres import a_fact, asked, facts_in, scopes_in

pytestmark = pytest.mark.real


@pytest.fixture
def schema(postgres: Server) -> str:
    return postgres.schema()


async def open_(server: Server, schema: str, cluster: str = "test", url: str | None = None) -> PostgresJournal:
    return await PostgresJournal.open(url or server.url, cluster=cluster, schema=schema)


async def test_migration_by_several_at_once(postgres: Server, schema: str) -> None:
    """Daemons that start at once on an empty database make one journal, and all can use it."""
    journals = await asyncio.gather(*(open_(postgres, schema) for _ in range(6)))
    for number, journal in enumerate(journals):
        assert list(await journal.accept([asked(number)], NOON)) == [number + 1]
        await journal.close()
    assert postgres.psql(f"SELECT count(*) FROM {schema}.head") == "1"
    assert postgres.psql(f"SELECT version FROM {schema}.journal_schema") == str(len(MIGRATIONS))


async def prepared(server: Server, schema: str, *steps: str) -> None:
    """As a release does whose newest migrations are `steps`."""
    connection = await asyncpg.connect(server.url, server_settings={"search_path": schema})
    place = Place(server.url, schema)
    try:
        await journal_postgres_schema.prepare(place, "test", connection, migrations=(*MIGRATIONS, *steps))
    finally:
        await connection.close()


async def test_migration_of_an_older_schema(postgres: Server, schema: str) -> None:
    """A newer release's step is taken once, by one of several, and keeps what is there."""
    journal = await open_(postgres, schema)
    await journal.commit([a_fact(1)], 3, NOON)
    step = "ALTER TABLE facts ADD COLUMN more integer"
    await asyncio.gather(*(prepared(postgres, schema, step) for _ in range(4)))
    assert postgres.psql(f"SELECT version FROM {schema}.journal_schema") == str(len(MIGRATIONS) + 1)
    await journal.commit([a_fact(2)], 4, NOON)  # the release before it goes on until it is replaced
    assert await facts_in(journal) == [a_fact(1), a_fact(2)]
    await journal.close()


async def test_migration_is_all_or_nothing(postgres: Server, schema: str) -> None:
    """A migration that fails in its middle leaves the schema as it was."""
    await (await open_(postgres, schema)).close()
    with pytest.raises(asyncpg.PostgresError):
        await prepared(postgres, schema, "CREATE TABLE more (x integer)", "SELECT 1 / 0")
    assert postgres.psql(f"SELECT to_regclass('{schema}.more')") == ""
    await (await open_(postgres, schema)).close()


async def test_newer_schema(postgres: Server, schema: str) -> None:
    """A journal of a newer release is refused by name with the remedy, and stays as it is."""
    await (await open_(postgres, schema)).close()
    postgres.psql(f"UPDATE {schema}.journal_schema SET version = version + 1; DROP TABLE {schema}.head CASCADE")
    with pytest.raises(JournalUnusableError, match=f"schema {schema}.* has schema 2.*knows 1; run the newer release"):
        await open_(postgres, schema)
    assert postgres.psql(f"SELECT version FROM {schema}.journal_schema") == "2"


async def test_something_else(postgres: Server, schema: str) -> None:
    """A schema of something else is refused; our tables are not put beside its own."""
    postgres.psql(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.dear_data (x integer)")
    with pytest.raises(JournalUnusableError, match=r"something else; name another journal\.schema_name"):
        await open_(postgres, schema)
    assert postgres.psql(f"SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'") == "1"


async def test_another_cluster(postgres: Server, schema: str) -> None:
    """Two clusters do not share a journal by mistake: each would act on what the other saw."""
    await (await open_(postgres, schema)).close()
    with pytest.raises(JournalUnusableError, match=r"belongs to the cluster test, this one is west; give each cluster"):
        await open_(postgres, schema, "west")


async def test_without_the_right_to_make_it(postgres: Server, schema: str) -> None:
    """A user who may not make the schema is told what an administrator has to type, and that is enough."""
    user = f"small_{schema}"
    postgres.psql(f"CREATE ROLE {user} LOGIN")
    url = postgres.url.replace("lastgood@", f"{user}@")
    with pytest.raises(JournalUnusableError) as caught:
        await open_(postgres, schema, url=url)
    command = str(caught.value).partition("as an administrator: ")[2]
    assert command == f"CREATE SCHEMA {schema} AUTHORIZATION {user}"
    postgres.psql(command)
    journal = await open_(postgres, schema, url=url)
    await journal.accept([asked(1)], NOON)
    await journal.close()


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("postgresql://u:hush-hush@127.0.0.1:1/db", JournalUnavailableError, "127.0.0.1:1/db .*cannot be reached"),
        ("postgresql://u:hush-hush@/db?host=FOLDER/none", JournalUnavailableError, "cannot be reached"),
        ("postgresql://u:hush-hush@/none?host=FOLDER", JournalUnusableError, "check the user in journal.url"),
        ("postgresql://lastgood:hush-hush@/none?host=FOLDER", JournalUnusableError, "create it: CREATE DATABASE"),
        ("postgresql://u:hush-hush@h:no/db", JournalUnusableError, "the URL is not understood; correct journal.url"),
        ("postgresql://u:hush-hush@/db?sslmode=hush-hush", JournalUnusableError, "the URL is not understood"),
    ],
)
async def test_unusable(postgres: Server, schema: str, url: str, error: type[Exception], said: str) -> None:
    """A server that cannot be used is named in one line with what to look at, and without the password."""
    with pytest.raises(error, match=said) as caught:
        await open_(postgres, schema, url=url.replace("FOLDER", str(postgres.folder)))
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hush" not in repr(Place(url, schema))


async def test_without_the_driver(postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asyncpg one line says how to install it."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(JournalUnusableError, match=r"needs the package asyncpg; install it: pip install 'lastgood\["):
        await open_(postgres, schema)


async def test_commits_are_waited_for(postgres: Server, schema: str) -> None:
    """Where the database's default is not to wait for the disk, our connections wait all the same; another default stays."""
    user = f"hasty_{schema}"
    postgres.psql(f"CREATE ROLE {user} LOGIN SUPERUSER; ALTER ROLE {user} SET synchronous_commit = off")
    journal = await open_(postgres, schema, url=postgres.url.replace("lastgood@", f"{user}@"))
    for link in (journal._accepts, journal._writes):
        assert await link.ask("SHOW synchronous_commit") == [("on",)]
    await journal.close()
    postgres.psql(f"ALTER ROLE {user} SET synchronous_commit = remote_apply")
    journal = await open_(postgres, schema, url=postgres.url.replace("lastgood@", f"{user}@"))
    assert await journal._accepts.ask("SHOW synchronous_commit") == [("remote_apply",)]
    await journal.close()


async def test_no_standby(postgres: Server, schema: str) -> None:
    """A server that takes no writes is not read either: what it shows may be old."""
    user = f"reader_{schema}"
    postgres.psql(f"CREATE ROLE {user} LOGIN SUPERUSER; ALTER ROLE {user} SET default_transaction_read_only = on")
    with pytest.raises(JournalUnavailableError, match=r"cannot be reached.*read-write"):
        await open_(postgres, schema, url=postgres.url.replace("lastgood@", f"{user}@"))


async def test_rows_are_readable_by_people(postgres: Server, schema: str) -> None:
    """With psql the rows can be read as text, at 3 a.m. too."""
    journal = await open_(postgres, schema)
    await journal.accept([asked(1)], NOON)
    await journal.commit([a_fact(2)], 0, NOON)
    assert '"scope":"space-1"' in postgres.psql(f"SELECT body FROM {schema}.intake_text")
    assert "pause_set" in postgres.psql(f"SELECT kind, body FROM {schema}.facts_text")
    await journal.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ('UPDATE facts SET body = \'{"kind": "teleported"}\' WHERE seq = 2', "facts row 2 .*teleported"),
        ("INSERT INTO snapshot VALUES (1, 2, '[]')", "snapshot row 2 "),
    ],
)
async def test_unreadable_row(postgres: Server, schema: str, statement: str, named: str) -> None:
    """A row that this release cannot read stops the start, named with its number; to skip it would change the state."""
    journal = await open_(postgres, schema)
    await journal.commit([a_fact(1), a_fact(2)], 0, NOON)
    postgres.psql(f"SET search_path = {schema}; {statement}")
    with pytest.raises(JournalUnusableError, match=named + ".*run the release that wrote it"):
        await journal.load()
    await journal.close()


async def test_unreadable_event_and_history(postgres: Server, schema: str) -> None:
    """An accepted event that cannot be read is named, and so is a fact that `explain` asks for."""
    journal = await open_(postgres, schema)
    await journal.accept([asked(1)], NOON)
    await journal.commit([a_fact(1), a_fact(2)], 0, NOON)
    postgres.psql(f"UPDATE {schema}.intake SET body = 'x'; UPDATE {schema}.facts SET body = 'x' WHERE seq = 2")
    with pytest.raises(JournalUnusableError, match="intake row 1 "):
        await scopes_in(journal)
    with pytest.raises(JournalUnavailableError, match="facts row 2 "):
        await facts_in(journal)
    await journal.close()


async def test_many_facts(postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More facts than are read at once are folded in their order, none twice and none left out."""
    monkeypatch.setattr("daemon.runtime.journal_postgres.FOLD_ROWS", 3)
    journal = await open_(postgres, schema)
    await journal.commit([a_fact(number) for number in range(10)], 0, NOON)
    loaded: Any = await journal.load()
    assert (loaded.facts, sorted(loaded.state.pauses)) == (10, [f"space-{number}" for number in range(10)])
    await journal.close()


def test_limits_are_in_order() -> None:
    """The server gives up a lock before its sender does, and the sender before the server gives up the statement."""
    link = journal_postgres_link
    assert link.LOCK_SECONDS < link.ANSWER_SECONDS < link.STATEMENT_SECONDS
