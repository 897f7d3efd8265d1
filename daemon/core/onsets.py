"""Since when it is felt where it hurts: before the alert's threshold was crossed, as a rollout in stages breaks it by and by.

An alert tells when its expression became true. The first stage of a bad rollout is felt below that: a tenth of the new pods makes
a tenth of the errors. Looking back from the onset at the same signals says when they left what is usual; timing goes by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median

from daemon.core.measurement import Sample
from daemon.core.policy import LATENCIES, Policy, SignalKind, SignalRule
from daemon.core.signals import healthy_of

FELT = frozenset({SignalKind.ERROR_RATIO, *LATENCIES})
"""What those feel who ask. What a workload uses follows its traffic."""

LOOK_BACK = timedelta(hours=1)
"""What is usual is the median of so long before the onset: it bears that the anomaly took half of it."""

SPREADS = 4.0 * 1.4826
"""Over the median by so many median deviations, which are four standard deviations where the noise is normal."""

SAMPLES_MIN = 8
"""Fewer tell nothing of what is usual."""

GAPS_MAX = 1
"""So many samples in a row may be as usual: a little of it hides in the noise now and then."""


def felt_since(policy: Policy, samples: Sequence[Sample], onset: datetime) -> datetime | None:
    """The first sample from which on a signal is worse than usual up to the onset; None where none was worse at the onset.

    `samples` are those of the whole place, oldest first, most of them from before it began.
    """
    found = (_since(rule, [sample for sample in samples if sample.at <= onset]) for rule in policy.signals)
    return min((since for since in found if since is not None), default=None)


def _since(rule: SignalRule, samples: Sequence[Sample]) -> datetime | None:
    points = [(sample.at, value) for sample in samples if (value := sample.value(rule.name)) is not None]
    if rule.kind not in FELT or len(points) < SAMPLES_MIN:
        return None
    usual = median(value for _, value in points)
    spread = median(abs(value - usual) for _, value in points)
    bar = max(usual + SPREADS * spread, healthy_of(rule, usual) or 0.0)
    since, gaps = None, 0
    for at, value in reversed(points):
        if value > bar:
            since, gaps = at, 0
        elif (gaps := gaps + 1) > GAPS_MAX:
            break
    return since
