"""What is done about a workload that others write too: nothing is in the way, the policy has a way around, or it is refused."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from daemon.core.model import OwnerKind, Revision, WorkloadView
from daemon.core.notices import first
from daemon.core.policy import GitOps, Policy
from daemon.core.state import Tracked

_WAYS = {OwnerKind.ARGO_CD: GitOps.ARGOCD_ROLLBACK, OwnerKind.FLUX: GitOps.FLUX_SUSPEND}
"""The way around each controller. There is none around an operator: nobody knows what it reads."""


def leaves_it(view: WorkloadView) -> bool:
    """Whether a rollback in the cluster stands: nobody owns the workload, or its owner comes back only with its next change."""
    return view.owner is None or view.owner.kind is OwnerKind.HELM or view.owner_yields


def wanted(policy: Policy, view: WorkloadView) -> GitOps:
    """What the first matching rule says of the workload; REFUSE where none does."""
    workload = view.workload
    for rule in policy.gitops:
        if rule.namespaces and not any(fnmatchcase(workload.namespace, glob) for glob in rule.namespaces):
            continue
        if not rule.names or any(fnmatchcase(workload.name, glob) for glob in rule.names):
            return rule.do
    return GitOps.REFUSE


def way(policy: Policy, view: WorkloadView) -> GitOps | None:
    """How a rollback of an owned workload gets around its owner; None where none is needed or none is allowed."""
    if view.owner is None or leaves_it(view):
        return None
    found = wanted(policy, view)
    return found if found is _WAYS.get(view.owner.kind) else None


def is_in_the_way(policy: Policy, view: WorkloadView) -> bool:
    """Whether its owner would revert a rollback, and the policy knows no way around it."""
    return not leaves_it(view) and way(policy, view) is None


def brought(tracked: Tracked, target: Revision) -> dict[str, Any]:
    """What the journal knows of the last rollout that brought the target: `target_commit` and `target_since` of RollBack."""
    rollout = next((each for each in reversed(tracked.past) if each.revision.id == target.id), None)
    if rollout is None:
        return {}
    return {"target_commit": first(rollout.notices, "commit"), "target_since": rollout.started_at}
