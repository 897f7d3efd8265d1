"""What every journal keeps, whatever it is made of: nothing promised is lost, nothing is half there, a fold is a fold."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from daemon.core.events import AlertSource, AlertsReported, PauseAsked
from daemon.core.evolution import replay
from daemon.core.facts import Fact, PauseSet
from daemon.core.incidents import Phase
from daemon.ports import Journal, JournalUnavailableError
from daemon.runtime import codec
from tests.contract.journals import Open, again
from tests.core.builders import MINUTE, NOON, an_alert
from tests.core.story import Story

__all__ = ["again"]


@pytest.fixture
async def journal(again: Open) -> Journal:
    return await again()


def paused(number: int) -> PauseAsked:
    return PauseAsked(at=NOON, scope=f"space-{number}", actor="ann")


def pause_set(number: int) -> PauseSet:
    return PauseSet(at=NOON, scope=f"space-{number}", until=None, actor="ann")


def a_story() -> Story:
    """A whole incident: blamed, rolled back, recovered."""
    story = Story()
    story.spikes()
    story.waits(MINUTE)
    story.is_back()
    story.waits(10 * MINUTE)
    story.expect(Phase.RECOVERED)
    return story


async def history_of(journal: Journal, **which: Any) -> list[Fact]:
    return [fact async for _, fact in journal.history(**which)]


async def test_consumed_ahead_of_the_cursor(again: Open) -> None:
    """What was consumed before older events is never unread again; those are, in this life and the next."""
    journal = await again()
    first, second, third = await journal.accept([paused(1), paused(2), paused(3)], NOON)
    await journal.commit([pause_set(2)], first - 1, NOON, [second])
    assert [seq for seq, _ in await journal.unread(first - 1, 10)] == [first, third]
    await journal.close()
    later = await again()
    assert (await later.load()).cursor == first - 1
    assert [event for _, event in await later.unread(first - 1, 10)] == [paused(1), paused(3)]


async def test_new(journal: Journal) -> None:
    """A new journal holds nothing and was never written."""
    loaded = await journal.load()
    assert (loaded.cursor, loaded.written_at, loaded.facts) == (0, None, 0)
    assert codec.dump_state(loaded.state) == codec.dump_state(replay(()))
    assert await journal.unread(0, 10) == []


async def test_accepted_is_read_in_order(journal: Journal) -> None:
    """Sequence numbers rise in the order of acceptance, and `unread` gives what is above a number, so many at a time."""
    first = await journal.accept([paused(1), paused(2)], NOON)
    second = await journal.accept([paused(3)], NOON)
    numbers = [*first, *second]
    assert numbers == sorted(set(numbers))
    rows = await journal.unread(0, 10)
    assert [seq for seq, _ in rows] == numbers
    assert [event for _, event in rows] == [paused(1), paused(2), paused(3)]
    assert [event for _, event in await journal.unread(numbers[0], 1)] == [paused(2)]


async def test_acceptance_outlives_the_process(again: Open) -> None:
    """What was accepted is there for the next life, until a commit moves the cursor past it."""
    journal = await again()
    report = AlertsReported(at=NOON, source=AlertSource.WEBHOOK, alerts=(an_alert(),), complete=True)
    (one, two) = await journal.accept([report, paused(1)], NOON)
    await journal.commit([], one, NOON)
    await journal.close()
    journal = await again()
    loaded = await journal.load()
    assert loaded.cursor == one
    assert await journal.unread(loaded.cursor, 10) == [(two, paused(1))]
    assert [event for _, event in await journal.unread(0, 1)] == [report]


async def test_concurrent_acceptance(journal: Journal) -> None:
    """Each of many at once gets a number of its own, and the callers go on in the order of their numbers."""
    finished: list[int] = []

    async def accept(number: int) -> None:
        (seq,) = await journal.accept([paused(number)], NOON)
        finished.append(seq)

    await asyncio.gather(*(accept(number) for number in range(300)))
    assert finished == sorted(set(finished))
    assert [event for _, event in await journal.unread(0, 1000)] == [paused(number) for number in range(300)]


async def test_numbers_are_never_given_twice(again: Open) -> None:
    """A number that the cursor has passed is not given again, not even after compaction and a restart."""
    journal = await again()
    numbers = list(await journal.accept([paused(1), paused(2)], NOON))
    await journal.commit([], numbers[-1], NOON)
    await journal.compact((await journal.load()).state, numbers[-1], NOON)
    await journal.close()
    journal = await again()
    (seq,) = await journal.accept([paused(3)], NOON)
    assert seq > numbers[-1]
    assert await journal.unread((await journal.load()).cursor, 10) == [(seq, paused(3))]


async def test_facts_and_cursor_are_one(again: Open) -> None:
    """Facts and cursor come back together, with the moment of the last write."""
    journal = await again()
    await journal.commit([pause_set(1)], 7, NOON)
    await journal.commit([pause_set(2)], 9, NOON + MINUTE)
    await journal.close()
    loaded = await (await again()).load()
    assert (loaded.cursor, loaded.written_at, loaded.facts) == (9, NOON + MINUTE, 2)
    assert set(loaded.state.pauses) == {"space-1", "space-2"}


async def test_cursor_never_goes_back(journal: Journal) -> None:
    """A smaller cursor changes nothing: what was consumed stays consumed."""
    await journal.commit([], 9, NOON)
    await journal.commit([], 4, NOON)
    assert (await journal.load()).cursor == 9


async def test_load_is_the_fold(again: Open) -> None:
    """The state of a next life is the fold of the facts, to the byte, in however many commits they were written."""
    story = a_story()
    journal = await again()
    for index in range(0, len(story.facts), 7):
        await journal.commit(story.facts[index : index + 7], index, NOON)
    loaded = await (await again()).load()
    assert codec.dump_state(loaded.state) == codec.dump_state(story.replayed()) == codec.dump_state(story.state)
    assert loaded.facts == len(story.facts)


async def test_history(journal: Journal) -> None:
    """History is oldest first, the newest `limit`, of one incident where asked, with the moment of each write."""
    story = a_story()
    await journal.commit(story.facts, 0, NOON)
    await journal.commit([pause_set(1)], 0, NOON + MINUTE)
    assert await history_of(journal) == [*story.facts, pause_set(1)]
    assert await history_of(journal, limit=3) == [*story.facts[-2:], pause_set(1)]
    own = await history_of(journal, incident=story.incident.id)
    assert len(own) > 10
    assert own == [fact for fact in story.facts if fact in own]
    assert own[-2:] == await history_of(journal, incident=story.incident.id, limit=2)
    assert {"incident_opened", "judged", "moved", "action_owed", "action_settled"} <= {fact.kind for fact in own}
    assert await history_of(journal, incident="inc-unknown") == []
    assert [at async for at, _ in journal.history(limit=1)] == [NOON + MINUTE]


async def test_compaction_changes_no_state(again: Open) -> None:
    """After compaction, later facts and a restart the state is the same to the byte, and less has to be folded."""
    story = a_story()
    before, after = story.facts[:-20], story.facts[-20:]
    journal = await again()
    (seq,) = await journal.accept([paused(1)], NOON)
    await journal.commit(before, seq, NOON)
    await journal.compact(replay(before), seq, NOON)
    await journal.commit(after, seq, NOON + MINUTE)
    await journal.close()
    loaded = await (await again()).load()
    assert codec.dump_state(loaded.state) == codec.dump_state(story.state)
    assert (loaded.cursor, loaded.facts, loaded.written_at) == (seq, len(after), NOON + MINUTE)


async def test_compaction_keeps_what_explain_needs(journal: Journal) -> None:
    """Facts of incidents in the state stay; those of forgotten incidents, the rest, and consumed events go."""
    story = a_story()
    numbers = await journal.accept([paused(1), paused(2)], NOON)
    await journal.commit(story.facts, numbers[0], NOON)
    own = await history_of(journal, incident=story.incident.id)
    await journal.compact(story.state, numbers[0], NOON)
    assert await history_of(journal) == own
    assert [event for _, event in await journal.unread(0, 10)] == [paused(2)]
    await journal.compact(replay(()), numbers[0], NOON)
    assert await history_of(journal) == []


async def test_compaction_twice(again: Open) -> None:
    """A second snapshot takes the place of the first."""
    story = a_story()
    journal = await again()
    half = len(story.facts) // 2
    await journal.commit(story.facts[:half], 1, NOON)
    await journal.compact(replay(story.facts[:half]), 1, NOON)
    await journal.commit(story.facts[half:], 2, NOON)
    await journal.compact(story.state, 2, NOON + timedelta(hours=1))
    await journal.close()
    loaded = await (await again()).load()
    assert codec.dump_state(loaded.state) == codec.dump_state(story.state)
    assert (loaded.facts, loaded.cursor, loaded.written_at) == (0, 2, NOON + timedelta(hours=1))


async def test_closed(journal: Journal) -> None:
    """A closed journal refuses what is asked of it; nobody waits for ever."""
    await journal.close()
    await journal.close()
    async with asyncio.timeout(5):
        with pytest.raises(JournalUnavailableError):
            await journal.accept([paused(1)], NOON)
        with pytest.raises(JournalUnavailableError):
            await journal.commit([], 1, NOON)


async def test_a_write_that_nobody_waits_for(again: Open) -> None:
    """A cancelled acceptance leaves the journal whole: the event is there or not, and the next one is."""
    journal = await again()
    task = asyncio.get_running_loop().create_task(journal.accept([paused(1)], NOON))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await journal.accept([paused(2)], NOON)
    events = [event for _, event in await journal.unread(0, 10)]
    assert events in ([paused(2)], [paused(1), paused(2)])
