"""What excuses new pods that are bad beside old ones: two equals at an edge, more to do, a queue, what has been so all along,
what settles. And what does not excuse them: that the old ones are bad as well, but far less.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from daemon.core.measurement import Health, Measurement, Sample
from daemon.core.policy import LATENCIES, Policy, SignalKind, SignalRule
from daemon.core.signals import CPU_TRIGGER, FAR, judge, traffic

SETTLING = timedelta(minutes=6)
"""How long after they became ready pods may settle."""

SETTLING_SHARE = 0.75
"""Of their worst, what pods that settle come down to."""

CPU_PER_REQUEST = 1.5
"""How many times the CPU of a request must have grown: a pod that is sent more than the others has more to do."""

MORE_ASKED = 1.1
"""How many times the requests of an old pod are more than an uneven balance."""

WORSE_THAN_EVER = 1.5
"""How many times its value before the rollout what was bad already must be to be news: as far as a latency must be off."""

FAR_WORSE = 2.0
"""How many times the error ratio of old pods that are bad, too, is not "alike" any more; of latencies what triggers is."""

NOTICED = timedelta(milliseconds=5)
"""What an answer must take longer, unless the policy says what is slow: many services answer in two."""

STANDS_OUT = {SignalKind.ERROR_RATIO: (2.0, 0.05), SignalKind.CPU: (1.15, 0.2), SignalKind.MEMORY: (1.15, 0.15)}
"""How many times the old pods' value, or how much more in absolute terms, is more than two equals on both sides of an edge."""


def as_ever(rule: SignalRule, old: Sample, before: Sample | None) -> bool:
    """It was as bad before the rollout: what has been so all along is no symptom of what began since, for either side."""
    was, is_now = before.value(rule.name) if before else None, old.value(rule.name)
    if was is None or is_now is None or judge(rule, was, None) is not Health.UNHEALTHY:
        return False
    return is_now <= was * WORSE_THAN_EVER


def stands_out(rule: SignalRule, new: Sample, old: Sample, *, fails_alike: bool) -> bool:
    """More than two equals on both sides of a threshold; of a latency more than anybody notices.

    `fails_alike`: other requests of both sides fail by now, most often those to one that they call. Who is a little worse off
    in what they answer is chance then, however many times that is.
    """
    there, here = new.value(rule.name) or 0.0, old.value(rule.name) or 0.0
    if rule.kind in LATENCIES:
        return rule.trigger_above is not None or there - here >= NOTICED.total_seconds()
    times, more = STANDS_OUT[rule.kind]
    if there - here >= more:
        return True
    return there >= times * here and not (fails_alike and rule.kind is SignalKind.ERROR_RATIO)


def is_settling(rule: SignalRule, measurement: Measurement, told: Sequence[tuple[Sample, Sample]]) -> bool:
    """They warm up, whatever they were at first: young pods that get better, or any that did so each time and are well by now.

    Of a single pod nobody knows how long that takes on its node: as long as its latency gets better it counts as young.
    """
    last, old = told[-1]
    since = [sample for sample in measurement.new if sample.at > last.at and sample.value(rule.name) is not None]
    served = [*(new for new, _ in told), *since]
    values = [each.value(rule.name) or 0.0 for each in served]
    new = served[-1]
    young = bool(measurement.ready_since) and new.at - measurement.ready_since[0] <= SETTLING
    young = young or (rule.kind in LATENCIES and measurement.is_of_one(new))
    well = judge(rule, new.value(rule.name), old.value(rule.name)) is not Health.UNHEALTHY
    steadily = all(later < earlier for earlier, later in pairwise(values))
    return (young or (well and steadily)) and len(values) > 1 and values[-1] <= SETTLING_SHARE * max(values[:-1])


def has_more_to_do(policy: Policy, rule: SignalRule, new: Sample, old: Sample) -> bool:
    """Its CPU is what its requests cost; told where the traffic and the pods of both sides are known."""
    there, here, more = new.value(rule.name), old.value(rule.name), _times_asked(policy, new, old)
    if rule.kind is not SignalKind.CPU or there is None or here is None or more is None:
        return False
    return there < CPU_PER_REQUEST * max(more, 1.0) * here


def queues(policy: Policy, rule: SignalRule, new: Sample, old: Sample) -> bool:
    """Old pods have no CPU left, or would have none if sent as much: what waits in a queue is slow with any revision."""
    if rule.kind not in policy.latency_kinds:
        return False
    asked = _times_asked(policy, new, old)
    more = asked if asked is not None and asked >= MORE_ASKED else 1.0
    used = (old.value(name) for name in policy.names_of(SignalKind.CPU))
    return any(share is not None and share * more > CPU_TRIGGER for share in used)


def overloaded(policy: Policy, rule: SignalRule, new: Sample, old: Sample, before: Sample | None) -> bool:
    """Neither side can do what it is sent: new pods without CPU left fail what old ones, by now slow, only keep waiting.

    Near its limit a pod that is sent a tenth more than the next one fails a fifth of it, and the next one none (generated).
    """
    if rule.kind is not SignalKind.ERROR_RATIO or before is None:
        return False
    used = (new.value(name) for name in policy.names_of(SignalKind.CPU))
    late = (rule for rule in policy.signals if rule.kind in policy.latency_kinds)
    slow = (judge(each, old.value(each.name), before.value(each.name)) is Health.UNHEALTHY for each in late)
    return any(share is not None and share > CPU_TRIGGER for share in used) and any(slow)


def _times_asked(policy: Policy, new: Sample, old: Sample) -> float | None:
    """How many times the requests of an old pod each new one is sent; None where traffic or pods are not known."""
    there, here = traffic(policy, new), traffic(policy, old)
    if there is None or here is None or not (new.pods and old.pods):
        return None
    return (there / new.pods) / (here / old.pods) if here > 0 else 1.0


def far_worse(rule: SignalRule, new: Sample, old: Sample) -> bool:
    """Both are bad, and the new pods so much more that the old ones do not fail alike: no witness for either side."""
    there, here = new.value(rule.name), old.value(rule.name)
    times = FAR_WORSE if rule.kind is SignalKind.ERROR_RATIO else FAR.get(rule.kind)
    if times is None or there is None or here is None:
        return False
    more = STANDS_OUT[rule.kind][1] if rule.kind in STANDS_OUT else 0.0
    return there >= times * here and there - here >= more
