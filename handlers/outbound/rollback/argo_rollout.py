"""Rolls a Rollout of Argo back: abort while an update is in flight, guarded undo and full promotion after it.

The roads and their patches are those of `handlers.rollback_steps`. Each turn reads the object anew, decides by what it
shows alone, and writes one step at most; so a run after a crash, wherever it was cut, goes on where the world stands.

What the id on the Rollout proves depends on the road beside it. Undo writes both with the template: it happened, and if
the template is another one now, a newer rollout has replaced it. Abort writes them before: it happened if the status says
aborted. A person who retries the update between our abort and our crash would be overruled once more; no object remembers
who set `abort`, and the window is that of one answer.

"Done" is: the controller has what it needs. Whether traffic is back is for the view to say (`kinds.rollout`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from daemon.core.actions import Outcome, OutcomeKind, RollBack
from daemon.ports import Clock
from handlers import rollback_steps, views, workload_objects
from handlers.faults import FaultKind, Permanent, Transient
from handlers.kinds import rollout
from handlers.kube_json import Obj
from handlers.outbound.rollback import outcomes
from handlers.outbound.rollback.handing_back import handed_back
from handlers.outbound.rollback.template import drift_warnings
from handlers.rollback_steps import NoWay, Road, Step
from handlers.workload_objects import Api, Fresh

LOOK_SECONDS = 0.25
LOOKS_MAX = 40
"""Ten seconds for the controller to take up a template; it takes well below one. After that the dispatcher decides when
to come again.
"""


class _NotYet:
    """The controller has not seen the newest generation, so nobody can say what the Rollout runs."""


class ArgoRollback:
    """Carries out RollBack on a Rollout. `clock` dates what managedFields do not; `look_seconds` is between two looks.

    `forbids` says what speaks against it in the moment before its first step is written, None where nothing does.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        *,
        look_seconds: float = LOOK_SECONDS,
        forbids: Callable[[RollBack], str | None] = lambda action: None,
    ) -> None:
        self._api = api
        self._forbids = forbids
        self._clock = clock
        self._look_seconds = look_seconds

    async def run(self, action: RollBack) -> Outcome:
        """Go the road to its end, unless a precondition does not hold (REFUSED) or the server rejects a step (FAILED).

        Raises Transient where it is worth another run: the world could not be read, somebody wrote at the same time, an
        answer was lost, or the controller has not taken up what was written.
        """
        return await handed_back(self._api, action, await self._rolled_back(action))

    async def probe(self, action: RollBack) -> Outcome | None:
        """What became of it: DONE, Superseded, REFUSED (it cannot happen any more) or None (it may be run, or run on)."""
        found = self._next(action, await workload_objects.read(self._api, action.workload))
        return await handed_back(self._api, action, found) if isinstance(found, Outcome) else None

    async def _rolled_back(self, action: RollBack) -> Outcome:
        for _ in range(LOOKS_MAX):
            fresh = await workload_objects.read(self._api, action.workload)
            found = self._next(action, fresh)
            if isinstance(found, Outcome):
                return found
            assert fresh is not None, "an absent Rollout has an outcome"
            if isinstance(found, _NotYet):
                await asyncio.sleep(self._look_seconds)
                continue
            failed = await self._send(action, fresh, found)
            if failed is not None:
                return failed
        reason = f"Argo Rollouts has not taken up the newest generation of {action.workload.short} yet"
        raise Transient(None, reason, FaultKind.TIMEOUT)

    # -- what to do next ---------------------------------------------------------------------------------------------

    def _next(self, action: RollBack, fresh: Fresh | None) -> Outcome | Sequence[Step] | _NotYet:
        """The outcome that the world shows; else the steps that are left, the first of them next."""
        if fresh is None:
            return outcomes.refused(f"{action.workload.short} is gone")
        if fresh.uid != action.uid:
            return outcomes.refused(
                f"{action.workload.short} was deleted and made anew: another object than the one judged"
            )
        if fresh.is_leaving:
            return outcomes.refused(f"{action.workload.short} is being deleted")
        if not fresh.is_told:
            return _NotYet()
        ours = views.annotations_of(fresh.workload).get(views.ACTION) == action.id
        if ours and rollback_steps.road_taken(fresh.workload) is Road.UNDO:
            return self._after_undo(action, fresh)
        if ours and fresh.current == action.target.id and rollout.is_aborted(fresh.workload):
            return outcomes.done(fresh.workload, self._clock, _after_abort(fresh.workload))
        return self._before(action, fresh, marked=ours)

    def _before(self, action: RollBack, fresh: Fresh, *, marked: bool) -> Outcome | Sequence[Step]:
        """Nothing but the mark of an abort is written yet."""
        if fresh.current != action.blamed.id:
            return outcomes.superseded(fresh)
        if fresh.is_paused:
            return outcomes.refused(f"{action.workload.short} is paused (spec.paused): unpause it first")
        target = fresh.find(action.target.id)
        if target is None:
            return outcomes.refused(f"{action.target.label} is no longer in the history of {action.workload.short}")
        left = rollback_steps.steps(action.workload, fresh, target, outcomes.provenance(action))
        if isinstance(left, NoWay):
            return outcomes.refused(left.why)
        aborting = rollback_steps.road_of(fresh, target) is Road.ABORT
        if action.only_abort and not aborting:
            return outcomes.refused(
                f"the update of {action.workload.short} is promoted: an undo is left, and what owns the template would revert it"
            )
        return left[1:] if marked and aborting else left

    def _after_undo(self, action: RollBack, fresh: Fresh) -> Outcome | Sequence[Step]:
        """The template was put back by us; `promoteFull` is left unless the controller needs it no more."""
        obj = fresh.workload
        if fresh.current != action.target.id:
            return outcomes.done(obj, self._clock, (outcomes.REPLACED,))
        if rollout.is_in_flight(obj) and (obj.get("status") or {}).get("promoteFull") is not True:
            return (rollback_steps.promote(action.workload, fresh),)
        return outcomes.done(obj, self._clock, drift_warnings(obj))

    # -- doing it ----------------------------------------------------------------------------------------------------

    async def _send(self, action: RollBack, fresh: Fresh, left: Sequence[Step]) -> Outcome | None:
        """Send the first of the steps, all of them tried before where there are more; an outcome only of a failure."""
        for step in left if len(left) > 1 else ():
            try:
                await self._patch(step, dry_run=True)
            except Permanent as fault:
                return await self._rejected(action, step, fault, f"the dry run of {step.what}")
        if fresh.current == action.blamed.id and (why := self._forbids(action)) is not None:
            return outcomes.refused(why)
        try:
            await self._patch(left[0], dry_run=False)
        except Permanent as fault:
            return await self._rejected(action, left[0], fault, left[0].what)
        return None

    async def _patch(self, step: Step, *, dry_run: bool) -> Obj:
        manager = workload_objects.FIELD_MANAGER
        return await self._api.patch_json(step.path, step.ops, dry_run=dry_run, field_manager=manager)

    async def _rejected(self, action: RollBack, step: Step, fault: Permanent, what: str) -> Outcome:
        """A `test` that failed and an object that is not valid are both 422: what is there now tells them apart."""
        if fault.kind is FaultKind.NOT_FOUND:
            return outcomes.refused(f"{action.workload.short} is gone, or has no status subresource")
        if fault.kind not in (FaultKind.INVALID, FaultKind.CONFLICT):
            return Outcome(kind=OutcomeKind.FAILED, message=f"{what} was refused: {outcomes.told(fault)}")
        now = await workload_objects.read(self._api, action.workload)
        found = self._next(action, now)
        if isinstance(found, Outcome):
            return found
        if fault.kind is FaultKind.CONFLICT or now is None or rollback_steps.would_fail(step, now.workload):
            # Somebody wrote at the same time. Nothing was written, and a new run reads everything anew.
            raise Transient(None, fault.reason, FaultKind.CONFLICT, status=fault.status, code=fault.code)
        return Outcome(kind=OutcomeKind.FAILED, message=f"the API server rejects {what}: {outcomes.told(fault)}")


def _after_abort(obj: Obj) -> tuple[str, ...]:
    """What an abort leaves behind."""
    metadata = obj["metadata"]
    ref = rollout.workload_ref(obj)
    where = "spec.template" if ref is None else f"{ref.get('kind')}/{ref['name']}"
    name, namespace = metadata["name"], metadata["namespace"]
    warning = (
        f"The update is aborted; {where} still holds the bad revision, and a retry rolls it out again. Make it permanent "
        f"with a fixed manifest, or with `kubectl argo rollouts undo {name} --namespace {namespace}`."
    )
    return (warning,)
