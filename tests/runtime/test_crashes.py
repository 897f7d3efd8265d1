"""Cut the daemon's life after every single write, and after every effect: one rollback, no lost alert, pages in order."""

from __future__ import annotations

import asyncio

import pytest

from daemon.core.actions import PageKind
from daemon.runtime import codec
from tests.core.builders import NOON
from tests.runtime.lives import Life, World, a_world

pytestmark = pytest.mark.timeout(300)

DOWN_SECONDS = 7.0


async def lives(world: World, first: Life, second: Life) -> Life:
    """The first life until it dies (or ends well), and then another one that drives to the end."""
    await first.start()
    if await first.until(lambda: first.recovered):
        await first.end()
        return first
    await first.end()
    await asyncio.sleep(DOWN_SECONDS)
    await second.start()
    assert await second.until(lambda: second.recovered), [i.phase for i in second.engine.state.incidents.values()]
    await second.end()
    return second


async def ends_well(world: World, last: Life) -> None:
    """What must be true of the world and the journal, whatever happened on the way."""
    assert len(world.patched) == 1
    assert world.alert_acknowledged
    assert len(last.engine.state.incidents) == 1
    kinds = {page.id: page.page for page in world.paged}  # one entry per page, in the order they first arrived
    assert next(iter(kinds.values())) is PageKind.TRIGGER
    assert list(kinds.values())[-1] is PageKind.RESOLVE
    assert list(kinds.values()).count(PageKind.TRIGGER) == 1
    assert list(kinds) == sorted(kinds, key=lambda page_id: int(page_id.rpartition("/")[2]))
    assert len({page.key for page in world.paged}) == 1
    assert len(world.announced) == len(set(world.announced))
    folded = await last.journal.load()
    assert codec.dump_state(folded.state) == codec.dump_state(last.engine.state)


async def test_without_a_crash() -> None:
    """The story itself: proven, blamed, rolled back, recovered; and each page once."""
    world = a_world()
    life = Life(world)
    last = await lives(world, life, life)
    await ends_well(world, last)
    assert len(world.paged) == len({page.id for page in world.paged})
    assert life.probed == []


async def test_after_every_write() -> None:
    """Whatever write was the last one that became durable, unknown to the daemon, the next life ends the incident well."""
    world = a_world()
    whole = Life(world)
    await lives(world, whole, whole)
    writes = len(world.disk.writes)
    assert writes > 20
    for last_write in range(1, writes + 1):
        world = a_world()
        last = await lives(world, Life(world, dies_after=last_write), Life(world))
        await ends_well(world, last)


async def test_after_every_effect() -> None:
    """Dying between an effect and its answer never leads to a second one: the next life asks before it acts."""
    world = a_world()
    whole = Life(world)
    await lives(world, whole, whole)
    for last_effect in range(1, world.effects + 1):
        world = a_world()
        first, second = Life(world), Life(world)

        def die(number: int, last_effect: int = last_effect, first: Life = first) -> None:
            if number == last_effect:
                first.journal.dead.set()

        world.on_effect = die
        await ends_well(world, await lives(world, first, second))


async def test_dying_again_and_again() -> None:
    """A daemon that dies every few writes still gets there, once."""
    world = a_world()
    for _ in range(200):
        life = Life(world, dies_after=len(world.disk.writes) + 4)
        await life.start()
        done = await life.until(lambda life=life: life.recovered)  # type: ignore[misc]
        await life.end()
        if done:
            break
        await asyncio.sleep(1.0)
    assert world.clock.now() > NOON
    assert len(world.patched) == 1
    assert len({page.id for page in world.paged if page.page is PageKind.TRIGGER}) == 1


async def test_compaction_in_every_life() -> None:
    """Compacting on the way, and dying after it, changes nothing of how it ends."""
    world = a_world()
    first = Life(world)
    await first.start()
    assert await first.until(lambda: bool(world.patched))
    await first.engine.compact()
    await first.end()
    second = Life(world)
    await second.start()
    assert await second.until(lambda: second.recovered)
    await second.end()
    await ends_well(world, second)
