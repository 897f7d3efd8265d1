"""One elector, and two: who leads when, when they stop, and what they leave behind for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from daemon.ports import JournalUnavailableError
from handlers.lease_record import LeaseTimes, identity_of
from tests.handlers.lease_world import Contender, Shelf, hangs

DURATION, DEADLINE = 15.0, 10.0

Enter = Callable[..., Contender]


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def enter() -> AsyncIterator[Enter]:
    """Begins electors, and ends them after the test."""
    begun: list[Contender] = []

    def one(shelf: Shelf, identity: str, **options: object) -> Contender:
        begun.append(Contender(shelf, identity, **options))  # type: ignore[arg-type]
        begun[-1].begin()
        return begun[-1]

    yield one
    for each in begun:
        await each.kill()


async def led(enter: Enter, shelf: Shelf, identity: str = "a", **options: object) -> Contender:
    contender = enter(shelf, identity, **options)
    await contender.until_elected()
    return contender


async def test_a_new_lease_is_free_only_after_its_duration(enter: Enter) -> None:
    """Where there was no Lease, somebody may have deleted it under a leader, who acts until its time is over."""
    began, shelf = now(), Shelf()
    first = enter(shelf, "a")
    at = await first.until_elected()
    assert DURATION <= at - began < DURATION + 1
    assert (first.elector.token, shelf.spec["holderIdentity"], shelf.spec["leaseTransitions"]) == (1, "a", 1)
    assert first.holders == ["", "a"]


async def test_a_leader_stays_one(enter: Enter) -> None:
    """Renewed every two seconds, it always has most of its time left, and who looks on gets nothing."""
    shelf = Shelf()
    first = await led(enter, shelf)
    second = enter(shelf, "b")
    for _ in range(600):
        await asyncio.sleep(0.25)
        assert first.elector.leads
        assert first.elector.remaining > DEADLINE - 2.5
        assert (second.elector.leads, second.elector.remaining, second.elector.holder) == (False, 0.0, "a")
    assert first.elector.token == 1


async def test_a_dead_leader_is_followed_within_its_duration(enter: Enter) -> None:
    """Killed without a word: the next leads a duration after it saw the last renewal, and not a moment earlier."""
    shelf = Shelf()
    first = await led(enter, shelf)
    second = enter(shelf, "b")
    await asyncio.sleep(31.3)
    remaining, killed = first.elector.remaining, now()
    await first.kill()
    took = await second.until_elected() - killed
    assert remaining < took < DURATION + 1
    assert second.elector.token == 2


async def test_a_released_lease_is_taken_at_once(enter: Enter) -> None:
    """After SIGTERM the next one leads as soon as it looks; the one that gave it back does not lead from before it wrote."""
    shelf = Shelf()
    first = await led(enter, shelf)
    second = enter(shelf, "b")
    await asyncio.sleep(5)
    released = now()
    await first.end()
    assert not first.elector.leads
    assert (shelf.spec["holderIdentity"], shelf.spec["leaseDurationSeconds"], shelf.spec["leaseTransitions"]) == (
        "",
        1,
        1,
    )
    assert await second.until_elected() - released < 2 * LeaseTimes().look.total_seconds()
    assert second.elector.token == 2


async def test_who_releases_does_not_lead_while_it_writes(enter: Enter) -> None:
    """The answer may never come, and the Lease be free all the same."""
    first = await led(enter, Shelf())
    await first.kill()
    first.api.weather = hangs
    releasing = asyncio.get_running_loop().create_task(first.elector.release())
    await asyncio.sleep(0.5)
    assert not first.elector.leads
    await releasing
    assert "in time" in first.faults[-1]


async def test_what_is_not_ours_any_more_is_not_released(enter: Enter) -> None:
    """Another holds it meanwhile: giving back would take it away from there."""
    shelf = Shelf()
    first = await led(enter, shelf)
    await first.kill()
    second = await led(enter, shelf, "b")
    await first.elector.release()
    assert shelf.spec["holderIdentity"] == "b"
    assert second.elector.leads


async def test_a_standby_releases_nothing(enter: Enter) -> None:
    """Who never had it asks for nothing when it ends."""
    shelf = Shelf()
    await led(enter, shelf)
    second = enter(shelf, "b")
    await asyncio.sleep(1)
    await second.kill()
    asked = list(second.api.asked)
    await second.elector.release()
    assert second.api.asked == asked


async def test_release_outlasts_a_label(enter: Enter) -> None:
    """Somebody writes to the Lease between reading it and giving it back: read again."""
    shelf = Shelf()
    first = await led(enter, shelf)
    await first.kill()
    labels = iter(["x", "y"])

    async def busy(moment: str) -> None:
        if moment == "before" and first.api.asked[-1] == "put" and (name := next(labels, None)):
            shelf.label(name)

    first.api.weather = busy
    await first.elector.release()
    assert shelf.spec["holderIdentity"] == ""


async def test_a_hung_api_server_ends_leadership_before_anybody_can_take_it(enter: Enter) -> None:
    """No answer, for ever: the leader is done 10 s after its last good renewal was sent, the other begins after 15."""
    shelf = Shelf()
    first = await led(enter, shelf)
    second = enter(shelf, "b")
    await asyncio.sleep(20)
    first.api.weather = hangs
    remaining, began = first.elector.remaining, now()
    while first.elector.leads:
        await asyncio.sleep(0.05)
    assert now() - began == pytest.approx(remaining, abs=0.1)
    await asyncio.sleep(0.1)
    assert first.lost is not None
    assert "could not be renewed within 10 s" in first.lost
    assert await second.until_elected() - began > remaining + 2


async def test_a_hung_attempt_leaves_time_for_another(enter: Enter) -> None:
    """One connection that hangs does not cost the lease: an attempt has half of the time."""
    first = await led(enter, Shelf())
    await asyncio.sleep(3)
    first.api.weather = hangs
    await asyncio.sleep(6)

    async def answers(moment: str) -> None:
        await asyncio.sleep(0)

    first.api.weather = answers
    await asyncio.sleep(60)
    assert first.elector.leads
    assert first.lost is None


async def test_time_counts_from_before_the_request(enter: Enter) -> None:
    """A renewal that takes four seconds to be answered gives six, not ten."""
    first = await led(enter, Shelf())

    async def slow(moment: str) -> None:
        await asyncio.sleep(2)

    first.api.weather = slow
    await asyncio.sleep(30)
    assert first.elector.leads
    seen = []
    for _ in range(200):
        await asyncio.sleep(0.1)
        seen.append(first.elector.remaining)
    assert max(seen) <= DEADLINE - 4


async def test_a_loop_that_stood_still_knows_at_once(enter: Enter) -> None:
    """12 s without a turn: asked in the very next moment, before any timer ran, it does not lead, nor ever again."""
    shelf = Shelf()
    first = await led(enter, shelf)
    first.watch.stalled += DEADLINE + 2
    assert (first.elector.leads, first.elector.remaining) == (False, 0.0)
    writes = len(shelf.writes)
    await asyncio.sleep(3)
    assert first.lost is not None
    assert not first.elector.leads
    assert len(shelf.writes) == writes


async def test_an_answer_that_comes_too_late_is_no_renewal(enter: Enter) -> None:
    """The loop stands still while a renewal is under way: what it stood for has been given up, though the write was done."""
    first = await led(enter, Shelf())
    stood = asyncio.Event()

    async def stands_still(moment: str) -> None:
        if moment == "after":
            first.watch.stalled += DEADLINE - 1
            stood.set()

    first.api.weather = stands_still
    await stood.wait()
    for _ in range(5):
        assert not first.elector.leads
        await asyncio.sleep(0.1)


async def test_clocks_that_jump_change_nothing(enter: Enter) -> None:
    """A leader whose wall clock is a year ahead, then a year behind, leads on; nobody's times are compared."""
    shelf = Shelf()
    first = await led(enter, shelf)
    second = enter(shelf, "b")
    for days in (365, -365, 0):
        first.watch.wall = timedelta(days=days)
        second.watch.wall = timedelta(days=-2 * days)
        await asyncio.sleep(60)
        assert first.elector.leads
        assert not second.elector.leads


async def test_a_clock_that_stands_is_no_death(enter: Enter) -> None:
    """Each renewal is later than the one before, whatever the clock says: a write that changes nothing is no sign of life."""
    shelf = Shelf()
    first = await led(enter, shelf)
    frozen = first.watch.now()
    first.watch.now = lambda: frozen  # type: ignore[method-assign]
    second = enter(shelf, "b")
    await asyncio.sleep(60)
    assert first.elector.leads
    assert not second.elector.leads
    times = [write["spec"]["renewTime"] for write in shelf.writes if "renewTime" in write["spec"]]
    assert times == sorted(set(times))


async def test_taken_away_is_lost_at_the_next_look(enter: Enter) -> None:
    """Somebody writes another holder: the conflict is looked into, and whoever is named there has it."""
    shelf = Shelf()
    first = await led(enter, shelf)
    shelf.edit(holderIdentity="somebody")
    await asyncio.sleep(2.5)
    assert first.lost is not None
    assert "somebody has it now" in first.lost
    assert not first.elector.leads


async def test_a_conflict_alone_costs_nothing(enter: Enter) -> None:
    """409 means to look again: a label makes a new version, and the Lease is still ours. The label stays."""
    shelf = Shelf()
    first = await led(enter, shelf)
    for name in "abc":
        shelf.label(name)
        await asyncio.sleep(3)
    assert first.elector.leads
    assert first.faults == []
    assert shelf.lease is not None
    assert shelf.lease["metadata"]["labels"] == {"c": "x"}


async def test_a_label_does_not_keep_a_dead_leader_alive(enter: Enter) -> None:
    """Only its holder gives a sign of life."""
    shelf = Shelf()
    first = await led(enter, shelf)
    second = enter(shelf, "b")
    await asyncio.sleep(5)
    await first.kill()
    killed = now()
    while not second.elector.leads and now() - killed < 60:
        shelf.label(str(now()))
        await asyncio.sleep(1)
    assert now() - killed < DURATION + 2


async def test_a_deleted_lease_is_lost_and_the_next_one_waits(enter: Enter) -> None:
    """Whoever makes it anew leads only when the last leader's time is over, and with a higher token."""
    shelf = Shelf()
    first = await led(enter, shelf, floor=41)
    second = enter(shelf, "b", floor=42)
    await asyncio.sleep(4)
    shelf.lease, deleted = None, now()
    at = await second.until_elected()
    assert first.lost is not None
    assert at - deleted >= DURATION
    assert (first.elector.token, second.elector.token) == (42, 43)


async def test_deleted_while_the_leader_hears_nothing(enter: Enter) -> None:
    """The same with a leader that cannot know: its time is over before the new Lease is free."""
    shelf = Shelf()
    first = await led(enter, shelf)
    second = enter(shelf, "b")
    await asyncio.sleep(4)
    first.api.weather, shelf.lease = hangs, None
    while not second.elector.leads:
        assert not (first.elector.leads and second.elector.leads)
        await asyncio.sleep(0.05)
    assert not first.elector.leads


async def test_an_answer_that_was_lost_is_found_again(enter: Enter) -> None:
    """Our taking it was written, and we were not told: the holder is us, so we have it, with the same token."""
    shelf = Shelf()
    second = Contender(shelf, "b")
    lost = [True]

    async def loses_the_first(moment: str) -> None:
        if moment == "after" and second.api.asked[-1] == "put" and lost:
            lost.clear()
            await asyncio.Event().wait()

    second.api.weather = loses_the_first
    second.begin()
    await second.until_elected()
    assert second.elector.token == 1
    await second.kill()


async def test_another_life_of_the_same_pod_is_another(enter: Enter) -> None:
    """A restarted container does not take its own old lease for still held: what the old one began may be under way."""
    shelf = Shelf()
    first = await led(enter, shelf, identity_of("lastgood-0", "1111"))
    await first.kill()
    killed = now()
    second = enter(shelf, identity_of("lastgood-0", "2222"))
    assert await second.until_elected() - killed >= DURATION


async def test_without_the_journal_nobody_becomes_leader(enter: Enter) -> None:
    """The token must be higher than all that the journal has seen: what cannot be asked is waited for."""
    shelf = Shelf()

    async def cannot() -> int:
        raise JournalUnavailableError("the database is away")

    first = Contender(shelf, "a")
    first.elector._token_floor = cannot
    first.begin()
    await asyncio.sleep(30)
    assert not first.elector.leads
    assert first.faults[-1] == "the database is away"
    first.elector._token_floor = first._token_floor
    await first.until_elected()
    await first.kill()


async def test_unknown_fields_stay(enter: Enter) -> None:
    """What a newer API knows, and what people wrote beside, survives all that we write."""
    shelf = Shelf()
    shelf.create(
        {"metadata": {"name": "lastgood", "annotations": {"a": "b"}}, "spec": {"strategy": "OldestEmulationVersion"}}
    )
    first = await led(enter, shelf)
    await asyncio.sleep(5)
    await first.end()
    assert shelf.lease is not None
    assert shelf.lease["metadata"]["annotations"] == {"a": "b"}
    assert shelf.spec["strategy"] == "OldestEmulationVersion"


async def test_the_longer_duration_counts(enter: Enter) -> None:
    """While a setting is changed, a holder may count on more than we would give it."""
    shelf = Shelf()
    long = LeaseTimes(duration=timedelta(seconds=40), renew_deadline=timedelta(seconds=30))
    first = await led(enter, shelf, times=long)
    second = enter(shelf, "b")
    await asyncio.sleep(3)
    await first.kill()
    killed = now()
    assert await second.until_elected() - killed > 35


async def test_problems_are_told_once(enter: Enter) -> None:
    """A Lease with a bad time is taken like any other, and what is wrong with it is told one time."""
    shelf = Shelf()
    shelf.create({"metadata": {"name": "lastgood"}, "spec": {"holderIdentity": "x", "renewTime": "yesterday"}})
    first = await led(enter, shelf)
    assert len(first.faults) == 1
    assert "spec.renewTime is 'yesterday'" in first.faults[0]
