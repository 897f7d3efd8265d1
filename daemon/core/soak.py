"""From samples to a soak measurement: how much of a span was proven healthy, quiet, inconclusive; and what broke it.

Pure arithmetic on what the handler read; the clocks themselves are in `ledger`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.core.ledger import ZERO
from daemon.core.measurement import Health, Sample, SoakMeasurement
from daemon.core.policy import Policy
from daemon.core.signals import judge_sample, traffic, typical


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The span that was looked at, and what the pods say of it.

    `proven_from`: the earliest moment since which enough pods have been ready without a break or restart (None: none are).
    `broken_at`: a crash loop or OOM kill of these pods, `broken_by` what it was.
    """

    since: datetime
    until: datetime
    step: timedelta
    proven_from: datetime | None
    broken_at: datetime | None = None
    broken_by: str = ""


def measured(samples: Sequence[Sample], span: Span, baseline: Sample | None, policy: Policy) -> SoakMeasurement:
    """Count the span. Time before `proven_from` is inconclusive: it pauses the clock (DESIGN, "Verified, exactly")."""
    if span.broken_at is not None:
        return _nothing(span, unhealthy_at=span.broken_at, because=span.broken_by)
    if span.proven_from is None or span.proven_from >= span.until:
        return _nothing(span, because="not enough pods are available")
    start = max(span.since, span.proven_from)
    inside = [sample for sample in samples if start < sample.at <= span.until]
    if not any(sample.values for sample in inside):
        quiet = span.until - start
        return _counted(span, ZERO, quiet, start - span.since, because="no signals to judge", baseline=())
    return _judged(inside, span, start, baseline, policy)


def _judged(
    inside: Sequence[Sample], span: Span, start: datetime, baseline: Sample | None, policy: Policy
) -> SoakMeasurement:
    healthy = quiet = ZERO
    unhealthy_at: datetime | None = None
    because, good = "", list[Sample]()
    previous = start
    for sample in inside:
        step, previous = min(sample.at - previous, span.step), sample.at
        health, busy = judge_sample(policy, sample, baseline), _busy(policy, sample)
        if health is Health.UNHEALTHY and busy:
            healthy = quiet = ZERO
            unhealthy_at, because, good = sample.at, _what(policy, sample), []
        elif health is Health.HEALTHY and busy:
            healthy += step
            good.append(sample)
        elif health is Health.HEALTHY:
            quiet += step
        elif health is Health.INCONCLUSIVE and not because:
            because = _what(policy, sample)
    inconclusive = max(span.until - (unhealthy_at or span.since) - healthy - quiet, ZERO)
    middle = typical(good)
    return SoakMeasurement(
        since=span.since,
        until=span.until,
        healthy=healthy,
        quiet=quiet,
        inconclusive=inconclusive if inconclusive > span.step else ZERO,
        unhealthy_at=unhealthy_at,
        because=because,
        baseline=middle.values if middle else (),
    )


def _busy(policy: Policy, sample: Sample) -> bool:
    """Enough traffic to judge by: one failed request of two is no half of anything."""
    rate = traffic(policy, sample)
    return rate is not None and rate >= policy.min_traffic_rate


def _what(policy: Policy, sample: Sample) -> str:
    values = ", ".join(f"{name} {value:.3g}" for name, value in sample.values)
    return f"{values} at {sample.at:%H:%M:%S}Z"


def _counted(
    span: Span,
    healthy: timedelta,
    quiet: timedelta,
    inconclusive: timedelta,
    *,
    because: str,
    baseline: tuple[tuple[str, float], ...],
) -> SoakMeasurement:
    return SoakMeasurement(
        since=span.since,
        until=span.until,
        healthy=healthy,
        quiet=quiet,
        inconclusive=max(inconclusive, ZERO),
        because=because,
        baseline=baseline,
    )


def _nothing(span: Span, *, because: str, unhealthy_at: datetime | None = None) -> SoakMeasurement:
    return SoakMeasurement(
        since=span.since,
        until=span.until,
        healthy=ZERO,
        quiet=ZERO,
        inconclusive=span.until - span.since,
        unhealthy_at=unhealthy_at,
        because=because,
    )
