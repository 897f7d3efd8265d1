"""Opens the journal's file: creates it for nobody else to read, checks it, and refuses one that is not ours.

Nothing is ever reset here: a file that cannot be used is named together with the remedy, and stays as it is.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

SCHEMA_VERSION = 1

SQLITE_WAIT_SECONDS = 2.0
"""How long a writer waits for somebody who locks the file with `sqlite3`; Alertmanager's patience is far longer."""

_SCHEMA = """
CREATE TABLE intake (seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE facts (seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, incident TEXT,
                    body BLOB NOT NULL);
CREATE INDEX facts_incident ON facts (incident) WHERE incident IS NOT NULL;
CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), facts_seq INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE cursor (id INTEGER PRIMARY KEY CHECK (id = 1), intake_seq INTEGER NOT NULL, at REAL NOT NULL);
INSERT INTO cursor VALUES (1, 0, 0);
"""

RESTORE = "restore it from a backup, or move it away to start without history"

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class JournalUnusableError(Exception):
    """The journal cannot be used at all (damaged, foreign, newer schema); says the remedy. Never silently reset."""


def open_file(path: Path) -> sqlite3.Connection:
    """The connection to the journal at `path`, made where there is none. Raises JournalUnusableError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # labels of alerts and names of people are in it
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=SQLITE_WAIT_SECONDS)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, str(error), "check the folder's owner and permissions, and the free space") from None
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, str(error), _remedy(error)) from None
    except JournalUnusableError:
        connection.close()
        raise
    return connection


def _unusable(path: Path, problem: str, remedy: str) -> JournalUnusableError:
    return JournalUnusableError(f"journal {path} cannot be opened: {problem}; {remedy}")


def _remedy(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code (sqlite.org/rescode.html)
    if code in _LOCKED:
        return "end the process that holds it (somebody's sqlite3?) and start again"
    if code in _DAMAGED:
        return RESTORE
    return "check the folder's owner and permissions, and the free space"


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version > SCHEMA_VERSION:
        problem = f"it has schema {version}, this release knows {SCHEMA_VERSION}"
        raise _unusable(path, problem, "run the newer release again")
    if version == 0 and tables:
        raise _unusable(path, "it is a database of something else", "name another state_dir")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        return
    ((verdict,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise _unusable(path, f"it is damaged: {verdict}", RESTORE)
