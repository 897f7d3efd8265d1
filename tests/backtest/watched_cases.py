"""A shop whose new revision is good for an hour and more: what goes wrong then shows after its soak, and no alert says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from handlers.backtest.recording import PodSeen, Record, Recording, RolloutSeen, SampleSeen, TruthSeen, recording
from tests.backtest.replay_cases import MINUTE, NOON, ROLLED_AT, WEB

EXCHANGED_AFTER = 4 * MINUTE
"""How long old and new pods of web serve side by side."""

USUAL = {"error_ratio": 0.002, "latency_seconds": 0.08, "memory_ratio": 0.4, "traffic_rate": 10.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """web goes from `old` to `new`; `signal` of the new pods rises by `slope` a minute, `shows_after` the rollout began.

    `serves` is how long the recording goes on after the rollout. `back_after`: the team rolls out `old` again then.
    """

    signal: str = "memory_ratio"
    shows_after: timedelta = 80 * MINUTE
    slope: float = 0.05
    serves: timedelta = 180 * MINUTE
    step: timedelta = MINUTE
    dropped: tuple[str, ...] = ()

    def recording(self) -> Recording:
        """As `backtest` reads it."""
        return recording("watched.jsonl", sorted(self._records(), key=lambda record: record.at))

    @property
    def end(self) -> datetime:
        """Of the recording."""
        return ROLLED_AT + self.serves

    def bad_from(self, trigger: float) -> datetime:
        """From when on the signal is over the trigger."""
        return ROLLED_AT + self.shows_after + MINUTE * ((trigger - USUAL[self.signal]) / self.slope)

    def _records(self) -> Iterator[Record]:
        yield TruthSeen(at=ROLLED_AT, culprit=WEB)
        yield RolloutSeen(at=ROLLED_AT, workload=WEB, revision="new", replaces="old", phase="started")
        exchanged = ROLLED_AT + EXCHANGED_AFTER
        yield RolloutSeen(at=exchanged, workload=WEB, revision="new", replaces="old", phase="completed")
        for letter in "ab":
            old, new = f"web-old-{letter}", f"web-new-{letter}"
            yield PodSeen(at=NOON, pod=old, workload=WEB, revision="old", ready=True)
            yield PodSeen(at=exchanged, pod=old, workload=WEB, revision="old", ready=False, deleted=True)
            yield PodSeen(at=ROLLED_AT + timedelta(seconds=20), pod=new, workload=WEB, revision="new", ready=True)
            yield from self._samples(old, NOON, exchanged)
            yield from self._samples(new, ROLLED_AT + timedelta(seconds=20), self.end)

    def _samples(self, pod: str, since: datetime, until: datetime) -> Iterator[Record]:
        at = NOON + self.step
        while at <= until:
            if at > since:
                for signal, usual in USUAL.items():
                    if signal not in self.dropped:
                        value = usual + (self._rise(at) if signal == self.signal and "new" in pod else 0.0)
                        yield SampleSeen(at=at, signal=signal, workload=WEB, pod=pod, value=value)
            at += self.step

    def _rise(self, at: datetime) -> float:
        return max(0.0, (at - ROLLED_AT - self.shows_after) / MINUTE * self.slope)
