"""How many pods a rolling update may add and take away: arithmetic only (``pkg/controller/deployment/rolling.go``)."""

from __future__ import annotations

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.workloads import DESIRED, MAXIMUM, annotations_of, count, replicas, surge, unavailable

Sizes = list[tuple[Json, int]]
"""ReplicaSets with the size each shall have."""


def new_size(deployment: Json, sets: list[Json], new: Json | None) -> int:
    """The size of the new ReplicaSet now: as far as desired + maxSurge lets it grow."""
    wanted = replicas(deployment)
    current = replicas(new) if new is not None else 0
    if deployment["spec"]["strategy"]["type"] != "RollingUpdate":
        return wanted
    if current > wanted:
        return wanted
    room = wanted + surge(deployment) - sum(map(replicas, sets))
    return min(wanted, current + max(0, room))


def old_sizes(deployment: Json, old: list[Json], new: Json) -> Sizes:
    """The old ReplicaSets that may shrink now: sick pods first, then as many as minimum availability leaves."""
    minimum = replicas(deployment) - unavailable(deployment)
    total = sum(map(replicas, [*old, new]))
    not_yet = replicas(new) - count(new, "availableReplicas")
    budget = total - minimum - not_yet
    if budget <= 0:
        return []
    sizes = {one["metadata"]["name"]: replicas(one) for one in old}
    _drop_sick(old, sizes, budget)
    _drop_spare(old, sizes, sum(count(one, "availableReplicas") for one in [*old, new]) - minimum)
    return [(one, sizes[one["metadata"]["name"]]) for one in old if sizes[one["metadata"]["name"]] != replicas(one)]


def _drop_sick(old: list[Json], sizes: dict[str, int], budget: int) -> None:
    for one in old:
        sick = max(0, replicas(one) - count(one, "availableReplicas"))
        drop = min(sick, budget)
        sizes[one["metadata"]["name"]] -= drop
        budget -= drop


def _drop_spare(old: list[Json], sizes: dict[str, int], spare: int) -> None:
    for one in old:
        drop = max(0, min(sizes[one["metadata"]["name"]], spare))
        sizes[one["metadata"]["name"]] -= drop
        spare -= drop


def is_scaling(deployment: Json, sets: list[Json]) -> bool:
    """Whether somebody changed ``spec.replicas`` since the ReplicaSets were sized."""
    wanted = str(replicas(deployment))
    return any(annotations_of(one).get(DESIRED, wanted) != wanted for one in sets if replicas(one))


def scaled_sizes(deployment: Json, old: list[Json], new: Json | None) -> Sizes:
    """The sizes after a change of ``spec.replicas``: one ReplicaSet takes it all, several share it in proportion."""
    everything = [*old, *([new] if new is not None else [])]
    active = [one for one in everything if replicas(one)]
    wanted = replicas(deployment)
    if len(active) <= 1:
        only = active[0] if active else (new or (old[-1] if old else None))
        return [(only, wanted)] if only is not None else []
    if new is not None and replicas(new) == wanted == count(new, "availableReplicas"):
        return [(one, 0) for one in old if replicas(one)]
    return _shares(deployment, active) if deployment["spec"]["strategy"]["type"] == "RollingUpdate" else []


def _shares(deployment: Json, active: list[Json]) -> Sizes:
    allowed = replicas(deployment) + surge(deployment) if replicas(deployment) else 0
    left = allowed - sum(map(replicas, active))
    shares: Sizes = []
    for one in sorted(active, key=replicas, reverse=True):
        before = int(annotations_of(one).get(MAXIMUM, "0")) or allowed
        part = round(replicas(one) * allowed / before) - replicas(one)
        part = max(0, min(part, left)) if left > 0 else min(0, max(part, left))
        shares.append((one, replicas(one) + part))
        left -= part
    first, size = shares[0]
    return [(first, max(0, size + left)), *shares[1:]]
