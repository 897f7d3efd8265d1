"""One of several daemons: its process, what it says, and the gates and the wire through which all goes that it asks."""

from __future__ import annotations

import asyncio
import copy
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.sandbox.process import DaemonProcess
from deploy.sandbox.world import free_port
from tests.e2e.gate import Gate, Seen
from tests.e2e.rig import put_between
from tests.postgres_wire import Wire

DRAIN_SECONDS = 1.0
"""How long SIGTERM waits for what is under way, and a moment keeps it so; the rest of its time is the hand-over's."""


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


@dataclass(kw_only=True)
class Member:
    """One of the two: its process with as many lives as a test gives it, its gates, its wire."""

    name: str
    daemon: DaemonProcess
    gates: dict[str, Gate]
    wire: Wire
    port: int
    said: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    born: int = 0
    """Index of the first line of its present life."""

    def read(self) -> list[dict[str, Any]]:
        """What it logged since the last call; kept with its time."""
        lines = self.daemon.new_lines()
        self.said += [(now(), line) for line in lines]
        return lines

    def when(self, event: str) -> float | None:
        """When it logged this in its present life; None where it has not."""
        return next((at for at, line in self.said[self.born :] if line.get("event") == event), None)

    @property
    def leads(self) -> bool:
        """As it says itself."""
        return self.daemon.running and self.when("leading") is not None

    def ended_because(self) -> str:
        """What it logged as the reason of its end."""
        errors = [
            str(line.get("error")) for _, line in self.said if line.get("event") in ("part_ended", "cannot_start")
        ]
        return errors[-1] if errors else ""

    async def start(self) -> None:
        """Start it (again), through gates and a wire that hold nothing."""
        for each in self.gates.values():
            each.forget()
        self.wire.drop()
        self.wire.loses_answers = False
        self.read()
        self.born = len(self.said)
        await self.daemon.start()

    def seen(self, since: float = 0.0) -> list[tuple[str, Seen]]:
        """What it asked of whom since then, in order."""
        found = [(name, seen) for name, each in self.gates.items() for seen in each.seen if seen.at >= since]
        return sorted(found, key=lambda pair: pair[1].at)

    def acted(self, since: float) -> float | None:
        """When it first did what only a leader does: ask Prometheus, page, announce, or touch or ask after a Deployment."""
        return next((seen.at for name, seen in self.seen(since) if _is_act(name, seen)), None)


def is_patch(seen: Seen) -> bool:
    """A patch of a Deployment that is no dry run."""
    return seen.method == "PATCH" and "/deployments/" in seen.path and not seen.dry_run


def _is_act(name: str, seen: Seen) -> bool:
    if name == "kubernetes":
        return "/deployments/" in seen.path
    return name in ("prometheus", "pagerduty", "slack")


def member_of(
    name: str, folder: Path, content: dict[str, Any], gates: dict[str, Gate], wire: Wire, schema: str
) -> Member:
    """One with this configuration, but for where it listens, what it keeps, and what stands between it and its servers."""
    own, port = copy.deepcopy(content), free_port()
    put_between(own, gates)
    own["server"]["listen"] = f"127.0.0.1:{port}"
    own["state_dir"] = str(folder / name)
    own["journal"] = {"url": wire.url, "schema_name": schema}
    own["limits"] = {"drain": f"{DRAIN_SECONDS:g}s"}
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(own, sort_keys=False))
    daemon = DaemonProcess(config=config, log_path=folder / f"{name}.log")
    return Member(name=name, daemon=daemon, gates=gates, wire=wire, port=port)


async def put_away(member: Member) -> None:
    """End it, however it is."""
    for each in member.gates.values():
        each.open()
    if member.daemon.running:
        member.daemon.signal(signal.SIGCONT)
    await member.daemon.kill()
