"""Chooses who rolls a workload back by its kind."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.core.actions import Outcome, RollBack
from daemon.ports import Runner


class RollbackByKind:
    """Carries out RollBack through the runner of the workload's kind, through `others` where it has none of its own."""

    def __init__(self, others: Runner[RollBack], kinds: Mapping[str, Runner[RollBack]]) -> None:
        self._others = others
        self._kinds = dict(kinds)

    async def run(self, action: RollBack) -> Outcome:
        """Roll back."""
        return await self._for(action).run(action)

    async def probe(self, action: RollBack) -> Outcome | None:
        """What became of it."""
        return await self._for(action).probe(action)

    def _for(self, action: RollBack) -> Runner[RollBack]:
        return self._kinds.get(action.workload.kind, self._others)
