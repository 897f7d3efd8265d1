"""The demo's world with gates around the daemon's process: crash it at an exact moment, start it again, see how it ends.

The monitoring is the stand-in and the limits are the demo's with fewer pods: one incident takes about 15 s. What the
world shows (patches, PagerDuty, Slack) is the judge; the journal is only read to find the moment.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.sandbox.demo import ENDS, Ended, Show
from deploy.sandbox.live import Live
from deploy.sandbox.monitoring import Kind
from deploy.sandbox.process import DaemonProcess
from deploy.sandbox.scenarios import APP, OTHERS, SCENARIOS
from deploy.sandbox.world import World, image, until
from tests.e2e.gate import Gate, gate

GATES = ("kubernetes", "prometheus", "alertmanager", "pagerduty", "slack")

END_SECONDS = 50.0
"""From the last start of the daemon to the end of its incident; 20 s on an idle machine."""

QUIET_SECONDS = 2.0
"""What would come too much (a second page, a second rollback) comes within this after the end."""


@dataclass(kw_only=True)
class Rig:
    """One world, one daemon with as many lives as a test gives it."""

    folder: Path
    world: World
    show: Show
    daemon: DaemonProcess
    gates: dict[str, Gate] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def write_config(self, **sections: dict[str, Any]) -> None:
        """The world's configuration, with gates in between and these sections changed."""
        content = yaml.safe_load(self.world.write_config().read_text())
        put_between(content, self.gates)
        content["limits"] = {"drain": "1s"}
        for name, changes in sections.items():
            content[name] = {**content.get(name, {}), **changes}
        self.config = content
        self.daemon.config.write_text(yaml.safe_dump(content, sort_keys=False))

    async def start(self, *, ready: bool = True) -> None:
        """Start the daemon (again), and wait until it is ready."""
        lives = self.show.ready
        await self.daemon.start()
        if ready:
            await until("the daemon is ready", lambda: self.show.ready > lives, 30.0)

    async def verified_start(self) -> None:
        """Start, and wait for the proof of v1."""
        await self.start()
        await until("v1 is verified", lambda: f"{APP}:v1" in self.show.verified, 30.0)

    async def roll_out_bad(self, version: str = "v2") -> None:
        """A version of which 40 % of the requests fail."""
        self.world.services.fault(image=image(APP, version), error_ratio=0.4)
        await self.world.set_image(APP, version)

    async def until_phase(self, phase: str) -> None:
        """Wait until the log tells of an incident in this phase."""
        await until(f"an incident is {phase}", lambda: phase in self.show.phases, END_SECONDS, step=0.02)

    async def until_fact(self, kind: str, holds: Callable[[dict[str, Any]], bool] = lambda _fact: True) -> None:
        """Wait until a fact of this kind that `holds` is in the journal."""
        await until(f"{kind} is journalled", lambda: any(map(holds, self.facts(kind))), END_SECONDS, step=0.02)

    def facts(self, kind: str) -> list[dict[str, Any]]:
        """The journal's facts of a kind, oldest first."""
        return [json.loads(body) for (body,) in self.sql("SELECT body FROM facts WHERE kind = ? ORDER BY seq", kind)]

    def sql(self, query: str, *bind: object) -> list[tuple[Any, ...]]:
        """Read the journal's file as another process would; nothing while it is not there yet."""
        path = next((self.folder / "state").glob("journal.sqlite"), None)
        if path is None:
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(query, bind).fetchall()

    def ends(self) -> list[str]:
        """Phases in which incidents of the app ended, as logged."""
        return [phase for phase in self.show.phases if phase in ENDS]

    async def end(self, seconds: float = END_SECONDS) -> Ended:
        """How it ended, once it has, with a moment for what would come too much."""
        await until("the incident ends", lambda: bool(self.ends()), seconds)
        await asyncio.sleep(QUIET_SECONDS)
        return self.show.ended()

    def assert_recovered_once(self, ended: Ended) -> None:
        """One rollback to v1, one page that is resolved, one thread in Slack without doubles."""
        assert ended.line("x").startswith(
            "demo: scenario=x outcome=recovered rolled_back_to=v1 rollbacks=1 pages=1 duplicate_pages=0 "
        ), ended.line("x")
        assert [incident.status for incident in self.world.pagerduty.incidents] == ["resolved"]
        assert len(self.world.slack.parents()) == 1, [message.text for message in self.world.slack.parents()]
        posts = Counter(json.dumps(message.metadata, sort_keys=True) for message in self.world.slack.messages)
        assert max(posts.values()) == 1, posts
        assert self.world.settled(APP)


def put_between(content: dict[str, Any], gates: Mapping[str, Gate]) -> None:
    """Let a daemon with this configuration reach the outside through gates."""
    content["kubernetes"]["url"] = gates["kubernetes"].url
    content["prometheus"]["url"] = gates["prometheus"].url
    content["alertmanager"]["urls"] = [gates["alertmanager"].url]
    content["pagerduty"]["base_url"] = gates["pagerduty"].url
    content["slack"]["base_url"] = gates["slack"].url + "/api"


def servers_of(world: World) -> dict[str, str]:
    """The address of each server of the world."""
    assert world.monitoring is not None
    addresses = (
        world.cluster.url,
        world.monitoring.prometheus_url,
        world.monitoring.alertmanager_url,
        world.pagerduty.url,
        world.slack.url,
    )
    return dict(zip(GATES, addresses, strict=True))


async def gates_to(
    servers: Mapping[str, str], stack: AsyncExitStack, trust: Mapping[str, ssl.SSLContext] | None = None
) -> dict[str, Gate]:
    """A gate in front of each server; they go with the stack. `trust`: those that speak TLS."""
    asked = trust or {}
    return {name: await stack.enter_async_context(gate(url, asked.get(name))) for name, url in servers.items()}


def furnish(world: World) -> None:
    world.deploy(APP, replicas=3, ready_seconds=1)
    for app in OTHERS:
        world.deploy(app, replicas=1, ready_seconds=0)


@asynccontextmanager
async def rig(folder: Path, kind: Kind = "stand-in") -> AsyncIterator[Rig]:
    """A world with v1 in place, and a daemon that is not started yet."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(World(folder=folder, kind=kind, setup=furnish))
        gates = await gates_to(servers_of(world), stack)
        daemon = DaemonProcess(config=folder / "daemon.yaml", log_path=folder / "daemon.log")
        show = Show(scenario=SCENARIOS["error-spike"], world=world, live=Live(), daemon=daemon)
        made = Rig(folder=folder, world=world, show=show, daemon=daemon, gates=gates)
        made.write_config()
        await until("v1 serves", lambda: world.settled(APP), 20.0)
        follower = asyncio.get_running_loop().create_task(show.follow())
        try:
            yield made
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
            for each in gates.values():
                each.open()
            await daemon.kill()
