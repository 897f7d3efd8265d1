"""Who gets in when there are too many: connections, webhooks at one time, slow and large bodies, and always people and probes."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
import uvloop
from aiohttp import web

from daemon.ports import InboxFullError, Journalled, Reader
from handlers.answers import answered
from handlers.auth import Authenticator
from handlers.door import PEOPLE, Connection, Connections, Door, DoorLimits
from handlers.inbound import alertmanager
from handlers.inbound.alertmanager import ALERTS_EACH, LARGE_BYTES, AlertmanagerWebhook
from handlers.server import ACCEPTS, HttpServer, ServerLimits, build_app, line, read_body
from tests.handlers.intake_fakes import Counted, Hands, webhook, wire_alert

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)

SMALL = DoorLimits(connections_max=6, requests_max=2, slow_max=1, waiting_max=1, waiting_seconds=0.05)
TOKEN = "the-token-of-alertmanager"


@dataclass
class Slow:
    """An intake that keeps what it is given once it is let."""

    events: list[Journalled] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    refuses: set[int] = field(default_factory=set)

    async def accept(self, event: Journalled) -> None:
        self.begun += 1
        if self.begun in self.refuses:
            raise InboxFullError("3 accepted events are waiting")
        await self.go.wait()
        self.events.append(event)


@dataclass
class House:
    """A server with the webhook, health, and a command of people's."""

    intake: Slow
    told: Counted
    port: int
    session: aiohttp.ClientSession
    closed: list[int]

    async def post(self, *alerts: str, body: bytes | None = None, token: str = TOKEN) -> tuple[int, str | None, str]:
        data = body or json.dumps(webhook(*(wire_alert(fingerprint=each) for each in alerts or ("a1",)))).encode()
        url = f"http://127.0.0.1:{self.port}/api/v1/alertmanager"
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.post(url, data=io.BytesIO(data), headers=headers) as answer:
            return answer.status, answer.headers.get("Retry-After"), await answer.text()

    async def get(self, path: str = "/-/healthy") -> int:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status

    async def raw(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        return reader, writer

    def begin(self, count: int) -> list[asyncio.Task[tuple[int, str | None, str]]]:
        return [asyncio.get_running_loop().create_task(self.post(f"f{number}")) for number in range(count)]

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.intake.begun < count:
                await asyncio.sleep(0.005)


async def command(request: web.Request) -> web.Response:
    return line(200, str(len(await read_body(request, bytes_max=1000))))


@asynccontextmanager
async def house(door: DoorLimits = SMALL, **limits: int) -> AsyncIterator[House]:
    intake, told, closed = Slow(), Counted(), list[int]()
    bounds = ServerLimits(door=door, **limits)
    hook = AlertmanagerWebhook(
        intake=intake, clock=Hands(), telemetry=told, auth=Authenticator(tokens={"am": TOKEN}),
        on_accepted=lambda: None, on_truncated=lambda: None, door=Door(door),
    )  # fmt: skip
    reader = cast("Reader", SimpleNamespace(ready=None))
    server = HttpServer(bounds)
    app = build_app(
        routes=[*hook.routes(), web.post("/command", command)],
        limits=bounds,
        reader=reader,
        crowded=lambda: closed.append(1),
    )
    _, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        try:
            yield House(intake, told, port, session, closed)
        finally:
            intake.go.set()
            await server.close()


async def test_too_many_webhooks_at_one_time() -> None:
    """Beyond requests_max: 503 with Retry-After, counted as busy, nothing journalled; the others are taken, and then new ones."""
    async with house() as served:
        asked = served.begin(2)
        await served.until_begun(2)
        status, retry_after, text = await served.post("more")
        assert (status, text) == (503, "too many requests at one time, try again\n")
        assert int(retry_after or 0) > 0
        assert served.told.intakes == [("alertmanager", "busy")]
        served.intake.go.set()
        assert [(await each)[0] for each in asked] == [200, 200]
        assert (await served.post("more"))[0] == 200
        assert len(served.intake.events) == 3


async def test_a_refused_body_is_not_read() -> None:
    """The answer comes although the body was announced and never sent."""
    async with house() as served:
        asked = served.begin(2)
        await served.until_begun(2)
        head = f"POST /api/v1/alertmanager HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 999\r\n\r\n"
        reader, writer = await served.raw(head.encode())
        assert b" 503 " in await asyncio.wait_for(reader.readuntil(b"\n"), 5)
        writer.close()
        served.intake.go.set()
        await asyncio.gather(*asked)


async def test_a_refusal_waits_a_moment_but_not_all_of_them() -> None:
    """Who is refused hears of it later, so that it cannot ask again at once; beyond waiting_max it hears at once."""
    limits = DoorLimits(requests_max=1, waiting_max=1, waiting_seconds=3600.0)
    async with house(limits) as served:
        asked = served.begin(1)
        await served.until_begun(1)
        waits = served.begin(1)
        await asyncio.sleep(0.05)
        assert not waits[0].done()
        assert (await served.post("more"))[0] == 503
        assert not waits[0].done()
        waits[0].cancel()
        served.intake.go.set()
        await asked[0]


async def test_slow_bodies_hold_only_their_places() -> None:
    """Senders that hold their bodies back fill slow_max; whose body is there with the headers is taken as before."""
    async with house(DoorLimits(requests_max=3, slow_max=2, waiting_max=0)) as served:
        served.intake.go.set()
        head = f"POST /api/v1/alertmanager HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 999\r\n\r\n"
        held = [await served.raw(head.encode()) for _ in range(2)]
        async with asyncio.timeout(10):
            while True:
                reader, writer = await served.raw(head.encode())
                if b" 503 " in await reader.readuntil(b"\n"):
                    break
        assert (await served.post("quick"))[0] == 200
        for _, each in (*held, (reader, writer)):
            each.close()


async def test_strangers_take_no_place() -> None:
    """A wrong token is refused before it counts: it neither waits nor makes others wait."""
    async with house() as served:
        asked = served.begin(2)
        await served.until_begun(2)
        assert (await served.post(token="wrong"))[0] == 401
        served.intake.go.set()
        await asyncio.gather(*asked)


async def test_a_crowd_of_idle_connections_keeps_nobody_out() -> None:
    """Strangers who connect and say nothing are closed, the oldest first, when others come: kubelet gets its answer."""
    async with house() as served:
        crowd = [await served.raw() for _ in range(SMALL.connections_max)]
        assert await served.get() == 200
        assert await asyncio.wait_for(crowd[0][0].read(), 5) == b"", "the first was closed"
        assert served.closed
        for _ in range(3 * SMALL.connections_max):
            crowd.append(await served.raw(b"GET /-/hea"))
        assert await served.get() == 200
        assert await served.get("/-/ready") == 200
        for _, writer in crowd:
            writer.close()


async def test_who_is_being_answered_is_not_closed() -> None:
    """While idle ones come and go by the dozen, a request that is being worked on keeps its connection, and its answer."""
    async with house() as served:
        asked = served.begin(2)
        await served.until_begun(2)
        crowd = [await served.raw() for _ in range(5 * SMALL.connections_max)]
        assert await served.get() == 200
        served.intake.go.set()
        assert [(await each)[0] for each in asked] == [200, 200]
        for _, writer in crowd:
            writer.close()


async def test_a_command_is_read_whatever_webhooks_hold() -> None:
    """With the memory for bodies used up by webhooks, a person's short one is read all the same."""
    limits = DoorLimits(slow_max=2)
    async with house(limits, body_bytes_max=2000, bodies_bytes_max=1000) as served:
        head = f"POST /api/v1/alertmanager HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1999\r\n\r\n"
        _, writer = await served.raw(head.encode() + b"x" * 990)
        async with asyncio.timeout(10):
            while (await served.post(body=b"y" * 500))[0] != 503:
                await asyncio.sleep(0.005)
        async with served.session.post(f"http://127.0.0.1:{served.port}/command", data=b"z" * 900) as answer:
            assert (answer.status, await answer.text()) == (200, "900\n")
        writer.close()


async def test_questions_without_end_are_turned_away() -> None:
    """More questions and commands at one time than PEOPLE lets in get 503 with a remedy; others' requests are answered."""
    go, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def ponder(_who: str) -> dict[str, Any]:
        begun.release()
        await go.wait()
        return {"done": True}

    async def ask(request: web.Request) -> web.Response:
        return await answered(request, lambda _request: "token:ann", ponder)

    server, limits = HttpServer(ServerLimits()), ServerLimits()
    app = build_app(routes=[web.get("/ask", ask)], limits=limits, reader=cast("Reader", SimpleNamespace(ready=None)))
    _, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=0)) as session:
        loop = asyncio.get_running_loop()
        asked = [loop.create_task(session.get("/ask").__aenter__()) for _ in range(PEOPLE.requests_max)]
        for _ in asked:
            await begun.acquire()
        async with session.get("/ask") as answer:
            assert (answer.status, (await answer.json())["remedy"]) == (503, "ask less often")
        async with session.get("/-/healthy") as answer:
            assert answer.status == 200
        go.set()
        assert {(await each).status for each in asked} == {200}
        async with session.get("/ask") as answer:
            assert answer.status == 200
    await server.close()


async def test_a_large_payload_is_several_events() -> None:
    """Its alerts are journalled ALERTS_EACH to an event, all of them and in order; then comes the 200."""
    async with house() as served:
        served.intake.go.set()
        names = [f"{number:016x}" for number in range(2 * ALERTS_EACH + 1)]
        assert (await served.post(*names))[0] == 200
        sizes = [len(event.alerts) for event in served.intake.events if event.kind == "alerts_reported"]
        assert sizes == [ALERTS_EACH, ALERTS_EACH, 1]
        found = [
            a.fingerprint for event in served.intake.events if event.kind == "alerts_reported" for a in event.alerts
        ]
        assert found == names


async def test_a_part_that_finds_no_room() -> None:
    """503 where one part was refused, so that the sender comes again; the parts after it are tried: they may need no room."""
    async with house() as served:
        served.intake.go.set()
        served.intake.refuses = {2}
        status, retry_after, text = await served.post(*(f"{number:016x}" for number in range(3 * ALERTS_EACH)))
        assert (status, bool(retry_after)) == (503, True)
        assert text == "the inbox is full (3 accepted events are waiting), try again\n"
        assert len(served.intake.events) == 2
        assert served.told.intakes == [("alertmanager", "full")]


async def test_large_bodies_do_not_stop_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large body is read other requests are answered; a second large one waits for its turn."""
    go, reading = threading.Event(), []
    read = alertmanager.alerts_of

    def slowly(body: bytes) -> Any:
        reading.append(len(body))
        assert len(body) <= LARGE_BYTES or go.wait(20)
        return read(body)

    monkeypatch.setattr(alertmanager, "alerts_of", slowly)
    body = json.dumps(webhook(wire_alert(annotations={"summary": "s"}))).encode() + b" " * LARGE_BYTES
    async with house(DoorLimits()) as served:
        served.intake.go.set()
        asked = [asyncio.get_running_loop().create_task(served.post(body=body)) for _ in range(2)]
        async with asyncio.timeout(10):
            while not reading:
                await asyncio.sleep(0.005)
            assert await served.get() == 200
            assert (await served.post("small"))[0] == 200
        assert [size > LARGE_BYTES for size in reading] == [True, False]
        go.set()
        assert [(await each)[0] for each in asked] == [200, 200]


async def test_a_crowd_that_comes_at_once_does_not_push_out_its_first() -> None:
    """Of more connections than there may be, all in one turn of the loop, the first ones are kept: what they sent is read."""
    closed: list[int] = []
    connections = Connections(2, closed=lambda: closed.append(1))
    crowd = [Passer(connections) for _ in range(4)]
    for each in crowd:
        connections.came(each)
    assert [each.shut for each in crowd] == [False, False, True, True]
    for _ in range(3):
        await asyncio.sleep(0)
    connections.works(crowd[0])
    late = Passer(connections)
    connections.came(late)
    assert [each.shut for each in crowd[:2]] == [False, True], "by now the second had its chance and sent nothing"
    assert not late.shut
    assert len(closed) == 3


async def test_who_was_answered_makes_room_for_who_just_came() -> None:
    """A flooder's idle connection goes before a probe's that has not sent its request yet."""
    connections = Connections(2, closed=lambda: None)
    probe, flooder, late = (Passer(connections) for _ in range(3))
    connections.came(probe)
    connections.came(flooder)
    for _ in range(3):
        await asyncio.sleep(0)
    connections.works(flooder)
    connections.answered(flooder)
    connections.came(late)
    assert (probe.shut, flooder.shut, late.shut) == (False, True, False)


class Passer(Connection):
    """A connection without a network."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.works = self.heard = False
        self.shut = False

    def force_close(self) -> None:
        self.shut = True


async def test_one_line_tells_of_a_flood(capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred refused webhooks are a hundred in the metrics and one line in the log."""
    async with house(DoorLimits(requests_max=1, waiting_max=0)) as served:
        asked = served.begin(1)
        await served.until_begun(1)
        for _ in range(100):
            await served.post("more")
        assert served.told.intakes.count(("alertmanager", "busy")) == 100
        assert capsys.readouterr().out.count("webhook_shed") == 1
        served.intake.go.set()
        await asked[0]


def test_a_crowd_is_accepted_quickly() -> None:
    """On the daemon's own loop many who want in at one time are accepted within a few turns, not one in each."""
    count, turns = 10 * ACCEPTS, 40

    async def accepted() -> int:
        came: list[int] = []
        server = HttpServer(ServerLimits(door=DoorLimits(connections_max=1)))
        app = build_app(
            routes=[], limits=ServerLimits(door=DoorLimits(connections_max=1)), crowded=lambda: came.append(1)
        )
        _, port = await server.serve_tcp(app, host="127.0.0.1", port=0)
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for each in crowd:
            each.close()
        await server.close()
        return len(came)

    assert uvloop.run(accepted()) == count - 1, "each but one was closed to make room"


def test_a_plain_connection_is_none_of_ours() -> None:
    """What another server made (aiohttp's test server, say) is neither counted nor closed."""
    connections = Connections(1, closed=lambda: None)
    other = object()
    connections.works(other)
    connections.answered(other)
    assert not connections._idle
