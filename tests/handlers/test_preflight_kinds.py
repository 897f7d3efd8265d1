"""preflight asks for the rights that a workload's kind needs, and for no other kind's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.model import Exchange, Mode
from handlers.kinds import WATCHED
from handlers.preflight.access import access
from handlers.preflight.lines import Line
from tests.handlers.preflight_world import World

PLURALS = {kind.name: kind.plural for kind in WATCHED}
HISTORIES = {kind.name: kind.history.value for kind in WATCHED}


async def looks(world: World, kind: str, exchange: Exchange = Exchange.ROLLING) -> dict[str, Line]:
    """The lines about rights, were the workload of that kind."""
    subject = world.subject()
    view = subject.tracked.view
    view = replace(view, workload=replace(view.workload, kind=kind), exchange=exchange)
    lines = await access(world.sources(), replace(subject, tracked=replace(subject.tracked, view=view)))
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
