"""`make demo`: the real daemon process in the sandbox's world, one scenario, told step by step; ends by itself.

The last line is `demo: scenario=… outcome=… rolled_back_to=… rollbacks=N pages=N duplicate_pages=N seconds=N`; the exit code
is 0 when the scenario ended as it should.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.sandbox.live import Live
from deploy.sandbox.monitoring import Kind, available
from deploy.sandbox.process import DaemonProcess
from deploy.sandbox.scenarios import APP, OTHERS, SCENARIOS, Scenario, Stage
from deploy.sandbox.world import NAMESPACE, World, image, until

ENDS = ("recovered", "escalated", "superseded", "dismissed", "closed")
DEMO_SECONDS = 58.0
"""The whole demo ends within a minute, whatever happens."""

AFTERWARDS_SECONDS = 2.5
"""How long after the end pages and announcements are waited for, so that a wrong extra one is seen."""


@dataclass(kw_only=True)
class Ended:
    """How a scenario ended."""

    outcome: str
    rolled_back_to: str
    rollbacks: int
    pages: int
    duplicate_pages: int
    seconds: float

    def line(self, name: str) -> str:
        """The demo's last line."""
        return (
            f"demo: scenario={name} outcome={self.outcome} rolled_back_to={self.rolled_back_to} "
            f"rollbacks={self.rollbacks} pages={self.pages} duplicate_pages={self.duplicate_pages} "
            f"seconds={self.seconds:.0f}"
        )

    def as_it_should(self, scenario: Scenario) -> bool:
        """It ended as the scenario says, with at most one rollback and no page too many."""
        expected_rollbacks = 0 if scenario.rolled_back_to == "none" else 1
        return (self.outcome, self.rolled_back_to, self.rollbacks, self.pages, self.duplicate_pages) == (
            scenario.outcome,
            scenario.rolled_back_to,
            expected_rollbacks,
            scenario.pages,
            0,
        )


@dataclass(kw_only=True)
class Show:
    """One run of a scenario: the world, the daemon's process, and what it has said so far."""

    scenario: Scenario
    world: World
    live: Live
    daemon: DaemonProcess
    verified: set[str] = field(default_factory=set)
    phases: list[str] = field(default_factory=list)
    ready: int = 0
    pages_told: int = 0

    async def follow(self) -> None:
        """Read the daemon's log and PagerDuty for ever, and tell what matters."""
        while True:
            for line in self.daemon.new_lines():
                self._note(line)
            for incident in self.world.pagerduty.incidents[self.pages_told :]:
                self.live.tell("page", f"PagerDuty opens an incident: {incident.payload['summary']}")
                self.pages_told += 1
            await asyncio.sleep(0.1)

    def _note(self, line: dict[str, Any]) -> None:
        self.live.tell_log(line)
        match line.get("event"):
            case "ready":
                self.ready += 1
            case "revision" if line.get("what") == "verified":
                self.verified.add(str(line.get("revision")).partition(" ")[0])
            case "incident_moved" | "incident" if str(line.get("lastgood.workload")).endswith(f"/{APP}"):
                self.phases.append(str(line.get("phase")))
            case _:
                pass

    async def play(self) -> Ended:
        """Everything from the first pod to the end of the incident."""
        if self.scenario.v1_errors:
            self.world.services.fault(image=image(APP, "v1"), error_ratio=self.scenario.v1_errors)
        for app in (APP, *OTHERS):
            self.world.deploy(app, ready_seconds=2 if app == APP else 0)
        self.live.tell("world", f"{NAMESPACE}/{APP} v1 and two neighbours serve 400 requests/s each")
        await until("v1 serves", lambda: self.world.settled(APP), 15.0)
        await self.daemon.start()
        await until("the daemon is ready", lambda: self.ready > 0, 20.0)
        stage = Stage(world=self.world, tell=self.live.tell, verified=self.verified, phases=self.phases)
        await self.scenario.play(stage)
        await until("the incident ends", lambda: any(phase in ENDS for phase in self.phases), DEMO_SECONDS)
        await asyncio.sleep(AFTERWARDS_SECONDS)
        return self.ended()

    def ended(self) -> Ended:
        """What the world shows: not what the daemon says of itself, but for the phase."""
        ends = [phase for phase in self.phases if phase in ENDS]
        rollbacks = self.world.rollbacks()
        opened = len(self.world.pagerduty.incidents)
        return Ended(
            outcome=ends[-1] if ends else (self.phases[-1] if self.phases else "nothing"),
            rolled_back_to=self.world.version(APP) if rollbacks else "none",
            rollbacks=rollbacks,
            pages=opened,
            duplicate_pages=max(0, opened - 1),
            seconds=self.live.seconds,
        )


async def run(scenario: Scenario, kind: Kind | None, live: Live) -> Ended:
    """Run one scenario in a fresh world in a temporary folder."""
    live.tell("world", f"scenario {scenario.name}: {scenario.what}")
    live.tell("world", f"Prometheus and Alertmanager: {_named(kind or available())}")
    with tempfile.TemporaryDirectory(prefix="lastgood-demo-", ignore_cleanup_errors=True) as folder:
        path = Path(folder)
        async with World(folder=path, kind=kind, alert_for_seconds=scenario.alert_for_seconds) as world:
            config = world.write_config(scenario.mode)
            daemon = DaemonProcess(config=config, log_path=path / "daemon.log")
            show = Show(scenario=scenario, world=world, live=live, daemon=daemon)
            follower = asyncio.get_running_loop().create_task(show.follow())
            try:
                async with asyncio.timeout(DEMO_SECONDS):
                    return await show.play()
            except TimeoutError as error:
                live.tell("demo", f"out of time: {error or 'the demo takes a minute at most'}")
                return show.ended()
            finally:
                await daemon.stop()
                follower.cancel()


def _named(kind: Kind) -> str:
    return "the real ones" if kind == "real" else "not installed, a stand-in answers the demo's queries"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when it ended as it should, 1 otherwise, 2 for a scenario that does not exist."""
    parser = argparse.ArgumentParser(prog="make demo SCENARIO=…", description=__doc__)
    parser.add_argument("--scenario", default="error-spike", choices=sorted(SCENARIOS), metavar="NAME")
    parser.add_argument("--monitoring", choices=("real", "stand-in"), default=None)
    chosen = parser.parse_args(arguments)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    scenario, live = SCENARIOS[chosen.scenario], Live()
    ended = asyncio.run(run(scenario, chosen.monitoring, live))
    good = ended.as_it_should(scenario)
    if not good:
        print(f"expected: outcome={scenario.outcome} rolled_back_to={scenario.rolled_back_to} pages={scenario.pages}")
    print(ended.line(scenario.name))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
