"""Judging a rollback that a person asks for: the same target proof and the same guards as for any other.

The person answers the question of blame. So refusals that ask for a person's word, or that wait for evidence, are answered by
the request itself; one that hands the incident over stands, unless the person overrides it by name and the guard allows that.
"""

from __future__ import annotations

from daemon.core.incidents import Ask, Verdict, VerdictKind
from daemon.core.ledger import TargetChoice
from daemon.core.model import RevisionId
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.state import Tracked

WAITS = frozenset({Reason.TARGET_UNCHECKED})
"""Refusals that a request waits for: everything else that holds is about blame, which the person has answered."""


def chosen(tracked: Tracked, target: RevisionId, policy: Policy) -> TargetChoice:
    """The revision that was asked for, if it is proven; else why it is no target."""
    entry = tracked.entry(target)
    if entry is not None and entry.verified:
        return TargetChoice(target=entry, skipped=(), rejected=())
    label = next((revision.label for revision in tracked.view.history if revision.id == target), target[:8])
    why = entry.why_not(policy) if entry is not None else "never seen serving, so nothing is proven"
    return TargetChoice(target=None, skipped=(), rejected=(f"{label}: {why}",))


def verdict(found: tuple[Refusal, ...], choice: TargetChoice, ask: Ask) -> Verdict:
    """What becomes of the request, given what every guard had to say."""
    standing = [refusal for refusal in found if stands(refusal, ask)]
    waiting = [refusal for refusal in found if refusal.reason in WAITS]
    if standing:
        kind, reason = VerdictKind.ESCALATE, standing[0].reason
    elif waiting:
        kind, reason = VerdictKind.HOLD, waiting[0].reason
    else:
        kind, reason = VerdictKind.ROLL_BACK, Reason.ASKED
    target = choice.target.revision if choice.target else None
    return Verdict(kind=kind, reason=reason, refusals=found, blames=True, target=target, rejected=choice.rejected)


def stands(refusal: Refusal, ask: Ask) -> bool:
    """Whether a refusal forbids the request: it hands over for good, and is not overridden by name where it may be."""
    if refusal.consequence is not Consequence.ESCALATE:
        return False
    return not (refusal.overridable and refusal.reason in ask.overrides)
