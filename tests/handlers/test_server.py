"""The HTTP server: its limits, its plain answers, its way to stop; and the Unix socket for people."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.aiohttp import make_aiohttp_handler

from daemon.ports import Reader
from handlers.server import BodyRefusedError, HttpServer, ServeError, ServerLimits, build_app, line, read_body

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)

SMALL = ServerLimits(
    body_bytes_max=1000,
    body_seconds_max=0.2,
    bodies_bytes_max=1500,
    line_bytes_max=500,
    headers_max=10,
    shutdown_seconds=5,
)


async def take(request: web.Request) -> web.Response:
    try:
        return line(200, str(len(await read_body(request))))
    except BodyRefusedError as exc:
        return line(exc.status, str(exc))


async def broken(_request: web.Request) -> web.Response:
    raise RuntimeError("secret detail")


ROUTES = [web.post("/take", take), web.get("/broken", broken)]


@asynccontextmanager
async def serving(limits: ServerLimits = SMALL, **parts: Any) -> AsyncIterator[tuple[aiohttp.ClientSession, int]]:
    server = HttpServer(limits)
    host, port = await server.serve_tcp(build_app(routes=ROUTES, limits=limits, **parts), host="127.0.0.1", port=0)
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            yield session, port
    finally:
        await server.close()


async def raw(port: int, *pieces: bytes) -> bytes:
    """What the server answers to these bytes; the connection stays open on our side until it answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.readuntil(b"\n"), 5)
    await hang_up(writer)
    return answer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_health_and_readiness() -> None:
    """Healthy while the loop turns; ready only without a reason not to be, and the reason is told in one line."""
    reader = SimpleNamespace(ready=None)
    async with serving(reader=cast("Reader", reader)) as (session, _):
        assert await (await session.get("/-/healthy")).text() == "healthy\n"
        assert (await session.get("/-/ready")).status == 200
        reader.ready = "the journal cannot write:\ndisk full"
        answer = await session.get("/-/ready")
        assert (answer.status, await answer.text()) == (503, "the journal cannot write: disk full\n")
        assert (await session.get("/-/healthy")).status == 200


async def test_what_it_is_ready_for() -> None:
    """A standby is ready, too, and says for what."""
    reader = SimpleNamespace(ready=None)
    async with serving(reader=cast("Reader", reader), role=lambda: "standby") as (session, _):
        answer = await session.get("/-/ready")
        assert (answer.status, await answer.text()) == (200, "standby\n")


async def test_metrics_are_mounted() -> None:
    """prometheus_client's own handler answers /metrics in the format that the scraper asks for."""
    registry = CollectorRegistry()
    Counter("tried", "test", registry=registry).inc()
    async with serving(metrics=make_aiohttp_handler(registry)) as (session, _):
        assert "tried_total 1.0" in await (await session.get("/metrics")).text()


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nope", 404, "Not Found\n"),
        ("DELETE", "/take", 405, "Method Not Allowed\n"),
        ("GET", "/take", 405, None),
    ],
)
async def test_wrong_doors(method: str, path: str, status: int, text: str | None) -> None:
    """Unknown paths and methods get one plain line, no banner, and 405 says what is allowed."""
    async with serving() as (session, _):
        answer = await session.request(method, path)
        assert answer.status == status
        assert text is None or await answer.text() == text
        assert "Server" not in answer.headers
        assert answer.headers.get("Allow") == ("POST" if status == 405 else None)


async def test_a_bug_is_our_fault_and_tells_nothing() -> None:
    """An exception becomes a 500 without its text, so that the sender tries again and learns no secrets."""
    async with serving() as (session, _):
        answer = await session.get("/broken")
        assert answer.status == 500
        assert "secret" not in await answer.text()


async def test_a_body_within_the_limit() -> None:
    """Exactly the limit is taken."""
    async with serving() as (session, _):
        assert await (await session.post("/take", data=b"x" * 1000)).text() == "1000\n"


async def test_too_large_by_its_length_is_refused_unread() -> None:
    """413 comes although not one byte of the announced body was sent."""
    async with serving() as (_, port):
        head = b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"
        assert b" 413 " in await raw(port, head)


async def test_too_large_in_chunks_is_refused_early() -> None:
    """Without a length the count decides: 413 comes before the body ends, which here it never does."""
    async with serving() as (_, port):
        head = b"POST /take HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b" 413 " in await raw(port, head, b"258\r\n" + b"x" * 600 + b"\r\n", b"258\r\n" + b"x" * 600 + b"\r\n")


async def test_a_bomb_is_counted_unpacked() -> None:
    """What counts is the size after decompression."""
    async with serving() as (session, _):
        bomb = gzip.compress(b"x" * 100_000)
        assert len(bomb) < 1000
        answer = await session.post("/take", data=bomb, headers={"Content-Encoding": "gzip"})
        assert answer.status == 413


async def test_a_broken_transfer_is_malformed() -> None:
    """What calls itself gzip and is not: 400."""
    async with serving() as (session, _):
        answer = await session.post("/take", data=b"no gzip", headers={"Content-Encoding": "gzip"})
        assert answer.status == 400


async def test_a_slow_body_does_not_hold_the_door() -> None:
    """A body that does not arrive in time is answered 503: Alertmanager repeats it, a 408 it would drop."""
    async with serving() as (_, port):
        head = b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"
        assert b" 503 " in await raw(port, head)


async def test_many_large_bodies_together_are_limited() -> None:
    """Two bodies that each are allowed and together are not: the second is told to try again, and later may."""
    limits = ServerLimits(body_bytes_max=1000, bodies_bytes_max=1500)
    async with serving(limits) as (session, port):
        head = b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"x" * 900)
        await until_refused(session)
        writer.write(b"x" * 100)
        assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\n"), 5)
        await hang_up(writer)
        assert (await session.post("/take", data=b"y" * 1000)).status == 200


async def until_refused(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(5):
        while (await session.post("/take", data=b"y" * 1000)).status != 503:
            await asyncio.sleep(0)


async def test_long_headers_are_refused() -> None:
    """A header or request line over the limit, and too many headers, get a 400."""
    async with serving() as (_, port):
        assert b" 400 " in await raw(port, b"GET /" + b"a" * 600 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 400 " in await raw(port, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 600 + b"\r\n\r\n")
        assert b" 400 " in await raw(port, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 20 + b"\r\n")


async def test_close_finishes_requests_in_flight() -> None:
    """Closing stops accepting at once and still answers who was already in."""
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        entered.set()
        await go.wait()
        return line(200, "done")

    server = HttpServer(SMALL)
    app = build_app(routes=[web.get("/slow", slow)], limits=SMALL)
    host, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(session.get(f"http://{host}:{port}/slow"))
        await entered.wait()
        closing = tasks.create_task(server.close())
        # Turns of the loop, not time: a connection made before the stop would be left hanging in the backlog.
        for _ in range(10):
            await asyncio.sleep(0)
        assert await refuses(port)
        assert not closing.done()
        go.set()
        assert await (await asked).text() == "done\n"


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    await hang_up(writer)
    return False


async def test_an_address_in_use_is_told() -> None:
    """The error names the address."""
    async with serving() as (_, port):
        other = HttpServer(SMALL)
        with pytest.raises(ServeError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            await other.serve_tcp(build_app(routes=[], limits=SMALL), host="127.0.0.1", port=port)
        await other.close()


async def test_the_unix_socket_is_ours_alone(tmp_path: Path) -> None:
    """It has mode 0600 from the start, serves, and is gone after close."""
    path = tmp_path / "lastgood.sock"
    server = HttpServer(SMALL)
    await server.serve_unix(build_app(routes=ROUTES, limits=SMALL), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
        assert (await session.post("http://lastgood/take", data=b"x")).status == 200
    await server.close()
    assert not path.exists()


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A killed daemon leaves its socket file; the next start is not held up by it."""
    path = tmp_path / "lastgood.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = HttpServer(SMALL)
    await server.serve_unix(build_app(routes=[], limits=SMALL), path)
    await server.close()


async def test_a_living_socket_is_not_stolen(tmp_path: Path) -> None:
    """Two daemons in one state folder would be two writers: the second is refused and the first's socket stays."""
    path = tmp_path / "lastgood.sock"
    first, second = HttpServer(SMALL), HttpServer(SMALL)
    await first.serve_unix(build_app(routes=[], limits=SMALL), path)
    with pytest.raises(ServeError, match="another process listens"):
        await second.serve_unix(build_app(routes=[], limits=SMALL), path)
    await second.close()
    assert path.exists()
    await first.close()


async def test_only_a_socket_is_removed(tmp_path: Path) -> None:
    """A file of that name is left alone."""
    path = tmp_path / "lastgood.sock"
    path.write_text("precious")
    with pytest.raises(ServeError, match="is no socket"):
        await HttpServer(SMALL).serve_unix(build_app(routes=[], limits=SMALL), path)
    assert path.read_text() == "precious"


async def test_impossible_socket_paths_are_told(tmp_path: Path) -> None:
    """Too long, or in a folder that is not there: the message says what to do or what is wrong."""
    app = build_app(routes=[], limits=SMALL)
    with pytest.raises(ServeError, match="choose a shorter state folder"):
        await HttpServer(SMALL).serve_unix(app, tmp_path / ("x" * 120))
    with pytest.raises(ServeError, match="No such file or directory"):
        await HttpServer(SMALL).serve_unix(app, Path("/nowhere/lastgood.sock"))
