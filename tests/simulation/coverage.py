"""What the worlds have shown so far: reasons, edges of the phase table, kinds of fault. What never happens is not tested."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from daemon.core.facts import Fact, Judged, Moved
from daemon.core.incidents import PHASES
from daemon.core.reasons import Reason
from daemon.core.state import State
from tests.simulation.network import ALL_FAULTS

UNREACHABLE: dict[Reason, str] = {}
"""Reasons that no world of this kind leads to, each with why."""

REASONS = frozenset(Reason) - frozenset(UNREACHABLE)
EDGES = frozenset(f"{phase}/{trigger}" for phase, trigger in PHASES)


@dataclass(slots=True)
class Coverage:
    """How often each was seen."""

    reasons: Counter[str] = field(default_factory=Counter)
    edges: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    rollbacks: int = 0

    def saw(self, fact: Fact, before: State) -> None:
        """A fact became durable in this state."""
        if isinstance(fact, Moved):
            incident = before.incidents.get(fact.incident)
            self.reasons[fact.reason] += 1
            if incident is not None:
                self.edges[f"{incident.phase}/{fact.trigger}"] += 1
        elif isinstance(fact, Judged):
            self.reasons[fact.verdict.reason] += 1
            self.reasons.update(refusal.reason for refusal in fact.verdict.refusals)

    def add(self, other: Coverage) -> None:
        """Take another's counts in."""
        self.reasons.update(other.reasons)
        self.edges.update(other.edges)
        self.faults.update(other.faults)
        self.rollbacks += other.rollbacks

    def missing(self) -> list[str]:
        """What was never reached."""
        wanted = [(REASONS, self.reasons, "reason"), (EDGES, self.edges, "edge"), (ALL_FAULTS, self.faults, "fault")]
        return [f"{what} {name}" for names, seen, what in wanted for name in sorted(names) if not seen[name]]

    def __str__(self) -> str:
        reached = [
            (len([name for name in names if seen[name]]), len(names))
            for names, seen in ((REASONS, self.reasons), (EDGES, self.edges), (ALL_FAULTS, self.faults))
        ]
        (r, rs), (e, es), (f, fs) = reached
        return f"reasons={r}/{rs} edges={e}/{es} faults={f}/{fs}"
