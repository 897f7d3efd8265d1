"""Ends the suspension of a controller that a rollback went around, unless it is a person's by now."""

from __future__ import annotations

from daemon.core.actions import EndSuspension, Outcome, OutcomeKind
from daemon.core.policy import GitOps
from handlers import suspended
from handlers.faults import FaultKind, Permanent, Transient
from handlers.workload_objects import FIELD_MANAGER, Api


class SuspensionEnd:
    """Carries out EndSuspension. Idempotent: what is ended already has no mark of ours, and nothing is written."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def run(self, action: EndSuspension) -> Outcome:
        """Let it go on. REFUSED where a person has changed it; DONE without a message where there is nothing to end.

        FAILED, with the command, where our role does not let us. Raises Transient where it is worth another run.
        """
        if action.way is not GitOps.FLUX_SUSPEND:
            return Outcome(kind=OutcomeKind.DONE)  # nothing else is suspended by this release
        try:
            return await self._resumed(action)
        except Permanent as fault:
            command = suspended.resume_command(action.owner)
            message = f"{action.owner.name} is still suspended and deploys nothing ({fault.reason}): `{command}`."
            return Outcome(kind=OutcomeKind.FAILED, message=message)

    async def probe(self, action: EndSuspension) -> Outcome | None:
        """Always None: to run it again is to ask."""
        return None

    async def _resumed(self, action: EndSuspension) -> Outcome:
        found = await suspended.read_flux(self._api, action.owner)
        if found is None or suspended.SUSPENDED_BY not in found[1]["metadata"].get("annotations", {}):
            return Outcome(kind=OutcomeKind.DONE)
        path, obj = found
        ours = suspended.is_ours(obj)
        try:
            await self._api.patch_json(path, suspended.resume_patch(obj), field_manager=FIELD_MANAGER)
        except Permanent as fault:
            if fault.kind not in (FaultKind.INVALID, FaultKind.CONFLICT):
                raise
            raise Transient(None, fault.reason, FaultKind.CONFLICT, status=fault.status, code=fault.code) from fault
        if ours:
            return Outcome(kind=OutcomeKind.DONE, message=f"{action.owner.name} is reconciled again.")
        if suspended.is_suspended(obj):
            message = f"{action.owner.name} was suspended again by somebody else: Lastgood leaves it so."
            return Outcome(kind=OutcomeKind.REFUSED, message=message)
        message = f"{action.owner.name} is reconciled already: somebody has resumed it."
        return Outcome(kind=OutcomeKind.REFUSED, message=message)
