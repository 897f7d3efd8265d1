"""StatefulSets and DaemonSets are rolled back; a broken pod that keeps a set from going on is deleted only where allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon import assembly
from daemon.core.actions import Outcome, OutcomeKind, RolledBack
from daemon.core.model import Workload
from deploy.sandbox.kube.errors import ApiError
from deploy.sandbox.kube.faults import RequestRecord
from handlers.faults import Transient
from handlers.kinds import WATCHED, standing_of
from handlers.outbound.rollback.statefulset import StatefulSetRollback
from handlers.outbound.rollback.template import TemplateRollback
from tests.handlers.rollback_world import WallClock, until
from tests.handlers.sets_world import SetWorld, set_world

pytestmark = pytest.mark.real

BROKEN = "shop:v2-unready"
OLD = {"db-0": "shop:v1", "db-1": "shop:v1", "db-2": "shop:v1"}


def warnings(outcome: Outcome) -> str:
    assert isinstance(outcome.result, RolledBack), outcome
    return " ".join(outcome.result.warnings)


async def back(there: SetWorld) -> None:
    await until(there.obj, lambda obj: standing_of(obj).converged)


async def broken(there: SetWorld) -> None:
    """The highest pod is of v2 and never becomes ready: the set waits for it. It runs: nothing of it changes any more."""
    await until(there.pods, lambda pods: pods == OLD | {"db-2": BROKEN})
    await until(lambda: there.is_running("db-2"), bool)


async def test_a_set_is_rolled_back() -> None:
    """The pods that were exchanged run the old template again, and the numbers on the history objects moved."""
    async with set_world("StatefulSet", v2="shop:v2") as there:
        await until(there.obj, lambda obj: standing_of(obj).converged)
        outcome = await StatefulSetRollback(there.client, WallClock()).run(there.action())
        assert outcome.kind is OutcomeKind.DONE
        await back(there)
        assert there.pods() == OLD


async def test_a_daemon_is_rolled_back() -> None:
    """Every node has a pod of the old template again."""
    async with set_world("DaemonSet", v2="shop:v2") as there:
        await until(there.obj, lambda obj: standing_of(obj).converged)
        outcome = await TemplateRollback(there.client, WallClock()).run(there.action())
        assert outcome.kind is OutcomeKind.DONE
        await until(there.pods, lambda pods: pods and set(pods.values()) == {"shop:v1"})


@pytest.mark.parametrize("kind", [kind.name for kind in WATCHED])
async def test_each_kind_that_is_watched_has_a_runner(kind: str) -> None:
    """The daemon's own table finds one for it, which looks for the workload."""
    async with set_world("DaemonSet", v2="shop:v2") as there:
        rollbacks = assembly.rollbacks(there.client, WallClock())
        nothing = Workload(namespace="default", kind=kind, name="nothing")
        outcome = await rollbacks.run(there.action(workload=nothing))
        assert (outcome.kind, outcome.message) == (OutcomeKind.REFUSED, "default/nothing is gone")
        unknown = replace(nothing, kind="Job")
        outcome = await rollbacks.run(there.action(workload=unknown))
        assert (outcome.kind, "not configured" in outcome.message) == (OutcomeKind.REFUSED, True)
        assert await rollbacks.probe(there.action(workload=unknown)) is None


async def test_a_newer_rollout_wins() -> None:
    """Nothing is written over what somebody deployed since."""
    async with set_world("StatefulSet", v2="shop:v2") as there:
        await there.deploy("shop:v3")
        outcome = await StatefulSetRollback(there.client, WallClock()).run(there.action())
        assert outcome.kind is OutcomeKind.REFUSED
        assert there.obj()["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:v3"


async def test_without_the_switch_the_command_is_told() -> None:
    """The template is back, the broken pod is left to people, and they are told how."""
    async with set_world("StatefulSet", v2=BROKEN) as there:
        await broken(there)
        outcome = await StatefulSetRollback(there.client, WallClock()).run(there.action())
        assert outcome.kind is OutcomeKind.DONE
        assert "`kubectl -n default delete pod db-2`" in warnings(outcome)
        assert not [record for record in there.cluster.faults.log if record.method == "DELETE"]
        assert there.pods()["db-2"] == BROKEN


async def test_with_the_switch_the_set_is_freed() -> None:
    """Exactly the broken pod is deleted, and the set comes back."""
    async with set_world("StatefulSet", v2=BROKEN) as there:
        await broken(there)
        outcome = await StatefulSetRollback(there.client, WallClock()).run(there.action(delete_stuck=True))
        assert "Deleted pod db-2" in warnings(outcome)
        await back(there)
        assert there.pods() == OLD
        assert [r.path.rpartition("/")[2] for r in there.cluster.faults.log if r.method == "DELETE"] == ["db-2"]


async def test_cut_between_patch_and_pod() -> None:
    """A run that was cut after the patch is not taken for done while the pod is stuck; the next run deletes it, once."""
    async with set_world("StatefulSet", v2=BROKEN) as there:
        await broken(there)
        rollback = StatefulSetRollback(there.client, WallClock())
        await TemplateRollback(there.client, WallClock()).run(there.action(delete_stuck=True))
        assert await rollback.probe(there.action(delete_stuck=True)) is None
        assert await rollback.probe(there.action()) is not None
        outcome = await rollback.run(there.action(delete_stuck=True))
        assert "Deleted pod db-2" in warnings(outcome)
        await back(there)
        assert await rollback.probe(there.action(delete_stuck=True)) is not None


async def test_a_ready_pod_is_left_to_the_controller() -> None:
    """What is ready is exchanged in order by the controller, switch or not."""
    async with set_world("StatefulSet", v2="shop:v2") as there:
        await until(there.obj, lambda obj: standing_of(obj).converged)
        await StatefulSetRollback(there.client, WallClock()).run(there.action(delete_stuck=True))
        await back(there)
        assert not [record for record in there.cluster.faults.log if record.method == "DELETE"]


async def test_a_set_without_order_frees_itself() -> None:
    """With the pod management policy Parallel nothing blocks: nothing is deleted and nothing told."""
    async with set_world("StatefulSet", v2=BROKEN, podManagementPolicy="Parallel") as there:
        await broken(there)
        outcome = await StatefulSetRollback(there.client, WallClock()).run(there.action(delete_stuck=True))
        assert warnings(outcome) == ""
        await back(there)


@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (409, "Conflict"), (404, "NotFound")])
async def test_a_deletion_that_is_refused(code: int, reason: str) -> None:
    """Forbidden: the command is told. Changed meanwhile: looked at again. Gone: nothing is left to do."""

    def refuse(record: RequestRecord) -> None:
        if record.method == "DELETE":
            raise ApiError(code, reason, f"{reason}: pods db-2")

    async with set_world("StatefulSet", v2=BROKEN) as there:
        await broken(there)
        there.cluster.faults.on_request = refuse
        rollback = StatefulSetRollback(there.client, WallClock())
        if code == 409:
            with pytest.raises(Transient):
                await rollback.run(there.action(delete_stuck=True))
            there.cluster.faults.on_request = None
            assert "Deleted pod db-2" in warnings(await rollback.run(there.action(delete_stuck=True)))
            return
        told = warnings(await rollback.run(there.action(delete_stuck=True)))
        assert ("delete pod db-2" in told) is (code == 403)
