"""Which rollout, if any, caused this? Evidence per candidate, each term with its number, threshold and a sentence.

Contrast between revisions at the same minute comes first, time only forms the candidate set: that is what the measured
ablation says (blame.md: taking the contrast away costs a quarter of the F1). Weights stand in one table with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from daemon.core.contrast import Contrast, contrast_of
from daemon.core.incidents import Suspicion, Term, Tier
from daemon.core.measurement import Health, Measurement, Sample
from daemon.core.model import AlertStatus, Declaration, Neighbour, OnsetSource, Rollout
from daemon.core.policy import LATENCIES, Policy, SignalKind
from daemon.core.signals import enough_traffic, judge_sample, serving, typical

WEIGHTS = {
    # A pod that cannot start while its predecessor ran needs no statistics.
    "start_failure": 0.9,
    # Same minute, same load, other revision: the strongest evidence that metrics can give (blame.md).
    "contrast": 0.8,
    # The new pods answered, and then fell silent or began to restart, while the old ones go on: as good as a contrast, for
    # no metric of theirs is left to compare (blame.md: leaving this out costs a quarter of the F1).
    "silence": 0.8,
    # Pods that were never heard may only lack a scrape annotation: enough to ask a person.
    "unheard": 0.5,
    "restarts": 0.8,
    # It got worse at the rollout, but so may have everything else: half of a conviction.
    "before_after": 0.4,
    # "A deploy shortly before the alert" alone is right in a quarter to a half of the cases (blame.md: precision .23-.50).
    "timing": 0.4,
    # Somebody who sees what no metric shows: enough to ask a person, never to act (the tier stays that of the timing).
    "declared": 0.9,
    # New and old serve side by side and the new one is fine: it takes back what timing alone would say.
    "exculpation": -0.5,
    # Old and new pods of it are bad alike: it suffers from something else, but the rollout may have come with it.
    "alike": -0.3,
    # Where it hurts is called by it or calls it: half of a conviction, halved again with each call in between.
    "graph": 0.3,
    # Per further place where it hurts and that calls it: what all of them share is likelier than what one has by itself.
    "explains": 0.1,
}

EXPLAINS_MAX = 3
"""Further places that count."""

CALLER_SHARE = 0.6
"""Of the weight of the graph for one that calls where it hurts: answers go wrong more often than questions."""

TIMING_HALF_LIFE = timedelta(minutes=10)
"""Blame by timing halves per 10 minutes between rollout and onset (time decay is worth most of Gandalf's precision)."""


def in_window(rollout: Rollout, onset: datetime, policy: Policy, chain_start: datetime | None) -> bool:
    """The rollout's window covers the onset: it began before, and ended at most `blame_window` before.

    A successor inherits the start of the chain it belongs to: the fix that did not help is not "younger than the symptom".
    """
    if symptom_older(rollout, onset, policy, chain_start):
        return False
    return onset <= (rollout.completed_at or onset) + policy.blame_window


def symptom_older(rollout: Rollout, onset: datetime, policy: Policy, chain_start: datetime | None) -> bool:
    """The anomaly began before the rollout did. One sample interval of slack: clocks of API server and Prometheus differ."""
    began = min(rollout.started_at, chain_start) if chain_start else rollout.started_at
    return onset < began - policy.sample_interval


def peers_failing(measurement: Measurement, policy: Policy) -> tuple[str, ...]:
    """Unrelated workloads that were well before the onset and are bad now (DESIGN: common cause)."""
    return tuple(
        peer.workload.short
        for peer in measurement.peers
        if peer.now is not None
        and judge_sample(policy, peer.now, peer.before) is Health.UNHEALTHY
        and (peer.before is None or judge_sample(policy, peer.before, None) is not Health.UNHEALTHY)
    )


def shared_by_peers(measurement: Measurement, policy: Policy) -> tuple[str, ...]:
    """The failing peers if they are enough to speak of a common cause: one of a few, a fifth of many."""
    failing = peers_failing(measurement, policy)
    measured = sum(1 for peer in measurement.peers if peer.now is not None)
    return failing if len(failing) >= max(1, measured // 5) else ()


def suspect(
    rollout: Rollout,
    measurement: Measurement,
    onset: datetime,
    onset_source: OnsetSource,
    policy: Policy,
    *,
    old_ran: bool,
    chain_start: datetime | None,
    regression: bool = False,
    declared: Declaration | None = None,
    neighbour: Neighbour | None = None,
    explains: int = 0,
    besides: int = 0,
) -> Suspicion:
    """The suspicion against one rollout: its terms, their sum and the strongest tier they reach.

    `neighbour` where it hurts at another workload, near in the call graph: then good signals of its own acquit nobody.
    `explains` counts further places where it hurts now and which call it, `besides` those which do not.
    """
    contrast = contrast_of(measurement, rollout, policy)
    terms = [
        *_start_failure(measurement, old_ran=old_ran),
        *_silence(measurement, policy, neighbour, onset, alone=not besides),
        *_restarts(measurement, old_ran=old_ran),
        *_contrast_terms(contrast, policy, elsewhere=neighbour is not None),
        *(_regressed(onset) if regression else _before_after(measurement, contrast, policy)),
        *_timing(rollout, onset, onset_source, chain_start),
        *_graph(neighbour),
        *_explains(explains),
        *_declared(declared),
    ]
    score = round(sum(term.weight for term in terms), 4)
    return Suspicion(
        workload=rollout.workload,
        revision=rollout.revision,
        replaced=rollout.replaced,
        score=score,
        tier=_tier(terms),
        terms=tuple(terms),
    )


_TIERS = {
    Tier.START_FAILURE: ("start_failure",),
    Tier.CONTRAST: ("contrast", "silence", "restarts"),
    Tier.BEFORE_AFTER: ("before_after", "unheard"),
    Tier.TIMING: ("timing",),
}
"""Which terms reach which tier, the strongest first."""


def _tier(terms: Sequence[Term]) -> Tier:
    reached = {term.name for term in terms if term.weight > 0}
    return next((tier for tier, names in _TIERS.items() if reached.intersection(names)), Tier.NONE)


def _start_failure(measurement: Measurement, *, old_ran: bool) -> list[Term]:
    failure = measurement.start_failure
    if failure is None or not old_ran:
        return []
    if measurement.new_ready * 2 > measurement.new_pods:
        return []  # most of them run: a crash loop without a readiness probe flickers, so one ready pod says little
    return [
        Term(
            name="start_failure",
            value=float(len(failure.pods)),
            threshold=1.0,
            weight=WEIGHTS["start_failure"],
            sentence=f"{len(failure.pods)} new pod(s) cannot start ({failure.message}), the replaced revision ran.",
        )
    ]


SILENT_SAMPLES = 3
"""Moments in a row in which the old pods answered and no new one did: a scrape or two may be lost."""

SPOKE_SAMPLES = 2
"""Moments at which the new pods must have answered before: one that never reports may have no metrics at all (blame.md)."""

_OF_REQUESTS = frozenset({SignalKind.TRAFFIC, SignalKind.ERROR_RATIO, *LATENCIES})

RESTARTS_TOLD = 3
"""Restarts of the new pods, none of the old ones, that are no accident any more."""


def _silence(
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


def _restarts(measurement: Measurement, *, old_ran: bool) -> list[Term]:
    if measurement.restarts < RESTARTS_TOLD or measurement.old_restarts or not old_ran:
        return []
    return [
        Term(
            name="restarts",
            value=float(measurement.restarts),
            threshold=float(RESTARTS_TOLD),
            weight=WEIGHTS["restarts"],
            sentence=f"The new pods restarted {measurement.restarts} times, the old ones never.",
        )
    ]


def _graph(neighbour: Neighbour | None) -> list[Term]:
    if neighbour is None:
        return []
    share = (1.0 if neighbour.called else CALLER_SHARE) / 2 ** (neighbour.hops - 1)
    how = "is called from where it hurts" if neighbour.called else "calls where it hurts"
    return [
        Term(
            name="graph",
            value=float(neighbour.hops),
            threshold=1.0,
            weight=round(WEIGHTS["graph"] * share, 4),
            sentence=f"It {how}, {neighbour.hops} call(s) away.",
        )
    ]


def _explains(others: int) -> list[Term]:
    if not others:
        return []
    return [
        Term(
            name="explains",
            value=float(others),
            threshold=1.0,
            weight=round(WEIGHTS["explains"] * min(others, EXPLAINS_MAX), 4),
            sentence=f"{others} more that call it hurt at the same time.",
        )
    ]


def _contrast_terms(contrast: Contrast, policy: Policy, *, elsewhere: bool) -> list[Term]:
    if contrast.convicts(policy) and contrast.worst is not None:
        return [
            Term(
                name="contrast",
                value=contrast.new_value if contrast.new_value is not None else 0.0,
                threshold=contrast.threshold if contrast.threshold is not None else 0.0,
                weight=WEIGHTS["contrast"],
                sentence=(
                    f"{contrast.worst.name} of the new pods {number(contrast.new_value)} against "
                    f"{number(contrast.old_value)} of the old ones at the same time, "
                    f"in {contrast.convicting} of the last {contrast.recent} samples."
                ),
            )
        ]
    if contrast.alike >= policy.persistence_bad and contrast.alike > contrast.convicting:
        return [
            Term(
                name="alike",
                value=float(contrast.alike),
                threshold=float(policy.persistence_bad),
                weight=WEIGHTS["alike"],
                sentence=f"Old and new pods were bad alike in {contrast.alike} of the last {contrast.recent} samples.",
            )
        ]
    if contrast.acquits(policy) and not elsewhere:
        return [
            Term(
                name="exculpation",
                value=float(contrast.fine),
                threshold=float(policy.persistence_of),
                weight=WEIGHTS["exculpation"],
                sentence=f"New and old pods served side by side and the new ones were fine in {contrast.fine} samples.",
            )
        ]
    return []


def _before_after(measurement: Measurement, contrast: Contrast, policy: Policy) -> list[Term]:
    """What to go by when nothing of the old revision is left: the same workload before, yesterday and its peers."""
    before = typical(measurement.before)
    recent = measurement.new[-policy.persistence_of :]
    if before is None or contrast.convicts(policy) or contrast.acquits(policy) or not enough_traffic(policy, recent):
        return []
    if judge_sample(policy, before, None) is Health.UNHEALTHY:
        return []
    yesterday = typical(measurement.yesterday)
    if yesterday is not None and judge_sample(policy, yesterday, None) is Health.UNHEALTHY:
        return []
    bad = [sample for sample in recent if judge_sample(policy, sample, before) is Health.UNHEALTHY]
    if len(bad) < policy.persistence_bad:
        return []
    return [
        Term(
            name="before_after",
            value=float(len(bad)),
            threshold=float(policy.persistence_bad),
            weight=WEIGHTS["before_after"],
            sentence=f"Worse than before the rollout in {len(bad)} of the last {len(recent)} samples.",
        )
    ]


def _regressed(onset: datetime) -> list[Term]:
    """The same revision was healthy through its soak: before and after are its own."""
    return [
        Term(
            name="before_after",
            value=1.0,
            threshold=1.0,
            weight=WEIGHTS["before_after"],
            sentence=f"It was healthy through its soak and is unhealthy since {onset:%H:%M:%S}Z.",
        )
    ]


def _declared(declaration: Declaration | None) -> list[Term]:
    if declaration is None:
        return []
    note = f" ({declaration.note})" if declaration.note else ""
    return [
        Term(
            name="declared",
            value=1.0,
            threshold=1.0,
            weight=WEIGHTS["declared"],
            sentence=f"Declared by {declaration.actor}: {declaration.cause.sentence}{note}.",
        )
    ]


def _timing(rollout: Rollout, onset: datetime, source: OnsetSource, chain_start: datetime | None) -> list[Term]:
    began = min(rollout.started_at, chain_start) if chain_start else rollout.started_at
    lag = max(onset - began, timedelta(0))
    weight = WEIGHTS["timing"] * 0.5 ** (lag / TIMING_HALF_LIFE)
    assumed = " (the onset is assumed)" if source is OnsetSource.ASSUMED else ""
    return [
        Term(
            name="timing",
            value=lag.total_seconds(),
            threshold=TIMING_HALF_LIFE.total_seconds(),
            weight=round(weight, 4),
            sentence=f"The anomaly began {lag.total_seconds():.0f} s after the rollout{assumed}.",
        )
    ]


def number(value: float | None) -> str:
    """A value for people: three significant digits, or "no data"."""
    return "no data" if value is None else f"{value:.3g}"
