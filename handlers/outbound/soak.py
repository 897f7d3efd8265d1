"""Carries out ProveSoak: how healthy the only serving revision was, read back from the pods and from Prometheus.

Reading back is what makes a new installation useful in its first minute: pods tell since when they are ready and when they
last restarted, Prometheus tells how their signals were (DESIGN, "Verified, exactly").
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from daemon.core import soak
from daemon.core.actions import Outcome, OutcomeKind, ProveSoak, Soaked
from daemon.core.measurement import Sample, SoakMeasurement
from daemon.ports import Clock
from handlers.cache import ClusterCache, PodSeen
from handlers.faults import Fault
from handlers.sampling import SOAK_SAMPLES_MAX, Sampler, reason_of


class SoakRunner:
    """ports.Runner of ProveSoak."""

    def __init__(self, sampler: Sampler, cache: ClusterCache, clock: Clock) -> None:
        self._sampler = sampler
        self._cache = cache
        self._clock = clock

    async def probe(self, action: ProveSoak) -> Outcome | None:
        """Looking changes nothing: after a crash it is simply done again."""
        return None

    async def run(self, action: ProveSoak) -> Outcome:
        """Measure the span; a Prometheus that cannot be read proves nothing and disproves nothing."""
        until = action.until or self._clock.now()
        pods = self._cache.pods_of(action.workload, action.revision.id)
        span = self._span(action, until, pods)
        try:
            samples = await self._sampler.samples(
                action.workload.namespace, [pod.name for pod in pods], span.since, span.until, span.step
            )
        except Fault as fault:
            return _soaked(_unread(span, reason_of(fault)))
        baseline = Sample(at=until, values=action.baseline) if action.baseline else None
        return _soaked(soak.measured(samples, span, baseline, self._sampler.policy))

    def _span(self, action: ProveSoak, until: datetime, pods: Sequence[PodSeen]) -> soak.Span:
        available = self._cache.available_since(action.workload) if action.until is None else _all_ready_since(pods)
        restarted = [pod.last_restart_at for pod in pods if pod.last_restart_at is not None]
        proven = [moment for moment in (available, *restarted) if moment is not None]
        broken = [pod for pod in pods if pod.crash_looping or pod.oom_killed]
        broken_at = max((pod.last_restart_at or until for pod in broken), default=None)
        recent = broken_at is not None and broken_at > action.since
        return soak.Span(
            since=action.since,
            until=until,
            step=self._sampler.step_for(until - action.since, SOAK_SAMPLES_MAX),
            proven_from=max(proven) if available is not None and proven else None,
            broken_at=broken_at if recent else None,
            broken_by=f"{broken[0].name} {'was OOM-killed' if broken[0].oom_killed else 'crash-loops'}"
            if recent
            else "",
        )


def _all_ready_since(pods: Sequence[PodSeen]) -> datetime | None:
    """For a revision that is being replaced: since when every pod of it that is still there was ready."""
    moments = [pod.ready_since for pod in pods if pod.ready_since is not None]
    return max(moments, default=None)


def _unread(span: soak.Span, why: str) -> SoakMeasurement:
    zero = span.until - span.until
    return SoakMeasurement(
        since=span.since, until=span.until, healthy=zero, quiet=zero, inconclusive=zero, because=why, missing=(why,)
    )


def _soaked(measured: SoakMeasurement) -> Outcome:
    return Outcome(kind=OutcomeKind.DONE, result=Soaked(soak=measured))
