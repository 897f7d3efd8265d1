"""One watch request: what it asks, what it yields, and how each bad end of it is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.kube import WATCH_GRACE_SECONDS, KubeClient
from handlers.kube_json import LINE_BYTES_MAX
from tests.handlers.scripted_api import PODS, bookmark, client_of, event, pod, says, serving, status, stream

pytestmark = pytest.mark.asyncio


async def collect(client: KubeClient, **options: Any) -> tuple[list[Any], Fault | None]:
    """All events of one watch, and the fault it ended in."""
    events: list[Any] = []
    try:
        async for item in client.watch(PODS, "7", 30, **options):
            events.append(item)
    except Fault as fault:
        return events, fault
    return events, None


async def test_events_until_the_end_of_file() -> None:
    """Events and bookmarks come through whole, in order; the end of the stream is the end of the iterator."""
    sent = [event("ADDED", pod("a", "8")), bookmark("9"), event("DELETED", pod("a", "10"))]
    opened: list[bool] = []
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(sent[0], b"\n", sent[1], sent[2])]
        got = await collect(client, label_selector="a=b", on_open=lambda: opened.append(True))
    assert got == (sent, None)
    assert opened == [True]
    asked = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "7", "timeoutSeconds": "30"}
    assert api.asked[0].query == asked | {"labelSelector": "a=b"}


@pytest.mark.parametrize("inside", [True, False])
async def test_gone_as_a_status_and_inside_the_stream(inside: bool) -> None:
    """Both ways of saying that the version is too old are one fault."""
    gone = status(410, "Expired", message="too old resource version")
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(event("ERROR", gone)) if inside else says(410, gone)]
        events, fault = await collect(client)
    assert events == []
    assert isinstance(fault, Permanent)
    assert (fault.kind, fault.code) == (FaultKind.GONE, "Expired")


async def test_a_version_from_the_future_is_gone_too() -> None:
    """After a restored backup our version does not exist yet; waiting for it would be waiting for ever."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    async with serving() as api, client_of(api) as client:
        api.watches = [says(504, status(504, "Timeout", details={"causes": causes, "retryAfterSeconds": 1}))]
        _, fault = await collect(client)
    assert isinstance(fault, Permanent)
    assert fault.kind is FaultKind.GONE


@pytest.mark.parametrize("code", [500, "junk", None])
async def test_other_errors_inside_the_stream(code: Any) -> None:
    """An ERROR event is never an object, whatever its code looks like."""
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(event("ERROR", {"kind": "Status", "code": code}))]
        events, fault = await collect(client)
    assert (events, type(fault)) == ([], Transient)


@pytest.mark.parametrize("line", [b"<html>\n", b"[]\n", b'{"type":1,"object":{}}\n', b'{"type":"ADDED"}\n', b"\xff\n"])
async def test_garbage_in_the_stream(line: bytes) -> None:
    """What is no event ends the watch; the events before it count."""
    first = event("ADDED", pod("a", "8"))
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(first, line)]
        events, fault = await collect(client)
    assert (events, type(fault), fault and fault.kind) == ([first], Transient, FaultKind.SERVER)


@pytest.mark.parametrize("end", ["eof", "cut"])
async def test_a_cut_in_the_middle_of_a_line(end: str) -> None:
    """Half an event is no event, whether the connection broke or just ended."""
    first = event("ADDED", pod("a", "8"))
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(first, b'{"type":"ADDED","object":{"met', 0.01, end=end)]
        events, fault = await collect(client)
    assert (events, type(fault), fault and fault.kind) == ([first], Transient, FaultKind.NETWORK)


async def test_a_line_of_five_mebibytes() -> None:
    """An object far beyond the library's limit comes through."""
    big = event("ADDED", pod("a", "8", annotations={"x": "y" * 5 * 2**20}))
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(big, bookmark("9"))]
        assert await collect(client) == ([big, bookmark("9")], None)


@pytest.mark.parametrize("ending", [b"\n", b""])
async def test_a_line_over_the_limit(ending: bytes) -> None:
    """A line beyond every object is refused for good: to resume would be to meet it again."""
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(b"x" * (LINE_BYTES_MAX + 1) + ending, end="hang" if not ending else "eof")]
        _, fault = await collect(client)
    assert isinstance(fault, Permanent)


async def test_lines_across_chunks_in_any_cut() -> None:
    """How TCP cuts the stream changes nothing."""
    sent = [event("ADDED", pod("ä", "8")), bookmark("9")]
    raw = b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in sent)
    pieces: list[bytes | float] = []
    for at in range(0, len(raw), 7):
        pieces += [raw[at : at + 7], 0.0]
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(*pieces)]
        assert await collect(client) == (sent, None)


@pytest.mark.looptime
async def test_a_hung_watch_is_cut() -> None:
    """A stream that is open longer than it was asked for, plus grace, is dead."""
    async with serving() as api, client_of(api) as client:
        api.watches = [stream(bookmark("9"), end="hang")]
        started = asyncio.get_running_loop().time()
        events, fault = await collect(client)
        took = asyncio.get_running_loop().time() - started
    assert events == [bookmark("9")]
    assert (type(fault), fault and fault.kind) == (Transient, FaultKind.TIMEOUT)
    assert 30 <= took <= 30 + WATCH_GRACE_SECONDS + 2
