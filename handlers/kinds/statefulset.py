"""StatefulSets: pods with fixed names, exchanged from the highest ordinal down (protocols §2.2, §2.3).

With `partition` only the pods from that ordinal on are given the new template; the rest keep theirs, and `kubectl rollout
status` calls that done. There is no progress deadline: a set that waits for a broken pod says nothing, its pod does.
"""

from __future__ import annotations

from daemon.core.model import Exchange
from handlers.kinds.kind import History, Kind, Standing, count, is_observed, replicas, share
from handlers.revisions import Json

ON_DELETE = "OnDelete"
ORDERED_READY = "OrderedReady"


def standing(obj: Json) -> Standing:
    """How a StatefulSet stands."""
    strategy = (obj.get("spec") or {}).get("updateStrategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    desired = replicas(obj)
    wanted = desired - int(rolling.get("partition") or 0)
    return Standing(
        desired=desired,
        converged=(
            is_observed(obj) and count(obj, "readyReplicas") >= desired and count(obj, "updatedReplicas") >= wanted
        ),
        max_unavailable=min(share(rolling.get("maxUnavailable", 1), desired, up=False) or 1, desired),
        exchange=_exchange(obj, strategy),
    )


def _exchange(obj: Json, strategy: Json) -> Exchange:
    if strategy.get("type") == ON_DELETE:
        return Exchange.ON_DELETE
    policy = (obj.get("spec") or {}).get("podManagementPolicy") or ORDERED_READY
    return Exchange.ORDERED if policy == ORDERED_READY else Exchange.ROLLING


STATEFUL_SET = Kind(
    name="StatefulSet", plural="statefulsets", history=History.CONTROLLER_REVISIONS, standing=standing, generates=False
)
