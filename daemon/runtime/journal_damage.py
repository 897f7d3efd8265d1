"""Damage in the journal's file: where it is, in words, and whether the write-ahead log has lost what was acknowledged."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import BinaryIO

TABLES = ("intake", "facts", "snapshot", "cursor")

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_HEADER, _FRAME = struct.Struct(">8I"), struct.Struct(">6I")
"""sqlite.org/fileformat2.html, section 4.1: magic, format, page size, checkpoint number, two salts, two checksums; and in front
of each page: its number, the size of the file after a commit or 0, two salts, two checksums."""

_MAGIC = (0x377F0682, 0x377F0683)


def is_damage(error: Exception) -> bool:
    """SQLite found something that it cannot have written."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED  # the primary code (sqlite.org/rescode.html)


def described(connection: sqlite3.Connection, found: object) -> str:
    """`it is damaged: …` with the table and the last row before the damage, as far as they can be told."""
    said = str(found).replace("*** in database main ***", "").strip().splitlines()[:1]
    where = next((place for table in TABLES if (place := _place(connection, table)) is not None), None)
    return f"it is damaged: {f'{where}: ' if where else ''}{''.join(said)}"


def _place(connection: sqlite3.Connection, table: str) -> str | None:
    try:
        whole = connection.execute(f"PRAGMA quick_check('{table}')").fetchone() == ("ok",)
    except sqlite3.Error as error:
        whole = not is_damage(error)
    return None if whole else _row(connection, table)


def _row(connection: sqlite3.Connection, table: str) -> str:
    last = 0
    try:
        for row in connection.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid"):  # noqa: S608 - of TABLES
            last = row[0]
    except sqlite3.Error:
        return f"table {table}, after row {last}"
    return f"table {table}, in its index or a link between pages"


def lost_commits(path: Path) -> str | None:
    """What is wrong with the write-ahead log beside `path` so that SQLite would drop commits without a word; None: nothing.

    SQLite reads the log up to the first frame that does not add up, which usually is the write that a power cut tore. But no
    frame is ever chained to a commit that failed. So where one is chained to a commit behind that place, that commit was
    acknowledged, and the log was whole once. Takes 0.1 s for 1,000 pages, the size at which SQLite empties the log.
    """
    log = path.with_name(path.name + "-wal")
    try:
        with log.open("rb") as file:
            return _lost(file)
    except FileNotFoundError:
        return None


def _lost(file: BinaryIO) -> str | None:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    magic, _, page_size, _, salt_1, salt_2, *sums = _HEADER.unpack(head)
    order = ">" if magic == _MAGIC[1] else "<"
    if magic not in _MAGIC or _sums(head[:24], (0, 0), order) != tuple(sums):
        return "its header does not add up"
    number, broken, after_commit, before = 0, 0, False, (sums[0], sums[1])
    while len(frame := file.read(_FRAME.size + page_size)) == _FRAME.size + page_size:
        number += 1
        _, commit, *salts, sum_1, sum_2 = _FRAME.unpack_from(frame)
        fits = salts == [salt_1, salt_2] and (sum_1, sum_2) == _sums(
            frame[_FRAME.size :], _sums(frame[:8], before, order), order
        )
        if broken and fits and after_commit:
            return f"frame {broken} does not add up, and commits follow it"
        broken = broken or (0 if fits else number)
        after_commit, before = bool(broken and commit), (sum_1, sum_2)
    return None


def _sums(data: bytes, before: tuple[int, int], order: str) -> tuple[int, int]:
    """SQLite's two sums over pairs of words, continued (section 4.2 of the same page)."""
    one, two = before
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for word in words:
        one = (one + word + two) & 0xFFFFFFFF
        two = (two + next(words) + one) & 0xFFFFFFFF
    return one, two
