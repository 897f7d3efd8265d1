"""Argo Rollouts: a Rollout moves traffic to its new ReplicaSet in steps, and can go back before the last of them.

What a Rollout's template is, its controller decides, not the object: `spec.template` may be absent (`workloadRef`), it is
not defaulted like that of the ReplicaSets, and once an update is aborted the stable ReplicaSet counts although
`spec.template` still is the aborted one (protocols §2.4). So the present template is that of the ReplicaSet which `status`
names, and until the controller has seen the newest generation nothing can be said.
Source: argo-rollouts 1.10, utils/rollout/rolloututil.go, rollout/canary.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from handlers.argo_templates import HASH_LABEL
from handlers.kinds.kind import History, Kind, Present, Standing, count, generation, replicas, share
from handlers.revisions import Json

WORKLOAD_GENERATION = "rollout.argoproj.io/workload-generation"
"""On a Rollout with `workloadRef`: the generation of the object behind it that the controller has read."""

HEALTHY, DEGRADED = "Healthy", "Degraded"
"""Phases; also Progressing and Paused."""


def current_hash(obj: Json) -> str:
    """The pod hash of the template that was rolled out last; empty before the first."""
    return str(_status(obj).get("currentPodHash") or "")


def stable_hash(obj: Json) -> str:
    """The pod hash that serves while an update is in flight; equal to `current_hash` after full promotion."""
    return str(_status(obj).get("stableRS") or "")


def is_aborted(obj: Json) -> bool:
    """Whether the update in flight is given up: the stable ReplicaSet serves again, `spec.template` is left as it is."""
    return _status(obj).get("abort") is True and current_hash(obj) != stable_hash(obj)


def is_in_flight(obj: Json) -> bool:
    """Whether the newest template is not fully promoted yet."""
    return current_hash(obj) != stable_hash(obj)


def workload_ref(obj: Json) -> Json | None:
    """`spec.workloadRef`: kind and name of the object whose template this Rollout takes; None where it has its own."""
    found = (obj.get("spec") or {}).get("workloadRef")
    return found if isinstance(found, dict) and found.get("name") else None


def is_observed(obj: Json) -> bool:
    """Whether the status speaks of the newest spec, and of the newest generation of what `workloadRef` names.

    `observedGeneration` is a string. A number above the generation can only be a hash that looks like one (before 0.10).
    """
    observed = _status(obj).get("observedGeneration")
    if not str(observed or "").isdigit() or int(str(observed)) < generation(obj):
        return False
    wanted = ((obj.get("metadata") or {}).get("annotations") or {}).get(WORKLOAD_GENERATION)
    if workload_ref(obj) is None or wanted is None:
        return True
    return str(_status(obj).get("workloadObservedGeneration")) == str(wanted)


def replica_set_of(pod_hash: str, history: Iterable[Json]) -> Json | None:
    """The ReplicaSet with that pod hash."""
    return next((each for each in history if pod_hash and hash_of(each) == pod_hash), None)


def hash_of(replica_set: Json) -> str:
    """The pod hash on a ReplicaSet."""
    return str(((replica_set.get("metadata") or {}).get("labels") or {}).get(HASH_LABEL) or "")


def present(obj: Json, history: Sequence[Json]) -> Present | None:
    """The ReplicaSet that the controller works towards: the stable one after an abort, else the newest."""
    if not is_observed(obj):
        return None
    aborted = is_aborted(obj)
    found = replica_set_of(stable_hash(obj) if aborted else current_hash(obj), history)
    since = _status(obj).get("abortedAt") if aborted else None
    return None if found is None else Present(obj=found, returned=aborted, since=since)


def abort_to(obj: Json, history: Sequence[Json]) -> Json | None:
    """The stable ReplicaSet, while an update is in flight that is not given up yet."""
    if not is_observed(obj) or not is_in_flight(obj) or is_aborted(obj):
        return None
    return replica_set_of(stable_hash(obj), history)


def standing(obj: Json) -> Standing:
    """How a Rollout stands. An abort is no failure to get anywhere: it goes back, and has arrived when traffic has."""
    aborted, observed = is_aborted(obj), is_observed(obj)
    return Standing(
        desired=replicas(obj),
        converged=observed and (_is_back(obj) if aborted else _is_promoted(obj)),
        stuck=observed and not aborted and _status(obj).get("phase") == DEGRADED,
        paused=bool((obj.get("spec") or {}).get("paused")),
        max_unavailable=max_unavailable(obj),
    )


def max_unavailable(obj: Json) -> int:
    """How many pods a canary update may take away; a blue/green one takes none."""
    canary = ((obj.get("spec") or {}).get("strategy") or {}).get("canary")
    if canary is None:
        return 0
    desired = replicas(obj)
    unavailable = share(canary.get("maxUnavailable", "25%"), desired, up=False)
    surge = share(canary.get("maxSurge", "25%"), desired, up=True)
    return min(unavailable if unavailable or surge else 1, desired)


def _is_promoted(obj: Json) -> bool:
    return _status(obj).get("phase") == HEALTHY and bool(current_hash(obj)) and not is_in_flight(obj)


def _is_back(obj: Json) -> bool:
    """The aborted ReplicaSet gets no traffic, and the pods of others suffice.

    Without a traffic router its pods get traffic for as long as they are there; with one, or with blue/green, it keeps
    them a while (`abortScaleDownDelaySeconds`, 0: for ever).
    """
    status, desired = _status(obj), replicas(obj)
    aborted = count(obj, "updatedReplicas")
    active = (status.get("blueGreen") or {}).get("activeSelector")
    if active:
        # Blue/green counts only the active ReplicaSet as available.
        return active == stable_hash(obj) and count(obj, "availableReplicas") >= desired
    weights = (status.get("canary") or {}).get("weights") or {}
    weight = (weights.get("canary") or {}).get("weight") if weights else None
    unserved = aborted == 0 if weight is None else weight == 0
    return unserved and count(obj, "availableReplicas") - aborted >= desired


def _status(obj: Json) -> Json:
    found: Json = obj.get("status") or {}
    return found


ROLLOUT = Kind(
    name="Rollout",
    plural="rollouts",
    history=History.REPLICA_SETS,
    standing=standing,
    api_version="argoproj.io/v1alpha1",
    present=present,
    abort_to=abort_to,
    optional=True,
)
