"""A daemon process beside the real controller of Argo Rollouts, under the roles of deploy/kubernetes/act.

Monitoring is the sandbox's stand-in; the pods of the Rollout serve as long as they are ready, and one image fails.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from deploy.sandbox.process import REPOSITORY, DaemonProcess, bare_environment
from deploy.sandbox.services import SampleServices
from deploy.sandbox.vendors import PagerDutyStandIn
from deploy.sandbox.world import until
from tests.controlplane.argo_player import Shop
from tests.controlplane.installed import ACCOUNT, install, lastgood_namespace
from tests.controlplane.surroundings import Surroundings, surroundings
from tests.controlplane.workloads import Json
from tests.packaging.chart import build

SECONDS = 120.0
"""For anything that daemon, controller and simulated nodes do together; ten on an idle machine."""


@dataclass(kw_only=True)
class ArgoWorld:
    """All of it, running. `verified` and `phases` are what the daemon's log told of revisions and incidents."""

    shop: Shop
    around: Surroundings
    daemon: DaemonProcess
    events: set[str] = field(default_factory=set)
    verified: set[str] = field(default_factory=set)
    phases: list[str] = field(default_factory=list)

    @property
    def services(self) -> SampleServices:
        """What the pods serve."""
        return self.around.services

    @property
    def pagerduty(self) -> PagerDutyStandIn:
        """Who is paged."""
        return self.around.pagerduty

    async def follow(self) -> None:
        """Reads what the daemon says; for ever."""
        while True:
            for line in self.daemon.new_lines():
                self._note(line)
            await asyncio.sleep(0.1)

    def _note(self, line: Json) -> None:
        self.events.add(str(line.get("event")))
        if line.get("event") == "revision" and line.get("what") == "verified":
            self.verified.add(str(line.get("revision")).partition(" ")[0])
        elif line.get("event") == "incident":
            self.phases.append(str(line.get("phase")))

    def images(self) -> set[str]:
        """What pods run that are not going."""
        here = [pod for pod in self.around.pods if "deletionTimestamp" not in pod["metadata"]]
        return {pod["spec"]["containers"][0]["image"] for pod in here}

    async def waits(self, what: str, holds: Callable[[], bool]) -> None:
        """Until `holds()`; what the daemon said last is in the error."""
        try:
            await until(what, holds, SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.phases}\n{self.daemon.log_end(20)}") from None

    async def types(self, *words: str) -> tuple[int, str]:
        """Exit code and output of a command line with the daemon's configuration."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "daemon", *words, "--config", str(self.daemon.config),
            cwd=REPOSITORY, env=bare_environment(), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(SECONDS):
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode()


@asynccontextmanager
async def argo_world(shop: Shop, folder: Path, objects: Iterable[Json] | None = None) -> AsyncIterator[ArgoWorld]:
    """The daemon is started and ready; with the roles in these objects where there are some."""
    async with AsyncExitStack() as stack:
        stack.enter_context(lastgood_namespace(shop.plane, folder))
        await asyncio.to_thread(install, shop.plane, build("act") if objects is None else objects)
        around = await stack.enter_async_context(
            surroundings(shop.plane, shop.namespace, folder, app="shop", kind="rollout")
        )
        daemon = DaemonProcess(config=folder / "lastgood.yaml", log_path=folder / "daemon.log")
        world = ArgoWorld(shop=shop, around=around, daemon=daemon)
        content = around.settings(folder / "state", {"kubeconfig": str(shop.plane.kubeconfig(ACCOUNT))})
        daemon.config.write_text(yaml.safe_dump(content, sort_keys=False))
        follower = asyncio.get_running_loop().create_task(world.follow())
        await daemon.start()
        try:
            await world.waits("the daemon is ready", lambda: "ready" in world.events)
            yield world
        finally:
            await daemon.stop()
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
