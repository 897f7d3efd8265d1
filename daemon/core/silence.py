"""New pods of which nothing is heard while the old ones answer: fallen silent, or never heard at all.

Silence alone may be a scrape that was lost, so it needs a witness: pods that are not ready or restarted, an alert, or those who
call them directly and are bad since the rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from daemon.core.incidents import Term
from daemon.core.measurement import Health, Measurement, Peer, Sample
from daemon.core.model import AlertStatus, Neighbour
from daemon.core.policy import LATENCIES, Policy, SignalKind, SignalRule
from daemon.core.signals import enough_traffic, judge, judge_sample, serving, typical
from daemon.core.weights import WEIGHTS

SILENT_SAMPLES = 3
"""Moments in a row in which the old pods answered and no new one did: a scrape or two may be lost."""

SPOKE_SAMPLES = 2
"""Moments at which the new pods must have answered before: one that never reports may have no metrics at all (blame.md)."""

DOSE = 0.25
"""Of the share of the new pods, how much of a caller's requests must fail: they answer none, and not every request comes here."""

CALLERS_MAX = 6
"""Direct callers that are asked: as many as peers, and one that is bad is enough."""

SHOWN_MAX = 3
"""Names in the sentence."""

_OF_REQUESTS = frozenset({SignalKind.TRAFFIC, SignalKind.ERROR_RATIO, *LATENCIES})


def silence_terms(
    measurement: Measurement, policy: Policy, neighbour: Neighbour | None, onset: datetime, *, alone: bool
) -> list[Term]:
    """Only where it is corroborated: by pods that are not ready or restarted, or by an alert that fires now (blame.md)."""
    heard = (sample.at for sample in reversed(measurement.new) if _is_heard(sample, policy))
    spoke = tuple(islice(heard, SPOKE_SAMPLES))[::-1]
    if 0 < len(spoke) < SPOKE_SAMPLES or not measurement.new_pods:
        return []
    cold = {sample.at for sample in measurement.new if not sample.values}  # they were heard, and not yet warm
    later = [each for each in measurement.old if each.at not in cold and (not spoke or each.at > spoke[-1])]
    sides = zip(later, serving(policy, later), strict=True)
    answered = [sample.at for sample, did in sides if did and _is_heard(sample, policy)]
    moments = _silent_moments(measurement, spoke, answered, policy)
    hurt = () if spoke else worse_since(measurement.callers, policy, DOSE * _share(measurement))
    firing = any(state.status is AlertStatus.FIRING for state in measurement.alerts)
    unwell = bool(measurement.restarts) or measurement.new_ready < measurement.new_pods
    if moments < SILENT_SAMPLES or not (firing or hurt or (unwell and spoke)):
        return []
    if not (unwell and spoke) and not _accused_by_others(measurement, policy, neighbour):
        return []
    # what also hurts elsewhere, or began when the old pods were gone, has another cause: they may only lack their metrics
    since = onset if neighbour is not None else measurement.at - (SILENT_SAMPLES + 1) * policy.sample_interval
    beside = bool(answered) and since <= answered[-1]
    seen = neighbour is not None or bool(hurt)
    missed = alone and seen and beside and _should_be_heard(measurement, policy)
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
                else f"Nothing was heard of the new pods in {moments} samples, and {_witness(hurt)}."
            ),
        )
    ]


def worse_since(callers: Sequence[Peer], policy: Policy, least: float = 0.0) -> tuple[str, ...]:
    """Whose requests fail now and did not before the rollout; of whom nothing is known from before, they may always have.

    Errors alone: what is slow may still be warming up, here or there. `least` is how much more of them must fail, 0..1.
    """
    rules = [rule for rule in policy.signals if rule.kind is SignalKind.ERROR_RATIO]
    return tuple(peer.workload.short for peer in callers if any(_fails_since(rule, peer, least) for rule in rules))


def _fails_since(rule: SignalRule, peer: Peer, least: float) -> bool:
    if peer.before is None or peer.now is None:
        return False
    before, now = peer.before.value(rule.name), peer.now.value(rule.name)
    if before is None or now is None or now - before < least:
        return False
    return judge(rule, now, before) is Health.UNHEALTHY and judge(rule, before, None) is not Health.UNHEALTHY


def _share(measurement: Measurement) -> float:
    """Of the requests that go to the new pods, if all pods get as many."""
    return measurement.new_ready / max(1, measurement.new_ready + measurement.old_ready)


def _witness(hurt: Sequence[str]) -> str:
    return f"{', '.join(hurt[:SHOWN_MAX])}, calling it, got worse since" if hurt else "an alert fires"


def _should_be_heard(measurement: Measurement, policy: Policy) -> bool:
    """They are ready, and the old pods have so much to do that chance leaves none of it to them."""
    return measurement.new_ready > 0 and enough_traffic(policy, measurement.old[-policy.persistence_of :])


def are_heard(samples: Sequence[Sample], policy: Policy) -> bool:
    """Something is known of the requests of these pods."""
    return any(_is_heard(sample, policy) for sample in reversed(samples))


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
