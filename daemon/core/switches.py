"""Blue/green: a Service that is switched and the Deployment behind it show the same pods, and a change counts once."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.core.model import Rollout


def counts_elsewhere(rollout: Rollout, others: Iterable[Rollout]) -> bool:
    """Whether one of `others` stands for the change that users met.

    A Service did nothing where its Deployment was deployed anew in place. And what a Deployment brought while it was idle
    got its traffic by the switch.
    """
    return rollout.in_place or any(_switched_to(rollout, other) for other in others)


def _switched_to(rollout: Rollout, other: Rollout) -> bool:
    pods = rollout.revision.uid
    same = pods is not None and other.revision.uid == pods and other.workload != rollout.workload
    return same and other.revision.colour is not None and not other.in_place and other.started_at >= rollout.started_at
