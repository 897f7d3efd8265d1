"""The API server goes and comes back in the middle of a rollback: one write in all, whichever request it took along."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from daemon import assembly
from daemon.core.actions import OutcomeKind, RolledBack
from daemon.core.events import ActionFinished
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.supervise import Supervisor
from handlers.faults import FaultKind, Permanent, Transient
from handlers.kube import KubeClient
from tests.controlplane.plane import APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES, ControlPlane
from tests.controlplane.rollouts import client_of, image, rolled_out, seen
from tests.controlplane.workloads import Json
from tests.handlers.rollback_world import WallClock

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SECONDS = 150.0
"""From the kill to the outcome; an API server takes four seconds to come up on an idle machine, and its controllers as long."""


class Killing:
    """A client during one of whose patches the API server dies: before it arrives, or once it is stored and before its answer."""

    def __init__(self, client: KubeClient, plane: ControlPlane, *, dry_run: bool, stored: bool) -> None:
        self._client, self._plane = client, plane
        self._dry_run, self._stored, self.killed = dry_run, stored, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def patch_json(self, where: str, ops: Sequence[Json], **options: Any) -> Json:
        """The patch; the first that is meant takes the API server along."""
        if self.killed or bool(options.get("dry_run")) is not self._dry_run:
            return await self._client.patch_json(where, ops, **options)
        self.killed = True
        if self._stored:
            await self._client.patch_json(where, ops, **options)
        await asyncio.to_thread(self._plane.kill, APISERVER)
        self._plane.start(APISERVER)
        if self._stored:
            raise Transient(None, "the connection was cut", FaultKind.NETWORK)
        return await self._client.patch_json(where, ops, **options)


@pytest.mark.parametrize(
    ("dry_run", "stored"), [(True, False), (False, False), (False, True)], ids=["dry-run", "before", "stored"]
)
async def test_in_mid_rollback(control_plane: ControlPlane, namespace: str, dry_run: bool, stored: bool) -> None:
    """Carried out by the dispatcher, as the daemon does it: done, by one write of the Deployment's spec, and it stands."""
    async with rolled_out(control_plane, namespace) as there, client_of(control_plane) as client:
        before = seen(control_plane, namespace)["metadata"]["generation"]
        killing, supervisor = Killing(client, control_plane, dry_run=dry_run, stored=stored), Supervisor()
        finished: asyncio.Future[ActionFinished] = asyncio.get_running_loop().create_future()
        dispatcher = Dispatcher(
            {"roll_back": assembly.rollbacks(killing, WallClock())},  # type: ignore[arg-type]  # its __getattr__
            WallClock(),
            supervisor,
            Faults(transient=Transient, permanent=Permanent),
            finish=finished.set_result,
            attempted=lambda kind, result: None,
        )
        dispatcher.start(there.action())
        async with asyncio.timeout(SECONDS):
            outcome = (await finished).outcome
        await supervisor.stop()
        for part in (APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES):
            await asyncio.to_thread(control_plane.wait_ready, part)
        assert killing.killed
        assert outcome.kind is OutcomeKind.DONE, outcome
        assert isinstance(outcome.result, RolledBack)
        after = seen(control_plane, namespace)
        assert (image(after), after["metadata"]["generation"]) == ("shop:v1", before + 1)
