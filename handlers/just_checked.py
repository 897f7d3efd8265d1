"""What the check of a target has read and tried a moment ago, for the rollback that follows at once.

Reading it all again and trying it again is a quarter of the time from webhook to patch, while the bad revision serves. So the
first run of a rollback sends what was tried, and has the server test in the same request that nothing but the status has moved
since: uid, template and generation, which every change of the spec moves (a pause, a scaling), a deletion that waits for
something, and of a Deployment every annotation. That is one moment, where reading first and patching then are two. Where the
test fails, the rollback reads and tries as ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from daemon.core.actions import CheckTarget, RollBack
from handlers.workload_objects import Fresh

AGE_SECONDS_MAX = 2.0
"""How old it may be. With countdown 0 it is some milliseconds; after a countdown the rollback reads anew."""

KEPT_MAX = 20
"""Checks that are kept, the newest; each holds a workload and two templates, some ten kB. One incident needs one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    check: CheckTarget
    fresh: Fresh
    at: float


class JustChecked:
    """Remembers, on the loop's clock, what was found fit to be rolled back; each is given away once."""

    def __init__(self) -> None:
        self._kept: dict[str, _Checked] = {}

    def note(self, check: CheckTarget, fresh: Fresh) -> None:
        """The API server would take this rollback."""
        self._kept.pop(check.workload.key, None)
        self._kept[check.workload.key] = _Checked(check=check, fresh=fresh, at=asyncio.get_running_loop().time())
        if len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]

    def take(self, action: RollBack) -> Fresh | None:
        """What was read for this very rollback, None where there is nothing, or too old."""
        found = self._kept.pop(action.workload.key, None)
        if found is None or asyncio.get_running_loop().time() - found.at > AGE_SECONDS_MAX:
            return None
        checked = (found.check.uid, found.check.blamed.id, found.check.target.id)
        return found.fresh if checked == (action.uid, action.blamed.id, action.target.id) else None
