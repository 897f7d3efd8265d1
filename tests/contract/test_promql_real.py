"""The sandbox's PromQL gives the same numbers as a real Prometheus over the same samples."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.monitoring import default_rules
from deploy.sandbox.monitoring.labels import Labels, freeze, get
from deploy.sandbox.monitoring.promql import Evaluator
from deploy.sandbox.monitoring.real import PROMETHEUS_NAMES, installed, run_prometheus
from deploy.sandbox.monitoring.samples import SampleStore
from deploy.sandbox.services import SampleServices, serve_metrics
from tests import parts

SAMPLES_WANTED = 20
SELECTORS = ('{__name__=~"http_.*",pod!=""}', 'http_requests_total{code=~"5.."}', "nothing")
ERRORS = 'http_requests_total{code=~"5.."}'
QUERIES = (
    "up",
    'http_requests_total{app="web",code!="500"}',
    'http_requests_total{pod!~"web-[12]"}',
    "rate(http_requests_total[3s])",
    "increase(http_requests_total[2500ms])",
    "rate(http_requests_total[3s] offset 1s)",
    "http_requests_total offset 1500ms",
    f"sum by (namespace, app) (rate({ERRORS}[3s])) / sum by (namespace, app) (rate(http_requests_total[3s])) > 0.05",
    f"sum(rate({ERRORS}[3s])) / sum(rate(http_requests_total[3s]))",
    f"sum by (pod) (rate({ERRORS}[3s])) / ignoring (code) sum by (pod) (rate(http_requests_total[3s]))",
    f"sum by (app) (rate({ERRORS}[3s])) or 0 * sum by (app) (rate(http_requests_total[3s]))",
    'sum(rate(http_requests_total{app="none"}[3s])) or vector(0)',
    "histogram_quantile(0.95, sum by (le, app) (rate(http_request_duration_seconds_bucket[3s])))",
    "histogram_quantile(0.99, rate(http_request_duration_seconds_bucket[3s]))",
    "histogram_quantile(0.5, sum by (le) (http_request_duration_seconds_bucket))",
    "avg without (pod, instance) (http_request_duration_seconds_sum / http_request_duration_seconds_count)",
    "min by (app) (http_requests_total)",
    "max(http_requests_total) by (code)",
    "count(http_requests_total)",
    'http_requests_total and on (pod) http_requests_total{code="500"}',
    'http_requests_total unless on (pod) http_requests_total{code="500"}',
    "http_requests_total > 40",
    "40 < http_requests_total",
    "http_requests_total > bool 40",
    "-http_requests_total + 2 * 3 - 1 / 0",
    "clamp_max(http_requests_total, 30)",
    "clamp_min(http_requests_total, 30)",
    'absent(up{job="none", x="y"})',
    "absent(up)",
    'label_replace(sum(up), "from", "all", "", "") or label_replace(min(up), "from", "one", "", "")',
    'label_replace(up, "short", "$1-${2}", "pod", "(w)eb-(.*)")',
    'label_replace(up, "pod", "", "pod", "web-.*")',
    "time() - 1",
    "scalar(sum(up)) * 2",
    "0 / 0 * up",
    "max_over_time(http_requests_total[2s])",
    "min_over_time(http_requests_total[2s])",
    "avg_over_time(http_requests_total[2s])",
    "sum_over_time(up[2s])",
    "count_over_time(up[2s])",
    "last_over_time(up[2s])",
    "sum(http_requests_total) - sum(http_requests_total) * 1e-3 + 0x10",
    'count by (alertname, alertstate) (ALERTS{alertstate="firing"})',
    "ALERTS_FOR_STATE",
    "42",
)


async def ask(session: aiohttp.ClientSession, url: str, **query: str) -> Any:
    async with session.post(url, data=query) as reply:
        body = await reply.json()
        assert body["status"] == "success", (query, body)
        return body["data"]


def same(ours: float, theirs: str) -> bool:
    number = float(theirs)
    return (math.isnan(ours) and math.isnan(number)) or math.isclose(ours, number, rel_tol=1e-9, abs_tol=1e-12)


async def copy(session: aiohttp.ClientSession, url: str) -> SampleStore:
    """All samples of a Prometheus.

    No answer holds stale markers. A scrape that failed (`up` 0, on a busy machine) ended all series of its target: they
    are put in again here.
    """
    store = SampleStore()
    everything = (await ask(session, f"{url}/api/v1/query", query='{__name__=~".+"}[10m]'))["result"]
    failed: dict[str, list[int]] = {}
    for series in everything:
        if series["metric"]["__name__"] == "up":
            zeros = [round(time * 1000) for time, value in series["values"] if value == "0"]
            failed[series["metric"]["pod"]] = zeros
    for series in everything:
        metric = series["metric"]
        samples: dict[int, float | None] = {round(time * 1000): float(value) for time, value in series["values"]}
        if metric["__name__"].startswith("http_"):
            samples |= {time: None for time in failed[metric["pod"]] if time > min(samples)}
        for time, value in sorted(samples.items()):
            store.append(freeze(metric), time, value)
    return store


def complete_until(store: SampleStore) -> int:
    """The last moment, ms, of which the copy is certain to hold all samples.

    A sample bears the time its scrape or rule began, and is stored when that ends: on a busy machine a copy lacks some
    that are older than others it has. One source works one after another, so a later sample of each proves the rest.
    """
    newest: dict[str, int] = {}
    for series in store.select(()):
        name, source = get(series.labels, "__name__"), get(series.labels, "pod")
        if name == "up" or name.startswith("ALERTS"):
            key = source if name == "up" else "rules"
            newest[key] = max(newest.get(key, 0), series.times[-1])
    return min(newest.values())


def quiet(store: SampleStore) -> int:
    """A millisecond within 100 far from every sample: all ranges here are multiples of 100 ms, so none ends on one.

    Whether a sample on the left end of a range counts has changed with Prometheus 3.
    """
    taken = {time % 100 for series in store.select(()) for time in series.times}
    return max(range(100), key=lambda at: min(min((at - time) % 100, (time - at) % 100) for time in taken))


def restart(services: SampleServices) -> None:
    """Set a pod's counters to 0. No series may end: its stale marker is in no answer, so it could not be copied."""
    pod = next(each for each in services.pods() if each.name == "web-2")
    codes = dict.fromkeys(pod.codes, 0)
    pod.reset()
    pod.codes |= codes


async def fill(session: aiohttp.ClientSession, url: str, services: SampleServices) -> None:
    """Wait until there are samples enough, with a restart in between."""
    restarted = False
    async with asyncio.timeout(30):
        while True:
            result = await ask(session, f"{url}/api/v1/query", query='count_over_time(up{pod="web-1"}[10m])')
            count = int(result["result"][0]["value"][1]) if result["result"] else 0
            if count >= SAMPLES_WANTED:
                return
            if count >= SAMPLES_WANTED // 2 and not restarted:
                restart(services)
                restarted = True
            await asyncio.sleep(0.1)


@pytest.mark.real
@pytest.mark.timeout(90)
async def test_same_numbers_as_prometheus(tmp_path: Path) -> None:
    """Every supported form of query equals Prometheus' answer, instant at several moments and as a range."""
    parts.require("prometheus")
    program = installed(PROMETHEUS_NAMES)
    assert program is not None
    services = SampleServices(seed=3)
    for number in (1, 2, 3):
        services.pod_ready("shop", f"web-{number}", app="web", image=f"web:{number}", ip=f"10.0.0.{number}")
    services.pod_ready("shop", "api-1", app="api", image="api:1")
    services.fault(image="web:3", error_ratio=0.4, latency_factor=8)

    async with (
        serve_metrics(services) as pages,
        run_prometheus(
            program=program,
            workdir=tmp_path,
            sd_url=f"{pages}/sd",
            alertmanager_url="http://127.0.0.1:9",
            rules=default_rules(window_seconds=2, for_seconds=1),
            scrape_seconds=0.2,
            evaluation_seconds=0.2,
            resend_seconds=60,
        ) as prometheus,
        aiohttp.ClientSession() as session,
    ):
        await fill(session, prometheus.url, services)
        store = await copy(session, prometheus.url)
        evaluator = Evaluator(store)
        [up] = [each for each in store.select(()) if {("__name__", "up"), ("pod", "web-1")} <= set(each.labels)]
        times = [time for time in up.times if time + 100 < complete_until(store)]
        moments = [time - time % 100 + quiet(store) for time in (times[-1], times[-3], times[-8], times[5])]
        wrong = []
        for query in QUERIES:
            for now in moments:
                theirs = await ask(session, f"{prometheus.url}/api/v1/query", query=query, time=f"{now / 1000:.3f}")
                ours = evaluator.instant(query, now)
                if not instant_equal(ours, theirs):
                    wrong.append((query, now, ours, theirs))
            asked = {"start": f"{moments[-1] / 1000:.3f}", "end": f"{moments[0] / 1000:.3f}", "step": "0.7"}
            theirs = await ask(session, f"{prometheus.url}/api/v1/query_range", query=query, **asked)
            series = evaluator.range(query, moments[-1], moments[0], 700)
            if not range_equal(series, theirs):
                wrong.append((query, moments[-1], series, theirs))
        for selector in SELECTORS:
            for label in ("__name__", "pod", "code"):
                values = f"{prometheus.url}/api/v1/label/{label}/values"
                whole = {"match[]": selector, "start": f"{times[0] / 1000}", "end": f"{times[-1] / 1000}"}
                async with session.get(values, params=whole) as reply:
                    listed = (await reply.json())["data"]
                assert evaluator.label_values(label, selector, times[0], times[-1]) == listed, (selector, label)
        assert not wrong, f"{len(wrong)} differ, the first: {wrong[0]}"


def instant_equal(ours: Any, theirs: Any) -> bool:
    if theirs["resultType"] == "scalar":
        return same(ours, theirs["result"][1])
    expected: dict[Labels, str] = {freeze(each["metric"]): each["value"][1] for each in theirs["result"]}
    return ours.keys() == expected.keys() and all(same(ours[labels], value) for labels, value in expected.items())


def range_equal(ours: dict[Labels, list[tuple[int, float]]], theirs: Any) -> bool:
    expected = {freeze(each["metric"]): each["values"] for each in theirs["result"]}
    if ours.keys() != expected.keys():
        return False
    return all(
        len(ours[labels]) == len(values)
        and all(
            mine[0] == round(other[0] * 1000) and same(mine[1], other[1])
            for mine, other in zip(ours[labels], values, strict=True)
        )
        for labels, values in expected.items()
    )
