"""How a number is read: healthy, unhealthy, inconclusive, or no data, by DESIGN's table of signals.

The trigger wins where both it and the healthy column hold; between the two lies inconclusive. A latency without anything
to compare it with and without thresholds set by the user is not judged at all (NO_DATA): nobody said what is slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from daemon.core.measurement import Health, Sample
from daemon.core.policy import LATENCIES, Policy, SignalKind, SignalRule

ERROR_HEALTHY = 0.005
ERROR_TRIGGER = 0.05
ERROR_TRIGGER_OVER_BASELINE = 0.05
CPU_HEALTHY, CPU_TRIGGER = 0.70, 0.90
MEMORY_TRIGGER = 0.85
NEAR = {SignalKind.LATENCY_P99: 1.15}
"""How far over its baseline a value is still "the same"; 1.10 for every kind that is not named."""
FAR = {SignalKind.LATENCY: 1.5, SignalKind.LATENCY_P95: 1.25, SignalKind.LATENCY_P99: 2.0}
"""How far over its baseline a latency must be to trigger; further for one of which nobody says which quantile it is."""

OF_REQUESTS = frozenset({SignalKind.TRAFFIC, SignalKind.ERROR_RATIO, *LATENCIES})
"""What tells that a pod is asked something; CPU and memory it uses without."""

TAIL = {SignalKind.LATENCY_P95: 0.05, SignalKind.LATENCY_P99: 0.01}
"""The share of requests that lies beyond the quantile."""

REQUESTS_BEYOND_QUANTILE = 10
"""Requests that must lie beyond a quantile for it to be more than chance."""

REQUESTS_OF_A_LATENCY = 20
"""Requests that must be behind one of which nobody says which quantile it is: of fewer a p95 is the slowest."""


def trigger_of(rule: SignalRule, baseline: float | None) -> float | None:
    """The value above which the signal triggers, the lowest of those that apply; None where none does."""
    limits: list[float] = [] if rule.trigger_above is None else [rule.trigger_above]
    if rule.kind is SignalKind.ERROR_RATIO:
        limits += [ERROR_TRIGGER] if rule.trigger_above is None else []
        limits += [] if baseline is None else [baseline + ERROR_TRIGGER_OVER_BASELINE]
    elif rule.kind in FAR and baseline is not None and baseline > 0:
        limits.append(baseline * FAR[rule.kind])
    elif rule.kind is SignalKind.CPU and not limits:
        limits.append(CPU_TRIGGER)
    elif rule.kind is SignalKind.MEMORY and not limits:
        limits.append(MEMORY_TRIGGER)
    return min(limits, default=None)


def healthy_of(rule: SignalRule, baseline: float | None) -> float | None:
    """The value up to which the signal is healthy, the highest of those that apply; None where none does."""
    limits: list[float] = [] if rule.healthy_below is None else [rule.healthy_below]
    if rule.kind is SignalKind.ERROR_RATIO and not limits:
        limits.append(ERROR_HEALTHY)
    if rule.kind is SignalKind.CPU and not limits:
        limits.append(CPU_HEALTHY)
    if baseline is not None and rule.kind is not SignalKind.CPU:
        limits.append(baseline * NEAR.get(rule.kind, 1.10))
    return max(limits, default=None)


def judge(rule: SignalRule, value: float | None, baseline: float | None) -> Health:
    """The health that one value of one signal shows."""
    if value is None or rule.kind is SignalKind.TRAFFIC:
        return Health.NO_DATA
    trigger, healthy = trigger_of(rule, baseline), healthy_of(rule, baseline)
    if trigger is None and healthy is None:
        return Health.NO_DATA
    if trigger is not None and value > trigger:
        return Health.UNHEALTHY
    if healthy is not None and value <= healthy:
        return Health.HEALTHY
    if healthy is None and rule.kind is SignalKind.MEMORY:
        return Health.NO_DATA  # steady or not, only a comparison tells
    return Health.INCONCLUSIVE


def measurable(policy: Policy, rule: SignalRule, *samples: Sample) -> bool:
    """Whether the requests behind the samples suffice for this signal.

    A p95 of 50 requests is the third slowest of them: chance. Ten requests beyond the quantile are asked for, so 200
    for a p95 and 1,000 for a p99 within `signal_window`; of a latency of which nobody says which quantile it is, that the
    slowest of them is not all there is. Without a traffic signal it cannot be told: not held back.
    """
    if rule.kind not in LATENCIES:
        return True
    needed = REQUESTS_BEYOND_QUANTILE / TAIL[rule.kind] if rule.kind in TAIL else REQUESTS_OF_A_LATENCY
    known = [rate for rate in rates(policy, samples) if rate is not None]
    return all(rate * policy.signal_window.total_seconds() >= needed for rate in known)


def judge_sample(policy: Policy, sample: Sample, baseline: Sample | None) -> Health:
    """The worst of the sample's signals; signals without data count only when none has any."""
    verdicts = {
        judge(rule, sample.value(rule.name), baseline.value(rule.name) if baseline else None)
        for rule in policy.signals
        if measurable(policy, rule, sample)
    }
    for health in (Health.UNHEALTHY, Health.INCONCLUSIVE, Health.HEALTHY):
        if health in verdicts:
            return health
    return Health.NO_DATA


def traffic(policy: Policy, sample: Sample) -> float | None:
    """Requests per second, None where no traffic signal answered."""
    return rates(policy, (sample,))[0]


def rates(policy: Policy, samples: Iterable[Sample]) -> list[float | None]:
    """The same of each sample; a candidate has hundreds of them, so the signals are looked through once."""
    names = policy.names_of(SignalKind.TRAFFIC)
    return [_sum_of(names, sample) for sample in samples]


def _sum_of(names: Iterable[str], sample: Sample) -> float | None:
    found = None
    for name in names:
        value = sample.value(name)
        if value is not None:
            found = value if found is None else found + value
    return found


def is_heard(policy: Policy, sample: Sample) -> bool:
    """Something is known of its requests, and be it that there are none: nobody asks is not nobody answers."""
    return any(sample.value(rule.name) is not None for rule in policy.signals if rule.kind in OF_REQUESTS)


def served(policy: Policy, sample: Sample) -> bool:
    """Whether requests were served; where the traffic is not known, as far as the policy lets that pass."""
    return serving(policy, (sample,))[0]


def serving(policy: Policy, samples: Iterable[Sample]) -> list[bool]:
    """The same of each sample."""
    unknown = policy.unknown_traffic_is_enough
    return [unknown if rate is None else rate > 0 for rate in rates(policy, samples)]


def typical(samples: Sequence[Sample]) -> Sample | None:
    """The median of each signal over the samples, at the last one's time; None without samples."""
    if not samples:
        return None
    names = sorted({name for sample in samples for name, _ in sample.values})
    return Sample(
        at=samples[-1].at,
        values=tuple((name, _median_of(name, samples)) for name in names),
    )


def _median_of(name: str, samples: Iterable[Sample]) -> float:
    return median(value for sample in samples if (value := sample.value(name)) is not None)


def seconds_between(policy: Policy, samples: Sequence[Sample]) -> float:
    """The distance of neighbouring samples in seconds, taken from the samples themselves where there are two."""
    gaps = [(b.at - a.at).total_seconds() for a, b in pairwise(samples)]
    return median(gaps) if gaps else policy.sample_interval.total_seconds()


def requests(policy: Policy, samples: Sequence[Sample]) -> float | None:
    """How many requests are behind the samples; None where no traffic signal answered."""
    known = [rate for rate in rates(policy, samples) if rate is not None]
    return sum(known) * seconds_between(policy, samples) if known else None


def enough_traffic(policy: Policy, *sides: Sequence[Sample]) -> bool:
    """`min_requests` on each side, and `min_traffic_rate` on average of all together: of a workload, not of its first canary.

    Without a traffic signal it cannot be told: no, unless the policy lets that pass.
    """
    total = 0.0
    for samples in sides:
        known = [rate for rate in rates(policy, samples) if rate is not None]
        if not known:
            return policy.unknown_traffic_is_enough and all(sides)
        if sum(known) * seconds_between(policy, samples) < policy.min_requests:
            return False
        total += sum(known) / len(known)
    return total >= policy.min_traffic_rate


def each_of(rule: SignalRule, sample: Sample) -> Sequence[float]:
    """The values of single pods where they are known, else that of all together."""
    single, whole = sample.single(rule.name), sample.value(rule.name)
    return single or (() if whole is None else (whole,))
