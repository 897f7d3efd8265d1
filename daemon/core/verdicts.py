"""`judge`: from the measurements of an incident to a verdict with its reason and every refusal.

Precedence (DESIGN, "Guards"): an ESCALATE refusal is the strongest once a candidate is blamed (or all are refused), then
HOLD, then PROPOSE; nothing blamed holds; nothing to blame dismisses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from daemon.core import asked, blame, guards, switches
from daemon.core.case import Case
from daemon.core.contrast import Contrast, contrast_of
from daemon.core.fan_out import asks_more
from daemon.core.incidents import Ask, Incident, Phase, Suspicion, Tier, Verdict, VerdictKind
from daemon.core.ledger import TargetChoice, choose_target
from daemon.core.measurement import Measurement
from daemon.core.model import OnsetSource, Rollout, Workload
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.restarts import restarts_go_on
from daemon.core.state import State, Tracked
from daemon.core.surroundings import Surroundings, surroundings

GATHERING = timedelta(minutes=2)
"""Or two samples, where these come sooner: Alertmanager's groups wait for 30 s, rules look once or twice a minute."""

_TIER_REASONS = {
    Tier.START_FAILURE: Reason.BLAMED_START_FAILURE,
    Tier.CONTRAST: Reason.BLAMED_CONTRAST,
    Tier.BEFORE_AFTER: Reason.BLAMED_BEFORE_AFTER,
    Tier.TIMING: Reason.BLAMED_TIMING,
    Tier.NONE: Reason.NOTHING_BLAMED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict with the suspicions it rests on, the leading one first."""

    verdict: Verdict
    suspicions: tuple[Suspicion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What was measured of a candidate, and how its new pods compare with the old ones.

    `inherits`: its pods of either revision may fail by what it calls, for that hurts, fails, or is asked more than before.
    """

    rollout: Rollout
    measured: Measurement
    contrast: Contrast
    inherits: bool


def candidates(incident: Incident, state: State, policy: Policy) -> tuple[Rollout, ...]:
    """The latest rollouts of the workloads in scope whose window covers the onset.

    A known onset before the rollout removes it; an assumed one does not (the guard ONSET_ASSUMED holds instead).
    """
    return _candidates(incident, surroundings(incident, state, policy), state, policy)


def _candidates(incident: Incident, around: Surroundings, state: State, policy: Policy) -> tuple[Rollout, ...]:
    rollouts = _rollouts(incident, around, state)
    onset = incident.onset
    if incident.asked is not None:
        return tuple(rollouts)  # who asks for a rollback has judged
    return tuple(
        rollout
        for rollout in rollouts
        if rollout.replaced is not None
        and not switches.counts_elsewhere(rollout, rollouts)
        and (
            incident.regression
            or (incident.declared is not None and not _older(rollout, incident, policy))
            or blame.in_window(rollout, onset, policy, incident.chain_started_at)
            or (
                incident.onset_source is OnsetSource.ASSUMED
                and blame.in_window(
                    rollout,
                    onset + policy.assumed_for,
                    policy,
                    incident.chain_started_at,
                )
            )
        )
    )


def _rollouts(incident: Incident, around: Surroundings, state: State) -> list[Rollout]:
    """The latest rollout of each workload where it hurts, then of those near to it in the call graph."""
    found = (state.workloads.get(workload.key) for workload in dict.fromkeys((*incident.scope, *around.here.near)))
    return [tracked.rollout for tracked in found if tracked is not None and tracked.rollout is not None]


def _older(rollout: Rollout, incident: Incident, policy: Policy) -> bool:
    return blame.symptom_older(rollout, incident.onset, policy, incident.chain_started_at)


def older_than_all(incident: Incident, state: State, policy: Policy) -> bool:
    """There are rollouts in scope, but the anomaly is older than every one of them."""
    rollouts = _rollouts(incident, surroundings(incident, state, policy), state)
    real = [rollout for rollout in rollouts if rollout.replaced is not None]
    return bool(real) and all(_older(rollout, incident, policy) for rollout in real)


def target_of(tracked: Tracked, rollout: Rollout, policy: Policy, ask: Ask | None = None) -> TargetChoice:
    """The revision to go back to from this rollout: the one that was asked for, else the best one."""
    if ask is not None:
        return asked.chosen(tracked, ask.target, policy)
    return choose_target(
        dict(tracked.ledger),
        tracked.view.history,
        rollout.revision,
        rollout.replaced,
        policy,
    )


def judge(
    incident: Incident,
    measurement: Measurement,
    state: State,
    policy: Policy,
    now: datetime,
) -> Judgement:
    """The verdict on an incident in OPEN or PROPOSED, given the measurement of its leading candidate."""
    if incident.regression:
        # how it did beside the old pods is what it was verified by: that acquits nobody of what began after it
        measurement = replace(measurement, old=(), unsettled=None)
    around = surroundings(incident, state, policy)
    rollouts = _candidates(incident, around, state, policy)
    if not rollouts:
        older = older_than_all(incident, state, policy)
        reason = Reason.SYMPTOM_OLDER if older else Reason.NO_CANDIDATE
        return Judgement(verdict=Verdict(kind=VerdictKind.DISMISS, reason=reason), suspicions=())
    looks = {rollout.workload: _look(rollout, incident, around, measurement, state, policy) for rollout in rollouts}
    suspicions = sorted(
        (_suspicion(look, incident, around, state, policy) for look in looks.values()),
        key=lambda suspicion: (-suspicion.score, suspicion.workload.key),
    )
    seconds = (*suspicions[1:], None)
    cases = [
        _case(looks[suspicion.workload], incident, around, measurement, state, policy, now, suspicion, second)
        for suspicion, second in zip(suspicions, seconds, strict=True)
    ]
    found = [guards.refusals(case) for case in cases]
    hopeless = all(any(r.consequence is Consequence.ESCALATE for r in refusals) for refusals in found)
    if incident.asked is not None:
        verdict = asked.verdict(found[0], cases[0].choice, incident.asked)
    else:
        verdict = _verdict(found[0], cases[0], policy, hopeless=hopeless)
    vetoed = (replace(suspicion, vetoes=vetoes) for suspicion, vetoes in zip(suspicions, found, strict=True))
    return Judgement(verdict=verdict, suspicions=tuple(vetoed))


def is_convicted(judgement: Judgement, measurement: Measurement, policy: Policy) -> bool:
    """What the leader is convicted of goes on, however well its latest sample looks: it is out of line with the old pods.

    Restarts are counted since the rollout began, so they count only where it got worse as well, or where they go on.
    """
    if not (judgement.verdict.blames and judgement.suspicions):
        return False
    against = {term.name for term in judgement.suspicions[0].terms if term.weight > 0}
    worse = "before_after" in against or restarts_go_on(measurement, policy)
    return bool(against & {"contrast", "silence"}) or ("restarts" in against and worse)


def _look(
    rollout: Rollout, incident: Incident, around: Surroundings, measurement: Measurement, state: State, policy: Policy
) -> _Look:
    seen = _seen_of(state.workloads[rollout.workload.key], incident, measurement)
    measured = _with_witnesses(seen, state, policy)
    look = _Look(
        rollout=rollout,
        measured=measured,
        contrast=contrast_of(measured, rollout, policy),
        inherits=around.inherits(rollout.workload) or asks_more(measured, rollout.workload),
    )
    if look.inherits or not blame.peers_failing(measured.below, policy):
        return look
    # No alert says so, but what it calls fails. Its own failing is left out only where enough is left to ask a person about it:
    # else an outage beside a rollout would be nobody's until the deadline.
    inheriting = replace(look, inherits=True)
    named = _suspicion(inheriting, incident, around, state, policy).score >= policy.blame_threshold
    return inheriting if named else look


def _suspicion(look: _Look, incident: Incident, around: Surroundings, state: State, policy: Policy) -> Suspicion:
    rollout, measured = look.rollout, look.measured
    tracked = state.workloads[rollout.workload.key]
    return blame.suspect(
        rollout,
        measured,
        incident.onset,
        incident.onset_source,
        policy,
        felt_at=incident.felt_at,
        contrast=look.contrast,
        old_ran=_old_ran(tracked, rollout, measured),
        chain_start=incident.chain_started_at,
        regression=incident.regression,
        declared=incident.declared,
        neighbour=around.neighbour(rollout.workload),
        explains=around.explains(rollout.workload),
        besides=around.besides(rollout.workload),
        inherits=look.inherits,
        accused=rollout.workload in around.accused,
    )


def _with_witnesses(measurement: Measurement, state: State, policy: Policy) -> Measurement:
    """Callers that were rolled out themselves in the blame window may be bad by their own doing: only pods they kept witness."""
    since = measurement.at - policy.blame_window
    callers = tuple(
        peer for peer in measurement.callers if peer.kept or not _rolled_out_since(peer.workload, since, state)
    )
    return replace(measurement, callers=callers)


def _rolled_out_since(workload: Workload, since: datetime, state: State) -> bool:
    tracked = state.workloads.get(workload.key)
    rollout = tracked.rollout if tracked is not None else None
    return rollout is not None and rollout.replaced is not None and (rollout.completed_at or since) >= since


def seen_by_itself(
    tracked: Tracked, rollout: Rollout, measurement: Measurement, state: State, policy: Policy, now: datetime
) -> Suspicion:
    """The suspicion against a rollout that nobody complains about."""
    measurement = _with_witnesses(measurement, state, policy)
    old_ran = _old_ran(tracked, rollout, measurement)
    return blame.suspect(rollout, measurement, now, OnsetSource.RULE, policy, old_ran=old_ran, chain_start=None)


def _old_ran(tracked: Tracked, rollout: Rollout, measurement: Measurement) -> bool:
    """The replaced revision serves now, or was seen to."""
    entry = tracked.entry(rollout.replaced.id) if rollout.replaced else None
    return measurement.old_ready > 0 or (entry is not None and entry.serving_since is not None)


def _seen_of(tracked: Tracked, incident: Incident, measurement: Measurement) -> Measurement:
    """The measurement, if it is of this workload; else what is common to all, and how the cluster shows its pods."""
    view = tracked.view
    if view.workload == incident.subject:
        return measurement
    return Measurement(
        at=measurement.at,
        peers=measurement.peers,
        fan_outs=measurement.fan_outs,
        missing=measurement.missing,
        start_failure=view.start_failure,
        new_ready=sum(pods.ready for pods in view.pods if pods.revision == view.current.id),
    )


def _case(
    look: _Look,
    incident: Incident,
    around: Surroundings,
    measurement: Measurement,
    state: State,
    policy: Policy,
    now: datetime,
    leader: Suspicion,
    second: Suspicion | None,
) -> Case:
    rollout, contrast = look.rollout, look.contrast
    tracked = state.workloads[rollout.workload.key]
    # What it does to others never shows in its own signals: once these were compared, nothing more is to come.
    enough = contrast.recent >= policy.persistence_of and not contrast.convicting
    elsewhere = leader.tier is Tier.TIMING and around.neighbour(rollout.workload) is not None
    waited = now >= incident.opened_at + policy.persistence_of * policy.sample_interval
    compared = (enough and (look.inherits or elsewhere)) or (waited and elsewhere)
    close = second is not None and leader.score - second.score < policy.blame_margin
    return Case(
        incident=incident,
        state=state,
        policy=policy,
        now=now,
        tracked=tracked,
        rollout=rollout,
        suspicion=leader,
        measurement=look.measured,
        contrast=contrast,
        inherits=look.inherits,
        elsewhere=elsewhere,
        choice=target_of(tracked, rollout, policy, incident.asked),
        ambiguous=second if close else None,
        contrast_due=not compared and _contrast_due(rollout, measurement, policy, now),
    )


def _contrast_due(rollout: Rollout, measurement: Measurement, policy: Policy, now: datetime) -> bool:
    """Data is still to come: sources are missing, or the overlap is not over and read back yet."""
    if any(name.startswith("prometheus") for name in measurement.missing):
        return True
    if rollout.completed_at is None:
        return True
    return now < rollout.completed_at + policy.signal_window + 2 * policy.sample_interval


def _blamed(leader: Suspicion, case: Case, policy: Policy) -> bool:
    """It clears the threshold, and no better evidence is still to come: timing is no blame while contrast is due."""
    if leader.score < policy.blame_threshold or leader.tier is Tier.NONE:
        return False
    strong = leader.tier in (Tier.START_FAILURE, Tier.CONTRAST)
    if leader.tier is Tier.TIMING and case.now < case.incident.opened_at + _gathering(policy):
        return False
    return strong or not case.contrast_due or (policy.act_without_control and leader.tier is Tier.BEFORE_AFTER)


def _gathering(policy: Policy) -> timedelta:
    """How long timing alone is no blame yet: the alerts of one anomaly come one after the other, and all of them tell more."""
    return min(GATHERING, 2 * policy.sample_interval)


def _verdict(found: tuple[Refusal, ...], case: Case, policy: Policy, *, hopeless: bool) -> Verdict:
    """The leader's case; `hopeless` where every candidate is refused for good, so that no blame needs to be waited for."""
    leader = case.suspicion
    by = {consequence: [r for r in found if r.consequence is consequence] for consequence in Consequence}
    blamed = _blamed(leader, case, policy)
    accused = blamed or case.incident.phase is Phase.PROPOSED  # a proposal waits for data, not for blame
    if by[Consequence.ESCALATE] and (accused or (hopeless and not by[Consequence.HOLD])):
        kind, reason = VerdictKind.ESCALATE, by[Consequence.ESCALATE][0].reason
    elif not blamed:
        kind, reason = VerdictKind.HOLD, Reason.NO_DATA if case.measurement.missing else Reason.NOTHING_BLAMED
    elif by[Consequence.HOLD]:
        kind, reason = VerdictKind.HOLD, by[Consequence.HOLD][0].reason
    else:
        kind = VerdictKind.PROPOSE if by[Consequence.PROPOSE] else VerdictKind.ROLL_BACK
        said = leader.tier is Tier.TIMING and case.incident.declared is not None
        reason = Reason.DECLARED if said else _TIER_REASONS[leader.tier]
    innocent = any(r.reason in (Reason.COMMON_CAUSE, Reason.RESTART_ONLY) for r in found)
    return Verdict(
        kind=kind,
        reason=reason,
        refusals=found,
        blames=blamed and not innocent,
        target=case.choice.target.revision if case.choice.target else None,
        rejected=case.choice.rejected,
    )
