"""How rollouts go: in stages or pod by pod, with what they say of themselves and what becomes of the pods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from tests.bench.recordings import chance
from tests.bench.recordings.faults import Life, Lives
from tests.bench.recordings.landscape import Landscape, Service, letters, revision_name
from tests.bench.recordings.lives import Pod, healthy
from tests.bench.recordings.ranges import Ranges

Phase = Literal["started", "stage", "completed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A rollout as it is meant. Moments are seconds since the recording began."""

    service: Service
    revision: str
    replaces: str
    starts: float
    steps: tuple[tuple[float, int], ...]
    """Seconds from the start, and how many new pods there are from then on."""
    staged: bool
    extra: bool
    """Whether the first stage adds its pods to the old ones instead of replacing some."""
    weighted: bool
    """Whether a mesh splits the traffic by the stage's share; else each pod gets its part."""
    says_completed: bool
    bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """What became of a plan. `shares` are the new revision's shares of the traffic where a mesh splits it."""

    plan: Plan
    pods: tuple[Pod, ...]
    phases: tuple[tuple[float, Phase], ...]
    shares: tuple[tuple[float, float], ...]
    ends: float | None
    """When only new pods are left; None where it got stuck."""


def plan(rng: Random, ranges: Ranges, service: Service, starts: float, names: tuple[str, str], *, bad: bool) -> Plan:
    """A rollout of this service; `names` are the revision and the one it replaces."""
    staged = rng.random() < ranges.staged
    says_completed = rng.random() < 0.7
    if staged:
        steps = _stages(rng, ranges, service.pods)
        if rng.random() < 0.12:
            steps = steps[:-1] or steps  # held at a stage: somebody looks at it, or has forgotten it
    else:
        took = chance.between(rng, ranges.rolling_minutes) * 60
        steps = tuple((took * number / service.pods, number + 1) for number in range(service.pods))
    return Plan(
        service=service, revision=names[0], replaces=names[1], starts=starts, steps=steps, staged=staged,
        extra=staged and rng.random() < 0.4, weighted=staged and rng.random() < 0.3, says_completed=says_completed,
        bad=bad,
    )  # fmt: skip


def _stages(rng: Random, ranges: Ranges, pods: int) -> tuple[tuple[float, int], ...]:
    """One to four stages with both revisions, then everything."""
    count = chance.whole(rng, ranges.stages)
    first = chance.between(rng, ranges.first_share)
    wishes = [max(1, min(pods - 1, round((first + (1.0 - first) * number / count) * pods))) for number in range(count)]
    steps: list[tuple[float, int]] = []
    at = 0.0
    for wanted in [*wishes, pods]:
        if not steps or wanted > steps[-1][1]:
            steps.append((at, wanted))
            at += chance.between(rng, ranges.hold_minutes) * 60
    return tuple(steps)


def first_pods(rng: Random, land: Landscape, service: Service, revision: str, bias: float) -> list[Pod]:
    """The pods that were there before the recording began."""
    replica_set = letters(rng, 10)
    pods = [_pod(rng, land, service, revision, replica_set, number, bias, new=False) for number in range(service.pods)]
    for pod in pods:
        restarts = rng.choice((0, 0, 0, 0, 1, 3))
        pod.lives = [Life(at=-rng.uniform(6.0, 240.0) * 3600, ready=True, restarts=restarts)]
    return pods


def _pod(
    rng: Random, land: Landscape, service: Service, revision: str, replica_set: str, number: int, bias: float,
    *, new: bool,
) -> Pod:  # fmt: skip
    return Pod(
        name=f"{service.name}-{replica_set}-{letters(rng, 5)}",
        service=service.name,
        revision=revision,
        node=rng.randrange(land.nodes),
        number=number,
        new=new,
        lives=[],
        latency_bias=chance.around(rng, bias),
        cpu_bias=chance.around(rng, bias),
        memory_bias=chance.around(rng, bias / 2),
        share_bias=chance.around(rng, bias),
    )


def roll(
    rng: Random, land: Landscape, plan: Plan, old: list[Pod], bias: float, until: float, lives: Lives | None = None
) -> Rolled:
    """Go through the plan: make the new pods, and delete an old one for each that is ready, as a Deployment does."""
    pods: list[Pod] = []
    phases: list[tuple[float, Phase]] = [(plan.starts, "started")]
    shares: list[tuple[float, float]] = []
    leaving = [pod for pod in old if pod.gone is None]
    replica_set, stuck, now = letters(rng, 10), False, plan.starts
    for number, (offset, wanted) in enumerate(plan.steps):
        now = plan.starts + offset
        if stuck or now >= until:
            stuck = True
            break
        if number and plan.staged:
            phases.append((now, "stage"))
        ready_at: list[float] = []
        while len(pods) < wanted:
            pod = _pod(rng, land, plan.service, plan.revision, replica_set, len(pods), bias, new=True)
            pod.lives = (lives or healthy)(rng, now + rng.uniform(0.2, 4.0), until)
            pods.append(pod)
            ready_at += [pod.first_ready] if pod.first_ready is not None else []
        stuck = len([pod for pod in pods if pod.first_ready is not None]) < wanted
        if not (plan.extra and number == 0 and len(plan.steps) > 1):
            keep = plan.service.pods - wanted
            _delete(rng, leaving, len(leaving) - keep, ready_at, now)
        shares.append((max([now, *ready_at]), wanted / plan.service.pods))
    ends = max([now, *(pod.gone or 0.0 for pod in old)]) if not leaving else None
    if ends is not None and plan.says_completed and ends < until:
        phases.append((ends + rng.uniform(1.0, 10.0), "completed"))
    return Rolled(
        plan=plan, pods=tuple(pods), phases=tuple(phases), shares=tuple(shares) if plan.weighted else (), ends=ends
    )  # fmt: skip


def _delete(rng: Random, leaving: list[Pod], count: int, ready_at: list[float], now: float) -> None:
    """Up to `count` old pods go, one for each that came; those that were kept beside a canary go with the next ones."""
    if not ready_at:
        return
    moments = sorted(ready_at)
    for number in range(max(0, count)):
        if not leaving:
            return
        leaving.pop(rng.randrange(len(leaving))).gone = moments[min(number, len(moments) - 1)] + rng.uniform(1.0, 35.0)


def undo(
    rng: Random, land: Landscape, rolled: Rolled, old: list[Pod], at: float, bias: float, until: float
) -> tuple[Rolled, Rolled]:
    """Somebody rolls back by hand: what is left of the rollout, and the rollout back (its pods have the old revision)."""
    plan = rolled.plan
    made = [pod for pod in rolled.pods if pod.born < at]
    for pod in old:
        if pod.gone is not None and pod.gone >= at:
            pod.gone = None
    wanted = plan.service.pods - sum(1 for pod in old if pod.gone is None)
    back = replace(
        plan, revision=plan.replaces, replaces=plan.revision, starts=at, steps=((0.0, wanted),), staged=False,
        extra=False, weighted=False, says_completed=True, bad=False,
    )  # fmt: skip
    restored = roll(rng, land, back, [], bias, until)
    for pod in restored.pods:
        pod.new = False
    moments = [pod.first_ready or at for pod in restored.pods] or [at]
    for number, pod in enumerate(made):
        pod.gone = moments[min(number, len(moments) - 1)] + rng.uniform(1.0, 20.0)
    phases: tuple[tuple[float, Phase], ...] = ((at, "started"), (max(moments) + 25.0, "completed"))
    kept = tuple((when, phase) for when, phase in rolled.phases if when < at)
    shares = tuple((when, share) for when, share in rolled.shares if when < at)
    shortened = replace(
        rolled, pods=tuple(made), phases=kept, shares=shares and (*shares, (max(moments), 0.0)), ends=None
    )
    return shortened, replace(restored, phases=phases)


def names(rng: Random, land: Landscape, number: int) -> tuple[str, str]:
    """The names of a new revision and of the one it replaces: hashes, or numbers where the recording has those."""
    if land.names_by_number:
        return str(number + 1), str(number)
    return revision_name(rng), revision_name(rng)
