"""Every reason not to roll back, as a list of named functions. All run, and all refusals are kept (DESIGN, "Guards").

Each refusal says what was seen and what would have been needed, because the person who is paged needs both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import cast

from daemon.core import aborts, owners, target_guards
from daemon.core.actions import Action, RollBack
from daemon.core.blame import number, shared_by_peers
from daemon.core.case import Case, refuse
from daemon.core.incidents import Tier
from daemon.core.mode import mode_of
from daemon.core.model import Exchange, Mode, OnsetSource, Owner, OwnerKind, Rung, Workload, WorkloadView
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.state import RollbackDone
from daemon.core.table import table

HOUR = timedelta(hours=1)


Guard = Callable[[Case], Refusal | None]


def mode(case: Case) -> Refusal | None:
    """`observe` never acts, `approve` asks."""
    found = mode_of(case.policy, case.tracked)
    if found is Mode.OBSERVE:
        seen = f"mode observe (annotation {case.tracked.view.mode_invalid!r} is not a mode)"
        seen = seen if case.tracked.view.mode_invalid else "mode observe"
        return refuse(
            Reason.MODE_OBSERVE,
            Consequence.ESCALATE,
            seen,
            "mode approve or auto",
            overridable=False,
        )
    if found is Mode.APPROVE:
        return refuse(
            Reason.MODE_APPROVE,
            Consequence.PROPOSE,
            "mode approve",
            "mode auto, or a person's approval",
        )
    return None


def paused(case: Case) -> Refusal | None:
    """People's switch wins over everything."""
    by = case.state.paused_by(case.suspicion.workload, case.now)
    if by is None:
        return None
    return refuse(Reason.PAUSED, Consequence.ESCALATE, by, "no pause", overridable=False)


def protected(case: Case) -> Refusal | None:
    """Never its own workload, never kube-system unless the policy names it."""
    workload = case.suspicion.workload
    if workload.short == case.policy.own_workload:
        return refuse(
            Reason.PROTECTED,
            Consequence.ESCALATE,
            "Lastgood's own workload",
            "any other",
            overridable=False,
        )
    named = any("kube-system" in rule.namespaces for rule in case.policy.modes)
    if workload.namespace == "kube-system" and not named:
        seen, needed = "namespace kube-system", "a mode rule that names kube-system"
        return refuse(Reason.PROTECTED, Consequence.ESCALATE, seen, needed, overridable=False)
    return None


def low_traffic(case: Case) -> Refusal | None:
    """Too few requests to judge; a pod that cannot start needs none, and one that breaks others looks well anyway."""
    if case.suspicion.tier is Tier.START_FAILURE or case.elsewhere or case.contrast.pairs == 0 or case.contrast.enough:
        return None
    needed = f"{case.policy.min_traffic_rate:g} req/s in all and {case.policy.min_requests} requests on each side"
    return refuse(
        Reason.LOW_TRAFFIC,
        Consequence.HOLD,
        f"{case.contrast.pairs} sample(s) with less",
        needed,
    )


def no_contrast(case: Case) -> Refusal | None:
    """Only contrast and start failures may act by themselves; while data is due we wait for it."""
    if case.suspicion.tier in (Tier.START_FAILURE, Tier.CONTRAST):
        return None
    if case.policy.act_without_control and case.suspicion.tier is Tier.BEFORE_AFTER:
        return None
    seen = f"{case.contrast.convicting} convicting of {case.contrast.pairs} common sample(s)"
    needed = f"{case.policy.persistence_bad} of the last {case.policy.persistence_of}"
    consequence = Consequence.HOLD if case.contrast_due else Consequence.PROPOSE
    return refuse(Reason.NO_CONTRAST, consequence, seen, needed)


def onset_assumed(case: Case) -> Refusal | None:
    """With an assumed onset "the symptom is older" holds rather than decides (DESIGN)."""
    incident = case.incident
    if incident.onset_source is not OnsetSource.ASSUMED or incident.onset >= case.rollout.started_at:
        return None
    if incident.chain_started_at is not None and incident.onset >= incident.chain_started_at:
        return None
    before = (case.rollout.started_at - incident.onset).total_seconds()
    seen = f"assumed {before:.0f} s before the rollout"
    return refuse(
        Reason.ONSET_ASSUMED,
        Consequence.HOLD,
        seen,
        "an onset known from Prometheus, after it",
    )


def rollout_paused(case: Case) -> Refusal | None:
    """`spec.paused`: kubectl refuses an undo too (protocols §2.1)."""
    if not case.tracked.view.paused:
        return None
    return refuse(
        Reason.ROLLOUT_PAUSED,
        Consequence.ESCALATE,
        "spec.paused is true",
        "kubectl rollout resume",
    )


def on_delete(case: Case) -> Refusal | None:
    """A patch would change the template and no pod: the bad ones serve on until somebody deletes them."""
    if case.tracked.view.exchange is not Exchange.ON_DELETE:
        return None
    return refuse(Reason.ON_DELETE, Consequence.ESCALATE, "updateStrategy OnDelete", "updateStrategy RollingUpdate")


def restart_only(case: Case) -> Refusal | None:
    """Going back from a restart changes nothing but a timestamp."""
    if not case.rollout.restart_only:
        return None
    return refuse(
        Reason.RESTART_ONLY,
        Consequence.ESCALATE,
        "same template and digests",
        "a changed template",
    )


def owned(case: Case) -> Refusal | None:
    """Never fight a controller that would write its own version back."""
    owner = case.tracked.view.owner
    if owner is None or not owners.is_in_the_way(case.policy, case.tracked.view):
        return None
    if case.choice.target is not None and aborts.is_all_it_takes(case.tracked.view, case.choice.target.revision):
        return None
    reason = Reason.OWNED_BY_OPERATOR if owner.kind is OwnerKind.OPERATOR else Reason.OWNED_BY_GITOPS
    return refuse(
        reason,
        Consequence.ESCALATE,
        _owned_by(case.tracked.view, owner),
        "no other controller",
        overridable=not owner.drives,
    )


def _owned_by(view: WorkloadView, owner: Owner) -> str:
    return f"{owner.kind} {owner.name}" + (f" ({view.owner_note})" if view.owner_note else "")


def irreversible(case: Case) -> Refusal | None:
    """A declared migration cannot be undone by an old template."""
    if not case.rollout.irreversible:
        return None
    return refuse(
        Reason.IRREVERSIBLE,
        Consequence.ESCALATE,
        "declared irreversible",
        "no such declaration",
    )


def rollback_of_rollback(case: Case) -> Refusal | None:
    """Going back from having gone back only flaps, whoever did it.

    Not so where what was rolled back to lost its mark in the watch after it: further back than both is no flapping. A person
    has to confirm that (REGRESSION); what was rolled back from never is the way.
    """
    if _goes_further_back(case):
        return None
    if case.rollout.ours is not None:
        seen = f"rolled back by {case.rollout.ours}"
    elif case.rollout.returns:
        seen = f"went back to an older revision, by {case.rollout.changed_by or 'somebody'}"
    else:
        return None
    return refuse(
        Reason.ROLLBACK_OF_ROLLBACK,
        Consequence.ESCALATE,
        seen,
        "a forward rollout",
        overridable=False,
    )


def _goes_further_back(case: Case) -> bool:
    target, replaced = case.choice.target, case.rollout.replaced
    if not case.incident.regression or target is None or replaced is None:
        return False
    return target.revision.id != replaced.id


def regression(case: Case) -> Refusal | None:
    """What only the watch after the soak has seen is for a person to judge."""
    if not case.incident.regression:
        return None
    entry = case.tracked.entry(case.rollout.revision.id)
    lost = f"; its mark is withdrawn: {entry.withdrawn}" if entry is not None and entry.withdrawn else ""
    seen = f"verified, unhealthy since {case.incident.onset:%H:%M:%S}Z{lost}"
    return refuse(Reason.REGRESSION, Consequence.PROPOSE, seen, "an alert, or a person's approval")


def data_at_risk(case: Case) -> Refusal | None:
    """Data and migrations: never without a person (issue: declared reasons)."""
    declared = case.incident.declared
    if declared is None or not declared.cause.risks_data:
        return None
    seen = f"{declared.cause.sentence}, says {declared.actor}"
    return refuse(Reason.DATA_AT_RISK, Consequence.PROPOSE, seen, "a person's approval")


def too_old(case: Case) -> Refusal | None:
    """Rollouts this long ago are rarely the cause, and much has happened since. A regression is exempt (DESIGN)."""
    age = case.now - case.rollout.started_at
    if age <= case.policy.too_old or case.incident.regression:
        return None
    return refuse(
        Reason.TOO_OLD,
        Consequence.ESCALATE,
        f"{age.total_seconds() / 60:.0f} min",
        _minutes(case.policy),
    )


def _minutes(policy: Policy) -> str:
    return f"at most {policy.too_old.total_seconds() / 60:.0f} min"


def common_cause(case: Case) -> Refusal | None:
    """Old pods, unrelated workloads or the node fail alike. A convicting contrast disproves it for metrics."""
    contrast = case.contrast
    if not case.inherits and contrast.alike >= case.policy.persistence_bad and contrast.alike >= contrast.convicting:
        name = contrast.worst.name if contrast.worst else "signals"
        seen = f"{name} new {number(contrast.new_value)}, old {number(contrast.old_value)} at the same time"
        return refuse(Reason.COMMON_CAUSE, Consequence.ESCALATE, seen, "old pods that are good")
    peers = shared_by_peers(case.measurement, case.policy)
    if case.suspicion.tier is Tier.START_FAILURE and len(peers) * 2 <= len(case.measurement.peers):
        peers = ()  # who waits for pods that cannot start fails with them; an outage that keeps pods from starting is wider
    if peers and case.suspicion.tier is not Tier.CONTRAST:
        seen = f"also failing: {', '.join(peers[:5])}"
        return refuse(
            Reason.COMMON_CAUSE,
            Consequence.ESCALATE,
            seen,
            "unrelated workloads that are good",
        )
    if case.measurement.failed_nodes:
        seen = f"nodes with failing pods of others: {', '.join(case.measurement.failed_nodes[:5])}"
        return refuse(Reason.COMMON_CAUSE, Consequence.ESCALATE, seen, "healthy nodes")
    return None


def blast_radius(case: Case) -> Refusal | None:
    """A fleet that needs this many rollbacks has another problem than its rollouts."""
    known = (*case.state.rollbacks, *_under_way(case))
    return too_many(case.suspicion.workload, known, case.policy, case.now)


def _under_way(case: Case) -> Iterator[RollbackDone]:
    """Rollbacks that are owed: nobody knows yet what became of them, so they count as carried out now."""
    owed = cast("tuple[RollBack, ...]", table(case.state.owed).having(_rolls_back, True))
    for action in owed:
        workload = action.workload
        yield RollbackDone(at=case.now, namespace=workload.namespace, workload=workload.key)


def _rolls_back(action: Action) -> tuple[bool]:
    return (isinstance(action, RollBack),)


def too_many(workload: Workload, rollbacks: Sequence[RollbackDone], policy: Policy, now: datetime) -> Refusal | None:
    """The guard of the blast radius, after these rollbacks."""
    recent = [done for done in rollbacks if now - done.at < HOUR]
    here = sum(1 for done in recent if done.namespace == workload.namespace)
    if here < policy.rollbacks_per_namespace_hour and len(recent) < policy.rollbacks_per_cluster_hour:
        return None
    needed = f"fewer than {policy.rollbacks_per_namespace_hour} and {policy.rollbacks_per_cluster_hour}"
    seen = f"{here} in the namespace, {len(recent)} in the cluster within an hour"
    return refuse(Reason.BLAST_RADIUS, Consequence.PROPOSE, seen, needed)


def cooling_down(case: Case) -> Refusal | None:
    """One automatic rollback per workload until a later revision is verified."""
    return too_soon(case.tracked.rolled_back_at)


def too_soon(rolled_back_at: datetime | None) -> Refusal | None:
    """The guard of a workload that cools down since then (None: it does not)."""
    if rolled_back_at is None:
        return None
    seen = f"rolled back at {rolled_back_at:%Y-%m-%d %H:%M}Z"
    return refuse(
        Reason.COOLING_DOWN,
        Consequence.PROPOSE,
        seen,
        "a later revision that was verified",
    )


def mapped_by_namespace(case: Case) -> Refusal | None:
    """An alert that names only a namespace may propose, not act."""
    if case.incident.rung is not Rung.NAMESPACE:
        return None
    return refuse(
        Reason.MAPPED_BY_NAMESPACE,
        Consequence.PROPOSE,
        "namespace label only",
        "a label that names a workload",
    )


def ambiguous(case: Case) -> Refusal | None:
    """The lead over the runner-up is too small."""
    other = case.ambiguous
    if other is None:
        return None
    lead = case.suspicion.score - other.score
    seen = f"{lead:.2f} ahead of {other.workload.short}"
    return refuse(
        Reason.AMBIGUOUS,
        Consequence.PROPOSE,
        seen,
        f"a lead of {case.policy.blame_margin:g}",
    )


GUARDS: tuple[Guard, ...] = (
    mode,
    paused,
    protected,
    target_guards.target_not_verified,
    target_guards.target_gone,
    target_guards.out_of_reach,
    target_guards.no_permission,
    rollout_paused,
    on_delete,
    restart_only,
    owned,
    irreversible,
    rollback_of_rollback,
    too_old,
    common_cause,
    low_traffic,
    no_contrast,
    onset_assumed,
    target_guards.config_changed,
    blast_radius,
    cooling_down,
    target_guards.target_skips,
    target_guards.proof_old,
    target_guards.proof_health_only,
    mapped_by_namespace,
    ambiguous,
    regression,
    data_at_risk,
)


def refusals(case: Case) -> tuple[Refusal, ...]:
    """What every guard has to say, in the order of the list."""
    found = (guard(case) for guard in GUARDS)
    return tuple(refusal for refusal in found if refusal is not None)
