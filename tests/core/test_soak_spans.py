"""Counting a span: no moment counts twice, and nothing bad ever helps."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from daemon.core.measurement import Sample, SoakMeasurement
from daemon.core.soak import Span, measured
from tests.core.builders import HOUR, MINUTE, NOON, SECOND, STEP, a_policy, a_sample, samples

ZERO = timedelta(0)
POLICY = a_policy()
UNTIL = NOON + HOUR

offsets = st.integers(-600, 4200).map(lambda seconds: NOON + seconds * SECOND)
kinds = st.sampled_from(
    [
        {"errors": 0.0},
        {"errors": 0.02},
        {"errors": 0.9},
        {"errors": 0.0, "traffic": 0.1},
        {"errors": 0.9, "traffic": 0.1},
        {"errors": None, "traffic": 0.0},
        {"errors": None, "traffic": None},
        {"errors": 0.0, "traffic": None},
    ]
)
sample_lists = st.lists(st.tuples(offsets, kinds), max_size=60, unique_by=lambda pair: pair[0]).map(
    lambda pairs: [a_sample(at, **kind) for at, kind in sorted(pairs, key=lambda pair: pair[0])]  # type: ignore[arg-type]
)
spans = st.builds(
    lambda proven, broken, step: Span(
        since=NOON,
        until=UNTIL,
        step=step * SECOND,
        proven_from=proven,
        broken_at=broken,
        broken_by="web-1 was OOM-killed" if broken else "",
    ),
    proven=st.none() | offsets,
    broken=st.none() | st.integers(1, 3600).map(lambda seconds: NOON + seconds * SECOND),
    step=st.integers(1, 120),
)
baselines = st.none() | st.just(a_sample(NOON, errors=0.001))


def a_span(since_minutes: int = 0, **changes: object) -> Span:
    values = {
        "since": NOON + since_minutes * MINUTE,
        "until": UNTIL,
        "step": STEP,
        "proven_from": NOON - HOUR,
    } | changes
    return Span(**values)  # type: ignore[arg-type]


def total(soak: SoakMeasurement) -> timedelta:
    return soak.healthy + soak.quiet + soak.inconclusive


@given(found=sample_lists, span=spans, baseline=baselines)
def test_no_time_is_counted_twice(found: list[Sample], span: Span, baseline: Sample | None) -> None:
    """Whatever the samples: no clock is negative and together they are at most the span, after an unhealthy moment at
    most the rest of it.
    """
    got = measured(found, span, baseline, POLICY)
    assert min(got.healthy, got.quiet, got.inconclusive) >= ZERO
    assert total(got) <= got.until - (got.unhealthy_at or got.since)
    assert got.healthy + got.quiet <= span.step * len(found) or not any(sample.values for sample in found)


@given(found=sample_lists, span=spans, baseline=baselines, at=offsets, errors=st.sampled_from([0.02, 0.9]))
def test_a_bad_sample_never_helps(
    found: list[Sample], span: Span, baseline: Sample | None, at: object, errors: float
) -> None:
    """One more sample that is not healthy never adds to the healthy time."""
    worse = sorted([*(s for s in found if s.at != at), a_sample(at, errors=errors)], key=lambda s: s.at)  # type: ignore[arg-type]
    replaced = [s for s in found if s.at != at]
    assert measured(worse, span, baseline, POLICY).healthy <= measured(replaced, span, baseline, POLICY).healthy


@given(found=sample_lists, span=spans, baseline=baselines)
def test_not_enough_pods_prove_nothing(found: list[Sample], span: Span, baseline: Sample | None) -> None:
    """Nothing before `proven_from` is counted, and without it nothing at all."""
    got = measured(found, span, baseline, POLICY)
    proven = span.until - max(span.proven_from, span.since) if span.proven_from is not None else ZERO
    assert got.healthy + got.quiet <= max(proven, ZERO)


def test_an_hour_of_health() -> None:
    """Samples a step apart up to the end count for all of the span, from its very beginning."""
    got = measured(samples(until=UNTIL, count=121), a_span(), None, POLICY)
    assert (got.healthy, got.quiet, got.inconclusive, got.because) == (HOUR, ZERO, ZERO, "")
    assert dict(got.baseline) == {"traffic": 20.0, "error_ratio": 0.0}


def test_between_healthy_and_bad_the_clock_pauses() -> None:
    """Samples between the columns of the table are not counted, the first of them is named."""
    found = [*samples(until=UNTIL - 10 * MINUTE, count=101), *samples(0.02, until=UNTIL, count=20)]
    got = measured(found, a_span(), None, POLICY)
    assert (got.healthy, got.inconclusive, got.unhealthy_at) == (50 * MINUTE, 10 * MINUTE, None)
    assert got.because == f"traffic 20, error_ratio 0.02 at {UNTIL - 10 * MINUTE + STEP:%H:%M:%S}Z"


def test_bad_without_traffic_is_not_bad() -> None:
    """One failed request of two is no half of anything: it pauses, it does not reset."""
    got = measured(samples(0.5, until=UNTIL, count=121, traffic=0.1), a_span(), None, POLICY)
    assert (got.healthy, got.quiet, got.inconclusive, got.unhealthy_at) == (ZERO, ZERO, HOUR, None)


def test_one_late_scrape_is_no_doubt() -> None:
    """A single sample that is missing costs its time, and is not reported as inconclusive."""
    found = [sample for sample in samples(until=UNTIL, count=121) if sample.at != NOON + 10 * MINUTE]
    got = measured(found, a_span(), None, POLICY)
    assert (got.healthy, got.inconclusive) == (HOUR - STEP, ZERO)


def test_a_broken_pod_at_the_end() -> None:
    """Nothing is left after it; before it nothing counts."""
    span = a_span(broken_at=UNTIL, broken_by="web-1 crash-loops")
    got = measured(samples(until=UNTIL, count=121), span, None, POLICY)
    assert (total(got), got.unhealthy_at, got.because) == (ZERO, UNTIL, "web-1 crash-loops")


def test_a_broken_pod_where_too_few_are_available() -> None:
    """What broke says more than that pods are missing."""
    span = a_span(broken_at=UNTIL - MINUTE, broken_by="web-1 crash-loops", proven_from=None)
    got = measured((), span, None, POLICY)
    assert (got.healthy, got.unhealthy_at, got.because) == (ZERO, UNTIL - MINUTE, "web-1 crash-loops")


def test_a_span_without_length() -> None:
    """A clock that has just begun counts nothing and doubts nothing."""
    got = measured(samples(until=UNTIL, count=5), a_span(60), None, POLICY)
    assert (total(got), got.because) == (ZERO, "")
