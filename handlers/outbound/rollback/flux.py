"""Rolls a workload of Flux back: suspends the Kustomization or HelmRelease first, then goes the way of the workload's kind.

Suspended, its controller starts no further reconciliation; one that it is in the middle of goes on to its end. So that end is
waited for, as far as the object's status tells it and for a bounded time: a controller that has hung while it waits for the bad
revision to become ready would hold up every rollback. What it still writes after that is seen like any other rollout, and not
fought.

Each step is found in the world and not repeated, so a run after a crash goes on where it was cut. Ending the suspension is
an action of its own (`handlers.outbound.suspension`), also where the rollback then does not happen.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from daemon.core.actions import Outcome, RollBack, RolledBack
from daemon.core.model import Owner
from daemon.ports import Runner
from handlers import suspended
from handlers.faults import FaultKind, Permanent, Transient
from handlers.kube_json import Obj
from handlers.outbound.rollback import outcomes
from handlers.workload_objects import FIELD_MANAGER, Api

LOOK_SECONDS = 0.25
QUIET_LOOKS = 2
"""Looks in a row that show no reconciliation: one that has just begun shows in the second."""

LOOKS_MAX = 60
"""Fifteen seconds for a reconciliation to end: an apply takes one or two; one that waits for health takes minutes."""


class FluxSuspend:
    """Carries out RollBack where Flux owns the workload; `plain` rolls back by kind. `look_seconds` is between two looks."""

    def __init__(self, api: Api, plain: Runner[RollBack], *, look_seconds: float = LOOK_SECONDS) -> None:
        self._api = api
        self._plain = plain
        self._look_seconds = look_seconds

    async def run(self, action: RollBack) -> Outcome:
        """Suspend, wait, roll back. REFUSED where there is nothing to suspend. Raises Transient where it is worth another run."""
        owner = _owner_of(action)
        settled = await self._plain.probe(_plainly(action))
        if settled is not None:
            return _told(owner, action, settled, await suspended.read_flux(self._api, owner), quiet=True)
        found = await suspended.read_flux(self._api, owner)
        if found is None:
            return outcomes.refused(
                f"{owner.name} is not there, though {action.workload.short} says that it is its own"
            )
        if not suspended.is_suspended(found[1]):
            await self._suspend(action, *found)
        quiet = await self._wait(owner)
        after = await suspended.read_flux(self._api, owner)
        if after is None or not suspended.is_suspended(after[1]):
            return outcomes.refused(f"{owner.name} was resumed at once, by a person or by what applies it")
        return _told(owner, action, await self._plain.run(_plainly(action)), after, quiet=quiet)

    async def probe(self, action: RollBack) -> Outcome | None:
        """What became of the rollback; None also where only the suspension was written, and a run goes on from there."""
        owner = _owner_of(action)
        outcome = await self._plain.probe(_plainly(action))
        if outcome is None:
            return None
        return _told(owner, action, outcome, await suspended.read_flux(self._api, owner), quiet=True)

    async def _suspend(self, action: RollBack, path: str, obj: Obj) -> None:
        assert action.suspend_until is not None, "a way around an owner has an end"
        ops = suspended.suspend_patch(obj, action=action.id, until=action.suspend_until)
        try:
            await self._api.patch_json(path, ops, field_manager=FIELD_MANAGER)
        except Permanent as fault:
            if fault.kind not in (FaultKind.INVALID, FaultKind.CONFLICT):
                raise
            # Somebody wrote at the same time. Nothing was written, and a new run reads everything anew.
            raise Transient(None, fault.reason, FaultKind.CONFLICT, status=fault.status, code=fault.code) from fault

    async def _wait(self, owner: Owner) -> bool:
        """Until its controller is not seen to be in the middle of a reconciliation; False where that took too long."""
        looks = 0
        for _ in range(LOOKS_MAX):
            found = await suspended.read_flux(self._api, owner)
            looks = looks + 1 if found is None or not _is_under_way(found[1]) else 0
            if looks == QUIET_LOOKS:
                return True
            await asyncio.sleep(self._look_seconds)
        return False


def _is_under_way(obj: Obj) -> bool:
    """Whether a reconciliation runs; one that failed and waits for its next turn says so by another reason (Flux's meta)."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    found = next((each for each in conditions if each.get("type") == "Reconciling"), None)
    return found is not None and found.get("status") == "True" and found.get("reason") != "ProgressingWithRetry"


def _owner_of(action: RollBack) -> Owner:
    assert action.owner is not None, "a way is around somebody"
    return action.owner


def _plainly(action: RollBack) -> RollBack:
    return replace(action, way=None, owner=None, suspend_until=None)


def _told(owner: Owner, action: RollBack, outcome: Outcome, found: tuple[str, Obj] | None, *, quiet: bool) -> Outcome:
    """The outcome, and where it is DONE how long its controller is suspended and how that is ended."""
    if not isinstance(outcome.result, RolledBack):
        return outcome
    warnings = [_suspension(owner, action, None if found is None else found[1])]
    if not quiet:
        warnings.append(
            f"{owner.name} was still in the middle of a reconciliation: if it writes the bad revision once more, that is told."
        )
    return replace(outcome, result=replace(outcome.result, warnings=(*warnings, *outcome.result.warnings)))


def _suspension(owner: Owner, action: RollBack, obj: Obj | None) -> str:
    command = suspended.resume_command(owner)
    if obj is None or not suspended.is_suspended(obj):
        return (
            f"{owner.name} is not suspended any more: it brings the bad revision back where its source still names it."
        )
    if not suspended.is_ours(obj):
        return f"{owner.name} is suspended by somebody else, and stays so until `{command}`."
    return (
        f"{owner.name} is suspended until {action.suspend_until:%Y-%m-%d %H:%M}Z and deploys nothing: correct its source before. "
        f"`{command}` ends it at once."
    )
