"""The real daemon and a real Mosquitto: events are journalled, across a crash of the daemon and an absent broker."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from deploy.sandbox.scenarios import APP
from tests import brokers
from tests.brokers import Mosquitto
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]


def event(one: str) -> str:
    """Plain JSON about the demo's workload."""
    stamp = {"id": one, "source": "ci", "type": "deployment.finished", "time": "2026-01-01T00:00:00Z"}
    return json.dumps({**stamp, "namespace": "shop", "name": APP, "commit": "9b1e6d2"})


async def publish(broker: Mosquitto, body: str) -> None:
    await asyncio.to_thread(broker.publish, "lastgood/deployments/shop", body)


async def taken(world: Rig, one: str) -> None:
    """Wait until a notice with this id is a fact."""
    await world.until_fact("notice_taken", lambda fact: one in json.dumps(fact["notice"]["id"]))


async def test_events_survive_both_ends(tmp_path: Path) -> None:
    """Each event becomes one fact: sent while the daemon runs, is dead, and after the broker was away and spoke garbage."""
    with brokers.mosquitto(tmp_path / "broker") as broker:
        async with rig(tmp_path) as world:
            world.write_config(mqtt={"url": f"mqtt://127.0.0.1:{broker.port}"})
            await world.start()
            await publish(broker, "garbage")
            await publish(broker, event("first"))
            await taken(world, "first")
            await world.daemon.kill()
            await publish(broker, event("second"))
            broker.stop()
            await world.start()  # ready without the broker
            broker.start()
            await taken(world, "second")
            ids = [fact["notice"]["id"] for fact in world.facts("notice_taken")]
    assert len(ids) == 2
    assert "first" in ids[0]
    assert "second" in ids[1]
