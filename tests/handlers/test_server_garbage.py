"""What is no HTTP: answered 400 or cut off, told in one line of the log, and nobody else notices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import structlog
from aiohttp import web

from handlers.server import (
    PROBLEM_CHARS_MAX,
    BodyRefusedError,
    HttpServer,
    ServerLimits,
    _ConnectionLog,
    build_app,
    line,
    read_body,
)

pytestmark = pytest.mark.looptime(False)

GARBAGE = {
    "line_too_long": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "header_too_long": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "too_many_headers": b"GET / HTTP/1.1\r\nHost: x\r\n"
    + b"".join(b"A%d: b\r\n" % each for each in range(200))
    + b"\r\n",
    "length_below_zero": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two_lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length_and_chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no_chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "unknown_encoding": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
    "no_gzip": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "http_2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no_address": b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "zero_bytes": b"\x00" * 64,
    "no_method": b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@dataclass
class Door:
    """A server that takes bodies, and a way to its bare connection."""

    host: str
    port: int

    async def say(self, raw: bytes) -> bytes:
        """What is answered until it hangs up."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(raw)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async def take(request: web.Request) -> web.Response:
        try:
            await read_body(request)
        except BodyRefusedError as refused:
            return line(refused.status, str(refused))
        return line(200, "taken")

    limits = ServerLimits(shutdown_seconds=1, keepalive_seconds=0.5)
    server = HttpServer(limits)
    app = build_app(routes=[web.post("/", take), web.get("/", take)], limits=limits)
    host, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
    yield Door(host, port)
    await server.close()


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_no_http_is_one_line(door: Door, raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It gets a 4xx or is cut off; it is told in one short line without a traceback; the next request is answered."""
    with caplog.at_level(logging.INFO), structlog.testing.capture_logs() as logs:
        said = await door.say(raw)
        assert said == b"" or said.split()[1].startswith(b"4"), said[:100]
        async with aiohttp.ClientSession() as session, session.post(f"http://{door.host}:{door.port}/") as answer:
            assert answer.status == 200
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    told = [entry for entry in logs if entry["event"] == "http_unreadable"]
    assert len(told) <= 1
    assert all(len(entry["problem"]) <= PROBLEM_CHARS_MAX and "\n" not in entry["problem"] for entry in told)


async def test_a_fault_of_ours_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Only what the peer is to blame for is told in one line."""
    _ConnectionLog(logging.getLogger("handlers.server")).exception("Unhandled exception", exc_info=ValueError("ours"))
    assert [record.exc_info is not None for record in caplog.records] == [True]
