"""Gandalf's blame, read for one cluster.

After Li and others, "Gandalf: An Intelligent, End-To-End Analytics Service for Safe Deployment in Large-Scale Cloud
Infrastructure", NSDI 2020.

A fault is a signal of a pod over 4 sigma of its workload's past (Gandalf: Holt-Winters over 30 days, which no recording holds).
The nodes of the paper are pods. A faulty pod votes for a rollout that reached it at most WD_i ago, and vetoes the rollout if its
workload had the fault in the time before: ST = sum of w_i · log((P_i - B + 1) / (B + 1)) over windows with P_i > B. A rollout
reaches its workload's new pods, and those of the workloads that call it. Of all pods with the fault a share must have been
reached (spatial), older rollouts lose blame exponentially, and of several the best is blamed.

Unpublished, so chosen here: the weights, the half-life, the least share, the least score, and two samples of persistence. The
classifier that follows in the paper was trained on its owner's decisions; the least score stands in for it.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from handlers.backtest.recording import EdgeSeen, Evidence, PodSeen, Recording, RolloutSeen, SampleSeen

SIGMAS = 4.0
WINDOWS = ((timedelta(hours=1), 0.4), (timedelta(hours=24), 0.3), (timedelta(hours=72), 0.2), (timedelta.max, 0.1))
HALF_LIFE = timedelta(hours=1)
SHARE_MIN = 0.5
SCORE_MIN = math.log(2) / 2
"""One pod that votes and none that vetoes, an hour after the rollout."""

FAULTS_MIN = 2
"""Samples of a pod over the limit before it counts as faulty."""

SIGNALS = ("error_ratio",)
"""As the gates (baselines.SIGNALS): with errors alone it does best, too."""

SPREAD_MIN = {"error_ratio": 0.005}
SPREAD_SHARE_MIN = 0.05
LEARNED_MIN, LEARNED_MAX = 5, 200


@dataclass(slots=True)
class _Past:
    """Mean and spread of the last LEARNED_MAX healthy samples of a workload's signal."""

    values: deque[float] = field(default_factory=deque)
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.values.append(value)
        gone = self.values.popleft() if len(self.values) > LEARNED_MAX else 0.0
        self.total += value - gone
        self.squares += value * value - gone * gone

    def limit(self, signal: str) -> float | None:
        """Above it a sample is a fault; None where too little is known."""
        count = len(self.values)
        if count < LEARNED_MIN:
            return None
        mean = self.total / count
        deviation = math.sqrt(max(0.0, self.squares / count - mean * mean))
        return mean + SIGMAS * max(deviation, SPREAD_MIN.get(signal, 0.0), SPREAD_SHARE_MIN * mean)


@dataclass(slots=True, kw_only=True)
class _Pod:
    """A pod as far as it has been seen; `faults` by signal: the last moments over the limit."""

    workload: str
    revision: str | None
    faults: dict[str, list[datetime]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rollout:
    workload: str
    revision: str
    at: datetime


def votes_and_vetoes(recording: Recording) -> list[tuple[datetime, str]]:
    """What is blamed and when: each rollout once, asked whenever all samples of a moment are in."""
    votes, called = _Votes(), dict[_Rollout, datetime]()
    for at, records in groupby(recording.evidence, key=lambda record: record.at):
        faulty = [votes.take(record) for record in records]
        if any(faulty):
            for rollout in votes.blamed(at):
                called.setdefault(rollout, at)
    return [(at, rollout.workload) for rollout, at in called.items()]


class _Votes:
    """What is known so far; fed in time order."""

    def __init__(self) -> None:
        self.rollouts: list[_Rollout] = []
        self.pods: dict[tuple[str, str], _Pod] = {}
        self.callers: dict[str, set[str]] = defaultdict(set)
        self.past: dict[tuple[str, str], _Past] = defaultdict(_Past)

    def take(self, record: Evidence) -> bool:
        """Take a record in; whether it is one more sample of a faulty pod."""
        match record:
            case RolloutSeen(phase="started"):
                self.rollouts.append(_Rollout(workload=record.workload, revision=record.revision, at=record.at))
            case PodSeen():
                self._pod(record.workload, record.pod).revision = record.revision
            case EdgeSeen():
                self.callers[record.callee].add(record.caller)
            case SampleSeen():
                return self._sample(record)
            case _:
                pass
        return False

    def _pod(self, workload: str, name: str) -> _Pod:
        return self.pods.setdefault((workload, name), _Pod(workload=workload, revision=None, faults={}))

    def _sample(self, sample: SampleSeen) -> bool:
        if sample.value is None or sample.signal not in SIGNALS or sample.direction == "outbound":
            return False
        past = self.past[sample.workload, sample.signal]
        limit = past.limit(sample.signal)
        if limit is None or sample.value <= limit:
            past.add(sample.value)
            return False
        moments = self._pod(sample.workload, sample.pod or "*").faults.setdefault(sample.signal, [])
        moments.append(sample.at)
        return len(moments) >= FAULTS_MIN

    def blamed(self, now: datetime) -> Iterator[_Rollout]:
        """For each fault the rollout that is blamed for it, if one is."""
        for signal in SIGNALS:
            faulty = [pod for pod in self.pods.values() if len(pod.faults.get(signal, ())) >= FAULTS_MIN]
            scored = [(self._score(rollout, faulty, signal, now), rollout) for rollout in self.rollouts]
            best = max(scored, key=lambda pair: pair[0], default=None)
            if best is not None and best[0] >= SCORE_MIN:
                yield best[1]

    def _score(self, rollout: _Rollout, faulty: Sequence[_Pod], signal: str, now: datetime) -> float:
        recent = [pod for pod in faulty if pod.faults[signal][-1] >= now - WINDOWS[0][0]]
        reached = [pod for pod in recent if self._reached(rollout, pod)]
        if not recent or len(reached) / len(recent) < SHARE_MIN:
            return 0.0
        vetoes = sum(1 for pod in faulty if pod.workload == rollout.workload and pod.faults[signal][0] < rollout.at)
        total = 0.0
        for window, weight in WINDOWS:
            votes = sum(1 for pod in reached if timedelta(0) <= pod.faults[signal][-1] - rollout.at <= window)
            if votes > vetoes:
                total += weight * math.log((votes - vetoes + 1) / (vetoes + 1))
        return float(total * 0.5 ** ((now - rollout.at) / HALF_LIFE))

    def _reached(self, rollout: _Rollout, pod: _Pod) -> bool:
        if pod.workload == rollout.workload:
            return pod.revision in {None, rollout.revision}
        return pod.workload in self.callers[rollout.workload]
