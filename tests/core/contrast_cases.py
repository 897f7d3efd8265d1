"""Two revisions side by side: what the tests of the contrast are made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from daemon.core.contrast import Contrast, contrast_of
from daemon.core.measurement import Measurement, Sample
from daemon.core.model import Rollout
from daemon.core.policy import Policy, RecordedPolicy, SignalKind, SignalRule
from tests.core.builders import MINUTE, NOON, SHOP, STEP, V1, V2, a_policy

ROLLOUT = Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)
K = SignalKind
TRAFFIC = SignalRule(name="traffic", kind=K.TRAFFIC, query="q")


def asking(kind: SignalKind, others: int = 0) -> Policy:
    """A policy whose signals are the traffic, one of this kind named `s`, and `others` of error ratios."""
    more = tuple(SignalRule(name=f"other-{index}", kind=K.ERROR_RATIO, query="q") for index in range(others))
    return a_policy(signals=(TRAFFIC, SignalRule(name="s", kind=kind, query="q"), *more))


def recorded(kind: SignalKind) -> Policy:
    """The same for a recording that may not tell the traffic."""
    return RecordedPolicy(cluster="test", signals=asking(kind).signals)


def one(at: datetime, value: float | None, traffic: float | None, pods: Sequence[float] = ()) -> Sample:
    """One sample of `s`, with the values of single pods where there are any."""
    known = {"traffic": traffic, "s": value}
    values = tuple((name, number) for name, number in known.items() if number is not None)
    each = (("s", tuple(pods)),) if pods else ()
    return Sample(at=at, values=values, pods=len(pods) or None, each=each)


def side(values: Sequence[float | None], *, step: timedelta = STEP, traffic: float | None = 20.0) -> tuple[Sample, ...]:
    """Samples of `s`, `step` apart from NOON on, of all pods together."""
    return tuple(one(NOON + step * index, value, traffic) for index, value in enumerate(values))


def by_pod(values: Sequence[Sequence[float]], traffic: float | None = 20.0) -> tuple[Sample, ...]:
    """Samples of `s` in which each pod is known; together they are as bad as the worst of them."""
    return tuple(one(NOON + STEP * index, max(pods), traffic, pods) for index, pods in enumerate(values))


def contrast(policy: Policy, new: tuple[Sample, ...], old: tuple[Sample, ...], **more: Any) -> Contrast:
    """What the comparison says."""
    return contrast_of(Measurement(at=NOON + 10 * MINUTE, new=new, old=old, **more), ROLLOUT, policy)


def convicts(policy: Policy, new: tuple[Sample, ...], old: tuple[Sample, ...], **more: Any) -> bool:
    """Whether it convicts."""
    return contrast(policy, new, old, **more).convicts(policy)
