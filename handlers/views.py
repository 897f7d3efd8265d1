"""What one Deployment's JSON says of itself: converged, stuck, paused, its annotations of ours. Pure functions.

Kept apart from the cache that puts a whole WorkloadView together, because the rollback reads a fresh object by the same
rules.
"""

from __future__ import annotations

from dataclasses import replace

from daemon.core.model import ActionId, Mode, RevisionId, Workload, WorkloadView
from handlers.revisions import Json, template_hash, template_of

MODE = "lastgood.dev/mode"
IRREVERSIBLE = "lastgood.dev/irreversible"
PAUSED = "lastgood.dev/paused"
ACTION = "lastgood.dev/action"
ROLLED_BACK_TO = "lastgood.dev/rolled-back-to"
INCIDENT = "lastgood.dev/incident"

INVALID_CHARS_MAX = 60
"""How much of a mode that is none is repeated to people: annotations may hold 256 kB."""

DEPLOYMENT = "Deployment"


def workload_of(deployment: Json) -> Workload:
    """The Workload that a Deployment object is."""
    metadata = deployment["metadata"]
    return Workload(namespace=metadata["namespace"], kind=DEPLOYMENT, name=metadata["name"])


def annotations_of(obj: Json) -> dict[str, str]:
    """A copy of the object's annotations, empty where it has none."""
    return dict((obj.get("metadata") or {}).get("annotations") or {})


def is_converged(deployment: Json) -> bool:
    """Whether `kubectl rollout status` would say "successfully rolled out" (protocols §2.3)."""
    return not is_moving(deployment) and not is_stuck(deployment) and _count(deployment, "availableReplicas") >= _count(
        deployment, "updatedReplicas"
    )  # fmt: skip


def is_moving(deployment: Json) -> bool:
    """Whether pods are still being exchanged: not observed yet, new ones missing, or old ones left."""
    generation = int(deployment["metadata"].get("generation") or 0)
    updated = _count(deployment, "updatedReplicas")
    return (
        generation > _count(deployment, "observedGeneration")
        or updated < desired_of(deployment)
        or _count(deployment, "replicas") > updated
    )


def is_stuck(deployment: Json) -> bool:
    """Whether the present rollout exceeded its progress deadline; a condition of an older generation says nothing."""
    if int(deployment["metadata"].get("generation") or 0) > _count(deployment, "observedGeneration"):
        return False
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded" for c in conditions)


def desired_of(deployment: Json) -> int:
    """`spec.replicas`, 1 where absent (the server's default)."""
    replicas = (deployment.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def mode_of(deployment: Json) -> tuple[Mode | None, str | None]:
    """The mode annotated on the object, and what stands there instead where that is no mode."""
    value = annotations_of(deployment).get(MODE)
    if value is None:
        return None, None
    try:
        return Mode(value.strip().lower()), None
    except ValueError:
        return None, value[:INVALID_CHARS_MAX]


def is_irreversible(deployment: Json) -> bool:
    """Whether a person marked the rollout as one that must not be undone (a migration). Any value but "false" counts:
    who writes `yes` or the name of a migration means it.
    """
    value = annotations_of(deployment).get(IRREVERSIBLE)
    return value is not None and value.strip().lower() != "false"


def is_namespace_paused(namespace: Json | None) -> bool:
    """Whether the namespace carries `lastgood.dev/paused: "true"`, which works when the command line is out of
    reach.
    """
    return namespace is not None and annotations_of(namespace).get(PAUSED, "").strip().lower() == "true"


def action_on(deployment: Json, current: RevisionId | None = None) -> ActionId | None:
    """The action of ours that made the present template current.

    The annotation outlives it: the next rollout inherits all annotations of the object. So it counts only while
    `rolled-back-to` names the present revision (`current`, hashed here where not given).
    """
    annotations = annotations_of(deployment)
    action = annotations.get(ACTION)
    if not action:
        return None
    now = current if current is not None else template_hash(template_of(deployment))
    return ActionId(action) if annotations.get(ROLLED_BACK_TO) == now else None


def significant(view: WorkloadView, *, moving: bool) -> WorkloadView:
    """What of a view is worth telling, as a value to compare: two equal ones need no second event.

    While pods are exchanged: everything but how often a failing pod has restarted. Otherwise the names and numbers of
    pods are dropped and only whether a revision serves at all stays, or 5,000 workloads would report every pod's move.
    """
    failure = view.start_failure
    if failure is not None:
        failure = replace(failure, restarts=0, message="")
    if moving:
        return replace(view, start_failure=failure)
    if failure is not None:
        failure = replace(failure, pods=())
    pods = tuple(replace(p, names=(), ready=min(p.ready, 1)) for p in view.pods)
    return replace(view, start_failure=failure, pods=pods)


def _count(deployment: Json, field: str) -> int:
    return int((deployment.get("status") or {}).get(field) or 0)
