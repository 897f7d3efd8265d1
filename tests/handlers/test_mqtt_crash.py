"""A crash between the receipt of a message and its acknowledgement: nothing is lost, and nothing counts twice."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from daemon.core.facts import NoticeTaken
from daemon.core.policy import Policy
from daemon.ports import JournalUnavailableError
from daemon.runtime.clock import SystemClock
from daemon.runtime.engine import Engine
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.supervise import Supervisor
from tests import brokers, repository
from tests.brokers import Mosquitto
from tests.core.builders import a_policy
from tests.handlers.mqtt_world import PATIENCE_SECONDS, World, publish, said, settings, until

pytestmark = pytest.mark.real


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with brokers.mosquitto(tmp_path / "broker") as started:
        yield started


@asynccontextmanager
async def victim(broker: Mosquitto, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process of mqtt_victim; killed without a word at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.handlers.mqtt_victim", str(broker.port), *arguments),
        cwd=repository.ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process, wanted: bytes) -> None:
    """Read what it prints until there is such a line."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while wanted not in (line := await process.stdout.readline()):
            assert line, "the process ended"


class Life:
    """The daemon's next life: the same journal, a new engine."""

    def __init__(self, journal: Path) -> None:
        self.journal = SqliteJournal(journal)
        self.taken: list[str] = []
        self.supervisor = Supervisor()
        policy: Policy = a_policy()
        self.engine = Engine(
            self.journal,
            SystemClock(),
            lambda: policy,
            dispatch=lambda action, uncertain: None,
            told=lambda facts, state: self.taken.extend(f.notice.id for f in facts if isinstance(f, NoticeTaken)),
            stumbled=pytest.fail,
            inbox_max=100,
        )

    async def begin(self) -> None:
        await self.engine.recover()
        self.engine.waits_for(None)
        self.engine.resume()
        self.supervisor.eternal("engine", self.engine.run())

    async def end(self) -> None:
        await self.engine.rested()
        await self.supervisor.stop()
        await self.journal.close()


@pytest.mark.parametrize("qos", ["1", "2"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_between_receipt_and_acknowledgement(
    broker: Mosquitto, tmp_path: Path, qos: str, moment: str
) -> None:
    """SIGKILL before or after the journal has the message: the broker hands it over again, and the core takes it once."""
    journal = tmp_path / "journal.sqlite"
    async with World(settings(broker, qos=int(qos))).running():
        pass  # the session exists
    async with victim(broker, qos, str(journal), moment) as process:
        await publish(broker, said("a"), "-q", qos)
        await line_of(process, b"taken")
        await publish(broker, said("b"), "-q", qos)
    life = Life(journal)
    await life.begin()
    world = World(settings(broker, qos=int(qos)), intake=life.engine)
    async with world.running():
        await publish(broker, said("c"), "-q", qos)
        await until(lambda: len(world.counted.intakes) >= 3)
    await life.end()
    assert life.taken == ["a", "b", "c"]
    assert world.counted.intakes == [("mqtt", "accepted")] * 3, "the broker handed over each of them, the first again"


async def test_the_connection_breaks_while_a_message_waits(broker: Mosquitto) -> None:
    """The broker restarts while the journal cannot write: each message is kept, in order, the waiting one perhaps twice."""
    world = World(settings(broker))
    world.kept.fault = JournalUnavailableError("disk full")
    async with world.running():
        await publish(broker, said("a"))
        await publish(broker, said("b"))
        await until(lambda: ("mqtt", "unavailable") in world.counted.intakes)
        broker.stop()
        broker.start()
        world.kept.fault = None
        await until(lambda: "b" in world.ids)
    assert list(dict.fromkeys(world.ids)) == ["a", "b"]
