"""Two daemons and one Lease, as processes: how long nobody leads, and that a leader of the past does nothing.

Each has a journal of its own (SQLite), so what is tested is the hand-over: who decides, and from when on.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from deploy.sandbox.process import DaemonProcess
from deploy.sandbox.scenarios import APP
from deploy.sandbox.world import free_port, until
from tests.e2e.gate import Seen
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(170)]

LEASE = {"enabled": True, "namespace": "shop"}
KILLED_SECONDS, TERMINATED_SECONDS = 20.0, 2.0
"""From the leader's end until the standby leads, with the default lease: what is promised."""

LEASE_SECONDS = 15.0


def is_patch(seen: Seen) -> bool:
    """A patch of a Deployment that is no dry run."""
    return seen.method == "PATCH" and "/deployments/" in seen.path and not seen.dry_run


def is_dry_run(seen: Seen) -> bool:
    """The last look before the patch: the same, and nothing stored."""
    return seen.method == "PATCH" and "/deployments/" in seen.path and seen.dry_run and "check" not in seen.path


@dataclass(kw_only=True)
class Second:
    """The other daemon: the same world without gates, a folder and an address of its own."""

    daemon: DaemonProcess
    port: int
    lines: list[dict[str, Any]] = field(default_factory=list)

    def said(self, event: str) -> bool:
        """Whether its log has this line."""
        self.lines += self.daemon.new_lines()
        return any(line.get("event") == event for line in self.lines)

    async def says(self, event: str, seconds: float) -> float:
        """Wait for the line; the loop's time at which it was there."""
        await until(f"the standby says {event}", lambda: self.said(event), seconds, step=0.02)
        return asyncio.get_running_loop().time()

    async def ask(self, path: str) -> tuple[int, str]:
        """Status and text of an answer."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[Rig, Second]]:
    """A leader that has proven v1, and one that stands by."""
    async with rig(folder) as first:
        first.write_config(lease=LEASE)
        content = {**first.config, "state_dir": str(folder / "second"), "kubernetes": {"url": first.world.cluster.url}}
        port = free_port()
        content["server"] = {**content["server"], "listen": f"127.0.0.1:{port}"}
        config = folder / "second.yaml"
        config.write_text(yaml.safe_dump(content, sort_keys=False))
        second = Second(daemon=DaemonProcess(config=config, log_path=folder / "second.log"), port=port)
        await first.daemon.start()
        await until("the first one leads", lambda: first.show.ready > 0, 40.0)
        await second.daemon.start()
        try:
            await second.says("standby", 30.0)
            await until("v1 is verified", lambda: f"{APP}:v1" in first.show.verified, 30.0)
            yield first, second
        finally:
            first.daemon.signal(signal.SIGCONT) if first.daemon.running else None
            await second.daemon.kill()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_standby_accepts_and_does_nothing_else(tmp_path: Path) -> None:
    """It is ready and says what for; questions that only the leader can answer get 503; its metric says 0."""
    async with pair(tmp_path) as (_, second):
        assert await second.ask("/-/ready") == (200, "standby\n")
        status, text = await second.ask("/api/v1/status")
        assert (status, "stands by" in text) == (503, True)
        assert "lastgood_leader 0.0" in (await second.ask("/metrics"))[1]


async def test_kill(tmp_path: Path, record_property: Any) -> None:
    """`kill -9` of the leader in the middle of an incident: the standby decides within 20 s, with the default lease."""
    async with pair(tmp_path) as (first, second):
        await first.roll_out_bad()
        await first.until_phase("proposed")
        killed = now()
        await first.daemon.kill()
        took = await second.says("leading", KILLED_SECONDS) - killed
        await second.says("ready", KILLED_SECONDS - took)
        record_property("failover_seconds", took)
        print(f"failover after kill -9: {took:.2f} s")  # noqa: T201 - the figure is what this is for
        assert first.world.rollbacks() <= 1
        assert "lastgood_leader 1.0" in (await second.ask("/metrics"))[1]


async def test_sigterm(tmp_path: Path, record_property: Any) -> None:
    """SIGTERM gives the lease back: the standby decides within 2 s."""
    async with pair(tmp_path) as (first, second):
        asked = now()
        first.daemon.signal(signal.SIGTERM)
        took = await second.says("ready", TERMINATED_SECONDS) - asked
        record_property("failover_seconds", took)
        print(f"failover after SIGTERM: {took:.2f} s")  # noqa: T201
        assert await first.daemon.ended() == 0


async def test_stopped_for_longer_than_the_lease(tmp_path: Path) -> None:
    """SIGSTOP in the middle of a rollback, the other takes over, SIGCONT, and the answer that allows the patch arrives: the
    old leader sends none, and ends.
    """
    async with pair(tmp_path) as (first, second):
        gate = first.gates["kubernetes"]
        held = gate.hold(is_dry_run, after=True)
        await first.roll_out_bad()
        await held.caught()
        before = len(gate.seen)
        first.daemon.signal(signal.SIGSTOP)
        stopped = now()
        await second.says("leading", KILLED_SECONDS)
        assert now() - stopped > LEASE_SECONDS / 2
        held.answer()
        await asyncio.sleep(0.5)  # the answer waits in the socket: it is read before any timer runs
        first.daemon.signal(signal.SIGCONT)
        assert await first.daemon.ended() == 1
        assert not [seen for seen in gate.seen[before:] if is_patch(seen)]
        assert any("lease" in str(line.get("error")) for line in first.daemon.new_lines() + first.show.lines)
        assert first.world.rollbacks() <= 1


async def test_the_api_server_is_away_for_the_leader_alone(tmp_path: Path) -> None:
    """Cut off from the API server, it ends by itself before the other can lead, and says why."""
    async with pair(tmp_path) as (first, second):
        first.gates["kubernetes"].shut()
        code = await asyncio.wait_for(first.daemon.ended(), LEASE_SECONDS)
        assert code == 1
        assert not second.said("leading")
        await second.says("leading", LEASE_SECONDS)
