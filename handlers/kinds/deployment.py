"""Deployments: their status, as `kubectl rollout status` reads it (protocols §2.3)."""

from __future__ import annotations

from handlers.kinds.kind import History, Kind, Standing, count, is_observed, replicas, share
from handlers.revisions import Json


def standing(obj: Json) -> Standing:
    """How a Deployment stands."""
    stuck = is_stuck(obj)
    available = count(obj, "availableReplicas") >= count(obj, "updatedReplicas")
    return Standing(
        desired=replicas(obj),
        converged=available and not stuck and not is_moving(obj),
        stuck=stuck,
        paused=bool((obj.get("spec") or {}).get("paused")),
        max_unavailable=max_unavailable(obj),
    )


def is_moving(obj: Json) -> bool:
    """Whether pods are still being exchanged: not observed yet, new ones missing, or old ones left."""
    updated = count(obj, "updatedReplicas")
    return not is_observed(obj) or updated < replicas(obj) or count(obj, "replicas") > updated


def is_stuck(obj: Json) -> bool:
    """Whether the present rollout exceeded its progress deadline; a condition of an older generation says nothing."""
    if not is_observed(obj):
        return False
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded" for c in conditions)


def max_unavailable(obj: Json) -> int:
    """How many pods a rollout may take away: Kubernetes' rounding (percentages down); 0 for the strategy Recreate."""
    strategy = (obj.get("spec") or {}).get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0
    rolling = strategy.get("rollingUpdate") or {}
    desired = replicas(obj)
    unavailable = share(rolling.get("maxUnavailable", "25%"), desired, up=False)
    surge = share(rolling.get("maxSurge", "25%"), desired, up=True)
    # The controller's way out of a rollout that could move neither way.
    return min(unavailable if unavailable or surge else 1, desired)


DEPLOYMENT = Kind(name="Deployment", plural="deployments", history=History.REPLICA_SETS, standing=standing)
