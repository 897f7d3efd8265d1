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
from functools import partial
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


class DaemonDiedError(RuntimeError):
    """The daemon's process ended by itself; the text is the end of its log."""


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
    lines: list[dict[str, Any]] = field(default_factory=list)
    """The daemon's log, of all its lives."""
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
        self.lines.append(line)
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
        await until("v1 serves", lambda: self.world.settled(APP), 15.0)
        self.live.tell("world", f"{NAMESPACE}/{APP} v1 and two neighbours serve 400 requests/s each")
        await self.daemon.start()
        await until("the daemon is ready", lambda: self.ready > 0 or not self.daemon.running, 20.0)
        if not self.daemon.running:
            raise DaemonDiedError(self.daemon.log_end())
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


def furnish(world: World, scenario: Scenario) -> None:
    """What is there before the daemon: v1 of the app and its neighbours, with their load."""
    if scenario.v1_errors:
        world.services.fault(image=image(APP, "v1"), error_ratio=scenario.v1_errors)
    for app in (APP, *OTHERS):
        world.deploy(app, replicas=scenario.replicas, ready_seconds=2 if app == APP else 0)


async def run(scenario: Scenario, kind: Kind | None, live: Live, folder: Path | None = None) -> Ended:
    """Run one scenario in a fresh world; what it writes stays in `folder`, or goes with a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="lastgood-demo-", ignore_cleanup_errors=True) as temporary:
            return await run(scenario, kind, live, Path(temporary))
    live.tell("world", f"scenario {scenario.name}: {scenario.what}")
    live.tell("world", f"Prometheus and Alertmanager: {_named(kind or available())}")
    async with World(
        folder=folder,
        kind=kind,
        alert_for_seconds=scenario.alert_for_seconds,
        setup=partial(furnish, scenario=scenario),
    ) as world:
        config = world.write_config(scenario.mode)
        daemon = DaemonProcess(config=config, log_path=folder / "daemon.log")
        show = Show(scenario=scenario, world=world, live=live, daemon=daemon)
        follower = asyncio.get_running_loop().create_task(show.follow())
        try:
            async with asyncio.timeout(DEMO_SECONDS - live.seconds):
                return await show.play()
        except TimeoutError as error:
            live.tell("demo", f"out of time: {str(error) or 'the demo takes a minute at most'}")
            return show.ended()
        except DaemonDiedError as error:
            live.tell("demo", f"the daemon ended by itself; its log ends with:\n{error}")
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
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs, journal and configuration there")
    chosen = parser.parse_args(arguments)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    scenario, live = SCENARIOS[chosen.scenario], Live()
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    ended = asyncio.run(run(scenario, chosen.monitoring, live, chosen.keep))
    good = ended.as_it_should(scenario)
    if not good:
        print(f"expected: outcome={scenario.outcome} rolled_back_to={scenario.rolled_back_to} pages={scenario.pages}")
    print(ended.line(scenario.name))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
