"""What kubectl and Helm do after our rollback, and whether the commands that we announce make it permanent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from daemon.core.actions import OutcomeKind, RolledBack
from handlers import revisions, views, workload_objects
from handlers.outbound.rollback.template import TemplateRollback
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import Programs, Rollout, deployment, environment, image, rolled_out, set_image
from tests.controlplane.workloads import Json, until_available
from tests.handlers.rollback_world import WallClock

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SERVER, CLIENT = "server-side", "client-side"
GOOD, BAD, FIXED = deployment("v1", "COMMON", "OLD"), deployment("v2", "COMMON", "NEW"), deployment("v3", "COMMON")
"""OLD is in the good version only: what the bad rollout took away, and the rollback brought back."""

CHART = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "shop:{{ .Values.tag }}"}]}
"""

Open = Callable[[], AbstractAsyncContextManager[Rollout]]


@pytest.fixture
def programs(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Programs:
    return Programs(plane=control_plane, namespace=namespace, folder=tmp_path)


def own(obj: Json) -> Json:
    """Our entry in managedFields."""
    (entry,) = [each for each in obj["metadata"]["managedFields"] if each["manager"] == "lastgood"]
    found: Json = entry
    return found


async def roll_back(there: Rollout) -> RolledBack:
    outcome = await TemplateRollback(there.client, WallClock()).run(there.action())
    assert outcome.kind is OutcomeKind.DONE
    assert isinstance(outcome.result, RolledBack)
    obj = await asyncio.to_thread(until_available, there.plane, there.namespace, "web", 1)
    assert image(obj) == "shop:v1"
    return outcome.result


async def only_patched(there: Rollout) -> None:
    """What the rollback writes, without the fields given up afterwards."""
    fresh = await workload_objects.read(there.client, there.workload)
    assert fresh is not None
    target = fresh.find(there.first.id)
    assert target is not None
    marks = workload_objects.provenance(action="a", target=there.first.id, incident="i", why="w")
    await there.client.patch_json(
        workload_objects.path_of(there.workload), workload_objects.guarded_patch(fresh, target, marks)
    )


def announced(warnings: tuple[str, ...], program: str) -> list[str]:
    """The command of this program that, so a warning says, makes the rollback permanent."""
    says = re.compile(rf"`({program} [^`]+)` (?:with the good manifest )?makes the rollback permanent")
    (found,) = [match for each in warnings if (match := says.search(each))]
    return found[1].split()


# -- whose fields they are -------------------------------------------------------------------------------------------


async def test_our_entry_keeps_what_tells_of_the_rollback(control_plane: ControlPlane, namespace: str) -> None:
    """Nothing of the spec is ours any more; manager and time still tell who rolled back and when, and the generation does not
    move. The controller's later writes bring nothing back.
    """
    async with rolled_out(control_plane, namespace) as there:
        before = {each["manager"] for each in there.web()["metadata"]["managedFields"]}
        done = await roll_back(there)
        after = there.web()
    names: Json = {f"f:{key}": {} for key in (views.ACTION, views.INCIDENT, views.ROLLED_BACK_TO)}
    assert own(after)["fieldsV1"] == {"f:metadata": {"f:annotations": names}}
    assert revisions.parse_time(own(after)["time"]) == done.patched_at
    assert after["metadata"]["generation"] == done.generation
    writer = revisions.template_writer(after)  # of writers in the same second, any
    assert writer is not None
    assert writer["time"] == own(after)["time"]
    managers = {each["manager"] for each in after["metadata"]["managedFields"]}
    assert managers - before == {"lastgood"}
    assert {"tests", "kube-controller-manager"} <= managers


async def test_giving_up_is_guarded(control_plane: ControlPlane, namespace: str) -> None:
    """A patch made from entries that have moved since is refused, whole: nobody else's entry can be taken for ours."""
    async with rolled_out(control_plane, namespace) as there:
        await only_patched(there)
        where = workload_objects.path_of(there.workload)
        stale = await there.client.get(where)
        entries = stale["metadata"]["managedFields"]
        at = next(index for index, each in enumerate(entries) if each["manager"] == "lastgood")
        there.plane.ask("GET", where)
        set_image(there.plane, namespace, "shop:v4")  # takes the image away from us: the entry is another one
        ops = [
            {"op": "test", "path": f"/metadata/managedFields/{at}", "value": entries[at]},
            {"op": "replace", "path": f"/metadata/managedFields/{at}/fieldsV1", "value": {}},
        ]
        with pytest.raises(Exception, match="422"):
            await there.client.patch_json(where, ops)
        await workload_objects.hand_back(there.client, there.workload)
    assert "f:spec" not in own(there.web())["fieldsV1"]
    assert image(there.web()) == "shop:v4"


@pytest.mark.parametrize("given_up", [False, True])
async def test_a_server_side_apply_meets_a_conflict_unless_the_fields_are_given_up(
    control_plane: ControlPlane, namespace: str, programs: Programs, given_up: bool
) -> None:
    """`kubectl apply --server-side` of a fixed version: a conflict with `lastgood` over the image, and none after."""

    def apply(body: Json) -> None:
        programs.does("kubectl", "apply", "--server-side", "-f", programs.file(body))

    async with rolled_out(control_plane, namespace, lambda: apply(GOOD), lambda: apply(BAD)) as there:
        await only_patched(there)
        if given_up:
            await workload_objects.hand_back(there.client, there.workload)
        done = await asyncio.to_thread(
            programs.run, "kubectl", "apply", "--server-side", "-f", programs.file(FIXED)
        )  # fmt: skip
    assert (done.returncode == 0) is given_up, done.stderr
    assert image(there.web()) == ("shop:v3" if given_up else "shop:v1")
    assert ('conflict with "lastgood"' in done.stderr) is not given_up


# -- kubectl apply ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made_permanent", [False, True])
@pytest.mark.parametrize("side", [SERVER, CLIENT])
async def test_kubectl_apply_after_a_rollback(
    control_plane: ControlPlane, namespace: str, programs: Programs, side: str, made_permanent: bool
) -> None:
    """The next apply wins without a conflict, and leaves what only the good version has; unless the announced command came
    first, which starts no rollout.
    """
    flags = ("--server-side",) if side == SERVER else ()

    def apply(body: Json) -> None:
        programs.does("kubectl", "apply", *flags, "-f", programs.file(body))

    async with rolled_out(control_plane, namespace, lambda: apply(GOOD), lambda: apply(BAD)) as there:
        done = await roll_back(there)
        assert environment(there.web()) == ["COMMON", "OLD"]
        command = announced(done.warnings, "kubectl")
        assert ("--server-side" in command) is (side == SERVER)
        if made_permanent:
            words = [str(programs.file(GOOD)) if word == "FILE" else word for word in command]
            before = there.web()["spec"]
            await asyncio.to_thread(programs.does, *words)
            assert there.web()["spec"] == before
        await asyncio.to_thread(apply, FIXED)
        after = there.web()
    assert image(after) == "shop:v3"
    assert sorted(environment(after)) == (["COMMON"] if made_permanent else ["COMMON", "OLD"])


@pytest.mark.parametrize("side", [SERVER, CLIENT])
async def test_applying_the_bad_manifest_again_brings_it_back(
    control_plane: ControlPlane, namespace: str, programs: Programs, side: str
) -> None:
    """A pipeline that runs again is not stopped by a rollback: that is for the quarantine to notice."""
    flags = ("--server-side",) if side == SERVER else ()

    def apply(body: Json) -> None:
        programs.does("kubectl", "apply", *flags, "-f", programs.file(body))

    async with rolled_out(control_plane, namespace, lambda: apply(GOOD), lambda: apply(BAD)) as there:
        await roll_back(there)
        await asyncio.to_thread(apply, BAD)
        assert image(there.web()) == "shop:v2"
        assert views.action_on(there.web()) is None


# -- Helm ------------------------------------------------------------------------------------------------------------


def chart(folder: Path) -> Path:
    """A chart of one Deployment."""
    made = folder / "store"
    (made / "templates").mkdir(parents=True)
    (made / "Chart.yaml").write_text("apiVersion: v2\nname: store\nversion: 0.1.0\n")
    (made / "values.yaml").write_text("replicas: 1\ntag: v1\n")
    (made / "templates/web.yaml").write_text(CHART)
    return made


def released(plane: ControlPlane, programs: Programs, side: str) -> Open:
    """Installed as v1, upgraded to v2."""
    made = chart(programs.folder)
    apply = f"--server-side={str(side == SERVER).lower()}"
    return lambda: rolled_out(
        plane,
        programs.namespace,
        lambda: programs.does("helm", "install", "store", made, apply, "--namespace", programs.namespace),
        lambda: upgrade(programs, "--set=tag=v2"),
    )


def upgrade(programs: Programs, *words: str) -> None:
    programs.does(
        "helm", "upgrade", "store", programs.folder / "store", *words, "--namespace", programs.namespace
    )  # fmt: skip


@pytest.mark.parametrize("side", [SERVER, CLIENT])
async def test_a_helm_upgrade_to_a_fixed_version_meets_no_conflict(
    control_plane: ControlPlane, programs: Programs, side: str
) -> None:
    """Helm 4 applies on the server side by default, and ended with a conflict while the fields were ours."""
    async with released(control_plane, programs, side)() as there:
        await roll_back(there)
        await asyncio.to_thread(upgrade, programs, "--set=tag=v3")
        assert image(there.web()) == "shop:v3"


@pytest.mark.parametrize("side", [SERVER, CLIENT])
async def test_a_helm_upgrade_of_something_else_brings_the_bad_version_back(
    control_plane: ControlPlane, programs: Programs, side: str
) -> None:
    """Helm knows nothing of the rollback: what we announce."""
    async with released(control_plane, programs, side)() as there:
        done = await roll_back(there)
        assert "its next upgrade brings it back" in done.warnings[0]
        assert len(done.warnings) == 1  # Helm's own entry in managedFields says nothing that this does not
        await asyncio.to_thread(upgrade, programs, "--reuse-values", "--set=replicas=2")
        assert image(there.web()) == "shop:v2"


@pytest.mark.parametrize("side", [SERVER, CLIENT])
async def test_the_announced_helm_rollback_makes_it_permanent(
    control_plane: ControlPlane, programs: Programs, side: str
) -> None:
    """The command goes to the release before the last, starts no rollout, and the next upgrade keeps the good version."""
    async with released(control_plane, programs, side)() as there:
        done = await roll_back(there)
        command = announced(done.warnings, "helm")
        assert command == ["helm", "rollback", "store", "--namespace", there.namespace]
        before = there.web()["spec"]
        await asyncio.to_thread(programs.does, *command)
        assert there.web()["spec"] == before
        history = programs.does("helm", "history", "store", "--namespace", there.namespace)
        assert "Rollback to 1" in history.splitlines()[-1]
        await asyncio.to_thread(upgrade, programs, "--reuse-values", "--set=replicas=2")
        after = there.web()
    assert (image(after), after["spec"]["replicas"]) == ("shop:v1", 2)
