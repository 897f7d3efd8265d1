"""Since when it is felt where an alert hurts: looks back from the onset on the pods of that workload (daemon.core.onsets).

It only helps to tell candidates apart, the alert waits for it, and Prometheus is shared. A storm brings hundreds of alerts of
the same few workloads within a minute, often just when Prometheus is slow. So alerts of one workload whose onsets share a
sample share the answer; few places are read at one time, which leaves the measurements of incidents their part of the
sampler's queries; and where one reading took too long, none is begun for a while: a storm waits for it once, not once per
alert (`daemon.runtime.dispatch` locates 64 at a time: ten thousand that wait 8 s each would take twenty minutes).

Measured with a thousand alerts of twenty workloads on a real Prometheus, two busy cores: 8 s to place them all without looking
back, 53 s where each reads for itself (3,000 range queries), 10 s so (60).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from daemon.core.model import Workload
from daemon.core.onsets import FELT, LOOK_BACK, felt_since
from handlers import pod_groups
from handlers.sampling import Sampler, floor

FELT_SECONDS = 8.0
"""How long one alert waits for it, for its turn and for Prometheus' answer: fast ones answer in some 20 ms."""

REST_SECONDS = 60.0
"""How long none is begun after one took too long: a storm is over by then, and a restart of Prometheus mostly."""

READ_AT_ONCE = 2
"""Places that are read at one time, by three queries each (error ratio, two latencies); the sampler has eight for everybody."""

KEPT_SECONDS = 60.0
"""How long an answer is good for other alerts: those of a storm come within a minute. Later Prometheus may know more of it."""

KEPT_MAX = 1_000
"""Answers that are kept, the newest, some 300 bytes each: as many as alerts that are looked for at one time."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Place:
    """A workload before an onset. Who holds `turn` reads, the others wait for what it finds."""

    asked: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    read: bool = False
    felt_at: datetime | None = None


class LookBack:
    """Reads it through the sampler, by the policy's signals that those feel who ask."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self._places: dict[tuple[str, datetime], _Place] = {}
        self._rests_until = 0.0

    async def felt_at(self, workload: Workload, onset: datetime) -> datetime | None:
        """None where nothing was felt before, and where it cannot be read in time: it raises nothing, and holds up nothing."""
        step = self._sampler.step_for(LOOK_BACK)
        end = floor(onset, step)
        place = self._place(workload, end)
        try:
            async with asyncio.timeout(FELT_SECONDS), place.turn:
                if not place.read:
                    await self._read(place, workload, end, step)
        except TimeoutError:
            if not self._rests:
                _log.warning(
                    "felt_unreadable", reason=f"no answer within {FELT_SECONDS:.0f} s", rests_seconds=REST_SECONDS
                )
            self._rests_until = _seconds() + REST_SECONDS
        return place.felt_at

    @property
    def _rests(self) -> bool:
        return _seconds() < self._rests_until

    def _place(self, workload: Workload, end: datetime) -> _Place:
        key, now = (workload.key, end), _seconds()
        found = self._places.get(key)
        if found is not None and now - found.asked <= KEPT_SECONDS:
            return found
        self._places.pop(key, None)
        self._places[key] = found = _Place(asked=now)
        if len(self._places) > KEPT_MAX:
            del self._places[next(iter(self._places))]
        return found

    async def _read(self, place: _Place, workload: Workload, end: datetime, step: timedelta) -> None:
        async with self._reading:
            if self._rests:  # since it began to wait, perhaps
                return
            rules = [rule for rule in self._sampler.policy.signals if rule.kind in FELT]
            group = pod_groups.of_workload(workload)
            found = await self._sampler.aligned((group,), end - LOOK_BACK, end, step, rules)
        for fault in found.faults:
            _log.warning("felt_unreadable", reason=fault.reason)
        place.felt_at = felt_since(self._sampler.policy, found.groups[0], end)
        place.read = True


def _seconds() -> float:
    return asyncio.get_running_loop().time()
