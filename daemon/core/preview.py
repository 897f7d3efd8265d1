"""What every guard would say of a rollback that a person has in mind: judged like the real one, and nothing comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.core import asked, verdicts
from daemon.core.incidents import Ask, Incident, Phase
from daemon.core.ledger import LedgerEntry
from daemon.core.measurement import Measurement, TargetCheck
from daemon.core.model import Declaration, IncidentId, OnsetSource, Rung, Severity, Workload
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.state import State, Tracked

ABOUT_BLAME = frozenset({Reason.LOW_TRAFFIC, Reason.NO_CONTRAST, Reason.ONSET_ASSUMED, Reason.MODE_APPROVE})
"""Refusals that only ask whether the rollout is to blame, or for a person's word: who asks has given both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """`standing` forbids the rollback, `answered` is what the person takes upon themselves by confirming or overriding.

    `target` is the ledger's entry with the proof, None where the target is not proven (`rejected` says why).
    """

    target: LedgerEntry | None
    rejected: tuple[str, ...]
    standing: tuple[Refusal, ...]
    answered: tuple[Refusal, ...]


def preview(
    tracked: Tracked, ask: Ask, check: TargetCheck | None, *, state: State, policy: Policy, now: datetime
) -> Preview:
    """Judge the request as it would be judged now; without a check of the target that refusal stands, too."""
    workload = tracked.view.workload
    incident = Incident(
        id=IncidentId("preview"),
        symptom=workload,
        scope=(workload,),
        rung=Rung.EXPLICIT,
        opened_at=now,
        onset=tracked.view.started_at,
        onset_source=OnsetSource.RULE,
        severity=Severity.HIGH,
        alerts=(),
        phase=Phase.OPEN,
        phase_since=now,
        suspect=workload,
        check=check,
        asked=ask,
        declared=_declared(state, workload),
    )
    judgement = verdicts.judge(incident, Measurement(at=now), state, policy, now)
    choice = asked.chosen(tracked, ask.target, policy)
    found = [refusal for refusal in judgement.verdict.refusals if refusal.reason not in ABOUT_BLAME]
    standing = tuple(refusal for refusal in found if asked.stands(refusal, ask))
    return Preview(
        target=choice.target,
        rejected=choice.rejected,
        standing=standing,
        answered=tuple(r for r in found if r not in standing and _asks(r)),
    )


def _declared(state: State, workload: Workload) -> Declaration | None:
    """What somebody declared of the workload, in an incident that is open: who asks shall know of it."""
    about = (each for each in state.open_incidents if workload in (each.symptom, each.suspect))
    return next((each.declared for each in about if each.declared is not None), None)


def _asks(refusal: Refusal) -> bool:
    return refusal.consequence in (Consequence.PROPOSE, Consequence.ESCALATE)
