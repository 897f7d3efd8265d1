"""The journals that keep the contract; another implementation is one more entry of JOURNALS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from daemon.ports import Journal
from daemon.runtime.journal import SqliteJournal
from tests.fakes import Disk, MemoryJournal

Open = Callable[[], Awaitable[Journal]]
"""Opens the same journal (again), as a next life of the daemon does."""


def _memory(folder: Path) -> Open:
    disk = Disk()

    async def again() -> Journal:
        return MemoryJournal(disk)

    return again


def _sqlite(folder: Path) -> Open:
    async def again() -> Journal:
        return SqliteJournal(folder / "journal.sqlite")

    return again


JOURNALS: Mapping[str, Callable[[Path], Open]] = {"memory": _memory, "sqlite": _sqlite}
