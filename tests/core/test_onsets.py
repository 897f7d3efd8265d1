"""Since when it is felt: looking back from the onset on what left its usual range, below the alert's threshold too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest

from daemon.core.measurement import Sample
from daemon.core.onsets import SAMPLES_MIN, felt_since
from tests.core.builders import MINUTE, NOON, a_policy

USUAL = [0.001, 0.003, 0.002, 0.004, 0.002, 0.001, 0.003, 0.002, 0.004, 0.002, 0.003, 0.001]


def felt(values: Sequence[float | None], signal: str = "error_ratio", late: int = 0) -> datetime | None:
    """By one sample a minute, the last at the onset (or so many after it)."""
    samples = [
        Sample(at=NOON + number * MINUTE, values=() if value is None else ((signal, value),))
        for number, value in enumerate(values)
    ]
    return felt_since(a_policy(), samples, NOON + (len(values) - 1 - late) * MINUTE)


def after(minutes: int) -> datetime:
    """So long after the first sample."""
    return NOON + minutes * MINUTE


@pytest.mark.parametrize(
    ("then", "since"),
    [
        ([0.02, 0.02, 0.03, 0.2], 12),
        ([0.2], 12),
        ([0.02, 0.002, 0.03, 0.2], 12),
        ([0.02, 0.002, 0.001, 0.03, 0.2], 15),
        ([0.02, None, None, 0.2], 12),
        ([0.2, 0.002], 12),
    ],
    ids=["by and by", "at once", "one sample as usual", "two of them", "no data", "it wavers at the onset"],
)
def test_it_is_felt_before_a_threshold_is_crossed(then: list[float | None], since: int) -> None:
    """The first stage of a rollout breaks a few requests: from there on it is unlike what it was."""
    assert felt([*USUAL, *then]) == after(since)


def test_what_wavers_for_the_whole_hour_is_felt_since_its_first_bad_sample() -> None:
    """There is nothing before it that would tell of later."""
    assert felt([0.002, 0.2, 0.003, 0.3, 0.002, 0.2, 0.001, 0.2, 0.002]) == after(1)


@pytest.mark.parametrize(
    "values",
    [
        [*USUAL, 0.003, 0.004],
        [*USUAL, 0.2, 0.002, 0.002],
        [0.001] * (SAMPLES_MIN - 2) + [0.2],
        [],
        [0.2] * 13,
    ],
    ids=["as ever", "over before the onset", "too few samples", "no samples", "as bad for the whole hour"],
)
def test_where_nothing_is_unlike_before_nothing_is_known(values: list[float]) -> None:
    """Then the onset of the alert stands."""
    assert felt(values) is None


def test_what_comes_after_the_onset_does_not_count() -> None:
    """It may be another matter."""
    assert felt([*USUAL, 0.2], late=1) is None


def test_noise_is_no_feeling() -> None:
    """A place whose errors vary has to leave their range."""
    noisy = [0.01, 0.03, 0.02, 0.04, 0.02, 0.01, 0.03, 0.05, 0.04, 0.02, 0.03, 0.01]
    assert felt([*noisy, 0.05, 0.06, 0.3]) == after(14)


@pytest.mark.parametrize(("signal", "since"), [("latency_p95", 12), ("traffic", None), ("cpu", None)])
def test_what_they_feel_who_ask(signal: str, since: int | None) -> None:
    """Slow answers too; traffic and what it uses go up and down by themselves."""
    values = [0.1, 0.11, 0.1, 0.12, 0.1, 0.11, 0.1, 0.12, 0.1, 0.11, 0.1, 0.12, 0.5, 0.6]
    assert felt(values, signal) == (None if since is None else after(since))


def test_the_signal_that_was_felt_first_counts() -> None:
    """It was slow before it failed."""
    slow = [0.1] * 12 + [0.3, 0.3, 0.3]
    errors = [0.001] * 14 + [0.2]
    samples = [
        Sample(at=NOON + number * MINUTE, values=(("latency_p95", lag), ("error_ratio", share)))
        for number, (lag, share) in enumerate(zip(slow, errors, strict=True))
    ]
    assert felt_since(a_policy(), samples, after(14)) == after(12)
