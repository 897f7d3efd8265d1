"""Who does the work while two revisions serve and only the old one is heard: a balance of requests.

Pods that merely lack their metrics take their part of the requests, leave the old ones with the rest, and ask what they need of
others. So three counts tell whether the new pods work: what the old ones answer, what the callers ask, and what reaches those
they call. Each is held against the time before the rollout; demand comes and goes, so it is never judged by the clock alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from statistics import fmean

from daemon.core.measurement import Measurement, Peer, Sample
from daemon.core.policy import Policy
from daemon.core.signals import rates, traffic, typical

MOMENTS = 3
"""In a row, the latest in which the old pods are known: as many as make a silence."""

NEAR = 1 / 3
"""Of the part of the new pods, how far a count may be from what it would be: between is where nobody can tell."""

BY_CHANCE = 4.0
"""Standard deviations by which NEAR must be more than the noise: three counts are compared, each with its own."""

PART_MIN = 0.25
"""Of all pods that must be new for demand to be told by the old ones alone: a quarter less at that very minute is no chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How the requests of the latest moments are divided.

    `part` 0..1: what sound new pods take of them. `old`: what the old ones answer, of what all answered before the rollout.
    `asked`: what callers ask now, of what they asked then; None where nobody knows. `goes_on`: per workload that it calls, how
    many times as many requests come from it per request that is answered. `fewer`: old pods have gone, so new ones are missed.
    """

    part: float
    old: float
    asked: float | None
    goes_on: tuple[float, ...]
    fewer: bool

    @property
    def old_do_all(self) -> bool:
        """Fewer old pods do all that is asked: the new ones are asked nothing."""
        return self.fewer and self.asked is not None and self.old >= (1 - NEAR * self.part) * self.asked

    @property
    def new_work(self) -> bool:
        """What the new pods ask of others is heard there."""
        return any(times >= 1 + (1 - NEAR) * self._more for times in self.goes_on)

    @property
    def new_do_none(self) -> bool:
        """None of what it calls hears anything of the new pods, and old ones have gone for them."""
        return self.fewer and bool(self.goes_on) and all(times <= 1 + NEAR * self._more for times in self.goes_on)

    @property
    def lost(self) -> bool:
        """The new pods take their part of the requests, and nothing comes of it."""
        expected = (1 - self.part) * (1.0 if self.asked is None else self.asked)
        taken = abs(self.old - expected) <= NEAR * self.part
        return self.new_do_none and taken and self.part >= PART_MIN

    @property
    def _more(self) -> float:
        """By how many times more requests reach others per request that is answered by old pods, if new ones work."""
        return self.part / (1 - self.part)


def division(measurement: Measurement, policy: Policy, served_before: int) -> Division | None:
    """None where pods or requests are not known, then or now, or where there are too few to tell.

    `served_before`: pods before the rollout, 0 where unknown; the samples of that time know it better where they have it.
    """
    before, latest = typical(measurement.before), measurement.old[-MOMENTS:]
    usual = traffic(policy, before) if before is not None else None
    pods = [_pods(sample, measurement, policy) for sample in latest]
    known = [pair for pair in pods if pair is not None]
    counted = max((sample.pods or 0 for sample in measurement.before), default=0) or served_before
    if not usual or not counted or len(known) < MOMENTS:
        return None
    part = min(new / (new + old) for new, old in known)
    now = fmean(rate or 0.0 for rate in rates(policy, latest))
    if not now or not _enough(usual, part, policy):
        return None
    return Division(
        part=part,
        old=now / usual,
        asked=_asked(measurement.callers, policy),
        goes_on=tuple(_goes_on(measurement.callees, usual / now, part, policy)),
        fewer=max(old for _, old in known) < counted,
    )


def _pods(sample: Sample, measurement: Measurement, policy: Policy) -> tuple[int, int] | None:
    """New and old pods that were asked at that moment; None where there were none of one, or nobody knows."""
    new = sum(1 for since in measurement.ready_since if _asked_since(since, policy) <= sample.at)
    old = sample.pods or (measurement.old_ready if new == len(measurement.ready_since) else 0)
    return (new, old) if new and old else None


def _asked_since(ready: datetime, policy: Policy) -> datetime:
    """A sample looks back over its window."""
    return ready + policy.signal_window


def _enough(rate: float, part: float, policy: Policy) -> bool:
    requests = rate * policy.sample_interval.total_seconds() * MOMENTS
    return NEAR * part * requests >= BY_CHANCE * sqrt(3 * requests)


def _asked(callers: Sequence[Peer], policy: Policy) -> float | None:
    both = list(_then_and_now(callers, policy))
    earlier = sum(before for before, _ in both)
    return sum(now for _, now in both) / earlier if earlier > 0 else None


def _goes_on(callees: Sequence[Peer], times: float, part: float, policy: Policy) -> Iterator[float]:
    """Of those to which enough goes on; `times`: the old pods answered so many times as much before."""
    for before, now in _then_and_now(callees, policy):
        if _enough(before, part, policy):
            yield now / before * times


def _then_and_now(peers: Sequence[Peer], policy: Policy) -> Iterator[tuple[float, float]]:
    for peer in peers:
        if peer.before is None or peer.now is None:
            continue
        before, now = traffic(policy, peer.before), traffic(policy, peer.now)
        if before is not None and now is not None:
            yield before, now
