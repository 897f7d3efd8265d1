"""How a rollback gets past the workload's owner: what the action carries of it, and what people are told before they approve."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from daemon.core import aborts, owners
from daemon.core.briefs import cut
from daemon.core.model import Revision, WorkloadView
from daemon.core.policy import GitOps, Policy
from daemon.core.state import Tracked


def carried(policy: Policy, tracked: Tracked, target: Revision, now: datetime) -> dict[str, Any]:
    """`only_abort` of a RollBack to the target, and where a way is gone around the owner all that belongs to it."""
    if aborts.is_all_it_takes(tracked.view, target):
        return {"only_abort": True}
    found = owners.way(policy, tracked.view)
    if found is None:
        return {}
    until = now + policy.suspend_for
    return {"way": found, "owner": tracked.view.owner, "suspend_until": until, **owners.brought(tracked, target)}


def told(policy: Policy, view: WorkloadView, target: Revision) -> str:
    """What else a rollback changes besides the workload; empty where that is nothing."""
    found = None if aborts.is_all_it_takes(view, target) else owners.way(policy, view)
    if found is None or view.owner is None:
        return ""
    name = cut(view.owner.name)
    if found is GitOps.ARGOCD_ROLLBACK:
        return f"All of Argo CD application {name} goes back with it, and its auto-sync is off until an end."
    return f"{name} is suspended for it until an end, and deploys nothing."
