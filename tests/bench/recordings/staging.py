"""Plays a script: pods come and go, requests flow, monitoring looks; out comes a recording in time order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from handlers.backtest.recording import EdgeSeen, PodSeen, RolloutSeen
from tests.bench.recordings import chance, rollouts
from tests.bench.recordings.confounders import lose_node, noisy_neighbour
from tests.bench.recordings.faults import Life
from tests.bench.recordings.landscape import Service
from tests.bench.recordings.lives import Pod
from tests.bench.recordings.rollouts import Rolled
from tests.bench.recordings.script import Script
from tests.bench.recordings.watching import Stage, Timed, watched


@dataclass(slots=True)
class Played:
    """What came of a script. `records` have their seconds and are not yet in order."""

    begins: datetime
    records: Timed
    pods: dict[str, list[Pod]]
    rolled: tuple[Rolled, ...]
    fault_at: float | None


def play(rng: Random, script: Script) -> Played:
    """The whole recording of a script."""
    stage = Stage(script=script, rng=rng)
    begins = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=rng.randint(0, 20 * 86_400) // 60 * 60)
    _cast(stage)
    fault_at = _fault_at(stage)
    records: Timed = [*_graph(rng, script, begins), *_pod_records(stage, begins), *_rollout_records(stage, begins)]
    records += watched(stage, begins, fault_at)
    return Played(
        begins=begins, records=[each for each in records if each[0] <= script.until], pods=stage.pods,
        rolled=tuple(stage.rolled), fault_at=fault_at,
    )  # fmt: skip


def _cast(stage: Stage) -> None:
    """All pods that there will be, with their whole lives."""
    script, rng = stage.script, stage.rng
    unknown = rng.random() < 0.05
    for service in script.land.services:
        stage.pods[service.name] = rollouts.first_pods(
            rng, script.land, service, script.current[service.name], script.bias
        )
        for pod in stage.pods[service.name]:
            pod.known = not unknown
    for plan in script.plans:
        lives = script.fault.lives if plan.bad and script.fault else None
        old = stage.pods[plan.service.name]
        rolled = rollouts.roll(rng, script.land, plan, old, script.bias, script.until, lives)
        _differ(rng, rolled.pods)
        stage.pods[plan.service.name] = old + list(rolled.pods)
        if plan.bad and script.undone_at is not None:
            rolled = _undo(stage, rolled, script.undone_at)
        stage.rolled.append(rolled)
    for name, at in script.restarted:
        _restart(stage, script.land.service(name), at)
    stage.disturbances = list(script.disturbances)
    if "noisy neighbour" in script.confounders:
        _disturb_one(stage)
    for disturbance in stage.disturbances:
        if disturbance.node is not None:
            lose_node(rng, disturbance, [pod for pods in stage.pods.values() for pod in pods])


def _differ(rng: Random, pods: Sequence[Pod]) -> None:
    """A sound revision is not quite what the old one was: a few per cent of time, CPU and memory."""
    latency, cpu, memory = chance.around(rng, 0.02), chance.around(rng, 0.03), chance.around(rng, 0.03)
    for pod in pods:
        pod.latency_bias, pod.cpu_bias, pod.memory_bias = (
            pod.latency_bias * latency, pod.cpu_bias * cpu, pod.memory_bias * memory,
        )  # fmt: skip


def _undo(stage: Stage, rolled: Rolled, at: float) -> Rolled:
    """Somebody rolls the bad revision back by hand; what is left of its rollout."""
    service, rng, script = rolled.plan.service, stage.rng, stage.script
    old = [pod for pod in stage.pods[service.name] if pod.revision != rolled.plan.revision]
    shortened, back = rollouts.undo(rng, script.land, rolled, old, at, script.bias, script.until)
    stage.pods[service.name] = [*old, *shortened.pods, *back.pods]
    stage.back.append(back)
    return shortened


def _restart(stage: Stage, service: Service, at: float) -> None:
    """Its pods are made anew one by one, or their containers restart in place: no rollout, no new revision."""
    rng, old = stage.rng, stage.pods[service.name]
    if rng.random() < 0.35:
        for number, pod in enumerate(old):
            down = at + number * rng.uniform(5.0, 90.0)
            restarts = pod.lives[-1].restarts + 1
            pod.lives += [
                Life(at=down, ready=False, restarts=restarts, reason="Error"),
                Life(at=down + rng.uniform(5.0, 30.0), ready=True, restarts=restarts),
            ]
        return
    revision = old[0].revision
    plan = rollouts.Plan(
        service=service, revision=revision, replaces=revision, starts=at, staged=False, extra=False, weighted=False,
        says_completed=False, steps=tuple((number * rng.uniform(20.0, 60.0), number + 1) for number in range(service.pods)),
    )  # fmt: skip
    rolled = rollouts.roll(rng, stage.script.land, plan, old, stage.script.bias, stage.script.until)
    for pod in rolled.pods:
        pod.new = False
    stage.pods[service.name] = old + list(rolled.pods)


def _disturb_one(stage: Stage) -> None:
    """A noisy neighbour beside an old pod, or beside one new pod of several: of a single one nobody could tell."""
    rng = stage.rng
    rolled = rng.choice(stage.rolled)
    served = [pod for pod in rolled.pods if pod.first_ready is not None]
    if len(served) > 1 and rng.random() < 0.5:
        pod, begins = served[0], (served[1].first_ready or 0.0) + rng.uniform(0.0, 120.0)
    else:
        pod = rng.choice([pod for pod in stage.pods[rng.choice(stage.script.land.services).name] if not pod.new])
        begins = max(0.0, rolled.plan.starts + rng.uniform(-300.0, 600.0))
    stage.disturbances.append(noisy_neighbour(rng, pod, begins))


def _fault_at(stage: Stage) -> float | None:
    """When the fault begins: with the first bad pod that serves, or exists where none ever does, and not before its delay."""
    rolled = next((each for each in stage.rolled if each.plan.bad), None)
    if rolled is None or stage.script.fault is None:
        return None
    first = [pod.first_ready for pod in rolled.pods if pod.first_ready is not None] or [pod.born for pod in rolled.pods]
    return max(min(first), rolled.plan.starts + stage.script.fault.delay)


def _graph(rng: Random, script: Script, begins: datetime) -> Timed:
    """Who calls whom; a recording now and then does not say."""
    if rng.random() < 0.12:
        return []
    land = script.land
    return [
        (0.0, EdgeSeen(at=begins, caller=service.workload, callee=land.service(call.callee).workload))
        for service in land.services
        for call in service.calls
    ]


def _pod_records(stage: Stage, begins: datetime) -> Timed:
    """What the API server said of each pod, old ones as they are at the beginning."""
    found: Timed = []
    for service in stage.script.land.services:
        for pod in stage.pods[service.name]:
            past = [life for life in pod.lives if life.at < 0]
            lives = [life for life in pod.lives if life.at >= 0]
            if past and pod.known:
                lives = [Life(at=0.0, ready=past[-1].ready, restarts=past[-1].restarts), *lives]
            for life in lives:
                if pod.gone is None or life.at < pod.gone:
                    found.append((life.at, _pod_seen(begins, service, pod, life, life.at)))
            if pod.gone is not None:
                found.append((pod.gone, _pod_seen(begins, service, pod, pod.lives[-1], pod.gone)))
    return found


def _pod_seen(begins: datetime, service: Service, pod: Pod, life: Life, at: float) -> PodSeen:
    deleted = at == pod.gone
    last = max((each for each in pod.lives if each.at <= at), key=lambda each: each.at, default=life)
    return PodSeen(
        at=begins + timedelta(seconds=round(at, 3)), pod=pod.name, workload=service.workload, revision=pod.revision,
        ready=False if deleted else life.ready, restarts=last.restarts if deleted else life.restarts,
        reason=None if deleted else life.reason, deleted=deleted,
    )  # fmt: skip


def _rollout_records(stage: Stage, begins: datetime) -> Timed:
    return [
        (at, RolloutSeen(
            at=begins + timedelta(seconds=round(at, 3)), workload=rolled.plan.service.workload,
            revision=rolled.plan.revision, replaces=rolled.plan.replaces, phase=phase,
        ))
        for rolled in (*stage.rolled, *stage.back)
        for at, phase in rolled.phases
    ]  # fmt: skip
