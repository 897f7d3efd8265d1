"""Chooses who rolls a workload back: by the way around its owner where one is needed, else by its kind."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.core.actions import Outcome, RollBack
from daemon.core.policy import GitOps
from daemon.ports import Runner
from handlers.outbound.rollback import outcomes


class WithoutWay:
    """Refuses a way that this release does not go, with what a person can do."""

    def __init__(self, way: GitOps) -> None:
        self._outcome = outcomes.refused(f"nothing was changed: this release has no {way}; revert in the source")

    async def run(self, action: RollBack) -> Outcome:
        """Refused, always."""
        return self._outcome

    async def probe(self, action: RollBack) -> Outcome | None:
        """Nothing can have happened."""
        return None


class RollbackByKind:
    """Carries out RollBack through the runner of its way or else of the workload's kind, `others` where there is none.

    A way without a runner is never gone like a plain rollback: the owner would write its own version back.
    """

    def __init__(
        self,
        others: Runner[RollBack],
        kinds: Mapping[str, Runner[RollBack]],
        ways: Mapping[GitOps, Runner[RollBack]] | None = None,
    ) -> None:
        self._others = others
        self._kinds = dict(kinds)
        self._ways = dict(ways or {})

    async def run(self, action: RollBack) -> Outcome:
        """Roll back."""
        return await self._for(action).run(action)

    async def probe(self, action: RollBack) -> Outcome | None:
        """What became of it."""
        return await self._for(action).probe(action)

    def _for(self, action: RollBack) -> Runner[RollBack]:
        if action.way is not None:
            return self._ways.get(action.way) or WithoutWay(action.way)
        return self._kinds.get(action.workload.kind, self._others)
