"""What the sandbox's PromQL answers at the edges, and that it refuses what it does not know."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.sandbox.monitoring.labels import fingerprint, freeze, parse_filter
from deploy.sandbox.monitoring.lexer import ParseError, UnsupportedError, duration_ms
from deploy.sandbox.monitoring.parser import parse
from deploy.sandbox.monitoring.promql import Evaluator, ExecutionError
from deploy.sandbox.monitoring.samples import SampleStore, TooManySeriesError
from deploy.sandbox.monitoring.wire import format_number, format_time, parse_time

UNKNOWN = (
    *("topk(1, up)", "up % 2", "up ^ 2", "rate(up[5m:1m])", "up @ 5", "a * on (x) group_left b", "label_join(up)"),
    *("quantile by (x) (0.5, up)", "(up)[5m]", "sum(up) offset 5m", "histogram_fraction(0, 1, up)"),
)
NONSENSE = (
    *("", "sum(", "up{", 'up{a="b"', "up{a=b}", "up[5]", "up[0s]", "1 > 2", "up and 1", "rate(up)", "rate(up[5m], 2)"),
    *("up up", "{}", '{a=~".*"}', 'up{a=~"("}', "sum(up[5m])", "up + up[5m]", "-up[5m]", "up bool 3", "1 + bool 2"),
    *("$x", "label_replace(up)", '"text" + 1', "by (a) up", "and", "(up", "up)"),
)


def store(**series: list[float | None]) -> Evaluator:
    """One series per name, a sample every 10 s from second 0."""
    samples = SampleStore()
    for name, values in series.items():
        for number, value in enumerate(values):
            samples.append(freeze({"__name__": name, "pod": "a"}), number * 10_000, value)
    return Evaluator(samples)


def only(value: Any) -> float:
    (number,) = value.values()
    return float(number)


@pytest.mark.parametrize("query", UNKNOWN)
def test_unknown_forms_are_refused(query: str) -> None:
    """Valid PromQL beyond the subset raises with what it is, and is never answered by guess."""
    with pytest.raises(UnsupportedError, match=r"^unsupported in the sandbox: "):
        parse(query)


@pytest.mark.parametrize("query", NONSENSE)
def test_nonsense_is_a_parse_error(query: str) -> None:
    """What is no PromQL raises ParseError."""
    with pytest.raises(ParseError):
        parse(query)


@given(st.text(alphabet='ab(){}[]=~!"\\+-*/<>, 150.smhe_:@', max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        parse(text)
    except (ParseError, UnsupportedError):
        pass


def test_deep_nesting_is_refused() -> None:
    """Ten thousand brackets are refused, not a stack overflow."""
    with pytest.raises(UnsupportedError):
        parse("(" * 10_000 + "1" + ")" * 10_000)


def test_precedence() -> None:
    """Operators bind as in Prometheus: * over +, comparisons over and, and over or, all from the left."""
    at = store(x=[8.0])
    assert at.instant("1 + 2 * 3 - 4 / 2", 0) == 5
    assert at.instant("8 - 4 - 2", 0) == 2
    assert at.instant("-2 * 3", 0) == -6
    assert only(at.instant("x > 5 and x < 9 or x * 0", 0)) == 8


def test_rate_counts_restarts() -> None:
    """A counter that falls began anew: what it lost is added."""
    assert only(store(x=[100, 110, 5, 15]).instant("increase(x[30001ms])", 30_000)) == pytest.approx(25, rel=1e-4)


def test_rate_does_not_reach_below_zero() -> None:
    """A counter that began at 1 is not stretched to before it was 0."""
    value = only(store(x=[1, 31, 61]).instant("increase(x[25s])", 20_000))
    assert value == pytest.approx(61)


def test_rate_needs_two_samples() -> None:
    """A pod scraped once has no rate: no element, not 0."""
    assert store(x=[5]).instant("rate(x[1m])", 5000) == {}


def test_stale_series_is_gone() -> None:
    """After its stale marker a series has no value, before it and in ranges it has."""
    at = store(x=[1, 2, None])
    assert only(at.instant("x", 19_999)) == 2
    assert at.instant("x", 20_000) == {}
    assert only(at.instant("count_over_time(x[1m])", 20_000)) == 2


def test_old_sample_is_no_value() -> None:
    """A sample is current for less than five minutes."""
    at = store(x=[1])
    assert only(at.instant("x", 299_999)) == 1
    assert at.instant("x", 300_000) == {}


def test_division_follows_ieee() -> None:
    """x/0 is an infinity with a sign, 0/0 is NaN."""
    at = store()
    assert at.instant("-1 / 0", 0) == -math.inf
    assert at.instant("1 / 0", 0) == math.inf
    assert math.isnan(float(at.instant("0 / 0", 0)))  # type: ignore[arg-type]


def test_double_match_is_an_error() -> None:
    """Two series for one match group end the query with an error, they are not picked from."""
    samples = SampleStore()
    for pod in ("a", "b"):
        samples.append(freeze({"__name__": "x", "app": "web", "pod": pod}), 0, 1.0)
    for query in ("x / on (app) x", "x == on (app) x", "sum by (app) (x) / on (app) x"):
        with pytest.raises(ExecutionError, match=r"many-to-many matching not allowed"):
            Evaluator(samples).instant(query, 0)


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({"1": 5, "2": 10, "+Inf": 10}, 1.0),
        ({"1": 0, "2": 0, "+Inf": 0}, math.nan),
        ({"1": 0, "2": 0, "+Inf": 4}, 2.0),
        ({"1": 5, "2": 10}, math.nan),
        ({"+Inf": 10}, math.nan),
        ({"1": 6, "2": 5, "+Inf": 10}, 5 / 6),
    ],
)
def test_histogram_quantile_edges(buckets: dict[str, float], expected: float) -> None:
    """Without observations or +Inf bucket: NaN; the last bucket gives its lower bound; falling counts are evened."""
    samples = SampleStore()
    for bound, count in buckets.items():
        samples.append(freeze({"__name__": "b", "le": bound}), 0, count)
    value = only(Evaluator(samples).instant("histogram_quantile(0.5, b)", 0))
    assert value == pytest.approx(expected, nan_ok=True)


def test_store_is_bounded() -> None:
    """A label that takes ever new values is refused, and old samples are dropped."""
    samples = SampleStore(series_max=2, retention_seconds=10)
    for number in range(2):
        samples.append(freeze({"__name__": "x", "id": str(number)}), 0, 1.0)
    with pytest.raises(TooManySeriesError):
        samples.append(freeze({"__name__": "x", "id": "3"}), 0, 1.0)
    for second in range(100):
        samples.append(freeze({"__name__": "x", "id": "0"}), 1000 * second, 1.0)
    assert len(next(samples.select((parse_filter('id="0"'),))).times) <= 22


def test_fingerprint_is_alertmanagers() -> None:
    """The identity of a label set is the one a real Alertmanager gave it (tests/golden/alertmanager/firing.json)."""
    where = {"app": "web", "deployment": "web", "namespace": "shop"}
    labels = {"alertname": "HighErrorRate", "severity": "critical", **where}
    assert fingerprint(labels) == "8693b784445577a7"


@given(st.floats(allow_nan=False))
def test_numbers_read_back_the_same(number: float) -> None:
    """A number on the wire has no exponent and reads back as the same float."""
    text = format_number(number)
    assert "e" not in text
    assert float(text) == number


def test_times_read_back_the_same() -> None:
    """Times keep their milliseconds; one without a zone is refused."""
    assert format_time(1.5) == "1970-01-01T00:00:01.5Z"
    assert parse_time("2026-01-02T03:04:05.123456789Z") == pytest.approx(1767323045.123456)
    with pytest.raises(ValueError, match="no time zone"):
        parse_time("2026-01-02T03:04:05")
    assert duration_ms("1h30m200ms") == 5_400_200
