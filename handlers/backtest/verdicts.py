"""What a replay says: one value per verdict, as `lastgood backtest` prints it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from daemon.core.incidents import Suspicion, Term, VerdictKind
from daemon.core.reasons import Reason, Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A verdict at its moment. `workload` (`namespace/Kind/name`) is the leading candidate, None where there is none.

    `margin` is the lead over the runner-up, None without one. `would_refuse` are the guards that a real run would have raised.
    `evidence` has the loudest term first. Only for people: `onset` is when the anomaly began as Lastgood saw it, `rollout_at`
    when the candidate's rollout did, `others` are the candidates behind it, `needs` what score and lead have to be.
    """

    at: datetime
    recording: str
    verdict: VerdictKind
    reason: Reason
    workload: str | None = None
    revision: str | None = None
    replaces: str | None = None
    score: float | None = None
    margin: float | None = None
    evidence: tuple[Term, ...] = ()
    would_refuse: tuple[Refusal, ...] = ()
    onset: datetime | None = None
    rollout_at: datetime | None = None
    others: tuple[Suspicion, ...] = ()
    needs: tuple[float, float] | None = None

    def document(self) -> dict[str, Any]:
        """As JSON; `at` in UTC with whole seconds."""
        return {
            "at": stamp(self.at),
            "recording": self.recording,
            "verdict": self.verdict.value,
            "workload": self.workload,
            "score": self.score,
            "margin": self.margin,
            "reason": self.reason.name,
            "evidence": [
                {"term": t.name, "value": t.value, "threshold": t.threshold, "weight": t.weight, "says": t.sentence}
                for t in self.evidence
            ],
            "would_refuse": [
                {"reason": each.reason.name, "seen": each.seen, "needed": each.needed} for each in self.would_refuse
            ],
        }

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(self.document(), ensure_ascii=False)


def stamp(at: datetime) -> str:
    """`2026-01-02T03:04:05Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"
