"""From samples to a soak measurement: how much of a span was proven healthy, quiet, inconclusive; and what broke it.

Pure arithmetic on what the handler read; the clocks themselves are in `ledger`. Always healthy + quiet + inconclusive is at
most the span (what came before an unhealthy moment is in none of them), and no bad sample ever adds to healthy or quiet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.core.ledger import ZERO
from daemon.core.measurement import Health, Sample, SoakMeasurement
from daemon.core.policy import Policy
from daemon.core.signals import judge_sample, traffic, typical

NO_SIGNALS = "no signals to judge"
"""Why a revision is only ever proven by health: none of the policy's signals has data for its pods."""


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


@dataclass(slots=True)
class _Sum:
    """The clocks of one span while its samples are counted."""

    healthy: timedelta = ZERO
    quiet: timedelta = ZERO
    unhealthy_at: datetime | None = None
    regressed_at: datetime | None = None
    healthy_until: datetime | None = None
    because: str = ""


def measured(samples: Sequence[Sample], span: Span, baseline: Sample | None, policy: Policy) -> SoakMeasurement:
    """Count the span. Time before `proven_from` is inconclusive: it pauses the clock (DESIGN, "Verified, exactly").

    Samples before the span only tell whether the revision has signals at all: without any, and without a `baseline` of
    another revision, it is judged by its pods alone (quiet); with them, a time without signals is a gap.
    """
    broken = span.broken_at
    total = _Sum(unhealthy_at=broken, regressed_at=broken, because=span.broken_by if broken else "")
    start = max(span.since, span.broken_at or span.since)
    if span.proven_from is None or span.proven_from >= span.until:
        total.because = total.because or "not enough pods are available"
        return _result(total, span, ())
    start = max(start, span.proven_from)
    if baseline is None and not any(sample.values for sample in samples):
        total.quiet, total.healthy_until = max(span.until - start, ZERO), span.until
        total.because = total.because or NO_SIGNALS
        return _result(total, span, ())
    good = _count(
        total, [sample for sample in samples if start < sample.at <= span.until], span, start, baseline, policy
    )
    if not (total.because or total.healthy or total.quiet or start >= span.until):
        total.because = "its signals are silent"
    return _result(total, span, good)


def _count(
    total: _Sum, inside: Sequence[Sample], span: Span, start: datetime, baseline: Sample | None, policy: Policy
) -> list[Sample]:
    """Add up the samples, each standing for the time since the one before it but for one step at most.

    Returns the healthy ones under traffic after the latest unhealthy one.
    """
    good: list[Sample] = []
    recent: deque[tuple[datetime, bool]] = deque(maxlen=policy.persistence_of)
    previous = start
    for sample in inside:
        step, previous = min(sample.at - previous, span.step), sample.at
        health, busy = judge_sample(policy, sample, baseline), _busy(policy, sample)
        if busy and health is not Health.NO_DATA:
            recent.append((sample.at, health is Health.UNHEALTHY))
            total.regressed_at = total.regressed_at or _persistently_since(recent, policy)
        if health is Health.UNHEALTHY and busy:
            total.healthy = total.quiet = ZERO
            total.unhealthy_at, total.because = sample.at, _what(sample)
            good.clear()
        elif health is Health.HEALTHY and busy:
            total.healthy, total.healthy_until = total.healthy + step, sample.at
            good.append(sample)
        elif health is Health.HEALTHY or (
            health is Health.NO_DATA and not busy and traffic(policy, sample) is not None
        ):
            # Idle pods have no error ratio and no latency; that there is no traffic is known all the same.
            total.quiet, total.healthy_until = total.quiet + step, sample.at
        elif not total.because:
            total.because = _what(sample)
    return good


def _persistently_since(recent: Sequence[tuple[datetime, bool]], policy: Policy) -> datetime | None:
    """The first bad one of the recent samples, where as many are bad as persistence asks for (DESIGN: 2 of 5)."""
    bad = [at for at, unhealthy in recent if unhealthy]
    return bad[0] if len(bad) >= policy.persistence_bad else None


def _result(total: _Sum, span: Span, good: Sequence[Sample]) -> SoakMeasurement:
    counted = total.healthy + total.quiet
    inconclusive = max(span.until - max(total.unhealthy_at or span.since, span.since) - counted, ZERO)
    middle = typical(good)
    return SoakMeasurement(
        since=span.since,
        until=span.until,
        healthy=total.healthy,
        quiet=total.quiet,
        # One step less is the lot of one late scrape: no reason to doubt the rest.
        inconclusive=inconclusive if inconclusive > span.step else ZERO,
        unhealthy_at=total.unhealthy_at,
        regressed_at=total.regressed_at,
        healthy_until=total.healthy_until,
        because=total.because,
        baseline=middle.values if middle else (),
    )


def _busy(policy: Policy, sample: Sample) -> bool:
    """Enough traffic to judge by: one failed request of two is no half of anything."""
    rate = traffic(policy, sample)
    return policy.unknown_traffic_is_enough if rate is None else rate >= policy.min_traffic_rate


def _what(sample: Sample) -> str:
    values = ", ".join(f"{name} {value:.3g}" for name, value in sample.values)
    return f"{values} at {sample.at:%H:%M:%S}Z"
