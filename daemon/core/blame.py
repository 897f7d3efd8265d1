"""Which rollout, if any, caused this? Evidence per candidate, each term with its number, threshold and a sentence.

Contrast between revisions at the same minute comes first, time only forms the candidate set: that is what the measured
ablation says (blame.md: taking the contrast away costs a quarter of the F1). What each term weighs stands in `weights`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from daemon.core.contrast import Contrast, contrast_of
from daemon.core.fan_out import fan_out_terms
from daemon.core.incidents import Suspicion, Term, Tier
from daemon.core.measurement import Health, Measurement, Peer
from daemon.core.model import Declaration, Neighbour, OnsetSource, Rollout
from daemon.core.policy import Policy
from daemon.core.restarts import restart_terms
from daemon.core.signals import enough_traffic, judge_sample, typical
from daemon.core.silence import silence_terms
from daemon.core.start_failures import start_failure_terms
from daemon.core.weights import WEIGHTS

EXPLAINS_MAX = 3
"""Further places that count."""

CALLER_SHARE = 0.6
"""Of the weight of the graph for one that calls where it hurts: answers go wrong more often than questions."""

UNREADY_SHARE = 0.5
"""Of the weight of the timing where no new pod was ready when it began: clocks and samples err by a minute, so not nothing."""

TIMING_HALF_LIFE = timedelta(minutes=3)
"""Blame by timing halves per 3 minutes between rollout and when it is felt (time decay is worth most of Gandalf's precision).

Of generated faults (tune half) two in three are felt within two samples of the step that caused them. Ten minutes told rollouts
a few minutes apart hardly from each other.
"""

SOON = 0.25
SOON_SHARE = 0.5
"""The onset, like when it is felt, is the end of a sample. What came in its last quarter, or right after, has answered too little
of what it counts to have moved it. Of generated faults (tune half, tidy) 2 % show so soon, and 14 % of the innocent rollouts
beside them do by chance. It is 10 and 12 % where clocks and signals are worse, so half is left.
"""


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


def peers_failing(peers: Sequence[Peer], policy: Policy) -> tuple[str, ...]:
    """Workloads that were well before the onset and are bad now: unrelated ones tell a common cause (DESIGN)."""
    return tuple(
        peer.workload.short
        for peer in peers
        if peer.now is not None
        and judge_sample(policy, peer.now, peer.before) is Health.UNHEALTHY
        and (peer.before is None or judge_sample(policy, peer.before, None) is not Health.UNHEALTHY)
    )


def shared_by_peers(measurement: Measurement, policy: Policy) -> tuple[str, ...]:
    """The failing peers if they are enough to speak of a common cause: one of a few, a fifth of many."""
    failing = peers_failing(measurement.peers, policy)
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
    felt_at: datetime | None = None,
    regression: bool = False,
    declared: Declaration | None = None,
    neighbour: Neighbour | None = None,
    explains: int = 0,
    besides: int = 0,
    inherits: bool = False,
    accused: bool = False,
    contrast: Contrast | None = None,
) -> Suspicion:
    """The suspicion against one rollout: its terms, their sum and the strongest tier they reach.

    `neighbour` where it hurts at another workload, near in the call graph: then good signals of its own acquit nobody.
    `explains` counts further places where it hurts now and that it may have broken, `besides` those which do not call it.
    `inherits` where it hurts at one that it calls: then its old pods fail as the new ones do, whoever broke that one.
    `accused` where it is blamed already for what began at the same time. `contrast`: of this measurement, where it is known.
    """
    if contrast is None:
        contrast = contrast_of(measurement, rollout, policy)
    terms = [
        *start_failure_terms(measurement, policy, old_ran=old_ran, elsewhere=neighbour is not None),
        *silence_terms(measurement, rollout, policy, neighbour, onset, alone=not besides),
        *restart_terms(measurement, policy, old_ran=old_ran),
        *_contrast_terms(contrast, policy, elsewhere=neighbour is not None, inherits=inherits),
        *(_regressed(onset) if regression else _before_after(measurement, contrast, policy, inherits=inherits)),
        _timing(rollout, onset, onset_source, policy, chain_start, felt_at=felt_at or onset),
        *_graph(neighbour),
        *_explains(explains, neighbour),
        *fan_out_terms(measurement, rollout.workload),
        *_accused(accused=accused),
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


def _graph(neighbour: Neighbour | None) -> list[Term]:
    if neighbour is None:
        return []
    share = _share(neighbour) / 2 ** (neighbour.hops - 1) if neighbour.hops else 0.0
    how = "is called from where it hurts" if neighbour.called else "calls where it hurts"
    known = f"It {how}, {neighbour.hops} call(s) away."
    return [
        Term(
            name="graph",
            value=float(neighbour.hops),
            threshold=1.0,
            weight=round(WEIGHTS["graph"] * share, 4),
            sentence=known if neighbour.hops else "It is of the same namespace; who calls whom is not known there.",
        )
    ]


def _accused(*, accused: bool) -> list[Term]:
    if not accused:
        return []
    return [
        Term(
            name="accused",
            value=1.0,
            threshold=1.0,
            weight=WEIGHTS["accused"],
            sentence="It is blamed already for what began elsewhere at the same time.",
        )
    ]


def _share(neighbour: Neighbour | None) -> float:
    return CALLER_SHARE if neighbour is not None and not neighbour.called else 1.0


def _explains(others: int, neighbour: Neighbour | None) -> list[Term]:
    if not others:
        return []
    return [
        Term(
            name="explains",
            value=float(others),
            threshold=1.0,
            weight=round(WEIGHTS["explains"] * min(others, EXPLAINS_MAX) * _share(neighbour), 4),
            sentence=f"{others} more that it may have broken hurt at the same time.",
        )
    ]


def _contrast_terms(contrast: Contrast, policy: Policy, *, elsewhere: bool, inherits: bool) -> list[Term]:
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
        if inherits:
            return []
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


def _before_after(measurement: Measurement, contrast: Contrast, policy: Policy, *, inherits: bool) -> list[Term]:
    """What to go by when nothing of the old revision is left: the same workload before, yesterday and its peers."""
    if inherits:
        return []  # what it calls got worse, so it did
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


def _timing(
    rollout: Rollout,
    onset: datetime,
    source: OnsetSource,
    policy: Policy,
    chain_start: datetime | None,
    *,
    felt_at: datetime,
) -> Term:
    """From the step that tells most, for each puts more of the rollout into service; from its start where none is known.

    It goes by `felt_at`, which is the onset where nothing tells of earlier. The onset of the watch is the rollout's start, and
    that of a successor its predecessor's: neither is a sample.
    """
    began = min(rollout.started_at, chain_start) if chain_start else rollout.started_at
    sampled = felt_at != rollout.started_at and chain_start is None
    sample = policy.sample_interval if sampled else timedelta(0)
    before = [step for step in rollout.steps if step <= felt_at]
    since = max(before or [began], key=lambda moment: _nearness(felt_at - moment, sample))
    unready = bool(rollout.steps) and not before and sampled and felt_at > began
    weight = WEIGHTS["timing"] * _nearness(felt_at - since, sample) * (UNREADY_SHARE if unready else 1.0)
    early = ", before any of its new pods was ready" if unready else ""
    assumed = " (the onset is assumed)" if source is OnsetSource.ASSUMED else ""
    what = "more of its new pods were ready" if since > began else "the rollout"
    return Term(
        name="timing",
        value=max((felt_at - since).total_seconds(), 0.0),
        threshold=TIMING_HALF_LIFE.total_seconds(),
        weight=round(weight, 4),
        sentence=f"{_when(felt_at - since, what, onset - felt_at)}{early}{assumed}.",
    )


def _when(lag: timedelta, what: str, earlier: timedelta) -> str:
    """Since when, counted from `what`; `earlier` than the alert's onset by so much it was felt already."""
    order = "after" if lag >= timedelta(0) else "before"
    when = f"{abs(lag).total_seconds():.0f} s {order} {what}"
    if not earlier:
        return f"The anomaly began {when}"
    return f"It was first felt {when}, {earlier.total_seconds():.0f} s before the alert's onset"


def _nearness(lag: timedelta, sample: timedelta) -> float:
    """Between 0 and 1: how well a moment so long before the onset explains it; not at all where it came a sample after."""
    if lag < -sample:
        return 0.0
    halvings = max(lag, timedelta(0)) / TIMING_HALF_LIFE
    return (SOON_SHARE if lag < sample * SOON else 1.0) * math.pow(0.5, halvings)


def number(value: float | None) -> str:
    """A value for people: three significant digits, or "no data"."""
    return "no data" if value is None else f"{value:.3g}"
