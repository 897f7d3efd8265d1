"""Two daemons, one PostgreSQL journal, and a real control plane: whoever leads next finishes what the last one began, once.

As in tests/e2e/test_failover_postgres.py, where the sandbox is the cluster. Here the Lease, the watches, the guarded patch and
the rights of the chart are a real API server's, and what was written is what it says itself: by generation, managed fields
and audit log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.sandbox.world import until
from tests.controlplane.installed import NAMESPACE, install, lastgood_namespace
from tests.controlplane.plane import APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES, ControlPlane
from tests.controlplane.two_world import PlaneWorld, two_beside
from tests.e2e.members import DRAIN_SECONDS
from tests.e2e.moments import LEAD_SECONDS, MOMENTS, begun, failed_over
from tests.e2e.two import Two
from tests.packaging.chart import render
from tests.postgres import Server

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

KILLED_SECONDS, TERMINATED_SECONDS = 20.0, 2.0
"""From the leader's end until the standby acts, with the default lease: what is promised."""


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """With the account and the roles of the chart, that of the Lease among them."""
    with lastgood_namespace(control_plane, tmp_path_factory.mktemp("installed")):
        install(control_plane, render("rbac.mode=act", "config.lease.enabled=true", namespace=NAMESPACE))
        yield control_plane


@asynccontextmanager
async def restarted(both: Two) -> AsyncIterator[None]:
    """Whichever of the two ends is started again, as Kubernetes does."""
    done = asyncio.Event()

    async def keep() -> None:
        while not done.is_set():
            for member in both.members:
                if not member.daemon.running:
                    await member.start()
            await asyncio.sleep(0.1)

    task = asyncio.get_running_loop().create_task(keep())
    try:
        yield
    finally:
        done.set()  # never in the middle of a start: nobody would know of that process
        await task


async def recovered(both: Two, world: PlaneWorld) -> None:
    """The incident ends by recovery, with one write, one page, and one outcome in the journal. Who has ended is started again:
    on a busy machine the one that is left may lose the Lease as well.
    """
    async with restarted(both):
        assert await both.end() == "recovered", both.phases
    wrong = await both.wrong() + await asyncio.to_thread(world.wrong)
    assert not wrong, wrong


async def test_kill_when_the_patch_is_on_its_way(
    installed: ControlPlane, namespace: str, tmp_path: Path, postgres: Server
) -> None:
    """`kill -9`; the standby acts within 20 s and patches by itself, then the dead leader's patch arrives and is refused."""
    async with two_beside(installed, namespace, tmp_path, postgres) as (both, world):
        done = await failed_over(both, "patch-not-arrived", "kill", late=True, arrives=lambda: world.rollbacks() == 1)
        assert done.acted_after < KILLED_SECONDS
        await recovered(both, world)
        assert sorted(world.patches()) == [200, 422]


async def test_kill_when_the_outcome_was_journalled(
    installed: ControlPlane, namespace: str, tmp_path: Path, postgres: Server
) -> None:
    """`kill -9` when the patch is done and its outcome in the journal, which nobody was told: the standby verifies."""
    async with two_beside(installed, namespace, tmp_path, postgres) as (both, world):
        done = await failed_over(both, "outcome-journalled-unheard", "kill", late=False)
        assert done.acted_after < KILLED_SECONDS
        await recovered(both, world)
        assert world.patches() == [200]


async def test_stopped_before_the_patch(
    installed: ControlPlane, namespace: str, tmp_path: Path, postgres: Server
) -> None:
    """SIGSTOP after the dry run; the other leads and rolls back, SIGCONT, and the dry run's answer arrives: no patch is sent."""
    async with two_beside(installed, namespace, tmp_path, postgres) as (both, world):
        await failed_over(both, "dry-run-answer-lost", "sigstop", late=True, arrives=lambda: world.rollbacks() == 1)
        assert "lease" in both.members[0].ended_because(), both.members[0].ended_because()
        await recovered(both, world)
        assert world.patches() == [200]


async def test_stopped_when_the_outcome_is_on_its_way(
    installed: ControlPlane, namespace: str, tmp_path: Path, postgres: Server
) -> None:
    """SIGSTOP when the patch is done and its outcome on the way to the journal; it arrives when the other leads: refused by
    its token, and the old leader ends saying why.
    """
    async with two_beside(installed, namespace, tmp_path, postgres) as (both, world):
        old = both.members[0]
        await failed_over(both, "outcome-not-journalled", "sigstop", late=True)
        assert "lease" in old.ended_because() or "has taken over" in old.ended_because(), old.ended_because()
        await recovered(both, world)
        (head,) = await both.sql("SELECT token FROM head")
        assert head["token"] == await asyncio.to_thread(world.lease_changes)
        assert world.patches() == [200]


async def test_sigterm(installed: ControlPlane, namespace: str, tmp_path: Path, postgres: Server) -> None:
    """SIGTERM between the page and its answer, for which it waits: when that time is over the other leads within 2 s, and the
    incident goes on.
    """
    async with two_beside(installed, namespace, tmp_path, postgres) as (both, world):
        done = await failed_over(both, "page-answer-lost", "sigterm", late=False)
        assert done.acted_after < DRAIN_SECONDS + TERMINATED_SECONDS
        await recovered(both, world)
        assert world.patches() == [200]


def leaders(both: Two) -> int:
    """How often somebody began to lead."""
    return sum(line.get("event") == "leading" for member in both.members for _, line in member.said)


@pytest.mark.parametrize("outlasts", [False, True], ids=["at-once", "longer-than-the-lease"])
async def test_the_api_server_restarts(
    installed: ControlPlane, namespace: str, tmp_path: Path, postgres: Server, outlasts: bool
) -> None:
    """It is killed when it has stored the patch and not answered: back at once or when the leader has given up, nobody or
    one leads anew, and what was done is found done.
    """
    async with two_beside(installed, namespace, tmp_path, postgres) as (both, world):
        await begun(both)
        leader = both.members[0]
        held = MOMENTS["patch-answer-lost"].arm(both, leader)
        await both.roll_out_bad()
        await held.caught()
        leader.gates["alertmanager"].open()  # by it recovery is seen
        await asyncio.to_thread(installed.kill, APISERVER)
        held.lose()
        if outlasts:
            await until("the leader gives up", lambda: "lease" in leader.ended_because(), LEAD_SECONDS)
        installed.start(APISERVER)
        for part in (APISERVER, CONTROLLER_MANAGER, KUBE_SCHEDULER, NODES):
            await asyncio.to_thread(installed.wait_ready, part)
        await recovered(both, world)
        assert leaders(both) in ((2,) if outlasts else (1, 2))
        assert world.patches() == [200]
