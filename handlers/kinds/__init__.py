"""The kinds of workload that Lastgood reads and rolls back. A new kind is one module here and one line below."""

from __future__ import annotations

from collections.abc import Mapping

from handlers.kinds.daemonset import DAEMON_SET
from handlers.kinds.deployment import DEPLOYMENT
from handlers.kinds.kind import History, Kind, Present, Standing
from handlers.kinds.rollout import ROLLOUT
from handlers.kinds.service import SERVICE
from handlers.kinds.statefulset import STATEFUL_SET
from handlers.revisions import Json

__all__ = [
    "DAEMON_SET",
    "DEPLOYMENT",
    "KINDS",
    "ROLLOUT",
    "SERVICE",
    "STATEFUL_SET",
    "WATCHED",
    "History",
    "Kind",
    "Present",
    "Standing",
    "kind_named",
    "kind_of",
    "standing_of",
]

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, ROLLOUT, SERVICE)}
"""By the name that the API server gives them, in the order in which a name without a kind is looked for."""

WATCHED: tuple[Kind, ...] = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, ROLLOUT)
"""Those that the daemon watches, the optional ones where the cluster knows them; each has a runner of rollbacks."""

_SPELLINGS = {spelling: kind for kind in KINDS.values() for spelling in (kind.name.lower(), kind.plural)}


def kind_named(text: str) -> Kind | None:
    """The kind of that name in any case, singular or plural as in labels; None for what Lastgood does not read."""
    return _SPELLINGS.get(text.lower())


def kind_of(obj: Json) -> Kind:
    """The kind of an object that says its kind. Raises KeyError for another than a workload's."""
    return KINDS[obj["kind"]]


def standing_of(obj: Json) -> Standing:
    """How the workload stands, by the rules of its kind."""
    return kind_of(obj).standing(obj)
