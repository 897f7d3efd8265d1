"""Preflight: signals measured now, what exactly has no series where there is no data, and the traffic of a day."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import pytest

from daemon.core.policy import DEFAULT_SIGNALS, SignalKind, SignalRule
from handlers.faults import FaultKind, Transient
from handlers.preflight.selectors import Matcher, selectors
from handlers.prometheus import Vector
from handlers.signal_search import laid_over
from handlers.signal_sources import SOURCE_LABEL, Alternative
from tests.core.builders import HOUR, V1, a_policy
from tests.handlers.measuring_world import signal_of
from tests.handlers.preflight_world import World, seen, well

DOWN = Transient(None, "prometheus answered 503: shutting down", FaultKind.SERVER)


async def test_values_with_their_thresholds() -> None:
    """Each signal shows its value, unit, baseline and both thresholds."""
    looked = await World().looks()
    assert looked.line("signal traffic")["says"] == "20 requests/s; needed 1 (policy.min_traffic_rate)"
    says = looked.line("signal error_ratio")["says"]
    assert says == "0.001; healthy up to 0.005, triggers above 0.05, baseline 0.001"
    assert "judged against its baseline" in looked.line("signal latency_p95")["says"]


async def test_a_quantile_of_too_few_requests() -> None:
    """A latency that is not judged at this traffic says from how much on it is."""
    signals = tuple(
        replace(rule, healthy_below=0.5) if rule.kind is SignalKind.LATENCY_P99 else rule for rule in DEFAULT_SIGNALS
    )
    world = World(signals=signals)
    world.prometheus.instant = lambda query, at: [({}, 10.0 if signal_of(query) == "traffic" else 0.1)]
    says = (await world.looks()).line("signal latency_p99")["says"]
    assert "not judged below 16.7 requests/s" in says  # ten beyond the 99th percentile in a minute


async def test_bad_right_now() -> None:
    """A signal that triggers is a warning: nothing is proven while it lasts."""
    world = World()
    world.prometheus.instant = lambda query, at: [({}, 0.2 if signal_of(query) == "error_ratio" else 20.0)]
    assert (await world.looks()).line("signal error_ratio")["level"] == "warning"


async def test_too_quiet_now() -> None:
    """Traffic below the minimum is a warning that names the setting."""
    world = World()
    world.prometheus.instant = lambda query, at: [({}, 0.5 if signal_of(query) == "traffic" else 0.0)]
    line = (await world.looks()).line("signal traffic")
    assert (line["level"], "policy.min_traffic_rate" in line["says"]) == ("warning", True)


class Series:
    """A Prometheus with these series (metric, labels): answers `count(selector)`, and no signal has a value."""

    def __init__(self, *series: tuple[str, Mapping[str, str]]) -> None:
        self.series = series

    def __call__(self, query: str, at: datetime) -> Vector:
        found = re.fullmatch(r"count\((\w+)(?:\{(.*)\})?\)", query)
        if found is None:
            return []
        matchers = re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', found[2] or "")
        count = sum(1 for name, labels in self.series if name == found[1] and _selects(matchers, labels))
        return [({}, float(count))] if count else []


def _selects(matchers: list[tuple[str, str, str]], labels: Mapping[str, str]) -> bool:
    def selects(label: str, op: str, value: str) -> bool:
        own = labels.get(label, "")
        if op == "=~":
            return re.fullmatch(value.replace("\\\\", "\\"), own) is not None
        return (own == value) is (op == "=")

    return all(selects(*matcher) for matcher in matchers)


POD = {"namespace": "shop", "pod": "checkout-1-abcde"}


@pytest.mark.parametrize(
    ("series", "says", "remedy"),
    [
        ((), "Prometheus has no series http_requests_total", "policy.signals"),
        (
            (("http_requests_total", {"kubernetes_namespace": "shop"}),),
            "the series of http_requests_total have no label namespace",
            "relabel",
        ),
        (
            (("http_requests_total", {"namespace": "shop", "instance": "10.1.1.1"}),),
            "the series of http_requests_total have no label pod",
            "relabel",
        ),
        (
            (("http_requests_total", {"namespace": "pay", "pod": "checkout-1-abcde"}),),
            "none with namespace=shop",
            "are the pods of shop scraped",
        ),
        (
            (("http_requests_total", {"namespace": "shop", "pod": "exporter-0"}),),
            "none with pod=~its pods",
            "the pod's own name",
        ),
        ((("http_requests_total", POD),), "its series are there", "policy.signal_window (1m)"),
    ],
)
async def test_what_has_no_series(series: tuple[tuple[str, Mapping[str, str]], ...], says: str, remedy: str) -> None:
    """The first part of the query without series is named, with its remedy; the workload is not ready."""
    world = World()
    world.prometheus.instant = Series(*series)
    looked = await world.looks()
    line = looked.line("signal traffic")
    assert (line["level"], says in line["says"], remedy in line["remedy"]) == ("failed", True, True), line
    assert looked.line("signal error_ratio")["level"] == "failed"


async def test_one_signal_less_only_warns() -> None:
    """Without histograms the error ratio still judges."""
    world = World()
    world.prometheus.instant = lambda query, at: (
        [] if ("bucket" in query and "count(" in query) or signal_of(query).startswith("latency") else well(query, at)
    )
    looked = await world.looks()
    assert looked.document["ok"]
    line = looked.line("signal latency_p95")
    assert (line["level"], "http_request_duration_seconds_bucket" in line["says"]) == ("warning", True)


async def test_no_requests_is_no_fault() -> None:
    """Without requests there is no error ratio: a warning, and nothing is said to be missing."""
    world = World()
    world.prometheus.instant = lambda query, at: (
        [({}, 3.0)] if query.startswith("count(") else [({}, 0.0)] if signal_of(query) == "traffic" else []
    )
    looked = await world.looks()
    line = looked.line("signal error_ratio")
    assert (line["level"], line["says"]) == ("warning", "no data: there are no requests now")


async def test_a_template_without_aggregation() -> None:
    """Several series are as useless as none, and told as such."""
    world = World()
    world.prometheus.instant = lambda query, at: [({"pod": "a"}, 1.0), ({"pod": "b"}, 1.0)]
    line = (await world.looks()).line("signal traffic")
    assert (line["level"], "gives 2 series" in line["says"], "aggregate" in line["remedy"]) == ("failed", True, True)


async def test_prometheus_is_down() -> None:
    """Each signal says so, and traffic as a part; the other parts answer."""
    world = World()

    def down(query: str, at: datetime) -> Vector:
        raise DOWN

    world.prometheus.instant, world.prometheus.alerting = down, DOWN
    world.prometheus.value = lambda query, at: DOWN
    looked = await world.looks()
    assert {"signal traffic", "signal error_ratio", "traffic"} <= set(looked.of("failed"))
    assert "503" in looked.line("signal traffic")["says"]
    assert looked.line("alert rules")["level"] == "warning"
    assert looked.line("verified target")["level"] == "ok"


async def test_a_hanging_part_is_named() -> None:
    """What does not answer in time fails by its name, and the whole is over with it: 20 s, never a hang."""
    world = World()
    world.prometheus.hang = lambda query: True
    started = asyncio.get_running_loop().time()
    looked = await world.looks()
    assert asyncio.get_running_loop().time() - started == pytest.approx(20.0, abs=0.5)
    assert looked.of("failed") == ["traffic"]
    assert "no answer within 20s" in looked.line("traffic")["says"]


async def test_a_bug_in_one_part_hides_no_other() -> None:
    """An exception that nobody foresaw is a failed line of its part."""
    world = World()
    world.prometheus.instant = lambda query, at: [({}, "no number")]  # type: ignore[list-item]
    looked = await world.looks()
    assert looked.of("failed") == ["signals"]
    assert "a bug in lastgood" in looked.line("signals")["says"]


async def test_nothing_to_measure() -> None:
    """Scaled to zero is a warning; pods of which none is known fail."""
    assert (await World(seen(desired=0)).looks()).line("signals")["level"] == "warning"
    world = World(seen(a_policy(), current=replace(V1, replica_set=None)))
    world.cluster.pods = {}
    assert (await world.looks()).line("signals")["level"] == "failed"


# ------------------------------------------------------------------------------------------------------------- traffic


def at_night(rate: float) -> Callable[[str, datetime], float]:
    """So many requests per second from 2 to 4 o'clock, else twenty."""
    return lambda query, at: rate if 2 <= at.hour < 4 else 20.0


async def test_the_quiet_hours_are_named() -> None:
    """The least hour, and which are below the minimum."""
    world = World()
    world.prometheus.value = at_night(0.25)
    line = (await world.looks()).line("traffic of 24 hours")
    assert line["level"] == "warning"
    assert "least 0.25 requests/s, in the hour from 02:00Z (needed 1)" in line["says"]
    assert "too quiet in 2 of 25 hours (UTC): 02h, 03h" in line["says"]


async def test_min_requests_counts_too() -> None:
    """A rate above min_traffic_rate is too low where min_requests do not come together while a verdict waits."""
    world = World(min_traffic_rate=0.1, min_requests=600)  # within 10 minutes
    world.prometheus.value = at_night(0.9)
    assert (await world.looks()).line("traffic of 24 hours")["level"] == "warning"
    world = World(min_traffic_rate=0.1, min_requests=500)
    world.prometheus.value = at_night(0.9)
    assert (await world.looks()).line("traffic of 24 hours")["level"] == "ok"


async def test_less_than_a_day_is_told() -> None:
    """A new Prometheus knows nothing of the night."""
    world = World()
    since = world.now() - 3 * HOUR
    world.prometheus.value = lambda query, at: 20.0 if at >= since else None
    assert "of 24 hours have data" in (await world.looks()).line("traffic of 24 hours")["says"]
    world.prometheus.value = lambda query, at: None
    assert "no traffic was measured" in (await world.looks()).line("traffic of 24 hours")["says"]


async def test_the_day_is_asked_of_every_revision() -> None:
    """Yesterday's pods had another ReplicaSet; five-minute steps over 24 hours, one query."""
    world = World()
    await world.looks()
    (asked,) = world.prometheus.queries
    query, start, end, step = asked
    assert "checkout-[bcdfghjklmnpqrstvwxz2456789]" in query
    assert (end - start, step.total_seconds()) == (24 * HOUR, 300)


async def test_no_traffic_signal_at_all() -> None:
    """A policy without a traffic signal is warned of."""
    errors = SignalRule(name="errors", kind=SignalKind.ERROR_RATIO, query="x")
    line = (await World(signals=(errors,)).looks()).line("traffic of 24 hours")
    assert (line["level"], "kind traffic" in line["remedy"]) == ("warning", True)


# ------------------------------------------------------------------------------------------------ several sources

FOUND = {
    SignalKind.TRAFFIC: (
        Alternative(
            source="istio", query='sum(rate(istio_requests_total{namespace="$namespace",pod=~"$pods"}[$window]))'
        ),
        Alternative(source="prometheus", query=DEFAULT_SIGNALS[0].query),
    )
}


async def test_the_source_of_a_value_is_named() -> None:
    """Where a signal may come from several metrics, the line says by which it was measured: the best that has data."""
    world = World(signals=laid_over(DEFAULT_SIGNALS, FOUND))
    both = [({SOURCE_LABEL: "prometheus"}, 9.0), ({SOURCE_LABEL: "istio"}, 20.0)]
    world.prometheus.instant = lambda query, at: both if SOURCE_LABEL in query else well(query, at)
    line = (await world.looks()).line("signal traffic")
    assert line["says"] == "20 requests/s; needed 1 (policy.min_traffic_rate); measured by istio"
    world.prometheus.instant = lambda query, at: both[:1] if SOURCE_LABEL in query else well(query, at)
    assert "9 requests/s" in (await world.looks()).line("signal traffic")["says"]


async def test_what_each_source_lacks() -> None:
    """Without data from any, each source says what it has no series of; one that has them all says that it is the scrapes."""
    world = World(signals=laid_over(DEFAULT_SIGNALS, FOUND))
    elsewhere = ("istio_requests_total", {"namespace": "pay", "pod": "pay-1"})
    world.prometheus.instant = Series(elsewhere)
    line = (await world.looks()).line("signal traffic")
    assert "istio: istio_requests_total has series with a label namespace, but none with namespace=shop" in line["says"]
    assert "prometheus: Prometheus has no series http_requests_total" in line["says"]
    assert line["remedy"].endswith("(or for another of these)")
    world.prometheus.instant = Series(elsewhere, ("http_requests_total", POD))
    assert "its series are there" in (await world.looks()).line("signal traffic")["says"]


# ----------------------------------------------------------------------------------------------------------- selectors


def test_selectors_of_the_default_signals() -> None:
    """One per metric, with the fewest matchers: what only failed requests have may rightly be empty."""
    found = [str(each) for rule in DEFAULT_SIGNALS for each in selectors(rule.query)]
    assert found == [
        'http_requests_total{namespace="$namespace",pod=~"$pods"}',
        'http_requests_total{namespace="$namespace",pod=~"$pods"}',
        'http_request_duration_seconds_bucket{namespace="$namespace",pod=~"$pods"}',
        'http_request_duration_seconds_bucket{namespace="$namespace",pod=~"$pods"}',
    ]


@pytest.mark.parametrize(
    ("op", "value", "own", "accepts"),
    [
        ("=", "shop", "shop", True),
        ("=", "pay", "shop", False),
        ("!=", "pay", "shop", True),
        ("=~", "shop|pay", "shop", True),
        ("=~", "sh.*", "shop", True),
        ("=~", "pa.*", "shop", False),
        ("!~", "pa.*", "shop", True),
        ("=~", "(x+x+)+y", "x" * 60, True),  # never tried: it would take for ever
        ("=~", "[", "shop", True),
    ],
)
def test_matchers(op: str, value: str, own: str, accepts: bool) -> None:
    """As Prometheus selects; what cannot be tried safely is taken as selected."""
    assert Matcher(label="namespace", op=op, value=value).accepts(own) is accepts
