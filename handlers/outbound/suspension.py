"""Ends the suspension of a controller that a rollback went around, unless it is a person's by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.core.actions import EndSuspension, Outcome, OutcomeKind
from daemon.core.policy import GitOps
from handlers import applications, gitops_owners, suspended
from handlers.faults import FaultKind, Permanent, Transient
from handlers.kube_json import Obj
from handlers.workload_objects import FIELD_MANAGER, Api


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspended:
    """A controller's object with marks of ours, what ends it, and the sentences for people."""

    path: str
    ops: list[Obj]
    is_ours: bool
    is_off: bool
    again: str
    left: str
    already: str
    command: str


class SuspensionEnd:
    """Carries out EndSuspension. Idempotent: what is ended already has no mark of ours, and nothing is written."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def run(self, action: EndSuspension) -> Outcome:
        """Let it go on. REFUSED where a person has changed it; DONE without a message where there is nothing to end.

        FAILED, with the command, where our role does not let us. Raises Transient where it is worth another run.
        """
        command = _command(action)
        try:
            found = await self._found(action)
            if found is None:
                return Outcome(kind=OutcomeKind.DONE)
            command = found.command
            return await self._resumed(found)
        except (Permanent, ValueError) as fault:
            reason = fault.reason if isinstance(fault, Permanent) else str(fault)
            message = f"{action.owner.name} is still suspended and deploys nothing ({reason}): `{command}`."
            return Outcome(kind=OutcomeKind.FAILED, message=message)

    async def probe(self, action: EndSuspension) -> Outcome | None:
        """Always None: to run it again is to ask."""
        return None

    async def _found(self, action: EndSuspension) -> _Suspended | None:
        match action.way:
            case GitOps.FLUX_SUSPEND:
                found = await suspended.read_flux(self._api, action.owner)
                return None if found is None else _flux(action, *found)
            case GitOps.ARGOCD_ROLLBACK:
                app = _held(action, await applications.named(self._api, action.owner))
                return None if app is None else _argo(app)
            case _:
                return None  # the other ways suspend nobody

    async def _resumed(self, found: _Suspended) -> Outcome:
        try:
            await self._api.patch_json(found.path, found.ops, field_manager=FIELD_MANAGER)
        except Permanent as fault:
            if fault.kind not in (FaultKind.INVALID, FaultKind.CONFLICT):
                raise
            raise Transient(None, fault.reason, FaultKind.CONFLICT, status=fault.status, code=fault.code) from fault
        if found.is_ours:
            return Outcome(kind=OutcomeKind.DONE, message=found.again)
        return Outcome(kind=OutcomeKind.REFUSED, message=found.left if found.is_off else found.already)


def _held(action: EndSuspension, found: Sequence[Obj]) -> Obj | None:
    """Of the Applications of that name the one that lists the workload, or else what this incident marked; if it is marked."""
    metadata = {"namespace": action.workload.namespace, "name": action.workload.name}
    workload = {"kind": action.workload.kind, "metadata": metadata}
    lists = [app for app in found if gitops_owners.deploys(app, workload, action.owner.name)]
    mine = lists or [app for app in found if applications.marked_by(app).startswith(f"{action.incident}/")]
    return next((app for app in mine if applications.marked_by(app)), None)


def _flux(action: EndSuspension, path: str, obj: Obj) -> _Suspended | None:
    name = action.owner.name
    if suspended.SUSPENDED_BY not in obj["metadata"].get("annotations", {}):
        return None
    return _Suspended(
        path=path,
        ops=suspended.resume_patch(obj),
        is_ours=suspended.is_ours(obj),
        is_off=suspended.is_suspended(obj),
        again=f"{name} is reconciled again.",
        left=f"{name} was suspended again by somebody else: Lastgood leaves it so.",
        already=f"{name} is reconciled already: somebody has resumed it.",
        command=_command(action),
    )


def _argo(app: Obj) -> _Suspended:
    label = applications.label_of(app)
    return _Suspended(
        path=applications.path_of(app),
        ops=applications.resume_patch(app),
        is_ours=applications.is_ours(app),
        is_off=not applications.auto_syncs(app),
        again=f"Auto-sync of {label} is on again.",
        left=f"Auto-sync of {label} was switched off again by somebody else: Lastgood leaves it so.",
        already=f"Auto-sync of {label} is on already: somebody has switched it on.",
        command=applications.resume_command(app),
    )


def _command(action: EndSuspension) -> str:
    """What a person types, where nothing but the owner's name is known."""
    if action.way is GitOps.ARGOCD_ROLLBACK:
        return f"argocd app set {action.owner.name.replace('_', '/', 1)} --sync-policy automated"
    return suspended.resume_command(action.owner)
