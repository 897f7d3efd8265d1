"""What every rollback answers with, and what it writes beside the template: one wording for all kinds of workload."""

from __future__ import annotations

from datetime import datetime

from daemon.core.actions import Outcome, OutcomeKind, RollBack, RolledBack, Superseded
from daemon.ports import Clock
from handlers import revisions, workload_objects
from handlers.faults import Fault, shorten
from handlers.kube_json import Obj
from handlers.workload_objects import Fresh


def provenance(action: RollBack) -> dict[str, str]:
    """Who rolled back, to what, and why."""
    why = shorten(f"Lastgood rolled back to {action.target.label}. {action.why}")
    return workload_objects.provenance(action=action.id, target=action.target.id, incident=action.incident, why=why)


REPLACED = "A newer rollout has replaced the rolled-back template since."
"""The warning of a rollback that happened and does not stand."""


def done(workload: Obj, clock: Clock, warnings: tuple[str, ...], message: str = "") -> Outcome:
    """It happened, as `workload` shows it; `clock` dates what managedFields do not.

    Where it was REPLACED since, the generation of our patch is known only to be older than the present one.
    """
    result = RolledBack(
        generation=int(workload["metadata"].get("generation") or 0) - (REPLACED in warnings),
        patched_at=_patched_at(workload, clock),
        warnings=warnings,
    )
    return Outcome(kind=OutcomeKind.DONE, result=result, message=message)


def refused(message: str) -> Outcome:
    """A precondition does not hold: nothing was written, and nothing will be."""
    return Outcome(kind=OutcomeKind.REFUSED, message=message)


def superseded(fresh: Fresh) -> Outcome:
    """A newer rollout is on the object, and it wins."""
    current = fresh.current
    return Outcome(
        kind=OutcomeKind.REFUSED,
        result=Superseded(revision=current),
        message=f"a newer rollout to revision {current[:8]} is on the object; nothing was written",
    )


def told(fault: Fault) -> str:
    """The API server's reason and its causes, as one line."""
    return shorten("; ".join([fault.reason, *fault.causes]))


def _patched_at(workload: Obj, clock: Clock) -> datetime:
    """When our write was, as the server dated it (whole seconds), else now."""
    entry = workload_objects.own_write(workload)
    written = None if entry is None else revisions.parse_time(entry.get("time"))
    now = clock.now()
    return min(written, now) if written is not None else now
