"""What people, pipelines and misfortune do, by the name it has in a plan. Each looks at the world as it is at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daemon.core.events import (
    Approved,
    Closed,
    Command,
    Declared,
    Declined,
    Noticed,
    PauseAsked,
    ReleaseAsked,
    ResumeAsked,
    Reviewed,
    RollbackAsked,
)
from daemon.core.incidents import Incident, Phase, Word
from daemon.core.model import DeclaredCause, Workload
from daemon.core.notices import Notice, NoticeStatus
from daemon.core.reasons import NEVER_OVERRIDDEN, Reason
from daemon.core.state import State
from daemon.ports import InboxFullError, JournalUnavailableError, StandbyError
from tests.simulation.clocks import stamp, true_now
from tests.simulation.network import Window

if TYPE_CHECKING:
    from tests.simulation.world import World

SHOP, MAIN = "shop", "checkout"
ACTOR = "ann"
AGAIN_SECONDS = 20.0
TRIES = 10


def _says(world: World, make: Callable[[State], Command | Noticed | None]) -> None:
    """A person gives a command to the process that is there; tries again while there is none, as people do."""

    async def give(tries: int) -> None:
        process = world.process
        engine = process.engine if process is not None and process.alive else None
        event = make(engine.state) if engine is not None else None
        if engine is not None and event is None:
            return
        if engine is not None and event is not None and process is not None:
            entered = engine.accept(event) if isinstance(event, Noticed) else engine.command(event)
            asked = process.spawn(_quietly(entered))
            done, _ = await asyncio.wait([asked], timeout=AGAIN_SECONDS)
            if done and asked.result():
                return
        if tries < TRIES:
            await asyncio.sleep(AGAIN_SECONDS)
            await give(tries + 1)

    world.spawn(give(0))


async def _quietly(entered: Any) -> bool:
    """Whether the command was taken."""
    try:
        await entered
    except (JournalUnavailableError, InboxFullError, StandbyError):
        return False
    return True


def _latest(state: State, *phases: Phase) -> Incident | None:
    found = [incident for incident in state.incidents.values() if incident.phase in phases]
    return found[-1] if found else None


def approve(world: World) -> None:
    _about(world, (Phase.PROPOSED,), lambda incident: Approved(at=true_now(), incident=incident.id, actor=ACTOR))


def decline(world: World) -> None:
    _about(world, (Phase.PROPOSED,), lambda incident: Declined(at=true_now(), incident=incident.id, actor=ACTOR))


def close(world: World) -> None:
    _about(world, (Phase.ESCALATED,), lambda incident: Closed(at=true_now(), incident=incident.id, actor=ACTOR))


def review(world: World, word: str) -> None:
    _about(world, tuple(Phase), lambda i: Reviewed(at=true_now(), incident=i.id, word=Word(word), actor=ACTOR))


def _about(world: World, phases: tuple[Phase, ...], make: Callable[[Incident], Command]) -> None:
    def of(state: State) -> Command | None:
        incident = _latest(state, *phases)
        return None if incident is None else make(incident)

    _says(world, of)


def pause(world: World, scope: str, lasts: int | None) -> None:
    span = None if lasts is None else timedelta(seconds=lasts)
    _says(world, lambda state: PauseAsked(at=true_now(), scope=scope, actor=ACTOR, lasts=span))


def resume(world: World, scope: str) -> None:
    _says(world, lambda state: ResumeAsked(at=true_now(), scope=scope, actor=ACTOR))


def release(world: World, name: str) -> None:
    key = Workload(namespace=SHOP, kind="Deployment", name=name).key
    _says(world, lambda state: ReleaseAsked(at=true_now(), workload=key, revision=None, actor=ACTOR))


def declare(world: World, cause: str) -> None:
    key, now = Workload(namespace=SHOP, kind="Deployment", name=MAIN).key, true_now()
    _says(world, lambda state: Declared(at=now, workload=key, cause=DeclaredCause(cause), onset=now, actor=ACTOR))


def ask(world: World, name: str, overriding: bool) -> None:
    key = Workload(namespace=SHOP, kind="Deployment", name=name).key
    overrides = tuple(sorted(set(Reason) - NEVER_OVERRIDDEN)) if overriding else ()

    def of(state: State) -> Command | None:
        tracked = state.workloads.get(key)
        rollout = tracked.rollout if tracked is not None else None
        if tracked is None or rollout is None or rollout.replaced is None:
            return None
        target, current = rollout.replaced.id, tracked.view.current.id
        return RollbackAsked(
            at=true_now(), workload=key, current=current, target=target, actor=ACTOR, overrides=overrides
        )

    _says(world, of)


def notice(world: World, status: str) -> None:
    workload = Workload(namespace=SHOP, kind="Deployment", name=MAIN)
    told = Notice(source="ci", id=f"n-{status}", status=NoticeStatus(status), at=true_now(), workload=workload)
    _says(world, lambda state: Noticed(at=true_now(), notice=told))


# -- the cluster


def deploy(world: World, name: str, tag: str) -> None:
    world.cluster.deploy(SHOP, name, tag)


def undo(world: World) -> None:
    """Somebody deploys the first version again, by hand."""
    world.cluster.deploy(SHOP, MAIN, "1.good", manager="kubectl-rollout")


def again(world: World) -> None:
    """A controller writes the bad version back."""
    if world.rolled_back_from is not None:
        known = world.server.get("deployments", SHOP, MAIN)
        if known is not None:
            template = world.rolled_back_from
            world.cluster.write(known, {**known["spec"], "template": template}, "argocd-controller")


def label(world: World, key: str, value: str) -> None:
    world.cluster.annotate("deployments", SHOP, MAIN, labels={key: value})


def annotation(world: World, key: str, value: str) -> None:
    world.cluster.annotate("deployments", SHOP, MAIN, annotations={key: value})


def owner(world: World) -> None:
    reference = {"controller": True, "kind": "Shop", "name": "shop", "uid": "shop-uid"}
    world.cluster.annotate("deployments", SHOP, MAIN, ownerReferences=[reference])


def namespace_pause(world: World) -> None:
    world.cluster.annotate("namespaces", "", SHOP, annotations={"lastgood.dev/paused": "true"})


def rollout_pause(world: World) -> None:
    known = world.server.get("deployments", SHOP, MAIN)
    if known is not None:
        world.cluster.write(known, {**known["spec"], "paused": True}, "kubectl")


def config(world: World) -> None:
    entry = {"manager": "kubectl", "time": stamp(true_now()), "fieldsV1": {"f:data": {}}}
    world.cluster.annotate("configmaps", SHOP, "settings", managedFields=[entry])


def config_gone(world: World) -> None:
    world.server.delete("configmaps", SHOP, "settings")


def history_gone(world: World) -> None:
    """All ReplicaSets without pods are collected, the target's among them."""
    for each in list(world.server.all("replicasets", SHOP)):
        if not any(
            pod["metadata"]["ownerReferences"][0]["uid"] == each["metadata"]["uid"] for pod in world.server.all("pods")
        ):
            world.forget_revision(each)


def recreate(world: World, tag: str) -> None:
    """The Deployment is deleted and made anew under its name."""
    remove(world)
    world.cluster.deploy(SHOP, MAIN, tag)
    world.cluster.make(SHOP, MAIN)


def remove(world: World) -> None:
    known = world.server.get("deployments", SHOP, MAIN)
    if known is None:
        return
    for each in world.server.history(known):
        uid = each["metadata"]["uid"]
        for pod in list(world.server.all("pods", SHOP)):
            if pod["metadata"]["ownerReferences"][0]["uid"] == uid:
                world.server.delete("pods", SHOP, pod["metadata"]["name"])
        world.forget_revision(each)
    world.server.delete("deployments", SHOP, MAIN)


def forbid(world: World) -> None:
    world.forbidden = True


def compact(world: World) -> None:
    world.network.count("api/410")
    world.server.compact()


# -- the services and their surroundings


def outage(world: World, seconds: float) -> None:
    now = asyncio.get_running_loop().time()
    world.truth.outages.append((now, now + seconds))


def quiet(world: World) -> None:
    world.truth.quiet.append((-1e9, 1e9))


def unwatched(world: World) -> None:
    """No traffic until now: what was proven rests on health alone."""
    world.truth.quiet.append((-1e9, 200.0))


def alarm(world: World, seconds: float) -> None:
    """The alert fires without a symptom."""
    for name in world.alerting.alerts:
        world.alerting.forced[name] = True
        break

    async def end() -> None:
        await asyncio.sleep(seconds)
        world.alerting.forced.clear()

    world.spawn(end())


def silence(world: World, seconds: float) -> None:
    async def lasts() -> None:
        for alert in world.alerting.alerts.values():
            alert.silenced = True
        await asyncio.sleep(seconds)
        for alert in world.alerting.alerts.values():
            alert.silenced = False

    world.spawn(lasts())


def trouble(world: World, target: str, kind: str, seconds: float) -> None:
    """A fault begins now."""
    now = asyncio.get_running_loop().time()
    world.network.windows.append(Window(target, kind, now, now + seconds, 1.0))


# -- the daemon's machine


def kill(world: World, down: float, changes: tuple[tuple[str, Any], ...]) -> None:
    world.kill(down, changes)


def stop(world: World, down: float, changes: tuple[tuple[str, Any], ...]) -> None:
    world.stop(down, changes)


def freeze(world: World, seconds: float) -> None:
    world.freeze(seconds)


def reload(world: World, changes: tuple[tuple[str, Any], ...]) -> None:
    world.reload(changes)


def clock(world: World, seconds: float) -> None:
    if world.process is not None:
        world.network.count("clock/jump")
        world.process.clock.jump(seconds)


ACTS: dict[str, Callable[..., None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        approve, decline, close, review, pause, resume, release, declare, ask, notice, deploy, undo, again, label, annotation,
        owner, namespace_pause, rollout_pause, config, config_gone, history_gone, recreate, remove, forbid, compact, outage,
        quiet, unwatched, alarm, silence, trouble, kill, stop, freeze, reload, clock,
    )
}  # fmt: skip
