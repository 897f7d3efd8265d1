"""Opens the journal's file: creates it for nobody else to read, checks it, and refuses one that is not ours.

Nothing is ever reset here: a file that cannot be used is named together with the remedy, and stays as it is. A new one gets its
name only when it is complete, so an empty file is never taken for one that was about to be made.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import structlog

from daemon.runtime import journal_damage

log = structlog.get_logger()

SCHEMA_VERSION = 2
"""2: every row carries a checksum."""

SQLITE_WAIT_SECONDS = 2.0
"""How long a writer waits for somebody who locks the file with `sqlite3`; Alertmanager's patience is far longer."""

CHECK_SECONDS_MAX = 60.0
"""How long a start looks through the pages: a fifth of what Kubernetes gives it (deploy/helm: startupProbe). From the page
cache it is 0.1 s for 100 MB, from a disk that reads 50 MB/s 2 s. Rows are checked anyway, whenever they are read."""

_SCHEMA = """
CREATE TABLE intake (seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
                     crc INTEGER);
CREATE TABLE facts (seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, incident TEXT,
                    body BLOB NOT NULL, crc INTEGER);
CREATE INDEX facts_incident ON facts (incident) WHERE incident IS NOT NULL;
CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), facts_seq INTEGER NOT NULL, body BLOB NOT NULL,
                       crc INTEGER);
CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 1), intake_seq INTEGER NOT NULL, at REAL NOT NULL, crc INTEGER);
INSERT INTO cursor VALUES (1, 0, 0, NULL);
"""

_UPGRADES = {1: "".join(f"ALTER TABLE {table} ADD COLUMN crc INTEGER; " for table in journal_damage.TABLES)}
"""What makes the next schema of a schema. A release that is older than the schema refuses the file."""

RESTORE = (
    "restore it from a backup (`lastgood journal restore FILE`), or move it and its -wal away to begin a new one: "
    "open incidents, pauses and quarantines are then lost, revisions are proven anew"
)

_LOOK_AT = "check the folder's owner and permissions, and the free space"

_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class JournalUnusableError(Exception):
    """The journal cannot be used at all (damaged, foreign, newer schema); says the remedy. Never silently reset."""


def open_file(path: Path) -> sqlite3.Connection:
    """The connection to the journal at `path`, made where there is none. Raises JournalUnusableError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _look(path)
        if not path.exists():
            _make(path)
        connection = _connect(path)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, str(error), _LOOK_AT) from None
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        problem, remedy = _told(connection, error)
        connection.close()
        raise _unusable(path, problem, remedy) from None
    except JournalUnusableError:
        connection.close()
        raise
    return connection


def _unusable(path: Path, problem: str, remedy: str) -> JournalUnusableError:
    return JournalUnusableError(f"journal {path} cannot be opened: {problem}; {remedy}")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=SQLITE_WAIT_SECONDS)


def _look(path: Path) -> None:
    """What SQLite would take for a new database, or would not notice."""
    log_file = path.with_name(path.name + "-wal")
    if path.is_dir():
        raise _unusable(path, "it is a folder", "move it away, or name another state_dir")
    if not path.exists():
        if log_file.exists() and log_file.stat().st_size:
            raise _unusable(path, f"it is gone, and {log_file.name} is there", RESTORE)
        return
    for each in (path, log_file):
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(each, os.O_RDWR))  # SQLite would open it for reading only, and fail at the first alert
    if not path.stat().st_size:
        raise _unusable(path, "it is empty, which a journal never is", RESTORE)
    if (lost := journal_damage.lost_commits(path)) is not None:
        raise _unusable(path, f"{log_file.name} is damaged: {lost}", RESTORE)


def _make(path: Path) -> None:
    """A new journal under its name once it is whole and on disk: labels of alerts and names of people will be in it."""
    log.info("journal_created", path=str(path))
    unnamed = path.with_name(path.name + ".new")
    for left in (unnamed, path.with_name(unnamed.name + "-journal")):  # by a life that ended in the middle of this
        left.unlink(missing_ok=True)
    os.close(os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with contextlib.closing(_connect(unnamed)) as connection:
        connection.execute("PRAGMA synchronous = EXTRA")
        lay_out(connection)
    unnamed.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def lay_out(connection: sqlite3.Connection) -> None:
    """The tables of a new journal, in a database in which nothing is."""
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _told(connection: sqlite3.Connection, error: sqlite3.Error) -> tuple[str, str]:
    """Problem and remedy of what SQLite says."""
    if journal_damage.is_damage(error):
        return journal_damage.described(connection, error), RESTORE
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code (sqlite.org/rescode.html)
    if code in _LOCKED:
        return str(error), "end the process that holds it (somebody's sqlite3?) and start again"
    return str(error), _LOOK_AT


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version > SCHEMA_VERSION:
        problem = f"it has schema {version}, this release knows {SCHEMA_VERSION}"
        raise _unusable(path, problem, "run the newer release again")
    if version == 0:
        problem, remedy = ("it is a database of something else", "name another state_dir")
        raise _unusable(path, problem, remedy) if tables else _unusable(path, "nothing is in it", RESTORE)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    _check(connection, path)
    for older in range(version, SCHEMA_VERSION):
        connection.executescript(f"BEGIN IMMEDIATE; {_UPGRADES[older]} PRAGMA user_version = {older + 1}; COMMIT;")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Every page has its shape. A file too large for the time is used as it is, and the log says so."""
    over = threading.Timer(CHECK_SECONDS_MAX, connection.interrupt)
    over.start()
    try:
        ((verdict,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        log.warning("journal_not_fully_checked", path=str(path), seconds=CHECK_SECONDS_MAX)
        return
    finally:
        over.cancel()
    if verdict != "ok":
        raise _unusable(path, journal_damage.described(connection, verdict), RESTORE)
