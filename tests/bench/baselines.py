"""What others would have rolled back on the same recordings: the methods of the published gates and of everyday on-call.

Each is a function from a recording to its calls, and reads the recording's evidence alone. All are as their authors describe
them, with the usual numbers; where a recording cannot give what a method wants (30 days of history), the docstring says what is
taken in its place. A call is a rollback without asking: that is how they are compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, median, stdev

from handlers.backtest.recording import AlertSeen, Recording, RolloutSeen
from tests.bench.gandalf import votes_and_vetoes
from tests.bench.kayenta import judge_fails
from tests.bench.sides import Watched, watched

BEFORE_ALERT = timedelta(minutes=15)
ERRORS_MAX = 0.05
SIGMAS = 3.0
PERSISTENCE, OF_LAST = 3, 5
CUSUM_SLACK, CUSUM_LIMIT = 0.5, 5.0
"""In standard deviations: the usual pair, made for a shift of one (Montgomery, Introduction to Statistical Quality Control)."""

MAD_TO_SIGMA = 1.4826
"""Of normal values: 1 / inverse normal of 0.75."""

SIGNALS = ("error_ratio",)
"""What the gates watch. On the tuning half each of them does better with errors alone (F1 by .04 to .09): latencies, CPU and
memory find a little more and accuse many."""

SPREAD_MIN = {"error_ratio": 0.005}
SPREAD_SHARE_MIN = 0.05
"""A history without any error has no spread: without a least one (half a point of errors; a twentieth of the mean) a single error
would be infinitely many standard deviations. It helps these methods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A method would roll this workload back at this moment."""

    at: datetime
    workload: str


Method = Callable[[Recording], list[Call]]


def any_deploy(recording: Recording) -> list[Call]:
    """Every rollout that began at most 15 minutes before an alert started to fire."""
    named = {call for calls in _by_alert(recording) for call in calls}
    return sorted(named, key=lambda call: (call.at, call.workload))


def latest_deploy(recording: Recording) -> list[Call]:
    """The last rollout that began at most 15 minutes before an alert started to fire."""
    return [calls[-1] for calls in _by_alert(recording) if calls]


def fixed_threshold(recording: Recording) -> list[Call]:
    """More than 5 % errors of the new pods in one sample: Argo Rollouts with `failureLimit: 0`."""
    return _gates(recording, lambda rollout: _failures(rollout, allowed=0))


def argo_failure_limit(recording: Recording) -> list[Call]:
    """More than 3 samples with over 5 % errors since the rollout began, in a row or not: Argo Rollouts with `failureLimit: 3`."""
    return _gates(recording, lambda rollout: _failures(rollout, allowed=3))


def three_sigma(recording: Recording) -> list[Call]:
    """In 3 of the last 5 samples over mean + 3 standard deviations of the workload before the rollout."""
    return _gates(recording, lambda rollout: _persistent(rollout, _mean_and_deviation))


def three_mad(recording: Recording) -> list[Call]:
    """In 3 of the last 5 samples over median + 3 scaled median absolute deviations of the workload before the rollout."""
    return _gates(recording, lambda rollout: _persistent(rollout, _median_and_mad))


def cusum(recording: Recording) -> list[Call]:
    """The upper cumulative sum of standardised values passes 5, slack .5 (Page 1954); learned from before the rollout."""
    return _gates(recording, _cumulative)


def kayenta(recording: Recording) -> list[Call]:
    """Kayenta's judge on new against old pods, asked at every sample (tests/bench/kayenta.py)."""
    return _gates(recording, judge_fails)


def gandalf(recording: Recording) -> list[Call]:
    """Gandalf's votes, vetoes, spatial share and time decay (tests/bench/gandalf.py)."""
    return [Call(at=at, workload=workload) for at, workload in votes_and_vetoes(recording)]


METHODS: dict[str, Method] = {
    "any deploy <= 15 min before the alert": any_deploy,
    "latest deploy <= 15 min before the alert": latest_deploy,
    "fixed > 5 % errors, one sample (Argo failureLimit 0)": fixed_threshold,
    "Argo failureLimit 3 (cumulative)": argo_failure_limit,
    "3-sigma, 3 of 5": three_sigma,
    "MAD-3, 3 of 5": three_mad,
    "CUSUM": cusum,
    "Kayenta's judge (Mann-Whitney)": kayenta,
    "Gandalf-style votes and vetoes": gandalf,
}


def _by_alert(recording: Recording) -> Iterator[list[Call]]:
    """For each firing the rollouts of the 15 minutes before it, oldest first."""
    rollouts = [each for each in recording.evidence if isinstance(each, RolloutSeen) and each.phase == "started"]
    for alert in recording.evidence:
        if isinstance(alert, AlertSeen) and alert.status == "firing":
            near = [each for each in rollouts if alert.starts_at - BEFORE_ALERT <= each.at <= alert.starts_at]
            yield [Call(at=alert.at, workload=each.workload) for each in near]


def _gates(recording: Recording, gate: Callable[[Watched], datetime | None]) -> list[Call]:
    """One gate per rollout, each for itself, alert or not: that is how gates are run."""
    calls = [(gate(rollout), rollout.workload) for rollout in watched(recording)]
    return sorted((Call(at=at, workload=name) for at, name in calls if at is not None), key=lambda call: call.at)


def _failures(rollout: Watched, *, allowed: int) -> datetime | None:
    failed = [point for point in rollout.new.get("error_ratio", ()) if point.value > ERRORS_MAX]
    return failed[allowed].at if len(failed) > allowed else None


def _persistent(rollout: Watched, learn: Callable[[str, Sequence[float]], tuple[float, float]]) -> datetime | None:
    return _first(_persistent_signal(rollout, signal, learn) for signal in SIGNALS)


def _persistent_signal(
    rollout: Watched, signal: str, learn: Callable[[str, Sequence[float]], tuple[float, float]]
) -> datetime | None:
    history = rollout.history(signal)
    if history is None:
        return None
    middle, spread = learn(signal, history)
    last: deque[bool] = deque(maxlen=OF_LAST)
    for point in rollout.new.get(signal, ()):
        last.append(point.value > middle + SIGMAS * spread)
        if sum(last) >= PERSISTENCE:
            return point.at
    return None


def _cumulative(rollout: Watched) -> datetime | None:
    return _first(_cumulative_signal(rollout, signal) for signal in SIGNALS)


def _cumulative_signal(rollout: Watched, signal: str) -> datetime | None:
    history = rollout.history(signal)
    if history is None:
        return None
    mean, deviation = _mean_and_deviation(signal, history)
    total = 0.0
    for point in rollout.new.get(signal, ()):
        total = max(0.0, total + (point.value - mean) / deviation - CUSUM_SLACK)
        if total > CUSUM_LIMIT:
            return point.at
    return None


def _mean_and_deviation(signal: str, history: Sequence[float]) -> tuple[float, float]:
    mean = fmean(history)
    return mean, _least(signal, mean, stdev(history))


def _median_and_mad(signal: str, history: Sequence[float]) -> tuple[float, float]:
    middle = median(history)
    return middle, _least(signal, middle, MAD_TO_SIGMA * median(abs(value - middle) for value in history))


def _least(signal: str, middle: float, spread: float) -> float:
    return max(spread, SPREAD_MIN.get(signal, 0.0), SPREAD_SHARE_MIN * abs(middle), 1e-9)


def _first(moments: Iterator[datetime | None]) -> datetime | None:
    return min((at for at in moments if at is not None), default=None)
