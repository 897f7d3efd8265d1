"""Copies one journal into another that is empty, and proves that the copy says the same.

The proof does not trust the copying: it reads the copy anew, compares every row, and folds the copy's state as a daemon's
start does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from daemon.core.evolution import evolve
from daemon.core.state import State
from daemon.runtime import codec
from daemon.runtime.journal_file import JournalUnusableError
from daemon.runtime.journal_store import Heading, Reading, Row, Store


class DiffersError(Exception):
    """The copy does not say what the original says; the message names what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a journal says: its heading, how many rows of each kind, their digest, and the digest of the folded state."""

    heading: Heading
    intake: int
    facts: int
    rows: str
    state: str


async def copy(reading: Reading, into: Store, progress: Callable[[int], None]) -> None:
    """Put everything into an empty journal, all or nothing; `progress` is told how many rows are done. Raises
    NotEmptyError, JournalUnusableError, JournalUnavailableError.
    """
    done = 0
    async with into.filling() as filling:
        for read, put in ((reading.intake, filling.put_intake), (reading.facts, filling.put_facts)):
            after = 0
            while rows := await read(after):
                await put(rows)
                after = rows[-1][0]
                done += len(rows)
                progress(done)
        await filling.put_heading(reading.heading)


async def content(reading: Reading, where: str) -> Content:
    """Read everything. Raises JournalUnusableError, naming a row that cannot be read."""
    codec.prepare()
    digest = hashlib.sha256()
    intake = await _each(reading.intake, digest, lambda row: codec.load_event(row[4]), f"journal {where}, intake")
    snapshot = reading.heading.snapshot
    seq, state = (snapshot[0], _state(snapshot[1], where)) if snapshot else (0, State())

    def fold(row: Row) -> None:
        nonlocal state
        fact = codec.load_fact(row[4])
        if row[0] > seq:
            state = evolve(state, fact)

    facts = await _each(reading.facts, digest, fold, f"journal {where}, facts")
    said = hashlib.sha256(codec.dump_state(state)).hexdigest()
    return Content(heading=reading.heading, intake=intake, facts=facts, rows=digest.hexdigest(), state=said)


def _state(body: bytes, where: str) -> State:
    try:
        return codec.load_state(body)
    except codec.UnreadableRecordError as error:
        raise JournalUnusableError(f"journal {where}, snapshot cannot be read: {error}; {REMEDY}") from None


REMEDY = "use the release that wrote it"


async def _each(
    read: Callable[[int], Awaitable[Sequence[Row]]],
    digest: hashlib._Hash,
    take: Callable[[Row], object],
    table: str,
) -> int:
    """How many rows there are; each goes into the digest and is taken."""
    after = count = 0
    while rows := await read(after):
        for row in rows:
            seq, at, kind, incident, body = row
            digest.update(repr((table.rpartition(" ")[2], seq, at.isoformat(), kind, incident, len(body))).encode())
            digest.update(body)
            try:
                take(row)
            except codec.UnreadableRecordError as error:
                raise JournalUnusableError(f"{table} row {seq} cannot be read: {error}; {REMEDY}") from None
        after = rows[-1][0]
        count += len(rows)
    return count


async def verified(original: Content, copied: Store) -> Content:
    """The content of the copy, read anew. Raises DiffersError where it is another."""
    async with copied.reading() as reading:
        found = await content(reading, copied.where)
    for name in ("heading", "intake", "facts", "rows", "state"):
        if getattr(found, name) != getattr(original, name):
            raise DiffersError(f"{copied.where} is no true copy: its {name} differs")
    return found
