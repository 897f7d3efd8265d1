"""Who is near to the workload in the call graph: their rollouts are candidates when it hurts here, and its own when they hurt."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.core.model import Neighbour
from handlers.preflight.lines import Line, ok, warning
from handlers.preflight.subject import Sources, Subject

CHECK = "call graph"

SHOWN_MAX = 10
"""Names on each side."""


async def calls(sources: Sources, subject: Subject) -> list[Line]:
    """One line; it is optional, so only what was declared and cannot be meant is a warning."""
    graph = sources.calls()
    if strangers := _strangers(subject):
        says = f"policy.calls names {', '.join(strangers)}, which the cluster has not"
        remedy = "write the name as `lastgood status` shows it; another kind than Deployment as namespace/Kind/name"
        return [warning(CHECK, says, remedy)]
    if graph is None:
        says = "not known: only rollouts of where it hurts are candidates (no mesh, no traces, nothing in policy.calls)"
        return [ok(CHECK, says)]
    near = [each for each in graph.near([subject.workload]) if each.hops == 1]
    called, callers = ([each for each in near if each.called is side] for side in (True, False))
    return [ok(CHECK, f"it calls {_names(called)}; called by {_names(callers)}")]


def _strangers(subject: Subject) -> list[str]:
    """Whom the policy's calls of this workload name and nobody has seen; itself too, where it has another kind."""
    own, known = subject.workload, subject.state.workloads
    involved = (call for call in subject.policy.calls if any(each.short == own.short for each in call))
    return sorted({each.key for call in involved for each in call if each.key not in known})


def _names(found: Iterable[Neighbour]) -> str:
    names = [each.workload.short for each in found]
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return ", ".join(names[:SHOWN_MAX]) + more if names else "nobody"
