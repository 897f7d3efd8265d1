"""`lastgood journal backup|restore|move`: copies of the journal, each read anew and compared before it is called good."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from config import Settings
from config import logs as log_config
from config.journal_section import checked
from daemon.cli.arguments import ascii_only
from daemon.cli.configured import daemon_settings
from daemon.cli.exits import CliError, Exit
from daemon.ports import JournalUnavailableError
from daemon.runtime import journal_copy
from daemon.runtime.journal_copy import Content, DiffersError
from daemon.runtime.journal_file import JournalUnusableError
from daemon.runtime.journal_postgres_link import Server
from daemon.runtime.journal_postgres_rows import PostgresStore
from daemon.runtime.journal_store import NotEmptyError, Reading, SqliteStore, Store, existing
from daemon.state_folder import StartError, only_one

SHOWN_EVERY = 50_000
"""Rows between two lines of progress: a second or two."""

URL_BYTES_MAX = 4096
"""Longest file for --to-file: it holds one URL."""

STOP = "stop every daemon of this journal first (kubectl scale deployment/lastgood --replicas=0)"


def run(options: argparse.Namespace) -> int:
    """Follow one of the commands; the exit code. Raises CliError."""
    settings = daemon_settings(options)
    # Standard output is for the answer; what goes on as it should is not worth a line beside it.
    log_config.configure(settings.log.model_copy(update={"level": "warning"}), settings.secrets)
    follow = {"backup": _backup, "restore": _restore, "move": _move}[options.what]
    try:
        asyncio.run(follow(options, settings))
    except StartError as error:
        raise CliError(Exit.REFUSED, str(error), STOP) from None
    except DiffersError as error:
        raise CliError(Exit.REFUSED, str(error), "do not use it, and try again") from None
    except JournalUnusableError as error:
        raise CliError(Exit.REFUSED, str(error), "") from None
    except JournalUnavailableError as error:
        raise CliError(Exit.UNREACHABLE, str(error), "try again when it can be reached") from None
    except OSError as error:
        raise CliError(
            Exit.REFUSED, f"{error.filename}: {error.strerror}", "name a place that can be written"
        ) from None
    return Exit.OK


def _configured(settings: Settings) -> Store:
    """The journal that the daemon uses."""
    if settings.journal.url is None:
        return SqliteStore(settings.journal_path)
    return _database(settings.journal.url.get_secret_value(), settings)


def _database(url: str, settings: Settings) -> PostgresStore:
    return PostgresStore(Server(url, settings.journal.schema_name), settings.cluster)


# -------------------------------------------------------------------------------------------------------------- backup


async def _backup(options: argparse.Namespace, settings: Settings) -> None:
    """While the daemon runs: what it writes meanwhile is in the next one."""
    file, source = options.file, _configured(settings)
    with _unfinished(file) as part:
        if isinstance(source, SqliteStore):
            _snapshot(source.path, part)
            async with SqliteStore(part).reading() as reading:
                found = await journal_copy.content(reading, str(file))
        else:
            async with source.reading() as reading:
                found = await _copied(reading, source, SqliteStore(part))
        _alone(part)
        _synced(part)
        part.replace(file)
    _synced(file.parent)
    _tell(options, found, source.where, str(file), f"backed up to {file}")


@contextlib.contextmanager
def _unfinished(file: Path) -> Iterator[Path]:
    """A file beside the one that is to be made, for nobody else to read, and gone afterwards."""
    if file.exists():
        raise CliError(Exit.REFUSED, f"{ascii_only(str(file))} is there already", "name another file, or move it away")
    part = file.with_name(f"{file.name}.unfinished")
    companions = [part, *(part.with_name(part.name + end) for end in ("-journal", "-wal", "-shm", ".new"))]
    if part.exists():
        raise CliError(Exit.REFUSED, f"{ascii_only(str(part))} is there already", "another backup; or remove it")
    try:
        yield part
    finally:
        for each in companions:
            each.unlink(missing_ok=True)


def _snapshot(path: Path, into: Path) -> None:
    """All pages as of one moment, by SQLite itself; the daemon's writes wait for nothing."""
    os.close(os.open(into, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # labels of alerts, names of people
    try:
        with contextlib.closing(existing(path)) as source, contextlib.closing(sqlite3.connect(into)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        raise JournalUnusableError(f"journal {path} cannot be backed up: {error}; check the free space") from None


def _alone(path: Path) -> None:
    """One file, without a log beside it that a copy would leave behind."""
    with contextlib.closing(existing(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------------------------------------- restore and move


async def _restore(options: argparse.Namespace, settings: Settings) -> None:
    target = _configured(settings)
    async with _at_rest(settings, target), SqliteStore(options.file).reading() as reading:
        found = await _copied(reading, SqliteStore(options.file), target)
    _tell(options, found, str(options.file), target.where, f"restored to {target.where}")


async def _move(options: argparse.Namespace, settings: Settings) -> None:
    source, target = _configured(settings), _target(options, settings)
    async with _at_rest(settings, source, target), source.reading() as reading:
        found = await _copied(reading, source, target)
    _tell(options, found, source.where, target.where, f"moved to {target.where}; the old one is as it was")
    if not options.json:
        is_file = isinstance(target, SqliteStore)
        print(
            "next: " + ("take journal.url out of the configuration" if is_file else "set journal.url") + ", and start"
        )


def _target(options: argparse.Namespace, settings: Settings) -> Store:
    if options.to == "sqlite":
        found: Store = SqliteStore(settings.journal_path)
    else:
        found = _database(_url(options), settings)
    if found == _configured(settings):
        raise CliError(Exit.USAGE, "the journal is there already", "name where it is to go")
    return found


def _url(options: argparse.Namespace) -> str:
    url = options.to
    try:
        if options.to_file is not None:
            with options.to_file.open("rb") as file:
                url = file.read(URL_BYTES_MAX).decode().strip()
        return checked(url)
    except OSError as error:
        raise CliError(Exit.USAGE, f"--to-file: {error.strerror}", "name a file that you may read") from None
    except ValueError as error:
        option = "--to" if options.to_file is None else "--to-file"
        raise CliError(Exit.USAGE, f"{option} {error}", "") from None


@contextlib.asynccontextmanager
async def _at_rest(settings: Settings, *stores: Store) -> AsyncIterator[None]:
    """No daemon has one of these journals, and none on this state folder can start meanwhile. Raises StartError."""
    async with AsyncExitStack() as stack:
        stack.enter_context(only_one(settings.state_dir))
        for store in stores:
            if isinstance(store, PostgresStore) and (places := await store.daemons()):
                raise CliError(Exit.REFUSED, f"a daemon is connected to {store.where} from {', '.join(places)}", STOP)
        yield


async def _copied(reading: Reading, source: Store, target: Store) -> Content:
    """What was copied, after the copy was read anew and compared."""
    shown = 0

    def progress(done: int) -> None:
        nonlocal shown
        if done - shown >= SHOWN_EVERY:
            shown = done
            print(f"lastgood: {done} rows copied", file=sys.stderr)

    original = await journal_copy.content(reading, source.where)  # before anything is changed: it may be unreadable
    try:
        await journal_copy.copy(reading, target, progress)
    except NotEmptyError:
        remedy = "nothing was changed; name an empty one, or move this one away first"
        raise CliError(Exit.REFUSED, f"{target.where} is not empty", remedy) from None
    return await journal_copy.verified(original, target)


def _tell(options: argparse.Namespace, found: Content, origin: str, target: str, done: str) -> None:
    cursor = found.heading.cursor
    if options.json:
        counts = {"facts": found.facts, "events": found.intake, "cursor": cursor, "state_sha256": found.state}
        print(json.dumps({"from": origin, "to": target, **counts}, indent=2))
        return
    print(f"{ascii_only(done)}")
    print(f"checked: {found.facts} facts, {found.intake} accepted events, consumed up to {cursor}")
    print(f"its state has the SHA-256 {found.state}")
