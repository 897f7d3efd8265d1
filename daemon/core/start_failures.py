"""Pods that cannot start: what convicts without any metric, and when it does not."""

from __future__ import annotations

from daemon.core.contrast import old_is_bad
from daemon.core.incidents import Term
from daemon.core.measurement import Measurement
from daemon.core.model import StartFailureKind
from daemon.core.policy import Policy, SignalKind
from daemon.core.restarts import had_memory_left
from daemon.core.signals import typical
from daemon.core.weights import WEIGHTS

LATEST = 2
"""The newest samples of the old pods that show how they fare: of a rolling update of a minute there are no more."""


def start_failure_terms(measurement: Measurement, policy: Policy, *, old_ran: bool, elsewhere: bool) -> list[Term]:
    """The term against a revision whose pods cannot start while the replaced one ran; `elsewhere` where it hurts at another."""
    failure = measurement.start_failure
    if failure is None or not old_ran:
        return []
    if failure.kind is StartFailureKind.NEVER_READY and elsewhere:
        return []  # it may only be slow, and who is not ready is sent nothing; a rollout that is stuck tells so by itself
    if failure.kind is StartFailureKind.NEVER_READY and measurement.new_ready:
        return []  # one of them got ready, so the revision can: the others may be as slow as that one was
    if failure.kind is StartFailureKind.OOM and failure.restarts <= 1 and had_memory_left(measurement, policy):
        return []  # where the node has none left the kernel kills as well, whoever is at hand; the second kill counts
    if measurement.new_ready * 2 > measurement.new_pods:
        return []  # most of them run: a crash loop without a readiness probe flickers, so one ready pod says little
    if _old_fail(measurement, policy):
        return []  # what they need is gone for both, and who starts just then asks for it first
    return [
        Term(
            name="start_failure",
            value=float(len(failure.pods)),
            threshold=1.0,
            weight=WEIGHTS["start_failure"],
            sentence=f"{len(failure.pods)} new pod(s) cannot start ({failure.message}), the replaced revision ran.",
        )
    ]


def _old_fail(measurement: Measurement, policy: Policy) -> bool:
    """The old pods that are left fail requests as they did not before the rollout."""
    usual = typical(measurement.before)
    return any(
        old_is_bad(rule, sample, usual)
        for sample in measurement.old[-LATEST:]
        for rule in policy.signals
        if rule.kind is SignalKind.ERROR_RATIO
    )
