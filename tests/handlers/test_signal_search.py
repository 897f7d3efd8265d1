"""Which metrics exist: asked of Prometheus, kept, and put in the place of the defaults; and one source for all groups."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from daemon.core.policy import DEFAULT_SIGNALS, SATURATION_SIGNALS, SignalKind, SignalRule
from handlers import signal_presets as presets
from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.prometheus import Vector
from handlers.signal_search import SEARCH_AGAIN, SEARCH_EVERY, SignalSearch, Ways, laid_over
from handlers.signal_sources import (
    SOURCE_LABEL,
    SOURCES_MAX,
    Alternative,
    alternatives_of,
    by_source,
    chosen,
    united,
)
from tests.handlers.measuring_world import DOWN, NOW, Hands

K = SignalKind
REFUSED = Permanent("prometheus answered 400: unknown function", FaultKind.CLIENT, status=400, code="bad_data")


@dataclass
class Catalogue:
    """A Prometheus of names only: metrics with their labels, and what it does not understand."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    natives: set[str] = field(default_factory=set)
    fault: Fault | None = None
    refuses: str = "nothing"
    asked: list[str] = field(default_factory=list)

    async def label_values(self, label: str, selector: str, start: datetime, end: datetime) -> frozenset[str]:
        if self.fault is not None:
            raise self.fault
        self.asked.append(selector)
        assert label == "__name__"
        assert start < end == NOW
        wanted = [part.split("!=")[0] for part in selector.strip("{}").split(",")[1:]]
        names = selector.split('"')[1].split("|")
        return frozenset(name for name in names if set(wanted) <= self.metrics.get(name, set()))

    async def query(self, promql: str, at: datetime) -> Vector:
        if self.refuses in promql:
            raise REFUSED
        return [({}, 1.0)] if any(f"histogram_count({name}{{" in promql for name in self.natives) else []


POD = {"namespace", "pod"}
SHOP = {"http_requests_total": POD | {"status"}, "http_request_duration_seconds_bucket": POD | {"le"}}
ISTIO = {"istio_requests_total": POD | {"response_code"}}


class Daemon:
    """Who is told what was found."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.told: list[Ways] = []
        self.search = SignalSearch(catalogue, Hands(), self.told.append)

    def sources(self, kind: SignalKind) -> list[str]:
        return [way.source for way in self.told[-1].get(kind, ())]


async def test_what_exists_takes_the_place_of_the_defaults() -> None:
    """Each default signal is measured by the metrics that exist, under its own name; a kind without any keeps its query."""
    daemon = Daemon(Catalogue({**ISTIO, **SHOP}))
    assert await daemon.search.once()
    signals = {rule.name: rule for rule in laid_over(DEFAULT_SIGNALS, daemon.told[-1])}
    assert list(signals) == [rule.name for rule in DEFAULT_SIGNALS]
    assert [each.source for each in alternatives_of(signals["traffic"].query)] == ["istio", "prometheus"]
    assert [each.source for each in alternatives_of(signals["latency_p95"].query)] == ["prometheus"]
    assert 'status=~"5.."' in signals["error_ratio"].query
    assert 'code=~"5.."' in signals["error_ratio"].query  # istio's response_code
    only_istio = Daemon(Catalogue(dict(ISTIO)))
    assert await only_istio.search.once()
    assert laid_over(DEFAULT_SIGNALS, only_istio.told[-1])[2] == DEFAULT_SIGNALS[2]


def test_what_the_user_wrote_stays() -> None:
    """A query of the user's own is kept, and so are thresholds over a default's query; saturation only where it is named."""
    ways = {kind: (Alternative(source="x", query="found"),) for kind in SignalKind}
    own = SignalRule(name="error_ratio", kind=K.ERROR_RATIO, query='mine{pod=~"$pods"}')
    strict = replace(DEFAULT_SIGNALS[2], trigger_above=0.2)
    kept, changed, memory = laid_over((own, strict, SATURATION_SIGNALS[1]), ways)
    assert kept == own
    assert changed == replace(strict, query=united(ways[K.LATENCY_P95]))
    assert "found" in memory.query
    assert laid_over(DEFAULT_SIGNALS, {}) == DEFAULT_SIGNALS


async def test_a_counter_that_tells_no_outcome_measures_no_errors() -> None:
    """Without a label for the outcome there is traffic and no error ratio: "0 % errors" would be a lie."""
    daemon = Daemon(Catalogue({"http_requests_total": set(POD)}))
    await daemon.search.once()
    assert daemon.sources(K.TRAFFIC) == ["prometheus"]
    assert daemon.sources(K.ERROR_RATIO) == []


async def test_series_without_a_pods_name_are_no_way_to_measure() -> None:
    """What names no pod cannot tell revisions apart, however well it counts."""
    daemon = Daemon(Catalogue({"http_requests_total": {"namespace", "code"}}))
    assert await daemon.search.once()
    assert daemon.told == []


async def test_native_histograms_come_before_buckets_and_only_where_they_are_some() -> None:
    """The plain name alone proves nothing (a summary has it); a server that does not know them has none."""
    name = "http_server_request_duration_seconds"
    metrics = {name: POD | {"http_response_status_code"}, f"{name}_bucket": POD | {"le"}}
    daemon = Daemon(Catalogue(dict(metrics), natives={name}))
    await daemon.search.once()
    assert daemon.sources(K.LATENCY_P99) == ["opentelemetry, native histogram", "opentelemetry"]
    assert daemon.sources(K.ERROR_RATIO) == ["opentelemetry, native histogram"]
    for catalogue in (Catalogue(dict(metrics)), Catalogue(dict(metrics), natives={name}, refuses="histogram_count")):
        daemon = Daemon(catalogue)
        await daemon.search.once()
        assert daemon.sources(K.LATENCY_P99) == ["opentelemetry"]
        assert daemon.sources(K.TRAFFIC) == []


async def test_what_was_found_is_kept_and_news_are_told_once() -> None:
    """A metric that pauses changes nothing; the daemon hears only of more."""
    catalogue = Catalogue({**ISTIO, **SHOP})
    daemon = Daemon(catalogue)
    await daemon.search.once()
    await daemon.search.once()
    del catalogue.metrics["istio_requests_total"]
    await daemon.search.once()
    assert len(daemon.told) == 1
    catalogue.metrics["grpc_server_handled_total"] = POD | {"grpc_code"}
    await daemon.search.once()
    assert len(daemon.told) == 2
    assert daemon.sources(K.ERROR_RATIO) == ["istio", "prometheus", "grpc"]


@pytest.mark.parametrize("fault", [DOWN, REFUSED])
async def test_a_search_that_fails_concludes_nothing_and_is_repeated_soon(fault: Transient | Permanent) -> None:
    """Prometheus may come up after us: what is known stays, and the next search does not wait ten minutes."""
    catalogue = Catalogue({**SHOP}, fault=fault)
    daemon = Daemon(catalogue)
    loop = asyncio.get_running_loop()
    began = loop.time()
    running = loop.create_task(daemon.search.run())
    await asyncio.sleep(1)
    assert daemon.told == []
    catalogue.fault = None
    await asyncio.sleep(SEARCH_AGAIN.total_seconds())
    assert len(daemon.told) == 1
    catalogue.metrics.update(ISTIO)
    await asyncio.sleep(SEARCH_EVERY.total_seconds() - 2)
    assert len(daemon.told) == 1
    await asyncio.sleep(2)
    assert len(daemon.told) == 2
    assert loop.time() - began < 2 * SEARCH_EVERY.total_seconds()
    running.cancel()


async def test_a_query_that_the_server_refuses_never_replaces_a_default() -> None:
    """The kind that it does not understand is left as it was; the others are taken."""
    daemon = Daemon(Catalogue({**SHOP}, refuses="histogram_quantile"))
    assert await daemon.search.once()
    assert set(daemon.told[-1]) == {K.TRAFFIC, K.ERROR_RATIO}
    signals = laid_over(DEFAULT_SIGNALS, daemon.told[-1])
    assert signals[2:] == DEFAULT_SIGNALS[2:]


async def test_a_search_costs_few_requests() -> None:
    """Whatever exists: one request per pair of pod labels and one per label that tells failures."""
    everything = {
        name: POD | {each.label for family in presets.FAMILIES for each in family.failed}
        for family in presets.FAMILIES
        for name in (family.total, f"{family.duration}_bucket")
    }
    catalogue = Catalogue(everything)
    await Daemon(catalogue).search.once()
    assert len(catalogue.asked) <= 16


def test_united_queries_are_taken_apart_again() -> None:
    """What is united names each source once; PromQL with brackets, quotes and label_replace of its own survives."""
    ways = (
        Alternative(source="a", query='max(x{pod=~"$pods"} / label_replace(y, "pod", "$1", "exported_pod", "(.*)"))'),
        Alternative(source="b, by c", query='(sum(rate(z{code=~"5.."}[$window])) or sum(z) * 0) / (sum(z) > 0)'),
    )
    assert alternatives_of(united(ways)) == ways
    assert alternatives_of(united(ways[:1])) == ways[:1]
    assert alternatives_of("up") == (Alternative(source="", query="up"),)
    with pytest.raises(ValueError, match="0 sources of one signal"):
        united(())
    with pytest.raises(ValueError, match="7 sources of one signal"):
        united(ways[:1] * (SOURCES_MAX + 1))


def test_all_groups_are_read_by_one_source() -> None:
    """The source that most groups have, of equals the first in the query; a group without it has no data."""
    query = united((Alternative(source="mesh", query="m"), Alternative(source="app", query="a")))
    groups: list[tuple[list[Mapping[str, Any]], str | None]] = [
        ([{"mesh": 1, "app": 1}, {"mesh": 1, "app": 1}], "mesh"),
        ([{"app": 1}, {"mesh": 1, "app": 1}], "app"),
        ([{"app": 1}, {"mesh": 1}], "mesh"),
        ([{}, {"app": 1}], "app"),
        ([{}, {}], None),
        ([], None),
    ]
    for given, wanted in groups:
        assert chosen(query, given) == wanted
    assert chosen("up", [{"": 1}]) == ""


def test_two_series_of_one_source_are_none() -> None:
    """A template without an aggregation is recognised, united or not."""
    assert by_source([({SOURCE_LABEL: "a"}, 1), ({SOURCE_LABEL: "b"}, 2)]) == {"a": 1, "b": 2}
    assert by_source([({"pod": "a"}, 1)]) == {"": 1}
    assert by_source([({"pod": "a"}, 1), ({"pod": "b"}, 2)]) is None
