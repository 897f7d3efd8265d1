"""New against old in the minutes in which both served: what convicts, what acquits, what is shared.

A pair of samples is judged by DESIGN's table; what convicts must persist, must stand out from the old pods by more than the
edge of a threshold, and must be more than chance (daemon.core.statistics): by the requests where counts are known, else by how
far it lies out of what the old pods show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from daemon.core import statistics as tests
from daemon.core.excuses import (
    STANDS_OUT,
    as_ever,
    far_worse,
    has_more_to_do,
    is_settling,
    overloaded,
    queues,
    stands_out,
)
from daemon.core.measurement import Health, Measurement, Sample
from daemon.core.model import Rollout
from daemon.core.policy import LATENCIES, Policy, SignalKind, SignalRule
from daemon.core.signals import (
    each_of,
    enough_traffic,
    is_heard,
    judge,
    judge_sample,
    measurable,
    requests,
    seconds_between,
    served,
    serving,
    traffic,
    trigger_of,
    typical,
)

CHANCE_MAX = 0.005
"""How likely a conviction may be to be chance, after correction for the number of signals asked."""

FAR_OUT = 3.5
"""Robust standard deviations from the old pods (Iglewicz & Hoaglin 1993 call a value beyond 3.5 an outlier)."""

LASTING_SAMPLES = 3
"""The newest samples of the new pods, of which one at least must be bad after the old pods are gone."""

SINGLE_POD_TIMES = 3.0
"""How many times the old pods' latency that of a single new pod must be: its node may be slow, and no second pod tells."""

SLOW_FOR = timedelta(seconds=150)
"""How long latency must have been bad, however often it is sampled: caches fill and code is compiled for a minute or two."""

REQUESTS_OF_SLOWNESS = 100
"""Requests of the new pods behind the latencies that convict: beyond a p95 lie five of them then. Of 40 there are two."""

BREAK_SAMPLES = 2
"""Good samples in a row that end a bad time."""

SINGLE_POD_SLOW_FOR = timedelta(minutes=8)
"""How long a single new pod must have been slow for the plain threshold to be enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """New against old in the minutes in which both served.

    `pairs` counts all of them, `recent` the last `persistence_of`; of those `convicting` had the new pods bad and the old
    ones not, in `alike` both were bad, in `fine` the new ones were healthy. `worst` is the rule that convicts most.
    """

    pairs: int
    recent: int
    convicting: int
    alike: int
    fine: int
    enough: bool
    sure: bool
    lasts: bool
    worst: SignalRule | None
    new_value: float | None
    old_value: float | None
    threshold: float | None

    def convicts(self, policy: Policy) -> bool:
        """Persistent, under enough traffic, and not shared by the old pods."""
        persists = self.convicting >= policy.persistence_bad and self.convicting > self.alike
        return self.enough and persists and self.sure and self.lasts

    def acquits(self, policy: Policy) -> bool:
        """As many fine minutes as persistence looks at, none bad."""
        return self.enough and self.fine >= policy.persistence_of and self.convicting == 0


def contrast_of(measurement: Measurement, rollout: Rollout, policy: Policy) -> Contrast:
    """Compare the pods of both revisions minute by minute."""
    pairs = _pairs(measurement, policy)
    before = typical(measurement.before)
    warm = (measurement.new[0].at if measurement.new else rollout.started_at) + policy.latency_warm_up
    window = [*pairs, *_early(measurement, policy, before, warm)][-policy.persistence_of :]
    alike = fine = 0
    per_rule: dict[str, int] = {}
    against: dict[str, int] = {}
    for new, old in window:
        bad = _bad_rules(policy, new, old, warm)
        ailing = [rule for rule in bad if old_is_bad(rule, old, before)]
        shared = [rule for rule in ailing if not far_worse(rule, new, old) and not as_ever(rule, old, before)]
        fails_alike = any(rule.kind is SignalKind.ERROR_RATIO for rule in ailing)
        guilty = [
            rule
            for rule in bad
            if rule not in ailing
            and stands_out(rule, new, old, fails_alike=fails_alike)
            and not has_more_to_do(policy, rule, new, old)
            and not queues(policy, rule, new, old)
            and not overloaded(policy, rule, new, old, before)
        ]
        for rule in guilty:
            against[rule.name] = against.get(rule.name, 0) + 1
        alike += bool(shared) and not guilty
        fine += not bad and _told_alike(policy, new, old) and judge_sample(policy, new, old) is Health.HEALTHY
        for rule in guilty or shared:
            per_rule[rule.name] = per_rule.get(rule.name, 0) + 1
    worst = next(
        (
            r
            for r in policy.signals
            if r.name == max(per_rule, key=lambda n: (against.get(n, 0), per_rule[n]), default="")
        ),
        None,
    )
    new_value, old_value = _typical_pair(worst, window)
    asked = sum(1 for rule in policy.signals if any(new.value(rule.name) is not None for new, _ in window))
    later = _later(worst, measurement, window, policy) if worst is not None else []
    sure = worst is not None and _is_sure(worst, window, pairs, later, measurement, asked, policy)
    sides = [[pair[0] for pair in pairs], [pair[1] for pair in pairs]]
    return Contrast(
        pairs=len(pairs),
        recent=len(window),
        convicting=max(against.values(), default=0),
        alike=alike,
        fine=fine,
        enough=enough_traffic(policy, *sides),
        sure=sure,
        lasts=worst is None or _lasts(worst, measurement, window),
        worst=worst,
        new_value=new_value,
        old_value=old_value,
        threshold=trigger_of(worst, old_value) if worst else None,
    )


def both_bad(new: Sequence[Sample], old: Sequence[Sample], before: Sequence[Sample], policy: Policy) -> bool:
    """New and old pods are bad in their latest samples: then it is worth asking how those fare that they call."""
    usual = typical(before)
    return bool(new and old) and all(
        judge_sample(policy, latest, usual) is Health.UNHEALTHY for latest in (new[-1], old[-1])
    )


def _pairs(measurement: Measurement, policy: Policy) -> list[tuple[Sample, Sample]]:
    """The samples of both sides at the same moment, where both served."""
    old_at = {sample.at: sample for sample in measurement.old}
    both = [(new, old_at[new.at]) for new in measurement.new if new.at in old_at]
    sides = [serving(policy, [pair[side] for pair in both]) for side in (0, 1)]
    return [pair for pair, *answered in zip(both, *sides, strict=True) if all(answered)]


def _early(
    measurement: Measurement, policy: Policy, before: Sample | None, warm: datetime
) -> tuple[tuple[Sample, Sample], ...]:
    """The pair that is not settled yet, where it convicts: it may complete a conviction that settled ones began, nothing else.

    Of its moment the scrapes of some pods may still be missing, so an outage of all can look like one of the new pods. It is one
    pair at most, so where persistence asks for two, at least one settled pair convicts besides; and that one has seen everybody.
    """
    if measurement.unsettled is None or policy.persistence_bad < 2:
        return ()
    new, old = measurement.unsettled
    if not (served(policy, new) and served(policy, old)):
        return ()
    bad = _bad_rules(policy, new, old, warm)
    guilty = bad and not any(old_is_bad(rule, old, before) for rule in bad)
    return (measurement.unsettled,) if guilty else ()


def _told_alike(policy: Policy, new: Sample, old: Sample) -> bool:
    """CPU and memory of pods that answer nobody are fine; where requests are known of the old ones, they acquit nobody."""
    return is_heard(policy, new) or not is_heard(policy, old)


def _bad_rules(policy: Policy, new: Sample, old: Sample, warm: datetime) -> list[SignalRule]:
    warmed = [rule for rule in policy.signals if new.at >= warm or rule.kind not in policy.latency_kinds]
    # both sides must have the signal: an old pod that says nothing is no witness that it was well
    told = [rule for rule in warmed if old.value(rule.name) is not None]
    rules = [rule for rule in told if measurable(policy, rule, new, old)]
    return [rule for rule in rules if judge(rule, new.value(rule.name), old.value(rule.name)) is Health.UNHEALTHY]


def old_is_bad(rule: SignalRule, old: Sample, before: Sample | None) -> bool:
    """The old pods are bad by this signal, held against what was usual before the rollout."""
    baseline = before.value(rule.name) if before else None
    return judge(rule, old.value(rule.name), baseline) is Health.UNHEALTHY


def _typical_pair(
    rule: SignalRule | None, window: Sequence[tuple[Sample, Sample]]
) -> tuple[float | None, float | None]:
    if rule is None:
        return None, None
    new, old = (
        typical([pair[0] for pair in window]),
        typical([pair[1] for pair in window]),
    )
    return (
        new.value(rule.name) if new else None,
        old.value(rule.name) if old else None,
    )


def _later(
    rule: SignalRule, measurement: Measurement, window: Sequence[tuple[Sample, Sample]], policy: Policy
) -> list[tuple[Sample, Sample]]:
    """What the new pods say of their latency after the old ones are gone, held against what those said last.

    It begins no conviction. It answers what the minutes side by side left open where these were few: pods that came later are
    on other nodes, and once the youngest of them has served for SLOW_FOR all caches are warm. In a rolling update of two
    minutes that is all there is to go by.
    """
    old = typical([pair[1] for pair in window])
    if rule.kind not in policy.latency_kinds or old is None or not measurement.ready_since:
        return []
    warm = max(window[-1][0].at, measurement.ready_since[-1] + SLOW_FOR)
    return [(each, old) for each in measurement.new if each.at > warm and each.value(rule.name) is not None]


def _lasts(rule: SignalRule, measurement: Measurement, window: Sequence[tuple[Sample, Sample]]) -> bool:
    """The new pods are bad still, as far as they have said anything since: pods that were slow to warm up are well by now."""
    latest = [sample for sample in measurement.new if sample.value(rule.name) is not None][-LASTING_SAMPLES:]
    old = typical([pair[1] for pair in window])
    since = [sample for sample in latest if window and sample.at > window[-1][0].at]
    health = [judge(rule, each.value(rule.name), old.value(rule.name) if old else None) for each in since]
    return not since or Health.UNHEALTHY in health


def _is_sure(
    rule: SignalRule,
    window: Sequence[tuple[Sample, Sample]],
    pairs: Sequence[tuple[Sample, Sample]],
    later: Sequence[tuple[Sample, Sample]],
    measurement: Measurement,
    asked: int,
    policy: Policy,
) -> bool:
    """More than chance: what convicts most, over the pairs that are looked at."""
    told = [pair for pair in window if _is_told(rule, pair, policy)]
    if is_settling(rule, measurement, told):
        return False
    if rule.kind is SignalKind.ERROR_RATIO and (counts := _counts(rule, told, policy)) is not None:
        likely = min(1.0, tests.proportion_p(*counts) * max(1, asked))
        return likely <= CHANCE_MAX and _most_pods(rule, told, measurement, policy, timedelta(0))
    values = [value for sample in (*measurement.before, *(old for _, old in pairs)) for value in each_of(rule, sample)]
    middle = median(value for new, _ in told for value in each_of(rule, new))
    floor = STANDS_OUT[rule.kind][1] / FAR_OUT if rule.kind in STANDS_OUT else 0.0
    far = tests.robust_z(middle, values, floor=floor)
    if far is not None and far < FAR_OUT:
        return False
    if rule.kind is SignalKind.LATENCY and (
        _bad_for(rule, [*pairs, *later]) < SLOW_FOR or _few_requests([*told, *later], policy)
    ):
        return False
    if _most_pods(rule, told, measurement, policy, _bad_for(rule, pairs)):
        return True
    return bool(later) and _persists(rule, [*told, *later[-policy.persistence_of :]], measurement, policy)


def _is_told(rule: SignalRule, pair: tuple[Sample, Sample], policy: Policy) -> bool:
    """Both sides have a value, of requests enough."""
    return all(sample.value(rule.name) is not None for sample in pair) and measurable(policy, rule, *pair)


def _few_requests(told: Sequence[tuple[Sample, Sample]], policy: Policy) -> bool:
    """Of the new pods; False where nobody knows how many there were."""
    known = requests(policy, [new for new, _ in told])
    return known is not None and known < REQUESTS_OF_SLOWNESS


def _bad_for(rule: SignalRule, pairs: Sequence[tuple[Sample, Sample]]) -> timedelta:
    """From the first to the last bad pair of the newest ones; two good ones in a row end it."""
    good, bad = 0, list[datetime]()
    for new, old in reversed(pairs):
        if judge(rule, new.value(rule.name), old.value(rule.name)) is Health.UNHEALTHY:
            bad.append(new.at)
            good = 0
        elif (good := good + 1) == BREAK_SAMPLES:
            break
    return bad[0] - bad[-1] if bad else timedelta(0)


def _most_pods(
    rule: SignalRule,
    told: Sequence[tuple[Sample, Sample]],
    measurement: Measurement,
    policy: Policy,
    lasted: timedelta,
) -> bool:
    """Not one pod on a bad node: most of the new pods are bad, and a single one is so by far and persistently."""
    if rule.kind in policy.latency_kinds and all(_tells_of_one(rule, new, measurement) for new, _ in told):
        far = [new for new, old in told if _times(rule, new, old) >= SINGLE_POD_TIMES]
        return len(far) > policy.persistence_bad or lasted >= SINGLE_POD_SLOW_FOR
    if all(new.pods is None for new, _ in told):
        return True  # only all together are known
    return _persists(rule, told, measurement, policy)


def _tells_of_one(rule: SignalRule, new: Sample, measurement: Measurement) -> bool:
    return measurement.is_of_one(new) if new.pods is None else len(each_of(rule, new)) == 1


def _persists(
    rule: SignalRule, told: Sequence[tuple[Sample, Sample]], measurement: Measurement, policy: Policy
) -> bool:
    return sum(_most_are_bad(rule, new, old, measurement) for new, old in told) >= policy.persistence_bad


def _most_are_bad(rule: SignalRule, new: Sample, old: Sample, measurement: Measurement) -> bool:
    """Of a slow revision all pods are slow: where one is healthy, the others may be young, or on a slow node."""
    values, baseline = each_of(rule, new), old.value(rule.name)
    health = [judge(rule, value, baseline) for value in values]
    if rule.kind in LATENCIES and Health.HEALTHY in health:
        return False
    bad = [each is Health.UNHEALTHY for each in health]
    several = len(bad) > 1 or (new.pods is None and not measurement.is_of_one(new))
    return sum(bad) * 2 > len(bad) and (several or rule.kind is SignalKind.ERROR_RATIO)


def _times(rule: SignalRule, new: Sample, old: Sample) -> float:
    there, here = new.value(rule.name), old.value(rule.name)
    return there / here if there is not None and here else 0.0


def _counts(
    rule: SignalRule, window: Sequence[tuple[Sample, Sample]], policy: Policy
) -> tuple[float, float, float, float] | None:
    """Failed and all requests of the new pods, and of the old ones; None where the traffic is not known."""
    found = []
    for side in (0, 1):
        samples = [pair[side] for pair in window]
        rates = [traffic(policy, sample) for sample in samples]
        if None in rates or not samples:
            return None
        step = seconds_between(policy, samples)
        counts = [(rate or 0.0) * step for rate in rates]
        bad = sum((sample.value(rule.name) or 0.0) * count for sample, count in zip(samples, counts, strict=True))
        found += [bad, sum(counts)]
    return found[0], found[1], found[2], found[3]
