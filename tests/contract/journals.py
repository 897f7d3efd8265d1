"""The journals that keep the contract; another implementation is one more entry of JOURNALS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from daemon.ports import Journal
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.journal_postgres import PostgresJournal
from tests.fakes import Disk, MemoryJournal
from tests.postgres import Server

Open = Callable[[], Awaitable[Journal]]
"""Opens the same journal (again), as a next life of the daemon does."""


def memory(folder: Path) -> Open:
    """In memory."""
    disk = Disk()

    async def again() -> Journal:
        return MemoryJournal(disk)

    return again


def sqlite(folder: Path) -> Open:
    """In a file."""

    async def again() -> Journal:
        return SqliteJournal(folder / "journal.sqlite")

    return again


def postgres(server: Server) -> Open:
    """In a schema of its own."""
    schema = server.schema()

    async def again() -> Journal:
        return await PostgresJournal.open(server.url, cluster="test", schema=schema)

    return again


JOURNALS = ("memory", "sqlite", pytest.param("postgres", marks=pytest.mark.real))


@pytest.fixture(params=JOURNALS)
async def again(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the same journal as often as it is called; all are closed in the end."""
    opened: list[Journal] = []
    if request.param == "postgres":
        make = postgres(request.getfixturevalue("postgres"))
    else:
        make = {"memory": memory, "sqlite": sqlite}[request.param](tmp_path)

    async def open_() -> Journal:
        opened.append(await make())
        return opened[-1]

    yield open_
    for journal in opened:
        await journal.close()
