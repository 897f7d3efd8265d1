"""Parts 6 and 7: the revision to go back to, and whether it could be deployed right now."""

from __future__ import annotations

from datetime import timedelta

from config import durations
from daemon.core.actions import Checked, CheckTarget
from daemon.core.ledger import ZERO, LedgerEntry, ProofKind, choose_target
from daemon.core.measuring import MEASURE_FOR
from daemon.core.model import ActionId, IncidentId, Mode, Revision
from handlers.preflight.lines import Line, failed, ok, warning
from handlers.preflight.subject import Sources, Subject

REJECTED_MAX = 3
"""Rejected revisions that are named; `lastgood verified` has them all."""


def span(lasts: timedelta) -> str:
    """In whole seconds, as settings are written."""
    return durations.render(timedelta(seconds=max(0, round(lasts.total_seconds())))) if lasts else "0s"


def target_of(subject: Subject) -> LedgerEntry | None:
    """Where a rollback would lead: back to what runs now, once a new rollout goes bad; else to what it replaced."""
    view = subject.tracked.view
    entry = subject.tracked.entry(view.current.id)
    if entry is not None and entry.verified:
        return entry
    rollout = subject.tracked.rollout
    replaced = rollout.replaced if rollout is not None else None
    return choose_target(dict(subject.tracked.ledger), view.history, view.current, replaced, subject.policy).target


async def verified(subject: Subject) -> list[Line]:
    """Is there a verified target, and how good is its proof?"""
    found = target_of(subject)
    current = subject.tracked.view.current
    if found is None or found.proof is None:
        return [_missing(subject)]
    lines = [_proof(found, subject)]
    if found.revision.id != current.id:
        entry = subject.tracked.entry(current.id)
        lines.append(
            warning(
                "current revision",
                f"{current.label} runs and is not verified itself: {_soaked(subject, entry)}",
                "wait for its soak: until then the next rollout has to go further back, which is only proposed",
                f"lastgood verified {subject.workload.short}",
            )
        )
    return lines


def _proof(found: LedgerEntry, subject: Subject) -> Line:
    proof, policy = found.proof, subject.policy
    assert proof is not None, "asked for a verified entry"
    age = subject.now - (found.healthy_at or proof.verified_at)
    says = f"{found.revision.label}: {proof.sentence}; seen healthy {span(age)} ago"
    if proof.kind is ProofKind.HEALTH_ONLY:
        remedy = "it needs min_traffic_rate during its soak; with less traffic a person has to confirm each rollback"
        return warning("verified target", says, remedy)
    if age > policy.proof_age_max:
        return warning(
            "verified target",
            f"{says}: older than proof_age_max ({span(policy.proof_age_max)}), so it is only proposed",
            "let it serve again, or raise policy.proof_age_max",
        )
    return ok("verified target", says)


def _missing(subject: Subject) -> Line:
    view, policy = subject.tracked.view, subject.policy
    entry = subject.tracked.entry(view.current.id)
    rollout = subject.tracked.rollout
    replaced = rollout.replaced if rollout is not None else None
    others = choose_target(dict(subject.tracked.ledger), view.history, view.current, replaced, policy).rejected
    more = f"; also rejected: {'; '.join(others[:REJECTED_MAX])}" if others else ""
    says = f"none, so there is nothing to go back to. {view.current.label}: {_soaked(subject, entry)}{more}"
    remedy = _wait(subject, entry)
    return failed("verified target", says, remedy, f"lastgood verified {subject.workload.short}")


def _soaked(subject: Subject, entry: LedgerEntry | None) -> str:
    if entry is None:
        return "not seen serving yet"
    if not subject.tracked.view.converged:
        return f"its rollout has not converged; {entry.why_not(subject.policy)}"
    return entry.why_not(subject.policy)


def _wait(subject: Subject, entry: LedgerEntry | None) -> str:
    policy = subject.policy
    if entry is not None and entry.quarantined_by is not None:
        return "roll out a fix, or release it when it was innocent: lastgood release " + subject.workload.short
    soaked = max(entry.soaked, ZERO) if entry is not None else ZERO
    quiet = max(entry.quiet, ZERO) if entry is not None else ZERO
    return (
        f"wait: {span(policy.soak - soaked)} of healthy traffic as the only serving revision are missing, or "
        f"{span(policy.soak_low_traffic - quiet)} without traffic (a proof by health only); the parts signals and "
        "traffic tell what may hold it up"
    )


async def dry_run(sources: Sources, subject: Subject) -> list[Line]:
    """Try the rollback with `dryRun=All`, and look for everything that the target names."""
    found = target_of(subject)
    if found is None:
        return []
    outcome = await sources.check(_action(subject, found.revision))
    if not isinstance(outcome.result, Checked):
        return [failed("dry run", f"no answer: {outcome.message or outcome.kind.value}", "see the daemon's log")]
    check = outcome.result.check
    lines: list[Line] = []
    if not check.exists:
        says = f"the history object of {found.revision.label} is gone: nothing to go back to"
        lines.append(failed("dry run", says, "raise its spec.revisionHistoryLimit"))
    elif check.no_way is not None:
        says = f"no rollback of ours leads to {found.revision.label}: {check.no_way}"
        lines.append(
            warning("dry run", says, "an update in flight is aborted all the same; after promotion a person is paged")
        )
    elif not check.may_patch or check.dry_run_error is not None:
        lines.append(_refused(subject, found.revision, check.dry_run_error, may_patch=check.may_patch))
    else:
        lines.append(ok("dry run", f"the API server would take {found.revision.label}"))
    if check.missing:
        says = f"{found.revision.label} names what is not there: {', '.join(check.missing)}"
        lines.append(failed("references", says, "create it again; a rollback without it would not start"))
    elif check.unchecked:
        says = f"not checked, our role may not read them: {', '.join(check.unchecked)}"
        remedy = "fine if you know that they are kept; to have them checked, grant it: rbac.secretsMetadata=true"
        lines.append(warning("references", says, remedy))
    elif check.exists:
        lines.append(ok("references", "everything that it names is there"))
    return lines


def _refused(subject: Subject, target: Revision, error: str | None, *, may_patch: bool) -> Line:
    if not may_patch:
        says = "our role has no patch verb here, so nothing was tried"
        remedy = (
            f"before you arm it: helm upgrade with rbac.mode=act (and {subject.workload.namespace} in rbac.namespaces)"
        )
        level = warning if subject.mode is Mode.OBSERVE else failed
        return level("dry run", says, remedy)
    says = f"the API server would refuse {target.label}: {error or 'no reason given'}"
    return failed("dry run", says, "what it says is the thing to repair: an admission policy, a quota, a removed API")


def _action(subject: Subject, target: Revision) -> CheckTarget:
    view = subject.tracked.view
    return CheckTarget(
        id=ActionId("preflight/check"),
        deadline=subject.now + MEASURE_FOR,
        incident=IncidentId("preflight"),
        attempt=1,
        workload=view.workload,
        uid=view.uid,
        blamed=view.current,
        target=target,
    )
