"""The reflector against a server that misbehaves in every way on record: the view stays right, nothing storms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest

from handlers.faults import Fault, FaultKind
from handlers.reflector import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN, FAILED_WATCHES_MAX, Backoff, Reflector, stale
from handlers.store import Change, Obj
from tests.handlers.scripted_api import (
    PODS,
    ScriptedApi,
    bookmark,
    client_of,
    event,
    listing,
    pod,
    says,
    serving,
    status,
    stream,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

HANG = stream(end="hang")
QUIET = stream(end="timeout")
GONE = status(410, "Expired")


@dataclass(slots=True)
class World:
    """A reflector at work, the server it watches, and what it told."""

    api: ScriptedApi
    reflector: Reflector
    task: asyncio.Task[None]
    told: list[tuple[Change, str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def names(self) -> set[str]:
        """The names in the store."""
        return {obj["metadata"]["name"] for obj in self.reflector.store}

    def versions_watched(self) -> list[str]:
        """The version that each watch resumed from."""
        return [asked.query["resourceVersion"] for asked in self.api.asked_watches()]


@asynccontextmanager
async def reflecting(lists: list[Any], watches: list[Any], **options: Any) -> AsyncIterator[World]:
    """A reflector of pods on a scripted server, started."""
    async with serving() as api, client_of(api) as client:
        api.lists, api.watches = lists, watches
        told: list[tuple[Change, str, str]] = []
        faults: list[Fault] = []

        def on_change(change: Change, old: Obj | None, new: Obj | None) -> None:
            seen = new or old
            assert seen is not None
            told.append((change, seen["metadata"]["name"], seen["metadata"]["resourceVersion"]))

        reflector = Reflector(client, PODS, on_change=on_change, on_fault=faults.append, random=lambda: 0.5, **options)
        task = asyncio.get_running_loop().create_task(reflector.run())
        try:
            yield World(api, reflector, task, told, faults)
        finally:
            assert not task.done(), task.exception()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_list_in_pages_then_watch_from_there() -> None:
    """All pages arrive before the view counts as synced, and the watch begins where the list ended."""
    lists = [listing(pod("a", "1"), token="t", version="50"), listing(pod("b", "2"), version="50")]
    watches = [stream(event("ADDED", pod("c", "51")), event("MODIFIED", pod("a", "52")), end="hang")]
    async with reflecting(lists, watches) as world:
        assert world.reflector.freshness() == inf
        assert stale([world.reflector], 60) == [world.reflector]
        await world.reflector.synced.wait()
        await asyncio.sleep(1)
        assert world.names() == {"a", "b", "c"}
        assert world.versions_watched() == ["50"]
        assert world.told == [
            (Change.ADDED, "a", "1"),
            (Change.ADDED, "b", "2"),
            (Change.ADDED, "c", "51"),
            (Change.MODIFIED, "a", "52"),
        ]
        assert stale([world.reflector], 60) == []


async def test_resumes_from_the_last_version_or_bookmark() -> None:
    """After each end of file the watch goes on from the newest version seen, and nothing is listed again."""
    watches = [
        stream(event("MODIFIED", pod("a", "2")), end="timeout"),
        stream(bookmark("77"), end="timeout"),
        stream(event("DELETED", pod("a", "78")), end="timeout"),
        HANG,
    ]
    async with reflecting([listing(pod("a", "1"), version="50")], watches) as world:
        await asyncio.sleep(3 * 80)
        assert world.versions_watched() == ["50", "2", "77", "78"]
        assert world.names() == set()
        assert len(world.api.asked_lists()) == 1
        assert world.faults == []


async def test_no_storm_against_a_server_that_closes_at_once() -> None:
    """Ten minutes of immediate ends of file cost a few dozen requests, not a million."""
    async with reflecting([listing(version="50")], [stream()]) as world:
        await asyncio.sleep(600)
        assert 15 <= len(world.api.asked) <= 40


async def test_no_storm_when_every_short_watch_brings_the_same_event() -> None:
    """An event is no reason to hurry if the stream ends right after it."""
    async with reflecting([listing(version="50")], [stream(event("ADDED", pod("a", "51")))]) as world:
        await asyncio.sleep(600)
        assert len(world.api.asked) <= 40
        assert world.told == [(Change.ADDED, "a", "51")]


async def test_a_load_balancer_that_cuts_idle_streams_costs_no_waiting() -> None:
    """A watch that lived half a minute is resumed at once."""
    async with reflecting([listing(version="50")], [stream(30.0)]) as world:
        await asyncio.sleep(605)
        assert 19 <= len(world.api.asked_watches()) <= 22


@pytest.mark.parametrize("inside", [True, False])
async def test_gone_leads_to_a_new_list_with_the_missed_deletions(inside: bool) -> None:
    """410 lists anew; what vanished meanwhile is told as deleted, what was recreated as deleted and added."""
    gone = stream(event("ERROR", GONE)) if inside else says(410, GONE)
    lists = [
        listing(pod("a", "1"), pod("b", "2"), pod("c", "3"), pod("d", "4"), version="50"),
        listing(pod("a", "1"), pod("b", "60"), pod("d", "61", uid="other"), version="70"),
    ]
    async with reflecting(lists, [gone, HANG]) as world:
        await asyncio.sleep(10)
        assert world.told[4:] == [
            (Change.DELETED, "c", "3"),
            (Change.MODIFIED, "b", "60"),
            (Change.DELETED, "d", "4"),
            (Change.ADDED, "d", "61"),
        ]
        assert world.versions_watched() == ["50", "70"]
        assert world.reflector.lists == 2
        assert world.faults[0].kind is FaultKind.GONE


async def test_no_storm_when_every_version_is_gone() -> None:
    """A server that calls each fresh version too old is asked ever more slowly."""
    async with reflecting([listing(version="50")], [says(410, GONE)]) as world:
        await asyncio.sleep(600)
        assert len(world.api.asked_lists()) <= 40


async def test_gone_after_an_outage_is_listed_at_once() -> None:
    """An API server that was away for a minute has forgotten our version: the outage's waits do not count any more."""
    watches = [*[says(503, "")] * 7, says(410, GONE), HANG]
    async with reflecting([listing(version="50"), listing(version="60")], watches) as world:
        await asyncio.sleep(90)
        gone = [asked for asked in world.api.asked_watches() if asked.query["resourceVersion"] == "50"][-1]
        assert world.api.asked_lists()[-1].at - gone.at <= BACKOFF_SECONDS_MIN
        assert world.versions_watched()[-1] == "60"


async def test_retry_after_is_honoured_upward() -> None:
    """429 with a wait of 40 s: not a request before that."""
    busy = says(429, "", Retry_After="40")
    async with reflecting([busy, listing(version="50")], [HANG]) as world:
        await asyncio.sleep(39)
        assert len(world.api.asked) == 1
        await asyncio.sleep(3)
        assert world.reflector.synced.is_set()


async def test_garbage_and_cuts_are_waited_out_and_the_watch_resumed() -> None:
    """A proxy's page, a cut in a line and a hung stream each cost a wait, never the view or the version."""
    watches = [
        says(502, "<html>"),
        stream(event("ADDED", pod("a", "51")), b'{"type":"ADD', 0.01, end="cut"),
        stream(b"<html>\n"),
        HANG,
        stream(event("ADDED", pod("b", "52")), end="hang"),
    ]
    async with reflecting([listing(version="50")], watches) as world:
        await asyncio.sleep(150)
        assert world.names() == {"a", "b"}
        assert world.versions_watched() == ["50", "50", "51", "51", "51"]
        kinds = [fault.kind for fault in world.faults]
        assert kinds == [FaultKind.SERVER, FaultKind.NETWORK, FaultKind.SERVER, FaultKind.TIMEOUT]
        assert len(world.api.asked_lists()) == 1


async def test_a_hung_watch_shows_as_a_stale_view() -> None:
    """While nothing comes the view ages; the next sign of life makes it fresh."""
    async with reflecting([listing(version="50")], [HANG, stream(bookmark("51"), end="hang")]) as world:
        await asyncio.sleep(70)
        assert world.reflector.freshness() > 60
        await asyncio.sleep(20)
        assert world.reflector.freshness() < 20
        assert world.reflector.last_fault is None


async def test_a_quiet_cluster_stays_fresh() -> None:
    """Each watch that the server opens confirms the view: it never gets older than one watch."""
    async with reflecting([listing(version="50")], [QUIET]) as world:
        for _ in range(30):
            await asyncio.sleep(20)
            assert world.reflector.freshness() <= 80


async def test_half_a_list_changes_nothing() -> None:
    """A relist that breaks off after its first page deletes nobody."""
    lists = [
        listing(pod("a", "1"), pod("b", "2"), version="50"),
        listing(pod("a", "1"), token="t", version="60"),
        says(500, ""),
        listing(pod("a", "1"), pod("b", "2"), version="61"),
    ]
    async with reflecting(lists, [says(410, GONE), HANG]) as world:
        await asyncio.sleep(30)
        assert world.told == [(Change.ADDED, "a", "1"), (Change.ADDED, "b", "2")]
        assert world.versions_watched() == ["50", "61"]


async def test_a_list_that_expires_half_way_is_begun_again() -> None:
    """Objects of the first attempt that are gone in the second do not stay."""
    lists = [
        listing(pod("a", "1"), token="t", version="50"),
        says(410, GONE),
        listing(pod("b", "2"), version="51"),
    ]
    async with reflecting(lists, [HANG]) as world:
        await asyncio.sleep(1)
        assert world.names() == {"b"}
        assert world.told == [(Change.ADDED, "b", "2")]


async def test_endless_failure_of_one_version_leads_to_a_new_list() -> None:
    """If a server fails on our version whatever we do, a list gives it another one."""
    watches = [*[says(500, "")] * FAILED_WATCHES_MAX, HANG]
    async with reflecting([listing(version="50"), listing(version="60")], watches) as world:
        await asyncio.sleep(120)
        assert world.versions_watched()[: FAILED_WATCHES_MAX + 1] == ["50"] * FAILED_WATCHES_MAX + ["60"]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(says(429, "", Retry_After="1"), id="busy"),
        pytest.param(says(502, "<html>"), id="behind a proxy"),
        pytest.param(says(503, ""), id="starting"),
        pytest.param(says(403, status(403, "Forbidden")), id="does not know us yet"),
        pytest.param(stream(b"{", end="cut"), id="resets"),
    ],
)
async def test_what_says_nothing_of_the_version_leads_to_no_list(trouble: Any) -> None:
    """However often it comes: afterwards the watch is resumed where it was, and ten thousand pods are not read again."""
    watches = [*[trouble] * 3 * FAILED_WATCHES_MAX, stream(event("ADDED", pod("a", "51")), end="hang")]
    async with reflecting([listing(version="50"), listing(version="60")], watches) as world:
        await asyncio.sleep(3 * FAILED_WATCHES_MAX * BACKOFF_SECONDS_MAX)
        assert world.versions_watched()[: 3 * FAILED_WATCHES_MAX + 1] == ["50"] * (3 * FAILED_WATCHES_MAX + 1)
        assert len(world.api.asked_lists()) == 1
        assert world.names() == {"a"}


async def test_a_load_balancer_that_resets_idle_streams_costs_almost_no_waiting() -> None:
    """A watch that lived half a minute and breaks off is resumed within a second, the twentieth time too."""
    async with reflecting([listing(version="50")], [stream(30.0, b"{", end="cut")]) as world:
        await asyncio.sleep(620)
        assert 19 <= len(world.api.asked_watches()) <= 22
        assert len(world.api.asked_lists()) == 1


async def test_a_refusal_is_waited_out() -> None:
    """Without permission the reflector keeps asking slowly, says why, and recovers by itself."""
    async with reflecting([*[says(403, status(403, "Forbidden"))] * 9, listing(version="50")], [HANG]) as world:
        await asyncio.sleep(30)
        assert world.reflector.last_fault is not None
        assert world.reflector.last_fault.kind is FaultKind.AUTH
        await asyncio.sleep(300)
        assert world.reflector.synced.is_set()
        assert world.reflector.last_fault is None


@pytest.mark.parametrize("broken", [{"kind": "Pod"}, {"metadata": {"name": "a"}}, {"metadata": []}])
async def test_objects_without_an_identity(broken: Obj) -> None:
    """An object that no API server would send is a fault of the server, not a crash of ours."""
    bad_list = says(200, {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": [broken]})
    watches = [stream(event("ADDED", broken)), stream(event("FUTURE", broken), end="hang")]
    async with reflecting([bad_list, listing(version="50")], watches) as world:
        await asyncio.sleep(20)
        assert [fault.kind for fault in world.faults] == [FaultKind.SERVER] * 2
        assert world.versions_watched() == ["50", "50"]


async def test_unchanged_objects_are_not_told_again() -> None:
    """A replayed ADDED of a version we hold is no change."""
    watches = [stream(event("ADDED", pod("a", "1")), event("DELETED", pod("x", "9")), end="hang")]
    async with reflecting([listing(pod("a", "1"), version="50")], watches) as world:
        await asyncio.sleep(1)
        assert world.told == [(Change.ADDED, "a", "1")]


async def test_back_off_doubles_and_forgets() -> None:
    """0.8 s to 30 s by doubling, shortened by at most half, longer if asked, anew after two good minutes."""
    slow, fast = Backoff(lambda: 0.0), Backoff(lambda: 1.0)
    waits = []
    now = 0.0
    for _ in range(8):
        waits.append(slow.next(now))
        now += waits[-1]
    assert waits == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert fast.next(0.0) == 0.4
    assert fast.next(0.0, at_least=50) == 50
    assert slow.next(now + 119) == BACKOFF_SECONDS_MAX
    assert slow.next(now + 119 + 30 + 121) == 0.8
    for _ in range(5000):
        assert slow.next(0.0) <= BACKOFF_SECONDS_MAX


UNKNOWN = says(404, status(404, "NotFound"))
FORBIDDEN = says(403, status(403, "Forbidden"))


async def test_an_optional_collection_may_be_unknown() -> None:
    """Ready without it, no failure told; looked for again each half minute, and mirrored once it is there."""
    lists = [UNKNOWN, UNKNOWN, listing(pod("a", "1"), version="50")]
    async with reflecting(lists, [HANG], optional=True) as world:
        await world.reflector.synced.wait()
        assert (world.reflector.absent, world.names(), world.faults) == (True, set(), [])
        await asyncio.sleep(29)
        assert len(world.api.asked) == 1
        assert world.reflector.freshness() == pytest.approx(29, abs=1)
        await asyncio.sleep(32)
        assert (world.reflector.absent, world.names(), world.faults) == (False, {"a"}, [])
        assert len(world.api.asked_lists()) == 3


async def test_an_optional_collection_may_be_taken_away() -> None:
    """Its definition is deleted: everything in it is gone, and it comes back with the next."""
    lists = [listing(pod("a", "1"), version="50"), UNKNOWN, listing(pod("b", "60"), version="60")]
    async with reflecting(lists, [UNKNOWN, HANG], optional=True) as world:
        await asyncio.sleep(5)
        assert world.told[-1] == (Change.DELETED, "a", "1")
        assert world.reflector.absent
        await asyncio.sleep(40)
        assert (world.names(), world.reflector.absent) == ({"b"}, False)


async def test_an_optional_collection_that_is_forbidden() -> None:
    """Never read: ready without it, and told as a failure once. Once read, a refusal makes nothing vanish."""
    async with reflecting([FORBIDDEN], [HANG], optional=True) as world:
        await world.reflector.synced.wait()
        await asyncio.sleep(100)
        assert (world.reflector.forbidden, world.reflector.absent) == (True, False)
        assert [fault.status for fault in world.faults] == [403]
    lists = [listing(pod("a", "1"), version="50"), FORBIDDEN]
    async with reflecting(lists, [FORBIDDEN], optional=True) as world:
        await asyncio.sleep(60)
        assert (world.names(), world.reflector.forbidden) == ({"a"}, False)


async def test_an_optional_collection_that_is_forbidden_for_a_moment() -> None:
    """Right after its start an API server refuses everybody: not believed for some seconds, and nobody is told."""
    lists = [FORBIDDEN, FORBIDDEN, FORBIDDEN, listing(pod("a", "1"), version="50")]
    async with reflecting(lists, [HANG], optional=True) as world:
        await world.reflector.synced.wait()
        assert (world.names(), world.reflector.forbidden, world.faults) == ({"a"}, False, [])


async def test_what_is_not_optional_must_be_there() -> None:
    """An unknown collection of Kubernetes itself is a failure, and nobody is ready."""
    async with reflecting([UNKNOWN], [HANG]) as world:
        await asyncio.sleep(60)
        assert not world.reflector.synced.is_set()
        assert len(world.faults) > 1
