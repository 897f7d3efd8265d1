"""Alerts that were read and commands of people are counted by source and result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from daemon.core.events import AlertSource, AlertsReported, PauseAsked
from daemon.core.facts import Fact
from daemon.ports import InboxFullError, Journalled, JournalUnavailableError
from daemon.runtime.counted import CountedIntake

NOW = datetime(2026, 3, 2, tzinfo=UTC)
POLLED = AlertsReported(at=NOW, source=AlertSource.POLL, alerts=())
PAUSE = PauseAsked(at=NOW, scope="", actor="ann")


class Door:
    """An engine's door that takes everything, or refuses with `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.counts: Counter[tuple[str, str]] = Counter()
        self.intakes = CountedIntake(self, self, self)

    async def accept(self, event: Journalled) -> None:
        if self.error:
            raise self.error

    async def command(self, event: Journalled) -> Sequence[Fact]:
        await self.accept(event)
        return ()

    def intake(self, source: str, result: str) -> None:
        self.counts[source, result] += 1

    def contact(self, part: str, *, ok: bool) -> None:
        raise AssertionError("nothing outside was asked")


async def test_accepted_by_source() -> None:
    """What was read back counts under its own source, people under operators."""
    door = Door()
    await door.intakes.accept(POLLED)
    assert await door.intakes.command(PAUSE) == ()
    assert door.counts == {("poll", "accepted"): 1, ("operators", "accepted"): 1}


@pytest.mark.parametrize(
    ("error", "result"), [(JournalUnavailableError("full disk"), "unavailable"), (InboxFullError("10"), "full")]
)
async def test_refused_by_result(error: Exception, result: str) -> None:
    """A refusal reaches the caller as it is, and is counted."""
    door = Door()
    door.error = error
    with pytest.raises(type(error)):
        await door.intakes.accept(POLLED)
    with pytest.raises(type(error)):
        await door.intakes.command(PAUSE)
    assert door.counts == {("poll", result): 1, ("operators", result): 1}
