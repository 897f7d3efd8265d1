"""Must a canary be rolled back now? Asked by Flagger during an analysis; whatever is not a plain yes is a no.

Nearly the gate's opposite. The gate keeps a pipeline away whenever anything speaks against a rollout; this makes another
controller act, so it says yes only to what we decided already: the very revision under analysis is quarantined, or its rollback
is approved, or begins by itself. A countdown that still runs is no decision, a person may decline. In `observe` and while paused
the answer is no, whatever else is known: Flagger would act in our name where we must not act ourselves.

What Flagger drives we do not write, so an incident about it is handed to a person (OWNED_BY_OPERATOR). Where that alone kept us
from rolling it back by ourselves, it is decided too: Flagger may do what we may not, and it goes back to its own primary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from daemon.core.incidents import Incident, Phase, Tier
from daemon.core.mode import mode_of
from daemon.core.model import Mode, Revision, Workload
from daemon.core.notices import digests_of
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from daemon.core.state import State, Tracked

PRIMARY = "-primary"
"""What Flagger puts behind the target's name for the copy that serves."""

_OURS_ALONE = frozenset({
    Reason.OWNED_BY_OPERATOR,
    Reason.TARGET_NOT_VERIFIED,
    Reason.TARGET_UNCHECKED,
    Reason.TARGET_GONE,
    Reason.TARGET_SKIPS,
    Reason.PROOF_OLD,
    Reason.PROOF_HEALTH_ONLY,
    Reason.NO_PERMISSION,
})  # fmt: skip
"""What speaks against a rollback by us, and not against Flagger's: it needs neither a target of ours nor our rights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryAnswer:
    """Whether to roll back now, and the one reason why, or why not."""

    roll_back: bool
    reason: str


def must_roll_back(state: State, policy: Policy, target: Workload, now: datetime) -> CanaryAnswer:
    """Roll the canary of `target` back now? `target` is what the Canary's targetRef names; its template is what is analysed."""
    tracked = state.workloads.get(target.key)
    if tracked is None or tracked.view.gone:
        return _no(f"{target.key} is not known here")
    forbidden = _forbidden(state, policy, tracked, now)
    if forbidden is not None:
        return _no(forbidden)
    current = tracked.view.current
    entry = tracked.entry(current.id)
    if entry is not None and entry.quarantined_by is not None:
        return _yes(f"{current.label} is quarantined by {entry.quarantined_by}: it was rolled back")
    about = list(_about(state, tracked))
    mode = mode_of(policy, tracked)
    decided = next((each for each in about if _is_decided(each, mode)), None)
    if decided is not None:
        return _yes(f"{decided.id} is {decided.phase} and blames {current.label}")
    left = next((each for each in about if mode is Mode.AUTO and _is_left_to_flagger(each, policy, now)), None)
    if left is not None:
        return _yes(f"{left.id} blames {current.label}, which only Flagger may roll back")
    if about:
        return _no(f"{about[0].id} is {about[0].phase}: a rollback of {current.label} is not decided")
    return _no(f"no open incident blames {current.label}, and it is not quarantined")


def _yes(reason: str) -> CanaryAnswer:
    return CanaryAnswer(roll_back=True, reason=reason)


def _no(reason: str) -> CanaryAnswer:
    return CanaryAnswer(roll_back=False, reason=reason)


def _forbidden(state: State, policy: Policy, tracked: Tracked, now: datetime) -> str | None:
    """What forbids any action; a pause of the copy that serves is one of the canary too."""
    if mode_of(policy, tracked) is Mode.OBSERVE:
        return "its mode is observe"
    target = tracked.view.workload
    return state.paused_by(target, now) or state.paused_by(_primary(target), now)


def _primary(target: Workload) -> Workload:
    return replace(target, name=f"{target.name}{PRIMARY}")


def _about(state: State, tracked: Tracked) -> Iterator[Incident]:
    """The open incidents that blame what is under analysis: the target's revision, or its like in the copy that serves."""
    target, current = tracked.view.workload, tracked.view.current
    primary = _primary(target)
    for incident in state.open_incidents:
        blamed = incident.blamed
        if blamed is None:
            continue
        of_target = incident.suspect == target and blamed.id == current.id
        if of_target or (incident.suspect == primary and _same_build(blamed, current)):
            yield incident


def _same_build(one: Revision, other: Revision) -> bool:
    """The copy's template has names and labels of its own, and so another hash: its images tell what it is."""
    known, others = digests_of(one), digests_of(other)
    if known and others:
        return known == others
    return bool(one.images) and set(one.images) == set(other.images)


def _is_decided(incident: Incident, mode: Mode) -> bool:
    """It rolls back already, or nothing but the last look stands between: approved, or in `auto` with its countdown run out."""
    if incident.phase is Phase.ROLLING_BACK:
        return True
    if incident.phase is not Phase.PROPOSED:
        return False
    alone = mode is Mode.AUTO and not incident.shown and incident.countdown_until is None
    return incident.approved_by is not None or alone


def _is_left_to_flagger(incident: Incident, policy: Policy, now: datetime) -> bool:
    """It was escalated for nothing but what does not concern Flagger, as long ago as our own countdown takes."""
    verdict = incident.verdict
    if incident.phase is not Phase.ESCALATED or verdict is None or not verdict.blames:
        return False
    reasons = {refusal.reason for refusal in verdict.refusals}
    at_once = incident.suspicions[0].tier is Tier.START_FAILURE
    waited = now - incident.phase_since >= (timedelta(0) if at_once else policy.countdown)
    return waited and Reason.OWNED_BY_OPERATOR in reasons and reasons <= _OURS_ALONE
