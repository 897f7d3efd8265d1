"""The working copy of one decision: facts as they are concluded, and the state they have led to so far.

Local to one call of `decide`; nobody outside ever sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from daemon.core.actions import Action
from daemon.core.evolution import evolve
from daemon.core.facts import ActionOwed, CommandRefused, Fact, Moved
from daemon.core.incidents import Incident, Trigger, after
from daemon.core.model import IncidentId
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from daemon.core.state import State


@dataclass(slots=True, kw_only=True)
class Draft:
    """Collects facts and folds them at once, so that the next question sees their effect."""

    state: State
    now: datetime
    policy: Policy
    facts: list[Fact] = field(default_factory=list)

    def add(self, fact: Fact) -> None:
        """Conclude one more fact."""
        self.facts.append(fact)
        self.state = evolve(self.state, fact)

    def owe(self, action: Action) -> None:
        """Owe an action; one that is owed already (same id) is not owed twice."""
        if action.id not in self.state.owed:
            self.add(ActionOwed(at=self.now, action=action))

    def refuse(self, command: str, actor: str, why: str) -> None:
        """Record that a person's command could not be followed."""
        self.add(CommandRefused(at=self.now, command=command, actor=actor, why=why))

    def incident(self, incident_id: IncidentId) -> Incident:
        """The incident as it stands now."""
        return self.state.incidents[incident_id]

    def move(
        self,
        incident_id: IncidentId,
        trigger: Trigger,
        reason: Reason,
        *,
        lasts: timedelta | None = None,
        measure_in: timedelta | None = None,
        actor: str | None = None,
        note: str = "",
        merged_into: IncidentId | None = None,
    ) -> Incident:
        """Move an incident by the table; `lasts` is the new phase's deadline. Raises IllegalMoveError, changing nothing."""
        phase = after(self.incident(incident_id).phase, trigger)
        self.add(
            Moved(
                at=self.now,
                incident=incident_id,
                phase=phase,
                trigger=trigger,
                reason=reason,
                deadline=None if lasts is None else self.now + lasts,
                next_measure_at=None if measure_in is None else self.now + measure_in,
                actor=actor,
                note=note,
                merged_into=merged_into,
            )
        )
        return self.incident(incident_id)
