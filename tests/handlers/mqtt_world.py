"""What the tests of MQTT share: a parser that takes {"id": …}, a broker's settings, and an inbound that runs meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from daemon.core.events import Noticed
from daemon.core.notices import Notice, NoticeStatus
from daemon.ports import Intake
from handlers.alerts import MalformedError, object_of, parse_json
from handlers.inbound.mqtt import MqttInbound, Parse, Pauses
from handlers.mqtt_link import Broker, connect
from tests.brokers import Mosquitto
from tests.handlers.intake_fakes import T0, Counted, Hands, Kept

TOPIC = "lastgood/deployments/shop"

PATIENCE_SECONDS = 20.0
"""How long a real test waits for what must happen; it usually does within 0.1 s."""

QUICK = Pauses(
    first=timedelta(milliseconds=20), longest=timedelta(milliseconds=200), refused=timedelta(milliseconds=50)
)


def parse(content_type: str | None, attributes: Mapping[str, str], body: bytes) -> tuple[Notice, ...]:
    """One notice per id in the body: {"id": "a"} or {"ids": ["a", "b"]}."""
    content = object_of(parse_json(body, "body"), "body")
    ids: Any = content.get("ids", [content["id"]] if "id" in content else None)
    if ids is None:
        raise MalformedError("id", "is missing")
    return tuple(Notice(source="mqtt", id=one, status=NoticeStatus.SUCCEEDED, at=T0) for one in ids)


def said(one: str) -> str:
    """A body that `parse` takes."""
    return json.dumps({"id": one})


def settings(broker: Mosquitto, **changes: Any) -> Broker:
    """As whom and where the inbound connects."""
    plain = Broker(
        host="127.0.0.1",
        port=broker.port,
        client_id="lastgood-test",
        topics=("lastgood/deployments/#",),
        qos=1,
        session_expiry_seconds=3600,
        receive_maximum=20,
        body_bytes_max=1024,
    )
    return replace(plain, **changes)


class World:
    """An inbound on a broker, and what it was told and kept."""

    def __init__(self, broker: Broker, intake: Intake | None = None, parse: Parse = parse) -> None:
        self.broker = broker
        self.kept = Kept()
        self.counted = Counted()
        self.inbound = MqttInbound(
            connect=partial(connect, broker),
            parse=parse,
            intake=intake or self.kept,
            clock=Hands(),
            telemetry=self.counted,
            body_bytes_max=broker.body_bytes_max,
            pauses=QUICK,
        )

    @property
    def ids(self) -> list[str]:
        """The ids of the notices that were kept, in order."""
        return ids_of(self.kept)

    @property
    def connections(self) -> int:
        """How often it was connected."""
        return self.counted.contacts.count(("mqtt", True))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It runs, and is connected; its end is as at SIGTERM."""
        before = self.connections
        task = asyncio.get_running_loop().create_task(self.inbound.run())
        try:
            await until(lambda: self.connections > before or task.done())
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def ids_of(kept: Kept) -> list[str]:
    """The ids of the notices that an intake kept."""
    return [event.notice.id for event in kept.events if isinstance(event, Noticed)]


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds; fails after PATIENCE_SECONDS."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


async def publish(broker: Mosquitto, body: str | bytes, *options: str, topic: str = TOPIC) -> None:
    """By mosquitto_pub, off the loop."""
    await asyncio.to_thread(broker.publish, topic, body, *options)
