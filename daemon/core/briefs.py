"""Composing what people are told: pure, from the incident as the journal holds it.

Answers in the order of an on-call engineer's questions: what changed, since when, how wide, what was done or what stands in
the way, what to do now (the exact command).
"""

from __future__ import annotations

from daemon.core.blame import peers_failing
from daemon.core.brief import Brief
from daemon.core.incidents import Decision, Incident, Phase, VerdictKind
from daemon.core.measurement import Measurement
from daemon.core.model import Mode, Revision, Workload
from daemon.core.notices import Notice, first, links_of
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.reverts import reverts
from daemon.core.signals import traffic
from daemon.core.state import State

TEXT_MAX = 500
"""Characters of a label or annotation that go into a message; the vendors' limits are far above, a screen is not."""

NO_UNDO = frozenset(
    {
        Reason.IRREVERSIBLE,
        Reason.OWNED_BY_GITOPS,
        Reason.OWNED_BY_OPERATOR,
        Reason.RESTART_ONLY,
        Reason.ROLLBACK_OF_ROLLBACK,
        Reason.ROLLOUT_PAUSED,
        Reason.TARGET_GONE,
        Reason.OUT_OF_REACH,
    }
)
"""Refusals under which `kubectl rollout undo` would be refused, reverted, or of no use: no message proposes it then."""

_HEADLINES = {
    Phase.OPEN: "investigating",
    Phase.PROPOSED: "rollback proposed",
    Phase.ROLLING_BACK: "rolling back",
    Phase.VERIFYING: "rolled back, verifying",
    Phase.ESCALATED: "needs a person",
    Phase.RECOVERED: "rolled back and recovered",
    Phase.DISMISSED: "dismissed",
    Phase.SUPERSEDED: "superseded by a newer rollout",
    Phase.CLOSED: "closed",
}


def cut(text: str) -> str:
    """Text from outside, shortened to what a message can bear, control characters made visible as spaces."""
    clean = "".join(character if character.isprintable() else " " for character in text)
    return clean if len(clean) <= TEXT_MAX else clean[: TEXT_MAX - 1] + "…"


def compose(incident: Incident, state: State, policy: Policy, update: str) -> Brief:
    """The brief of an incident as it stands; `update` says what is new."""
    workload = incident.suspect or incident.symptom
    names = sorted({located.alert.name for located in incident.alerts})
    because = f" ({', '.join(cut(name) for name in names[:3])})" if names else ""
    return Brief(
        incident=incident.id,
        headline=f"{workload.short}: {_HEADLINES[incident.phase]}{_why(incident)}{because}",
        phase=incident.phase.value,
        workload=workload.key,
        changed=_changed(incident, state),
        since=incident.onset,
        wide=_wide(incident, policy),
        done=_done(incident),
        refusals=tuple(cut(str(refusal)) for refusal in _standing(incident)),
        evidence=_evidence(incident),
        commands=commands(incident, state),
        update=update,
        final=incident.phase.ended,
        links=(*_revert(incident), *links_of(notices_of(incident, state))),
        asks=incident.phase is Phase.PROPOSED and incident.approved_by is None,
        target=incident.target.id if incident.phase is Phase.PROPOSED and incident.target is not None else "",
        questions=tuple(reason.value for reason in incident.shown) if incident.phase is Phase.PROPOSED else (),
        countdown_until=incident.countdown_until if incident.phase is Phase.PROPOSED else None,
    )


def _revert(incident: Incident) -> tuple[tuple[str, str], ...]:
    return (("Revert", incident.revert_url),) if incident.revert_url else ()


def _why(incident: Incident) -> str:
    """Whoever is woken reads the reason before anything else."""
    if incident.phase is not Phase.ESCALATED or incident.reason is None:
        return ""
    sentence = incident.reason.sentence.rstrip(".")
    return f": {sentence[0].lower()}{sentence[1:]}"


def _changed(incident: Incident, state: State) -> str:
    tracked = state.workloads.get((incident.suspect or incident.symptom).key)
    rollout = tracked.rollout if tracked else None
    new = incident.blamed or (rollout.revision if rollout else None)
    old = incident.replaced or (rollout.replaced if rollout else None)
    if new is None or old is None:
        return "no rollout in question"
    began, who = incident.rollout_started_at, incident.rolled_out_by
    if rollout is not None and rollout.revision.id == new.id:
        began, who = rollout.started_at, rollout.changed_by
    when = f" at {began:%H:%M:%S}Z" if began else ""
    by = f" by {cut(who)}" if who else ""
    cause = f": {cut(new.change_cause)}" if new.change_cause else ""
    return f"{_images(old)} → {_images(new)}{when}{by}{cause}{_said(notices_of(incident, state))}"


def notices_of(incident: Incident, state: State) -> tuple[Notice, ...]:
    """What pipelines said of the rollout in question: the blamed one, or while nothing is blamed the latest."""
    tracked = state.workloads.get((incident.suspect or incident.symptom).key)
    latest = tracked.notices if tracked is not None and incident.blamed is None else ()
    return incident.notices or latest


def _said(notices: tuple[Notice, ...]) -> str:
    """Commit, author and environment, as the pipeline told them."""
    commit, author, environment = (first(notices, name) for name in ("commit", "author", "environment"))
    parts = [
        f"commit {cut(commit)[:12]}" if commit else "",
        f"by {cut(author)}" if author else "",
        f"to {cut(environment)}" if environment else "",
    ]
    said = " ".join(part for part in parts if part)
    return f" ({said})" if said else ""


def _images(revision: Revision) -> str:
    return cut(", ".join(revision.images)) or revision.label


def _wide(incident: Incident, policy: Policy) -> str:
    measured = incident.measurement
    if measured is None:
        return "not measured yet"
    if incident.patched_at is not None:
        return f"{measured.new_ready} of {measured.new_pods} pods ready"
    parts = [f"{measured.new_ready} of {measured.new_pods} new pods ready"]
    share = _share(measured, policy)
    if share is not None:
        parts.append(f"{share:.0%} of the traffic on them")
    failing = peers_failing(measured.peers, policy)
    parts.append(f"also failing: {', '.join(failing[:5])}" if failing else "no other workload seen failing with it")
    return "; ".join(parts)


def _share(measured: Measurement, policy: Policy) -> float | None:
    new, old = (traffic(policy, side[-1]) if side else None for side in (measured.new, measured.old))
    if new is None:
        return None
    return new / (new + (old or 0.0)) if new + (old or 0.0) > 0 else None


def _done(incident: Incident) -> str:
    target = incident.target.label if incident.target else "a verified revision"
    sentence = incident.reason.sentence if incident.reason else ""
    match incident.phase:
        case Phase.OPEN:
            return "nothing yet: measuring"
        case Phase.PROPOSED if incident.countdown_until is not None:
            return f"will roll back to {target} at {incident.countdown_until:%H:%M:%S}Z unless somebody declines"
        case Phase.PROPOSED if not incident.shown or incident.approved_by:
            return f"will roll back to {target} as soon as a last look confirms it"
        case Phase.PROPOSED:
            return f"proposes to roll back to {target}; waits for approval"
        case Phase.ROLLING_BACK:
            return f"rolling back to {target}"
        case Phase.VERIFYING:
            return f"runs {target} again; watching whether the symptom goes away"
        case Phase.RECOVERED:
            return f"rolled back to {target}. {sentence}"
        case Phase.ESCALATED if incident.patched_at is not None:
            return f"rolled back to {target}, but: {sentence}"
        case Phase.ESCALATED if incident.revert_url is not None:
            return f"nothing was changed: {sentence} A pull request that reverts the commit: {incident.revert_url}"
        case Phase.ESCALATED if incident.decision is not None and incident.decision.mode is Mode.OBSERVE:
            return f"nothing was changed: {sentence} {would_have(incident.decision)}"
        case Phase.ESCALATED:
            return f"nothing was changed: {sentence}"
        case _:
            return sentence


def would_have(decision: Decision) -> str:
    """What `observe` kept from being done."""
    match decision.made:
        case VerdictKind.ROLL_BACK:
            return f"In auto it would have rolled {cut(decision.label)} back by itself."
        case VerdictKind.PROPOSE:
            asked = ", ".join(reason.upper() for reason in decision.refusals)
            return f"In auto it would have proposed to roll {cut(decision.label)} back ({asked})."
        case _:
            because = ", ".join(reason.upper() for reason in decision.refusals) or "no decision in time"
            return f"In auto it would have been handed to a person, too ({because})."


def _standing(incident: Incident) -> tuple[Refusal, ...]:
    """The refusals that stand in the way now; once a rollback ran they are history."""
    if incident.verdict is None or incident.patched_at is not None or incident.phase is Phase.ROLLING_BACK:
        return ()
    order = [Consequence.ESCALATE, Consequence.HOLD, Consequence.PROPOSE]
    return tuple(sorted(incident.verdict.refusals, key=lambda refusal: order.index(refusal.consequence)))


def _evidence(incident: Incident) -> tuple[str, ...]:
    if not incident.suspicions:
        return ()
    return tuple(cut(term.sentence) for term in incident.suspicions[0].terms)


def commands(incident: Incident, state: State) -> tuple[str, ...]:
    """What can be pasted right now."""
    explain = f"lastgood explain {incident.id}"
    if incident.phase is Phase.PROPOSED:
        return (f"lastgood approve {incident.id}", f"lastgood decline {incident.id}", explain)
    if incident.phase is Phase.ESCALATED:
        ways = (*_by_hand(incident), *_in_the_source(incident, state), *_accept(incident))
        return (explain, *ways, *_judge(incident), f"lastgood close {incident.id}")
    if incident.phase is Phase.RECOVERED and incident.suspect is not None:
        return (explain, *_while_suspended(incident, state), f"lastgood release {incident.suspect.short}")
    return (explain,)


def _judge(incident: Incident) -> tuple[str, ...]:
    """In `observe` the scorecard lives from people's words."""
    decision = incident.decision
    if decision is None or decision.word is not None or decision.mode is not Mode.OBSERVE or not decision.blames:
        return ()
    return (f"lastgood judge {incident.id} right", f"lastgood judge {incident.id} wrong")


def _by_hand(incident: Incident) -> tuple[str, ...]:
    """The undo that a person could do, where a revision is blamed and nothing says that an undo would not help."""
    workload, verdict = incident.suspect, incident.verdict
    if workload is None or verdict is None or incident.blamed is None or incident.patched_at is not None:
        return ()
    if any(refusal.reason in NO_UNDO for refusal in verdict.refusals):
        return ()
    to = verdict.target or incident.replaced
    return (_undo(workload, to.number),) if to is not None and to.number is not None else ()


def _in_the_source(incident: Incident, state: State) -> tuple[str, ...]:
    """The revert where a GitOps controller owns what is blamed, and nothing was changed, or no more is."""
    tracked = state.workloads.get(incident.suspect.key) if incident.suspect is not None else None
    stands = incident.patched_at is not None and incident.reason is not Reason.REVERTED
    if tracked is None or incident.blamed is None or stands:
        return ()
    return reverts(tracked.view.owner, first(notices_of(incident, state), "commit"))


def _accept(incident: Incident) -> tuple[str, ...]:
    """What was written back may be meant."""
    if incident.reason is not Reason.REVERTED or incident.suspect is None or incident.blamed is None:
        return ()
    return (f"lastgood release {incident.suspect.short} --revision {incident.blamed.id[:8]}",)


def _while_suspended(incident: Incident, state: State) -> tuple[str, ...]:
    """The revert of a rollback that stands only as long as its controller is suspended."""
    for suspension in state.suspensions.values():
        if any(hold.action == incident.roll_back for hold in suspension.holds):
            found = reverts(suspension.owner, first(notices_of(incident, state), "commit"))
            return tuple(command for command in found if command.startswith("git revert"))
    return ()


def _undo(workload: Workload, number: int) -> str:
    return (
        f"kubectl -n {workload.namespace} rollout undo {workload.kind.lower()}/{workload.name} --to-revision={number}"
    )
