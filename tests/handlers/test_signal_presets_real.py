"""The preset signals on a real Prometheus: what exists is found, and each family's numbers are the planted truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import aiohttp
import pytest

from daemon.core.policy import DEFAULT_SIGNALS, Policy, SignalKind
from handlers import signal_presets as presets
from handlers.pod_groups import PodGroup
from handlers.prometheus import PrometheusClient, render
from handlers.sampling import Sampler
from handlers.signal_search import Ways, laid_over, search
from tests.handlers import metric_families as families
from tests.handlers import remote_write
from tests.handlers.intake_fakes import Counted

pytestmark = [pytest.mark.real]

K = SignalKind
SECOND = timedelta(seconds=1)
WINDOW = 60 * SECOND
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """The server, the moment up to which it is filled, and what a search found."""

    url: str
    now: datetime
    ways: Ways


async def with_client(url: str, ask: Callable[[PrometheusClient], Coroutine[Any, Any, T]]) -> T:
    async with aiohttp.ClientSession() as session:
        return await ask(PrometheusClient(session, url, telemetry=Counted()))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    now = datetime.now(UTC).replace(microsecond=0)
    with remote_write.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        remote_write.push(url, families.everything(now))
        existing = asyncio.run(with_client(url, lambda client: search(client, now)))
        yield Filled(url=url, now=now, ways=presets.ways(existing))


async def measured(filled: Filled, kind: SignalKind, source: str, namespace: str) -> float | None:
    """The number of one source for the pod of one namespace; None without data."""
    (query,) = (way.query for way in filled.ways[kind] if way.source == source)
    asked = render(query, namespace=namespace, pods=[families.POD], window=WINDOW)
    vector = await with_client(filled.url, lambda client: client.query(asked, filled.now))
    assert len(vector) <= 1
    return vector[0][1] if vector else None


SERVED = [
    ("istio", "istio"),
    ("linkerd", "linkerd"),
    ("opentelemetry", "otel"),
    ("opentelemetry, by k8s_pod_name", "collected"),
    ("opentelemetry before 1.23", "older"),
    ("prometheus", "code"),
    ("prometheus", "status"),
    ("prometheus", "status-code"),
    ("prometheus by duration", "express"),
    ("micrometer", "spring"),
    ("grpc", "grpc"),
    ("ingress-nginx", "ingress"),
]


@pytest.mark.parametrize(("source", "namespace"), SERVED)
async def test_a_familys_numbers_are_the_planted_truth(filled: Filled, source: str, namespace: str) -> None:
    """Traffic, errors and latency of each family, across a counter's restart, without what must not be counted."""
    assert await measured(filled, K.TRAFFIC, source, namespace) == pytest.approx(families.RATE, rel=1e-6)
    assert await measured(filled, K.ERROR_RATIO, source, namespace) == pytest.approx(families.SHARE, rel=1e-6)
    latency = "prometheus" if source == "prometheus by duration" else source  # the same buckets, asked for once
    assert await measured(filled, K.LATENCY_P95, latency, namespace) == pytest.approx(families.P95, rel=1e-6)
    assert await measured(filled, K.LATENCY_P99, latency, namespace) == pytest.approx(families.P99, rel=1e-6)


async def test_native_histograms_tell_traffic_errors_and_latency(filled: Filled) -> None:
    """One series holds it all; its quantiles are right to the width of a bucket, 9 % here."""
    source = "opentelemetry, native histogram"
    assert await measured(filled, K.TRAFFIC, source, "native") == pytest.approx(families.RATE, rel=1e-6)
    assert await measured(filled, K.ERROR_RATIO, source, "native") == pytest.approx(families.SHARE, rel=1e-6)
    assert await measured(filled, K.LATENCY_P95, source, "native") == pytest.approx(0.285, rel=0.09)
    assert await measured(filled, K.LATENCY_P99, "prometheus, native histogram", "native-client") == pytest.approx(
        0.295, rel=0.09
    )


async def test_a_summary_is_no_histogram(filled: Filled) -> None:
    """A summary has the plain name that a native histogram has: it is not taken for one."""
    assert "grpc, native histogram" not in [way.source for ways in filled.ways.values() for way in ways]


async def test_what_nobody_tells_is_no_data_and_what_never_failed_is_zero(filled: Filled) -> None:
    """A counter without a label for the outcome says nothing about errors; one with it and without failures says 0."""
    assert await measured(filled, K.ERROR_RATIO, "prometheus", "untold") is None
    assert await measured(filled, K.TRAFFIC, "prometheus", "untold") == pytest.approx(families.RATE)
    assert await measured(filled, K.ERROR_RATIO, "prometheus", "spotless") == 0.0


@pytest.mark.parametrize(
    ("kind", "source", "namespace", "wanted"),
    [
        (K.CPU, "cadvisor", "limits", 0.4),
        (K.MEMORY, "cadvisor and kube-state-metrics", "limits", 0.6),
        (K.MEMORY, "cadvisor and kube-state-metrics, by exported_pod", "exported", 0.6),
        (K.MEMORY, "cadvisor", "spec", 0.6),
        (K.MEMORY, "cadvisor", "endless", None),
    ],
)
async def test_saturation_is_that_of_the_applications_worst_container(
    filled: Filled, kind: SignalKind, source: str, namespace: str, wanted: float | None
) -> None:
    """Throttled periods, and memory against the limit wherever the limit is told; no limit is no data. Proxies do not count."""
    got = await measured(filled, kind, source, namespace)
    assert got is None if wanted is None else got == pytest.approx(wanted, rel=1e-6)


async def test_no_family_answers_for_a_pod_of_another(filled: Filled) -> None:
    """Whatever a service exports, exactly the source that it has answers; nothing is measured twice over."""
    for source, namespace in SERVED:
        answering = [
            way.source
            for way in filled.ways[K.TRAFFIC]
            if await measured(filled, K.TRAFFIC, way.source, namespace) is not None
        ]
        by_count = ["prometheus by duration"] if namespace in ("code", "status", "status-code") else []
        assert answering == [source, *by_count]


async def test_the_sampler_reads_each_workload_by_the_source_it_has(filled: Filled) -> None:
    """The default signals, laid over with what was found, measure services of different families by the same four names."""
    some = {
        kind: [way for way in ways if way.source in ("istio", "grpc", "micrometer")]
        for kind, ways in filled.ways.items()
    }
    ways = {kind: tuple(each) for kind, each in some.items() if each}
    policy = Policy(cluster="test", signals=laid_over(DEFAULT_SIGNALS, ways))
    for namespace in ("istio", "spring", "grpc"):
        group = PodGroup(namespace=namespace, names=(families.POD,))
        samples = await with_client(
            filled.url,
            lambda client, group=group: Sampler(client, lambda: policy).samples(  # type: ignore[misc]
                group, filled.now - 120 * SECOND, filled.now, 30 * SECOND
            ),
        )
        assert [name for name, _ in samples[-1].values] == ["traffic", "error_ratio", "latency_p95", "latency_p99"]
        assert samples[-1].value("error_ratio") == pytest.approx(families.SHARE, rel=1e-6)
        assert samples[-1].value("latency_p99") == pytest.approx(families.P99, rel=1e-6)
