"""New pods of which nothing is heard while the old ones answer: fallen silent, or never heard at all.

Silence alone may be a scrape that was lost, so it needs a witness: pods that are not ready or restarted, an alert, or those who
call them directly and are bad since the rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from daemon.core.division import Division, division
from daemon.core.incidents import Term
from daemon.core.measurement import Health, Measurement, Peer, Sample
from daemon.core.model import AlertStatus, Neighbour, Rollout
from daemon.core.policy import Policy, SignalKind, SignalRule
from daemon.core.signals import enough_traffic, is_heard, judge, judge_sample, serving, typical
from daemon.core.weights import WEIGHTS

SILENT_SAMPLES = 3
"""Moments in a row in which the old pods answered and no new one did: a scrape or two may be lost."""

SPOKE_SAMPLES = 2
"""Moments at which the new pods must have answered before: one that never reports may have no metrics at all (blame.md)."""

DOSE = 0.25
"""Of the share of the new pods, how much of a caller's requests must fail: they answer none, and not every request comes here."""

FIRST_MIN = 0.02
"""How much more must fail in the first moments in which new pods are ready than in the last before: one of many fails little."""

ONSET_SAMPLES = 3
"""After new pods became ready, how soon it must begin to hurt: one sample may lie across that moment, and one be lost."""

LOST_SAMPLES = 10
"""After new pods became ready, how long what is missed further on is theirs: later something else may keep it from there."""

CPU_AT_REST = 1 / 3
"""Of the CPU of pods at work, what those use at most that answer nobody: of generated ones a fifth; at work the median is 1."""

CALLERS_MAX = 6
"""Direct callers that are asked: as many as peers, and one that is bad is enough."""

SHOWN_MAX = 3
"""Names in the sentence."""


def silence_terms(
    measurement: Measurement,
    rollout: Rollout,
    policy: Policy,
    neighbour: Neighbour | None,
    onset: datetime,
    *,
    alone: bool,
) -> list[Term]:
    """Only where it is corroborated: by pods not ready or restarted, by an alert that fires now, or by callers (blame.md)."""
    spoke = _spoke(measurement, policy)
    if 0 < len(spoke) < SPOKE_SAMPLES or not measurement.new_pods:
        return []
    answered = _answered_since(measurement, spoke, policy)
    moments = _silent_moments(measurement, spoke, answered, policy)
    if moments < SILENT_SAMPLES:
        return []
    if spoke and (measurement.restarts or measurement.new_ready < measurement.new_pods):
        return [_term("silence", moments, _FELL)]
    hurt = worse_since(measurement.callers, policy, DOSE * _share(measurement))
    firing = any(state.status is AlertStatus.FIRING for state in measurement.alerts)
    if neighbour is not None and not (neighbour.called and neighbour.hops == 1):
        return []
    work = division(measurement, policy, _served_before(rollout)) if alone else None
    resting = not spoke and _use_no_cpu(measurement, policy)
    idle = firing and (resting or (work is not None and (work.old_do_all or work.new_do_none)))
    lost = work is not None and work.lost and _are_fresh(measurement, policy)
    if not (firing or hurt or lost) or (work is not None and work.new_work and not hurt):
        return []
    if not idle and not _old_are_well(measurement, policy):
        return []
    heard_of = _should_be_heard(measurement, policy)
    if spoke:
        return [_term("silence", moments, _FELL)] if firing or (alone and heard_of) else []
    told = bool(hurt) or (neighbour is not None and _may_be_it(measurement, onset, rollout.steps, policy))
    missed = alone and told and heard_of and _is_beside(measurement, answered, policy, onset if neighbour else None)
    name = "silence" if idle or lost or missed else "unheard"
    seen = "they use hardly any CPU" if resting and not hurt else _witness(hurt, work)
    return [_term(name, moments, f"Nothing was heard of the new pods in {{}} samples, and {seen}.")]


def _use_no_cpu(measurement: Measurement, policy: Policy) -> bool:
    """They do not work. What only lacks its metrics uses as much CPU for its requests as the pods before it did."""
    names = policy.names_of(SignalKind.CPU)
    before, now = typical(measurement.before), typical(measurement.new[-SILENT_SAMPLES:])
    if before is None or now is None or len(measurement.new) <= SILENT_SAMPLES:
        return False
    pairs = [(now.value(name), before.value(name)) for name in names]
    told = [(here, usual) for here, usual in pairs if here is not None and usual]
    return bool(told) and all(here <= CPU_AT_REST * usual for here, usual in told)


def _is_beside(measurement: Measurement, answered: Sequence[datetime], policy: Policy, onset: datetime | None) -> bool:
    """Since it hurts old pods have answered: what began when they were gone has another cause, new ones may lack metrics."""
    since = onset or measurement.at - (SILENT_SAMPLES + 1) * policy.sample_interval
    return bool(answered) and since <= answered[-1]


def _served_before(rollout: Rollout) -> int:
    return len(rollout.names_of(rollout.replaced.id)) if rollout.replaced is not None else 0


_FELL = "The new pods fell silent {} samples ago while the old ones answered."


def _term(name: str, moments: int, sentence: str) -> Term:
    return Term(
        name=name,
        value=float(moments),
        threshold=float(SILENT_SAMPLES),
        weight=WEIGHTS[name],
        sentence=sentence.format(moments),
    )


def _spoke(measurement: Measurement, policy: Policy) -> tuple[datetime, ...]:
    """When the new pods were heard last, and the time before that."""
    heard = (sample.at for sample in reversed(measurement.new) if is_heard(policy, sample))
    return tuple(islice(heard, SPOKE_SAMPLES))[::-1]


def _answered_since(measurement: Measurement, spoke: Sequence[datetime], policy: Policy) -> list[datetime]:
    """When old pods answered and the new ones did not: since these were heard last, else since the first one is ready."""
    cold = {sample.at for sample in measurement.new if not sample.values}  # they were heard, and not yet warm
    since = spoke[-1:] or measurement.ready_since[:1]
    later = [each for each in measurement.old if each.at not in cold and (not since or each.at > since[0])]
    sides = zip(later, serving(policy, later), strict=True)
    return [sample.at for sample, did in sides if did and is_heard(policy, sample)]


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
    if not _changed(rule, peer):
        return False  # what hurts it besides may fail just as much, but hardly from that very minute on
    return judge(rule, now, before) is Health.UNHEALTHY and judge(rule, before, None) is not Health.UNHEALTHY


def _changed(rule: SignalRule, peer: Peer) -> bool:
    """It fails more from the minute on in which new pods were ready, or fell silent."""
    if peer.since is None:
        return False
    until, first = (sample.value(rule.name) for sample in peer.since)
    return until is not None and first is not None and first - until >= FIRST_MIN


def _share(measurement: Measurement) -> float:
    """Of the requests that go to the new pods, if all pods get as many."""
    return measurement.new_ready / max(1, measurement.new_ready + measurement.old_ready)


def _may_be_it(measurement: Measurement, onset: datetime, steps: Sequence[datetime], policy: Policy) -> bool:
    """Where nobody asked the callers, an alert of one may be about pods that are not heard: it began as some became ready."""
    soon = ONSET_SAMPLES * policy.sample_interval
    asked = any(peer.since is not None for peer in measurement.callers)
    return not asked and (not steps or any(step <= onset <= step + soon for step in steps))


def _witness(hurt: Sequence[str], work: Division | None) -> str:
    if hurt:
        return f"{', '.join(hurt[:SHOWN_MAX])}, calling it, got worse since"
    if work is not None and work.old_do_all:
        return "fewer old ones do the work of all"
    return "none of their work reaches those they call" if work is not None and work.new_do_none else "an alert fires"


def _are_fresh(measurement: Measurement, policy: Policy) -> bool:
    return measurement.at <= measurement.ready_since[-1] + LOST_SAMPLES * policy.sample_interval


def _should_be_heard(measurement: Measurement, policy: Policy) -> bool:
    """They are ready, and the old pods have so much to do that chance leaves none of it to them."""
    return measurement.new_ready > 0 and enough_traffic(policy, measurement.old[-policy.persistence_of :])


def fell_silent_at(
    new: Sequence[Sample], ready_since: Sequence[datetime], policy: Policy, now: datetime
) -> tuple[datetime, ...]:
    """From when on callers would fail if it is the new pods' doing; nothing where these are heard lately, or none is ready.

    Pods that were heard: since the last time. Of such as never were: since the first ones were ready, or the last ones.
    """
    heard = [sample.at for sample in new if is_heard(policy, sample)][-1:]
    if not ready_since or (heard and heard[-1] > now - (SILENT_SAMPLES + 1) * policy.sample_interval):
        return ()
    return tuple(heard or dict.fromkeys((ready_since[0], ready_since[-1])))


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


def _old_are_well(measurement: Measurement, policy: Policy) -> bool:
    """An alert on a workload whose old pods err may be about these."""
    latest = measurement.old[-1:]
    return all(judge_sample(policy, each, typical(measurement.before)) is Health.HEALTHY for each in latest)
