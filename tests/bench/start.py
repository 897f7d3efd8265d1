"""A start with a long journal: how soon the daemon has its state, and what of it costs what.

Run as `python start.py FOLDER FACTS` to write a journal of so many facts (all but the last 49,000 before the snapshot, of
incidents that are still remembered: more than a compaction leaves), `python start.py FOLDER` to open and fold it; the second
prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

from daemon.core.actions import Locate, Located, Outcome, OutcomeKind
from daemon.core.events import AlertSource
from daemon.core.facts import ActionOwed, ActionSettled, AlertNoted, AlertPlaced, Fact
from daemon.core.model import ActionId
from daemon.runtime import codec
from daemon.runtime.engine import COMPACT_AFTER_FACTS
from daemon.runtime.journal import SqliteJournal, incident_of
from daemon.runtime.journal_file import open_file
from tests.core.builders import NOON, a_location, an_alert
from tests.core.story import Story

AFTER_SNAPSHOT = COMPACT_AFTER_FACTS - 1000


def alert_facts() -> Iterator[Fact]:
    """The facts of one new alert after the other: noted, to be located, located, placed."""
    number = 0
    while True:
        number += 1
        alert = an_alert(f"{number:016x}")
        locate = Locate(id=ActionId(f"locate/{number}"), deadline=NOON, alert=alert)
        done = Outcome(kind=OutcomeKind.DONE, result=Located(location=a_location()))
        yield AlertNoted(at=NOON, source=AlertSource.WEBHOOK, alert=alert)
        yield ActionOwed(at=NOON, action=locate)
        yield ActionSettled(at=NOON, action_id=locate.id, outcome=done)
        yield AlertPlaced(at=NOON, fingerprint=alert.fingerprint, location=a_location())


def mixed(story: Story) -> Iterator[Fact]:
    """Half of them of alerts, half of an incident's whole road, again and again."""
    for one, other in zip(alert_facts(), cycle(story.facts), strict=False):
        yield one
        yield other


def write(folder: Path, count: int) -> None:
    """Write the journal."""
    story = Story()
    story.spikes()
    story.waits(timedelta(minutes=2))
    connection = open_file(folder / "journal.db")
    connection.execute("BEGIN")
    insert = "INSERT INTO facts (at, kind, incident, body) VALUES (?, ?, ?, ?)"
    old = [(0.0, fact.kind, story.incident.id, codec.dump_fact(fact)) for fact in islice(mixed(story), 4000)]
    before = max(0, count - AFTER_SNAPSHOT)
    connection.executemany(insert, islice(cycle(old), before))
    if before:
        snapshot = codec.dump_state(story.state)
        connection.execute("INSERT INTO snapshot VALUES (1, ?, ?)", (before, snapshot))
    new = islice(mixed(story), count - before)
    connection.executemany(insert, ((0.0, fact.kind, incident_of(fact), codec.dump_fact(fact)) for fact in new))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def start(folder: Path) -> dict[str, float]:
    """Open and fold it."""
    began = time.perf_counter()
    journal = SqliteJournal(folder / "journal.db")
    opened = time.perf_counter()
    loaded = await journal.load()
    folded = time.perf_counter()
    await journal.close()
    return {
        "opened": opened - began, "folded": folded - opened, "ready": folded - began, "facts_folded": loaded.facts,
        "alerts": len(loaded.state.alerts), "journal_bytes": (folder / "journal.db").stat().st_size,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip


def main() -> None:
    """Run as the module says."""
    if len(sys.argv) > 2:
        write(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        print(json.dumps(asyncio.run(start(Path(sys.argv[1])))))  # noqa: T201  it is a program


if __name__ == "__main__":
    main()
