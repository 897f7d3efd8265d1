"""What a guard looks at, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.core.contrast import Contrast
from daemon.core.incidents import Incident, Suspicion
from daemon.core.ledger import TargetChoice
from daemon.core.measurement import Measurement
from daemon.core.model import Rollout
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.state import State, Tracked


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a guard may look at: values only. `ambiguous` names the runner-up where the lead is too small.

    `elsewhere`: only by timing, and it hurts at others near in the call graph, so that signals of its own decide nothing.
    """

    incident: Incident
    state: State
    policy: Policy
    now: datetime
    tracked: Tracked
    rollout: Rollout
    suspicion: Suspicion
    measurement: Measurement
    contrast: Contrast
    inherits: bool
    elsewhere: bool
    choice: TargetChoice
    ambiguous: Suspicion | None
    contrast_due: bool


def refuse(
    reason: Reason,
    consequence: Consequence,
    seen: str,
    needed: str,
    *,
    overridable: bool = True,
) -> Refusal:
    """A refusal; `overridable`: a person may decide otherwise."""
    return Refusal(
        reason=reason,
        consequence=consequence,
        seen=seen,
        needed=needed,
        overridable=overridable,
    )
