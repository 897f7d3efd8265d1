"""How pods live: from not ready to ready, through crashes and kills, as their status shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.bench.recordings.faults import Life, Lives

BACKOFF_FIRST, BACKOFF_MAX = 10.0, 300.0
"""Seconds that the kubelet waits before it starts a crashed container again; doubles each time."""

STARTUP = (4.0, 40.0)
"""Seconds from a pod's creation to its readiness."""


@dataclass(slots=True)
class Pod:
    """A pod of the simulation. Biases are factors that stay with it; `node` is the number of its node."""

    name: str
    service: str
    revision: str
    node: int
    number: int
    new: bool
    lives: list[Life]
    latency_bias: float = 1.0
    cpu_bias: float = 1.0
    memory_bias: float = 1.0
    share_bias: float = 1.0
    gone: float | None = None
    known: bool = True
    """Whether the recording has its pod records."""
    _at: int = field(default=0)

    @property
    def born(self) -> float:
        """When it was created."""
        return self.lives[0].at

    @property
    def first_ready(self) -> float | None:
        """When it was ready for the first time."""
        return next((life.at for life in self.lives if life.ready), None)

    def alive(self, now: float) -> bool:
        """Whether it exists."""
        return self.born <= now and (self.gone is None or self.gone > now)

    def state(self, now: float) -> Life:
        """Its state; moments must be asked for in order."""
        while self._at + 1 < len(self.lives) and self.lives[self._at + 1].at <= now:
            self._at += 1
        return self.lives[self._at]

    def started(self, now: float) -> float:
        """When its container last began to run ready."""
        state = self.state(now)
        return state.at if state.ready else now


def healthy(rng: Random, born: float, until: float) -> list[Life]:
    """Not ready, then ready for good."""
    return [Life(at=born, ready=False, reason="ContainerCreating"), Life(at=born + rng.uniform(*STARTUP), ready=True)]


def crashing(serves: tuple[float, float] | None, reason: str = "CrashLoopBackOff") -> Lives:
    """Crashes again and again; in between it is ready for `serves` seconds, or never (None)."""

    def lives(rng: Random, born: float, until: float) -> list[Life]:
        return list(_crashing(rng, born, until, serves, reason))

    return lives


def _crashing(
    rng: Random, born: float, until: float, serves: tuple[float, float] | None, reason: str
) -> Iterator[Life]:
    now, pause, restarts = born, BACKOFF_FIRST, 0
    yield Life(at=now, ready=False, reason="ContainerCreating")
    while now < until:
        now += rng.uniform(3.0, 15.0)
        if serves is not None:
            yield Life(at=now, ready=True, restarts=restarts)
            now += rng.uniform(*serves)
        if restarts == 0:
            yield Life(at=now, ready=False, restarts=restarts, reason="Error")
            now += 1.0
        else:
            yield Life(at=now, ready=False, restarts=restarts, reason=reason)
            now += pause
            pause = min(pause * 2, BACKOFF_MAX)
        restarts += 1
        yield Life(at=now, ready=False, restarts=restarts, reason=None)


def unready(rng: Random, born: float, until: float) -> list[Life]:
    """Runs, never ready, never restarted: a readiness probe that fails."""
    return [
        Life(at=born, ready=False, reason="ContainerCreating"),
        Life(at=born + rng.uniform(*STARTUP), ready=False, reason=None),
    ]


def killed_every(seconds: float, spread: float, after: float = 0.0, first: float | None = None) -> Lives:
    """Serves, and is killed for its memory again and again: every so many seconds, the first time `first` after `after`."""

    def lives(rng: Random, born: float, until: float) -> list[Life]:
        found = healthy(rng, born, until)
        now, restarts = max(found[-1].at, after) + (first or seconds) * rng.uniform(1 - spread, 1 + spread), 0
        while now < until:
            restarts += 1
            found.append(Life(at=now, ready=False, restarts=restarts, reason="OOMKilled"))
            now += rng.uniform(8.0, 45.0)
            found.append(Life(at=now, ready=True, restarts=restarts))
            now += seconds * rng.uniform(1 - spread, 1 + spread)
        return found

    return lives
