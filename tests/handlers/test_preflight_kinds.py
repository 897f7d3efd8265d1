"""preflight asks for the rights that a workload's kind needs, and for no other kind's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.model import Exchange, Mode, Owner, OwnerKind
from daemon.core.policy import GitOps, GitOpsRule
from handlers.kinds import WATCHED
from handlers.preflight import standing
from handlers.preflight.access import access
from handlers.preflight.lines import Line
from tests.handlers.preflight_world import World

PLURALS = {kind.name: kind.plural for kind in WATCHED}
HISTORIES = {kind.name: kind.history.value for kind in WATCHED}


async def looks(
    world: World, kind: str, exchange: Exchange = Exchange.ROLLING, owner: Owner | None = None
) -> dict[str, Line]:
    """The lines about rights, and about its owner where one is given, were the workload of that kind."""
    subject = world.subject()
    view = subject.tracked.view
    view = replace(view, workload=replace(view.workload, kind=kind), exchange=exchange, owner=owner)
    subject = replace(subject, tracked=replace(subject.tracked, view=view))
    lines = await access(world.sources(), subject)
    if owner is not None:
        lines += [line for line in await standing.workload(subject) if line.check == "owner"]
    return {line.check: line for line in lines}


@pytest.mark.parametrize("kind", PLURALS)
async def test_only_its_own_kind_counts(kind: str) -> None:
    """Without the rights to check and to patch all others it is fine; without its own it is not."""
    world = World()
    others = {PLURALS[each] for each in PLURALS} | {HISTORIES[each] for each in PLURALS}
    world.rights.lacks = {
        f"{verb} {plural}" for verb in ("get", "patch") for plural in others - {PLURALS[kind], HISTORIES[kind]}
    }
    found = await looks(world, kind)
    assert {line.level.value for line in found.values()} == {"ok"}
    assert f"patch {PLURALS[kind]}" in found
    world.rights.lacks = {f"get {PLURALS[kind]}", f"patch {PLURALS[kind]}"}
    found = await looks(world, kind)
    assert {name for name, line in found.items() if line.level.value == "failed"} == {
        "check a target",
        f"patch {PLURALS[kind]}",
    }


async def test_a_service_needs_its_own_right_to_be_switched() -> None:
    """It is patched itself, and its history are Deployments: those of no other kind are asked for."""
    world = World()
    world.rights.lacks = {"get deployments", "patch deployments", "get statefulsets"}
    found = await looks(world, "Service")
    assert {line.level.value for line in found.values()} == {"ok"}
    assert ("patch services" in found, "patch deployments" in found) == (True, False)
    for lacking in ("get services", "patch services", "list deployments"):
        world.rights.lacks = {lacking}
        failed = {name: line for name, line in (await looks(world, "Service")).items() if line.level.value == "failed"}
        assert ("patch services" if lacking == "patch services" else "check a target") in failed
    world.rights.lacks = {"patch services"}
    line = (await looks(world, "Service"))["patch services"]
    assert "rbac.switchServices=true" in str(line.remedy)
    assert "patch services" not in await looks(world, "Deployment")


AROUND = [
    (Owner(kind=OwnerKind.FLUX, name="Kustomization flux/shop"), GitOps.FLUX_SUSPEND, "kustomizations", "failed"),
    (Owner(kind=OwnerKind.FLUX, name="HelmRelease flux/shop"), GitOps.FLUX_SUSPEND, "helmreleases", "failed"),
    (Owner(kind=OwnerKind.ARGO_CD, name="team_shop"), GitOps.ARGOCD_ROLLBACK, "applications", "failed"),
    (Owner(kind=OwnerKind.ARGO_CD, name="shop"), GitOps.ARGOCD_ROLLBACK, "applications", "warning"),
]
"""Owner, the way around it, the plural of its objects, and how a right to them that is missing stands."""


@pytest.mark.parametrize(("owner", "way", "plural", "level"), AROUND)
async def test_around_its_owner_it_needs_rights_to_that(owner: Owner, way: GitOps, plural: str, level: str) -> None:
    """Where the policy goes around the owner, and there; an unknown namespace is only warned of."""
    world = World(default_mode=Mode.APPROVE, gitops=(GitOpsRule(do=way),))
    found = await looks(world, "Deployment", owner=owner)
    assert {line.level.value for line in found.values()} == {"ok"}
    assert {name for name in found if plural in name} == {f"get {plural}", f"patch {plural}"}
    assert found["owner"].says.endswith(f"and it is rolled back (policy.gitops: {way})")
    world.rights.lacks = {f"patch {plural}"}
    line = (await looks(world, "Deployment", owner=owner))[f"patch {plural}"]
    assert (line.level.value, "rbac.gitops=true" in str(line.remedy)) == (level, True)
    observing = World(default_mode=Mode.OBSERVE, gitops=(GitOpsRule(do=way),))
    observing.rights.lacks = {f"patch {plural}"}
    assert (await looks(observing, "Deployment", owner=owner))[f"patch {plural}"].level.value == "warning"
    without = await looks(World(default_mode=Mode.APPROVE), "Deployment", owner=owner)
    assert f"get {plural}" not in without
    assert without["owner"].level.value == "failed"


@pytest.mark.parametrize("right", [f"watch {kind.plural}" for kind in WATCHED if not kind.optional])
async def test_every_kind_is_watched(right: str) -> None:
    """The right to watch is needed for each kind, whichever the workload is of: without it the daemon sees nothing at all."""
    world = World()
    world.rights.lacks = {right}
    found = await looks(world, "Deployment")
    assert (found["watch the cluster"].level.value, right in found["watch the cluster"].says) == ("failed", True)


@pytest.mark.parametrize("resource", ["rollouts", "canaries"])
async def test_what_another_tool_brings_is_not_needed(resource: str) -> None:
    """Without the right to watch Rollouts or Canaries everything else is seen; a Rollout needs that of its own kind."""
    world = World()
    world.rights.lacks = {f"watch {resource}", f"list {resource}"}
    assert (await looks(world, "Deployment"))["watch the cluster"].level.value == "ok"
    own = (await looks(world, "Rollout"))["watch the cluster"]
    assert own.level.value == ("failed" if resource == "rollouts" else "ok")


async def test_freeing_a_set_needs_the_right_where_the_policy_frees() -> None:
    """A StatefulSet that is exchanged in order needs `delete` on pods with `delete_stuck_pods`, and a Deployment never."""
    for delete, lacking, level, says in (
        (False, True, "ok", "left to people"),
        (True, False, "ok", "allowed in shop"),
        (True, True, "failed", "would not come back by itself"),
    ):
        world = World(delete_stuck_pods=delete)
        world.rights.lacks = {"delete pods"} if lacking else set()
        line = (await looks(world, "StatefulSet", Exchange.ORDERED))["delete pods"]
        assert (line.level.value, says in line.says) == (level, True), line
        assert "delete pods" not in await looks(world, "StatefulSet")
        assert "delete pods" not in await looks(world, "Deployment")
    world = World(delete_stuck_pods=True, default_mode=Mode.OBSERVE)
    world.rights.lacks = {"delete pods"}
    line = (await looks(world, "StatefulSet", Exchange.ORDERED))["delete pods"]
    assert (line.level.value, "rbac.deletePods=true" in line.remedy) == ("warning", True)
