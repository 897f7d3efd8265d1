"""What restarts of the new pods tell: three, and none of the old pods, are no accident; of pods that ran out of memory fewer are.

What leaks fills with age: the oldest pod is killed first, is empty and well right after, and fills again. So it is told by one
pod that was full, not by most of them, and it goes on for as long as it took to fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from daemon.core.excuses import STANDS_OUT
from daemon.core.incidents import Term
from daemon.core.measurement import Health, Measurement, Sample
from daemon.core.policy import Policy, SignalKind, SignalRule
from daemon.core.recovery import STALE_AFTER
from daemon.core.signals import each_of, is_heard, judge
from daemon.core.weights import WEIGHTS

RESTARTS_TOLD = 3
"""Restarts of the new pods, none of the old ones, that are no accident any more."""

KILLED_TOLD = 2
"""New pods killed for their memory that are none: a node that has none left may kill one that is at hand."""

MEMORY_LEFT = 0.7
"""Of its limit, what a pod uses at most that is not about to run out of memory: 0.85 triggers, samples are a minute apart."""

FULL_BEFORE = 2
"""Samples before a restart of which one must show the pod full: a sample or the scrape behind it may be late."""

STARTING = timedelta(minutes=3)
"""Restarts so soon belong to the start: the kubelet waits 10, 20 and 40 s before the first three, and a database may be late."""

RHYTHM = 2
"""Times the usual way between two restarts within which the next one of a pod that fills up is still to come."""


def restart_terms(measurement: Measurement, policy: Policy, *, old_ran: bool) -> list[Term]:
    """The term against the new pods where they restarted more than an accident explains, and the old ones never."""
    if measurement.old_restarts or not old_ran:
        return []
    told, why = _told_by(measurement, policy)
    if measurement.restarts < told:
        return []
    times = "once" if measurement.restarts == 1 else f"{measurement.restarts} times"
    return [
        Term(
            name="restarts",
            value=float(measurement.restarts),
            threshold=float(told),
            weight=WEIGHTS["restarts"],
            sentence=f"The new pods restarted {times}{why}, the old ones never.",
        )
    ]


def restarts_go_on(measurement: Measurement, policy: Policy) -> bool:
    """A pod that leaks memory is well each time it has just been killed for it: one good sample right after proves nothing.

    What crashes only while it starts is over by itself, so they must have answered for a while before the newest restart.
    """
    latest = measurement.restarted_at
    answered = next((sample.at for sample in measurement.new if is_heard(policy, sample)), None)
    if latest is None or answered is None or latest < answered + STARTING:
        return False
    patience = STALE_AFTER * policy.sample_interval
    if _told_by(measurement, policy)[0] < RESTARTS_TOLD:
        patience = max(patience, RHYTHM * (latest - answered) / max(1, measurement.restarts))
    return measurement.at - latest <= patience


def had_memory_left(measurement: Measurement, policy: Policy) -> bool:
    """None of the new pods was near its limit lately; False where nobody knows."""
    latest, names = measurement.new[-policy.persistence_of :], policy.names_of(SignalKind.MEMORY)
    used = [share for each in latest for name in names if (share := each.value(name)) is not None]
    return bool(used) and max(used) <= MEMORY_LEFT


def _told_by(measurement: Measurement, policy: Policy) -> tuple[int, str]:
    """How many restarts are no accident, and in words what makes them fewer than usual."""
    if measurement.killed and _filled_up(measurement, policy):
        return 1, ", killed for its memory when full"
    if measurement.killed >= KILLED_TOLD and not had_memory_left(measurement, policy):
        return KILLED_TOLD, f", {measurement.killed} pods killed for their memory"
    return RESTARTS_TOLD, ""


def _filled_up(measurement: Measurement, policy: Policy) -> bool:
    """A new pod was full just before the newest restart, and no old one was near that."""
    latest = measurement.restarted_at
    if latest is None:
        return False
    since = latest - FULL_BEFORE * policy.sample_interval
    here = [sample for sample in measurement.new if since <= sample.at <= latest]
    there = (*measurement.before, *measurement.old)
    rules = (rule for rule in policy.signals if rule.kind is SignalKind.MEMORY)
    return any(_is_full(rule, here, there) for rule in rules)


def _is_full(rule: SignalRule, new: Sequence[Sample], old: Sequence[Sample]) -> bool:
    used, usual = _most(rule, new), _most(rule, old)
    if used is None or usual is None or judge(rule, used, None) is not Health.UNHEALTHY:
        return False
    return used - usual >= STANDS_OUT[SignalKind.MEMORY][1]


def _most(rule: SignalRule, samples: Sequence[Sample]) -> float | None:
    return max((value for sample in samples for value in each_of(rule, sample)), default=None)
