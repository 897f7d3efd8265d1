"""Carries out ProveSoak: how healthy the only serving revision was, read back from the pods and from Prometheus.

Reading back is what makes a new installation useful in its first minute: pods tell since when they are ready and when they
last restarted, Prometheus tells how their signals were (DESIGN, "Verified, exactly"). One query per signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from daemon.core import soak
from daemon.core.actions import Outcome, OutcomeKind, ProveSoak, Soaked
from daemon.core.measurement import Sample, SoakMeasurement
from daemon.core.policy import Policy
from daemon.ports import Clock
from handlers import pod_groups
from handlers.cache import ClusterCache, PodSeen
from handlers.faults import Fault
from handlers.pod_groups import PodGroup
from handlers.pods import restarts_since, stint_of
from handlers.sampling import SOAK_SAMPLES_MAX, Sampler, floor, reason_of

PRESENCE = timedelta(hours=1)
"""How long before the span signals are looked for: where there were some, their silence is a gap and no peace."""


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
        pods = self._cache.pods_of(action.workload, action.revision.id)
        span = self._span(action, pods)
        group = _group(action, pods)
        try:
            samples = await self._sampler.samples(group, span.since - PRESENCE, span.until, span.step)
        except Fault as fault:
            return _soaked(_unread(span, reason_of(fault)))
        baseline = Sample(at=span.until, values=action.baseline) if action.baseline else None
        return _soaked(soak.measured(samples, span, baseline, self._sampler.policy))

    def _span(self, action: ProveSoak, pods: Sequence[PodSeen]) -> soak.Span:
        """What can be judged of the time that is asked for: up to the last sample that Prometheus surely has.

        The rest is not lost, the next check begins where this one ends.
        """
        now = self._clock.now()
        settled = self._sampler.settled(now)
        wanted = settled if action.until is None else min(action.until, settled)
        step = self._sampler.step_for(wanted - action.since, SOAK_SAMPLES_MAX)
        until = max(floor(wanted, step), action.since)
        available = self._cache.available_since(action.workload) if action.until is None else _all_ready_since(pods)
        broken = _broken(pods, action.until or now, self._sampler.policy)
        return soak.Span(
            since=action.since,
            until=until,
            step=step,
            proven_from=_proven_from(pods, available, until),
            broken_at=min(broken[0], until) if broken and broken[0] > action.since else None,
            broken_by=broken[1] if broken else "",
        )


def _group(action: ProveSoak, pods: Sequence[PodSeen]) -> PodGroup:
    """The revision's pods; where names are given again, each since it is the revision's."""
    if pod_groups.names_return(action.workload):
        return pod_groups.of_stints(action.workload, [stint_of(pod) for pod in pods])
    return pod_groups.of_revision(action.workload, action.revision, [pod.name for pod in pods])


def _proven_from(pods: Sequence[PodSeen], available: datetime | None, until: datetime) -> datetime | None:
    """Since when enough pods were ready and none restarted, as far as they tell; None where they are not.

    A pod tells only its latest restart: others before it may be hidden, so a restart after `until` leaves nothing
    proven. Where the kubelet has forgotten when it was, the pod became ready after it.
    """
    if available is None:
        return None
    restarted = [pod.last_restart_at or pod.ready_since or until for pod in pods if pod.restarts]
    return max([available, *restarted])


def _broken(pods: Sequence[PodSeen], until: datetime, policy: Policy) -> tuple[datetime, str] | None:
    """The latest moment up to `until` at which a pod was out of DESIGN's healthy bounds, and how.

    What happened later is no fault of this time: old pods may well crash because of what replaced them.
    """
    told = [pod for pod in pods if pod.last_restart_at is None or pod.last_restart_at <= until]
    found = [(until, f"{pod.name} crash-loops") for pod in told if pod.crash_looping]
    found += [(pod.last_restart_at or until, f"{pod.name} was OOM-killed") for pod in told if pod.oom_killed]
    restarts, _ = restarts_since(told, until - policy.restarts_window)
    if restarts > policy.restarts_max:
        latest = max((pod.last_restart_at for pod in told if pod.last_restart_at is not None), default=until)
        found.append((latest, f"{restarts} restarts within {policy.restarts_window.total_seconds() / 60:.0f} min"))
    return max(found, default=None)


def _all_ready_since(pods: Sequence[PodSeen]) -> datetime | None:
    """For a revision that is being replaced: since when every pod of it that is still there was ready."""
    moments = [pod.ready_since for pod in pods if pod.ready_since is not None]
    return max(moments, default=None)


def _unread(span: soak.Span, why: str) -> SoakMeasurement:
    zero = timedelta(0)
    return SoakMeasurement(
        since=span.since, until=span.until, healthy=zero, quiet=zero, inconclusive=zero, because=why, missing=(why,)
    )


def _soaked(measured: SoakMeasurement) -> Outcome:
    return Outcome(kind=OutcomeKind.DONE, result=Soaked(soak=measured))
