"""Rolls a workload of Argo CD back: switches auto-sync off and has Argo CD sync the history entry that carries the target.

Two writes. First the action's id onto the workload, guarded by its template, so that the rollout that follows is known as ours
(it counts only once the target is current). Then one guarded patch of the Application: auto-sync off with its end, and the
operation that `argocd app rollback` asks for. This one is tried before the first is sent. What becomes of it is read on both
objects, at each look anew; so a run after a crash, wherever it was cut, goes on where the world stands.

Argo CD writes the template, not Lastgood, so that afterwards is looked at what it is: the target's, or it has failed. Where it is
neither the target's nor the blamed one auto-sync stays off: to go on would bring the blamed one back. What the kind of workload
needs beyond its template (a stuck StatefulSet's pod, a Rollout's promotion) is done by the runner of the kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from daemon.core.actions import Outcome, OutcomeKind, RollBack, RolledBack, StaysSuspended
from daemon.core.model import Owner
from daemon.ports import Clock, Runner
from handlers import applications, rollback_steps, views, workload_objects
from handlers.applications import Operation
from handlers.faults import FaultKind, Permanent, Transient
from handlers.kinds import ROLLOUT, SERVICE
from handlers.kube_json import Obj
from handlers.outbound.rollback import outcomes
from handlers.rollback_steps import NoWay, Road, Step
from handlers.workload_objects import FIELD_MANAGER, Api, Fresh

LOOK_SECONDS = 0.5
LOOKS_MAX = 60
"""Thirty seconds for Argo CD to take up an operation and to apply it, fetching the source included. After that the
dispatcher decides when to come again.
"""


class _Turn(StrEnum):
    """What is done next."""

    MARK = "mark"
    ROLL_BACK = "roll_back"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class _Wait:
    """Argo CD, or the workload's controller, has to do something first."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """The workload and its Application as they are now; the Application is the older of both readings."""

    fresh: Fresh | None
    app: Obj | None
    why_no_app: str = ""


@dataclass(slots=True)
class _Progress:
    """Whether Argo CD was asked, as far as this run has seen."""

    asked: bool = False


class ArgoCdRollback:
    """Carries out RollBack where Argo CD owns the workload. `clock` dates what managedFields do not.

    `plain` finishes what Argo CD has rolled back, by kind. `look_seconds` is between two looks. `forbids` says what speaks
    against it in the moment before Argo CD is asked, None where nothing does.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        plain: Runner[RollBack],
        *,
        look_seconds: float = LOOK_SECONDS,
        forbids: Callable[[RollBack], str | None] = lambda action: None,
    ) -> None:
        self._api = api
        self._forbids = forbids
        self._clock = clock
        self._plain = plain
        self._look_seconds = look_seconds

    async def run(self, action: RollBack) -> Outcome:
        """Roll back. REFUSED where it is not certain that the history has the target, or that the switch lasts.

        FAILED where Argo CD did not do it. Raises Transient where it is worth another run: the world could not be read, or
        Argo CD has not come to its end yet.
        """
        progress = _Progress()
        try:
            return await self._gone(action, progress)
        except Permanent as fault:
            if not progress.asked:
                raise
            # What Argo CD makes of it nobody may read: with auto-sync on again it would bring the bad revision back.
            message = f"Argo CD was asked for the rollback, and what became of it cannot be read ({fault.reason})."
            return Outcome(kind=OutcomeKind.FAILED, result=StaysSuspended(), message=message)

    async def _gone(self, action: RollBack, progress: _Progress) -> Outcome:
        wait, place = "", ""
        for _ in range(LOOKS_MAX):
            look = await self._look(action, place)
            if look.app is not None:
                place = applications.path_of(look.app)
                progress.asked = progress.asked or applications.operation_of(look.app, action.id) is not None
            found = self._next(action, look)
            if isinstance(found, Outcome):
                return _told(action, found, look.app)
            if found is _Turn.FINISH:
                return _told(action, await self._plain.run(_plainly(action)), look.app)
            if isinstance(found, _Turn):
                if not progress.asked and (why := self._forbids(action)) is not None:
                    return _told(action, outcomes.refused(why), look.app)
                await self._write(action, look, found)
                progress.asked = progress.asked or found is _Turn.ROLL_BACK
            else:
                wait = found.why
                await asyncio.sleep(self._look_seconds)
        raise Transient(None, wait, FaultKind.TIMEOUT)

    async def probe(self, action: RollBack) -> Outcome | None:
        """What became of it; None where Argo CD was not asked yet, and a run goes on from there.

        Raises Transient while Argo CD is at it: that nothing has happened yet may not be said any more.
        """
        look = await self._look(action)
        found = self._next(action, look)
        if found is _Turn.FINISH:
            settled = await self._plain.probe(_plainly(action))
            return None if settled is None else _told(action, settled, look.app)
        if isinstance(found, Outcome):
            return _told(action, found, look.app)
        if (
            isinstance(found, _Wait)
            and look.app is not None
            and applications.operation_of(look.app, action.id) is not None
        ):
            raise Transient(None, found.why, FaultKind.TIMEOUT)
        return None

    # -- what to do next ---------------------------------------------------------------------------------------------

    async def _look(self, action: RollBack, place: str = "") -> _Look:
        """Read both. `place` is the Application's address once it is known: to search for it reads all there are."""
        app = await self._application(action, place)
        fresh = await workload_objects.read(self._api, action.workload)
        if isinstance(app, NoWay):
            return _Look(fresh=fresh, app=None, why_no_app=app.why)
        return _Look(fresh=fresh, app=app)

    async def _application(self, action: RollBack, place: str) -> Obj | NoWay:
        owner, workload = _owner_of(action), action.workload
        found = await self._read(place) if place else await applications.named(self._api, owner)
        for app in found:
            if applications.operation_of(app, action.id) is not None:
                return app  # whatever it lists while it is rolled back
        metadata = {"namespace": workload.namespace, "name": workload.name}
        return applications.only_one(found, owner, {"kind": workload.kind, "metadata": metadata})

    async def _read(self, place: str) -> list[Obj]:
        app = await workload_objects.found(self._api, place)
        return [] if app is None else [app]

    def _next(self, action: RollBack, look: _Look) -> Outcome | _Turn | _Wait:
        """The outcome that the world shows, else what is next."""
        fresh = look.fresh
        if fresh is None:
            return outcomes.refused(f"{action.workload.short} is gone")
        if fresh.uid != action.uid:
            return outcomes.refused(
                f"{action.workload.short} was deleted and made anew: another object than the one judged"
            )
        if fresh.is_leaving:
            return outcomes.refused(f"{action.workload.short} is being deleted")
        if not fresh.is_told:
            return _Wait(f"the controller of {action.workload.short} has not taken up its newest generation yet")
        if _is_proven(action, fresh):
            return _Turn.FINISH
        written = None if look.app is None else applications.operation_of(look.app, action.id)
        if look.app is not None and written is not None:
            return self._after(action, fresh, look.app, written)
        return self._before(action, fresh, look)

    def _before(self, action: RollBack, fresh: Fresh, look: _Look) -> Outcome | _Turn | _Wait:
        """The operation is not written yet."""
        if fresh.current != action.blamed.id:
            return outcomes.superseded(fresh)
        if fresh.is_paused:
            return outcomes.refused(f"{action.workload.short} is paused: `kubectl rollout resume` it first")
        if action.workload.kind == SERVICE.name:
            return outcomes.refused("nothing was changed: a Service of Argo CD is not switched; revert in the source")
        app = look.app
        if app is None:
            return outcomes.refused(f"nothing was changed: {look.why_no_app}")
        entry = applications.why_not(app, action.id) or _entry(action, app)
        if isinstance(entry, NoWay):
            return outcomes.refused(f"nothing was changed: {entry.why}")
        if applications.is_busy(app):
            name = app["metadata"]["name"]
            return _Wait(
                f"another operation of {applications.label_of(app)} is under way; `argocd app terminate-op {name}` ends it"
            )
        return _Turn.ROLL_BACK if _is_marked(action, fresh) else _Turn.MARK

    def _after(self, action: RollBack, fresh: Fresh, app: Obj, written: Operation) -> Outcome | _Wait:
        """The operation was written, and the target is not current, or nothing on the workload proves that we did it."""
        label = applications.label_of(app)
        if written.under_way:
            return _Wait(f"the rollback of {label} is under way ({written.told})")
        if fresh.current == action.target.id:  # Argo CD replaced the whole object, our mark included
            return outcomes.done(fresh.workload, self._clock, ())
        went = f"{label} went back to entry {written.entry} of its history ({written.told})"
        if fresh.current == action.blamed.id:
            message = f"{went}, and {action.workload.short} still runs the bad revision."
            return Outcome(kind=OutcomeKind.FAILED, message=message)
        message = (
            f"{went}, and {action.workload.short} runs revision {fresh.current[:8]} now, which is not {action.target.label}: "
            f"look whether it is well. {_suspension(action, app)}"
        )
        return Outcome(kind=OutcomeKind.FAILED, message=message, result=StaysSuspended())

    # -- doing it ----------------------------------------------------------------------------------------------------

    async def _write(self, action: RollBack, look: _Look, turn: _Turn) -> None:
        """One of the two writes. Raises Transient where somebody wrote at the same time: a new run reads everything anew.

        The patch of the Application is tried before either: an older Argo CD does not keep the switch.
        """
        assert look.fresh is not None, "there is something to write to"
        assert look.app is not None, "there is something to write to"
        tried = await self._patch(_rollback(action, look.app, switch=True), dry_run=True)
        if turn is _Turn.MARK:
            await self._patch(_mark(action, look.fresh), dry_run=False)
        else:
            await self._patch(_rollback(action, look.app, switch=applications.is_switched(tried)), dry_run=False)

    async def _patch(self, step: Step, *, dry_run: bool) -> Obj:
        try:
            return await self._api.patch_json(step.path, step.ops, dry_run=dry_run, field_manager=FIELD_MANAGER)
        except Permanent as fault:
            raise await self._told_apart(step, fault) from fault

    async def _told_apart(self, step: Step, fault: Permanent) -> Permanent | Transient:
        """A `test` that failed and an object that is not valid are both 422: what is there now tells them apart."""
        if fault.kind is FaultKind.CONFLICT:
            return _again(fault)
        if fault.kind is not FaultKind.INVALID:
            return fault
        return _again(fault) if rollback_steps.would_fail(step, await self._api.get(step.path)) else fault


def _again(fault: Permanent) -> Transient:
    return Transient(None, fault.reason, FaultKind.CONFLICT, status=fault.status, code=fault.code)


def _mark(action: RollBack, fresh: Fresh) -> Step:
    road = Road.UNDO if action.workload.kind == ROLLOUT.name else None
    return rollback_steps.mark(action.workload, fresh, outcomes.provenance(action), road)


def _rollback(action: RollBack, app: Obj, *, switch: bool) -> Step:
    entry, until = _entry(action, app), action.suspend_until
    assert not isinstance(entry, NoWay), "looked at before"
    assert until is not None, "a way around an owner has an end"
    ops = applications.rollback_patch(app, entry, action=action.id, until=until, switch=switch)
    return Step(what="the rollback of the Application", path=applications.path_of(app), ops=ops)


def _entry(action: RollBack, app: Obj) -> Obj | NoWay:
    return applications.entry_of(app, action.target_commit, action.target_since)


def _is_marked(action: RollBack, fresh: Fresh) -> bool:
    return views.annotations_of(fresh.workload).get(views.ACTION) == action.id


def _is_proven(action: RollBack, fresh: Fresh) -> bool:
    """Whether the target was current while our mark was on the workload: now, or as its history object shows.

    Its controller copies the annotations of a Deployment to the ReplicaSet that is current. A Rollout is believed itself
    alone: that is what its runner goes by.
    """
    target = None if action.workload.kind == ROLLOUT.name else fresh.find(action.target.id)
    copied = target is not None and views.annotations_of(dict(target)).get(views.ACTION) == action.id
    return copied or (_is_marked(action, fresh) and fresh.current == action.target.id)


def _owner_of(action: RollBack) -> Owner:
    assert action.owner is not None, "a way is around somebody"
    return action.owner


def _plainly(action: RollBack) -> RollBack:
    return replace(action, way=None, owner=None, suspend_until=None)


def _told(action: RollBack, outcome: Outcome, app: Obj | None) -> Outcome:
    """The outcome, and where it is DONE what else went back, how long auto-sync is off, and how that is ended."""
    if not isinstance(outcome.result, RolledBack):
        return outcome
    warnings = [_suspension(action, app)]
    written = None if app is None else applications.operation_of(app, action.id)
    if app is not None and written is not None:
        warnings.append(
            f"Everything in {applications.label_of(app)} went back with it, to entry {written.entry} of its history "
            f"({written.told})."
        )
    return replace(outcome, result=replace(outcome.result, warnings=(*warnings, *outcome.result.warnings)))


def _suspension(action: RollBack, app: Obj | None) -> str:
    if app is None:
        return f"Application {_owner_of(action).name} is not found any more."
    label = applications.label_of(app)
    if applications.auto_syncs(app):
        return f"Auto-sync of {label} is on: it brings the bad revision back where its source still names it."
    if not applications.is_ours(app):
        return f"Auto-sync of {label} was switched off by somebody else, and stays so."
    return (
        f"Auto-sync of {label} is off until {action.suspend_until:%Y-%m-%d %H:%M}Z, and it deploys nothing: correct its source "
        f"before. `{applications.resume_command(app)}` ends it at once."
    )
