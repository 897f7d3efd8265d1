"""Guards about the target: is there a proven revision, can it still be deployed, and is its proof good enough?"""

from __future__ import annotations

from daemon.core.case import Case, refuse
from daemon.core.ledger import ProofKind
from daemon.core.measurement import TargetCheck
from daemon.core.mode import mode_of
from daemon.core.model import Mode
from daemon.core.reasons import Consequence, Reason, Refusal


def target_not_verified(case: Case) -> Refusal | None:
    """No recorded proof, no rollback."""
    if case.choice.target is not None:
        return None
    seen = "; ".join(case.choice.rejected) or "no other revision in the history"
    return refuse(
        Reason.TARGET_NOT_VERIFIED,
        Consequence.ESCALATE,
        seen,
        "a verified revision in the history",
        overridable=False,
    )


def target_gone(case: Case) -> Refusal | None:
    """The target must still be deployable: history object, references, dry run; not yet checked means wait."""
    target, check = case.choice.target, case.incident.check
    if target is None:
        return None
    if check is None or check.revision != target.revision.id:
        return refuse(
            Reason.TARGET_UNCHECKED,
            Consequence.HOLD,
            "not checked yet",
            "a successful dry run",
        )
    if check.exists and not check.missing and check.dry_run_error is None:
        return None
    seen = "no history object" if not check.exists else ""
    seen = seen or (f"missing: {', '.join(check.missing)}" if check.missing else f"dry run: {check.dry_run_error}")
    return refuse(
        Reason.TARGET_GONE,
        Consequence.ESCALATE,
        seen,
        "everything the target refers to",
        overridable=False,
    )


def _checked(case: Case) -> TargetCheck | None:
    """The latest check, if it is of this target: another candidate's says nothing of it."""
    target, check = case.choice.target, case.incident.check
    return check if target is not None and check is not None and check.revision == target.revision.id else None


def out_of_reach(case: Case) -> Refusal | None:
    """The target is there, and what we may do to the workload does not lead to it (a template that others own)."""
    check = _checked(case)
    if check is None or check.no_way is None:
        return None
    seen, needed = check.no_way, "a person who goes that way"
    return refuse(Reason.OUT_OF_REACH, Consequence.ESCALATE, seen, needed, overridable=False)


def no_permission(case: Case) -> Refusal | None:
    """What our role forbids will fail at the patch; in mode observe nobody wants it (and its role has no patch verb)."""
    check, kind = _checked(case), case.suspicion.workload.kind
    if check is None or check.may_patch or mode_of(case.policy, case.tracked) is Mode.OBSERVE:
        return None
    return refuse(
        Reason.NO_PERMISSION,
        Consequence.ESCALATE,
        "the API server forbids the dry run",
        f"the verb patch on {kind.lower()}s there ({'rbac.switchServices' if kind == 'Service' else 'the role for act'})",
        overridable=False,
    )


def target_skips(case: Case) -> Refusal | None:
    """Further back than the replaced revision only with a person's word."""
    if case.choice.target is None or not case.choice.skipped:
        return None
    seen = "skips " + ", ".join(revision.label for revision in case.choice.skipped)
    return refuse(
        Reason.TARGET_SKIPS,
        Consequence.PROPOSE,
        seen,
        "the replaced revision to be verified",
    )


def proof_old(case: Case) -> Refusal | None:
    """Proof ages: the world around the revision has moved on."""
    target = case.choice.target
    if target is None or target.proof is None:
        return None
    age = case.now - (target.healthy_at or target.proof.verified_at)
    if age <= case.policy.proof_age_max:
        return None
    return refuse(
        Reason.PROOF_OLD,
        Consequence.PROPOSE,
        f"{age.days} days",
        f"at most {case.policy.proof_age_max.days} days",
    )


def proof_health_only(case: Case) -> Refusal | None:
    """Healthy without traffic is a weaker proof."""
    target = case.choice.target
    if target is None or target.proof is None or target.proof.kind is ProofKind.TRAFFIC:
        return None
    return refuse(
        Reason.PROOF_HEALTH_ONLY,
        Consequence.PROPOSE,
        target.proof.sentence,
        "proof under traffic",
    )


def config_changed(case: Case) -> Refusal | None:
    """A template does not restore a ConfigMap; the change may even be the cause."""
    target, check = case.choice.target, _checked(case)
    if target is None or target.proof is None or check is None:
        return None
    # What changed within a signal's window before the last look has hardly been seen by it, and a ConfigMap is applied
    # just before the Deployment that brings it.
    healthy_at = (target.healthy_at or target.proof.verified_at) - case.policy.signal_window
    changed = [c for c in check.configs if c.changed_at > healthy_at]
    if not changed:
        return None
    seen = ", ".join(f"{c.name} changed {c.changed_at:%H:%M:%S}Z" for c in changed)
    return refuse(
        Reason.CONFIG_CHANGED,
        Consequence.PROPOSE,
        seen,
        f"no change since {healthy_at:%H:%M:%S}Z",
    )
