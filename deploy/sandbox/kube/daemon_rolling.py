"""Which pods of a DaemonSet go and which nodes get one: arithmetic only (``pkg/controller/daemon``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deploy.sandbox.kube.errors import Json
from deploy.sandbox.kube.workloads import is_ready, is_terminating

OnNodes = Mapping[str, list[Json]]
"""The pods of one DaemonSet by the node they are on or tied to; an empty list for a node that lacks one."""

Test = Callable[[Json], bool]


@dataclass(slots=True, kw_only=True)
class Plan:
    """Nodes that get a pod, and pods that go."""

    create: list[str] = field(default_factory=list)
    delete: list[Json] = field(default_factory=list)


def staffing(on: OnNodes, wanted: set[str], *, surges: bool, is_new: Test, is_available: Test) -> Plan:
    """One pod on each node that is ``wanted``, none elsewhere; while it surges, an old and a new one may share."""
    plan = Plan(create=[name for name in sorted(wanted) if not on.get(name)])
    for name, pods in on.items():
        staying = [pod for pod in pods if not is_terminating(pod)]
        if name not in wanted:
            plan.delete += staying
            continue
        ended = [pod for pod in staying if pod["status"].get("phase") in ("Failed", "Succeeded")]
        running = sorted((pod for pod in staying if pod not in ended), key=_seniority)
        plan.delete += ended
        if not surges:
            plan.delete += running[1:]
        elif pods and not running:
            plan.create.append(name)
        else:
            plan.delete += _beyond_a_pair(running, is_new, is_available)
    return plan


def _beyond_a_pair(running: list[Json], is_new: Test, is_available: Test) -> list[Json]:
    """All but the oldest new and the oldest old pod; that one too when it is sick or no longer needed."""
    new = [pod for pod in running if is_new(pod)]
    old = [pod for pod in running if not is_new(pod)]
    spare = new[1:] + old[1:]
    if new and old and (not is_ready(old[0]) or is_available(new[0])):
        spare.append(old[0])
    return spare


def replaced(on: OnNodes, limit: int, *, is_new: Test, is_available: Test) -> Plan:
    """Without surge: sick old pods go at once, healthy ones as far as maxUnavailable (``limit`` pods) allows."""
    unavailable = 0
    sick: list[Json] = []
    healthy: list[Json] = []
    for name in sorted(on):
        new, old = _pair(on[name], is_new)
        if len(new) + len(old) != 1:
            unavailable += 1
        elif new:
            unavailable += not is_available(new[0])
        elif is_available(old[0]):
            healthy.append(old[0])
        else:
            sick.append(old[0])
            unavailable += 1
    return Plan(delete=sick + healthy[: max(0, limit - unavailable)])


def surged(on: OnNodes, limit: int, *, is_new: Test, is_available: Test) -> Plan:
    """With surge: a new pod beside the old one on ``limit`` nodes at a time; the old one goes when it is available."""
    plan = Plan()
    surging = 0
    candidates: list[str] = []
    for name in sorted(on):
        new, old = _pair(on[name], is_new)
        if len(new) > 1 or len(old) > 1:
            surging += 1
        elif old and not new:
            (candidates if is_available(old[0]) else plan.create).append(name)
        elif old and is_available(new[0]):
            plan.delete.append(old[0])
        elif old:
            surging += 1
    plan.create += candidates[: max(0, limit - surging)]
    return plan


def first_of(pods: list[Json]) -> Json | None:
    """The pod that stands for its node in the status: scheduled before waiting, then the oldest."""
    return min(pods, key=_seniority, default=None)


def _pair(pods: list[Json], is_new: Test) -> tuple[list[Json], list[Json]]:
    staying = [pod for pod in pods if not is_terminating(pod)]
    return [pod for pod in staying if is_new(pod)], [pod for pod in staying if not is_new(pod)]


def _seniority(pod: Json) -> tuple[bool, str, str]:
    metadata = pod["metadata"]
    return not pod["spec"].get("nodeName"), metadata["creationTimestamp"], metadata["name"]
