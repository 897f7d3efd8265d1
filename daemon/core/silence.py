"""New pods of which nothing is heard while the old ones answer: fallen silent, or never heard at all.

Silence alone may be a scrape that was lost, so it needs a witness: pods that are not ready or restarted, or an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from daemon.core.incidents import Term
from daemon.core.measurement import Health, Measurement, Sample
from daemon.core.model import AlertStatus, Neighbour
from daemon.core.policy import LATENCIES, Policy, SignalKind
from daemon.core.signals import enough_traffic, judge_sample, serving, typical
from daemon.core.weights import WEIGHTS

SILENT_SAMPLES = 3
"""Moments in a row in which the old pods answered and no new one did: a scrape or two may be lost."""

SPOKE_SAMPLES = 2
"""Moments at which the new pods must have answered before: one that never reports may have no metrics at all (blame.md)."""

_OF_REQUESTS = frozenset({SignalKind.TRAFFIC, SignalKind.ERROR_RATIO, *LATENCIES})


def silence_terms(
    measurement: Measurement, policy: Policy, neighbour: Neighbour | None, onset: datetime, *, alone: bool
) -> list[Term]:
    """Only where it is corroborated: by pods that are not ready or restarted, or by an alert that fires now (blame.md)."""
    heard = (sample.at for sample in reversed(measurement.new) if _is_heard(sample, policy))
    spoke = tuple(islice(heard, SPOKE_SAMPLES))[::-1]
    if 0 < len(spoke) < SPOKE_SAMPLES or not measurement.new_pods:
        return []
    since = spoke[-1] if spoke else None
    later = [sample for sample in measurement.old if since is None or sample.at > since]
    sides = zip(later, serving(policy, later), strict=True)
    answered = [sample.at for sample, did in sides if did and _is_heard(sample, policy)]
    moments = _silent_moments(measurement, spoke, answered, policy)
    firing = any(state.status is AlertStatus.FIRING for state in measurement.alerts)
    unwell = bool(measurement.restarts) or measurement.new_ready < measurement.new_pods
    if moments < SILENT_SAMPLES or not (firing or (unwell and spoke)):
        return []
    if not (unwell and spoke) and not _accused_by_others(measurement, policy, neighbour):
        return []
    # what also hurts elsewhere, or began when the old pods were gone, has another cause: they may only lack their metrics
    beside = bool(answered) and onset <= answered[-1]
    missed = alone and beside and neighbour is not None and _should_be_heard(measurement, policy)
    name = "silence" if spoke or missed else "unheard"
    return [
        Term(
            name=name,
            value=float(moments),
            threshold=float(SILENT_SAMPLES),
            weight=WEIGHTS[name],
            sentence=(
                f"The new pods fell silent {moments} samples ago while the old ones answered."
                if spoke
                else f"Nothing was heard of the new pods in {moments} samples, and an alert fires."
            ),
        )
    ]


def _should_be_heard(measurement: Measurement, policy: Policy) -> bool:
    """They are ready, and the old pods have so much to do that chance leaves none of it to them."""
    return measurement.new_ready > 0 and enough_traffic(policy, measurement.old[-policy.persistence_of :])


def _is_heard(sample: Sample, policy: Policy) -> bool:
    """Something is known of its requests, and be it that there are none: nobody asks is not nobody answers."""
    return any(sample.value(rule.name) is not None for rule in policy.signals if rule.kind in _OF_REQUESTS)


def _silent_moments(
    measurement: Measurement, spoke: Sequence[datetime], answered: Sequence[datetime], policy: Policy
) -> int:
    """Samples since the new pods were heard last in which old pods answered; of pods never heard also those since nobody does."""
    if spoke:
        return len(answered)
    beside = len(answered)
    if not answered or not measurement.new_ready:
        return beside
    return beside + int((measurement.at - answered[-1]) / policy.sample_interval)


def _accused_by_others(measurement: Measurement, policy: Policy, neighbour: Neighbour | None) -> bool:
    """Of pods that are not heard only others tell: those who call them directly, or its own alert while old pods are well."""
    if neighbour is not None and not (neighbour.called and neighbour.hops == 1):
        return False
    latest = measurement.old[-1:]
    return all(judge_sample(policy, each, typical(measurement.before)) is Health.HEALTHY for each in latest)
