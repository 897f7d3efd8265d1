"""What a workload's JSON says of itself, whatever its kind: which workload it is, its annotations of ours. Pure functions.

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
ROAD = "lastgood.dev/road"
"""On a Rollout of Argo: which road the action named beside it took."""

INVALID_CHARS_MAX = 60
"""How much of a mode that is none is repeated to people: annotations may hold 256 kB."""


def workload_of(obj: Json) -> Workload:
    """The Workload that an object is; it must say its kind."""
    metadata = obj["metadata"]
    return Workload(namespace=metadata["namespace"], kind=obj["kind"], name=metadata["name"])


def annotations_of(obj: Json) -> dict[str, str]:
    """A copy of the object's annotations, empty where it has none."""
    return dict((obj.get("metadata") or {}).get("annotations") or {})


def mode_of(obj: Json) -> tuple[Mode | None, str | None]:
    """The mode annotated on the object, and what stands there instead where that is no mode."""
    value = annotations_of(obj).get(MODE)
    if value is None:
        return None, None
    try:
        return Mode(value.strip().lower()), None
    except ValueError:
        return None, value[:INVALID_CHARS_MAX]


def is_irreversible(obj: Json) -> bool:
    """Whether a person marked the rollout as one that must not be undone (a migration). Any value but "false" counts:
    who writes `yes` or the name of a migration means it.
    """
    value = annotations_of(obj).get(IRREVERSIBLE)
    return value is not None and value.strip().lower() != "false"


def is_namespace_paused(namespace: Json | None) -> bool:
    """Whether the namespace carries `lastgood.dev/paused: "true"`, which works when the command line is out of
    reach.
    """
    return namespace is not None and annotations_of(namespace).get(PAUSED, "").strip().lower() == "true"


def action_on(obj: Json, current: RevisionId | None = None) -> ActionId | None:
    """The action of ours that made the present template current.

    The annotation outlives it: the next rollout inherits all annotations of the object. So it counts only while
    `rolled-back-to` names the present revision (`current`, hashed here where not given).
    """
    annotations = annotations_of(obj)
    action = annotations.get(ACTION)
    if not action:
        return None
    now = current if current is not None else template_hash(template_of(obj))
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
    pods = tuple(replace(p, names=(), ready=min(p.ready, 1), stints=()) for p in view.pods)
    return replace(view, start_failure=failure, pods=pods)
