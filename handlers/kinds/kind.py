"""What Lastgood needs to know of a kind of workload: where its objects and their history are, and how one stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from daemon.core.model import Exchange
from handlers.revisions import Json


class History(Enum):
    """In which objects the API server keeps the templates of before; the value is their collection in `apps/v1`."""

    REPLICA_SETS = "replicasets"
    CONTROLLER_REVISIONS = "controllerrevisions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one workload stands, by its own spec and status; counts are pods.

    `converged`: what `kubectl rollout status` calls done (protocols §2.3). `stuck`: the controller itself gave up
    waiting. `max_unavailable`: how many a rollout may take away. `exchange`: who takes the old pods away.
    """

    desired: int
    converged: bool
    stuck: bool = False
    paused: bool = False
    max_unavailable: int = 0
    exchange: Exchange = Exchange.ROLLING


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The object whose template is the workload's present one.

    `returned`: its controller went back to it and left the workload's own template alone, so that one does not tell when;
    `since` does (RFC 3339; None: just now). `standing`: how the workload stands, where its own object does not say it.
    """

    obj: Json
    returned: bool = False
    since: str | None = None
    standing: Standing | None = None


def own_template(obj: Json, _history: Sequence[Json]) -> Present | None:
    """The template on the workload itself."""
    return Present(obj=obj)


def no_abort(_obj: Json, _history: Sequence[Json]) -> Json | None:
    """Whoever goes back rolls out an older template."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of workload. `standing` reads an object; `generates` tells whether its pods' names are drawn anew for
    each pod (a StatefulSet gives the same names again). `present` finds the present template, given the workload and its
    history; None where its controller has to say first. `abort_to` finds the history object that serves again once the update
    in flight is given up without a new template; None where there is none. An `optional` kind may be unknown to the cluster.
    One that `selects` gives all traffic to its present revision, whatever pods of others are ready.
    """

    name: str
    plural: str
    history: History
    standing: Callable[[Json], Standing]
    api_version: str = "apps/v1"
    generates: bool = True
    present: Callable[[Json, Sequence[Json]], Present | None] = own_template
    abort_to: Callable[[Json, Sequence[Json]], Json | None] = no_abort
    optional: bool = False
    selects: bool = False

    @property
    def group(self) -> str:
        """The API group, as RBAC and Argo CD's tracking ids name it."""
        return self.api_version.rpartition("/")[0]


def count(obj: Json, field: str) -> int:
    """A number in `status`, 0 where absent."""
    return int((obj.get("status") or {}).get(field) or 0)


def generation(obj: Json) -> int:
    """`metadata.generation`: moves with every change of the spec."""
    return int((obj.get("metadata") or {}).get("generation") or 0)


def is_observed(obj: Json) -> bool:
    """Whether the status speaks of the present spec; until the controller has seen it, it speaks of the one before."""
    return generation(obj) <= count(obj, "observedGeneration")


def replicas(obj: Json) -> int:
    """`spec.replicas`, 1 where absent (the server's default)."""
    found = (obj.get("spec") or {}).get("replicas")
    return 1 if found is None else int(found)


def share(value: int | str, of: int, *, up: bool) -> int:
    """A count, or a percentage `of` so many pods, rounded as the controllers do."""
    if isinstance(value, int):
        return value
    digits = value.rstrip("%")
    # "²" is a digit to isdigit, and int() of a hostile length raises.
    percent = int(digits[:9]) if digits.isascii() and digits.isdigit() else 0
    product = percent * of
    return -(-product // 100) if up else product // 100
