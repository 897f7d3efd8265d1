"""Fifty rollouts at once, each with an hour of raw samples: what the blame benchmark evaluates.

Every second new revision is bad. Each workload calls the next two, alerts fire on all of them, and nothing has been judged yet.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from daemon.core import blame, verdicts
from daemon.core.actions import Measure
from daemon.core.incidents import Incident, Suspicion
from daemon.core.measurement import Measurement, Peer, Sample
from daemon.core.model import AlertStatus, Neighbour, Rollout, Workload
from daemon.core.policy import DEFAULT_SIGNALS, SATURATION_SIGNALS, Policy
from daemon.core.state import State
from tests.core.builders import (
    DAY,
    MINUTE,
    NOON,
    V1,
    V2,
    a_location,
    a_policy,
    a_rollout_view,
    a_view,
    an_alert,
    pods_of,
    states,
)
from tests.core.story import Story

WORKLOADS, PODS, MINUTES, PEERS, BEFORE = 50, 10, 60, 10, 10
NOW = NOON + MINUTES * MINUTE
USUAL = {"traffic": 20.0, "error_ratio": 0.001, "latency_p95": 0.2, "latency_p99": 0.4, "cpu": 0.3, "memory": 0.5}
"""Of one pod: requests per second, ratios of 0..1, seconds."""
BAD_ERRORS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A rollout with its own incident and what was measured of it; `bad`: its new revision fails."""

    rollout: Rollout
    incident: Incident
    measurement: Measurement
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """All of them with the state and the policy they live in."""

    each: tuple[Candidate, ...]
    state: State
    policy: Policy

    def evaluate(self) -> Iterator[Suspicion]:
        """Each candidate once: contrast and statistics on its raw samples, all terms, the score."""
        for one in self.each:
            yield blame.suspect(
                one.rollout,
                one.measurement,
                one.incident.onset,
                one.incident.onset_source,
                self.policy,
                old_ran=True,
                chain_start=None,
                explains=2,
            )

    def judge(self) -> Iterator[verdicts.Judgement]:
        """Each incident once: its candidate and those near to it, every guard, the verdict."""
        for one in self.each:
            yield verdicts.judge(one.incident, one.measurement, self.state, self.policy, NOW)

    def read(self) -> Iterator[float]:
        """The least that could be done with a candidate: every number of its samples is looked at once."""
        for one in self.each:
            found = one.measurement
            sides = (found.new, found.old, found.before, found.yesterday)
            yield sum(value for side in sides for sample in side for _, value in sample.values)


def candidates() -> Candidates:
    """The same at every call."""
    chance = random.Random(0)
    names = [Workload(namespace="shop", kind="Deployment", name=f"service-{n}") for n in range(WORKLOADS)]
    policy = a_policy(signals=(*DEFAULT_SIGNALS, *SATURATION_SIGNALS), sample_interval=MINUTE)
    story = _unjudged(names, policy)
    peers = tuple(_peer(chance, number) for number in range(PEERS))
    incidents = {incident.symptom: incident for incident in story.incidents}
    each = (
        Candidate(
            rollout=_rollout(story, name),
            incident=incidents[name],
            measurement=_measured(chance, peers, bad=bool(number % 2)),
            bad=bool(number % 2),
        )
        for number, name in enumerate(names)
    )
    return Candidates(each=tuple(each), state=story.state, policy=policy)


def _unjudged(names: Sequence[Workload], policy: Policy) -> Story:
    """All of them roll out and hurt; what is to be measured is not answered."""
    story = Story(policy)
    story.withheld.add(Measure)
    story.starts()
    for name in names:
        story.sees(a_view(workload=name, uid=name.name, pods=(pods_of(V1, PODS),), desired=PODS))
    story.now = NOON
    for name in names:
        pods = (pods_of(V1, PODS), pods_of(V2, PODS))
        story.sees(a_rollout_view(workload=name, uid=name.name, pods=pods, desired=PODS))
    for number, name in enumerate(names):
        called = [names[(number + hops) % WORKLOADS] for hops in (1, 2)]
        near = tuple(Neighbour(workload=each, hops=hops, called=True) for hops, each in enumerate(called, start=1))
        story.where[name.name] = replace(a_location(name), neighbours=near)
        story.fires(an_alert(name.name))
    return story


def _rollout(story: Story, name: Workload) -> Rollout:
    found = story.state.workloads[name.key].rollout
    assert found is not None
    return found


def _measured(chance: random.Random, peers: tuple[Peer, ...], *, bad: bool) -> Measurement:
    return Measurement(
        at=NOW,
        new=_samples(chance, NOON, MINUTES, USUAL | {"error_ratio": BAD_ERRORS} if bad else USUAL),
        old=_samples(chance, NOON, MINUTES, USUAL),
        before=_samples(chance, NOON - BEFORE * MINUTE, BEFORE, USUAL),
        yesterday=_samples(chance, NOON - DAY, BEFORE, USUAL),
        peers=peers,
        alerts=states(AlertStatus.FIRING),
        new_ready=PODS,
        new_pods=PODS,
        old_ready=PODS,
    )


def _samples(chance: random.Random, start: datetime, count: int, usual: Mapping[str, float]) -> tuple[Sample, ...]:
    """A sample a minute, each signal of each pod a tenth around its usual value; together the sum of traffic, else the mean."""
    found = []
    for minute in range(1, count + 1):
        pods = {name: tuple(abs(chance.gauss(at, at / 10)) for _ in range(PODS)) for name, at in usual.items()}
        values = tuple((name, sum(each) / (1 if name == "traffic" else PODS)) for name, each in pods.items())
        found.append(Sample(at=start + minute * MINUTE, values=values, pods=PODS, each=tuple(pods.items())))
    return tuple(found)


def _peer(chance: random.Random, number: int) -> Peer:
    before, now = _samples(chance, NOON - MINUTE, 2, USUAL)
    return Peer(workload=Workload(namespace="rest", kind="Deployment", name=f"peer-{number}"), before=before, now=now)
