"""The demo's scenarios: what happens in the world, and how each has to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deploy.sandbox.world import World, image, until

APP = "web"
OTHERS = ("cart", "search")
"""Services that nobody rolls out: the control group of a common cause."""

Play = Callable[["Stage"], Awaitable[None]]


@dataclass(kw_only=True)
class Stage:
    """What a scenario plays on: the world, what the daemon has said so far, and how to tell the audience."""

    world: World
    tell: Callable[[str, str], None]
    verified: set[str]
    phases: list[str]

    async def roll_out(self, version: str) -> None:
        """Change the image of the app, as a pipeline would."""
        self.tell("rollout", f"somebody rolls out {APP} {version}")
        await self.world.set_image(APP, version)

    async def until_verified(self) -> None:
        """Wait until the daemon has proven v1."""
        await until("v1 is verified", lambda: f"{APP}:v1" in self.verified, 30.0)

    async def until_phase(self, phase: str) -> None:
        """Wait until an incident is in this phase."""
        await until(f"an incident is {phase}", lambda: phase in self.phases, 30.0)

    async def until_settled(self) -> None:
        """Wait until the app's rollout is complete."""
        await until("the rollout completes", lambda: self.world.settled(APP), 30.0)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`play` makes it happen after v1 serves; the rest is how it must end."""

    name: str
    what: str
    play: Play
    outcome: str
    rolled_back_to: str
    pages: int
    mode: str = "auto"
    v1_errors: float = 0.0
    alert_for_seconds: float = 2.0
    replicas: int = 4


async def _error_spike(stage: Stage) -> None:
    """v1 is proven, and v2, four of whose ten requests fail, goes out."""
    await stage.until_verified()
    stage.world.services.fault(image=image(APP, "v2"), error_ratio=0.4)
    await stage.roll_out("v2")


async def _alert_after_completion(stage: Stage) -> None:
    await _error_spike(stage)
    await stage.until_settled()
    stage.tell("rollout", f"{APP} v2 is everywhere; no pod of v1 is left, and only now the alert fires")


async def _crashloop(stage: Stage) -> None:
    await stage.until_verified()
    await stage.roll_out("v2-crash")


async def _innocent(stage: Stage) -> None:
    await stage.until_verified()
    await stage.roll_out("v2")
    await until("half of the pods are new", lambda: stage.world.ready_pods(APP, "v2") >= 2, 30.0)
    stage.tell("outage", "the database that every service uses goes down")
    stage.world.services.outage([APP, *OTHERS], error_ratio=0.4)


async def _no_verified_target(stage: Stage) -> None:
    await until("v1 serves", lambda: stage.world.settled(APP), 30.0)
    stage.world.services.fault(image=image(APP, "v2"), error_ratio=0.4)
    await stage.roll_out("v2")


async def _superseded(stage: Stage) -> None:
    await _error_spike(stage)
    await stage.until_phase("proposed")
    await stage.roll_out("v3")


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="error-spike",
            what="v2 errors during its rollout",
            play=_error_spike,
            outcome="recovered",
            rolled_back_to="v1",
            pages=1,
        ),
        Scenario(
            name="alert-after-completion",
            what="the alert fires when no v1 pod is left; the overlap convicts",
            play=_alert_after_completion,
            outcome="recovered",
            rolled_back_to="v1",
            pages=1,
            replicas=3,  # a rollout of 7 s, so that with the alert's 9 s the minute is not used up
            alert_for_seconds=9.0,
        ),
        Scenario(
            name="crashloop",
            what="v2 never starts",
            play=_crashloop,
            outcome="recovered",
            rolled_back_to="v1",
            pages=1,
        ),
        Scenario(
            name="innocent",
            what="a database outage beside an unrelated rollout",
            play=_innocent,
            outcome="escalated",
            rolled_back_to="none",
            pages=1,
        ),
        Scenario(
            name="no-verified-target",
            what="v1 was never healthy; the page lists the candidates",
            play=_no_verified_target,
            outcome="escalated",
            rolled_back_to="none",
            pages=1,
            v1_errors=0.03,
        ),
        Scenario(
            name="superseded",
            what="a fix goes out during the countdown and wins",
            play=_superseded,
            outcome="superseded",
            rolled_back_to="none",
            pages=0,
        ),
        Scenario(
            name="observe",
            what="the same spike in observe mode; only announced",
            play=_error_spike,
            outcome="escalated",
            rolled_back_to="none",
            pages=0,
            mode="observe",
        ),
    )
}
