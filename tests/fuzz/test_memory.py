"""Whatever is sent, the daemon's memory stays within bounds, it goes on answering, and its journal holds none of it."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from deploy.sandbox.process import DaemonProcess
from deploy.sandbox.world import free_port, until
from handlers.inbound.alertmanager import VALUES_MAX
from tests.fuzz.surface import OPERATOR, SENDER, SOURCE, accepted, configured

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

MIB = 2**20
BODY_LIMIT = 16 * MIB
GROWTH_MAX = 240 * MIB
"""Of the peak: 64 MiB of bodies at one time (ServerLimits), one of them being read as a million values of a hundred bytes."""

ALERTMANAGER, EVENTS, PAUSE = "/api/v1/alertmanager", "/api/v1/events/ci", "/api/v1/pause"
TOKENS = {ALERTMANAGER: SENDER, EVENTS: SOURCE, PAUSE: OPERATOR}


def filled(head: bytes, piece: bytes, tail: bytes, size: int) -> bytes:
    """A body of about this size."""
    return head + piece * ((size - len(head) - len(tail)) // len(piece)) + tail


ALERTS = b'{"version":"4","alerts":['
HOSTILE = {
    "millions_of_objects": (ALERTMANAGER, filled(ALERTS, b"{},", b"{}]}", BODY_LIMIT)),
    "as_many_values_as_may_be": (ALERTMANAGER, ALERTS + b'{"a":0},' * (VALUES_MAX // 2 - 2) + b"{}]}"),
    "millions_of_lists": (ALERTMANAGER, filled(b'{"version":"3","x":[', b"[],", b"[]]}", BODY_LIMIT)),
    "nested": (ALERTMANAGER, b"[" * (BODY_LIMIT - 1)),
    "one_number": (ALERTMANAGER, b"9" * (BODY_LIMIT - 1)),
    "one_text": (ALERTMANAGER, b'{"version":"4","alerts":[],"x":"' + b"a" * (BODY_LIMIT - 100)),
    "event_of_objects": (EVENTS, filled(b'{"x":[', b"{},", b"{}]}", 2 * MIB)),
    "event_nested": (EVENTS, b'{"a":' * (2 * MIB // 6)),
    "command_nested": (PAUSE, b"[" * 16_000),
}


@dataclass
class Victim:
    """A daemon process, and a way to send to it."""

    url: str
    folder: Path
    pid: int

    def peak(self) -> int:
        """The most memory it ever had, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

    async def send(self, path: str, body: bytes, **headers: str) -> int:
        """The status; 0 where the connection was cut."""
        given = {"Authorization": f"Bearer {TOKENS[path]}", "Content-Type": "application/json", **headers}
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(self.url + path, data=io.BytesIO(body), headers=given) as answer,
            ):
                return answer.status
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            return 0

    async def healthy(self) -> bool:
        """It answers."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/-/healthy") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@pytest.fixture
async def victim(tmp_path: Path) -> AsyncIterator[Victim]:
    port = free_port()
    config = configured(tmp_path, port=port, body_limit=BODY_LIMIT)
    daemon = DaemonProcess(config=config, log_path=tmp_path / "log")
    await daemon.start()
    assert daemon._process is not None
    made = Victim(f"http://127.0.0.1:{port}", tmp_path, daemon._process.pid)
    log = tmp_path / "log"
    await until("it listens", lambda: '"listening"' in log.read_text(errors="replace"), 60.0)
    yield made
    await daemon.kill()


async def test_hostile_bodies_one_after_the_other_and_together(victim: Victim) -> None:
    """Each is refused; the peak of memory stays within GROWTH_MAX above that of the start; nothing is journalled."""
    assert await victim.healthy()
    before = victim.peak()
    for name, (path, body) in HOSTILE.items():
        assert await victim.send(path, body) == 400, name
    together = await asyncio.gather(*(victim.send(*HOSTILE["millions_of_objects"]) for _ in range(8)))
    assert set(together) <= {400, 503, 0}, together
    events = await asyncio.gather(*(victim.send(*HOSTILE["event_of_objects"]) for _ in range(12)))
    assert set(events) <= {400, 503, 0}, events
    assert victim.peak() - before < GROWTH_MAX, f"{(victim.peak() - before) / MIB:.0f} MiB more"
    assert await victim.healthy()
    assert accepted(victim.folder / "journal.sqlite") == 0


async def test_packed_bombs(victim: Victim) -> None:
    """300 MiB packed into one is refused at every address that takes a body, and was never unpacked whole."""
    assert await victim.healthy()
    before = victim.peak()
    bomb = gzip.compress(bytes(300 * MIB), 1)
    for path in TOKENS:
        assert await victim.send(path, bomb, **{"Content-Encoding": "gzip"}) in (413, 0), path
    assert victim.peak() - before < GROWTH_MAX, f"{(victim.peak() - before) / MIB:.0f} MiB more"
    assert await victim.healthy()


async def test_floods_of_headers(victim: Victim) -> None:
    """Connections that send headers without end are cut, and cost no memory that stays."""
    assert await victim.healthy()
    before = victim.peak()

    async def flood() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(victim.url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        try:
            for number in range(2000):
                writer.write(b"X-%d: %s\r\n" % (number, b"a" * 8000))
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()
        raise AssertionError("16 MB of headers were taken")

    await asyncio.gather(*(flood() for _ in range(20)))
    assert victim.peak() - before < GROWTH_MAX
    assert await victim.healthy()
