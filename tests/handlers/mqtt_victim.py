"""A process that takes one message and never acknowledges it, to be killed: `python -m tests.handlers.mqtt_victim`.

Arguments: the broker's port, the QoS, the journal's path, and `before` or `after`: whether the message is journalled when the
process says so ("taken") and stops.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from daemon.ports import Journalled
from daemon.runtime.journal import SqliteJournal
from handlers.inbound.mqtt import MqttInbound
from handlers.mqtt_link import Broker, connect
from tests.handlers.intake_fakes import Counted, Hands
from tests.handlers.mqtt_world import parse


class Stuck:
    """An intake that stops at the worst moment."""

    def __init__(self, journal: Path, moment: str) -> None:
        self._journal = SqliteJournal(journal)
        self._moment = moment

    async def accept(self, event: Journalled) -> None:
        if self._moment == "after":
            await self._journal.accept([event], datetime.now(UTC))
        print("taken", flush=True)  # noqa: T201 - what the test waits for
        await asyncio.Event().wait()


async def main(port: str, qos: str, journal: str, moment: str) -> None:
    """Until killed."""
    broker = Broker(
        host="127.0.0.1",
        port=int(port),
        client_id="lastgood-test",
        topics=("lastgood/deployments/#",),
        qos=int(qos),
        session_expiry_seconds=3600,
        receive_maximum=20,
        body_bytes_max=1024,
    )
    inbound = MqttInbound(
        connect=partial(connect, broker),
        parse=parse,
        intake=Stuck(Path(journal), moment),
        clock=Hands(),
        telemetry=Counted(),
        body_bytes_max=1024,
    )
    await inbound.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
