"""DaemonSets: one pod per node that fits (protocols §2.2, §2.3). No progress deadline and no pause exist for them."""

from __future__ import annotations

from daemon.core.model import Exchange
from handlers.kinds.kind import History, Kind, Standing, count, is_observed, share
from handlers.kinds.statefulset import ON_DELETE
from handlers.revisions import Json


def standing(obj: Json) -> Standing:
    """How a DaemonSet stands; the nodes decide how many pods are desired."""
    strategy = (obj.get("spec") or {}).get("updateStrategy") or {}
    desired = count(obj, "desiredNumberScheduled")
    updated, available = count(obj, "updatedNumberScheduled"), count(obj, "numberAvailable")
    rolling = strategy.get("rollingUpdate") or {}
    unavailable = share(rolling.get("maxUnavailable", 1), desired, up=True)
    # With maxSurge it is 0 by rule: new pods come first.
    surge = share(rolling.get("maxSurge", 0), desired, up=True)
    return Standing(
        desired=desired,
        converged=is_observed(obj) and updated >= desired and available >= desired,
        max_unavailable=min(unavailable if unavailable or surge else 1, desired),
        exchange=Exchange.ON_DELETE if strategy.get("type") == ON_DELETE else Exchange.ROLLING,
    )


DAEMON_SET = Kind(name="DaemonSet", plural="daemonsets", history=History.CONTROLLER_REVISIONS, standing=standing)
