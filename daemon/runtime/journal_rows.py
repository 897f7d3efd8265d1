"""The checksum that every row of the journal carries: what was not written so is not read as if it had been.

SQLite checks the shape of its pages, not what is in them. Of the single bits that can turn in the body of a fact, every fourth
leaves a fact that can be read, only another one: a later moment, another revision, another incident (measured on a whole
story's facts). A CRC-32 finds every such bit and every burst of up to 32; it costs 0.3 ms for a megabyte.
"""

from __future__ import annotations

import zlib


class DamagedRowError(Exception):
    """A row that is not what was written."""


def checksum(*columns: float | str | bytes | None) -> int:
    """CRC-32 of a row's columns as they are stored; the number that SQLite gives a row is not among them."""
    crc = 0
    for column in columns:
        crc = zlib.crc32(column if isinstance(column, bytes) else repr(column).encode(errors="backslashreplace"), crc)
    return crc


def check(crc: int | None, *columns: float | str | bytes | None) -> None:
    """Raise DamagedRowError where the columns are not those of the checksum. None: a row from before there were any."""
    if crc is not None and crc != (found := checksum(*columns)):
        raise DamagedRowError(f"it is damaged: it was written with checksum {crc:08x}, what it holds has {found:08x}")
