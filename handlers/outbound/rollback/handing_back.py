"""After a rollback: the fields that it wrote are given up, so that the next server-side apply meets no conflict."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from daemon.core.actions import Outcome, RollBack, RolledBack
from handlers import workload_objects
from handlers.faults import Fault
from handlers.workload_objects import Api

HAND_BACK_SECONDS = 5.0
"""For giving up our fields, reading included: nobody waits for it, but the outcome does."""


async def handed_back(api: Api, action: RollBack, outcome: Outcome) -> Outcome:
    """The same outcome, and where it is DONE our fields given up; a rollback that stands does not fail by that.

    After the patch, at once: until then a fixed version cannot be applied. Idempotent, so a crash in between is made good
    by the next probe.
    """
    if not isinstance(outcome.result, RolledBack):
        return outcome
    try:
        async with asyncio.timeout(HAND_BACK_SECONDS):
            await workload_objects.hand_back(api, action.workload)
    except (Fault, TimeoutError) as exc:
        reason = exc.reason if isinstance(exc, Fault) else f"no answer within {HAND_BACK_SECONDS:g} s"
        warnings = (*outcome.result.warnings, _still_owned(reason))
        return replace(outcome, result=replace(outcome.result, warnings=warnings))
    return outcome


def _still_owned(reason: str) -> str:
    return (
        f"Lastgood still owns the fields that it rolled back ({reason}): a server-side apply or a Helm 4 upgrade that changes "
        f"them ends with a conflict with field manager {workload_objects.FIELD_MANAGER} and needs `--force-conflicts`."
    )
