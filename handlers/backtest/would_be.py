"""The rollbacks that a replay would have carried out, and what the guards that count them would have said of the next one.

Nothing is carried out, so these guards see no rollback in the state, and are asked here. They change no verdict: a recording
goes on with what was deployed, and what is scored is blame. If a rollback counted, every later one within the hour would be a
proposal, and the first false one would hide the others. In `would_refuse` is told what a real run would have proposed instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.core import guards
from daemon.core.actions import RollBack
from daemon.core.facts import LedgerWritten
from daemon.core.model import Workload
from daemon.core.policy import Policy
from daemon.core.reasons import Refusal
from daemon.core.state import RollbackDone


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cooling:
    """A workload that would have been rolled back; `ends` by another revision than these two that is verified."""

    incident: str
    at: datetime
    revisions: tuple[str, str]


class WouldBe:
    """Told of every rollback that is ordered; asked before the next one."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._done: list[tuple[str, RollbackDone]] = []
        self._cooling: dict[str, _Cooling] = {}

    def refusals(self, incident: str, workload: Workload, now: datetime) -> tuple[Refusal, ...]:
        """What would have spoken against a rollback of the workload now; an incident's own rollback never does."""
        done = [each for by, each in self._done if by != incident]
        cooling = self._cooling.get(workload.key)
        own = cooling is None or cooling.incident == incident
        found = (
            guards.too_many(workload, done, self._policy, now),
            guards.too_soon(None if cooling is None or own else cooling.at),
        )
        return tuple(refusal for refusal in found if refusal is not None)

    def ordered(self, action: RollBack, now: datetime) -> None:
        """It would have been carried out, unless one of these guards had made it a proposal."""
        if self.refusals(action.incident, action.workload, now):
            return
        self._done = [(by, each) for by, each in self._done if now - each.at < guards.HOUR]
        done = RollbackDone(at=now, namespace=action.workload.namespace, workload=action.workload.key)
        self._done.append((action.incident, done))
        revisions = (action.blamed.id, action.target.id)
        self._cooling[action.workload.key] = _Cooling(incident=action.incident, at=now, revisions=revisions)

    def written(self, fact: LedgerWritten) -> None:
        """A later revision was verified: the workload has cooled down. What was blamed goes on in the recording, and is none."""
        known = self._cooling.get(fact.workload)
        if fact.what == "verified" and known is not None and fact.entry.revision.id not in known.revisions:
            del self._cooling[fact.workload]
